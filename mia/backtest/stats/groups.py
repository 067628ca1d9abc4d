"""The same figures by regime, session, hour and weekday, and the returns of months.

A return between two marks belongs to the regime of the first, and to the hour and the day of the second (a mark on the hour ends the hour
before it); a trade to the regime and the time of its opening. Hours, sessions and days are UTC, without daylight saving.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Final, NamedTuple

import msgspec
import numpy as np

from mia.backtest.stats.catalogue import BY_GROUP, BY_GROUP_SURE, BY_NAME
from mia.backtest.stats.inputs import E8, F64, I64, Track, Trips
from mia.backtest.stats.periods import DAY_NS, Periods, Returns, period_numbers
from mia.backtest.stats.registry import Figure, Statistic, evaluate, utc
from mia.backtest.stats.resample import LEVEL, block_length, grouped, sums_draws
from mia.backtest.stats.sheet import PROFIT, Sheet
from mia.domain.regime import STATES
from mia.kernels import bootstrap as kernel

HOUR_NS: Final = 3_600 * 10**9
SESSIONS: Final = ("Asia 22-07", "Europe 07-13", "US 13-22")  # UTC hours
_SESSION_OF_HOUR: Final = np.array([0] * 7 + [1] * 6 + [2] * 9 + [0] * 2, np.int8)
GROUP_TRADE_UNITS: Final = 512
GROUP_SAMPLES_MAX: Final = 2_000  # of each group's intervals: there are some 40 groups
_STATISTICS: Final[Mapping[str, Statistic]] = {
    name: BY_NAME[name] if name in BY_GROUP_SURE else msgspec.structs.replace(BY_NAME[name], draws=None) for name in BY_GROUP
}
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """One group. share: of the time; figures: of catalogue.BY_GROUP, in that order, those of BY_GROUP_SURE with intervals; a year of it is
    a calendar year."""

    label: str
    share: float
    figures: list[Figure]


class GroupTable(msgspec.Struct, frozen=True, kw_only=True):
    """name: regime, session, hour or weekday. why: the reason when there are no rows; groups that never came are left out."""

    name: str
    rows: list[GroupRow]
    why: str = ""


class Year(msgspec.Struct, frozen=True, kw_only=True):
    """Returns of a year's months as shares (None: no mark in it), and of the year."""

    year: int
    months: list[float | None]
    total: float


class _Grouping(NamedTuple):
    name: str
    labels: tuple[str, ...]
    of_marks: Callable[[Track], I64]  # [marks - 1], of each return
    of_trips: Callable[[Trips], I64]
    apart_ns_max: int  # of the marks


def _hour(ts_ns: I64) -> I64:
    return ts_ns // HOUR_NS % 24


def _weekday(ts_ns: I64) -> I64:
    return (ts_ns // DAY_NS + 3) % 7  # 1970-01-01 was a Thursday


def _session(ts_ns: I64) -> I64:
    return _SESSION_OF_HOUR[_hour(ts_ns)].astype(np.int64)


_GROUPINGS: Final = (
    _Grouping(
        "regime",
        (*STATES, "unknown"),
        lambda track: _known(track.regime[:-1]),
        lambda trips: _known(trips.regime),
        1 << 62,
    ),
    _Grouping("session", SESSIONS, lambda track: _session(track.ts_ns[1:] - 1), lambda trips: _session(trips.opened_ns), HOUR_NS),
    _Grouping(
        "hour", tuple(f"{h:02d}" for h in range(24)), lambda track: _hour(track.ts_ns[1:] - 1),
        lambda trips: _hour(trips.opened_ns), HOUR_NS,
    ),
    _Grouping("weekday", WEEKDAYS, lambda track: _weekday(track.ts_ns[1:] - 1), lambda trips: _weekday(trips.opened_ns), DAY_NS),
)  # fmt: skip


def _known(regime: np.ndarray[tuple[int], np.dtype[np.int8]]) -> I64:
    return np.where((regime >= 0) & (regime < len(STATES)), regime, len(STATES)).astype(np.int64)


def tables(sheet: Sheet, level: float = LEVEL) -> list[GroupTable]:
    """By regime, session, hour and weekday; level: of the intervals."""
    return [_table(sheet, grouping, level) for grouping in _GROUPINGS]


def no_tables() -> list[GroupTable]:
    """In their place when nobody asked."""
    return [GroupTable(name=grouping.name, rows=[], why="not asked for") for grouping in _GROUPINGS]


def _table(sheet: Sheet, grouping: _Grouping, level: float) -> GroupTable:
    track = sheet.track
    if sheet.ruined_ns is not None:
        return GroupTable(name=grouping.name, rows=[], why=f"ruined {utc(sheet.ruined_ns)}")
    if len(track.ts_ns) < 2:
        return GroupTable(name=grouping.name, rows=[], why="1 mark")
    apart_ns = int(np.median(np.diff(track.ts_ns)))
    if apart_ns > grouping.apart_ns_max:
        return GroupTable(name=grouping.name, rows=[], why=f"marks are {apart_ns / HOUR_NS:.1f} h apart")
    codes = grouping.of_marks(track)
    order = np.argsort(codes.astype(np.int8), kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(grouping.labels) + 1))
    logs = np.log(sheet.equity[1:] / sheet.equity[:-1])
    numbers = period_numbers(track.ts_ns, sheet.periods)[1:]
    trip_codes = grouping.of_trips(sheet.trips)
    rows = []
    for k, label in enumerate(grouping.labels):
        members = order[bounds[k] : bounds[k + 1]]
        if len(members):
            part = _part(sheet, members, logs[members], numbers[members], trip_codes == k)
            share = float(sheet.weights[members].sum())
            rows.append(GroupRow(label=label, share=share, figures=[evaluate(_STATISTICS[name], part, level) for name in BY_GROUP]))
    return GroupTable(name=grouping.name, rows=rows)


