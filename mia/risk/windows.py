"""Trade windows: sessions, blackouts and calendar events of each instrument family, as a pure function of time.

Wall times are local to the family's time zone; the zone rules come from the pinned tzdata wheel, never from the
machine. Where a change of clocks makes a wall time ambiguous, sessions are read narrow and blackouts wide.
"""

from __future__ import annotations

import csv
import importlib.resources
import math
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from mia.domain.codes import Code
from mia.domain.errors import ConfigError

MACRO_IMPACT_MIN: Final = 0.7  # an event above it blocks openings
HORIZON_NS: Final = 8 * 86_400_000_000_000  # how far ahead a change is looked for
_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RULE: Final = re.compile(r"(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))? (?P<open>\d\d:\d\d)-(?P<close>\d\d:\d\d)")
_COLUMNS: Final = ("start_time", "type", "impact", "minutes_before", "minutes_after", "source", "valid_until")


class Blackout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No openings: weekly by `rule` ("fri 16:30-17:00", local time) or once from `start` to `end` (UTC)."""

    rule: str = ""
    start: str = ""
    end: str = ""
    position: Literal["hold", "flatten"] = "hold"


class Family(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table [family.NAME] of config/trade_windows.toml."""

    time_zone: str
    sessions: list[str]  # "sun-thu 18:00-17:00": opens on each of these local days; a close not after the open is the next day's
    valid_until: str  # ISO 8601 UTC; from then on nothing is opened until somebody looks at the table again
    holidays: list[date] = []  # local days on which no session opens
    outside: Literal["hold", "flatten"] = "hold"  # an open position when the session closes
    blackouts: list[Blackout] = []
    macro: Literal["hold", "flatten", "ignore"] = "hold"  # what calendar events do to the family


class MacroEvent(msgspec.Struct, frozen=True):
    """One row of config/macro_events.csv, as the interval in which it forbids openings."""

    start_ns: int
    end_ns: int
    kind: str
    impact: float
    source: str
    at_ns: int = 0  # start_time, minutes_before not subtracted


class WindowState(msgspec.Struct, frozen=True, gc=False):
    """What holds from from_ns until until_ns (exclusive, at most HORIZON_NS ahead: ask again then)."""

    code: Code
    from_ns: int
    until_ns: int
    is_flatten: bool = False  # an open position is to be closed


NEVER: Final = WindowState(Code.OK, 0, 0)  # holds at no time: before anybody has asked


class _Interval(msgspec.Struct, frozen=True, gc=False):
    start_ns: int
    end_ns: int
    is_flatten: bool = False


class _Rule(msgspec.Struct, frozen=True):
    weekdays: tuple[int, ...]
    open_minute: int
    close_minute: int  # above 1440: on the next day
    is_flatten: bool = False


class _Table(msgspec.Struct):
    """One family, parsed. `memo` only saves work: the state is a function of time alone."""

    zone: ZoneInfo
    sessions: tuple[_Rule, ...]
    holidays: tuple[date, ...]
    is_flat_outside: bool
    weekly: tuple[_Rule, ...]
    once: tuple[_Interval, ...]
    macro: tuple[_Interval, ...]
    valid_until_ns: int
    memo: WindowState


class Windows:
    """All families; `state` is one comparison until the next change."""

    def __init__(self, families: dict[str, Family], events: tuple[MacroEvent, ...], source: str = "trade_windows") -> None:
        """source: named in errors. ConfigError for a rule, zone or date that cannot be read."""
        self.events = events  # all of them, also those that no family heeds
        self._tables = {name: _table(name, family, events, source) for name, family in families.items()}

    def sessions(self, family: str, first: date, last: date) -> tuple[tuple[int, int], ...]:
        """(open ns, close ns) of the sessions that open on the local days first to last, rising; () for a market of UTC days."""
        table = self._table(family)
        if table.zone.key == "UTC" and not table.holidays and table.sessions == (_Rule(tuple(range(7)), 0, 1440),):
            return ()
        days = [first + _DAY * i for i in range((last - first).days + 1)]
        found: list[tuple[int, int]] = []
        for start_ns, end_ns in sorted(
            (s.start_ns, s.end_ns) for s in _occurrences(table.sessions, table.holidays, days, table.zone, is_narrow=True)
        ):
            if found and start_ns < found[-1][1]:  # two rules of one day that overlap
                found[-1] = (found[-1][0], max(end_ns, found[-1][1]))
            else:
                found.append((start_ns, end_ns))
        return tuple(found)

    def valid_until_ns(self, family: str) -> int:
        """Past it the family's table is not to be trusted; ConfigError when it has no table."""
        return self._table(family).valid_until_ns

    @property
    def families(self) -> tuple[str, ...]:
        """The names that have a table."""
        return tuple(self._tables)

    def state(self, ts_ns: int, family: str) -> WindowState:
        """What the calendar says at ts_ns for a family; ConfigError when it has no table."""
        table = self._tables.get(family) or self._table(family)
        memo = table.memo
        if memo.from_ns <= ts_ns < memo.until_ns:
            return memo
        memo = table.memo = _resolve(table, ts_ns)
        return memo

    def _table(self, family: str) -> _Table:
        try:
            return self._tables[family]
        except KeyError:
            raise ConfigError(f"trade_windows: no table [family.{family}]; known: {', '.join(self._tables) or 'none'}") from None


