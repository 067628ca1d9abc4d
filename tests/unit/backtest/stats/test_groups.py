"""Figures by regime, session, hour and weekday, and months: each return and each trade in exactly one group, the right one."""

from __future__ import annotations

import numpy as np
import pytest

from mia.backtest.stats.groups import GroupRow, years
from mia.backtest.stats.inputs import Track, Trips, no_trips, track_of
from mia.backtest.stats.periods import DAY_NS
from mia.backtest.stats.sheet import Sheet
from mia.backtest.stats.summary import summarize

HOUR_NS = DAY_NS // 24
MONDAY = 19_002 * DAY_NS  # 2022-01-10


def value(row: GroupRow, name: str) -> float | None:
    return next(f.value for f in row.figures if f.name == name)


def hourly(days: int, gain_at: int, regime: int = 0) -> Track:
    """Marks at every hour; equity rises by 1 % in the hour that starts at gain_at, by 0 in all others."""
    ts = MONDAY + np.arange(days * 24 + 1) * HOUR_NS
    r = np.where(np.arange(days * 24) % 24 == gain_at, 0.01, 0.0)
    track = track_of(ts, 1e4 * np.cumprod(np.append(1.0, 1.0 + r)))
    return track._replace(regime=np.full(len(ts), regime, np.int8))


def trips(opened_hours: list[float], regimes: list[int]) -> Trips:
    m = len(opened_hours)
    opened = MONDAY + (np.array(opened_hours) * HOUR_NS).astype(np.int64)
    one, zero = np.ones(m), np.zeros(m, np.int64)
    return Trips(
        zero, np.ones(m, np.int8), opened, opened + HOUR_NS, one, one, one, zero + 10**8, zero, zero, zero, zero, np.array(regimes, np.int8)
    )


def test_a_return_belongs_to_the_hour_that_its_mark_ends() -> None:
    found = summarize(hourly(40, 13), no_trips(), samples=100)

    gains = {row.label: value(row, "return") for row in found.by_hour.rows}
    assert len(gains) == 24
    assert gains.pop("13") == pytest.approx(1.01**40 - 1, rel=1e-6)
    assert all(gain == pytest.approx(0.0, abs=1e-9) for gain in gains.values())
    assert {row.label: round(value(row, "return") or 0.0, 3) for row in found.by_session.rows} == {
        "Asia 22-07": 0.0, "Europe 07-13": 0.0, "US 13-22": round(1.01**40 - 1, 3),
    }  # fmt: skip
    assert [row.share for row in found.by_session.rows] == pytest.approx([9 / 24, 6 / 24, 9 / 24])


@pytest.mark.parametrize("name", ["by_regime", "by_session", "by_hour", "by_weekday"])
def test_groups_share_out_all_returns_and_trades(name: str) -> None:
    random = np.random.default_rng(1)
    n = 24 * 90 + 1
    track = track_of(MONDAY + np.arange(n) * HOUR_NS, 1e4 * np.exp(np.cumsum(random.normal(0.0, 0.01, n))))
    track = track._replace(regime=random.integers(-1, 3, n).astype(np.int8))
    closed = trips(list(np.sort(random.random(50) * 2000)), list(random.integers(-1, 3, 50)))

    found = summarize(track, closed, samples=100)

    rows = getattr(found, name).rows
    assert np.prod([1.0 + (value(row, "return") or 0.0) for row in rows]) == pytest.approx(1.0 + (found.value("return") or 0.0), rel=1e-6)
    assert sum(value(row, "trades") or 0 for row in rows) == 50
    assert sum(row.share for row in rows) == pytest.approx(1.0)


def test_a_regime_holds_from_its_mark_on() -> None:
    track = track_of(MONDAY + np.arange(5) * HOUR_NS, [100.0, 110.0, 99.0, 99.0, 198.0])
    track = track._replace(regime=np.array([1, 2, -1, 0, 0], np.int8))

    rows = summarize(track, trips([0.5, 1.5, 2.5], [1, 2, 2]), samples=100).by_regime.rows

    assert {row.label: value(row, "return") for row in rows} == pytest.approx(
        {"range": 1.0, "trend": 0.1, "defensive": -0.1, "unknown": 0.0}
    )
    assert {row.label: value(row, "trades") for row in rows} == {"range": 0, "trend": 1, "defensive": 2, "unknown": 0}


def test_daily_marks_tell_weekdays_but_no_hours() -> None:
    ts = MONDAY + np.arange(1, 72) * DAY_NS  # each ends the day before its midnight
    r = np.where((np.arange(70) + 1) % 7 == 1, 0.02, 0.0)  # the second return is of a Tuesday's end, that is: of Tuesday

    found = summarize(track_of(ts, 100.0 * np.cumprod(np.append(1.0, 1.0 + r))), no_trips(), samples=100)

    assert found.by_hour.rows == []
    assert found.by_hour.why == "marks are 24.0 h apart"
    gains = {row.label: value(row, "return") for row in found.by_weekday.rows}
    assert gains["Tuesday"] == pytest.approx(1.02**10 - 1)
    assert sum(abs(gain or 0.0) for gain in gains.values()) == pytest.approx(1.02**10 - 1)


