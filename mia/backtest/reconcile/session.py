"""One pass over a journal with two engines: the live one as it went, and one whose orders go to the backtest's venue instead."""

from __future__ import annotations

import bisect
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from mia.backtest.readers import utc
from mia.backtest.reconcile.journal import Start, last_seq, pays_in_base, start_for, traded
from mia.backtest.reconcile.trips import RoundTrip, round_trips
from mia.backtest.run.collect import Collector
from mia.backtest.run.runner import Runner
from mia.backtest.run.spec import RunSpec
from mia.domain.effects import AnyEffect, RecordDecision, SubmitOrder
from mia.domain.errors import DataError
from mia.domain.events import (
    MARKET_EVENTS,
    VENUE_REPORTS,
    AnyEvent,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    RunStarted,
    TradingEnabled,
)
from mia.domain.instruments import Instrument
from mia.domain.sizing import Terms
from mia.engine.engine import Engine
from mia.execution.attribution import Moments
from mia.settings import settings_from_json
from mia.sim.cost_settings import Costs, FeeCosts
from mia.sim.settings import PaperSettings
from mia.sim.state import VenueState
from mia.sim.venue import SimVenue
from mia.store.reader import Entry, journal_folder, read_headers

_MARKET: Final = frozenset(MARKET_EVENTS)
_REPORTS: Final = frozenset(VENUE_REPORTS)
_TOLD_EVERY: Final = 20_000  # events
_encode: Final = msgspec.msgpack.Encoder().encode


class FillModel(msgspec.Struct, frozen=True, kw_only=True):
    """What the backtest's venue is like; None: what the run's own settings say, and its fees in the currency that its venue took."""

    costs: Costs | None = None
    paper: PaperSettings | None = None


class Span(NamedTuple):
    """A period in Unix ns; 0 leaves an end open."""

    from_ns: int = 0
    to_ns: int = 0


WHOLE: Final = Span()


class Progress(NamedTuple):
    """How far a pass is: the event, the journal's last one, the time of the event, and seconds to go at the pace so far."""

    seq: int
    last_seq: int
    ts_ns: int
    remaining_s: float


class Refusal(msgspec.Struct, frozen=True):
    """An opening that live did not get: by a rule of ours (its code) or by the venue."""

    ts_ns: int
    instrument: int
    side: int
    code: str


class Sent(msgspec.Struct, frozen=True):
    """An order when it left."""

    ts_ns: int
    instrument: int
    side: int
    order_type: str
    qty_lots: int


class Side(msgspec.Struct, kw_only=True):
    """One of the two accounts: its trips, orders by client id, fills, equity at both ends in e8."""

    trips: list[RoundTrip]
    apart_e8: int
    orders: dict[str, Sent]
    fills: list[OrderFilled]
    moments: dict[str, Moments]
    refusals: list[Refusal]
    start_e8: int
    end_e8: int

    @property
    def change_e8(self) -> int:
        """Profit of the period."""
        return self.end_e8 - self.start_e8


class Compared(msgspec.Struct, kw_only=True):
    """Both accounts over one period."""

    journal: str
    venue: str
    instruments: tuple[Instrument, ...]
    currency: str
    begin_ns: int
    end_ns: int
    events: int
    live: Side
    backtest: Side
    model: FillModel  # what the backtest's venue was like, nothing left open
    span: Span  # that was asked for
    notes: list[str]


class Mids:
    """The touch of one instrument over time, as we heard it."""

    def __init__(self) -> None:
        self._ts, self._bid, self._ask = array("q"), array("q"), array("q")

    def note(self, ts_ns: int, bid: int, ask: int) -> None:
        """The touch is this from now on."""
        if bid > 0 and ask > 0 and not (self._ts and self._bid[-1] == bid and self._ask[-1] == ask):
            self._ts.append(ts_ns)
            self._bid.append(bid)
            self._ask.append(ask)

    def before(self, ts_ns: int) -> tuple[int, int]:
        """(bid, ask) in ticks just before ts_ns: a venue is asked before the market's next word. Zeros: none is known."""
        i = bisect.bisect_left(self._ts, ts_ns) - 1
        return (self._bid[i], self._ask[i]) if i >= 0 else (0, 0)


class _Listening(Collector):
    """A collector that also tells the account what it does not keep itself."""

    def __init__(self, account: _Account) -> None:
        super().__init__(lambda order, fill, decision_mid2: Moments(decision_mid2))  # costs are explained from both sides' prices instead
        self._account = account

    def take(self, event: AnyEvent, effects: Sequence[AnyEffect], engine: Engine) -> None:
        """See Collector."""
        super().take(event, effects, engine)
        self._account.note(event, effects)


