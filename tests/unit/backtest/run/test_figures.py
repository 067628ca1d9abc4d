"""The periods that a run is measured in: as long as they can be while there are enough of them for yearly ratios."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mia.backtest.run.figures import RunColumns, _entries, periods_for
from mia.backtest.stats.inputs import no_trips, track_of
from mia.backtest.stats.montecarlo import RandomEntries
from mia.backtest.stats.summary import summarize
from mia.risk.windows import Family, Windows

HOUR_NS = 3_600 * 10**9
START = 19_783 * 24 * HOUR_NS  # 2024-03-01
WINDOWS = Windows(
    {
        "crypto": Family(time_zone="UTC", sessions=["mon-sun 00:00-24:00"], valid_until="2028-01-01T00:00:00Z"),
        "es": Family(time_zone="America/Chicago", sessions=["sun-thu 17:00-16:00"], valid_until="2028-01-01T00:00:00Z"),
    },
    (),
)


@pytest.mark.parametrize(
    ("hours", "family", "noun"),
    [
        (29, "crypto", "minute"),
        (30, "crypto", "hour"),
        (20 * 24, "crypto", "hour"),
        (29 * 24, "crypto", "hour"),
        (30 * 24, "crypto", "day"),
        (30 * 24, "es", "hour"),  # 30 days have some 21 sessions
        (60 * 24, "es", "session"),
    ],
)
def test_a_span_is_measured_in_the_longest_unit_that_it_has_30_of(hours: int, family: str, noun: str) -> None:
    assert periods_for(START + np.array([0, hours * HOUR_NS]), WINDOWS, family).noun == noun


@pytest.mark.parametrize("days", [20, 25, 29, 30, 45])
def test_a_span_of_20_days_and_more_has_its_yearly_ratios(days: int) -> None:
    ts_ns = START + np.arange(days * 24 + 1) * HOUR_NS
    random = np.random.default_rng(days)
    track = track_of(ts_ns, 1e4 * np.exp(np.cumsum(random.normal(0.0, 0.002, len(ts_ns)))))

    found = summarize(track, no_trips(), periods=periods_for(ts_ns, WINDOWS, "crypto"), samples=0)

    assert found.value("sharpe") is not None
    assert found.value("sortino") is not None


def test_a_trade_stopped_within_a_bar_is_measured_at_that_bars_end() -> None:
    ts_ns = START + np.arange(61) * HOUR_NS
    price = 100.0 * np.resize([1.0, 1.0, 0.98, 0.98], 61)  # each third bar falls by 2 %, and back
    opened, closed = ts_ns[1:60:4], ts_ns[2:61:4] - 1  # a bar's stop fills one moment before its end
    trips = no_trips()._replace(opened_ns=opened, closed_ns=closed, side=np.ones(len(opened), np.int8))
    market = track_of(ts_ns, price)

    found = _entries(RunColumns(market, trips, market, "crypto", 0, ""))

    assert isinstance(found, RandomEntries)
    assert found.observed == pytest.approx(math.log(0.98))
