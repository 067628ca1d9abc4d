"""Opening range breakout, flat overnight."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_opening_range import OpeningRange
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import LONG_ONLY, Param, Values, sides, size

_DAY: Final = 1440


def _columns(p: Values) -> tuple[str, ...]:
    n = p["range_minutes"]
    return ("close", f"opening_high({n})", f"opening_low({n})", "session_age", "session_left")


def _check(p: Values) -> str:
    total = p["range_minutes"] + p["exit_minutes"]
    return "" if total < _DAY else f"range_minutes and exit_minutes leave nothing of a session of {_DAY} minutes, they are {total:g}"


SPEC: Final = RuleSpec(
    name="opening_range",
    summary="Goes with a close outside of the range of the session's first minutes; flat before, and shortly before the close. "
    "Decides nothing in a session whose open it did not see.",
    formula="long from c > H, short from c < L, else as before; H, L: range of the bars that close within range_minutes of the open",
    source="Crabel (1990), Day Trading with Short Term Price Patterns and Opening Range Breakout; sessions as in trade_windows.toml",
    params=(
        Param("range_minutes", "int", 30, 1, _DAY - 1, "minutes", "length of the opening range; at least one bar"),
        Param("exit_minutes", "int", 5, 0, _DAY - 1, "minutes", "flat from so long before the session's close on"),
        size(),
        LONG_ONLY,
    ),
    columns=_columns,
    kernel=lambda p: OpeningRange(*sides(p), 60.0 * p["range_minutes"], 60.0 * p["exit_minutes"]),
    check=_check,
)
