"""Figures as other programs define them, to lay results beside theirs. Ours are in `catalogue`; these are for comparison only."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mia.backtest.stats.inputs import F64, check_returns
from mia.domain.errors import DataError


class BacktestingPy(NamedTuple):
    """As backtesting.py 0.6 prints them, but as shares instead of percent."""

    final_equity: float
    annual_return: float
    annual_volatility: float
    sharpe: float
    max_drawdown: float  # negative


def backtesting_py(equity: F64, days_a_year: float = 252.0, risk_free: float = 0.0) -> BacktestingPy:
    """From equity at the close of each day, above 0 (the first row is the first bar, not the start before it).

    Annual return: geometric mean of the daily returns, compounded over a year. Volatility: that of returns
    compounded over a year, sqrt((v + (1 + g)^2)^N - (1 + g)^(2N)). Sharpe divides the two, where ours divides arithmetic means by plain
    deviations and multiplies with sqrt(N): the same equity gives a lower figure there when returns are volatile.
    """
    equity = check_returns(equity, "equity")
    if equity.min() <= 0.0 or len(equity) < 3:
        raise DataError(f"equity: row {int(equity.argmin())}: needs at least 3 rows, all above 0")
    r = equity[1:] / equity[:-1] - 1.0
    growth = math.exp(float(np.log1p(r).sum()) / len(r))
    yearly = growth**days_a_year - 1.0
    variance = float(r.var(ddof=1))
    volatility = math.sqrt((variance + growth**2) ** days_a_year - growth ** (2.0 * days_a_year))
    deepest = float((equity / np.maximum.accumulate(equity)).min()) - 1.0
    return BacktestingPy(
        float(equity[-1]), yearly, volatility, (yearly - risk_free) / volatility if volatility > 0.0 else math.nan, deepest
    )
