"""Calendars of features from the calendar files: the sessions and events that risk sees, and the contracts of a family."""

from __future__ import annotations

import csv
import time
from datetime import UTC, datetime, timedelta

import msgspec

from mia.assemble import build_engine, calendar_files, calendars_of
from mia.engine.settings import LaneSettings
from mia.risk.windows import Family, MacroEvent, Windows, load_windows
from mia.settings import load_settings

SEC = 1_000_000_000


def windows() -> Windows:
    es = Family(time_zone="America/Chicago", sessions=["sun-thu 17:00-16:00"], valid_until="2027-01-01T00:00:00Z", macro="ignore")
    crypto = Family(time_zone="UTC", sessions=["mon-sun 00:00-24:00"], valid_until="2028-01-01T00:00:00Z")
    event = MacroEvent(ns("2026-12-09T18:30"), ns("2026-12-09T20:00"), "fomc", 1.0, "x", ns("2026-12-09T19:00"))
    return Windows({"es": es, "crypto": crypto}, (event,))


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SEC


def test_a_family_gets_its_sessions_events_and_contracts() -> None:
    es = calendars_of(windows(), ["es"])["es"]

    rows = list(zip(es.opens_ns, es.closes_ns, strict=True))
    assert (ns("2026-07-05T22:00"), ns("2026-07-06T21:00")) in rows
    assert (ns("2026-12-06T23:00"), ns("2026-12-07T22:00")) in rows
    assert rows == sorted(rows)
    assert 750 < len(rows) < 850
    assert (es.event_ns, es.event_impact) == ((ns("2026-12-09T19:00"),), (1.0,))
    assert ns("2026-12-18T14:30") in es.expiry_ns
    assert es.valid_until_ns == ns("2027-01-01T00:00")


def test_a_market_that_never_closes_keeps_utc_days_and_has_no_contracts() -> None:
    crypto = calendars_of(windows(), ["crypto"])["crypto"]

    assert (crypto.opens_ns, crypto.expiry_ns, crypto.roll_ns) == ((), (), ())
    assert crypto.event_ns


def test_an_engine_gets_the_calendar_of_each_of_its_families() -> None:
    settings = load_settings(environ={}).settings
    lanes = tuple(LaneSettings(instrument=lane.instrument, strategy="rule:flat") for lane in settings.lanes)

    engine = build_engine(msgspec.structs.replace(settings, lanes=lanes), "sim")

    families = {instrument.family for instrument in engine.config.instruments}
    assert engine.config.calendars == calendars_of(load_windows(*calendar_files()), families)
    assert engine.config.calendars["crypto"].event_ns


def test_events_are_at_their_start_not_where_their_window_opens() -> None:
    rows = list(csv.DictReader(line for line in calendar_files()[1].read_text().splitlines() if not line.startswith("#")))
    starts = sorted(int(datetime.fromisoformat(row["start_time"]).timestamp()) * SEC for row in rows)

    crypto = calendars_of(load_windows(*calendar_files()), ["crypto"])["crypto"]

    assert list(crypto.event_ns) == starts


def test_sessions_agree_with_what_risk_says_of_the_same_moments() -> None:
    table = windows()
    es = calendars_of(table, ["es"])["es"]
    moment = datetime(2026, 3, 1, tzinfo=UTC)

    for _ in range(3000):
        t = int(moment.timestamp()) * SEC
        is_open = any(a <= t < b for a, b in zip(es.opens_ns[-300:], es.closes_ns[-300:], strict=True))
        assert is_open == (table.state(t, "es").code == "ok"), moment
        moment += timedelta(minutes=61)


def test_overlapping_rules_of_a_day_are_one_session() -> None:
    family = Family(time_zone="UTC", sessions=["mon 09:00-12:00", "mon 11:00-15:00"], valid_until="2027-01-01T00:00:00Z")

    found = Windows({"x": family}, ()).sessions("x", datetime(2026, 3, 2, tzinfo=UTC).date(), datetime(2026, 3, 2, tzinfo=UTC).date())

    assert found == ((ns("2026-03-02T09:00"), ns("2026-03-02T15:00")),)


def test_building_a_family_takes_less_than_50_ms() -> None:
    table = windows()

    taken = []
    for _ in range(5):
        begin = time.perf_counter()
        calendars_of(table, ["es"])
        taken.append(time.perf_counter() - begin)

    assert min(taken) < 0.05
