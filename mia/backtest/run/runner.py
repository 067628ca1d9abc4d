"""History through `Engine.step`: bars at a bar venue, events at the paper venue. The loop is the daemon's, without its journal."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from mia.backtest.run.collect import HEARD, Collector
from mia.backtest.run.spec import RunSpec
from mia.domain.effects import AnyEffect
from mia.domain.errors import DataError, MiaError
from mia.domain.events import (
    TIMER_INTERVAL_NS,
    AnyEvent,
    Bar,
    FeedGap,
    Flatten,
    InstrumentDefined,
    Predicted,
    RunStarted,
    Timer,
    TradingDisabled,
    TradingEnabled,
)
from mia.engine.engine import Engine
from mia.features.columns import EventColumns, event_at, load
from mia.kernels.tape import Tape
from mia.ports import NEVER_NS
from mia.sim.bar_desk import BarPrices
from mia.sim.bar_venue import BarVenue
from mia.sim.venue import SimVenue

WARM_UP: Final = "warm_up"  # a block: bars before the span teach the features and are not traded


class StrategyFailed(MiaError):
    """A strategy raised in the middle of a run: where, and what it said."""


class BarRow(msgspec.Struct, frozen=True, gc=False):
    """One bar as the runner takes it: what the venue sees of it, and the event that the engine hears at its end."""

    prices: BarPrices
    event: Bar


class Runner:
    """One engine, one venue, one collector; `bars` or `events` once.

    outside: facts from outside of the market in order of receive time; each is heard before what the market says at the same time.
    """

    def __init__(
        self, engine: Engine, venue: BarVenue | SimVenue, collector: Collector, spec: RunSpec, outside: Iterable[Predicted] = ()
    ) -> None:
        self.engine: Final = engine
        self.collector: Final = collector
        self._venue: Final = venue
        self._spec: Final = spec
        self._seq = 0
        self._is_warming = False
        self._calm_ns = 0
        self._outside: Final = iter(outside)
        self._next = next(self._outside, None)
        self._mark_every_ns = self._next_mark = 0

    # --- the loop --------------------------------------------------------------------------------------------------
    def accept(self, event: AnyEvent, is_market: bool = False) -> None:
        """Step one event and give its wishes to the venue, after the venue has heard a market event that concerns it."""
        effects = self._stepped(event)
        if is_market:
            self._pass_on(event, effects)
        elif effects or type(event) in HEARD:
            self.collector.take(event, effects, self.engine)
            self._venue.send(effects, event.ts_recv_ns)

    def _stepped(self, event: AnyEvent) -> Sequence[AnyEffect]:
        self._seq = event.seq
        try:
            return self.engine.step(event)
        except MiaError:
            raise
        except Exception as e:
            raise self._failed(event, e) from e

    def _pass_on(self, event: AnyEvent, effects: Sequence[AnyEffect]) -> None:
        """A market event's wishes, after the venue has heard it where it concerns it."""
        self.collector.take(event, effects, self.engine)
        if self._venue.active or type(event) is FeedGap:
            self._venue.on_market(event)  # type: ignore[union-attr]
        if effects:
            self._venue.send(effects, event.ts_recv_ns)

    def _failed(self, event: AnyEvent, error: Exception) -> StrategyFailed:
        name = self.engine.lanes[0].strategy.name if self.engine.lanes else "no strategy"
        return StrategyFailed(f"{name} failed at {event.ts_recv_ns} ns ({type(event).__name__}): {type(error).__name__}: {error}")

    def begin(self, ts_ns: int) -> None:
        """The run starts at ts_ns; before the span nothing is opened."""
        spec = self._spec
        self.accept(RunStarted(1, 0, ts_ns, 1, spec.settings.instance.name, "paper", {}, "", ""))
        for market in self.engine.markets:
            self.accept(InstrumentDefined(self._seq + 1, 0, ts_ns, market.index, market.definition))
        if spec.from_ns > ts_ns:
            self._is_warming = True
            self.accept(TradingDisabled(self._seq + 1, 0, ts_ns, WARM_UP))
        self.accept(TradingEnabled(self._seq + 1, 0, ts_ns))
        self.collector.mark(ts_ns, self.engine)

    def _warm(self, ts_ns: int) -> None:
        """The span begins with the first event after from_ns."""
        if self._is_warming and ts_ns > self._spec.from_ns:
            self._is_warming = False
            self.accept(TradingEnabled(self._seq + 1, 0, max(self._spec.from_ns, self.engine.state.now_ns), WARM_UP))

    def _hear(self, until_ns: int) -> None:
        """What is known from outside by until_ns; what was known before the run began is heard at its beginning."""
        while self._next is not None and self._next.ts_recv_ns <= until_ns:
            fact, self._next = self._next, next(self._outside, None)
            ts = max(fact.ts_recv_ns, self.engine.state.now_ns)
            if isinstance(self._venue, SimVenue):
                self._advance(self._venue, ts)
            self.accept(msgspec.structs.replace(fact, seq=self._seq + 1, ts_recv_ns=ts))

    # --- bars ------------------------------------------------------------------------------------------------------
    def bars(self, groups: Iterable[Sequence[BarRow]]) -> None:
        """groups: bars that end at one time, in order of time and, within, of instrument."""
        venue = self._venue
        assert isinstance(venue, BarVenue)
        last_ns, pop = 0, venue.pop
        replace, engine, collector, closes_at_end = msgspec.structs.replace, self.engine, self.collector, self._spec.closes_at_end
        for group, is_next_last in _with_end(groups) if closes_at_end else zip(groups, itertools.repeat(False)):
            close_ns = group[0].event.ts_recv_ns
            if close_ns <= last_ns:
                raise DataError(f"the clock goes back: a bar that ends at {close_ns} ns after one that ends at {last_ns} ns")
            if not self._seq:
                self.begin(min(row.prices.open_ns for row in group))
            if self._is_warming:
                self._warm(close_ns)
            leave_ns = self._leave_ns(group, last_ns, close_ns) if close_ns > self._calm_ns else ()
            venue.open_bars([row.prices for row in group] if len(group) > 1 else (group[0].prices,), is_watched=bool(leave_ns))
            for ts in leave_ns:
                while (report := pop(ts, self._seq + 1)) is not None:
                    self.accept(report)
                venue.look_at_stops(ts)
                while (report := pop(ts, self._seq + 1)) is not None:
                    self.accept(report)
                self.accept(Timer(self._seq + 1, 0, ts))
            while (report := pop(close_ns, self._seq + 1)) is not None:
                self.accept(report)
            venue.close_bars()
            last_ns = close_ns
            if self._next is not None:
                self._hear(close_ns)
            for row in group:
                self.accept(replace(row.event, seq=self._seq + 1))
            if is_next_last:
                self.accept(Flatten(self._seq + 1, 0, close_ns, "end of the history"))
            while (report := pop(close_ns, self._seq + 1)) is not None:
                self.accept(report)
            self.accept(Timer(self._seq + 1, 0, close_ns))
            collector.mark(close_ns, engine, engine.state.risk.equity_e8)  # as the timer has just marked it

    def _leave_ns(self, group: Sequence[BarRow], last_ns: int, close_ns: int) -> list[int]:
        """When, within these bars, a trade window first wants positions closed: as it begins, or at the open that it holds already.

        Nothing of a bar is read but when it opens: live, a timer comes then, too. At a bar's end its decision sees the window.
        Until _calm_ns no window wants that.
        """
        windows = self.engine.config.windows
        opens = {row.prices.instrument: row.prices.open_ns for row in group}
        end_ns, found, calm_ns = close_ns - 1, set(), NEVER_NS
        for market in self.engine.markets:
            family, from_ns = market.definition.family, max(last_ns, opens.get(market.index, 0))
            if market.index not in opens:  # what its own bars open in was seen with them
                from_ns = from_ns or min(opens.values())
                state = windows.state(from_ns, family)
                from_ns = state.until_ns if state.is_flatten else from_ns
            ts = windows.flatten_ns(from_ns, end_ns, family)
            if ts < end_ns:
                found.add(ts)
            state = windows.state(max(ts, end_ns), family)
            calm_ns = 0 if state.is_flatten else min(calm_ns, state.until_ns)
        self._calm_ns = calm_ns
        return sorted(found)

    # --- events ----------------------------------------------------------------------------------------------------
    def events(self, market: Iterable[AnyEvent], mark_every_ns: int) -> None:
        """Market events in order of receive time; timers and venue reports are put between them as live.

        Until the moment at which anything but the market is due (_catch_up) an event costs its step and nothing else.
        """
        replace = msgspec.structs.replace
        due_ns = self._begin_events(mark_every_ns)
        for found in market:
            if found.ts_recv_ns >= due_ns:
                due_ns = self._catch_up(found.ts_recv_ns)
            if self._step_market(replace(found, seq=self._seq + 1)):
                due_ns = 0
        self._end_events()

    def columns(self, chunks: Iterable[EventColumns], mark_every_ns: int) -> None:
        """As `events`, of one instrument (number 0) in columns: while nothing is held and nothing works, in the engine's compiled loop."""
        venue, engine, tape = self._venue, self.engine, Tape()
        due_ns = self._begin_events(mark_every_ns)
        for chunk in chunks:
            load(tape, chunk)
            at = 0
            while at < tape.length:
                ts = tape.recv_ns(at)
                if ts >= due_ns:
                    due_ns = self._catch_up(ts)
                if not venue.active and engine.can_run:
                    first, at, effects = at, *self._run(tape, at, due_ns)
                    if effects:
                        self._pass_on(event_at(tape, at - 1, self._seq), effects)
                        due_ns = 0
                    if at > first:
                        continue
                if self._step_market(event_at(tape, at, self._seq + 1)):
                    due_ns = 0
                at += 1
        self._end_events()

    def _run(self, tape: Tape, at: int, until_ns: int) -> tuple[int, Sequence[AnyEffect]]:
        try:
            stop, effects = self.engine.run(tape, at, until_ns)
        except MiaError:
            raise
        except Exception as e:
            raise self._failed(event_at(tape, at, self._seq + 1), e) from e
        self._seq += stop - at
        return stop, effects

    def _step_market(self, event: AnyEvent) -> bool:
        """One market event that is due; True when the venue may have an answer."""
        venue = self._venue
        if event.ts_recv_ns < self.engine.state.now_ns:
            raise DataError(f"the clock goes back: an event at {event.ts_recv_ns} ns after {self.engine.state.now_ns} ns")
        effects = self._stepped(event)
        if effects or venue.active or type(event) is FeedGap:
            self._pass_on(event, effects)
            return True
        return False

    def _begin_events(self, mark_every_ns: int) -> int:
        """The first event is due at once."""
        assert isinstance(self._venue, SimVenue)
        self._mark_every_ns, self._next_mark = mark_every_ns, 0
        return 0

    def _end_events(self) -> None:
        if self._seq:
            self.collector.mark(self.engine.state.now_ns, self.engine)

    def _catch_up(self, ts: int) -> int:
        """All that happens before a market event at ts; until when a market event has nothing to catch up with.

        That is the next mark, timer, report, fact from outside or end of warming up.
        """
        venue = self._venue
        assert isinstance(venue, SimVenue)
        if not self._seq:
            self.begin(ts)
            self._next_mark = ts + self._mark_every_ns
        self._warm(ts)
        while self._next_mark <= ts:
            self._hear(self._next_mark)
            self._advance(venue, self._next_mark)
            self.collector.mark(self._next_mark, self.engine)
            self._next_mark += self._mark_every_ns
        self._hear(ts)
        self._advance(venue, ts)
        due_ns = min(self._next_mark, venue.next_due_ns, self.engine.state.last_timer_ns + TIMER_INTERVAL_NS + 1)
        if self._next is not None:
            due_ns = min(due_ns, self._next.ts_recv_ns)
        return min(due_ns, self._spec.from_ns + 1) if self._is_warming else due_ns

    def _advance(self, venue: SimVenue, until_ns: int) -> None:
        """Venue reports up to until_ns, timers below it, in order of time."""
        state = self.engine.state
        while True:
            due, timer = venue.next_due_ns, state.last_timer_ns + TIMER_INTERVAL_NS
            if due <= timer and due <= until_ns:
                report = venue.pop(due, self._seq + 1)
                if report is not None:
                    self.accept(report)
            elif timer < until_ns:
                self.accept(Timer(self._seq + 1, 0, timer))
            else:
                return


def _with_end(groups: Iterable[Sequence[BarRow]]) -> Iterator[tuple[Sequence[BarRow], bool]]:
    """Each group, and whether the one after it is the last."""
    held: deque[Sequence[BarRow]] = deque()
    for group in groups:
        held.append(group)
        if len(held) > 2:
            yield held.popleft(), False
    while held:
        yield held.popleft(), len(held) == 1


def merged(markets: Sequence[Iterator[BarRow]]) -> Iterator[list[BarRow]]:
    """Bars of several instruments in order of time; those that end at one time together, in the order of the instruments."""
    if len(markets) == 1:
        for only in markets[0]:
            yield [only]
        return
    heads = [next(market, None) for market in markets]
    while ends := [row.event.ts_recv_ns for row in heads if row is not None]:
        end_ns = min(ends)
        group = []
        for k, row in enumerate(heads):
            if row is not None and row.event.ts_recv_ns == end_ns:
                group.append(row)
                heads[k] = next(markets[k], None)
        yield group
