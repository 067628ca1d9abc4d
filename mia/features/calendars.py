"""What features may know of the calendar: sessions, scheduled events, expiries. Made by the shell from the calendar files."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import msgspec

from mia.kernels.calendar_block import IMPACT_MIN

QUARTERLY: Final = ("es",)  # families whose contracts end on the third Friday of March, June, September and December
_ROLL_DAYS: Final = timedelta(days=8)  # volume moves on the Thursday of the week before the third Friday
_JUNETEENTH_SINCE: Final = 2022
_GOOD_FRIDAYS: Final = (date(2008, 3, 21),)  # the only one on a third Friday of March until 2160


class Calendar(msgspec.Struct, frozen=True, kw_only=True):
    """Of one instrument family; Unix ns, each tuple rising.

    opens_ns, closes_ns: sessions, row for row; empty for a market of UTC days. event_ns, event_impact: scheduled events and
    their impact in [0, 1]. expiry_ns: ends of contracts; roll_ns: when trading moves to the next. valid_until_ns: past it
    nothing here is known.
    """

    opens_ns: tuple[int, ...] = ()
    closes_ns: tuple[int, ...] = ()
    event_ns: tuple[int, ...] = ()
    event_impact: tuple[float, ...] = ()
    expiry_ns: tuple[int, ...] = ()
    roll_ns: tuple[int, ...] = ()
    valid_until_ns: int = 4_102_444_800_000_000_000  # 2100

    @property
    def opens(self) -> memoryview[int]:
        """opens_ns as a kernel takes it."""
        return _longs(self.opens_ns)

    @property
    def closes(self) -> memoryview[int]:
        """closes_ns as a kernel takes it."""
        return _longs(self.closes_ns)

    @property
    def events(self) -> memoryview[int]:
        """event_ns as a kernel takes it."""
        return _longs(self.event_ns)

    @property
    def impacts(self) -> memoryview[float]:
        """event_impact as a kernel takes it."""
        return memoryview(array("d", self.event_impact))

    @property
    def strong(self) -> memoryview[int]:
        """event_ns of the events with an impact above 0.7."""
        return _longs(ns for ns, impact in zip(self.event_ns, self.event_impact, strict=True) if impact > IMPACT_MIN)

    @property
    def expiries(self) -> memoryview[int]:
        """expiry_ns as a kernel takes it."""
        return _longs(self.expiry_ns)

    @property
    def rolls(self) -> memoryview[int]:
        """roll_ns as a kernel takes it."""
        return _longs(self.roll_ns)


UTC_DAYS = Calendar()


def _longs(values: Iterable[int]) -> memoryview[int]:
    return memoryview(array("q", values))


def family_calendar(
    family: str, sessions: Sequence[tuple[int, int]], events: Iterable[tuple[int, float]], years: range, valid_until_ns: int
) -> Calendar:
    """A family's calendar. sessions: (open ns, close ns), rising, none for UTC days; events: (ns, impact); years: of expiries."""
    listed = sorted(events)
    expiries = quarterly_expiries(years) if family in QUARTERLY else ()
    return Calendar(
        opens_ns=tuple(row[0] for row in sessions),
        closes_ns=tuple(row[1] for row in sessions),
        event_ns=tuple(row[0] for row in listed),
        event_impact=tuple(row[1] for row in listed),
        expiry_ns=tuple(row[0] for row in expiries),
        roll_ns=tuple(row[1] for row in expiries),
        valid_until_ns=valid_until_ns,
    )


def quarterly_expiries(years: range) -> tuple[tuple[int, int], ...]:
    """(end of trading, roll) of the quarterly contracts of stock index futures, Unix ns.

    Trading ends at 08:30 Chicago time on the third Friday, or on the day before where that is a holiday (Good Friday, since
    2022 Juneteenth); the roll is 8 days before the third Friday at the same time of day. Source: CME rulebook, chapter 358.
    """
    found = []
    for year in years:
        for month in (3, 6, 9, 12):
            first = date(year, month, 1)
            friday = first + timedelta(days=(4 - first.weekday()) % 7 + 14)
            is_holiday = friday in _GOOD_FRIDAYS or (year >= _JUNETEENTH_SINCE and (month, friday.day) == (6, 19))
            found.append((_half_past_eight(friday - timedelta(days=is_holiday)), _half_past_eight(friday - _ROLL_DAYS)))
    return tuple(found)


def _half_past_eight(day: date) -> int:
    """08:30 in Chicago on a day of March, June, September or December, Unix ns."""
    first = date(day.year, 3 if day.year >= 2007 else 4, 1)
    summer = first + timedelta(days=(6 - first.weekday()) % 7 + (7 if day.year >= 2007 else 0))
    hour = 13 if summer <= day and day.month < 11 else 14
    return int(datetime.combine(day, time(hour, 30), UTC).timestamp()) * 1_000_000_000
