"""Every calendar feature against a plain version of its formula, and local hours against the time zone database."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.calendars import UTC_DAYS, Calendar, family_calendar, quarterly_expiries
from mia.features.catalogue import shipped_catalogue
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.calendar_block import SLOTS

SEC = 1_000_000_000
MINUTE = 60 * SEC
DAY = 86_400 * SEC
NEW_YORK, LONDON, TOKYO = ZoneInfo("America/New_York"), ZoneInfo("Europe/London"), ZoneInfo("Asia/Tokyo")
OF_CALENDAR = SLOTS[10:18]


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SEC


def rows(instrument: Instrument, calendar: Calendar, times: Sequence[int], columns: Sequence[str] = SLOTS) -> list[dict[str, float | None]]:
    """The columns at rising times; None where absent."""
    arena = Arena(4_000_000)
    plan = build_plan(columns, instrument, BarSpec.parse("time:1m"), arena, Book(arena), calendar, neutral=math.nan)
    found = []
    for t in times:
        plan.observe(t)
        found.append({name: None if math.isnan(v) else v for name, v in zip(columns, plan.values, strict=True)})
    return found


def is_between(t: datetime, zone: ZoneInfo, start: int, stop: int) -> float:
    """1.0 on weekdays from start to stop, minutes of the local day."""
    local = t.astimezone(zone)
    return float(local.weekday() < 5 and start <= local.hour * 60 + local.minute < stop)


def oracle(t_ns: int, c: Calendar) -> dict[str, float | None]:
    t = datetime.fromtimestamp(t_ns // SEC, UTC)
    day_ns = t_ns % DAY
    minute_ns = t_ns // MINUTE * MINUTE
    local = t.astimezone(NEW_YORK)
    us = is_between(t, NEW_YORK, 570, 960)
    tokyo_close = 930 if t.date() >= date(2024, 11, 5) else 900
    month_days = [t.date().replace(day=1) + timedelta(days=i) for i in range(31)]
    month_days = [d for d in month_days if d.month == t.month]
    weekdays = [d for d in month_days if d.weekday() < 5]
    third_friday = [d for d in month_days if d.weekday() == 4][2]
    quarter_end = datetime(t.year + t.month // 10, (t.month - 1) // 3 * 3 % 12 + 4 if t.month < 10 else 1, 1, tzinfo=UTC)
    angles = [2 * np.pi * x for x in (day_ns / DAY, t.weekday() / 7, day_ns % (3600 * SEC) / (3600 * SEC))]
    found: dict[str, float | None] = dict(zip(SLOTS[:6], (f(a) for a in angles for f in (np.sin, np.cos)), strict=True))
    found |= {
        "funding_progress": t_ns % (8 * 3600 * SEC) / (8 * 3600 * SEC),
        "is_weekend": float(t.weekday() >= 5),
        "us_session": us,
        "eu_session": is_between(t, LONDON, 480, 990),
        "us_session_left": (960 - local.hour * 60 - local.minute) / 390 if us else 0.0,
        "asia_session": is_between(t, TOKYO, 540, tokyo_close),
        "turn_of_month": float(t.date() >= weekdays[-1] or t.date() <= weekdays[2]),
        "opex_week": float(third_friday - timedelta(days=4) <= t.date() <= third_friday),
        "days_to_quarter_end": min(1.0, ((quarter_end - t.replace(second=0)) / timedelta(days=1)) / 20),
        "quarter_hour": t_ns % (900 * SEC) / (900 * SEC),
    }
    found |= dict.fromkeys(OF_CALENDAR)
    if minute_ns >= c.valid_until_ns:
        return found
    start, end, later = minute_ns // DAY * DAY, minute_ns // DAY * DAY + DAY, None
    is_in_session = True
    if c.opens_ns:
        i = bisect.bisect_right(c.opens_ns, minute_ns) - 1
        is_in_session = i >= 0 and minute_ns < c.closes_ns[i]
        if is_in_session:
            start, end = c.opens_ns[i], c.closes_ns[i]
            later = c.opens_ns[i + 1] if i + 1 < len(c.opens_ns) else None
    if is_in_session:
        found["minutes_to_close"] = (end - minute_ns) / (end - start)
        found["minutes_since_open"] = min(1.0, (minute_ns - start) / MINUTE / 240)
        if later is not None:
            found["closure_ahead"] = min(1.0, (later - end) / (3600 * SEC) / 96)
        if c.expiry_ns and c.expiry_ns[-1] >= start:
            found["is_expiry_day"] = float(any(start <= e < end for e in c.expiry_ns))
    events = list(zip(c.event_ns, c.event_impact, strict=True))
    strong_next = [e for e, impact in events if impact > 0.7 and e > minute_ns]
    strong_last = [e for e, impact in events if impact > 0.7 and e <= minute_ns]
    if strong_next:
        found["minutes_to_event"] = min(1.0, (strong_next[0] - minute_ns) / MINUTE / 240)
    if strong_last and (strong_next or minute_ns - strong_last[-1] < 240 * MINUTE):
        found["minutes_since_event"] = min(1.0, (minute_ns - strong_last[-1]) / MINUTE / 240)
    ahead = [e for e, _ in events if e > minute_ns]
    if ahead:
        near = ahead[0] - minute_ns <= DAY
        found["next_event_impact"] = max(impact for e, impact in events if e == ahead[0]) if near else 0.0
    rolls = [r for r in c.roll_ns if r > minute_ns]
    if rolls:
        found["days_to_roll"] = min(10.0, (rolls[0] - minute_ns) / DAY / 10)
    return found


def es_like() -> Calendar:
    """Half a year of Globex sessions with a holiday and a half day, events and expiries."""
    chicago = ZoneInfo("America/Chicago")
    sessions = []
    day = date(2026, 1, 4)
    while day < date(2026, 7, 1):
        if day.weekday() in (6, 0, 1, 2, 3) and day != date(2026, 4, 2):
            opens = datetime(day.year, day.month, day.day, 17, tzinfo=chicago)
            after = day + timedelta(days=1)
            closes = datetime(after.year, after.month, after.day, 12 if after == date(2026, 2, 16) else 16, tzinfo=chicago)
            sessions.append((int(opens.timestamp()) * SEC, int(closes.timestamp()) * SEC))
        day += timedelta(days=1)
    events = [(ns("2026-01-28T19:00"), 1.0), (ns("2026-02-11T13:30"), 0.5), (ns("2026-02-11T13:30"), 0.9), (ns("2026-03-18T18:00"), 1.0)]
    events += [(ns("2026-03-20T12:30"), 0.3)]
    return family_calendar("es", sessions, events, range(2025, 2027), ns("2026-06-25T00:00"))


def same(row: dict[str, float | None], expected: dict[str, float | None]) -> None:
    assert set(row) == set(expected)
    for name, value in row.items():
        assert value == (None if expected[name] is None else pytest.approx(expected[name], rel=1e-9, abs=1e-9)), name


def test_there_are_24_columns() -> None:
    assert shipped_catalogue().category("calendar") == SLOTS
    assert len(SLOTS) == 24


@pytest.mark.parametrize("seed", range(3))
def test_every_column_matches_its_formula(seed: int, instrument: Instrument) -> None:
    calendar = es_like()
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(ns("2025-12-28T00:00"), ns("2026-07-04T00:00"), 800)).tolist()
    edges = [*calendar.opens_ns[::9], *calendar.closes_ns[::9], *calendar.event_ns, *calendar.expiry_ns, *calendar.roll_ns]
    times = sorted(times + [e + d for e in edges if e > times[0] for d in (-1, 0, 1)])

    found = rows(instrument, calendar, times)

    for t, row in zip(times, found, strict=True):
        same(row, oracle(t, calendar))
    for name in SLOTS:
        known = [row[name] for row in found if row[name] is not None]
        assert len(set(known)) > 1, name
        low, high = shipped_catalogue().get(name).range
        assert all(low <= v <= high for v in known if v is not None), name


def test_local_hours_match_the_time_zone_database_from_2000_to_2035(instrument: Instrument) -> None:
    columns = ("us_session", "eu_session", "asia_session", "us_session_left")
    marks = (0, 359, 360, 389, 390, 419, 420, 479, 480, 809, 810, 869, 870, 929, 930, 989, 990, 1199, 1200, 1259, 1260, 1439)
    start = ns("2000-01-01T00:00")
    days = [start + day * DAY for day in range(36 * 365 + 9)]
    # Clocks change on Sundays of March, April, October and November: the Fridays before and the Mondays after, and all of 2024.
    dates = [datetime.fromtimestamp(d // SEC, UTC) for d in days]
    near = [t.year == 2024 or (t.month in (3, 4, 10, 11) and t.weekday() in (0, 4)) for t in dates]
    days = [d for d, is_near in zip(days, near, strict=True) if is_near]
    times = [day + m * MINUTE for day in days for m in marks]

    found = rows(instrument, UTC_DAYS, times, columns)

    assert len(times) > 25_000
    for t, row in zip(times, found, strict=True):
        when = datetime.fromtimestamp(t // SEC, UTC)
        us, eu = is_between(when, NEW_YORK, 570, 960), is_between(when, LONDON, 480, 990)
        tokyo = is_between(when, TOKYO, 540, 930 if when.date() >= date(2024, 11, 5) else 900)
        assert (row["us_session"], row["eu_session"], row["asia_session"]) == (us, eu, tokyo), when
        if us:
            local = when.astimezone(NEW_YORK)
            assert row["us_session_left"] == pytest.approx((960 - 60 * local.hour - local.minute) / 390), when


def test_days_turn_of_month_and_quarters_are_right_on_every_third_day_of_36_years(instrument: Instrument) -> None:
    columns = ("turn_of_month", "opex_week", "days_to_quarter_end", "is_weekend")
    times = [ns("2000-01-01T00:00") + day * DAY for day in range(0, 36 * 365 + 9, 3)]

    found = rows(instrument, UTC_DAYS, times, columns)

    for t, row in zip(times, found, strict=True):
        expected = oracle(t, UTC_DAYS)
        same(row, {name: expected[name] for name in columns})


def test_without_tables_what_needs_them_is_absent_and_the_utc_day_is_the_session(instrument: Instrument) -> None:
    row = rows(instrument, UTC_DAYS, [ns("2026-03-20T06:00")])[0]

    assert (row["minutes_to_close"], row["minutes_since_open"]) == (0.75, 1.0)
    absent = {"closure_ahead", "minutes_to_event", "minutes_since_event", "next_event_impact", "is_expiry_day", "days_to_roll"}
    assert {name for name, value in row.items() if value is None} == absent


def test_past_valid_until_nothing_of_the_calendar_is_stated(instrument: Instrument) -> None:
    calendar = es_like()

    before, after = rows(instrument, calendar, [calendar.valid_until_ns - 1, calendar.valid_until_ns])

    assert before["minutes_to_close"] is not None
    assert [after[name] for name in OF_CALENDAR] == [None] * len(OF_CALENDAR)
    assert after["tod_sin"] is not None


def test_quarterly_contracts_end_on_third_fridays_and_roll_on_the_thursday_of_the_week_before() -> None:
    found = [
        tuple(datetime.fromtimestamp(t // SEC, UTC).isoformat(timespec="minutes") for t in row)
        for row in quarterly_expiries(range(2026, 2027))
    ]

    assert found == [
        ("2026-03-20T13:30+00:00", "2026-03-12T13:30+00:00"),
        ("2026-06-18T13:30+00:00", "2026-06-11T13:30+00:00"),  # the 19th is Juneteenth
        ("2026-09-18T13:30+00:00", "2026-09-10T13:30+00:00"),
        ("2026-12-18T14:30+00:00", "2026-12-10T14:30+00:00"),
    ]


@pytest.mark.parametrize("year", range(2000, 2036))
def test_contracts_end_at_half_past_eight_in_chicago(year: int) -> None:
    chicago = ZoneInfo("America/Chicago")

    for row in quarterly_expiries(range(year, year + 1)):
        for t in row:
            local = datetime.fromtimestamp(t // SEC, chicago)
            assert (local.hour, local.minute) == (8, 30), local


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.integers(0, 4_000_000_000 * SEC), min_size=1, max_size=30),
    sessions=st.lists(st.tuples(st.integers(1, 3 * 86_400), st.integers(1, 86_400)), max_size=8),
    events=st.lists(st.tuples(st.integers(0, 2_000_000_000), st.floats(0, 1)), max_size=8),
)
def test_any_calendar_gives_finite_values_within_the_ranges(times: list[int], sessions: Any, events: Any, instrument: Instrument) -> None:
    start, table = 1_000_000_000, []
    for gap, length in sessions:
        table.append(((start + gap) * SEC, (start + gap + length) * SEC))
        start += gap + length
    calendar = family_calendar("es", table, [(s * SEC, impact) for s, impact in events], range(2001, 2003), 3_000_000_000 * SEC)
    moments = sorted([*times, *(t for row in table for t in row)])

    for t, row in zip(moments, rows(instrument, calendar, moments), strict=True):
        for name, value in row.items():
            low, high = shipped_catalogue().get(name).range
            assert value is None or low <= value <= high, (name, t)
        same({n: row[n] for n in OF_CALENDAR}, {n: oracle(t, calendar)[n] for n in OF_CALENDAR})


def test_observing_more_often_gives_the_same_values(instrument: Instrument) -> None:
    calendar = es_like()
    times = [ns("2026-02-11T13:00") + 7 * SEC * i for i in range(600)]

    assert rows(instrument, calendar, times)[::50] == rows(instrument, calendar, times[::50])
