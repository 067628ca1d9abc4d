"""What a statistic is: one entry with name, unit, formula, source and the least it needs, from which the docs page is made too."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from mia.backtest.stats.inputs import F64
from mia.backtest.stats.resample import LEVEL, Interval, interval
from mia.backtest.stats.sheet import Sheet

Unit = Literal["share", "share a year", "a year", "ratio", "money", "time", "duration", "count", "periods", "probability"]
Counts = Literal["period", "trade", "mark"]
PERIODS_MIN: Final = 20  # of an interval
TRADES_MIN: Final = 10
UNIT_TEXT: Final = {
    "share": "share of 1, printed in %",
    "share a year": "share of 1 a year, printed in %",
    "a year": "ratio of annual figures",
    "ratio": "plain number",
    "money": "account currency",
    "time": "Unix ns, printed as UTC",
    "duration": "ns, printed in days or less",
    "count": "count",
    "periods": "count of periods",
    "probability": "probability",
}


class Statistic(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. compute gives its value, or the reason why there is none; minimum: how many periods, trades or marks (counts) it needs.

    draws: the figure of each resample [samples], for its interval. solvent: it means nothing once the account was ruined.
    is_headline: printed by itself; the others only in full.
    """

    name: str
    title: str
    group: str
    unit: Unit
    formula: str
    source: str
    counts: Counts
    minimum: int
    compute: Callable[[Sheet], float | str]
    draws: Callable[[Sheet], F64] | None = None
    solvent: bool = True
    is_headline: bool = False


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A statistic's value, or None and why ("7 trades"); interval: at the level of the summary, None where there is none."""

    name: str
    title: str
    group: str
    unit: Unit
    value: float | int | None
    why: str = ""
    interval: Interval | None = None
    is_headline: bool = False


def evaluate(statistic: Statistic, sheet: Sheet, level: float = LEVEL) -> Figure:
    """The figure of a sheet with its interval; never a number where the statistic has too little to stand on."""
    value, why = _value(statistic, sheet)
    found = None
    if value is not None and statistic.draws is not None and _can_resample(statistic, sheet):
        found = interval(statistic.draws(sheet), level)
    return figure(statistic, value, why, found)


def figure(statistic: Statistic, value: float | int | None, why: str, found: Interval | None = None) -> Figure:
    """A figure that carries the names and the unit of a statistic."""
    return Figure(
        name=statistic.name,
        title=statistic.title,
        group=statistic.group,
        unit=statistic.unit,
        value=value,
        why=why,
        interval=found,
        is_headline=statistic.is_headline,
    )


def _value(statistic: Statistic, sheet: Sheet) -> tuple[float | int | None, str]:
    if statistic.solvent and sheet.ruined_ns is not None:
        return None, f"ruined {utc(sheet.ruined_ns)}"
    n = {"period": sheet.n, "trade": len(sheet.profit), "mark": len(sheet.equity)}[statistic.counts]
    if n < statistic.minimum:
        return None, counted(n, sheet.periods.noun if statistic.counts == "period" else statistic.counts)
    value = statistic.compute(sheet)
    if isinstance(value, str):
        return None, value
    return (value, "") if math.isfinite(value) else (None, "beyond the range of a number")


def _can_resample(statistic: Statistic, sheet: Sheet) -> bool:
    """A handful of rows resampled looks far too sure of itself, and after a loss of all no resample can go on."""
    if sheet.samples == 0:
        return False
    if statistic.counts == "trade":
        return len(sheet.profit) >= TRADES_MIN
    return sheet.n >= PERIODS_MIN and sheet.ruined_ns is None and float(sheet.ordered[0]) > -1.0


def counted(n: int, noun: str) -> str:
    """ "1 trade", "7 trades"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def text(shown: Figure) -> str:
    """The value as people read it, "n/a, 7 trades" without one."""
    return f"n/a, {shown.why}" if shown.value is None else value_text(shown.value, shown.unit)


def interval_text(shown: Figure) -> str:
    """ "0.31 .. 1.20"; empty without an interval."""
    found = shown.interval
    if found is None:
        return ""
    low, high = ("unbounded" if x is None else value_text(x, shown.unit) for x in (found.low, found.high))
    return f"{low} .. {high}"


def value_text(value: float | int, unit: Unit) -> str:
    """A number in its unit, as a table shows it; what rounds to 0 has no sign."""
    return unsigned_zero(_in_unit(value, unit))


def unsigned_zero(text: str) -> str:
    """ "-0.00%" as "0.00%"."""
    return text if any(digit in text for digit in "123456789") else text.removeprefix("-")


def _in_unit(value: float | int, unit: Unit) -> str:
    if unit in ("share", "share a year"):
        return f"{value:,.2%}" if abs(value) < 1e6 else f"{value * 100:.4g}%"
    if unit == "time":
        return utc(int(value))
    if unit == "duration":
        return _duration(value / 1e9)
    if unit == "count":
        return f"{value:,.0f}"
    if unit == "money":
        return f"{value:,.2f}"
    if unit == "periods":
        return f"{value:,.1f} periods"
    if unit == "probability":
        return f"{value:.4f}"
    return f"{value:,.3f}" if abs(value) < 1e9 else f"{value:.4g}"


def _duration(seconds: float) -> str:
    for limit, size, name in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172_800.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds / 86_400.0:,.1f} d"


def utc(ns: int) -> str:
    """2024-03-01T12:00:00Z."""
    return datetime.fromtimestamp(ns // 10**9, UTC).isoformat().replace("+00:00", "Z")
