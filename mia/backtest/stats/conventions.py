"""Figures as other programs define them, told beside ours under the preset of that program. Ours are in `catalogue`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mia.backtest.stats.inputs import F64, I64, check_returns
from mia.backtest.stats.periods import DAY_NS
from mia.domain.errors import DataError


class BacktestingPy(NamedTuple):
    """As backtesting.py 0.6 prints them, but as shares instead of percent."""

    final_equity: float
    annual_return: float
    annual_volatility: float
    sharpe: float
    max_drawdown: float  # negative


def backtesting_py(ts_ns: I64, equity: F64) -> BacktestingPy:
    """From equity at the close of each bar, above 0 (the first row is the first bar, not the start before it).

    Days are those of UTC, a year has 252 of them, or 365 where bars close at weekends, too. Annual return: geometric mean of the daily
    returns, compounded over a year. Volatility: that of returns compounded over a year,
    sqrt((v + (1 + g)^2)^N - (1 + g)^(2N)). Sharpe divides the two, where ours divides arithmetic means by plain deviations and multiplies
    with sqrt(N): the same equity gives a lower figure there when returns are volatile. Drawdown: over all bars.
    """
    equity = check_returns(equity, "equity")
    days = (ts_ns - 1) // DAY_NS
    ends = np.flatnonzero(np.append(np.diff(days) != 0, True))
    if equity.min() <= 0.0 or len(ends) < 3:
        raise DataError(f"equity: row {int(equity.argmin())}: needs at least 3 days, all above 0")
    is_weekend = (days + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    year = 365.0 if float(is_weekend.mean()) > 2.0 / 7.0 * 0.6 else 252.0
    daily = equity[ends]
    r = daily[1:] / daily[:-1] - 1.0
    growth = math.exp(float(np.log1p(r).sum()) / len(r))
    yearly = growth**year - 1.0
    volatility = math.sqrt((float(r.var(ddof=1)) + growth**2) ** year - growth ** (2.0 * year))
    deepest = float((equity / np.maximum.accumulate(equity)).min()) - 1.0
    return BacktestingPy(float(equity[-1]), yearly, volatility, yearly / volatility if volatility > 0.0 else math.nan, deepest)