class _Part(Sheet):
    """Of one group: it resamples what the intervals of groups need and no more, and many trades in fewer sums of neighbours."""

    @cached_property
    def draws(self) -> F64:
        """Mean and deviation only; the other columns are 0."""
        mean = self.moments[0]
        d = self.r - mean
        sums = sums_draws(np.stack([d, d * d], axis=1), block=self.block, seed=self.seed, samples=self.samples, stream=0) / self.n
        variance = np.maximum(sums[:, 1] - sums[:, 0] ** 2, 0.0) * (self.n / (self.n - 1.0))
        variance[variance <= 1e-24 * mean * mean] = 0.0
        out = np.zeros((self.samples, kernel.COLUMNS))
        out[:, kernel.MEAN], out[:, kernel.DEVIATION] = mean + sums[:, 0], np.sqrt(variance)
        return out

    @cached_property
    def trade_draws(self) -> F64:
        """Profit only; the other columns are 0."""
        units = grouped(self.trade_rows[:, PROFIT : PROFIT + 1], GROUP_TRADE_UNITS)
        out = np.zeros((self.samples, self.trade_rows.shape[1]))
        out[:, PROFIT] = sums_draws(units, block=block_length(units[:, 0]), seed=self.seed, samples=self.samples)[:, 0]
        return out


def _part(sheet: Sheet, members: I64, logs: F64, numbers: I64, trips: I64) -> Sheet:
    """A sheet of the returns between marks of one group, one after the other, as if nothing had happened between them."""
    curve = np.cumsum(logs)
    equity = sheet.equity[0] * np.exp(np.concatenate([[0.0], curve]))
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    r = np.expm1(np.add.reduceat(logs, starts))
    n = len(starts)
    share = float(sheet.weights[members].sum())
    track = sheet.track
    rows = np.append(members, members[-1] + 1)  # exposure counts between marks: the last row is not read
    ts_ns = np.concatenate([track.ts_ns[members[:1]], track.ts_ns[members + 1]])
    part = _Part.__new__(_Part)
    part.track = Track(ts_ns, np.clip(np.rint(equity * E8), 1, 9e18).astype(np.int64), track.exposure[rows], track.regime[rows])
    part.trips = Trips._make(getattr(sheet.trips, name)[trips] for name in Trips._fields)
    part.periods = Periods(sheet.periods.noun, n / sheet.years)
    part.benchmark, part.trials, part.seed, part.samples, part.risk_free = (
        None,
        None,
        sheet.seed,
        min(sheet.samples, GROUP_SAMPLES_MAX),
        sheet.risk_free,
    )
    part.equity, part.profit, part.cost = equity, sheet.profit[trips], sheet.cost[trips]
    part.target = sheet.risk_free * share / part.periods.per_year
    part.years = sheet.years
    part.returns = Returns(r, np.concatenate([[0], np.append(starts[1:], len(logs))]).astype(np.int64))
    part.weights = sheet.weights[members] / share
    return part


def years(sheet: Sheet) -> list[Year]:
    """Months of each calendar year in UTC, from marks up to ruin; a month without a mark has no return, its change falls to the next."""
    stop = sheet.ruin_row
    ts_ns, equity = sheet.track.ts_ns[:stop], sheet.equity[:stop]
    if len(ts_ns) < 2:
        return []
    months = (ts_ns - 1).astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    months[0] = months[1]  # the first mark is where the first return starts from
    ends = np.append(np.flatnonzero(np.diff(months)), len(months) - 1)
    before = np.concatenate([[0], ends[:-1]])
    found: dict[int, Year] = {}
    for month, r, start, end in zip(months[ends].tolist(), (equity[ends] / equity[before] - 1.0).tolist(), before, ends, strict=True):
        year = datetime(1970 + month // 12, 1, 1, tzinfo=UTC).year
        row = found.get(year) or Year(year=year, months=[None] * 12, total=0.0)
        row.months[month % 12] = r
        found[year] = msgspec.structs.replace(row, total=(1.0 + row.total) * float(equity[end] / equity[start]) - 1.0)
    return list(found.values())
