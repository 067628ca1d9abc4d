"""How sure the figures of a fit are: intervals by the stationary bootstrap, all series resampled with the same rows.

Figures are of sums over bars, so bars are resampled as the sums of groups that follow each other (at most 4096): the bars of a group stay
together, and a million of them take seconds. The weights are those that were used: that a fit on other history would give other ones is
not in these intervals. The deepest fall has none: it depends on the order of bars, which blocks change.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from mia.backtest.ensemble.fit import F64, Series
from mia.backtest.stats.resample import Interval, block_of_returns, grouped, interval, sums_draws

SAMPLES: Final = 1_000
_STREAM: Final = 7  # of the words that these resamples draw from


class Band(NamedTuple):
    """95 % intervals of the Figures of the same name; None: too many resamples have no such figure."""

    total: Interval | None
    volatility: Interval | None
    sharpe: Interval | None


class Bands(NamedTuple):
    """Of a fit. added: of the blend less the blend without each member; correlation: [k][k], of members' returns. block: bars, mean."""

    members: tuple[Band, ...]
    blends: Mapping[str, Band]
    added: tuple[Band | None, ...]
    correlation: tuple[tuple[Interval | None, ...], ...]
    block: float


class _Draws:
    """Figures of each resample of several series; series: float64[n] each, returns above -1."""

    def __init__(self, series: Sequence[F64], years: float, samples: int, pairs: Sequence[tuple[int, int]] = ()) -> None:
        n = len(series[0])
        self._a_year = n / years
        self._n = n
        units = [np.ones(n)]
        for r in series:
            units += [r, r * r, np.log1p(r)]
        units += [series[i] * series[j] for i, j in pairs]
        rows = np.column_stack([grouped(unit) for unit in units])
        sums = [rows[:, 1 + 3 * k] for k in range(len(series))]
        block = max(block_of_returns(each) for each in sums)
        self.block = block * math.ceil(n / len(rows))
        self._draws = sums_draws(rows, block=block, seed=0, samples=samples, stream=_STREAM)
        self._first_pair = 1 + 3 * len(series)

    def figures(self, k: int) -> F64:
        """float64[3, samples]: total return, volatility and Sharpe ratio a year of series k; NaN where it does not vary."""
        count, mean, variance = self._moments(k)
        deviation = np.sqrt(variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            sharpe = np.where(deviation > 0.0, mean / deviation, np.nan) * math.sqrt(self._a_year)
        return np.stack([np.expm1(self._draws[:, 3 + 3 * k] * self._n / count), deviation * math.sqrt(self._a_year), sharpe])

    def correlation(self, i: int, j: int, pair: int) -> F64:
        """float64[samples], of series i and j, whose products are those of `pair`; NaN where one does not vary."""
        count, mean_i, variance_i = self._moments(i)
        _, mean_j, variance_j = self._moments(j)
        together = (self._draws[:, self._first_pair + pair] - count * mean_i * mean_j) / np.maximum(count - 1.0, 1.0)
        size = np.sqrt(variance_i * variance_j)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: F64 = np.where(size > 0.0, np.clip(together / size, -1.0, 1.0), np.nan)
        return found

    def _moments(self, k: int) -> tuple[F64, F64, F64]:
        count, total, squares = self._draws[:, 0], self._draws[:, 1 + 3 * k], self._draws[:, 2 + 3 * k]
        mean = total / count
        variance = (squares - count * mean * mean) / np.maximum(count - 1.0, 1.0)
        return count, mean, np.where(variance > 1e-12 * squares / count, variance, 0.0)


def band_of(returns: F64, years: float, samples: int = SAMPLES) -> Band:
    """Of one series; returns: float64[n] above -1, which took `years`."""
    return _band(_Draws([returns], years, samples).figures(0))


def bands_of(series: Series, method: str, years: float, samples: int = SAMPLES) -> Bands:
    """Of everything that a fit tells; method: of which members' shares are told."""
    k = series.members.shape[1]
    names = list(series.blends)
    columns = [*(np.ascontiguousarray(series.members[:, j]) for j in range(k)), *series.blends.values()]
    left = {j: len(columns) + place for place, j in enumerate(j for j, r in enumerate(series.without) if r is not None)}
    columns += [r for r in series.without if r is not None]
    pairs = list(itertools.combinations(range(k), 2))
    draws = _Draws(columns, years, samples, pairs)
    whole = draws.figures(k + names.index(method))
    table: list[list[Interval | None]] = [[None] * k for _ in range(k)]
    for number, (i, j) in enumerate(pairs):
        table[i][j] = table[j][i] = interval(draws.correlation(i, j, number))
    return Bands(
        members=tuple(_band(draws.figures(j)) for j in range(k)),
        blends={name: _band(draws.figures(k + place)) for place, name in enumerate(names)},
        added=tuple(_band(whole - draws.figures(left[j])) if j in left else None for j in range(k)),
        correlation=tuple(tuple(row) for row in table),
        block=draws.block,
    )


def _band(figures: F64) -> Band:
    return Band(*(interval(each) for each in figures))
