"""What a regime model says of recorded history: label of each bar, what bars of a label were like, and how likely the model found them.

Everything is filtered forward: the label of a bar is known at its close and never changed by what came later.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.feature_run import Source, table
from mia.domain.errors import ConfigError, DataError
from mia.domain.regime import STATES, RegimeParams
from mia.features.bars import BarSpec
from mia.features.models import Fit
from mia.kernels.arena import Arena
from mia.kernels.hmm import filter_of

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
UNDECIDED: Final = "undecided"
_ENTER: Final = 0.6  # as regime_age does: a label is entered above, and left below the other
_LEAVE: Final = 0.4
_ROWS_MIN: Final = 30  # of a number that is a mean over rows


class LabelStats(msgspec.Struct, frozen=True, kw_only=True):
    """Bars of one label. r = ln(c / c[-1]); None: too few bars to tell.

    share: of all bars with a regime; spells: how often it began; dwell: mean bars of a spell; abs_r: mean |r|; volatility: deviation of
    r; autocorrelation: of r with that of the bar before, when both have the label; next_volatility: deviation of r of the bar after.
    """

    label: str
    bars: int
    share: float
    spells: int
    dwell: float | None
    abs_r: float | None
    volatility: float | None
    autocorrelation: float | None
    next_volatility: float | None


class Likelihood(msgspec.Struct, frozen=True, kw_only=True):
    """ln density of a bar's scaled inputs given the bars before it, mean over rows: of the model, and of one state in its place."""

    rows: int
    model: float
    one_state: float


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of rows. is_later: all of them lie after the last row of the fit; False: none does; None: nobody knows."""

    is_later: bool | None
    first_ns: int
    last_ns: int
    labels: list[LabelStats]
    likelihood: Likelihood | None


class Regimes(msgspec.Struct, frozen=True, kw_only=True):
    """ts_ns, close (price), label (0, 1, 2 of STATES, 3: undecided) [n] and probs [n, 3] of the bars with a regime, and their parts."""

    name: str
    bars: str
    params: RegimeParams
    fit: Fit | None
    ts_ns: I64
    close: F64
    probs: F64
    label: I8
    is_of_other_bars: bool  # the model's fit was on bars of another length
    cold: int  # bars before the model was warm, or without its inputs
    parts: list[Part]


def regimes(source: Source) -> Regimes:
    """The report on a source of bars that has a regime model; ConfigError without one, DataError when no bar gets a regime."""
    models = source.models
    if models is None or models.regime is None:
        raise ConfigError(f"{source.name}: no regime model: give --models a file of mia-train features, or a bundle with a regime.json")
    params = models.regime
    columns = ("close", *(f"p_{state}" for state in STATES), *params.columns)
    ts, matrix = table(source, columns)
    close = matrix[:, 0] * float(source.instrument.tick_size)
    probs, inputs = matrix[:, 1:4], matrix[:, 4:]
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(probs).all(axis=1))
    if not known.any():
        raise DataError(
            f"{source.name}: no bar gets a regime: too few of them, or the inputs {', '.join(params.columns)} are not in the data"
        )
    density = densities(params, inputs)
    r = np.diff(np.log(close), prepend=np.nan)
    label = np.full(len(ts), -1, np.int8)
    label[known] = labels(probs[known])
    last_ns = models.fit.last_ns if models.fit is not None else None
    cut = int(np.searchsorted(ts, last_ns, side="right")) if last_ns is not None else 0
    spans = [(0, cut, False), (cut, len(ts), True)] if last_ns is not None else [(0, len(ts), None)]
    parts = [_part(ts, r, label, density, start, stop, later) for start, stop, later in spans if known[start:stop].any()]
    return Regimes(
        name=source.name,
        bars=source.bars.text,
        params=params,
        fit=models.fit,
        ts_ns=ts[known],
        close=close[known],
        probs=probs[known],
        label=label[known],
        is_of_other_bars=models.fit is not None and BarSpec.parse(models.fit.bar) != source.bars,
        cold=int(np.count_nonzero(~known)),
        parts=parts,
    )


def labels(probs: F64) -> I8:
    """int8[n]: the discrete label of each row of probs [n, 3], 3 while undecided; the rule of the column regime_age."""
    out = np.full(len(probs), 3, np.int8)
    top = probs.argmax(axis=1).tolist()
    now = 3
    for i, p in enumerate(probs.tolist()):
        if now == 3 or p[now] < _LEAVE:
            now = top[i] if p[top[i]] > _ENTER else 3
        out[i] = now
    return out


def densities(params: RegimeParams, inputs: F64) -> F64:
    """float64[n, 2]: ln density of the scaled inputs [n, d] given the rows before, by the model, and by one state; NaN until warm.

    The one state has the mean and variance that the three have together, weighted by how often the chain is in each in the long run.
    It knows nothing of the row before, so it is the least that a model of regimes must beat.
    """
    d = len(params.columns)
    hmm = filter_of(params, Arena(1 << 16), {name: k for k, name in enumerate(params.columns)})
    out = np.full((len(inputs), 2), np.nan)
    constant = 0.5 * d * np.log(2 * np.pi)
    for i, row in enumerate(np.ascontiguousarray(inputs)):
        if hmm.step(row.data) and hmm.is_warm():
            out[i, 0] = hmm.loglik() - constant
    a = np.array(params.transition)
    weight = np.linalg.lstsq(np.vstack([a.T - np.eye(3), np.ones(3)]), np.array([0.0, 0.0, 0.0, 1.0]), rcond=None)[0]
    mean = weight @ np.array(params.mean)
    var = weight @ (np.array(params.var) + np.array(params.mean) ** 2) - mean**2
    z = np.clip((inputs - np.array(params.center)) / np.array(params.scale), -params.clip, params.clip)
    one = -0.5 * (np.log(2 * np.pi * var).sum() + ((z - mean) ** 2 / var).sum(axis=1))
    out[:, 1] = np.where(np.isfinite(out[:, 0]), one, np.nan)
    return out


def _part(ts: I64, r: F64, label: I8, density: F64, start: int, stop: int, is_later: bool | None) -> Part:
    known = np.isfinite(density[start:stop, 0])
    n = int(np.count_nonzero(known))
    likelihood = None
    if n >= _ROWS_MIN:
        model, one = density[start:stop][known].mean(axis=0).tolist()
        likelihood = Likelihood(rows=n, model=model, one_state=one)
    return Part(
        is_later=is_later,
        first_ns=int(ts[start]),
        last_ns=int(ts[stop - 1]),
        labels=label_stats(r[start:stop], label[start:stop]),
        likelihood=likelihood,
    )


def label_stats(r: F64, label: I8) -> list[LabelStats]:
    """One entry per label, undecided bars and all bars last. r [n]: of each bar, NaN where there is none; label [n]: -1: no regime."""
    total = int(np.count_nonzero(label >= 0))
    runs = [(value, len(list(group))) for value, group in itertools.groupby(label.tolist())]
    out = []
    for k, name in enumerate((*STATES, UNDECIDED)):
        lengths = [n for value, n in runs if value == k]
        out.append(_stats(name, r, label == k, lengths, total))
    out.append(_stats("all", r, label >= 0, [], total))
    return out


def _stats(name: str, r: F64, mine: npt.NDArray[np.bool_], lengths: Sequence[int], total: int) -> LabelStats:
    own = r[mine & np.isfinite(r)]
    both = np.flatnonzero(mine[1:] & mine[:-1] & np.isfinite(r[1:]) & np.isfinite(r[:-1])) + 1
    after = r[1:][mine[:-1]]
    after = after[np.isfinite(after)]
    correlation = None
    if len(both) >= _ROWS_MIN and r[both].std() > 0.0 and r[both - 1].std() > 0.0:
        correlation = float(np.corrcoef(r[both], r[both - 1])[0, 1])
    enough = len(own) >= _ROWS_MIN
    return LabelStats(
        label=name,
        bars=int(np.count_nonzero(mine)),
        share=float(np.count_nonzero(mine) / total) if total else 0.0,
        spells=len(lengths),
        dwell=float(np.mean(lengths)) if lengths else None,
        abs_r=float(np.abs(own).mean()) if enough else None,
        volatility=float(own.std()) if enough else None,
        autocorrelation=correlation,
        next_volatility=float(after.std()) if len(after) >= _ROWS_MIN else None,
    )
