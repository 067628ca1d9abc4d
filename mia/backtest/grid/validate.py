"""What the choice of a search is worth out of sample: in each fold the best configuration of the training days, scored on the test days.

The splits are those of `mia.backtest.validation.splits`, over daily returns. In each block every account begins anew: a drawdown stop of
the past, which ends a run's trading for good, would leave later blocks flat.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, get_args

import msgspec
import numpy as np

from mia.backtest.grid.kept import F64, I64, Table
from mia.backtest.stats.periods import YEAR_DAYS
from mia.backtest.stats.registry import PERIODS_MIN
from mia.backtest.stats.resample import SAMPLES, Interval, block_of_returns, interval, returns_draws
from mia.backtest.stats.sharpe import moments
from mia.backtest.validation.splits import Labels, Split, assemble, blocks, combinatorial, describe, leaking, purged_k_fold, walk_forward
from mia.domain.errors import ConfigError, FailStop
from mia.kernels import bootstrap as kernel

Name = Literal["walk_forward", "rolling", "purged_k_fold", "cpcv"]
Metric = Literal["sharpe", "net_return"]
NAMES: Final = get_args(Name)
BLOCK_DAYS_MIN: Final = 5
_TOGETHER: Final = 1024  # configurations, so that what is computed between takes little memory
_WORDS: Final = {
    "walk_forward": "each fold chosen on all days before it",
    "rolling": "each fold chosen on the {train} folds before it",
    "purged_k_fold": "each fold chosen on all other days, later ones too: what such a choice is worth, not what could have been traded",
    "cpcv": "every {tested} of {folds} folds chosen on all other days: as many whole histories as there are paths, none of them tradable",
}


class Scheme(msgspec.Struct, frozen=True, kw_only=True):
    """How days are split. folds: tests of walk_forward and rolling, blocks of the others; train_folds: of rolling; tested: of cpcv."""

    name: Name
    folds: int = 5
    train_folds: int = 2
    tested: int = 2
    embargo_ns: int = 0

    @property
    def words(self) -> str:
        """What it does."""
        return _WORDS[self.name].format(train=self.train_folds, tested=self.tested, folds=self.folds)

    @property
    def is_walk(self) -> bool:
        """Only later days are tested: a first block only teaches."""
        return self.name in ("walk_forward", "rolling")

    def check(self, days: int) -> None:
        """ConfigError when a span of so many days cannot be split so: asked before anything is evaluated."""
        count = self.folds + self.is_walk
        if days < BLOCK_DAYS_MIN * count:
            raise ConfigError(
                f"--validate {self.name}: {days} days cannot be cut into {count} blocks of at least {BLOCK_DAYS_MIN}: use fewer --folds, "
                "or a longer span"
            )
        for _ in self.splits(_labels(np.arange(days + 1, dtype=np.int64) * 86_400_000_000_000)):
            pass

    def blocks(self, days: int) -> list[tuple[int, int]]:
        """(first, stop) of each block of days."""
        return blocks(days, self.folds + self.is_walk)

    def splits(self, labels: Labels) -> Iterator[Split]:
        """In the order of their tests."""
        if self.name == "walk_forward":
            return walk_forward(labels, self.folds, embargo_ns=self.embargo_ns)
        if self.name == "rolling":
            return walk_forward(labels, self.folds, train_blocks=self.train_folds, embargo_ns=self.embargo_ns)
        if self.name == "purged_k_fold":
            return purged_k_fold(labels, self.folds, embargo_ns=self.embargo_ns)
        return combinatorial(labels, self.folds, self.tested, embargo_ns=self.embargo_ns)


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """One choice. groups: tested blocks; train, test, purged: days. chosen: point of the search, None: no configuration had a value, and
    the test stays flat. inside, outside: the metric there (a Sharpe ratio a year, or the net return as a share), None: it has none.
    rank: share of the other configurations that were worse outside."""

    groups: list[int]
    train: int
    test: int
    purged: int
    test_first_ns: int
    test_last_ns: int
    chosen: int | None
    inside: float | None
    outside: float | None
    net_return: float
    rank: float | None


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """rows: each fold. Of the tested days one after the other, along each path (one but in cpcv): net_returns, sharpes (a year).

    days: of a path. net_return_interval, sharpe_interval: 95 %, of one path (stationary bootstrap); None where there are several or too few
    days. folds_lost: share of folds with a return below 0. choices: how many different configurations were chosen.
    """

    scheme: Scheme
    metric: Metric
    rows: list[Fold]
    days: int
    net_returns: list[float]
    sharpes: list[float | None]
    net_return_interval: Interval | None
    sharpe_interval: Interval | None
    folds_lost: float
    choices: int


class _Choice(NamedTuple):
    column: int | None
    values: F64  # of all configurations on the test days, NaN where there is none


def validate(table: Table, scheme: Scheme, metric: Metric, *, seed: int = 0, samples: int = SAMPLES) -> Validation:
    """Choose by the metric on the training days of each split, and score the choice on its test days. table: begun anew in each block.

    FailStop when a split trains on days that its test touches; ConfigError and DataError as the splits say.
    """
    labels = _labels(table.day_ns)
    tested: list[tuple[Split, F64]] = []
    rows = []
    for split in scheme.splits(labels):
        if len(leaking(labels, split.train, split.test, scheme.embargo_ns)):
            raise FailStop(f"validation: test block {split.groups} is known to its training days")
        inside = _metric(table.returns, split.train, metric)
        column = int(np.nanargmax(inside)) if np.isfinite(inside).any() else None
        earned = np.zeros(len(split.test)) if column is None else table.returns[split.test, column]
        outside = _metric(table.returns, split.test, metric)
        rows.append(_fold(split, labels, table, column, inside, outside, earned))
        tested.append((split, earned))
    histories = _paths(tested, scheme, len(table.returns))
    known = [history[np.isfinite(history)] for history in histories]
    return Validation(
        scheme=scheme, metric=metric, rows=rows, days=len(known[0]), net_returns=[float(np.prod(1.0 + r)) - 1.0 for r in known],
        sharpes=[_sharpe(r) for r in known], folds_lost=float(np.mean([row.net_return < 0.0 for row in rows])),
        choices=len({row.chosen for row in rows if row.chosen is not None}), **_intervals(known, seed, samples),
    )  # fmt: skip


def _labels(day_ns: I64) -> Labels:
    """A day's return is made between its two ends, the first of which belongs to the day before."""
    return Labels.of(day_ns[:-1] + 1, day_ns[1:])


