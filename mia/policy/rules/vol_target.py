"""A long position at a constant risk."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_vol_target import VolTarget
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import BAND, TARGET, period, size

SPEC: Final = RuleSpec(
    name="vol_target",
    summary="Always long, smaller the more the market moves.",
    formula="min(size, target_volatility / s); s: exponentially weighted volatility a year",
    source="Moreira, Muir (2017), J. Finance 72(4); Harvey et al. (2018), J. Portfolio Management 45(1)",
    params=(
        period("volatility_period", 60, "centre of mass of the volatility's weights", lo=2),
        TARGET,
        BAND,
        size("largest position, share of the lane's cap"),
    ),
    columns=lambda p: (f"volatility({p['volatility_period']})",),
    kernel=lambda p: VolTarget(p["size"], p["target_volatility"], p["rebalance_band"]),
)