def load_windows(windows_file: Path, events_file: Path) -> Windows:
    """Read both shipped files; ConfigError names file and key or line."""
    try:
        text = windows_file.read_text(encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"{windows_file}: cannot be read ({e.strerror}): restore the file") from e
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{windows_file}: not valid TOML: {e}") from e
    for key in tree:
        if key != "family":
            raise ConfigError(f"{windows_file}: unknown key {key!r}: only [family.NAME] tables are allowed")
    tables = tree.get("family")
    if not isinstance(tables, dict) or not tables:
        raise ConfigError(f"{windows_file}: no [family.NAME] table: state at least one")
    families = {name: _family(f"{windows_file}: family.{name}", table) for name, table in tables.items()}
    return Windows(families, load_events(events_file), str(windows_file))


def _family(where: str, table: object) -> Family:
    try:
        return msgspec.convert(table, Family)
    except msgspec.ValidationError as e:
        raise ConfigError(f"{where}: {e}") from e


def load_events(path: Path) -> tuple[MacroEvent, ...]:
    """Rows of a calendar file, ordered by start; ConfigError names file, line and column."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(sorted(_events(path, file), key=lambda event: (event.start_ns, event.end_ns, event.kind)))
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read ({e.strerror}): restore the file") from e


def _events(path: Path, lines: Iterator[str]) -> Iterator[MacroEvent]:
    reader = csv.DictReader(lines)
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise ConfigError(f"{path}: line 1: the columns must be {','.join(_COLUMNS)}")
    for row in reader:
        where = f"{path}: line {reader.line_num}"
        if None in row or None in row.values():
            raise ConfigError(f"{where}: {len(_COLUMNS)} columns are needed")
        impact = _number(where, "impact", row["impact"])
        if not (0.0 <= impact <= 1.0):
            raise ConfigError(f"{where}: impact must be in [0, 1], got {row['impact']}")
        before = _number(where, "minutes_before", row["minutes_before"])
        after = _number(where, "minutes_after", row["minutes_after"])
        if not (0.0 <= before <= 10_080.0 and 0.0 <= after <= 10_080.0):
            raise ConfigError(f"{where}: minutes_before and minutes_after must be 0 to 10080")
        start_ns = utc_ns(f"{where}: start_time", row["start_time"])
        valid_ns = utc_ns(f"{where}: valid_until", row["valid_until"])
        end_ns = min(start_ns + int(after * 60) * 1_000_000_000, valid_ns)
        if end_ns <= start_ns - int(before * 60) * 1_000_000_000:
            raise ConfigError(f"{where}: the window is empty: state minutes_before or minutes_after, and a later valid_until")
        yield MacroEvent(start_ns - int(before * 60) * 1_000_000_000, end_ns, row["type"], impact, row["source"], start_ns)


def _number(where: str, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"{where}: {column} is not a number: {text!r}") from None
    if not math.isfinite(value):
        raise ConfigError(f"{where}: {column} must be finite, got {text!r}")
    return value


def utc_ns(where: str, text: str) -> int:
    """An ISO 8601 time with its offset (Z) as Unix ns; ConfigError names `where`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{where}: not an ISO 8601 time: {text!r}; write 2026-12-09T19:00:00Z") from None
    if moment.tzinfo is None:
        raise ConfigError(f"{where}: {text!r} has no offset; write it in UTC with Z")
    return _ns(moment)


