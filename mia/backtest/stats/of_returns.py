"""Statistics of the returns of periods: what was earned, how much it swung, and the ratios of the two."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from mia.backtest.stats.inputs import F64
from mia.backtest.stats.registry import Statistic
from mia.backtest.stats.sheet import Sheet
from mia.kernels import bootstrap as kernel

NO_VARIANCE: Final = "zero variance"
_RETURN: Final = "return"
_RISK: Final = "risk"
_SHAPE: Final = "shape of returns"


def growth(equity_first: float, equity_last: float, years: float) -> float | str:
    """Compound growth a year as a share; -1.0 of an account that lost all."""
    if not years > 0.0:
        return "no time passed"
    if equity_last <= 0.0:
        return -1.0
    exponent = math.log(equity_last / equity_first) / years
    return math.expm1(exponent) if exponent < 700.0 else math.inf


def _total(s: Sheet) -> float:
    last = s.equity[-1] if s.ruin_row is None else s.equity[s.ruin_row]
    return float(last / s.equity[0] - 1.0)


def _cagr(s: Sheet) -> float | str:
    last = s.equity[-1] if s.ruin_row is None else 0.0
    return growth(float(s.equity[0]), float(last), s.years)


def _cagr_draws(s: Sheet) -> F64:
    with np.errstate(over="ignore"):
        return np.expm1(s.draws[:, kernel.GROWTH] / s.years)


def _volatility(s: Sheet) -> float:
    return s.moments[1] * math.sqrt(s.periods.per_year)


def _sharpe(s: Sheet) -> float | str:
    return s.sharpe * math.sqrt(s.periods.per_year) if s.moments[1] > 0.0 else NO_VARIANCE


def _ratio_draws(s: Sheet, column: int) -> F64:
    with np.errstate(divide="ignore", invalid="ignore"):
        return (s.draws[:, kernel.MEAN] - s.target) / s.draws[:, column] * math.sqrt(s.periods.per_year)


def _downside(s: Sheet) -> float:
    below = np.minimum(s.r - s.target, 0.0)
    return math.sqrt(float((below * below).mean()))


def _sortino(s: Sheet) -> float | str:
    downside = _downside(s)
    if downside == 0.0:
        return f"no losing {s.periods.noun}"
    return (s.moments[0] - s.target) / downside * math.sqrt(s.periods.per_year)


def _omega(s: Sheet) -> float | str:
    excess = s.r - s.target
    losses = float(-excess[excess < 0.0].sum())
    return float(excess[excess > 0.0].sum()) / losses if losses > 0.0 else f"no losing {s.periods.noun}"


def _omega_draws(s: Sheet) -> F64:
    with np.errstate(divide="ignore", invalid="ignore"):
        return s.draws[:, kernel.GAINS] / s.draws[:, kernel.LOSSES]


def tail_rows(n: int, percent: int) -> int:
    """Rows of the worst `percent` of n: ceil(n percent / 100), at least 1."""
    return max(1, -(-n * percent // 100))


def _var(s: Sheet, percent: int) -> float:
    return float(-s.ordered[tail_rows(s.n, percent) - 1])


def _cvar(s: Sheet, percent: int) -> float:
    return float(-s.ordered[: tail_rows(s.n, percent)].mean())


def _tail_ratio(s: Sheet) -> float | str:
    low = abs(_var(s, 5))
    return abs(float(s.ordered[-(-s.n * 95 // 100) - 1])) / low if low > 0.0 else "no spread at 5 %"


def _tail_draws(s: Sheet) -> F64:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(s.draws[:, kernel.HIGH_95]) / np.abs(s.draws[:, kernel.VAR_95])


_HISTORIC: Final = "Jorion (2006), Value at Risk, historical simulation"
_ACERBI: Final = "Acerbi and Tasche (2002), Expected shortfall"

STATISTICS: Final[tuple[Statistic, ...]] = (
    Statistic(
        name="return", title="Return", group=_RETURN, unit="share", formula="E[last] / E[first] - 1; up to ruin", source="definition",
        counts="mark",
        minimum=2, compute=_total, draws=lambda s: np.expm1(s.draws[:, kernel.GROWTH]), solvent=False, is_headline=True,
    ),
    Statistic(
        name="cagr", title="Return a year (CAGR)", group=_RETURN, unit="share a year",
        formula="(E[last] / E[first])^(1 / years) - 1; -1 after ruin",
        source="definition; years of 365.25 days", counts="period", minimum=30, compute=_cagr, draws=_cagr_draws, solvent=False,
        is_headline=True,
    ),
    Statistic(
        name="mean_return", title="Mean return", group=_RETURN, unit="share a year", formula="mean(r) P",
        source="definition; P: periods a year",
        counts="period", minimum=20, compute=lambda s: s.moments[0] * s.periods.per_year,
        draws=lambda s: s.draws[:, kernel.MEAN] * s.periods.per_year,
    ),
    Statistic(
        name="volatility", title="Volatility", group=_RISK, unit="share a year", formula="std(r) sqrt(P), std with n - 1",
        source="definition",
        counts="period", minimum=20, compute=_volatility, draws=lambda s: s.draws[:, kernel.DEVIATION] * math.sqrt(s.periods.per_year),
        is_headline=True,
    ),
    Statistic(
        name="sharpe", title="Sharpe", group=_RETURN, unit="a year", formula="mean(r - rf) / std(r) sqrt(P)",
        source="Sharpe (1994), The Sharpe ratio",
        counts="period", minimum=30, compute=_sharpe, draws=lambda s: _ratio_draws(s, kernel.DEVIATION), is_headline=True,
    ),
    Statistic(
        name="sortino", title="Sortino", group=_RETURN, unit="a year", formula="mean(r - rf) / sqrt(mean(min(r - rf, 0)^2)) sqrt(P)",
        source="Sortino and van der Meer (1991), Downside risk", counts="period", minimum=30, compute=_sortino,
        draws=lambda s: _ratio_draws(s, kernel.DOWNSIDE), is_headline=True,
    ),
    Statistic(
        name="omega", title="Omega", group=_RETURN, unit="ratio", formula="sum(max(r - rf, 0)) / sum(max(rf - r, 0))",
        source="Keating and Shadwick (2002), A universal performance measure", counts="period", minimum=30, compute=_omega,
        draws=_omega_draws,
        is_headline=True,
    ),
    Statistic(
        name="positive_periods", title="Periods with a gain", group=_SHAPE, unit="share", formula="count(r > 0) / n", source="definition",
        counts="period", minimum=20, compute=lambda s: float(np.count_nonzero(s.r > 0.0)) / s.n, draws=lambda s: s.draws[:, kernel.HITS],
    ),
    Statistic(
        name="best_period", title="Best period", group=_SHAPE, unit="share", formula="max(r)", source="definition", counts="period",
        minimum=2,
        compute=lambda s: float(s.ordered[-1]),
    ),
    Statistic(
        name="worst_period", title="Worst period", group=_SHAPE, unit="share", formula="min(r)", source="definition", counts="period",
        minimum=2,
        compute=lambda s: float(s.ordered[0]),
    ),
    Statistic(
        name="var_95", title="Value at risk 95 %", group=_RISK, unit="share", formula="-(the ceil(0.05 n)-th smallest r)", source=_HISTORIC,
        counts="period", minimum=60, compute=lambda s: _var(s, 5), draws=lambda s: s.draws[:, kernel.VAR_95], is_headline=True,
    ),
    Statistic(
        name="cvar_95", title="Mean loss beyond it (CVaR 95 %)", group=_RISK, unit="share", formula="-mean(the ceil(0.05 n) smallest r)",
        source=_ACERBI, counts="period", minimum=60, compute=lambda s: _cvar(s, 5), draws=lambda s: s.draws[:, kernel.CVAR_95],
        is_headline=True,
    ),
    Statistic(
        name="var_99", title="Value at risk 99 %", group=_RISK, unit="share", formula="-(the ceil(0.01 n)-th smallest r)", source=_HISTORIC,
        counts="period", minimum=300, compute=lambda s: _var(s, 1), draws=lambda s: s.draws[:, kernel.VAR_99],
    ),
    Statistic(
        name="cvar_99", title="Mean loss beyond it (CVaR 99 %)", group=_RISK, unit="share", formula="-mean(the ceil(0.01 n) smallest r)",
        source=_ACERBI, counts="period", minimum=300, compute=lambda s: _cvar(s, 1), draws=lambda s: s.draws[:, kernel.CVAR_99],
    ),
    Statistic(
        name="skew", title="Skew", group=_SHAPE, unit="ratio", formula="mean((r - m)^3) / mean((r - m)^2)^1.5", source="definition",
        counts="period",
        minimum=30, compute=lambda s: s.moments[2] if s.moments[1] > 0.0 else NO_VARIANCE, draws=lambda s: s.draws[:, kernel.SKEW],
        is_headline=True,
    ),
    Statistic(
        name="kurtosis", title="Kurtosis (normal: 3)", group=_SHAPE, unit="ratio", formula="mean((r - m)^4) / mean((r - m)^2)^2",
        source="definition", counts="period", minimum=30, compute=lambda s: s.moments[3] if s.moments[1] > 0.0 else NO_VARIANCE,
        draws=lambda s: s.draws[:, kernel.KURTOSIS], is_headline=True,
    ),
    Statistic(
        name="tail_ratio", title="Tail ratio", group=_SHAPE, unit="ratio",
        formula="|q95(r)| / |q5(r)|, values at places ceil(0.95 n) and ceil(0.05 n)",
        source="definition", counts="period", minimum=60, compute=_tail_ratio, draws=_tail_draws,
    ),
)  # fmt: skip
