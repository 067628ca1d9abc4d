"""Weights window by window, each from earlier windows only; what the blend came to out of sample, and what each member added to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mia.backtest.ensemble.weights import FORGETTING, METHODS, Past, fitted
from mia.domain.errors import ConfigError, DataError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
YEAR_NS: Final = 31_557_600 * 10**9  # 365.25 days
_BARS_MIN: Final = 50  # of a window: fewer say nothing of a covariance


class Window(NamedTuple):
    """Bars first .. stop - 1, and by method the weights that were used on them, float64[k], made of bars before `first` only."""

    first: int
    stop: int
    weights: Mapping[str, F64]


class Figures(NamedTuple):
    """Of bar returns: total return; volatility and Sharpe ratio a year (0 rate), of the bars' own number in a year; deepest fall.

    sharpe is None when returns do not vary.
    """

    total: float
    volatility: float
    sharpe: float | None
    drawdown: float


class Series(NamedTuple):
    """Returns of the tested bars: of members float64[n, k]; of blends by method and of the blend without each member float64[n]."""

    members: F64
    blends: Mapping[str, F64]
    without: tuple[F64 | None, ...]


class Fit(NamedTuple):
    """windows: those that were tested, in order; last: weights by method from all bars; years: of the tested bars. See fit()."""

    windows: tuple[Window, ...]
    last: Mapping[str, F64]
    members: tuple[Figures, ...]
    blends: Mapping[str, Figures]
    correlation: F64
    without: tuple[Figures | None, ...]
    years: float
    series: Series


def cut(bars: int, windows: int) -> list[tuple[int, int]]:
    """(first, stop) of `windows` neighbouring windows of so many bars; ConfigError when they are too short."""
    if windows < 2:
        raise ConfigError(f"--windows {windows}: use 2 or more: the first one only teaches")
    if bars < windows * _BARS_MIN:
        raise DataError(f"{bars} bars make no {windows} windows of at least {_BARS_MIN}: use longer history or fewer --windows")
    edges = [bars * k // windows for k in range(windows + 1)]
    return [(edges[k], edges[k + 1]) for k in range(windows)]


def walk(
    past: Past, windows: int, lookback: int = 0, forgetting: float = FORGETTING, methods: Sequence[str] = tuple(METHODS)
) -> list[Window]:
    """Every window but the first with the weights of each method, fitted on the windows before it.

    lookback: only on so many windows before it; 0: on all. Windows whose weights would need more than there are before them are fitted
    on what there is.
    """
    spans = cut(len(past.market), windows)
    found = []
    for k in range(1, windows):
        begin = spans[max(0, k - lookback)][0] if lookback else 0
        before = past.rows(begin, spans[k][0])
        found.append(Window(*spans[k], {name: fitted(name, before, forgetting) for name in methods}))
    return found


def check(bars: int, method: str, windows: int, forgetting: float) -> None:
    """ConfigError and DataError for what cannot be fitted."""
    if method not in METHODS:
        raise ConfigError(f"--method {method!r}: use one of {', '.join(METHODS)}")
    if not (0.5 <= forgetting <= 1.0):
        raise ConfigError(f"--forgetting {forgetting}: use 0.5 to 1")
    cut(bars, windows)


def fit(past: Past, ts_ns: I64, method: str, *, windows: int, lookback: int = 0, forgetting: float = FORGETTING) -> Fit:
    """Everything about one set of members. ts_ns: int64[n], closes of the bars; method: of which members' shares are told.

    last: weights fitted on all bars (or the last `lookback` windows): for the file, and without any figure out of sample of their own.
    blends: by method, of accounts side by side that are brought to their weights at each bar for nothing. correlation: of members'
    returns out of sample, NaN for one that did not move. without: the blend of `method` fitted and tested without each member in turn.
    """
    check(len(past.market), method, windows, forgetting)
    tested = walk(past, windows, lookback, forgetting)
    begin, k = tested[0].first, past.returns.shape[1]
    out = past.returns[begin:]
    years = float(ts_ns[-1] - ts_ns[begin]) / YEAR_NS * len(out) / max(len(out) - 1, 1)
    spans = cut(len(past.market), windows)
    last_from = spans[max(0, windows - lookback)][0] if lookback else 0
    every = past.rows(last_from, len(past.market))

    def left_out(member: int) -> F64 | None:
        if k < 2:
            return None
        others = past.only([i for i in range(k) if i != member])
        return blended(others, walk(others, windows, lookback, forgetting, [method]), method)

    series = Series(out, {name: blended(past, tested, name) for name in METHODS}, tuple(left_out(j) for j in range(k)))
    return Fit(
        windows=tuple(tested),
        last={name: fitted(name, every, forgetting) for name in METHODS},
        members=tuple(figures(out[:, j], years) for j in range(k)),
        blends={name: figures(returns, years) for name, returns in series.blends.items()},
        correlation=correlation(out),
        without=tuple(None if returns is None else figures(returns, years) for returns in series.without),
        years=years,
        series=series,
    )


def blended(past: Past, windows: Sequence[Window], method: str) -> F64:
    """float64[m]: return of each bar of the windows, weighted."""
    return np.concatenate([past.returns[w.first : w.stop] @ w.weights[method] for w in windows])


def figures(returns: F64, years: float) -> Figures:
    """years: how long the returns took."""
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    a_year = len(returns) / years
    deviation = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    return Figures(
        total=float(wealth[-1] - 1.0),
        volatility=deviation * math.sqrt(a_year),
        sharpe=float(returns.mean()) / deviation * math.sqrt(a_year) if deviation > 0.0 else None,
        drawdown=float((1.0 - wealth / np.maximum.accumulate(wealth)).max()),
    )


def correlation(returns: F64) -> F64:
    """float64[k, k]; NaN where one did not move."""
    centred = returns - returns.mean(axis=0)
    size = np.sqrt((centred * centred).sum(axis=0))
    size = np.where(size > 0.0, size, np.nan)
    found: F64 = centred.T @ centred / np.outer(size, size)
    return found
