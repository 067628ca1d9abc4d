"""What the simulated venue does with a request that has arrived: submit, cancel, replace, query, reconcile."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mia.domain.effects import CancelOrder, QueryOrder, ReplaceOrder, RequestReconciliation, SubmitOrder
from mia.domain.events import (
    BalanceReported,
    CancelRejected,
    OpenOrder,
    OpenOrdersReported,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderRejected,
    PositionReported,
    ReplaceRejected,
)
from mia.sim.checks import Checks, plan_of, would_match
from mia.sim.desk import Desk
from mia.sim.matching import Matching
from mia.sim.state import Request, VenueOrder, VenueState
from mia.sim.wire import Wire


class Requests:
    """Works on the venue's state; holds none of its own."""

    def __init__(self, state: VenueState, desks: Mapping[int, Desk], checks: Checks, wire: Wire, matching: Matching, currency: str) -> None:
        self._state = state
        self._desks = desks
        self._checks = checks
        self._wire = wire
        self._matching = matching
        self._currency = currency

    def arrive(self, request: Request, now_ns: int) -> None:
        """Do it, and report."""
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

    def _submit(self, r: SubmitOrder, now_ns: int) -> None:
        state = self._state
        if r.client_order_id in state.open or r.client_order_id in state.closed:
            self._wire.report(now_ns, OrderRejected, r.client_order_id, "duplicate", "an order of this id exists")
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
                self._matching.end(order, "expired", "would_match", now_ns)
                return
            clipped = order.reduce_only and order.qty_lots > desk.reducible(order.side)
            if clipped:
                order.qty_lots = desk.reducible(order.side)
            plan = plan_of(desk, order)
            no = self._checks.unaffordable(desk, order, self._matching.after_impact(desk, order, plan))
        if no is not None:
            order.status, order.reason = "rejected", no[0]
            self._matching.keep_closed(order)
            self._wire.report(now_ns, OrderRejected, order.client_order_id, *no)
            return
        self._wire.report(now_ns, OrderAccepted, order.client_order_id, order.venue_order_id)
        if clipped:
            self._matching.report_replaced(order, now_ns)
        state.open[order.client_order_id] = order
        self._meet(desk, order, plan, now_ns)

    def _meet(self, desk: Desk, order: VenueOrder, plan: list[tuple[int, int]], now_ns: int) -> None:
        is_whole = self._matching.execute(desk, order, plan, now_ns)
        self._matching.settle_rest(desk, order, now_ns, is_capped=not is_whole)

    def _cancel(self, r: CancelOrder, now_ns: int) -> None:
        order = self._state.open.get(r.client_order_id)
        if order is None:
            self._wire.report(now_ns, CancelRejected, r.client_order_id, self._gone(r.client_order_id))
        else:
            self._matching.end(order, "canceled", "requested", now_ns)

    def _gone(self, client_order_id: str) -> str:
        closed = self._state.closed.get(client_order_id)
        return closed.status if closed else "unknown_order"

    def _replace(self, r: ReplaceOrder, now_ns: int) -> None:
        order = self._state.open.get(r.client_order_id)
        if order is None:
            self._wire.report(now_ns, ReplaceRejected, r.client_order_id, self._gone(r.client_order_id))
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
            self._wire.report(now_ns, ReplaceRejected, r.client_order_id, no)
            return
        keeps_place = new.price_ticks == order.price_ticks and new.qty_lots <= order.qty_lots
        order.qty_lots, order.price_ticks, order.stop_ticks = new.qty_lots, new.price_ticks, new.stop_ticks
        self._matching.report_replaced(order, now_ns)
        if keeps_place and order.order_type == "limit":
            desk.refresh(self._state.open.values())
            return
        self._state.open[order.client_order_id] = self._state.open.pop(order.client_order_id)  # last in time priority
        self._meet(desk, order, plan_of(desk, order), now_ns)

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
            no = self._checks.unaffordable(desk, new, self._matching.after_impact(desk, new, plan_of(desk, new)))
            self._state.open[order.client_order_id] = order
        return no[0] if no else None

    def _query(self, r: QueryOrder, now_ns: int) -> None:
        """Repeat what is known of an order, fills with the ids they had."""
        state = self._state
        order = state.open.get(r.client_order_id) or state.closed.get(r.client_order_id)
        if order is None:
            self._wire.report(now_ns, OrderRejected, r.client_order_id, "unknown_order", "the venue does not have it")
            return
        if order.status == "rejected":
            self._wire.report(now_ns, OrderRejected, order.client_order_id, order.reason, "as reported before")
            return
        if order.status in ("open", "filled"):
            self._wire.report(now_ns, OrderAccepted, order.client_order_id, order.venue_order_id)
        for fill in order.fills:
            self._matching.report_fill(order, fill, now_ns)
        if order.status in ("canceled", "expired"):
            make = OrderCanceled if order.status == "canceled" else OrderExpired
            self._wire.report(now_ns, make, order.client_order_id, order.reason)

    def _reconcile(self, r: RequestReconciliation, now_ns: int) -> None:
        """Open orders, the position of every instrument, cash."""
        self._wire.report(now_ns, OpenOrdersReported, r.venue, open_orders(self._state))
        for instrument, state in self._state.instruments.items():
            self._wire.report(now_ns, PositionReported, instrument, state.position.lots, state.position.cost_e8)
        self._wire.report(now_ns, BalanceReported, self._currency, self._state.cash_e8)


def open_orders(state: VenueState) -> tuple[OpenOrder, ...]:
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
        for o in state.open.values()
    )