def _metric(returns: F64, days: I64, metric: Metric) -> F64:
    """float64[configurations] over some days; NaN: a ratio without spread, or nothing but flat days."""
    width = returns.shape[1]
    return np.concatenate([_metric_of(returns[days, at : at + _TOGETHER], metric) for at in range(0, width, _TOGETHER)])


def _metric_of(returns: F64, metric: Metric) -> F64:
    if metric == "net_return":
        total: F64 = np.prod(1.0 + returns, axis=0) - 1.0
        total[(returns == 0.0).all(axis=0)] = np.nan
        return total
    if len(returns) < 2:
        return np.full(returns.shape[1], np.nan)
    mean, deviation = returns.mean(axis=0), returns.std(axis=0, ddof=1)
    has_spread = deviation > 1e-12 * np.abs(returns).max(axis=0)
    ratios = np.full(returns.shape[1], np.nan)
    np.divide(mean * math.sqrt(YEAR_DAYS), deviation, out=ratios, where=has_spread)
    return ratios


def _fold(split: Split, labels: Labels, table: Table, column: int | None, inside: F64, outside: F64, earned: F64) -> Fold:
    value = None if column is None or math.isnan(outside[column]) else float(outside[column])
    others = np.delete(outside, column) if column is not None else outside
    others = others[~np.isnan(others)]
    return Fold(
        **describe(split, labels),
        chosen=None if column is None else table.points[column],
        inside=None if column is None else float(inside[column]),
        outside=value,
        net_return=float(np.prod(1.0 + earned)) - 1.0,
        rank=None if value is None or not len(others) else float((others < value).mean()),
    )


def _paths(tested: list[tuple[Split, F64]], scheme: Scheme, days: int) -> F64:
    """float64[paths, days] of what the choices earned; NaN on days that no test has."""
    if scheme.name in ("purged_k_fold", "cpcv"):
        return assemble(tested, scheme.folds, days)
    history = np.full((1, days), np.nan)
    for split, earned in tested:
        history[0, split.test] = earned
    return history


def _sharpe(r: F64) -> float | None:
    mean, deviation, _, _ = moments(r)
    return mean / deviation * math.sqrt(YEAR_DAYS) if deviation > 0.0 else None


def _intervals(histories: list[F64], seed: int, samples: int) -> dict[str, Interval | None]:
    r = histories[0]
    if len(histories) > 1 or len(r) < PERIODS_MIN or r.min() <= -1.0 or _sharpe(r) is None:
        return {"net_return_interval": None, "sharpe_interval": None}
    drawn = returns_draws(r, target=0.0, block=block_of_returns(r), seed=seed, samples=samples)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = drawn[:, kernel.MEAN] / drawn[:, kernel.DEVIATION] * math.sqrt(YEAR_DAYS)
    return {"net_return_interval": interval(np.expm1(drawn[:, kernel.GROWTH])), "sharpe_interval": interval(ratios)}
