"""Two plain means of closes, traded from the first cross on: the example of most backtest libraries."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_sma_cross import SmaCross
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import LONG_ONLY, below, period, sides, size

SPEC: Final = RuleSpec(
    name="sma_cross",
    summary="Long from the bar at which the fast mean of closes crosses above the slow one, short from the one at which it crosses below.",
    formula="sign(sma(fast_period) - sma(slow_period)) size from its first change on; as before while 0",
    source="the variable-length moving average without a band of Brock, Lakonishok, LeBaron (1992), J. Finance 47(5)",
    params=(period("fast_period", 10, "length of the fast mean"), period("slow_period", 30, "length of the slow mean"), size(), LONG_ONLY),
    columns=lambda p: tuple(f"{kind}({p['fast_period']},{p['slow_period']})" for kind in ("sma_gap", "prior_sma_gap")),
    kernel=lambda p: SmaCross(*sides(p)),
    check=lambda p: below(p, "fast_period", "slow_period"),
)
