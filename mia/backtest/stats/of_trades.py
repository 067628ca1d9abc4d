"""Statistics of closed trades, and of how much of the time and of the equity was at work. Won: profit above 0, lost: below 0, both net."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from mia.backtest.stats import sheet as columns
from mia.backtest.stats.inputs import E8, F64, I64, Bool
from mia.backtest.stats.registry import Statistic
from mia.backtest.stats.sheet import Sheet

_GROUP: Final = "trades"
_USE: Final = "exposure and costs"
NO_LOSS: Final = "no losing trade"
NO_WIN: Final = "no winning trade"
_SQN_TRADES_MAX: Final = 100.0


def _payoff(sums: F64) -> F64:
    """Of sums [..., 7]: mean win over mean loss; inf or NaN where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: F64 = (sums[..., columns.WON] / sums[..., columns.WINS]) / (sums[..., columns.LOST] / sums[..., columns.LOSSES])
    return ratio


def _over(sums: F64, a: int, b: int) -> F64:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: F64 = sums[..., a] / sums[..., b]
    return ratio


def _sqn(sums: F64) -> F64:
    n = sums[..., columns.COUNT]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums[..., columns.PROFIT] / n
        variance = (sums[..., columns.SQUARE] / n - mean * mean) * n / (n - 1.0)
        ratio: F64 = np.sqrt(np.minimum(n, _SQN_TRADES_MAX)) * mean / np.sqrt(np.maximum(variance, 0.0))
    return ratio


def _cost_share(sums: F64) -> F64:
    gross = sums[..., columns.PROFIT] + sums[..., columns.COST]
    with np.errstate(divide="ignore", invalid="ignore"):
        share: F64 = np.where(gross > 0.0, sums[..., columns.COST] / gross, np.inf)
    return share


def _profit_factor(s: Sheet) -> float | str:
    return float(_over(s.trade_sums, columns.WON, columns.LOST)) if s.trade_sums[columns.LOST] > 0.0 else NO_LOSS


def _payoff_of(s: Sheet) -> float | str:
    if not s.trade_sums[columns.LOST] > 0.0:
        return NO_LOSS
    return float(_payoff(s.trade_sums)) if s.trade_sums[columns.WINS] > 0.0 else NO_WIN


def _sqn_of(s: Sheet) -> float | str:
    spread = float(s.profit.std(ddof=1))
    if not spread > 1e-12 * float(np.abs(s.profit).max()):
        return "zero variance"
    return math.sqrt(min(len(s.profit), _SQN_TRADES_MAX)) * float(s.profit.mean()) / spread


def _cost_share_of(s: Sheet) -> float | str:
    share = float(_cost_share(s.trade_sums))
    return share if math.isfinite(share) else "no profit before costs"


def longest_run(flags: Bool) -> int:
    """The most True in a row."""
    edges: I64 = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def _mean_or(values: F64, why: str) -> float | str:
    return float(values.mean()) if len(values) else why


def _excursion_ratio(s: Sheet) -> float | str:
    worst = -float(s.trips.mae_e8.sum()) / E8
    return float(s.trips.mfe_e8.sum()) / E8 / worst if worst > 0.0 else "no adverse excursion"


def _turnover(s: Sheet) -> float | str:
    if not s.years > 0.0:
        return "no time passed"
    traded = float((s.trips.qty * (s.trips.entry_price + s.trips.exit_price)).sum())
    return traded / float((s.weights * s.equity[:-1]).sum()) / s.years


def _held(s: Sheet) -> F64:
    """float64[marks - 1]: absolute exposure between marks."""
    held: F64 = np.abs(s.track.exposure[:-1])
    return held


