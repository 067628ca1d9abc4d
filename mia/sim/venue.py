"""The venue of paper mode, in process: orders arrive late, are matched against the shared book, and reports come back later.

Owns our orders, queue positions, balances and what is on its way. It never changes the book, has no clock and no randomness.
The caller's part: `pop` until None before an event is applied to the book, apply it, then `on_market`.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from mia.domain.effects import CancelOrder, Effect, QueryOrder, ReplaceOrder, RequestReconciliation, SubmitOrder
from mia.domain.errors import DataError
from mia.domain.events import (
    BUY,
    SELL,
    BalanceReported,
    BookDelta,
    BookSnapshot,
    CancelRejected,
    Event,
    FeedGap,
    OpenOrder,
    OpenOrdersReported,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    PositionReported,
    Quote,
    ReplaceRejected,
    Trade,
)
from mia.domain.instruments import Instrument
from mia.ports import NEVER_NS
from mia.sim.account import Rates, apply_fill, cash_e8, unrealized_e8
from mia.sim.checks import Checks, plan_of, would_match
from mia.sim.desk import TRIGGERED, Desk, is_triggered
from mia.sim.liquidity import Liquidity
from mia.sim.settings import PaperSettings
from mia.sim.state import InstrumentState, LastQuote, Request, VenueFill, VenueOrder, VenuePosition, VenueReport, VenueState

_REQUESTS: Final = (SubmitOrder, CancelOrder, ReplaceOrder, QueryOrder, RequestReconciliation)


class SimVenue:
    """The simulated `mia.ports.Venue`. One thread; every method returns at once."""

    is_simulated = True

    def __init__(self, instruments: Mapping[int, Instrument], books: Mapping[int, Any], settings: PaperSettings) -> None:
        """books: instrument id -> the Book that the engine keeps current; read here, never changed."""
        self._settings = settings
        self._books = books
        self._rates = {i: Rates(i, instruments[i]) for i in sorted(instruments)}
        self._submit_ns = settings.submit_latency_ms * 1_000_000
        self._report_ns = settings.report_latency_ms * 1_000_000
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
        self._desks = {
            i: Desk(i, rates, Liquidity(self._books[i], state.instruments[i], self._settings.slip_ticks))
            for i, rates in self._rates.items()
        }
        self._checks = Checks(state, self._desks)
        for desk in self._desks.values():
            desk.refresh(state.open.values())
        self._touch_plain()

    # --- the port -----------------------------------------------------------------------------------------------
    def send(self, effects: Sequence[Effect], now_ns: int) -> None:
        """Take requests; they reach the venue submit_latency_ms after now_ns. Effects of other kinds are ignored."""
        state = self._state
        for effect in effects:
            if isinstance(effect, _REQUESTS):
                if not self.active:
                    self._drop_old_quotes()
                state.number += 1
                heapq.heappush(state.requests, (now_ns + self._submit_ns, state.number, effect))
        self._touch_plain()

    def pop(self, until_ns: int, seq: int) -> VenueReport | None:
        """The next report due at or before until_ns as event number seq, at its due time; None when there is none.

        Requests that are due are matched on the way, in order of time, against the books as they are.
        """
        state = self._state
        reports, requests = state.reports, state.requests
        report: VenueReport | None = None
        while self.next_due_ns <= until_ns:
            if requests and (not reports or requests[0][0] <= reports[0][0]):
                due, _, request = heapq.heappop(requests)
                self._arrive(request, due)
                self._touch_plain()
            else:
                report = msgspec.structs.replace(heapq.heappop(reports)[2], seq=seq)
                self._touch_plain()
                break
        return report

    def on_market(self, event: Event) -> None:
        """A market event that is already in the shared book: fills resting orders, triggers stops and takes."""
        kind = type(event)
        if kind is Quote:
            desk = self._desks.get(event.instrument)  # type: ignore[attr-defined]
            if desk is not None:
                self._on_quote(desk, event)  # type: ignore[arg-type]
        elif kind is BookDelta or kind is BookSnapshot:
            desk = self._desks.get(event.instrument)  # type: ignore[attr-defined]
            if kind is BookSnapshot:
                self._touch_plain()  # a book may have become valid
            if desk is not None and desk.orders:
                book = desk.liquidity.book
                if book.is_valid() and not book.is_crossed():
                    bid, ask = book.best_bid_ticks(), book.best_ask_ticks()
                    if desk.has_limits:
                        self._shrink_queues(desk)
                    if desk.concerned_by_touch(bid, ask):
                        self._on_touch(desk, bid, ask, event.ts_recv_ns)
        elif kind is Trade:
            desk = self._desks.get(event.instrument)  # type: ignore[attr-defined]
            if desk is not None and desk.concerned_by_trade(event.price_ticks):  # type: ignore[attr-defined]
                self._on_trade(desk, event)  # type: ignore[arg-type]
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
        """Fees paid so far."""
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
        return tuple(
            OpenOrder(
                o.client_order_id,
                o.venue_order_id,
                o.instrument,
                o.side,
                o.order_type,
                o.price_ticks,
                o.stop_ticks,
                o.qty_lots,
                o.filled_lots,
                o.reduce_only,
            )
            for o in self._state.open.values()
        )

    # --- plumbing -------------------------------------------------------------------------------------------------
    def _touch_plain(self) -> None:
        """Keep next_due_ns and active current."""
        state = self._state
        due = state.requests[0][0] if state.requests else NEVER_NS
        if state.reports and state.reports[0][0] < due:
            due = state.reports[0][0]
        self.next_due_ns = due
        self.active = bool(state.open or state.requests) or not all(self._books[i].is_valid() for i in self._rates)

    def _drop_old_quotes(self) -> None:
        """While inactive we saw no quotes: where the book cannot tell the price, an old quote must not."""
        for desk in self._desks.values():
            desk.liquidity.state.quote = LastQuote()

    def _report(self, now_ns: int, make: Any, *fields: object) -> None:
        state = self._state
        state.number += 1
        due = now_ns + self._report_ns
        heapq.heappush(state.reports, (due, state.number, make(0, now_ns, due, *fields)))
        if due < self.next_due_ns:
            self.next_due_ns = due

    def _arrive(self, request: Request, now_ns: int) -> None:
        if isinstance(request, SubmitOrder):
            self._submit(request, now_ns)
        elif isinstance(request, CancelOrder):
            self._cancel(request, now_ns)
        elif isinstance(request, ReplaceOrder):
            self._replace(request, now_ns)
        elif isinstance(request, QueryOrder):
            self._query(request, now_ns)
        else:
            self._reconcile(request, now_ns)

    # --- submit ---------------------------------------------------------------------------------------------------
    def _submit(self, r: SubmitOrder, now_ns: int) -> None:
        state = self._state
        if r.client_order_id in state.open or r.client_order_id in state.closed:
            self._report(now_ns, OrderRejected, r.client_order_id, "duplicate", "an order of this id exists")
            return
        state.orders += 1
        order = VenueOrder(
            r.client_order_id, f"P{state.orders}", r.instrument, r.side, str(r.order_type), r.qty_lots, r.price_ticks, r.stop_ticks,
            r.reduce_only, r.post_only, r.group,
        )  # fmt: skip
        no = self._checks.why_not(order)
        if no is None:
            desk = self._desks[order.instrument]
            is_limit = order.order_type == "limit"
            if is_limit and order.post_only and would_match(desk, order.side, order.price_ticks):
                self._end(order, "expired", "would_match", now_ns)
                return
            clipped = order.reduce_only and order.qty_lots > desk.reducible(order.side)
            if clipped:
                order.qty_lots = desk.reducible(order.side)
            plan = plan_of(desk, order)
            no = self._checks.unaffordable(desk, order, plan)
        if no is not None:
            order.status, order.reason = "rejected", no[0]
            self._keep_closed(order)
            self._report(now_ns, OrderRejected, order.client_order_id, *no)
            return
        self._report(now_ns, OrderAccepted, order.client_order_id, order.venue_order_id)
        if clipped:
            self._report_replaced(order, now_ns)
        state.open[order.client_order_id] = order
        self._execute(desk, order, plan, now_ns)
        self._settle_rest(desk, order, now_ns)

    # --- fills ------------------------------------------------------------------------------------------------------
    def _execute(self, desk: Desk, order: VenueOrder, plan: list[tuple[int, int]], now_ns: int) -> None:
        """Take the planned liquidity, as a taker."""
        for price, lots in plan:
            if order.status != "open":
                return
            part = min(lots, order.open_lots)
            desk.liquidity.take(order.side, price, part)
            self._fill(desk, order, price, part, False, now_ns)

    def _settle_rest(self, desk: Desk, order: VenueOrder, now_ns: int) -> None:
        """After its arrival or trigger: a limit order rests, a stop waits, what a market order did not get is gone."""
        if order.status == "open" and order.order_type == "limit":
            order.ahead_lots = desk.liquidity.ahead(order.side == BUY, order.price_ticks)
        elif order.status == "open" and order.order_type == "market":
            self._end(order, "expired", "no_liquidity", now_ns)
        desk.refresh(self._state.open.values())
        if order.status == "open" and order.order_type in TRIGGERED:
            bid, ask = desk.liquidity.touch()
            if is_triggered(order, bid, ask):
                self._trigger(desk, order, now_ns)

    def _fill(self, desk: Desk, order: VenueOrder, price_ticks: int, lots: int, is_maker: bool, now_ns: int) -> None:
        """Fill up to `lots`, never past what reduce-only or a spot position allow; then the group."""
        allowed = lots
        if order.reduce_only or (order.side == SELL and not desk.rates.terms.is_derivative):
            allowed = min(lots, desk.reducible(order.side))
        if allowed > 0:
            self._book_fill(desk, order, price_ticks, allowed, is_maker, now_ns)
        if order.open_lots == 0:
            order.status = "filled"
            self._close(order)
        elif allowed < lots:
            self._end(order, "expired", "reduce_only" if order.reduce_only else "insufficient_balance", now_ns)
        if allowed > 0 and order.group:
            self._step_group(order, allowed, now_ns)
        desk.refresh(self._state.open.values())

    def _book_fill(self, desk: Desk, order: VenueOrder, price_ticks: int, lots: int, is_maker: bool, now_ns: int) -> None:
        state = self._state
        fee = desk.rates.fee_e8(desk.rates.value_e8(price_ticks, lots), is_maker)
        state.cash_e8 += apply_fill(desk.position, desk.rates, order.side, price_ticks, lots) - fee
        state.fees_e8 += fee
        state.fills += 1
        fill = VenueFill(f"F{state.fills}", price_ticks, lots, fee, is_maker)
        order.filled_lots += lots
        order.fills.append(fill)
        self._report_fill(order, fill, now_ns)

    def _report_fill(self, order: VenueOrder, f: VenueFill, now_ns: int) -> None:
        fields = (order.client_order_id, f.fill_id, order.instrument, order.side, f.price_ticks, f.qty_lots, f.fee_e8, f.is_maker)
        self._report(now_ns, OrderFilled, *fields)

    def _report_replaced(self, order: VenueOrder, now_ns: int) -> None:
        self._report(now_ns, OrderReplaced, order.client_order_id, order.price_ticks, order.stop_ticks, order.qty_lots)

    def _step_group(self, order: VenueOrder, lots: int, now_ns: int) -> None:
        """The others of the group shrink with a fill, and go when one of them is done."""
        for other in [o for o in self._state.open.values() if o.group == order.group and o.instrument == order.instrument]:
            if other is order:
                continue
            if order.status == "filled" or other.open_lots <= lots:
                self._end(other, "canceled", "group", now_ns)
            else:
                other.qty_lots -= lots
                self._report_replaced(other, now_ns)

    def _end(self, order: VenueOrder, status: str, reason: str, now_ns: int) -> None:
        """Close an order that did not fill whole, and say so."""
        order.status, order.reason = status, reason
        self._report(now_ns, OrderCanceled if status == "canceled" else OrderExpired, order.client_order_id, reason)
        self._close(order)
        self._desks[order.instrument].refresh(self._state.open.values())

    def _close(self, order: VenueOrder) -> None:
        self._state.open.pop(order.client_order_id, None)
        self._keep_closed(order)

    def _keep_closed(self, order: VenueOrder) -> None:
        closed = self._state.closed
        closed[order.client_order_id] = order
        while len(closed) > self._settings.closed_orders_kept:
            del closed[next(iter(closed))]

    # --- market ---------------------------------------------------------------------------------------------------
    def _on_quote(self, desk: Desk, event: Quote) -> None:
        bid, ask = event.bid_ticks, event.ask_ticks
        quote = desk.liquidity.state.quote
        quote.bid_ticks, quote.ask_ticks, quote.bid_lots, quote.ask_lots = bid, ask, event.bid_lots, event.ask_lots
        if desk.orders:
            if desk.has_limits:
                self._shrink_queues(desk)
            if desk.concerned_by_touch(bid, ask):
                self._on_touch(desk, bid, ask, event.ts_recv_ns)

    def _shrink_queues(self, desk: Desk) -> None:
        """Nobody can be ahead of us who is not displayed."""
        for order in desk.orders:
            if order.ahead_lots and order.order_type == "limit":
                displayed = desk.liquidity.displayed(order.side == BUY, order.price_ticks)
                if displayed is not None and displayed < order.ahead_lots:
                    order.ahead_lots = displayed

    def _on_touch(self, desk: Desk, bid: int, ask: int, now_ns: int) -> None:
        for order in list(desk.orders):
            if order.status != "open":
                continue
            if order.order_type == "limit":
                facing = ask if order.side == BUY else bid
                crossed = (0 < facing <= order.price_ticks) if order.side == BUY else facing >= order.price_ticks
                if crossed and not desk.liquidity.is_exhausted(order.side != BUY, facing):
                    self._fill(desk, order, order.price_ticks, order.open_lots, True, now_ns)
            elif is_triggered(order, bid, ask):
                self._trigger(desk, order, now_ns)
        self._touch_plain()

    def _on_trade(self, desk: Desk, event: Trade) -> None:
        price = event.price_ticks
        ours = 0  # lots of this trade that were really ours
        for order in list(desk.orders):
            if order.status != "open":
                continue
            if order.order_type != "limit":
                if is_triggered(order, price, price):
                    self._trigger(desk, order, event.ts_recv_ns)
            elif price == order.price_ticks:
                if event.aggressor != order.side:
                    ours += self._join_trade(desk, order, event.qty_lots - ours, event.ts_recv_ns)
            elif (price < order.price_ticks) == (order.side == BUY):  # traded through us
                self._fill(desk, order, order.price_ticks, order.open_lots, True, event.ts_recv_ns)
        self._touch_plain()

    def _join_trade(self, desk: Desk, order: VenueOrder, lots: int, now_ns: int) -> int:
        """A trade at our price: first those ahead of us, then us; returns our lots."""
        passed = min(order.ahead_lots, lots)
        order.ahead_lots -= passed
        part = min(lots - passed, order.open_lots)
        if part <= 0:
            return 0
        before = order.filled_lots
        self._fill(desk, order, order.price_ticks, part, True, now_ns)
        return order.filled_lots - before

    def _trigger(self, desk: Desk, order: VenueOrder, now_ns: int) -> None:
        """A stop or take becomes a market order now."""
        lots = min(order.open_lots, desk.reducible(order.side)) if order.reduce_only else order.open_lots
        if lots == 0:
            self._end(order, "expired", "reduce_only", now_ns)
            return
        plan = desk.liquidity.plan(order.side, lots, 0)
        if not plan:
            return  # nothing on the other side: it stays armed
        if self._checks.unaffordable(desk, order, plan) is not None:
            self._end(order, "expired", "insufficient_balance", now_ns)
            return
        self._execute(desk, order, plan, now_ns)
        if order.status == "open":
            self._end(order, "expired", "reduce_only", now_ns)

    # --- cancel, replace, query -----------------------------------------------------------------------------------
    def _cancel(self, r: CancelOrder, now_ns: int) -> None:
        order = self._state.open.get(r.client_order_id)
        if order is None:
            self._report(now_ns, CancelRejected, r.client_order_id, self._gone(r.client_order_id))
        else:
            self._end(order, "canceled", "requested", now_ns)

    def _gone(self, client_order_id: str) -> str:
        closed = self._state.closed.get(client_order_id)
        return closed.status if closed else "unknown_order"

    def _replace(self, r: ReplaceOrder, now_ns: int) -> None:
        order = self._state.open.get(r.client_order_id)
        if order is None:
            self._report(now_ns, ReplaceRejected, r.client_order_id, self._gone(r.client_order_id))
            return
        desk = self._desks[order.instrument]
        new = msgspec.structs.replace(
            order,
            qty_lots=r.qty_lots or order.qty_lots,
            price_ticks=r.price_ticks or order.price_ticks,
            stop_ticks=r.stop_ticks or order.stop_ticks,
        )
        if new.reduce_only:
            new.qty_lots = min(new.qty_lots, new.filled_lots + desk.reducible(new.side))
        no = self._why_not_replaced(desk, order, new)
        if no is not None:
            self._report(now_ns, ReplaceRejected, r.client_order_id, no)
            return
        keeps_place = new.price_ticks == order.price_ticks and new.qty_lots <= order.qty_lots
        order.qty_lots, order.price_ticks, order.stop_ticks = new.qty_lots, new.price_ticks, new.stop_ticks
        self._report_replaced(order, now_ns)
        if keeps_place and order.order_type == "limit":
            desk.refresh(self._state.open.values())
            return
        self._state.open[order.client_order_id] = self._state.open.pop(order.client_order_id)  # last in time priority
        self._execute(desk, order, plan_of(desk, order), now_ns)
        self._settle_rest(desk, order, now_ns)

    def _why_not_replaced(self, desk: Desk, order: VenueOrder, new: VenueOrder) -> str | None:
        """Why the order stands as it was; None when it may change."""
        if not (order.filled_lots < new.qty_lots < 1 << 53):
            return "bad_qty"
        no = self._checks.why_not(new)
        if no is not None:
            return no[0]
        if new.order_type == "limit" and new.post_only and would_match(desk, new.side, new.price_ticks):
            return "would_match"
        worse = new.qty_lots > order.qty_lots or new.price_ticks != order.price_ticks or new.stop_ticks != order.stop_ticks
        if worse and not new.reduce_only:
            self._state.open[order.client_order_id] = new  # judged in the place of the old one
            no = self._checks.unaffordable(desk, new, plan_of(desk, new))
            self._state.open[order.client_order_id] = order
        return no[0] if no else None

    def _query(self, r: QueryOrder, now_ns: int) -> None:
        """Repeat what is known of an order, fills with the ids they had."""
        state = self._state
        order = state.open.get(r.client_order_id) or state.closed.get(r.client_order_id)
        if order is None:
            self._report(now_ns, OrderRejected, r.client_order_id, "unknown_order", "the venue does not have it")
            return
        if order.status == "rejected":
            self._report(now_ns, OrderRejected, order.client_order_id, order.reason, "as reported before")
            return
        if order.status in ("open", "filled"):
            self._report(now_ns, OrderAccepted, order.client_order_id, order.venue_order_id)
        for fill in order.fills:
            self._report_fill(order, fill, now_ns)
        if order.status in ("canceled", "expired"):
            make = OrderCanceled if order.status == "canceled" else OrderExpired
            self._report(now_ns, make, order.client_order_id, order.reason)

    def _reconcile(self, r: RequestReconciliation, now_ns: int) -> None:
        """Open orders, the position of every instrument, cash."""
        self._report(now_ns, OpenOrdersReported, r.venue, self.open_orders())
        for instrument, state in self._state.instruments.items():
            self._report(now_ns, PositionReported, instrument, state.position.lots, state.position.cost_e8)
        self._report(now_ns, BalanceReported, self._settings.currency, self._state.cash_e8)
