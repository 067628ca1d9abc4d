"""Time-series momentum: the past return's sign at a constant risk."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_ts_momentum import TsMomentum
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import BAND, LONG_ONLY, TARGET, period, size

SPEC: Final = RuleSpec(
    name="ts_momentum",
    summary="Long after a rise over the lookback, short after a fall, smaller the more the market moves.",
    formula="sign(ln(c / c[lookback bars before])) min(size, target_volatility / s); s: exponentially weighted volatility a year",
    source="Moskowitz, Ooi, Pedersen (2012), J. Financial Economics 104(2) (there 12 months, 40 %, centre of mass 60 days)",
    params=(
        period("lookback", 240, "bars over which the past return is taken"),
        period("volatility_period", 60, "centre of mass of the volatility's weights", lo=2),
        TARGET,
        BAND,
        size("largest position, share of the lane's cap"),
        LONG_ONLY,
    ),
    columns=lambda p: (f"momentum({p['lookback']})", f"volatility({p['volatility_period']})"),
    kernel=lambda p: TsMomentum(p["size"], int(p["long_only"]), p["target_volatility"], p["rebalance_band"]),
)
