"""Statistics against a benchmark over the same periods. y, x: returns above the risk-free rate, of the track and of the benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from mia.backtest.stats.inputs import F64
from mia.backtest.stats.registry import Statistic
from mia.backtest.stats.sheet import Sheet

_GROUP: Final = "benchmark"
_NONE: Final = "no benchmark"


def _beta(n: int, sums: F64) -> F64:
    """Of sums [..., 6] as Sheet.pair_rows has them; NaN where the benchmark has no spread."""
    y, x, _, xx, xy, _ = np.moveaxis(sums, -1, 0)
    spread = xx - x * x / n
    with np.errstate(divide="ignore", invalid="ignore"):
        beta: F64 = np.where(spread > 1e-24 * xx, (xy - x * y / n) / spread, np.nan)
    return beta


def _alpha(n: int, sums: F64) -> F64:
    alpha: F64 = (sums[..., 0] - _beta(n, sums) * sums[..., 1]) / n
    return alpha


def _correlation(n: int, sums: F64) -> F64:
    y, x, yy, xx, xy, _ = np.moveaxis(sums, -1, 0)
    product = (yy - y * y / n) * (xx - x * x / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: F64 = np.where(product > 1e-24 * xx * yy, (xy - x * y / n) / np.sqrt(product), np.nan)
    return ratio


def _tracking(n: int, sums: F64) -> F64:
    mean = (sums[..., 0] - sums[..., 1]) / n
    error: F64 = np.sqrt(np.maximum(sums[..., 5] / n - mean * mean, 0.0) * n / (n - 1))
    return error


def _information(n: int, sums: F64) -> F64:
    error = _tracking(n, sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: F64 = np.where(error > 1e-12 * np.sqrt(sums[..., 5] / n), (sums[..., 0] - sums[..., 1]) / n / error, np.nan)
    return ratio


Formula = Callable[[int, F64], F64]


def _value(formula: Formula, factor: Callable[[float], float]) -> Callable[[Sheet], float | str]:
    def compute(s: Sheet) -> float | str:
        if s.benchmark is None:
            return _NONE
        found = float(formula(s.n, s.pair_rows.sum(axis=0))) * factor(s.periods.per_year)
        return found if not math.isnan(found) else "zero variance"

    return compute


def _draws(formula: Formula, factor: Callable[[float], float]) -> Callable[[Sheet], F64]:
    return lambda s: formula(s.n, s.pair_draws) * factor(s.periods.per_year)


def _plain(per_year: float) -> float:
    return 1.0


def _a_year(per_year: float) -> float:
    return per_year


def _benchmark_return(s: Sheet) -> float | str:
    return float(np.prod(1.0 + s.benchmark_r) - 1.0) if s.benchmark_r is not None else _NONE


STATISTICS: Final[tuple[Statistic, ...]] = (
    Statistic(
        name="benchmark_return", title="Return of the benchmark", group=_GROUP, unit="share",
        formula="B[last] / B[first] - 1 over the periods",
        source="definition", counts="period", minimum=1, compute=_benchmark_return, is_headline=True,
    ),
    Statistic(
        name="alpha", title="Alpha", group=_GROUP, unit="share a year", formula="(mean(y) - beta mean(x)) P",
        source="Jensen (1968), The performance of mutual funds", counts="period", minimum=30, compute=_value(_alpha, _a_year),
        draws=_draws(_alpha, _a_year), is_headline=True,
    ),
    Statistic(
        name="beta", title="Beta", group=_GROUP, unit="ratio", formula="cov(y, x) / var(x)", source="Sharpe (1964), Capital asset prices",
        counts="period", minimum=30, compute=_value(_beta, _plain), draws=_draws(_beta, _plain), is_headline=True,
    ),
    Statistic(
        name="correlation", title="Correlation with it", group=_GROUP, unit="ratio", formula="cov(y, x) / sqrt(var(y) var(x))",
        source="definition",
        counts="period", minimum=30, compute=_value(_correlation, _plain), draws=_draws(_correlation, _plain),
    ),
    Statistic(
        name="tracking_error", title="Tracking error", group=_GROUP, unit="share a year", formula="std(y - x) sqrt(P)", source="definition",
        counts="period", minimum=30, compute=_value(_tracking, math.sqrt), draws=_draws(_tracking, math.sqrt),
    ),
    Statistic(
        name="information_ratio", title="Information ratio", group=_GROUP, unit="a year", formula="mean(y - x) / std(y - x) sqrt(P)",
        source="Goodwin (1998), The information ratio", counts="period", minimum=30, compute=_value(_information, math.sqrt),
        draws=_draws(_information, math.sqrt),
    ),
)  # fmt: skip
