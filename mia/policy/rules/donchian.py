"""Channel breakout with a nearer exit channel, as the Turtles traded it."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_donchian import Donchian
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import LONG_ONLY, Values, period, sides, size


def _columns(p: Values) -> tuple[str, ...]:
    return ("close", *(f"prior_{side}({p[key]})" for key in ("entry_period", "exit_period") for side in ("highest", "lowest")))


def _check(p: Values) -> str:
    entry, leave = p["entry_period"], p["exit_period"]
    return "" if leave <= entry else f"exit_period ({leave:g}) must not be above entry_period ({entry:g})"


SPEC: Final = RuleSpec(
    name="donchian",
    summary="Goes with a close beyond the range of the last bars, until one beyond the opposite side of a shorter range.",
    formula="long from c > highest high of entry_period bars before until c < lowest low of exit_period bars before; short mirrored",
    source="Donchian channel; Faith (2007), Way of the Turtle, System 1 (20, 10); here on closes and without its filter",
    params=(
        period("entry_period", 20, "bars whose range must be left"),
        period("exit_period", 10, "bars whose opposite side ends it"),
        size(),
        LONG_ONLY,
    ),
    columns=_columns,
    kernel=lambda p: Donchian(*sides(p)),
    check=_check,
)