class _Account:
    """One engine with what is gathered of it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.collector = _Listening(self)
        self.orders: dict[str, Sent] = {}
        self.refusals: list[Refusal] = []
        self.filled: set[str] = set()
        self.held: list[tuple[int, int]] = []
        self.begin_ns = self.start_e8 = 0

    def note(self, event: AnyEvent, effects: Sequence[AnyEffect]) -> None:
        """What the collector does not keep."""
        kind: type = type(event)
        if kind is OrderFilled:
            self.filled.add(event.client_order_id)  # type: ignore[union-attr]
        elif kind is OrderRejected or kind is OrderExpired:
            order = self.orders.get(event.client_order_id)  # type: ignore[union-attr]
            if order is not None and event.client_order_id not in self.filled:  # type: ignore[union-attr]
                code = event.code if isinstance(event, OrderRejected) else event.reason  # type: ignore[union-attr]
                self.refusals.append(Refusal(event.ts_recv_ns, order.instrument, order.side, code))
        for effect in effects:
            if type(effect) is SubmitOrder:
                self.orders[effect.client_order_id] = Sent(
                    event.ts_recv_ns, effect.instrument, effect.side, str(effect.order_type), effect.qty_lots
                )
            elif type(effect) is RecordDecision and effect.decision == "refused":
                side = 1 if effect.signal > 0 else -1 if effect.signal < 0 else 0
                self.refusals.append(Refusal(effect.ts_ns, effect.instrument, side, str(effect.code)))

    def begin(self, ts_ns: int) -> None:
        """Trading begins: what the account holds is where the comparison starts."""
        state = self.engine.state
        self.begin_ns = ts_ns
        self.start_e8 = state.portfolio.equity_e8(state.marks2)
        self.held = [(market.position.lots, state.marks2[market.index]) for market in self.engine.markets]

    def side(self, quotes: Sequence[Mids]) -> Side:
        """Everything at the end."""
        state, collector = self.engine.state, self.collector
        moments = {}
        for fill in collector.fills:
            bid, ask = quotes[fill.instrument].before(fill.ts_event_ns or fill.ts_recv_ns)
            decided = collector.moments[fill.fill_id].decision_mid2
            moments[fill.fill_id] = Moments(decided, bid + ask if bid else 0, (ask if fill.side > 0 else bid) if bid else 0)
        terms = [Terms.of(market.index, market.definition) for market in self.engine.markets]
        held = self.held or [(0, 0)] * len(terms)
        trips, apart = round_trips(terms, collector.money, moments, held, self.begin_ns, state.marks2)
        return Side(
            trips=trips, apart_e8=apart, orders=self.orders, fills=collector.fills, moments=moments, refusals=self.refusals,
            start_e8=self.start_e8, end_e8=state.portfolio.equity_e8(state.marks2),
        )  # fmt: skip


class _Session:
    """Steps the live account through the entries of a journal, and from the beginning of the period on the backtest's beside it."""

    def __init__(self, journal: Path, start: Start, model: FillModel, span: Span) -> None:
        self._start = start
        self._settings = start.settings
        self._model = msgspec.structs.replace(model, paper=model.paper or start.settings.paper)
        self._journal = journal
        self._span = span
        self.notes: list[str] = []
        self.live = _Account(start.engine)
        self._back: _Account | None = None
        self._runner: Runner | None = None
        self._venue: SimVenue
        self.quotes = [Mids() for _ in start.engine.markets]
        self._seq = self.events = self._strays = 0

    def take(self, entry: Entry) -> bool:
        """One event; False when the comparison ends before it."""
        event = entry.event
        kind: type = type(event)
        if kind is RunStarted and self.events and not self._goes_on(event):  # type: ignore[arg-type]
            return False
        if self._span.to_ns and event.ts_recv_ns > self._span.to_ns:
            return False
        if self._runner is None and self._begins(event):
            self._open(event)
        is_market = kind in _MARKET
        self._take_live(event, kind, entry.effects)
        if self._runner is not None:
            if is_market:
                market = self.live.engine.markets[event.instrument].state  # type: ignore[union-attr]
                self.quotes[event.instrument].note(event.ts_recv_ns, market.bid_ticks, market.ask_ticks)  # type: ignore[union-attr]
            if kind not in _REPORTS:
                self._take_back(self._runner, event, is_market)
        self.events += 1
        return True

    def _take_live(self, event: AnyEvent, kind: type, recorded: Sequence[AnyEffect]) -> None:
        live = self.live
        effects = live.engine.step(event)
        if (effects or recorded) and _encode(effects) != _encode(list(recorded)):
            self._strays += 1
        if self._runner is not None and (recorded or kind in _REPORTS):  # all else is nothing to a collector
            live.collector.take(event, recorded, live.engine)

    def _take_back(self, runner: Runner, event: AnyEvent, is_market: bool) -> None:
        """What the venue has for us up to then comes first, as in the daemon."""
        while self._venue.next_due_ns <= event.ts_recv_ns:
            report = self._venue.pop(event.ts_recv_ns, self._seq + 1)
            if report is None:
                break
            self._seq += 1
            runner.accept(report)
        self._seq += 1
        runner.accept(msgspec.structs.replace(event, seq=self._seq), is_market)

    def _begins(self, event: AnyEvent) -> bool:
        """Whether the period begins with this event: both accounts hold the same then, and no order stands at the venue."""
        if not (self._start.seq or self._span.from_ns):
            return type(event) is TradingEnabled
        state = self.live.engine.state
        return event.ts_recv_ns >= self._span.from_ns and state.is_enabled and not state.table.orders

    def _goes_on(self, event: RunStarted) -> bool:
        """Whether a restart trades on as before; the comparison ends where the settings changed."""
        if traded(settings_from_json(event.config)) == traded(self._settings):
            return True
        self.notes.append(f"run {event.run} began with other settings at event {event.seq}: compared up to there")
        return False

    def _open(self, event: AnyEvent) -> None:
        """The backtest's account parts from the live one: it holds the same, and its orders go to the backtest's venue from here on."""
        engine = self._start.fork(self.live.engine)
        instruments = engine.config.instruments
        books = {}
        for market in engine.markets:
            market.reads_book = True  # the venue fills against it
            books[market.index] = market.book
        self._back = _Account(engine)
        self._venue = SimVenue(dict(enumerate(instruments)), books, self._model.paper or self._settings.paper, self._model.costs)
        spec = RunSpec(settings=self._settings, instruments=instruments, lanes=self._settings.lanes, data=())
        self._runner = Runner(engine, self._venue, self._back.collector, spec)
        self._seq = event.seq - 1
        state = msgspec.msgpack.decode(self._venue.snapshot(), type=VenueState)
        state.cash_e8 = engine.state.portfolio.cash_e8
        state.orders = state.fills = state.flows = state.liquidations = event.seq  # above every number so far: an engine books an id once
        for market in engine.markets:
            held = state.instruments[market.index].position
            held.lots, held.dust_e8 = market.position.lots, market.position.dust_e8
            held.cost_e8 = market.position.lots * engine.state.marks2[market.index] * market.terms.unit_e8 // 2
            self.quotes[market.index].note(engine.state.now_ns, market.state.bid_ticks, market.state.ask_ticks)
        self._venue.restore(msgspec.msgpack.encode(state))
        for account in (self.live, self._back):
            account.begin(event.ts_recv_ns)

    def compared(self, end_ns: int) -> Compared:
        """What came out."""
        if self._back is None:
            if self._span.from_ns:
                raise DataError(
                    f"{self._journal}: from {utc(self._span.from_ns)} UTC on there is no moment at which trading was enabled and no order "
                    "stood at the venue: there is nothing to compare"
                )
            raise DataError(f"{self._journal}: trading was never enabled: there is nothing to compare")
        if self._strays:
            self.notes.append(
                f"{self._strays} events decide otherwise here than recorded (mia replay shows the first): what comes of it is of class data"
            )
        engine = self.live.engine
        return Compared(
            journal=str(self._journal), venue=engine.config.instruments[0].venue, instruments=engine.config.instruments,
            currency=self._settings.paper.currency, begin_ns=self.live.begin_ns, end_ns=end_ns, events=self.events,
            live=self.live.side(self.quotes), backtest=self._back.side(self.quotes), model=self._model, span=self._span,
            notes=self.notes,
        )  # fmt: skip


