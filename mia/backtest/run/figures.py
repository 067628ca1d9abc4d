"""From a run to what statistics are computed from: its track, its trips, its periods, the market beside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from mia.backtest.calendars import calendar_over
from mia.backtest.stats.inputs import E8, F64, I64, Track, Trials, Trips, no_trips
from mia.backtest.stats.montecarlo import RandomEntries, random_entries
from mia.backtest.stats.periods import DAY_NS, UTC_DAYS, YEAR_NS, Periods, periods_of
from mia.backtest.stats.summary import Summary, summarize

if TYPE_CHECKING:
    from mia.backtest.run.gathered import Marks
    from mia.backtest.run.result import Result
    from mia.backtest.run.trips import Trip
    from mia.risk.windows import Windows

_WEEK: Final = timedelta(days=7)
_PERIODS_MIN: Final = 30  # what yearly ratios need: a span with fewer days is measured in hours, one with fewer hours in minutes
_HOUR_NS: Final = 3_600 * 10**9
_WITHIN_NS: Final = 1  # before a bar's end happens what its high and low decide, a stop: measured at the end before, its loss were left out
SAMPLES: Final = 1_000


class RunColumns(NamedTuple):
    """What the figures of a run are computed from. market: holding its first instrument; family: of that.

    no_entries: why random entries cannot be set beside its trades; "" when they can.
    """

    track: Track
    trips: Trips
    market: Track | None
    family: str
    seed: int
    no_entries: str


def columns_of(result: Result) -> RunColumns:
    """Of a run in memory (mia.backtest.run.stored has those of a run directory)."""
    spec, marks = result.spec, result.gathered.marks
    track = track_of(marks, spec.from_ns)
    return RunColumns(
        track, trips_of(result.trips), market_of(marks, track, spec.cash_e8), spec.instruments[0].family, spec.seed,
        no_entries([facts.kind for facts in spec.data]),
    )  # fmt: skip


def no_entries(kinds: Sequence[str]) -> str:
    """Why random entries are no measure of a run on data of these kinds; "" when they are."""
    market = [kind for kind in kinds if kind != "signals"]
    if set(market) != {"bars"}:
        return "quotes and trades have no bars to enter at"
    return "" if len(market) == 1 else f"{len(market)} instruments share the account"


def summary_of(
    result: Result,
    windows: Windows,
    *,
    trials: Trials | None = None,
    samples: int = SAMPLES,
    has_groups: bool = True,
) -> Summary:
    """All figures of a run, beside holding its first instrument; seeded by the run's seed."""
    return summary_from(columns_of(result), windows, trials=trials, samples=samples, has_groups=has_groups)


def summary_from(
    columns: RunColumns, windows: Windows, *, trials: Trials | None = None, samples: int = SAMPLES, has_groups: bool = True
) -> Summary:
    """The same from its columns."""
    return summarize(
        columns.track,
        columns.trips,
        periods=periods_for(columns.track.ts_ns, windows, columns.family),
        benchmark=columns.market,
        trials=trials,
        seed=columns.seed,
        samples=samples,
        has_groups=has_groups,
        entries=_entries(columns) if has_groups and samples else "not asked for",
    )


def _entries(columns: RunColumns) -> RandomEntries | str:
    """Trades at the marks that they follow, where a random one would have been opened and closed, too."""
    market, trips = columns.market, columns.trips
    if columns.no_entries:
        return columns.no_entries
    if market is None or len(market.ts_ns) < 2:
        return "no prices"
    last = len(market.ts_ns) - 1
    opened, closed = (
        np.clip(np.searchsorted(market.ts_ns, at + _WITHIN_NS, side="right") - 1, 0, last) for at in (trips.opened_ns, trips.closed_ns)
    )
    return random_entries(market.equity_e8 / E8, trips.side, opened, closed, seed=columns.seed)


def track_of(marks: Marks, from_ns: int) -> Track:
    """The account from the first moment on at which it might trade; of marks of one time the last."""
    first = max(0, int(np.searchsorted(marks.ts_ns, from_ns, side="right")) - 1)
    last_of_its_time = np.append(marks.ts_ns[1:] > marks.ts_ns[:-1], True)
    at: I64 | slice = slice(first, None)
    if not last_of_its_time.all():  # else no copy: of a million marks each column is 8 MB
        at = np.flatnonzero(last_of_its_time)
        at = at[at >= first]
    return Track(marks.ts_ns[at], marks.equity_e8[at], marks.exposure[at], marks.regime[at])


def market_of(marks: Marks, track: Track, cash_e8: int) -> Track | None:
    """Holding the first instrument with all the cash, without costs: what the market did; None while it has no price."""
    at = np.searchsorted(marks.ts_ns, track.ts_ns, side="right") - 1
    price: F64 = marks.mids2[at, 0].astype(np.float64)
    known = np.flatnonzero(price > 0.0)
    if not len(known):
        return None
    price[: known[0]] = price[known[0]]
    ones = np.ones(len(price))
    return Track(track.ts_ns, np.rint(price / price[0] * cash_e8).astype(np.int64), ones, np.full(len(price), -1, np.int8))


def trips_of(trips: Sequence[Trip]) -> Trips:
    """Closed round trips as columns, in order of their close."""
    if not trips:
        return no_trips()
    rows = sorted(trips, key=lambda t: t.closed_ns)

    def whole(name: str) -> I64:
        return np.array([getattr(t, name) for t in rows], dtype=np.int64)

    def real(name: str) -> F64:
        return np.array([getattr(t, name) for t in rows], dtype=np.float64)

    costs = [t.parts.gross_e8 - t.profit_e8 for t in rows]
    return Trips(
        instrument=whole("instrument"),
        side=whole("side").astype(np.int8),
        opened_ns=whole("opened_ns"),
        closed_ns=whole("closed_ns"),
        entry_price=real("entry_price"),
        exit_price=real("exit_price"),
        qty=real("qty"),
        profit_e8=whole("profit_e8"),
        cost_e8=np.array(costs, dtype=np.int64),
        mae_e8=whole("mae_e8"),
        mfe_e8=whole("mfe_e8"),
        bars=whole("bars"),
        regime=whole("regime").astype(np.int8),
    )


def periods_for(ts_ns: I64, windows: Windows, family: str) -> Periods:
    """Sessions of the family, or UTC days where it has none; a span of less than 30 of them in hours, of less than 30 hours in minutes."""
    start_ns, end_ns = int(ts_ns[0]), int(ts_ns[-1])
    if end_ns - start_ns < _PERIODS_MIN * DAY_NS:
        return _shorter(end_ns - start_ns)
    first, last = (datetime.fromtimestamp(ns // 10**9, UTC).date() for ns in (start_ns, end_ns))
    closes = np.array(calendar_over(windows, family, first - _WEEK, last + _WEEK).closes, dtype=np.int64)
    if len(closes) < 2:
        return UTC_DAYS
    within = int(np.searchsorted(closes, end_ns, side="right") - np.searchsorted(closes, start_ns, side="right"))
    return periods_of(closes) if within >= _PERIODS_MIN else _shorter(end_ns - start_ns)


def _shorter(span_ns: int) -> Periods:
    noun, width_ns = ("hour", _HOUR_NS) if span_ns >= _PERIODS_MIN * _HOUR_NS else ("minute", 60 * 10**9)
    return Periods(noun, YEAR_NS / width_ns, width_ns)
