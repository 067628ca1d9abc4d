"""Calendars of a past stretch from trade windows, and sessions of an exchange with its holidays."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime

import pytest

from mia.backtest.calendars import calendar_over, sessions_of
from mia.domain.errors import ConfigError, DataError
from mia.risk.windows import Family, Windows

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
