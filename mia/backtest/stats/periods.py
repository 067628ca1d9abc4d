"""Periods that returns are measured over, as the market's real calendar has them, and the returns of a track on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np

from mia.backtest.stats.inputs import F64, I64, Track
from mia.domain.errors import ConfigError, DataError

DAY_NS: Final = 86_400 * 10**9
YEAR_DAYS: Final = 365.25
YEAR_NS: Final = 365.25 * DAY_NS
_PERIODS_MAX: Final = 5_000_000


class Periods(NamedTuple):
    """noun: "day"; per_year: how many a year has. Period k is (k width, (k + 1) width], or (closes[k - 1], closes[k]] with closes_ns.

    A mark on a boundary ends the period before it, as the close of a bar does.
    """

    noun: str
    per_year: float
    width_ns: int = DAY_NS
    closes_ns: I64 | None = None


UTC_DAYS: Final = Periods("day", YEAR_DAYS)


def periods_of(closes_ns: I64, noun: str = "session") -> Periods:
    """Sessions that end at closes_ns (rising, at least 2), and how many of them a year has on their own span; ConfigError otherwise."""
    if len(closes_ns) < 2 or not (np.diff(closes_ns) > 0).all():
        raise ConfigError(f"calendar: needs at least 2 {noun} closes, rising")
    years = (int(closes_ns[-1]) - int(closes_ns[0])) / YEAR_NS
    return Periods(noun, (len(closes_ns) - 1) / years, closes_ns=np.asarray(closes_ns, np.int64))


class Returns(NamedTuple):
    """r [n]: simple returns; at [n + 1]: rows of the track at the start and the end of each period. One without a mark returns 0."""

    r: F64
    at: I64


def period_numbers(ts_ns: I64, periods: Periods) -> I64:
    """int64[n]: the period that each time lies in; DataError when the calendar ends before the last."""
    if periods.closes_ns is None:
        numbers: I64 = (ts_ns - 1) // periods.width_ns
        return numbers
    if ts_ns[-1] > periods.closes_ns[-1] or ts_ns[0] <= periods.closes_ns[0] - (periods.closes_ns[1] - periods.closes_ns[0]):
        raise DataError(
            f"track: {_utc(int(ts_ns[0]))} to {_utc(int(ts_ns[-1]))} is not within the calendar, whose {periods.noun}s close "
            f"{_utc(int(periods.closes_ns[0]))} to {_utc(int(periods.closes_ns[-1]))}"
        )
    return np.searchsorted(periods.closes_ns, ts_ns, side="left").astype(np.int64)


def period_returns(track: Track, periods: Periods, stop: int | None = None) -> Returns:
    """Returns of the first `stop` rows of a track (all), which must have positive equity. The first and last period may be parts."""
    ts_ns, equity = track.ts_ns[:stop], track.equity_e8[:stop].astype(np.float64)
    numbers = period_numbers(ts_ns, periods)
    first = int(numbers[0]) + int(_is_boundary(int(ts_ns[0]), int(numbers[0]), periods))
    count = max(int(numbers[-1]) - first + 1, 0) if len(ts_ns) > 1 else 0
    if count > _PERIODS_MAX:
        raise ConfigError(f"periods: {count} {periods.noun}s in this span, more than {_PERIODS_MAX}: take longer ones")
    ends = np.searchsorted(numbers, np.arange(first, first + count), side="right") - 1
    at = np.concatenate([[0], ends]).astype(np.int64)
    values = equity[at]
    return Returns(values[1:] / values[:-1] - 1.0, at)


def _is_boundary(ts_ns: int, number: int, periods: Periods) -> bool:
    if periods.closes_ns is None:
        return ts_ns % periods.width_ns == 0
    return int(periods.closes_ns[number]) == ts_ns


def returns_at(track: Track, times_ns: I64) -> F64:
    """Simple returns of a track (a benchmark) between times [n + 1]; DataError when it does not cover them or is worth nothing there."""
    if track.ts_ns[0] > times_ns[0] or track.ts_ns[-1] < times_ns[-2 if len(times_ns) > 1 else -1]:
        raise DataError(
            f"track: {_utc(int(track.ts_ns[0]))} to {_utc(int(track.ts_ns[-1]))} does not cover "
            f"{_utc(int(times_ns[0]))} to {_utc(int(times_ns[-1]))}"
        )
    rows = np.searchsorted(track.ts_ns, times_ns, side="right") - 1
    values = track.equity_e8[rows].astype(np.float64)
    if (values <= 0.0).any():
        row = int(rows[np.flatnonzero(values <= 0.0)[0]])
        raise DataError(f"track: row {row}: worth {track.equity_e8[row] / 1e8:g}: no return can be measured from there")
    returns: F64 = values[1:] / values[:-1] - 1.0
    return returns


def common_returns(tracks: Sequence[Track], periods: Periods = UTC_DAYS) -> list[F64]:
    """Returns float64[n] of several tracks over the periods that all of them cover, cut at the last start and at the first end.

    DataError when there is no such stretch, or a track is worth nothing in it.
    """
    start, end = max(int(t.ts_ns[0]) for t in tracks), min(int(t.ts_ns[-1]) for t in tracks)
    if start >= end:
        raise DataError(f"compare: the tracks share no time: one starts {_utc(start)}, one ends {_utc(end)}")
    marks = np.unique(np.concatenate([t.ts_ns for t in tracks]))
    marks = marks[(marks >= start) & (marks <= end)]
    flat = Track(marks, np.ones(len(marks), np.int64), np.zeros(len(marks)), np.zeros(len(marks), np.int8))
    times = marks[period_returns(flat, periods).at]
    return [returns_at(track, times) for track in tracks]


def _utc(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).isoformat().replace("+00:00", "Z")
