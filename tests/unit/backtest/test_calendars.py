"""Calendars of a past stretch from trade windows, and sessions of an exchange with its holidays."""

from __future__ import annotations

import bisect
import itertools
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from mia.backtest.calendars import calendar_over, session_table, sessions_of
from mia.domain.codes import Code
from mia.domain.errors import ConfigError, DataError
from mia.risk.windows import Family, Windows, load_windows
from mia.shipped import config_file

SEC = 1_000_000_000


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SEC


def test_trade_windows_give_a_calendar_of_any_past_span() -> None:
    es = Family(time_zone="America/Chicago", sessions=["sun-thu 17:00-16:00"], valid_until="2027-01-01T00:00:00Z")

    found = calendar_over(Windows({"es": es}, ()), "es", date(2015, 1, 4), date(2015, 1, 9))

    assert found.opens_ns == tuple(ns(f"2015-01-{d:02}T23:00") for d in (4, 5, 6, 7, 8))
    assert found.closes_ns[0] == ns("2015-01-05T22:00")
    assert ns("2015-03-20T13:30") in found.expiry_ns
    with pytest.raises(ConfigError, match="no table"):
        calendar_over(Windows({"es": es}, ()), "gold", date(2015, 1, 4), date(2015, 1, 9))


def test_sessions_of_an_exchange_know_holidays_and_early_closes() -> None:
    pytest.importorskip("exchange_calendars")

    new_york = sessions_of("XNYS", date(2024, 11, 25), date(2024, 12, 2))
    chicago = sessions_of("CMES", date(2024, 11, 25), date(2024, 12, 2))

    assert [datetime.fromtimestamp(a // SEC, UTC).day for a, _ in new_york] == [25, 26, 27, 29, 2]  # without Thanksgiving
    assert new_york[3] == (ns("2024-11-29T14:30"), ns("2024-11-29T18:00"))
    assert all(a < b <= c for (a, b), (c, _) in itertools.pairwise(chicago))
    with pytest.raises(DataError, match="NOWHERE"):
        sessions_of("NOWHERE", date(2024, 11, 25), date(2024, 12, 2))


@pytest.mark.parametrize(("exchange", "rule"), [("XNYS", "mon-fri 09:30-16:00"), ("CMES", "sun-thu 17:00-17:00")])
def test_the_table_of_an_exchange_is_open_when_its_sessions_are(exchange: str, rule: str, tmp_path: Path) -> None:
    """Read as the daemon reads it, at every half hour of a year with two changes of clocks."""
    pytest.importorskip("exchange_calendars")
    first, last = date(2025, 1, 1), date(2025, 12, 31)
    path = tmp_path / "trade_windows.toml"
    path.write_text(session_table(exchange, first, last).toml("es"))

    windows = load_windows(path, config_file("macro_events.csv"))

    sessions = sessions_of(exchange, first, last)
    assert f'sessions = ["{rule}"]' in path.read_text()
    wrong = []
    for t in range(sessions[0][0], sessions[-1][1], 1800 * SEC):
        is_open = any(a <= t < b for a, b in sessions[max(bisect.bisect_right(sessions, (t, 0)) - 1, 0) :][:2])
        if (windows.state(t + 1, "es").code is Code.OK) != is_open:
            wrong.append(datetime.fromtimestamp(t // SEC, UTC).isoformat())
    assert wrong == []
    assert windows.state(sessions[-1][1], "es").code is Code.CALENDAR_EXPIRED


def test_the_table_names_holidays_and_early_closes() -> None:
    pytest.importorskip("exchange_calendars")

    table = session_table("XNYS", date(2024, 11, 25), date(2024, 12, 2))

    assert table.holidays == [date(2024, 11, 28)]
    assert table.cut == [("2024-11-29T18:00:00Z", "2024-11-29T21:00:00Z", date(2024, 11, 29))]
    assert table.valid_until == "2024-12-02T21:00:00Z"


def test_spans_without_a_session_are_refused() -> None:
    pytest.importorskip("exchange_calendars")

    with pytest.raises(DataError, match="turn --from and --to around"):
        session_table("XNYS", date(2024, 12, 2), date(2024, 11, 25))
    with pytest.raises(DataError, match="XNYS"):
        session_table("XNYS", date(2024, 12, 25), date(2024, 12, 25))
