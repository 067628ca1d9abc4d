"""Calendars of a past stretch: from trade windows over any span, or sessions from the exchange_calendars package. Offline only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from mia.domain.errors import DataError
from mia.features.calendars import Calendar, family_calendar
from mia.risk.windows import Windows, zone

_AROUND: Final = timedelta(days=35)
_NAMES: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


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
    calendar = _calendar(exchange, first, last)
    return tuple(zip(_nanoseconds(calendar.opens), _nanoseconds(calendar.closes), strict=True))


class SessionTable(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange's sessions in the words of trade_windows.toml: weekly rules, days without a session, and hours that differ.

    cut: (UTC start, UTC end, local day) in which a session of the rule is closed: an early close or a late opening. sessions: how many
    there are. valid_until: the last close, ISO 8601.
    """

    exchange: str
    first: date
    last: date
    time_zone: str
    rules: list[str]
    holidays: list[date]
    cut: list[tuple[str, str, date]]
    valid_until: str
    sessions: int

    def toml(self, family: str) -> str:
        """The table [family.NAME]; what it does outside of sessions is left to its reader."""
        lines = [
            f"# {self.sessions} sessions of {self.exchange} from {self.first} to {self.last}, by exchange_calendars. Compare them with",
            "# the exchange's own calendar before use; a daily break inside of a session is not in them.",
            f"[family.{family}]",
            f'time_zone = "{self.time_zone}"',
            f"sessions = [{', '.join(map(_quoted, self.rules))}]",
            f"holidays = [{', '.join(day.isoformat() for day in self.holidays)}]",
            'outside = "hold"',
            'macro = "hold"',
        ]
        if self.cut:
            lines += ["blackouts = [", *(f'  {{ start = "{start}", end = "{end}" }}, # {day}' for start, end, day in self.cut), "]"]
        return "\n".join([*lines, f'valid_until = "{self.valid_until}"']) + "\n"


def session_table(exchange: str, first: date, last: date) -> SessionTable:
    """The sessions of sessions_of as a table; DataError as there, and when there is none.

    The hours that most sessions have are the rule, on every weekday on which one opened.
    """
    if first > last:
        raise DataError(f"{exchange}: {first} lies after {last}: turn --from and --to around")
    tz = zone(exchange, str(_calendar(exchange, first, last).tz))
    spans = _local(sessions_of(exchange, first, last), tz)
    if not spans:
        raise DataError(f"{exchange}: no session from {first} to {last}")
    try:  # what is usual shows in more than a week with a holiday in it
        usual = _local(sessions_of(exchange, first - _AROUND, last + _AROUND), tz)
    except DataError:
        usual = spans
    (opens, closes), _ = Counter((start.time(), end.time()) for start, end in usual).most_common(1)[0]
    weekdays = sorted({start.weekday() for start, _ in usual})
    begun = {start.date() for start, _ in spans}
    days = [spans[0][0].date() + timedelta(days=k) for k in range((spans[-1][0].date() - spans[0][0].date()).days + 1)]
    cut = []
    for start, end in spans:
        usual_start = datetime.combine(start.date(), opens, tz)
        usual_end = datetime.combine(start.date() + timedelta(days=int(closes <= opens)), closes, tz)
        for since, until in ((_utc(usual_start), _utc(start)), (_utc(end), _utc(usual_end))):
            cut += [(since, until, start.date())] if since < until else []
    return SessionTable(
        exchange=exchange,
        first=first,
        last=last,
        time_zone=tz.key,
        rules=[f"{names} {opens:%H:%M}-{closes:%H:%M}" for names in _spans_of(weekdays)],
        holidays=[day for day in days if day.weekday() in weekdays and day not in begun],
        cut=cut,
        valid_until=_utc(spans[-1][1]),
        sessions=len(spans),
    )


def _local(sessions: Sequence[tuple[int, int]], tz: ZoneInfo) -> list[tuple[datetime, datetime]]:
    first, last = ([datetime.fromtimestamp(span[k] // 10**9, UTC).astimezone(tz) for span in sessions] for k in (0, 1))
    return list(zip(first, last, strict=True))


def _spans_of(weekdays: Sequence[int]) -> list[str]:
    """Such as `mon-fri`; of a week that begins on Sunday `sun-thu`."""
    if 6 in weekdays and 5 not in weekdays:
        weekdays = [6, *(day for day in weekdays if day != 6)]
    found: list[list[int]] = []
    for day in weekdays:
        if found and (found[-1][-1] + 1) % 7 == day:
            found[-1].append(day)
        else:
            found.append([day])
    return [_NAMES[days[0]] if len(days) == 1 else f"{_NAMES[days[0]]}-{_NAMES[days[-1]]}" for days in found]


def _quoted(text: str) -> str:
    return f'"{text}"'


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _calendar(exchange: str, first: date, last: date) -> Any:
    try:
        import exchange_calendars
    except ImportError as e:
        raise DataError("exchange_calendars is not installed: pip install 'mia[train]'") from e
    try:
        return exchange_calendars.get_calendar(exchange, start=first.isoformat(), end=last.isoformat())
    except (ValueError, exchange_calendars.errors.InvalidCalendarName, exchange_calendars.errors.NoSessionsError) as e:
        raise DataError(f"exchange_calendars: {exchange} from {first} to {last}: {e}") from e


def _nanoseconds(times: Iterable[object]) -> list[int]:
    """Time stamps of pandas as Unix ns."""
    return [int(t.as_unit("ns").value) for t in times]  # type: ignore[attr-defined]