def replay_both(
    path: Path, model: FillModel | None = None, span: Span = WHOLE, progress: Callable[[Progress], None] | None = None
) -> Compared:
    """The journal of a state directory (or a journal folder) up to its end of now, as it went and through the backtest's venue.

    span: the period; it begins at its first moment at which no order stands at the venue. progress: told every so many events.
    DataError: no journal, damage in its middle, or its beginning is gone with all snapshots. ConfigError: a model is not here.
    """
    journal = journal_folder(path)
    if not read_headers(journal):
        raise DataError(f"{journal}: holds no journal segment: nothing to compare")
    start = start_for(journal, span.from_ns)
    model = model or FillModel()
    if model.costs is None:
        currency: Literal["quote", "base"] = "base" if pays_in_base(journal, start.engine.config.instruments, start.seq + 1) else "quote"
        model = msgspec.structs.replace(model, costs=Costs(fees=FeeCosts(currency=currency)))
    session = _Session(journal, start, model, span)
    end_ns = 0
    last = last_seq(journal) if progress is not None else 0
    begun = time.monotonic()
    for entry in start.entries:
        if not session.take(entry):
            break
        end_ns = max(end_ns, entry.event.ts_recv_ns)
        if progress is not None and session.events % _TOLD_EVERY == 0:
            left = (time.monotonic() - begun) / session.events * max(0, last - entry.seq)
            progress(Progress(entry.seq, last, entry.event.ts_recv_ns, left))
    if progress is not None:
        progress(Progress(last, last, end_ns, 0.0))
    if start.reader.torn_bytes:
        session.notes.append(f"{start.reader.torn_bytes} bytes at the end are no whole record: left out")
    if start.seq:
        session.notes.append(f"begun from the snapshot of event {start.seq}")
    return session.compared(end_ns)
