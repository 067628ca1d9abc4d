"""The only writer of trading state: frames in, effects out, and nothing leaves before it is journaled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Final

import msgspec

from mia.domain.effects import AnyEffect, ReplaceOrder, SubmitOrder
from mia.domain.errors import FailStop, MiaError
from mia.domain.events import MARKET_EVENTS, TIMER_INTERVAL_NS, VENUE_REPORTS, AnyEvent, FeedGap, Timer
from mia.engine.engine import Engine
from mia.ports import Codec, Venue
from mia.store.journal import Journal
from miad.crash import crashpoint
from miad.latency import Latencies

_MARKET: Final = frozenset(MARKET_EVENTS)
_MOVES_TIME: Final = frozenset((*MARKET_EVENTS, *VENUE_REPORTS, Timer))


_LEAVES: Final = (SubmitOrder, ReplaceOrder)
_bytes: Final = msgspec.msgpack.Encoder().encode  # NaN equals itself only as bytes
Listener = Callable[[AnyEvent, Sequence[AnyEffect]], None]


def _nobody(error: BaseException) -> None:
    """The caller of the core sees its failure anyhow."""


class Core:
    """Merges market, venue reports and timers by (time, rank), journals, steps, and hands effects on.

    One call chain from frame to order, no await in it. ts_recv_ns below the engine's time is raised to it.
    """

    def __init__(self, engine: Engine, journal: Journal, venue: Venue, seq: int) -> None:
        """seq: of the last event already in the journal (0 for a new one)."""
        self.listener: Listener | None = None
        self.report_listener: Callable[[AnyEvent], None] | None = None  # a report may have no effects
        self.engine: Final = engine
        self.journal: Final = journal
        self.venue: Final = venue
        self.waits_for_disk = False  # [store] intent_durability = "disk": no order leaves before fdatasync
        self.seq = seq
        self.failure: MiaError | None = None  # what broke the chain; from then on nothing enters and nothing leaves
        self.on_failure: Callable[[BaseException], None] = _nobody  # is told at once, whoever was the caller
        self.latencies: Final = Latencies()

    def on_frame(self, codec: Codec, payload: bytes, ts_recv_ns: int) -> None:
        """One frame from the socket (or a recording) to the orders it causes."""
        started = perf_counter_ns()
        state = self.engine.state
        decided = state.counters.decisions
        ts = ts_recv_ns if ts_recv_ns > state.now_ns else state.now_ns
        if self.venue.next_due_ns <= ts or state.last_timer_ns + TIMER_INTERVAL_NS < ts:
            self.advance(ts)
        events = codec.decode(payload, ts, self.seq + 1)
        if len(events) == 1:
            self.accept(events[0])
        else:
            self.market(events, ts)
        if state.counters.decisions != decided:
            self.latencies.add(perf_counter_ns() - started)

    def market(self, events: Sequence[AnyEvent], ts_ns: int) -> None:
        """The events of one frame, at ts_ns; what an earlier one of them made due at the venue (no latency) comes in between."""
        for event in events:
            if self.venue.next_due_ns <= ts_ns:
                self.advance(ts_ns)
            if event.seq != self.seq + 1 or event.ts_recv_ns != ts_ns:
                event = msgspec.structs.replace(event, seq=self.seq + 1, ts_recv_ns=ts_ns)
            self.accept(event)

    def advance(self, until_ns: int) -> None:
        """Everything that is due before a market event at until_ns: venue reports up to it, timers below it."""
        venue, state = self.venue, self.engine.state
        if not state.last_timer_ns:
            return  # no time has been seen yet
        while True:
            due = venue.next_due_ns
            timer = state.last_timer_ns + TIMER_INTERVAL_NS
            if due <= timer and due <= until_ns:
                report = venue.pop(due, self.seq + 1)
                if report is not None:
                    self.accept(report)
                    if self.report_listener is not None:
                        self.report_listener(report)
            elif timer < until_ns:
                self.accept(Timer(self.seq + 1, 0, timer))
            else:
                return

    def accept(self, event: AnyEvent) -> None:
        """Journal, step, journal the effects, send them: output commit. A link of that chain that breaks ends it for good."""
        if self.failure is not None:
            raise FailStop(f"nothing is decided any more: {self.failure}")
        try:
            self.journal.append_event(event)
            self.seq = event.seq
            effects = self._step(event)
            if type(event) in _MARKET and (self.venue.active or type(event) is FeedGap):
                self.venue.on_market(event)
            if effects:
                self._commit(event, effects)
        except MiaError as e:
            self._break(e)
            raise
        except Exception as e:
            failure = FailStop(f"the decision path failed at event {event.seq} ({type(event).__name__}): {type(e).__name__}: {e}")
            self._break(failure)
            raise failure from e

    def _break(self, failure: MiaError) -> None:
        """A caller that goes on (a socket, a timer, the operator) must not step a half-changed engine."""
        self.failure = failure
        self.on_failure(failure)

    def _step(self, event: AnyEvent) -> Sequence[AnyEffect]:
        """Engine step; whatever escapes from it stops the process, and the half-changed engine is not used again."""
        try:
            return self.engine.step(event)
        except Exception as e:
            raise FailStop(f"the engine failed at event {event.seq} ({type(event).__name__}): {type(e).__name__}: {e}") from e

    def _commit(self, event: AnyEvent, effects: Sequence[AnyEffect]) -> None:
        """Into the journal first, then out to the venue. The projection follows the journal by itself."""
        crashpoint("pre_intent")
        self.journal.append_effects(event.seq, effects)
        if self.waits_for_disk and any(type(effect) in _LEAVES for effect in effects):
            self.journal.sync()
        crashpoint("post_intent")
        self.venue.send(effects, event.ts_recv_ns)
        crashpoint("post_send")
        if self.listener is not None:  # alerts, metrics, control: one append, the work is done elsewhere
            self.listener(event, effects)

    def report(self, event: AnyEvent, now_ns: int) -> None:
        """A report of a real venue or a health event, taken now: timers that are due come first; seq and ts_recv_ns are set here."""
        ts = max(now_ns, self.engine.state.now_ns)
        self.advance(ts)
        event = msgspec.structs.replace(event, seq=self.seq + 1, ts_recv_ns=ts)
        self.accept(event)
        if self.report_listener is not None:
            self.report_listener(event)

    def again(self, event: AnyEvent, journaled: Sequence[AnyEffect], is_last: bool) -> None:
        """Recovery: step a journaled event once more and prove that it wishes what it wished then.

        The last event of the tail may lack its effects: they never left the process, so they are journaled and given to the venue now
        (a real one is not connected yet and drops them: the reconciliation that follows finds the orders absent).
        """
        if self.venue.is_simulated and type(event) in _MOVES_TIME:
            # As then: what was due at the venue happened first. A report must come again as it was, nothing else may.
            due = self.venue.pop(event.ts_recv_ns, event.seq)
            if (due is not None and due != event) or (due is None and type(event) not in _MARKET and type(event) is not Timer):
                raise FailStop(f"the paper venue disagrees with the journal at event {event.seq}: {due!r} is not {event!r}")
        self.seq = event.seq
        effects = self._step(event)
        is_unfinished = is_last and not journaled
        if not is_unfinished and _bytes(effects) != _bytes(journaled):
            raise FailStop(
                f"event {event.seq} ({type(event).__name__}) decides otherwise than the journal says: the code, a model, "
                "the settings or the calendar changed since. `mia replay` shows the difference; go on with those that wrote the journal, "
                "or start with a new --state"
            )
        if type(event) in _MARKET and (self.venue.active or type(event) is FeedGap):
            self.venue.on_market(event)
        if effects and is_unfinished:
            self._commit(event, effects)
        elif effects and self.venue.is_simulated:
            self.venue.send(effects, event.ts_recv_ns)
