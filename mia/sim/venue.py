"""The venue of paper mode, in process: orders arrive late, are matched against the shared book, and reports come back later.

Owns our orders, queue positions, balances and what is on its way. It never changes the book, and has no clock; what is drawn follows from
the settings' seed and a number. The caller's part: `pop` until None before an event is applied to the book, apply it, then `on_market`.
Its parts: `wire` (latency), `requests` (what a request does), `matching` (how orders meet the market), `charging` (what time costs).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from mia.domain.effects import CancelOrder, Effect, QueryOrder, ReplaceOrder, RequestReconciliation, SubmitOrder
from mia.domain.errors import DataError
from mia.domain.events import BookDelta, BookSnapshot, Event, FeedGap, OpenOrder, Quote, Trade
from mia.domain.instruments import Instrument
from mia.execution.attribution import Moments
from mia.ports import NEVER_NS
from mia.sim.account import cash_e8, unrealized_e8
from mia.sim.charging import Charging
from mia.sim.checks import Checks
from mia.sim.costs import CostModel, Costs
from mia.sim.desk import Desk
from mia.sim.liquidity import Liquidity
from mia.sim.matching import Matching
from mia.sim.requests import Requests, open_orders
from mia.sim.settings import PaperSettings
from mia.sim.state import InstrumentState, LastQuote, VenuePosition, VenueReport, VenueState
from mia.sim.wire import Wire

_REQUESTS: Final = (SubmitOrder, CancelOrder, ReplaceOrder, QueryOrder, RequestReconciliation)


class SimVenue:
    """The simulated `mia.ports.Venue`. One thread; every method returns at once."""

    is_simulated = True

    def __init__(
        self, instruments: Mapping[int, Instrument], books: Mapping[int, Any], settings: PaperSettings, costs: Costs | None = None
    ) -> None:
        """books: instrument id -> the Book that the engine keeps current; read here, never changed.

        costs: default: the instruments' own fees, [paper]'s latencies, none for time. The spread is the book's, costs.spread is for bars.
        ConfigError, DataError: costs that cannot be used (see CostModel).
        """
        self._settings = settings
        self._books = books
        self._costs = CostModel(costs or Costs(), instruments)
        self._rates = self._costs.rates
        self.next_due_ns = NEVER_NS
        self.active = True
        self._adopt(
            VenueState(
                cash_e8(settings.cash),
                instruments={i: InstrumentState(VenuePosition(), LastQuote(), {}) for i in self._rates},
            )
        )

    def _adopt(self, state: VenueState) -> None:
        self._state = state
        self._costs.adopt_volume(state.volume)
        self._desks = {
            i: Desk(i, rates, Liquidity(self._books[i], state.instruments[i], self._settings.slip_ticks))
            for i, rates in self._rates.items()
        }
        checks = Checks(state, self._desks)
        self._wire = Wire(state, self._settings, self._costs)
        self._matching = Matching(state, self._desks, checks, self._wire, self._settings, self._costs)
        self._requests = Requests(state, self._desks, checks, self._wire, self._matching, self._settings.currency)
        self._charging = Charging(state, self._desks, self._matching, self._wire, self._costs)
        for desk in self._desks.values():
            desk.refresh(state.open.values())
        self._touch_plain()

    # --- the port -----------------------------------------------------------------------------------------------
    def send(self, effects: Sequence[Effect], now_ns: int) -> None:
        """Take requests; they reach the venue after their latency. Effects of other kinds are ignored."""
        for effect in effects:
            if isinstance(effect, _REQUESTS):
                if not self.active:
                    self._drop_old_quotes()
                self._wire.send(effect, now_ns)
        self._touch_plain()

    def pop(self, until_ns: int, seq: int) -> VenueReport | None:
        """The next report due at or before until_ns as event number seq, at its due time; None when there is none.

        Requests that are due are matched on the way, in order of time, against the books as they are; charges come before them.
        """
        state = self._state
        reports, requests = state.reports, state.requests
        report: VenueReport | None = None
        while self.next_due_ns <= until_ns:
            charge_ns = self._charging.next_due_ns
            if charge_ns <= self._wire.next_due_ns:
                self._charging.charge(charge_ns)
                self._touch_plain()
            elif requests and (not reports or requests[0][0] <= reports[0][0]):
                due, _, request = heapq.heappop(requests)
                self._costs.refresh_fees(due)
                self._requests.arrive(request, due)
                self._touch_plain()
            else:
                report = msgspec.structs.replace(heapq.heappop(reports)[2], seq=seq)
                self._touch_plain()
                break
        return report

    def on_market(self, event: Event) -> None:
        """A market event that is already in the shared book: fills resting orders, triggers stops and takes, may liquidate."""
        kind = type(event)
        if kind is Quote:
            desk = self._desks.get(event.instrument)  # type: ignore[attr-defined]
            if desk is not None:
                self._after(desk, event, self._matching.on_quote(desk, event))  # type: ignore[arg-type]
        elif kind is BookDelta or kind is BookSnapshot:
            desk = self._desks.get(event.instrument)  # type: ignore[attr-defined]
            if kind is BookSnapshot:
                self._touch_plain()  # a book may have become valid
            if desk is not None and (desk.orders or self._charging.watches):
                self._after(desk, event, self._matching.on_book(desk, event.ts_recv_ns))
        elif kind is Trade:
            desk = self._desks.get(event.instrument)  # type: ignore[attr-defined]
            if desk is not None and self._matching.needs_tape:
                self._matching.note_trade(event)  # type: ignore[arg-type]
            if desk is not None and desk.concerned_by_trade(event.price_ticks):  # type: ignore[attr-defined]
                self._matching.on_trade(desk, event)  # type: ignore[arg-type]
                self._touch_plain()
        elif kind is FeedGap:
            self._touch_plain()  # its book became invalid: from here on quotes are our only word on the price

    def snapshot(self) -> bytes:
        """Everything: orders, queues, balances, what is on its way, counters, last quotes."""
        return msgspec.msgpack.encode(self._state)

    def restore(self, data: bytes) -> None:
        """Go on from `snapshot`; DataError when it does not fit these instruments or this version."""
        try:
            state = msgspec.msgpack.decode(data, type=VenueState)
        except msgspec.MsgspecError as e:
            raise DataError(f"paper venue: the snapshot does not fit this version: {e}") from e
        if sorted(state.instruments) != list(self._rates):
            raise DataError(f"paper venue: the snapshot has instruments {sorted(state.instruments)}, expected {list(self._rates)}")
        self._adopt(state)

    # --- reading --------------------------------------------------------------------------------------------------
    @property
    def cash_e8(self) -> int:
        """Cash in e8 of the quote currency."""
        return self._state.cash_e8

    @property
    def fees_e8(self) -> int:
        """Fees paid so far, those in the base at what they were worth."""
        return self._state.fees_e8

    def position_lots(self, instrument: int) -> int:
        """Signed position."""
        return self._state.instruments[instrument].position.lots

    def position_cost_e8(self, instrument: int) -> int:
        """Signed cost of the open position."""
        return self._state.instruments[instrument].position.cost_e8

    def equity_e8(self) -> int:
        """Cash and what positions are worth at the mid (spot) or have gained (derivatives); cost where there is no mid."""
        total = self._state.cash_e8
        for desk in self._desks.values():
            total += unrealized_e8(desk.position, desk.rates, desk.liquidity.mid2())
            if not desk.rates.terms.is_derivative:
                total += desk.position.cost_e8
        return total

    def open_orders(self) -> tuple[OpenOrder, ...]:
        """Orders that are open at the venue, oldest priority first."""
        return open_orders(self._state)

    def moments(self, client_order_id: str, fill_id: str, decision_mid2: int = 0) -> Moments:
        """The prices behind a fill, for the attribution; all unknown where the order has been forgotten since."""
        order = self._state.open.get(client_order_id) or self._state.closed.get(client_order_id)
        for fill in order.fills if order is not None else ():
            if fill.fill_id == fill_id:
                return Moments(decision_mid2, fill.mid2, fill.touch_ticks)
        return Moments(decision_mid2)

    # --- plumbing -------------------------------------------------------------------------------------------------
    def _after(self, desk: Desk, event: Event, has_looked: bool) -> None:
        """The touch may have changed: who has too little for it is closed; then what is due and wanted may be new."""
        if self._costs.liquidates and desk.position.lots:
            self._charging.check(event.ts_recv_ns)
        if has_looked or self._charging.watches:
            self._touch_plain()

    def _touch_plain(self) -> None:
        """Keep next_due_ns and active current."""
        state = self._state
        self.next_due_ns = min(self._wire.next_due_ns, self._charging.next_due_ns)
        self.active = (
            bool(state.open or state.requests)
            or self._matching.needs_tape
            or not all(self._books[i].is_valid() for i in self._rates)
            or (self._charging.watches and any(s.position.lots for s in state.instruments.values()))
        )

    def _drop_old_quotes(self) -> None:
        """While inactive we saw no quotes: where the book cannot tell the price, an old quote must not."""
        for desk in self._desks.values():
            desk.liquidity.state.quote = LastQuote()