def _ns(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def zone(where: str, name: str) -> ZoneInfo:
    """A time zone from the tzdata wheel (not from the machine, whose rules may differ)."""
    parts = name.split("/")
    if all(re.fullmatch(r"[A-Za-z0-9_+-]+", part) for part in parts):
        entry = importlib.resources.files("tzdata").joinpath("zoneinfo", *parts)
        if entry.is_file():
            with entry.open("rb") as file:
                return ZoneInfo.from_file(file, key=name)
    raise ConfigError(f"{where}: unknown time zone {name!r}; write one such as UTC or America/Chicago")


def _rule(where: str, text: str, *, is_flatten: bool = False) -> _Rule:
    match = _RULE.fullmatch(text)
    if match is None or match["first"] not in _DAYS or (match["last"] or "mon") not in _DAYS:
        raise ConfigError(f"{where}: {text!r} is not a rule; write 'mon-fri 09:30-16:00' or 'sun 18:00-17:00'")
    first = _DAYS.index(match["first"])
    last = _DAYS.index(match["last"]) if match["last"] else first
    days = tuple((first + i) % 7 for i in range((last - first) % 7 + 1))
    opens, closes = _minute(where, match["open"]), _minute(where, match["close"])
    if opens == 1440:
        raise ConfigError(f"{where}: {text!r} opens at 24:00; write 00:00 of the next day")
    return _Rule(days, opens, closes if closes > opens else closes + 1440, is_flatten)


def _minute(where: str, text: str) -> int:
    hour, minute = int(text[:2]), int(text[3:])
    if not (minute < 60 and hour * 60 + minute <= 1440):
        raise ConfigError(f"{where}: {text!r} is not a time of day (00:00 to 24:00)")
    return hour * 60 + minute


def _table(name: str, family: Family, events: tuple[MacroEvent, ...], source: str) -> _Table:
    where = f"{source}: family.{name}"
    if not family.sessions:
        raise ConfigError(f"{where}.sessions: state at least one, such as 'mon-sun 00:00-24:00'")
    weekly: list[_Rule] = []
    once: list[_Interval] = []
    for i, blackout in enumerate(family.blackouts):
        key = f"{where}.blackouts[{i}]"
        if bool(blackout.rule) == bool(blackout.start or blackout.end):
            raise ConfigError(f"{key}: state either rule, or start and end")
        if blackout.rule:
            weekly.append(_rule(f"{key}.rule", blackout.rule, is_flatten=blackout.position == "flatten"))
            continue
        start_ns, end_ns = utc_ns(f"{key}.start", blackout.start), utc_ns(f"{key}.end", blackout.end)
        if not (start_ns < end_ns):
            raise ConfigError(f"{key}: end must be after start")
        once.append(_Interval(start_ns, end_ns, blackout.position == "flatten"))
    macro = tuple(
        _Interval(event.start_ns, event.end_ns, family.macro == "flatten")
        for event in events
        if event.impact > MACRO_IMPACT_MIN and family.macro != "ignore"
    )
    return _Table(
        zone=zone(f"{where}.time_zone", family.time_zone),
        sessions=tuple(_rule(f"{where}.sessions[{i}]", rule) for i, rule in enumerate(family.sessions)),
        holidays=tuple(family.holidays),
        is_flat_outside=family.outside == "flatten",
        weekly=tuple(weekly),
        once=tuple(once),
        macro=macro,
        valid_until_ns=utc_ns(f"{where}.valid_until", family.valid_until),
        memo=NEVER,
    )


def _local(day: date, minute: int, tz: ZoneInfo, *, fold: int) -> int:
    wall = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)
    return _ns(wall.replace(tzinfo=tz, fold=fold))


def _occurrences(
    rules: tuple[_Rule, ...], holidays: tuple[date, ...], days: list[date], tz: ZoneInfo, *, is_narrow: bool
) -> list[_Interval]:
    """The rules as intervals of UTC; of an ambiguous wall time the later opens and the earlier closes when narrow."""
    found: list[_Interval] = []
    for day in days:
        if day in holidays:
            continue
        for rule in rules:
            if day.weekday() in rule.weekdays:
                start = _local(day, rule.open_minute, tz, fold=int(is_narrow))
                end = _local(day, rule.close_minute, tz, fold=int(not is_narrow))
                if rule.close_minute == rule.open_minute + 1440 or end > start:
                    found.append(_Interval(start, end, rule.is_flatten))
    return found


def _resolve(table: _Table, ts_ns: int) -> WindowState:
    """Code at ts_ns, and the span around it in which nothing changes, looking a little back and HORIZON_NS ahead."""
    today = (_EPOCH + timedelta(microseconds=ts_ns // 1000)).astimezone(table.zone).date()
    days = [today + _DAY * i for i in range(-3, 10)]
    sessions = _occurrences(table.sessions, table.holidays, days, table.zone, is_narrow=True)
    blackouts = _occurrences(table.weekly, (), days, table.zone, is_narrow=False)
    blackouts += table.once
    edges = [table.valid_until_ns]
    for interval in (*sessions, *blackouts, *table.macro):
        edges += (interval.start_ns, interval.end_ns)
    code, is_flatten = _at(table, sessions, blackouts, ts_ns)
    until_ns = ts_ns + HORIZON_NS
    for edge in sorted(edges):
        if ts_ns < edge < until_ns and _at(table, sessions, blackouts, edge) != (code, is_flatten):
            until_ns = edge
            break
    return WindowState(code, ts_ns, until_ns, is_flatten)


def _at(table: _Table, sessions: list[_Interval], blackouts: list[_Interval], ts_ns: int) -> tuple[Code, bool]:
    """The first of: expired table, closed session, blackout, calendar event; a position is closed when any of them wants it."""
    code = Code.OK
    is_flatten = False
    for interval in table.macro:
        if interval.start_ns <= ts_ns < interval.end_ns:
            code, is_flatten = Code.MACRO_EVENT, is_flatten or interval.is_flatten
    for interval in blackouts:
        if interval.start_ns <= ts_ns < interval.end_ns:
            code, is_flatten = Code.BLACKOUT_WINDOW, is_flatten or interval.is_flatten
    for interval in sessions:
        if interval.start_ns <= ts_ns < interval.end_ns:
            break
    else:
        code, is_flatten = Code.OUTSIDE_SESSION, is_flatten or table.is_flat_outside
    if ts_ns >= table.valid_until_ns:
        code = Code.CALENDAR_EXPIRED
    return code, is_flatten
