"""When the world could know a value of an outside series, and for how long it counts. Pure rules, the same live and offline.

By kind of file (hours local, daylight saving included):
- FRED dailies (yields, credit spread, VIX3M): 16:30 New York on the next business day (the H.15 is posted at 16:15 and was at FRED
  by 16:20). Dollar index: 16:30 New York on the Monday after the week, or the next business day (H.10). Fed funds: 16:30 New
  York on the first business day after the month. Business days are weekdays but federal holidays.
- VIX dailies: 15:20 Chicago of the same day (the index closes at 15:15); of 10 minutes, candles and minutes of stocks and
  futures: the end of the bar plus 1 s. Funding: its own time stamp plus 1 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from mia.risk.windows import zone

FRED_SERIES: Final = {
    "vix3m": "VXVCLS", "us2y": "DGS2", "us10y": "DGS10", "dollar_index": "DTWEXBGS", "high_yield_spread": "BAMLH0A0HYM2",
    "fed_funds": "FEDFUNDS",
}  # fmt: skip
NEW_YORK: Final[ZoneInfo] = zone("references", "America/New_York")
CHICAGO: Final[ZoneInfo] = zone("references", "America/Chicago")
FRED_HOUR: Final = time(16, 30)
VIX_HOUR: Final = time(15, 20)
LAG_NS: Final = 1_000_000_000  # of what is published as it happens
# A value's time to live: the longest usual wait for the next one, over a long weekend, and some more.
DAILY_TTL_NS: Final = 5 * 86_400 * 10**9
WEEKLY_TTL_NS: Final = 10 * 86_400 * 10**9
MONTHLY_TTL_NS: Final = 45 * 86_400 * 10**9
FUNDING_TTL_NS: Final = 12 * 3600 * 10**9
INTRADAY_TTL_NS: Final = 900 * 10**9  # or 3 bars, when that is longer
YEARS: Final = range(1900, 2200)  # of dates: an int64 of ns holds them, and what is due after
MILLISECONDS: Final = range(10**11, 7 * 10**12)  # of time stamps, 1973 to 2191: neither seconds nor microseconds
# Days on which NYSE was closed beside weekends, federal holidays and Good Friday.
_MOURNING: Final = (date(2004, 6, 11), date(2007, 1, 2), date(2012, 10, 29), date(2012, 10, 30), date(2018, 12, 5), date(2025, 1, 9))
_DAY: Final = timedelta(days=1)


class Row(NamedTuple):
    """One value: what it describes, when it was known, until when it counts (Unix ns each)."""

    event_ns: int
    known_ns: int
    until_ns: int
    value: float


def fred_rows(name: str, days: Sequence[date], values: Sequence[float], updated: date | None) -> list[Row]:
    """The observations among rows of a FRED series, which may have been filled forward on business days.

    Not observations: rows that were published after `updated` (the day in New York of the file; None: it does not say), a value
    repeated on a federal holiday, Good Friday or a day of mourning, and in a monthly series all rows but those of a first of the
    month (a month whose first is on a weekend is not in a filled file: its rows carry the month before).
    """
    published: Callable[[date], date] = next_business_day
    ttl = DAILY_TTL_NS
    if name == "dollar_index":
        published, ttl = _monday_after, WEEKLY_TTL_NS
    elif name == "fed_funds":
        published, ttl = _month_after, MONTHLY_TTL_NS
    rows = []
    for i, day in enumerate(days):
        is_filled = i > 0 and values[i] == values[i - 1] and _is_day_off(day)
        if name == "fed_funds":
            is_filled = day.day != 1
        known = published(day)
        if not is_filled and (updated is None or known <= updated):
            known_ns = _at(known, FRED_HOUR, NEW_YORK)
            rows.append(Row(midnight_ns(day), known_ns, known_ns + ttl, values[i]))
    return rows


def cboe_rows(days: Sequence[date], values: Sequence[float]) -> list[Row]:
    """Daily closes of a Cboe index."""
    known = [vix_known_ns(day) for day in days]
    return [Row(midnight_ns(day), k, k + DAILY_TTL_NS, value) for day, k, value in zip(days, known, values, strict=True)]


def bar_ttl_ns(interval_ns: int) -> int:
    """How long the close of a bar counts."""
    return max(INTRADAY_TTL_NS, 3 * interval_ns)


def updated_on(stamps: Sequence[str]) -> date:
    """The day in New York of the latest ISO 8601 stamp; TypeError or ValueError for one that is none."""
    return max(datetime.fromisoformat(stamp) for stamp in stamps).astimezone(NEW_YORK).date()


def vix_known_ns(day: date) -> int:
    """When the VIX close of a day is known."""
    return _at(day, VIX_HOUR, CHICAGO)


def midnight_ns(day: date) -> int:
    """The beginning of a UTC day."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000_000


def is_federal_holiday(day: date) -> bool:
    """Is it a holiday of the US government, observed on the Friday before a Saturday and on the Monday after a Sunday?"""
    for year in (day.year, day.year + 1):
        fixed = [date(year, 1, 1), date(year, 7, 4), date(year, 11, 11), date(year, 12, 25)]
        if year >= 2021:
            fixed.append(date(year, 6, 19))
        if any(d + _DAY * {5: -1, 6: 1}.get(d.weekday(), 0) == day for d in fixed):
            return True
    mondays = ((1, 3), (2, 3), (9, 1), (10, 2))  # King, Washington, Labor, Columbus: month and which Monday
    if day.weekday() == 0:
        return (day.month, (day.day + 6) // 7) in mondays or (day.month == 5 and day.day > 24)
    return day.month == 11 and day.weekday() == 3 and 22 <= day.day <= 28


def next_business_day(day: date) -> date:
    """The first weekday after day that is no federal holiday."""
    day += _DAY
    while day.weekday() >= 5 or is_federal_holiday(day):
        day += _DAY
    return day


def good_friday(year: int) -> date:
    """Two days before Easter of the Gregorian calendar. Source: Meeus (1991), the anonymous algorithm."""
    a, (b, c) = year % 19, divmod(year, 100)
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    rest = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    month, day = divmod(h + rest - 7 * ((a + 11 * h + 22 * rest) // 451) + 114, 31)
    return date(year, month, day + 1) - 2 * _DAY


def _at(day: date, hour: time, tz: ZoneInfo) -> int:
    return int(datetime.combine(day, hour, tz).timestamp()) * 1_000_000_000


def _monday_after(day: date) -> date:
    """When the dollar index of the day's week is published: the first business day from the next Monday on."""
    return next_business_day(day + _DAY * (6 - day.weekday()))


def _month_after(day: date) -> date:
    """The first business day of the month after the day's."""
    return next_business_day((day.replace(day=1) + timedelta(days=31)).replace(day=1) - _DAY)


def _is_day_off(day: date) -> bool:
    return day.weekday() >= 5 or is_federal_holiday(day) or day == good_friday(day.year) or day in _MOURNING
