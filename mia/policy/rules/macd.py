"""Moving average convergence divergence."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_macd import Macd
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import LONG_ONLY, below, period, sides, size

SPEC: Final = RuleSpec(
    name="macd",
    summary="Long while the MACD line is above its signal line, short while below.",
    formula="sign(m - ema(m, signal_period)) size; m = ema(c, fast_period) - ema(c, slow_period)",
    source="Appel (2005), Technical Analysis: Power Tools for Active Investors",
    params=(
        period("fast_period", 12, "length of the fast mean"),
        period("slow_period", 26, "length of the slow mean"),
        period("signal_period", 9, "length of the mean of their difference", lo=2),
        size(),
        LONG_ONLY,
    ),
    columns=lambda p: (f"macd_histogram({p['fast_period']},{p['slow_period']},{p['signal_period']})",),
    kernel=lambda p: Macd(*sides(p)),
    check=lambda p: below(p, "fast_period", "slow_period"),
)
