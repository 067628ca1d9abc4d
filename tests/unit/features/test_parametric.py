"""Columns with lengths of the caller's choice, against plain formulas over the bars."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from mia.features.bars import BarSpec
from mia.features.calendars import Calendar, family_calendar
from mia.features.parametric import PARAMETRIC, parse_parametric
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book

S = 10**9
DAY_NS = 86_400 * S


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * S


class Bars:
    """Bars pushed one by one; keeps them, and the row after each: NaN where a column has no value."""

    def __init__(self, columns: list[str], instrument: Any, calendar: Calendar | None = None) -> None:
        arena = Arena(8_000_000)
        more = () if calendar is None else (calendar,)
        self.plan = build_plan(columns, instrument, BarSpec.parse("time:1m"), arena, Book(arena), *more, neutral=math.nan)
        self.rows: list[list[float]] = []
        self.high: list[float] = []
        self.low: list[float] = []
        self.close: list[float] = []
        self.closed_ns: list[int] = []

    def push(self, closed_ns: int, high: float, low: float, close: float) -> list[float]:
        bar = np.array([close, high, low, close, 5.0, 3.0, 2.0, 5 * close, 2.0, 1.0, 1.0])
        assert self.plan.on_bar(closed_ns, bar) == 1
        self.plan.observe(closed_ns)
        for known, value in ((self.high, high), (self.low, low), (self.close, close), (self.closed_ns, closed_ns)):
            known.append(value)
        self.rows.append(list(self.plan.values))
        return self.rows[-1]


@pytest.fixture
def uneven(instrument: Any) -> Callable[[list[str]], Bars]:
    """300 bars with pauses between some of them."""

    def make(columns: list[str]) -> Bars:
        rnd = np.random.default_rng(3)
        bars = Bars(columns, instrument)
        t, price = at("2024-03-05T22:00"), 10_000.0
        for k in range(300):
            t += 60 * S if k % 40 else 3_600 * S
            price += float(rnd.integers(-20, 21))
            bars.push(t, price + float(rnd.integers(0, 9)), price - float(rnd.integers(0, 9)), price)
        return bars

    return make


def test_channels_look_at_the_bars_before(uneven: Callable[..., Bars]) -> None:
    b = uneven(["prior_highest(7)", "prior_lowest(4)", "highest(7)"])

    for k in range(300):
        expected = [max(b.high[k - 7 : k], default=0) if k >= 7 else math.nan, min(b.low[k - 4 : k], default=0) if k >= 4 else math.nan]
        assert b.rows[k][:2] == pytest.approx(expected, nan_ok=True)
    assert any(row[2] > row[0] for row in b.rows)  # a new high


def test_momentum_is_the_log_return_over_so_many_bars(uneven: Callable[..., Bars]) -> None:
    b = uneven(["momentum(30)"])

    expected = [math.log(c / b.close[k - 30]) if k >= 30 else math.nan for k, c in enumerate(b.close)]
    assert [row[0] for row in b.rows] == pytest.approx(expected, rel=1e-12, abs=1e-15, nan_ok=True)


def test_volatility_is_weighted_and_annualised_by_the_time_that_passed(uneven: Callable[..., Bars]) -> None:
    b = uneven(["volatility(12)"])

    r, seconds = np.diff(np.log(b.close)), np.diff(b.closed_ns) / S
    for k in range(300):
        if k < 12:
            assert math.isnan(b.rows[k][0])
            continue
        w = (12 / 13) ** np.arange(k - 1, -1, -1)
        variance = np.average((r[:k] - np.average(r[:k], weights=w)) ** 2, weights=w)
        assert b.rows[k][0] == pytest.approx(math.sqrt(variance * 365.25 * 86_400 / np.average(seconds[:k], weights=w)), rel=1e-9)


def test_macd_histogram_is_the_line_less_its_mean(uneven: Callable[..., Bars]) -> None:
    b = uneven(["macd_histogram(5,11,4)"])

    def ema(x: list[float], n: int) -> list[float]:
        out = [x[0]]
        for value in x[1:]:
            out.append((2 * value + (n - 1) * out[-1]) / (n + 1))
        return out

    line = [f - s for f, s in zip(ema(b.close, 5), ema(b.close, 11), strict=True)]
    expected = [m - s if k >= 14 else math.nan for k, (m, s) in enumerate(zip(line, ema(line, 4), strict=True))]
    assert [row[0] for row in b.rows] == pytest.approx(expected, abs=1e-8, nan_ok=True)


def test_clock_columns_tell_when_the_bar_closed(instrument: Any) -> None:
    b = Bars(["bar_day", "bar_second", "session_age", "session_left"], instrument)

    noon = b.push(at("2024-03-05T12:00"), 2, 1, 1)
    midnight = b.push(at("2024-03-06T00:00"), 2, 1, 1)
    after = b.push(at("2024-03-06T00:01"), 2, 1, 1)

    day = at("2024-03-05") // DAY_NS
    assert noon == [day, 43_200.0, 43_200.0, 43_200.0]
    assert midnight == [day + 1, 0.0, 86_400.0, 0.0]  # the end of its session, not the start of the next
    assert after == [day + 1, 60.0, 60.0, 86_340.0]


def test_the_opening_range_is_that_of_the_first_minutes_of_a_session_seen_from_its_open(instrument: Any) -> None:
    b = Bars(["opening_high(3)", "opening_low(3)"], instrument)

    partial = b.push(at("2024-03-05T00:05"), 120, 80, 100)
    rows = [b.push(at(f"2024-03-06T00:0{m}"), 100 + m % 3, 90 - m % 2, 95) for m in range(1, 7)]
    wild = b.push(at("2024-03-06T09:00"), 300, 10, 95)
    next_day = b.push(at("2024-03-07T00:01"), 51, 49, 50)

    assert np.isnan(partial).all()
    assert rows == [[101, 89], [102, 89], [102, 89], [102, 89], [102, 89], [102, 89]]
    assert wild == [102, 89]
    assert next_day == [51, 49]


def test_the_opening_range_follows_the_sessions_of_the_calendar(instrument: Any) -> None:
    sessions = [(at(f"2024-03-0{d}T14:30"), at(f"2024-03-0{d}T21:00")) for d in (5, 6, 7)]
    b = Bars(["opening_high(30)", "session_age", "session_left"], instrument, family_calendar("x", sessions, [], range(2024, 2025), DAY_NS))

    b.push(at("2024-03-05T20:00"), 500, 10, 100)
    early = b.push(at("2024-03-06T14:45"), 110, 90, 100)
    late = b.push(at("2024-03-06T15:30"), 130, 90, 100)
    night = b.push(at("2024-03-06T22:00"), 180, 90, 100)

    assert early == [110, 900.0, 22_500.0]
    assert late == [110, 3_600.0, 19_800.0]
    assert night == [110, 27_000.0, -3_600.0]


def test_a_range_shorter_than_a_bar_has_no_value(instrument: Any) -> None:
    b = Bars(["opening_high(30)"], instrument)
    b.push(at("2024-03-05T12:00"), 2, 1, 1)

    assert math.isnan(b.push(at("2024-03-06T01:00"), 2, 1, 1)[0])


@pytest.mark.parametrize("name", PARAMETRIC)
def test_every_listed_column_parses(name: str) -> None:
    lengths = name.partition("(")[2].rstrip(")").split(",") if "(" in name else []

    column = parse_parametric(f"{name.partition('(')[0]}({', '.join('7' for _ in lengths)})" if lengths else name)

    assert column is not None
    assert column.lengths == (7,) * len(lengths)
    assert " " not in column.name


@pytest.mark.parametrize(
    "name", ["ema", "ema()", "ema(5,6)", "close(3)", "macd_histogram(3,5)", "prior_highest(10001)", "momentum(05)", "x(3)"]
)
def test_other_forms_are_none(name: str) -> None:
    assert parse_parametric(name) is None


def test_the_gap_of_two_means_is_zero_only_where_they_are_equal(uneven: Callable[..., Bars]) -> None:
    b = uneven(["sma_gap(3,7)", "prior_sma_gap(3,7)"])

    gaps = [math.nan if k < 6 else (sum(b.close[k - 2 : k + 1]) * 7 - sum(b.close[k - 6 : k + 1]) * 3) / 21 for k in range(300)]
    for k in range(300):
        assert b.rows[k][:2] == pytest.approx([gaps[k], gaps[k - 1] if k else math.nan], nan_ok=True)
        assert k < 6 or (b.rows[k][0] == 0.0) == (gaps[k] == 0.0)
