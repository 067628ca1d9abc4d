"""From a signal to lots and from an approved target to orders: dead-band, rounding toward less risk, one order at a time."""

from __future__ import annotations

from typing import Final

import msgspec

from mia.domain.codes import Code
from mia.domain.effects import AnyEffect, CancelOrder, SubmitOrder
from mia.domain.errors import FailStop
from mia.domain.ids import base32, client_order_id
from mia.domain.orders import Approved, Order, OrderType, Purpose, Status
from mia.domain.sizing import SHARE_SCALE, Terms, lots_of_equity
from mia.execution.settings import ExecutionSettings
from mia.execution.table import Exposure, OrderTable

_PROTECTIVE: Final = (Purpose.STOP, Purpose.TAKE)
_WAIT: Final = (Status.CREATED, Status.IN_FLIGHT, Status.CANCEL_IN_FLIGHT, Status.UNKNOWN)
_OK: Final = Code.OK  # looked up once: until Python 3.12 a member is fetched from its enum by a call
_DEAD_BAND: Final = Code.DEAD_BAND
_PAIRS: Final = tuple(base32(i, 2) for i in range(1024))  # an id by look-up: base32 digit by digit costs 2 us


class OrderIds(msgspec.Struct):
    """Client order ids of one run, as a function of decision and order number; engine state."""

    prefix: str
    decision: int = 0
    order: int = 0

    @staticmethod
    def of(instance: int, run: int) -> OrderIds:
        """Ids of `run` of the instance number."""
        return OrderIds(client_order_id(instance, run, 0, 0)[:-7])

    def begin(self, decision: int) -> None:
        """The orders that follow belong to this decision (at most 32 of them)."""
        self.decision, self.order = decision, 0

    def next(self) -> str:
        """The next id; FailStop after 32 of one decision."""
        decision, order = self.decision, self.order
        if not (0 <= decision < 1 << 30 and order < 32):
            raise FailStop(f"order {order} of decision {decision} does not fit in a client order id")
        self.order = order + 1
        return self.prefix + _PAIRS[decision >> 20] + _PAIRS[decision >> 10 & 1023] + _PAIRS[decision & 1023] + _PAIRS[order][1]


class Plan(msgspec.Struct, frozen=True, gc=False):
    """Orders that lead toward a target, and what to record: Code.OK, the shrink of review, or why nothing was sent."""

    code: Code
    target_lots: int  # the position aimed at by these orders; the present one when held
    effects: tuple[AnyEffect, ...] = ()


def cap_lots(position_lots_max: int, equity_e8: int, share_e9: int, mid2: int, terms: Terms) -> int:
    """Lots that a signal of 1.0 means: the lesser of the position limit and the share of equity, rounded down."""
    lots = lots_of_equity(equity_e8, share_e9, mid2, terms)
    return lots if lots < position_lots_max else position_lots_max


def target_lots(signal: float, lots: int) -> int:
    """signal in [-1, 1] times the cap of `lots`, truncated toward zero; FailStop for what the gate should have refused."""
    if not (-1.0 <= signal <= 1.0):
        raise FailStop(f"signal {signal} is outside of [-1, 1]: the gate comes before the target")
    return int(signal * lots)


def plan(
    approved: Approved,
    position_lots: int,
    cap: int,
    bid_ticks: int,
    ask_ticks: int,
    terms: Terms,
    settings: ExecutionSettings,
    table: OrderTable,
    ids: OrderIds,
) -> Plan:
    """Orders that bring position_lots to the approved target, or the code that says why nothing is sent now.

    One order at a time: while an order that is not protective is open, openings wait (a resting entry that is not what we
    want is canceled first); a reduction waits only for another reduction. cap: lots of a full signal, for the dead-band.
    """
    target = approved.target_lots
    code = approved.code
    if target < 0 and not terms.is_derivative:
        target, code = 0, Code.SPOT_NO_SHORT
    exposure = table.exposure(terms.instrument)
    change = target - position_lots
    if change == 0:
        return _hold(code, position_lots, cap, exposure, table)
    if target != 0 and abs(change) * SHARE_SCALE < int(settings.dead_band_share * SHARE_SCALE) * cap:
        return _hold(_DEAD_BAND if code is _OK else code, position_lots, cap, exposure, table)
    if settings.keeps_size and target * position_lots > 0:
        return _hold(_DEAD_BAND if code is _OK else code, position_lots, cap, exposure, table)
    is_flip = target * position_lots < 0
    if is_flip and settings.entry == "limit":
        target, change, is_flip = 0, -position_lots, False  # out at market; the next decision rests the entry
    is_reduction = not is_flip and abs(target) < abs(position_lots)
    if is_reduction:
        return _reduce(code, target, position_lots, bid_ticks, ask_ticks, terms, table, exposure, ids)
    if exposure.entries:
        return _wait(change, position_lots, bid_ticks, ask_ticks, exposure, table)
    if (bid_ticks + ask_ticks) * abs(change) * terms.unit_e8 < 2 * terms.min_notional_e8:
        return Plan(Code.MIN_NOTIONAL, position_lots)
    is_limit = settings.entry == "limit"
    side = 1 if change > 0 else -1
    order = SubmitOrder(
        client_order_id=ids.next(),
        instrument=terms.instrument,
        side=side,
        order_type=OrderType.LIMIT if is_limit else OrderType.MARKET,
        qty_lots=abs(change),
        price_ticks=(bid_ticks if side > 0 else ask_ticks) if is_limit else 0,
        stop_ticks=0,
        reduce_only=False,
        post_only=is_limit,
        purpose=Purpose.ENTRY,
        decision_id=ids.decision,
        group="",
    )
    return Plan(code, target, (order,))


