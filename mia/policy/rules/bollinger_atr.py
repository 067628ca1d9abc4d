"""Reversion to the mean from outside of Bollinger bands, unless price runs away."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_bollinger_atr import BollingerAtr
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import LONG_ONLY, Param, Values, period, sides, size


def _columns(p: Values) -> tuple[str, ...]:
    return ("close", f"sma({p['period']})", f"std({p['period']})", f"atr({p['atr_period']})")


SPEC: Final = RuleSpec(
    name="bollinger_atr",
    summary="Buys below the lower band and sells above the upper one until the mean; flat where price ran far beyond a band.",
    formula="long from d < -k s until d >= 0, flat while d < -k s - stop_atrs ATR; d = c - mean, k = band_stds; short mirrored",
    source="Bollinger (2001), Bollinger on Bollinger Bands; ATR: Wilder (1978)",
    params=(
        period("period", 20, "length of mean and standard deviation", lo=2),
        Param("band_stds", "float", 2.0, 0.1, 10.0, "standard deviations", "distance of the bands from the mean"),
        period("atr_period", 14, "length of the average true range"),
        Param("stop_atrs", "float", 3.0, 0.1, 100.0, "ATR", "distance beyond a band at which it gives up"),
        size(),
        LONG_ONLY,
    ),
    columns=_columns,
    kernel=lambda p: BollingerAtr(*sides(p), p["band_stds"], p["stop_atrs"]),
)