def test_a_group_is_annualised_by_how_often_it_comes() -> None:
    """The Sharpe of one hour of each day: mean over deviation of its daily returns times sqrt(365.25)."""
    random = np.random.default_rng(2)
    r = random.normal(0.0003, 0.002, 24 * 200)
    track = track_of(MONDAY + np.arange(len(r) + 1) * HOUR_NS, 1e6 * np.cumprod(np.append(1.0, 1.0 + r)))

    rows = summarize(track, no_trips(), samples=100).by_hour.rows

    mine = r[5::24]
    assert value(rows[5], "sharpe") == pytest.approx(mine.mean() / mine.std(ddof=1) * np.sqrt(365.25), rel=1e-4)
    assert value(rows[5], "max_drawdown") == pytest.approx(
        (1 - np.cumprod(1 + mine) / np.maximum.accumulate(np.maximum(np.cumprod(1 + mine), 1.0))).max(), rel=1e-4
    )


def test_months_multiply_to_their_year_and_years_to_the_whole() -> None:
    random = np.random.default_rng(3)
    ts = MONDAY + np.arange(900) * DAY_NS
    equity = 1e4 * np.exp(np.cumsum(random.normal(0.0, 0.02, 900)))

    found = years(Sheet(track_of(ts, equity), no_trips()))

    assert [row.year for row in found] == [2022, 2023, 2024]
    for row in found:
        assert np.prod([1.0 + m for m in row.months if m is not None]) == pytest.approx(1.0 + row.total)
    assert np.prod([1.0 + row.total for row in found]) == pytest.approx(equity[-1] / equity[0], rel=1e-6)


def test_a_mark_at_midnight_of_the_first_ends_the_month_before() -> None:
    january = np.array([0, 31, 59]) * DAY_NS + 18_993 * DAY_NS  # 2022-01-01, 02-01, 03-01

    found = years(Sheet(track_of(january, [100.0, 110.0, 55.0]), no_trips()))

    assert found[0].months[:3] == [pytest.approx(0.1), pytest.approx(-0.5), None]
    assert found[0].total == pytest.approx(-0.45)


def test_an_interval_of_a_group_is_as_wide_as_the_theory_of_independent_returns_says() -> None:
    random = np.random.default_rng(4)
    r = random.normal(0.0005, 0.002, 24 * 400)
    track = track_of(MONDAY + np.arange(len(r) + 1) * HOUR_NS, 1e8 * np.cumprod(np.append(1.0, 1.0 + r)))

    row = summarize(track, no_trips(), samples=2_000).by_hour.rows[5]

    mine = r[5::24]
    for name, width in (
        ("mean_return", mine.std(ddof=1) / np.sqrt(400) * 365.25),
        ("sharpe", np.sqrt((1 + 0.5 * (mine.mean() / mine.std()) ** 2) / 400) * np.sqrt(365.25)),  # Lo (2002), eq. 9
    ):
        found = next(f for f in row.figures if f.name == name)
        assert found.interval is not None
        assert found.value is not None
        assert (found.interval.low or 0.0) < found.value < (found.interval.high or 0.0)
        assert (found.interval.high or 0.0) - (found.interval.low or 0.0) == pytest.approx(2 * 1.96 * width, rel=0.15)


def test_a_group_of_all_returns_has_the_interval_of_the_whole() -> None:
    random = np.random.default_rng(5)
    n = 24 * 90 + 1
    track = track_of(MONDAY + np.arange(n) * HOUR_NS, 1e6 * np.exp(np.cumsum(random.normal(0.0, 0.01, n))))
    closed = trips(list(np.sort(random.random(60) * 2000)), [-1] * 60)._replace(
        profit_e8=(random.normal(0.0, 50.0, 60) * 1e8).astype(np.int64)
    )

    found = summarize(track, closed, samples=500)

    (row,) = found.by_regime.rows
    for name in ("mean_return", "sharpe", "profit"):
        of_group, whole = next(f for f in row.figures if f.name == name).interval, found.figure(name).interval
        assert of_group is not None
        assert whole is not None
        assert [of_group.low, of_group.high] == pytest.approx([whole.low, whole.high], rel=1e-6)


def test_a_group_with_too_little_has_no_interval() -> None:
    rows = summarize(hourly(15, 13), trips([0.5, 1.5, 13.5], [0, 0, 0]), samples=200).by_hour.rows

    assert all(f.interval is None for row in rows for f in row.figures)
    assert all(f.value is None for row in rows for f in row.figures if f.name in ("mean_return", "sharpe"))
