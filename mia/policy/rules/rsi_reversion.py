"""Reversion of the relative strength index."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_rsi_reversion import RsiReversion
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import LONG_ONLY, Param, below, period, sides, size

SPEC: Final = RuleSpec(
    name="rsi_reversion",
    summary="Buys when oversold and sells when overbought, until the index is back in the middle.",
    formula="long from RSI < oversold until RSI >= middle, short from RSI > overbought until RSI <= middle",
    source="Wilder (1978), New Concepts in Technical Trading Systems",
    params=(
        period("period", 14, "length of the index", lo=2),
        Param("oversold", "float", 30.0, 0.0, 100.0, "", "below it: buy"),
        Param("middle", "float", 50.0, 0.0, 100.0, "", "here a position ends"),
        Param("overbought", "float", 70.0, 0.0, 100.0, "", "above it: sell"),
        size(),
        LONG_ONLY,
    ),
    columns=lambda p: (f"rsi({p['period']})",),
    kernel=lambda p: RsiReversion(*sides(p), p["oversold"], p["middle"], p["overbought"]),
    check=lambda p: below(p, "oversold", "middle", "overbought"),
)
