"""Sides drawn by lot at a stated turnover: what a strategy that trades as much makes by luck."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_random import Random
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import LONG_ONLY, Param, Values, sides, size


def _chance(p: Values) -> float:
    """Chance of a draw per bar. Half of the draws change nothing, the others move by 2 size, or by size when long only."""
    return p["turnover"] / p["size"] * (2.0 if p["long_only"] else 1.0)


def _check(p: Values) -> str:
    top = p["size"] / (2.0 if p["long_only"] else 1.0)
    return "" if _chance(p) <= 1.0 else f"turnover ({p['turnover']:g}) can be at most {top:g} with this size and long_only"


SPEC: Final = RuleSpec(
    name="random",
    summary="Draws its side by lot, with a stated turnover; the draw depends on nothing but the seed and the time of the bar.",
    formula="with chance q per bar a new side, each as likely, else the last one; q = turnover / size (twice that when long only)",
    source="random entries as a benchmark: Aronson (2007), Evidence-Based Technical Analysis",
    params=(
        Param("turnover", "float", 0.05, 0.0, 1.0, "share of the cap per bar", "expected change of the position per bar, buys and sells"),
        Param("seed", "int", 1, 0, 2**31 - 1, "", "another seed is another draw"),
        size(),
        LONG_ONLY,
    ),
    columns=lambda p: ("bar_day", "bar_second"),
    kernel=lambda p: Random(*sides(p), int(p["seed"]), _chance(p)),
    check=_check,
)
