"""The order table: every order of ours, what became of it, and how far it could still move a position.

Fills are facts: a new one always reaches the portfolio, also when it is late, too large or not ours; what is wrong about
it comes back as alerts and halts. Reports that make no sense are values too: an exception here would come again at
every replay of the journal.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mia.domain.effects import AnyEffect, CancelOrder, Halt, QueryOrder, RaiseAlert, ReplaceOrder, RequestReconciliation, SubmitOrder
from mia.domain.events import (
    CancelRejected,
    OpenOrder,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    ReplaceRejected,
    RequestTimedOut,
)
from mia.domain.orders import TRANSITIONS, Order, OrderType, Purpose, Report, Status

OrderReport = (
    OrderAccepted | OrderRejected | OrderCanceled | OrderExpired | OrderReplaced | CancelRejected | ReplaceRejected
    | OrderFilled | RequestTimedOut
)  # fmt: skip

CLOSED_KEPT: Final = 256
FILLS_KEPT: Final = 1024
EXTERNAL_KEPT: Final = 256

_REPORTS: Final[dict[type, Report]] = {
    OrderAccepted: Report.ACCEPTED,
    OrderRejected: Report.REJECTED,
    OrderCanceled: Report.CANCELED,
    OrderExpired: Report.EXPIRED,
    OrderReplaced: Report.REPLACED,
    CancelRejected: Report.CANCEL_REJECTED,
    RequestTimedOut: Report.TIMED_OUT,
}
# Looked up once: until Python 3.12 a member is fetched from its enum by a call.
_WORKING: Final = Status.WORKING
_FILLED: Final = Report.FILLED
_PART_FILLED: Final = Report.PART_FILLED
_PURPOSES: Final = {purpose.value: purpose for purpose in Purpose}
_TYPES: Final = {order_type.value: order_type for order_type in OrderType}
_PROTECTIVE: Final = (Purpose.STOP, Purpose.TAKE)
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(Order).decode


class Exposure(msgspec.Struct):
    """The open orders of one instrument and their lots, kept up to date at each change; reading it costs nothing."""

    instrument: int
    open_ids: list[str] = []
    buy_lots: int = 0  # may still be bought by orders that can open, external ones included
    sell_lots: int = 0
    reduce_buy_lots: int = 0  # may still be bought by reduce-only orders: never past flat
    reduce_sell_lots: int = 0
    entries: int = 0  # open orders that are not protective
    in_flight: int = 0  # of these, not plainly working (sent, being canceled, unknown)
    protective: int = 0

    def worst_long(self, position_lots: int) -> int:
        """The highest position when everything that buys fills and nothing else does."""
        return position_lots + self.buy_lots + (min(self.reduce_buy_lots, -position_lots) if position_lots < 0 else 0)

    def worst_short(self, position_lots: int) -> int:
        """The lowest position when everything that sells fills and nothing else does."""
        return position_lots - self.sell_lots - (min(self.reduce_sell_lots, position_lots) if position_lots > 0 else 0)

    def worst_lots(self, position_lots: int) -> int:
        """The largest |position| that can come of what is open, whatever fills first and whichever cancel fails."""
        return max(abs(self.worst_long(position_lots)), abs(self.worst_short(position_lots)))


class Applied(msgspec.Struct, frozen=True):
    """What one report meant. A new fill is to be booked in the portfolio, whatever else is said about it."""

    order: Order | None  # None: not ours
    is_new_fill: bool = False
    is_closed: bool = False  # the order ended by this report
    effects: tuple[AnyEffect, ...] = ()


class OrderTable(msgspec.Struct):
    """All orders by client id; engine state. Closed ones are kept encoded: they rarely matter again, a snapshot copies bytes."""

    orders: dict[str, Order] = {}  # open
    closed: dict[str, bytes] = {}  # oldest first, CLOSED_KEPT at most
    exposures: dict[int, Exposure] = {}
    fills: dict[str, tuple[str, int, int, int]] = {}  # "instrument/fill_id" -> order, side, price, lots; oldest first
    replacing: dict[str, tuple[int, int, int]] = {}  # replace in flight: qty_lots, price_ticks, stop_ticks
    groups: dict[str, str] = {}  # client order id -> group, while open
    external: dict[str, OpenOrder] = {}  # orders on our account that we never made
    duplicate_fills: int = 0

    def exposure(self, instrument: int) -> Exposure:
        """Open orders of an instrument."""
        try:
            return self.exposures[instrument]
        except KeyError:
            found = self.exposures[instrument] = Exposure(instrument)
            return found

    def find(self, client_order_id: str) -> Order | None:
        """An order of ours, open or closed; a closed one is a copy, changes of it are kept by `_move` only."""
        order = self.orders.get(client_order_id)
        if order is not None:
            return order
        encoded = self.closed.get(client_order_id)
        return _DECODE(encoded) if encoded is not None else None

    def open_orders(self, instrument: int) -> list[Order]:
        """Open orders of an instrument, oldest first."""
        return [self.orders[i] for i in self.exposure(instrument).open_ids]

    # --- what we asked for ------------------------------------------------------------------------------------------
    def note(self, effect: AnyEffect, lane: int, ts_ns: int) -> Order | None:
        """Keep an effect that leaves for the venue: a new order, a cancel, a replace. Others pass by."""
        if isinstance(effect, SubmitOrder):
            order = Order(
                client_order_id=effect.client_order_id,
                instrument=effect.instrument,
                lane=lane,
                purpose=_PURPOSES[effect.purpose],
                order_type=_TYPES[effect.order_type],
                side=effect.side,
                qty_lots=effect.qty_lots,
                price_ticks=effect.price_ticks,
                stop_ticks=effect.stop_ticks,
                reduce_only=effect.reduce_only,
                post_only=effect.post_only,
                decision_id=effect.decision_id,
                created_ns=ts_ns,
            )
            if effect.group:
                self.groups[effect.client_order_id] = effect.group
            self.add(order)
            return order
        if isinstance(effect, CancelOrder):
            return self._mark(effect.client_order_id, Report.CANCEL_SENT)
        if isinstance(effect, ReplaceOrder):
            order_ = self.orders.get(effect.client_order_id)
            if order_ is not None:
                self.replacing[effect.client_order_id] = (effect.qty_lots, effect.price_ticks, effect.stop_ticks)
                self._refresh(order_.instrument)
            return order_
        return None

    def add(self, order: Order) -> None:
        """Take a new order. It counts as sent from here on: its effect leaves right after the journal has it."""
        if order.status is Status.CREATED:
            order.status = Status.IN_FLIGHT
        self.orders[order.client_order_id] = order
        self.exposure(order.instrument).open_ids.append(order.client_order_id)
        self._refresh(order.instrument)

    def absent(self, client_order_id: str) -> Order | None:
        """Reconciliation found that the venue does not have the order."""
        return self._mark(client_order_id, Report.ABSENT)

    def _mark(self, client_order_id: str, report: Report) -> Order | None:
        order = self.find(client_order_id)
        if order is None:
            return None
        status = TRANSITIONS.get((order.status, report))
        if status is not None:
            self._move(order, status)
        return order

    # --- what the venue said ------------------------------------------------------------------------------------------
    def apply(self, event: OrderReport) -> Applied:
        """Take one report on one order."""
        order = self.find(event.client_order_id)
        if isinstance(event, OrderFilled):
            return self._fill(order, event)
        if order is None:
            return self._unknown(event)
        if isinstance(event, ReplaceRejected):
            self.replacing.pop(order.client_order_id, None)
            self._refresh(order.instrument)
            return Applied(order)
        return self._report(order, event, _REPORTS[type(event)])

    def _report(
        self,
        order: Order,
        event: OrderAccepted | OrderRejected | OrderCanceled | OrderExpired | OrderReplaced | CancelRejected | RequestTimedOut,
        report: Report,
    ) -> Applied:
        if isinstance(event, RequestTimedOut) and event.request != "submit" and order.status is Status.IN_FLIGHT:
            report = Report.TIMED_OUT  # whatever was asked, the order itself is not confirmed either
        status = TRANSITIONS.get((order.status, report))
        if status is None:
            return Applied(order, effects=(_senseless(order, report),))
        effects: tuple[AnyEffect, ...] = ()
        if isinstance(event, OrderAccepted):
            order.venue_order_id = event.venue_order_id
        elif isinstance(event, OrderReplaced):
            order.qty_lots = max(event.qty_lots or order.qty_lots, order.filled_lots)
            order.price_ticks = event.price_ticks or order.price_ticks
            order.stop_ticks = event.stop_ticks or order.stop_ticks
            self.replacing.pop(order.client_order_id, None)
            if order.filled_lots == order.qty_lots and status.is_open:
                status = Status.FILLED
        elif isinstance(event, RequestTimedOut):
            if event.request == "replace":
                self.replacing.pop(order.client_order_id, None)
            effects = (
                QueryOrder(order.client_order_id, order.instrument),
                RaiseAlert("warning", "request_timed_out", f"{event.request} of {order.client_order_id}: no answer, asking the venue"),
            )
        was_open = order.status.is_open
        self._move(order, status)
        return Applied(order, is_closed=was_open and not status.is_open, effects=effects)

    def _fill(self, order: Order | None, event: OrderFilled) -> Applied:
        key = f"{event.instrument}/{event.fill_id}"  # venues number trades per symbol
        content = (event.client_order_id, event.side, event.price_ticks, event.qty_lots)
        known = self.fills.get(key)
        if known is not None:
            if known == content:
                self.duplicate_fills += 1
                return Applied(order)
            return Applied(order, effects=_halt(f"fill {event.fill_id} came again as {content}, was {known}"))
        self.fills[key] = content
        if len(self.fills) > FILLS_KEPT:
            del self.fills[next(iter(self.fills))]
        if order is None:
            return self._external_fill(event)
        return self._apply_new_fill(order, event)

    def _apply_new_fill(self, order: Order, event: OrderFilled) -> Applied:
        effects: tuple[AnyEffect, ...] = ()
        was_open = order.status.is_open
        order.filled_lots += event.qty_lots
        if (event.side, event.instrument) != (order.side, order.instrument):
            effects += _halt(f"fill {event.fill_id} of {order.client_order_id} names another side or instrument")
        if order.filled_lots > order.qty_lots and not self._outgrew(order):
            effects += _halt(f"{order.client_order_id} filled {order.filled_lots} of {order.qty_lots} lots")
        report = _FILLED if order.filled_lots >= order.qty_lots else _PART_FILLED
        status = TRANSITIONS.get((order.status, report))
        if status is None:
            status = order.status
            if not effects:
                effects += _halt(f"{order.client_order_id} is {order.status} and was filled")
        elif not was_open:
            effects += (RaiseAlert("error", "late_fill", f"{order.client_order_id} was {order.status}, then filled: counted"),)
        self._move(order, status)
        return Applied(order, is_new_fill=True, is_closed=was_open and not status.is_open, effects=effects)

    def _outgrew(self, order: Order) -> bool:
        """True when a replace in flight explains the size (the fill outran its OrderReplaced)."""
        pending = self.replacing.get(order.client_order_id)
        if pending is None or order.filled_lots > pending[0]:
            return False
        order.qty_lots = pending[0]
        return True

    def _external_fill(self, event: OrderFilled) -> Applied:
        text = f"fill {event.fill_id} of {event.client_order_id!r}, an order that is not ours: counted as our position"
        return Applied(None, is_new_fill=True, effects=(RaiseAlert("error", "external_fill", text), RequestReconciliation("")))

    def _unknown(self, event: OrderReport) -> Applied:
        if event.client_order_id in self.external:
            if isinstance(event, OrderCanceled | OrderExpired | OrderRejected):
                self.drop_external(event.client_order_id)
            return Applied(None)
        text = f"{type(event).__name__} of {event.client_order_id!r}, an order that is not ours"
        return Applied(None, effects=(RaiseAlert("warning", "external_order", text), RequestReconciliation("")))

    # --- orders that are not ours -----------------------------------------------------------------------------------
    def take_external(self, order: OpenOrder) -> bool:
        """Count an order of our account that we never made; True when it is new. It is never touched."""
        is_new = order.client_order_id not in self.external
        if is_new and len(self.external) >= EXTERNAL_KEPT:
            return False
        self.external[order.client_order_id] = order
        self._refresh(order.instrument)
        return is_new

    def drop_external(self, client_order_id: str) -> None:
        """An external order is gone."""
        gone = self.external.pop(client_order_id, None)
        if gone is not None:
            self._refresh(gone.instrument)

    # --- inside ------------------------------------------------------------------------------------------------------
    def _move(self, order: Order, status: Status) -> None:
        name = order.client_order_id
        was_open, order.status = order.status.is_open, status
        if status.is_open:
            if not was_open:  # given up too early
                del self.closed[name]
                self.orders[name] = order
                self.exposure(order.instrument).open_ids.append(name)
        else:
            if was_open:
                del self.orders[name]
                self.exposure(order.instrument).open_ids.remove(name)
                self.replacing.pop(name, None)
                self.groups.pop(name, None)
            self.closed[name] = _ENCODE(order)
            if len(self.closed) > CLOSED_KEPT:
                del self.closed[next(iter(self.closed))]
        self._refresh(order.instrument)

    def _refresh(self, instrument: int) -> None:
        """Count the open orders anew; called at each change of one, so that decisions only read."""
        x = self.exposure(instrument)
        x.buy_lots = x.sell_lots = x.reduce_buy_lots = x.reduce_sell_lots = x.entries = x.in_flight = x.protective = 0
        for client_order_id in x.open_ids:
            order = self.orders[client_order_id]
            pending = self.replacing.get(client_order_id)
            size = pending[0] if pending is not None and pending[0] > order.qty_lots else order.qty_lots
            lots = size - order.filled_lots if size > order.filled_lots else 0
            _count(x, order.side, lots, order.reduce_only)
            if order.purpose in _PROTECTIVE:
                x.protective += 1
            else:
                x.entries += 1
                x.in_flight += order.status is not _WORKING
        for foreign in self.external.values():
            if foreign.instrument == instrument:
                _count(x, foreign.side, foreign.qty_lots - foreign.filled_lots, foreign.reduce_only)


def _count(x: Exposure, side: int, lots: int, reduce_only: bool) -> None:
    if reduce_only:
        if side > 0:
            x.reduce_buy_lots += lots
        else:
            x.reduce_sell_lots += lots
    elif side > 0:
        x.buy_lots += lots
    else:
        x.sell_lots += lots


def _halt(reason: str) -> tuple[AnyEffect, ...]:
    return (Halt(reason), RaiseAlert("urgent", "order_table", reason))


def _senseless(order: Order, report: Report) -> AnyEffect:
    """A report that the table of transitions does not list: harmless on a closed order, a halt on an open one."""
    text = f"{order.client_order_id} is {order.status} and cannot take {report}"
    return Halt(text) if order.status.is_open else RaiseAlert("info", "late_report", text)
