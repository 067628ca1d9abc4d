"""Everything that a table, JSON or a page prints of one track, in the order in which it is printed."""

from __future__ import annotations

import msgspec

from mia.backtest.stats.catalogue import STATISTICS
from mia.backtest.stats.groups import GroupTable, Year, no_tables, tables, years
from mia.backtest.stats.inputs import Track, Trials, Trips
from mia.backtest.stats.montecarlo import RandomEntries, TradeOrder, trade_order
from mia.backtest.stats.periods import UTC_DAYS, Periods
from mia.backtest.stats.registry import Figure, counted, evaluate, utc
from mia.backtest.stats.resample import LEVEL, SAMPLES, Interval
from mia.backtest.stats.sheet import Sheet
from mia.domain.errors import ConfigError


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one track. first_ns, last_ns: of its marks; ruined_ns: first mark without equity. Shares are of 1, money in units.

    level: of all intervals (stationary bootstrap, percentiles); block, trade_block: mean block lengths in periods and in resampled trades,
    None where nothing was resampled. trade_order: Monte Carlo over the order of trades; random_entries: the same trades opened at random;
    trade_order_why, random_entries_why: why there is none.
    notes: what a reader must know, in sentences.
    """

    first_ns: int
    last_ns: int
    ruined_ns: int | None
    marks: int
    period: str
    periods: int
    periods_a_year: float
    risk_free: float
    trades: int
    level: float
    samples: int
    seed: int
    block: float | None
    trade_block: float | None
    figures: list[Figure]
    by_regime: GroupTable
    by_session: GroupTable
    by_hour: GroupTable
    by_weekday: GroupTable
    years: list[Year]
    trade_order: TradeOrder | None
    trade_order_why: str
    random_entries: RandomEntries | None
    random_entries_why: str
    notes: list[str]

    def figure(self, name: str) -> Figure:
        """One of the figures by its name; KeyError when there is none of it."""
        for found in self.figures:
            if found.name == name:
                return found
        raise KeyError(name)

    def value(self, name: str) -> float | int | None:
        """Its value, None where it has none."""
        return self.figure(name).value


def summarize(
    track: Track,
    trips: Trips,
    *,
    periods: Periods = UTC_DAYS,
    benchmark: Track | None = None,
    trials: Trials | None = None,
    risk_free: float = 0.0,
    seed: int = 0,
    samples: int = SAMPLES,
    level: float = LEVEL,
    has_groups: bool = True,
    entries: RandomEntries | str = "not asked for",
) -> Summary:
    """All figures of a track and its trades. Same input and seed, same bits.

    risk_free: share a year. samples: 0 for no intervals and no trade order; has_groups: False leaves out the tables by group (on a million
    marks the one takes 1.5 s of a core, the other 0.5 s). entries: of `random_entries`, which needs prices. DataError: a track or trades
    that cannot be (which row), a benchmark that does not cover the track, marks outside of the calendar. ConfigError: an option out of
    range. What has too little to stand on is None with a reason, never a number.
    """
    if not 0.5 <= level < 1.0:
        raise ConfigError(f"level: {level} is not in 0.5 .. 1")
    sheet = Sheet(track, trips, periods, benchmark=benchmark, trials=trials, risk_free=risk_free, seed=seed, samples=samples)
    by_regime, by_session, by_hour, by_weekday = tables(sheet, level) if has_groups else no_tables()
    order = trade_order(sheet.trips, float(sheet.equity[0]), seed=seed, samples=samples)
    return Summary(
        first_ns=int(track.ts_ns[0]),
        last_ns=int(track.ts_ns[-1]),
        ruined_ns=sheet.ruined_ns,
        marks=len(track.ts_ns),
        period=periods.noun,
        periods=sheet.n,
        periods_a_year=periods.per_year,
        risk_free=risk_free,
        trades=len(sheet.profit),
        level=level,
        samples=samples,
        seed=seed,
        figures=[evaluate(statistic, sheet, level) for statistic in STATISTICS],
        block=sheet.__dict__.get("block"),
        trade_block=sheet.__dict__.get("trade_block"),
        by_regime=by_regime,
        by_session=by_session,
        by_hour=by_hour,
        by_weekday=by_weekday,
        years=years(sheet),
        trade_order=None if isinstance(order, str) else order,
        trade_order_why=order if isinstance(order, str) else "",
        random_entries=None if isinstance(entries, str) else entries,
        random_entries_why=entries if isinstance(entries, str) else "",
        notes=_notes(sheet),
    )


def _notes(sheet: Sheet) -> list[str]:
    notes = []
    if sheet.ruined_ns is not None:
        notes.append(f"The account was ruined {utc(sheet.ruined_ns)}: figures that mean nothing after that are n/a.")
    if sheet.trials is None:
        notes.append("The trials before this one were not counted: the figures that deflate for them are n/a.")
    flat = int((sheet.returns.at[1:] == sheet.returns.at[:-1]).sum())
    if flat:
        notes.append(f"{counted(flat, sheet.periods.noun)} of {sheet.n} had no mark: their return counts as 0.")
    return notes


def headline(summary: Summary) -> list[Figure]:
    """The figures for a short table."""
    return [shown for shown in summary.figures if shown.is_headline]


__all__ = ["Interval", "Summary", "headline", "summarize"]
