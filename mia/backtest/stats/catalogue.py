"""Every statistic in the order in which it is printed: what trials left of it first."""

from __future__ import annotations

from typing import Final

from mia.backtest.stats import of_benchmark, of_drawdowns, of_returns, of_trades, of_trust
from mia.backtest.stats.registry import Statistic

STATISTICS: Final[tuple[Statistic, ...]] = (
    *of_trust.STATISTICS,
    *of_returns.STATISTICS,
    *of_drawdowns.STATISTICS,
    *of_benchmark.STATISTICS,
    *of_trades.STATISTICS,
)
BY_NAME: Final = {statistic.name: statistic for statistic in STATISTICS}
# Of them with intervals: what a trader would act on. The others of so many groups would take longer than all the rest.
BY_GROUP_SURE: Final = ("mean_return", "sharpe", "profit")
# What is also told by regime, session, hour and weekday.
BY_GROUP: Final = (
    "return", "mean_return",
    "volatility", "sharpe", "sortino", "omega", "var_95", "cvar_95", "skew", "kurtosis", "max_drawdown", "ulcer", "time_in_market",
    "mean_exposure", "trades", "profit", "hit_rate", "profit_factor", "payoff", "expectancy", "sqn", "loss_streak", "holding", "costs",
    "cost_share",
)  # fmt: skip
