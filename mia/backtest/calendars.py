"""Calendars of a past stretch: from trade windows over any span, or sessions from the exchange_calendars package. Offline only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from mia.domain.errors import DataError
from mia.features.calendars import Calendar, family_calendar
from mia.risk.windows import Windows


def calendar_over(windows: Windows, family: str, first: date, last: date) -> Calendar:
    """A family's calendar whose sessions open on the local days first to last, by the rules of trade_windows.toml.

    It holds past the table's valid_until, since the rules are applied to a stretch that somebody chose. ConfigError when the
    family has no table.
    """
    events = [(event.at_ns, event.impact) for event in windows.events]
    return family_calendar(
        family, windows.sessions(family, first, last), events, range(first.year, last.year + 2), Calendar().valid_until_ns
    )


def sessions_of(exchange: str, first: date, last: date) -> tuple[tuple[int, int], ...]:
    """(open ns, close ns) of an exchange's sessions with holidays and early closes; exchange: "CMES", "XNYS", ...

    Source: exchange_calendars, of the extra `train`; its CMES has one session a day and no hour's break between them. DataError
    when the package is missing, knows no such exchange or not these days.
    """
    try:
        import exchange_calendars
    except ImportError as e:
        raise DataError("exchange_calendars is not installed: pip install 'mia[train]'") from e
    try:
        calendar = exchange_calendars.get_calendar(exchange, start=first.isoformat(), end=last.isoformat())
    except (ValueError, exchange_calendars.errors.InvalidCalendarName) as e:
        raise DataError(f"exchange_calendars: {exchange} from {first} to {last}: {e}") from e
    return tuple(zip(_nanoseconds(calendar.opens), _nanoseconds(calendar.closes), strict=True))


def _nanoseconds(times: Iterable[object]) -> list[int]:
    """Time stamps of pandas as Unix ns."""
    return [int(t.as_unit("ns").value) for t in times]  # type: ignore[attr-defined]
