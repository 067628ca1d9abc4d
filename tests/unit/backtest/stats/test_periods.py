"""Inputs and periods: what is refused, with its row, and which marks a period's return is measured between."""

from __future__ import annotations

import numpy as np
import pytest

from mia.backtest.stats.inputs import Track, check_track, check_trips, no_trips, track_of
from mia.backtest.stats.periods import DAY_NS, UTC_DAYS, Periods, common_returns, period_returns, periods_of, returns_at
from mia.domain.errors import ConfigError, DataError

HOUR_NS = DAY_NS // 24


def test_a_day_ends_with_the_mark_at_its_midnight() -> None:
    ts = np.arange(0, 49) * HOUR_NS
    equity = np.full(49, 100.0)
    equity[24:] = 110.0  # from the mark at midnight on, which ends the first day
    equity[48:] = 121.0

    found = period_returns(track_of(ts, equity), UTC_DAYS)

    assert found.r == pytest.approx([0.1, 0.1])
    assert found.at.tolist() == [0, 24, 48]


def test_parts_of_days_and_days_without_a_mark_count() -> None:
    ts = np.array([12, 20, 5 * 24 + 3]) * HOUR_NS

    found = period_returns(track_of(ts, [100.0, 110.0, 99.0]), UTC_DAYS)

    assert found.r == pytest.approx([0.1, 0.0, 0.0, 0.0, 0.0, -0.1])


def test_returns_of_periods_multiply_to_the_whole() -> None:
    random = np.random.default_rng(1)
    ts = np.cumsum(random.integers(1, 3 * HOUR_NS, 3000))
    equity = 1e4 * np.exp(np.cumsum(random.normal(0.0, 0.01, 3000)))

    for periods in (UTC_DAYS, Periods("hour", 8766.0, HOUR_NS), periods_of(np.arange(-1, 400) * DAY_NS + 5 * HOUR_NS)):
        found = period_returns(track_of(ts, equity), periods)
        assert np.prod(1.0 + found.r) == pytest.approx(equity[-1] / equity[0], rel=1e-6)


def test_a_calendar_of_sessions_has_its_own_count_a_year() -> None:
    weekdays = np.array([d for d in range(1461) if (d + 3) % 7 < 5]) * DAY_NS + 21 * HOUR_NS

    periods = periods_of(weekdays)

    assert periods.per_year == pytest.approx(260.9, abs=0.3)
    friday, monday = 1 * DAY_NS, 4 * DAY_NS  # 1970-01-02 and the Monday after it
    marks = np.array([friday, friday + 21 * HOUR_NS, monday + 20 * HOUR_NS, monday + 22 * HOUR_NS])
    assert period_returns(track_of(marks, [100.0, 110.0, 121.0, 242.0]), periods).r == pytest.approx([0.1, 0.1, 1.0])


def test_marks_outside_of_the_calendar_and_too_many_periods_are_refused() -> None:
    with pytest.raises(DataError, match="not within the calendar"):
        period_returns(track_of(np.array([1, 9 * DAY_NS]), [1.0, 1.0]), periods_of(np.arange(1, 5) * DAY_NS))
    with pytest.raises(ConfigError, match="take longer ones"):
        period_returns(track_of(np.array([1, 9000 * DAY_NS]), [1.0, 1.0]), Periods("second", 1.0, 10**7))
    with pytest.raises(ConfigError, match="rising"):
        periods_of(np.array([2, 1]))


def test_a_benchmark_is_measured_between_the_same_times_and_must_cover_them() -> None:
    track = track_of(np.arange(10) * HOUR_NS, np.arange(1.0, 11.0))

    assert returns_at(track, np.array([0, 3, 5]) * HOUR_NS + 1) == pytest.approx([3.0, 0.5])
    with pytest.raises(DataError, match="does not cover"):
        returns_at(track, np.array([-1, 3]))
    with pytest.raises(DataError, match="track: row 2"):
        returns_at(track._replace(equity_e8=np.where(np.arange(10) == 2, 0, track.equity_e8)), np.array([1, 2, 3]) * HOUR_NS)


def test_tracks_are_compared_over_the_days_that_both_have() -> None:
    long = track_of(np.arange(0, 240) * HOUR_NS, 100.0 * 1.01 ** np.arange(240))
    late = track_of(np.arange(60, 300, 3) * HOUR_NS, 100.0 * 1.02 ** np.arange(60, 300, 3))

    a, b = common_returns([long, late])

    assert len(a) == len(b) == 8  # from hour 60 to hour 239: a part of a day, seven days, of which the last is a part
    assert a[1:7] == pytest.approx(np.full(6, 1.01**24 - 1), rel=1e-6)
    assert b[1:7] == pytest.approx(np.full(6, 1.02**24 - 1), rel=1e-6)
    assert np.prod(1.0 + a) == pytest.approx(1.01**179, rel=1e-6)
    with pytest.raises(DataError, match="share no time"):
        common_returns([long, track_of(np.array([900, 901]) * HOUR_NS, [1.0, 1.0])])


def test_bad_tracks_are_refused_with_their_row() -> None:
    good = track_of(np.arange(4), [1.0, 2.0, 3.0, 4.0])
    cases = [
        (good._replace(ts_ns=np.array([0, 2, 2, 3])), "row 2: ts_ns 2 does not follow 2"),
        (good._replace(exposure=np.array([0.0, np.nan, 0.0, np.inf])), r"row 1: nan \(and 1 more\)"),
        (good._replace(equity_e8=np.array([0, 1, 1, 1])), "row 0: equity 0"),
        (good._replace(regime=np.zeros(3, np.int8)), "differ in length: ts_ns 4.*regime 3"),
        (good._replace(equity_e8=good.equity_e8.astype(np.float64)), "equity_e8 is float64"),
        (Track(*(column[:0] for column in good)), "no rows"),
    ]
    for bad, message in cases:
        with pytest.raises(DataError, match=message):
            check_track(bad)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e12, -1e12])
def test_money_that_does_not_fit_is_refused_with_its_row(value: float) -> None:
    with pytest.raises(DataError, match="equity: row 1"):
        track_of(np.arange(3), [1.0, value, 1.0])


def test_bad_trips_are_refused_with_their_row() -> None:
    two = no_trips()._replace(**{name: np.zeros(2, column.dtype) for name, column in zip(no_trips()._fields, no_trips(), strict=True)})
    good = two._replace(
        side=np.array([1, -1], np.int8), entry_price=np.ones(2), exit_price=np.ones(2), qty=np.ones(2), closed_ns=np.array([1, 2])
    )
    check_trips(good)
    cases = [
        ({"side": np.array([1, 0], np.int8)}, "side.*row 1: 0"),
        ({"exit_price": np.array([np.nan, 1.0])}, "exit_price: row 0: nan"),
        ({"qty": np.array([1.0, 0.0])}, "qty.*row 1"),
        ({"opened_ns": np.array([5, 0])}, "closed_ns.*row 0"),
        ({"closed_ns": np.array([2, 1])}, "rising.*row 1"),
    ]
    for change, message in cases:
        with pytest.raises(DataError, match=message):
            check_trips(good._replace(**change))