def flatten(position_lots: int, terms: Terms, table: OrderTable, ids: OrderIds) -> Plan:
    """Cancel what rests and close the position at market: operator, session end, engine-held stop or take."""
    exposure = table.exposure(terms.instrument)
    effects = _cancels(exposure, table, 0)
    if position_lots == 0:
        return Plan(Code.OK, 0, effects)
    if _reducing_lots(exposure, table, position_lots) >= abs(position_lots):
        return Plan(Code.ORDER_IN_FLIGHT, position_lots, effects)
    lots = abs(position_lots) - _reducing_lots(exposure, table, position_lots)
    return Plan(Code.OK, 0, (*_release(effects, exposure, table, terms), _exit(position_lots, lots, terms, ids)))


def _hold(code: Code, position_lots: int, cap: int, exposure: Exposure, table: OrderTable) -> Plan:
    """Nothing to send; a resting entry is no longer wanted."""
    if exposure.entries:
        return Plan(Code.ORDER_IN_FLIGHT if code is Code.OK else code, position_lots, _cancels(exposure, table, 0))
    if code is _OK and cap == 0 and position_lots == 0:
        code = Code.BELOW_LOT
    return Plan(code, position_lots)


def _wait(change: int, position_lots: int, bid_ticks: int, ask_ticks: int, exposure: Exposure, table: OrderTable) -> Plan:
    """An order is open: let it be when it rests at the touch and asks for what we want, else cancel it first."""
    for order in _entries(exposure, table):
        touch = bid_ticks if order.side > 0 else ask_ticks
        is_wanted = exposure.entries == 1 and order.side * order.open_lots == change and order.price_ticks == touch
        if order.status is Status.WORKING and order.order_type is OrderType.LIMIT and not is_wanted:
            return Plan(Code.ORDER_IN_FLIGHT, position_lots, _cancels(exposure, table, 0))
    return Plan(Code.ORDER_IN_FLIGHT, position_lots)


def _reduce(
    code: Code,
    target: int,
    position_lots: int,
    bid_ticks: int,
    ask_ticks: int,
    terms: Terms,
    table: OrderTable,
    exposure: Exposure,
    ids: OrderIds,
) -> Plan:
    effects: tuple[AnyEffect, ...] = ()
    if exposure.entries:
        if _reducing_lots(exposure, table, position_lots):
            return Plan(Code.ORDER_IN_FLIGHT, position_lots, _cancels(exposure, table, 1 if position_lots > 0 else -1))
        effects = _cancels(exposure, table, 0)
    if not terms.is_derivative and terms.min_notional_e8:
        mid2 = bid_ticks + ask_ticks
        if mid2 * abs(target) * terms.unit_e8 < 2 * terms.min_notional_e8:
            target = 0  # what would be left could not be sold later
        if mid2 * abs(target - position_lots) * terms.unit_e8 < 2 * terms.min_notional_e8:
            return Plan(Code.MIN_NOTIONAL, position_lots, effects)
    lots = abs(target - position_lots)
    return Plan(code, target, (*_release(effects, exposure, table, terms), _exit(position_lots, lots, terms, ids, Purpose.ENTRY)))


def _exit(position_lots: int, lots: int, terms: Terms, ids: OrderIds, purpose: Purpose = Purpose.EXIT) -> SubmitOrder:
    return SubmitOrder(
        client_order_id=ids.next(),
        instrument=terms.instrument,
        side=-1 if position_lots > 0 else 1,
        order_type=OrderType.MARKET,
        qty_lots=lots,
        price_ticks=0,
        stop_ticks=0,
        reduce_only=True,
        post_only=False,
        purpose=purpose,
        decision_id=ids.decision,
        group="",
    )


def _entries(exposure: Exposure, table: OrderTable) -> list[Order]:
    return [order for order in map(table.orders.__getitem__, exposure.open_ids) if order.purpose not in _PROTECTIVE]


def _reducing_lots(exposure: Exposure, table: OrderTable, position_lots: int) -> int:
    """Lots that open orders would already take off the position; a resting limit order does not count, it is canceled."""
    lots = 0
    for order in _entries(exposure, table):
        if order.side * position_lots < 0 and order.order_type is not OrderType.LIMIT:
            lots += order.open_lots
    return lots


def _cancels(exposure: Exposure, table: OrderTable, side: int) -> tuple[AnyEffect, ...]:
    """Cancels of the resting limit entries of one side (0: both) that are not being canceled yet."""
    return tuple(
        CancelOrder(order.client_order_id, order.instrument)
        for order in _entries(exposure, table)
        if order.order_type is OrderType.LIMIT and order.status is Status.WORKING and side in (0, order.side)
    )


def _release(effects: tuple[AnyEffect, ...], exposure: Exposure, table: OrderTable, terms: Terms) -> tuple[AnyEffect, ...]:
    """On spot resting stops and takes lock the balance that the exit sells: cancel them first."""
    if terms.is_derivative or not exposure.protective:
        return effects
    return effects + tuple(
        CancelOrder(order.client_order_id, order.instrument)
        for order in map(table.orders.__getitem__, exposure.open_ids)
        if order.purpose in _PROTECTIVE and order.status not in _WAIT
    )
