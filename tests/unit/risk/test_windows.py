"""Sessions, blackouts and calendar events: pure functions of time, right on both changes of clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia.domain.codes import Code
from mia.domain.errors import ConfigError
from mia.risk.windows import HORIZON_NS, Blackout, Family, MacroEvent, Windows, load_events, load_windows
from mia.shipped import config_file

HEADER = "start_time,type,impact,minutes_before,minutes_after,source,valid_until\n"
FAR = "2040-01-01T00:00:00Z"


def ns(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def es(**changes: object) -> Windows:
    values: dict[str, object] = {
        "time_zone": "America/Chicago",
        "sessions": ["sun-thu 17:00-16:00"],
        "valid_until": FAR,
        "outside": "flatten",
    }
    return Windows({"es": Family(**{**values, **changes})}, ())  # type: ignore[arg-type]


def code(windows: Windows, text: str, family: str = "es") -> Code:
    return windows.state(ns(text), family).code


def test_shipped_files_load_and_crypto_trades_around_the_clock_but_for_the_fed() -> None:
    windows = load_windows(config_file("trade_windows.toml"), config_file("macro_events.csv"))

    assert code(windows, "2024-08-08T03:00", "crypto") is Code.OK
    assert code(windows, "2026-12-09T18:29:59", "crypto") is Code.OK
    assert code(windows, "2026-12-09T18:30", "crypto") is Code.MACRO_EVENT
    assert windows.state(ns("2026-12-09T18:30"), "crypto").until_ns == ns("2026-12-09T20:00")
    assert code(windows, "2026-12-09T20:00", "crypto") is Code.OK
    assert code(windows, "2028-01-01T00:00", "crypto") is Code.CALENDAR_EXPIRED


@pytest.mark.parametrize(
    ("opens", "closes"),
    [
        ("2026-03-06T23:00", "2026-03-06T22:00"),  # winter: 17:00 is 23:00 UTC
        ("2026-03-08T22:00", "2026-03-09T21:00"),  # the Sunday on which summer time begins
        ("2026-10-30T22:00", "2026-10-30T21:00"),  # summer
        ("2026-11-01T23:00", "2026-11-02T22:00"),  # the Sunday on which it ends
    ],
)
def test_session_follows_local_time_over_both_changes_of_clocks(opens: str, closes: str) -> None:
    windows = es(sessions=["mon-sun 17:00-16:00"])

    for edge, before, after in ((opens, Code.OUTSIDE_SESSION, Code.OK), (closes, Code.OK, Code.OUTSIDE_SESSION)):
        assert windows.state(ns(edge) - 1, "es").code is before
        assert windows.state(ns(edge), "es").code is after


def test_daily_break_and_weekend_are_outside() -> None:
    windows = es()

    assert [code(windows, t) for t in ("2026-07-15T20:59", "2026-07-15T21:00", "2026-07-15T22:00")] == [
        Code.OK,
        Code.OUTSIDE_SESSION,
        Code.OK,
    ]
    friday = windows.state(ns("2026-07-17T21:00"), "es")
    assert (friday.code, friday.is_flatten, friday.until_ns) == (Code.OUTSIDE_SESSION, True, ns("2026-07-19T22:00"))


def test_ambiguous_hour_reads_sessions_narrow_and_blackouts_wide() -> None:
    """On 2026-11-01 01:30 in Chicago happens at 06:30 and at 07:30 UTC."""
    session = es(sessions=["sun 01:30-12:00"])
    blackout = es(sessions=["mon-sun 00:00-24:00"], blackouts=[Blackout(rule="sun 00:30-01:30")])

    assert [code(session, t) for t in ("2026-11-01T06:30", "2026-11-01T07:29", "2026-11-01T07:30")] == [
        Code.OUTSIDE_SESSION,
        Code.OUTSIDE_SESSION,
        Code.OK,
    ]
    assert [code(blackout, t) for t in ("2026-11-01T05:30", "2026-11-01T07:29", "2026-11-01T07:30")] == [
        Code.BLACKOUT_WINDOW,
        Code.BLACKOUT_WINDOW,
        Code.OK,
    ]


def test_holiday_opens_no_session() -> None:
    windows = es(holidays=[datetime(2026, 12, 24).date()])

    assert code(windows, "2026-12-24T23:30") is Code.OUTSIDE_SESSION
    assert code(windows, "2026-12-24T15:00") is Code.OK  # the session that opened on the 23rd


def test_blackouts_by_week_and_once_say_what_becomes_of_a_position() -> None:
    windows = es(
        blackouts=[Blackout(rule="wed 12:00-13:00", position="flatten"), Blackout(start="2026-07-16T15:00:00Z", end="2026-07-16T15:05:00Z")]
    )

    weekly, once = windows.state(ns("2026-07-15T17:00"), "es"), windows.state(ns("2026-07-16T15:00"), "es")

    assert (weekly.code, weekly.is_flatten, weekly.until_ns) == (Code.BLACKOUT_WINDOW, True, ns("2026-07-15T18:00"))
    assert (once.code, once.is_flatten, once.until_ns) == (Code.BLACKOUT_WINDOW, False, ns("2026-07-16T15:05"))


def test_the_first_time_that_wants_positions_flat_is_found_in_a_span() -> None:
    windows = es(blackouts=[Blackout(rule="wed 12:00-13:00", position="flatten"), Blackout(rule="tue 12:00-13:00")])
    begin, end = ns("2026-07-15T17:00"), ns("2026-07-15T18:00")  # Wednesday noon in Chicago

    assert windows.flatten_ns(ns("2026-07-14T16:00"), end, "es") == ns("2026-07-14T21:00")  # the session's close of Tuesday
    assert windows.flatten_ns(ns("2026-07-14T22:00"), end, "es") == begin
    assert windows.flatten_ns(begin + 1, end, "es") == begin + 1
    assert windows.flatten_ns(ns("2026-07-14T22:00"), begin, "es") == begin  # none before the span's end
    assert windows.flatten_ns(end, ns("2026-07-15T20:00"), "es") == ns("2026-07-15T20:00")


@pytest.mark.parametrize(("impact", "expected"), [(0.7, Code.OK), (0.700001, Code.MACRO_EVENT), (1.0, Code.MACRO_EVENT)])
def test_only_an_impact_above_the_threshold_blocks(impact: float, expected: Code) -> None:
    family = Family(time_zone="UTC", sessions=["mon-sun 00:00-24:00"], valid_until=FAR)
    windows = Windows({"c": family}, (MacroEvent(ns("2026-07-15T17:00"), ns("2026-07-15T18:00"), "cpi", impact, "x"),))

    assert code(windows, "2026-07-15T17:30", "c") is expected


def test_family_that_ignores_the_calendar_trades_through_it() -> None:
    family = Family(time_zone="UTC", sessions=["mon-sun 00:00-24:00"], valid_until=FAR, macro="ignore")
    windows = Windows({"c": family}, (MacroEvent(ns("2026-07-15T17:00"), ns("2026-07-15T18:00"), "cpi", 1.0, "x"),))

    assert code(windows, "2026-07-15T17:30", "c") is Code.OK


def test_around_the_clock_nothing_changes_within_the_horizon() -> None:
    windows = Windows({"c": Family(time_zone="UTC", sessions=["mon-sun 00:00-24:00"], valid_until=FAR)}, ())
    now = ns("2026-07-15T17:30")

    assert windows.state(now, "c").until_ns == now + HORIZON_NS
    assert windows.state(now + HORIZON_NS - 1, "c") is windows.state(now, "c")


@given(st.lists(st.integers(0, 400 * 24 * 60), min_size=1, max_size=12))
def test_state_is_a_function_of_time_whatever_was_asked_before(minutes: list[int]) -> None:
    """The memo never changes an answer, and the code holds right up to until_ns."""
    asked = es(blackouts=[Blackout(rule="fri 15:00-16:00")])
    start = ns("2026-01-01T00:00")

    for minute in minutes:
        ts = start + minute * 60_000_000_000
        state = asked.state(ts, "es")
        fresh = es(blackouts=[Blackout(rule="fri 15:00-16:00")])
        assert fresh.state(ts, "es").code is state.code
        assert fresh.state(ts, "es").until_ns == state.until_ns or state.from_ns < ts
        assert fresh.state(state.until_ns - 1, "es").code is state.code


def test_family_without_a_table_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match=r"family\.fx"):
        es().state(0, "fx")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_zone": "Mars/Base"}, "es.time_zone.*Mars/Base"),
        ({"time_zone": "../../etc/passwd"}, "es.time_zone"),
        ({"sessions": []}, "es.sessions"),
        ({"sessions": ["mon-fri 09:30-16:00", "someday 1-2"]}, r"es.sessions\[1\].*someday"),
        ({"sessions": ["mon 09:60-16:00"]}, "09:60"),
        ({"sessions": ["mon 24:00-16:00"]}, "24:00"),
        ({"valid_until": "2027-01-01"}, "es.valid_until.*offset"),
        ({"valid_until": "soon"}, "es.valid_until.*soon"),
        ({"blackouts": [Blackout()]}, r"es.blackouts\[0\]"),
        ({"blackouts": [Blackout(rule="mon 01:00-02:00", start=FAR)]}, r"es.blackouts\[0\]"),
        ({"blackouts": [Blackout(start=FAR, end=FAR)]}, "end must be after start"),
    ],
)
def test_bad_table_is_refused_with_its_key(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        es(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("family = 3", "no .family.NAME"),
        ("[sessions]\nx = 1", "unknown key 'sessions'"),
        ('[family.es]\ntime_zone = "UTC"', "family.es.*sessions"),
        ('[family.es]\ntime_zone = "UTC"\nsessions = []\nvalid_until = "x"\nfoo = 1', "family.es.*foo"),
        (
            '[family.es]\ntime_zone = "UTC"\nsessions = ["mon 00:00-24:00"]\nvalid_until = "2030-01-01T00:00:00Z"\noutside = "panic"',
            "family.es.*panic",
        ),
        ("[family.es]\nx = = 1", "not valid TOML.*line 2"),
    ],
)
def test_bad_windows_file_is_refused_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "trade_windows.toml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=f"trade_windows.toml.*{message}"):
        load_windows(file, config_file("macro_events.csv"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2026-01-01T00:00:00Z,x,1.0,30,60,s", "line 2: 7 columns"),
        ("2026-01-01T00:00:00Z,x,1.0,30,60,s,2027-01-01T00:00:00Z,more", "line 2: 7 columns"),
        ("2026-01-01T00:00:00Z,x,nan,30,60,s,2027-01-01T00:00:00Z", "line 2: impact must be finite"),
        ("2026-01-01T00:00:00Z,x,1.1,30,60,s,2027-01-01T00:00:00Z", "line 2: impact must be in"),
        ("2026-01-01T00:00:00Z,x,high,30,60,s,2027-01-01T00:00:00Z", "line 2: impact is not a number"),
        ("2026-01-01T00:00:00Z,x,1.0,inf,60,s,2027-01-01T00:00:00Z", "line 2: minutes_before must be finite"),
        ("2026-01-01T00:00:00Z,x,1.0,-1,60,s,2027-01-01T00:00:00Z", "line 2: minutes_before"),
        ("2026-01-01T00:00:00,x,1.0,30,60,s,2027-01-01T00:00:00Z", "line 2: start_time.*no offset"),
        ("2026-01-01T00:00:00Z,x,1.0,0,0,s,2027-01-01T00:00:00Z", "line 2: the window is empty"),
        ("2026-01-01T00:00:00Z,x,1.0,30,60,s,2025-01-01T00:00:00Z", "line 2: the window is empty"),
    ],
)
def test_bad_calendar_row_is_refused_with_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    file = tmp_path / "macro_events.csv"
    file.write_text(HEADER + row + "\n")

    with pytest.raises(ConfigError, match=f"macro_events.csv: {message}"):
        load_events(file)


def test_calendar_without_its_columns_or_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("start,type\n")

    with pytest.raises(ConfigError, match=r"a.csv: line 1: the columns"):
        load_events(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match=r"b.csv: cannot be read"):
        load_events(tmp_path / "b.csv")


def test_row_ends_with_its_validity(tmp_path: Path) -> None:
    file = tmp_path / "macro_events.csv"
    file.write_text(HEADER + "2026-01-01T12:00:00Z,x,1.0,30,60,s,2026-01-01T12:10:00Z\n")

    (event,) = load_events(file)

    assert (event.start_ns, event.end_ns) == (ns("2026-01-01T11:30"), ns("2026-01-01T12:10"))
