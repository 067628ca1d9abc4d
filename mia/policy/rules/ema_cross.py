"""Two exponential means: the oldest way to follow a trend."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_ema_cross import EmaCross
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import LONG_ONLY, below, period, sides, size

SPEC: Final = RuleSpec(
    name="ema_cross",
    summary="Long while the fast mean of closes is above the slow one, short while below, flat while equal.",
    formula="sign(ema(fast_period) - ema(slow_period)) size; ema: s += 2 / (n + 1) (c - s)",
    source="moving-average rules: Brock, Lakonishok, LeBaron (1992), J. Finance 47(5), there of plain means",
    params=(period("fast_period", 20, "length of the fast mean"), period("slow_period", 50, "length of the slow mean"), size(), LONG_ONLY),
    columns=lambda p: (f"ema({p['fast_period']})", f"ema({p['slow_period']})"),
    kernel=lambda p: EmaCross(*sides(p)),
    check=lambda p: below(p, "fast_period", "slow_period"),
)