STATISTICS: Final[tuple[Statistic, ...]] = (
    Statistic(
        name="trades", title="Trades", group=_GROUP, unit="count", formula="closed round trips", source="definition", counts="mark",
        minimum=1,
        compute=lambda s: len(s.profit), solvent=False, is_headline=True,
    ),
    Statistic(
        name="profit", title="Net profit of trades", group=_GROUP, unit="money", formula="sum(p), p: profit of a trade after all costs",
        source="definition", counts="trade", minimum=1, compute=lambda s: float(s.profit.sum()),
        draws=lambda s: s.trade_draws[:, columns.PROFIT],
        solvent=False, is_headline=True,
    ),
    Statistic(
        name="hit_rate", title="Hit rate", group=_GROUP, unit="share", formula="count(p > 0) / m", source="definition", counts="trade",
        minimum=10,
        compute=lambda s: float(_over(s.trade_sums, columns.WINS, columns.COUNT)),
        draws=lambda s: _over(s.trade_draws, columns.WINS, columns.COUNT), solvent=False, is_headline=True,
    ),
    Statistic(
        name="profit_factor", title="Profit factor", group=_GROUP, unit="ratio", formula="sum(p > 0) / -sum(p < 0)", source="definition",
        counts="trade",
        minimum=10, compute=_profit_factor, draws=lambda s: _over(s.trade_draws, columns.WON, columns.LOST), solvent=False,
        is_headline=True,
    ),
    Statistic(
        name="payoff", title="Payoff", group=_GROUP, unit="ratio", formula="mean(p > 0) / -mean(p < 0)", source="definition",
        counts="trade", minimum=10,
        compute=_payoff_of, draws=lambda s: _payoff(s.trade_draws), solvent=False, is_headline=True,
    ),
    Statistic(
        name="expectancy", title="Expectancy of a trade", group=_GROUP, unit="money", formula="mean(p)", source="definition",
        counts="trade", minimum=10,
        compute=lambda s: float(s.profit.mean()), draws=lambda s: _over(s.trade_draws, columns.PROFIT, columns.COUNT), solvent=False,
        is_headline=True,
    ),
    Statistic(
        name="sqn", title="System quality number", group=_GROUP, unit="ratio", formula="sqrt(min(m, 100)) mean(p) / std(p), std with m - 1",
        source="Tharp (2008), Definitive guide to position sizing", counts="trade", minimum=30, compute=_sqn_of,
        draws=lambda s: _sqn(s.trade_draws),
        solvent=False, is_headline=True,
    ),
    Statistic(
        name="mean_win", title="Mean win", group=_GROUP, unit="money", formula="mean(p > 0)", source="definition", counts="trade",
        minimum=10,
        compute=lambda s: _mean_or(s.profit[s.profit > 0.0], NO_WIN), solvent=False,
    ),
    Statistic(
        name="mean_loss", title="Mean loss", group=_GROUP, unit="money", formula="mean(p < 0)", source="definition", counts="trade",
        minimum=10,
        compute=lambda s: _mean_or(s.profit[s.profit < 0.0], NO_LOSS), solvent=False,
    ),
    Statistic(
        name="best_trade", title="Best trade", group=_GROUP, unit="money", formula="max(p)", source="definition", counts="trade", minimum=1,
        compute=lambda s: float(s.profit.max()), solvent=False,
    ),
    Statistic(
        name="worst_trade", title="Worst trade", group=_GROUP, unit="money", formula="min(p)", source="definition", counts="trade",
        minimum=1,
        compute=lambda s: float(s.profit.min()), solvent=False,
    ),
    Statistic(
        name="win_streak", title="Most wins in a row", group=_GROUP, unit="count", formula="longest run of p > 0, by time of close",
        source="definition",
        counts="trade", minimum=1, compute=lambda s: longest_run(s.profit > 0.0), solvent=False,
    ),
    Statistic(
        name="loss_streak", title="Most losses in a row", group=_GROUP, unit="count", formula="longest run of p < 0, by time of close",
        source="definition", counts="trade", minimum=1, compute=lambda s: longest_run(s.profit < 0.0), solvent=False, is_headline=True,
    ),
    Statistic(
        name="holding", title="Mean holding time", group=_GROUP, unit="duration", formula="mean(closed - opened)", source="definition",
        counts="trade",
        minimum=1, compute=lambda s: float(s.held_ns.mean()),
        draws=lambda s: _over(s.trade_draws, columns.HELD, columns.COUNT), solvent=False, is_headline=True,
    ),
    Statistic(
        name="holding_median", title="Median holding time", group=_GROUP, unit="duration", formula="median(closed - opened)",
        source="definition",
        counts="trade", minimum=1, compute=lambda s: float(np.median(s.held_ns)), solvent=False,
    ),
    Statistic(
        name="holding_bars", title="Mean holding time in bars", group=_GROUP, unit="ratio", formula="mean(bars)", source="definition",
        counts="trade",
        minimum=1, compute=lambda s: float(s.trips.bars.mean()), solvent=False,
    ),
    Statistic(
        name="mae", title="Mean worst open loss (MAE)", group=_GROUP, unit="money", formula="mean(lowest open profit of a trade)",
        source="Sweeney (1996), Maximum adverse excursion", counts="trade", minimum=10,
        compute=lambda s: float(s.trips.mae_e8.mean()) / E8, solvent=False,
    ),
    Statistic(
        name="mfe", title="Mean best open profit (MFE)", group=_GROUP, unit="money", formula="mean(highest open profit of a trade)",
        source="Sweeney (1996), Maximum adverse excursion", counts="trade", minimum=10,
        compute=lambda s: float(s.trips.mfe_e8.mean()) / E8, solvent=False,
    ),
    Statistic(
        name="excursion_ratio", title="MFE over MAE", group=_GROUP, unit="ratio", formula="sum(mfe) / -sum(mae)", source="definition",
        counts="trade",
        minimum=10, compute=_excursion_ratio, solvent=False,
    ),
    Statistic(
        name="time_in_market", title="Time with a position", group=_USE, unit="share", formula="time with exposure other than 0 / all time",
        source="definition", counts="mark", minimum=2, compute=lambda s: float(s.weights[_held(s) > 0.0].sum()), solvent=False,
        is_headline=True,
    ),
    Statistic(
        name="mean_exposure", title="Mean exposure", group=_USE, unit="share", formula="time mean of |notional| / equity",
        source="definition",
        counts="mark", minimum=2, compute=lambda s: float((s.weights * _held(s)).sum()), is_headline=True,
    ),
    Statistic(
        name="net_exposure", title="Mean signed exposure", group=_USE, unit="share",
        formula="time mean of notional / equity, short negative",
        source="definition", counts="mark", minimum=2, compute=lambda s: float((s.weights * s.track.exposure[:-1]).sum()),
    ),
    Statistic(
        name="max_exposure", title="Largest exposure", group=_USE, unit="share", formula="max |notional| / equity", source="definition",
        counts="mark",
        minimum=2, compute=lambda s: float(_held(s).max()),
    ),
    Statistic(
        name="turnover", title="Turnover of closed trades", group=_USE, unit="a year",
        formula="sum(qty (entry + exit)) / time mean of equity / years; closed trades",
        source="definition; qty times price is money", counts="mark", minimum=2, compute=_turnover, is_headline=True,
    ),
    Statistic(
        name="costs", title="Costs of closed trades", group=_USE, unit="money",
        formula="sum of fees, spread, slippage, impact and funding of trades", source="definition",
        counts="trade", minimum=1, compute=lambda s: float(s.cost.sum()), draws=lambda s: s.trade_draws[:, columns.COST],
        solvent=False, is_headline=True,
    ),
    Statistic(
        name="cost_share", title="Costs of the profit before costs", group=_USE, unit="share", formula="sum(cost) / sum(p + cost)",
        source="definition",
        counts="trade", minimum=10, compute=_cost_share_of, draws=lambda s: _cost_share(s.trade_draws), solvent=False, is_headline=True,
    ),
)  # fmt: skip
