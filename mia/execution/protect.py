"""Protection: every open position has a stop and a take, held by the venue where it can, else watched by the engine.

Levels follow the average entry and are rounded toward it (the nearer trigger). The same functions arm a new position,
follow its changes, re-arm it in recovery, and clear what is left over once it is flat.
"""

from __future__ import annotations

from typing import Final

from mia.domain.effects import AnyEffect, CancelOrder, ReplaceOrder, SubmitOrder
from mia.domain.orders import Order, OrderType, Purpose, Status
from mia.domain.sizing import SHARE_SCALE, Terms
from mia.execution.planner import OrderIds, flatten
from mia.execution.portfolio import Position
from mia.execution.settings import ExecutionSettings
from mia.execution.table import OrderTable

# Looked up once: until Python 3.12 a member is fetched from its enum by a call.
_STOP: Final = Purpose.STOP
_TAKE: Final = Purpose.TAKE
_WORKING: Final = Status.WORKING
_MOVING: Final = (Status.CREATED, Status.IN_FLIGHT, Status.CANCEL_IN_FLIGHT, Status.UNKNOWN)


def arm(position: Position, settings: ExecutionSettings) -> None:
    """Set position.stop_ticks and take_ticks by its average entry; call it after each fill of the instrument."""
    if position.lots == 0:
        position.stop_ticks = position.take_ticks = 0
        return
    sign = 1 if position.lots > 0 else -1
    position.stop_ticks = _level(position, -sign * round(settings.stop_share * SHARE_SCALE), is_up=position.lots > 0)
    position.take_ticks = _level(position, sign * round(settings.take_share * SHARE_SCALE), is_up=position.lots < 0)


def _level(position: Position, share_e9: int, *, is_up: bool) -> int:
    """Average entry times (1 + share), to whole ticks; at least 1."""
    top = abs(position.cost_e8) * (SHARE_SCALE + share_e9)
    bottom = abs(position.lots) * position.unit_e8 * SHARE_SCALE
    return max(1, -(-top // bottom) if is_up else top // bottom)


def breached(position: Position, bid_ticks: int, ask_ticks: int) -> Purpose | None:
    """Which level the touch has reached, at the price at which the position could be closed; None for neither or no quote."""
    if position.lots > 0 and bid_ticks > 0:
        if bid_ticks <= position.stop_ticks:
            return Purpose.STOP
        if bid_ticks >= position.take_ticks:
            return Purpose.TAKE
    elif position.lots < 0 and ask_ticks > 0:
        if ask_ticks >= position.stop_ticks:
            return Purpose.STOP
        if ask_ticks <= position.take_ticks:
            return Purpose.TAKE
    return None


def check_engine_stops(
    position: Position, bid_ticks: int, ask_ticks: int, terms: Terms, table: OrderTable, ids: OrderIds
) -> tuple[AnyEffect, ...]:
    """The exit of a position whose level is reached and that no order at the venue closes; cheap when nothing is.

    With venue-held protection in force this does nothing; it steps in while a stop or take is not (yet, or no more)
    working. The resting entries are canceled, lots that are already being closed are not closed twice.
    """
    if position.lots == 0:
        return ()
    level = breached(position, bid_ticks, ask_ticks)
    if level is None or _is_held(position, level, table):
        return ()
    if is_dust(position, bid_ticks + ask_ticks, terms):
        return ()
    return flatten(position.lots, terms, table, ids).effects


def _is_held(position: Position, level: Purpose, table: OrderTable) -> bool:
    for order in table.open_orders(position.instrument):
        if (
            order.purpose is level
            and order.status is Status.WORKING
            and order.open_lots >= abs(position.lots)
            and order.side * position.lots < 0
        ):
            return True
    return False


def is_dust(position: Position, mid2: int, terms: Terms) -> bool:
    """A spot remainder below the venue's smallest notional: nothing can sell it."""
    return not terms.is_derivative and position.notional_e8(mid2) < terms.min_notional_e8


def protect(position: Position, terms: Terms, table: OrderTable, settings: ExecutionSettings, ids: OrderIds) -> tuple[AnyEffect, ...]:
    """Orders that bring the venue-held stop and take in line with the position (`arm` it first); () when they are.

    Call it after each fill and each report on a protective order or an exit, and in recovery before anything else trades.
    Nothing is sent for an order that is on its way, nor while an exit is closing the position.
    """
    exposure = table.exposure(position.instrument)
    if position.lots == 0:
        if not exposure.protective:
            return ()
        return tuple(
            _cancel(order) for order in table.open_orders(position.instrument) if _is_protective(order) and order.status not in _MOVING
        )
    if is_dust(position, 0, terms) or _is_leaving(position, table):
        return ()
    group = position.trade.trade_id if position.trade is not None else ""
    effects: list[AnyEffect] = []
    for purpose in (_STOP, _TAKE):
        effects += _align(purpose, position, group, table, settings, ids)
    return tuple(effects)


def is_in_line(position: Position, table: OrderTable) -> bool:
    """True when `protect` has nothing to send, as far as that is seen at a glance.

    Flat without protective orders, or nothing open but one stop and one take that work, of this size and at these levels.
    """
    exposure = table.exposure(position.instrument)
    lots = position.lots
    if not lots and not exposure.protective:
        return True
    if exposure.entries or len(exposure.open_ids) != 2 or table.replacing:
        return False
    group = position.trade.trade_id if position.trade is not None else ""
    seen = None
    for name in exposure.open_ids:
        order = table.orders[name]
        purpose = order.purpose
        if purpose is seen or order.status is not _WORKING or table.groups.get(name, group) != group:
            return False
        if order.side * (order.qty_lots - order.filled_lots) != -lots:
            return False
        if order.stop_ticks != (position.stop_ticks if purpose is _STOP else position.take_ticks):
            return False
        seen = purpose
    return True


def _align(
    purpose: Purpose, position: Position, group: str, table: OrderTable, settings: ExecutionSettings, ids: OrderIds
) -> list[AnyEffect]:
    level = position.stop_ticks if purpose is _STOP else position.take_ticks
    side = -1 if position.lots > 0 else 1
    effects: list[AnyEffect] = []
    is_covered = False
    for order in table.open_orders(position.instrument):
        if order.purpose is not purpose:
            continue
        if order.side != side or is_covered or table.groups.get(order.client_order_id, group) != group:
            if order.status not in _MOVING:
                effects.append(_cancel(order))
            continue
        is_covered = True
        if order.status in _MOVING or order.client_order_id in table.replacing:
            continue
        is_moved = abs(order.stop_ticks - level) * SHARE_SCALE > round(settings.protect_hysteresis_share * SHARE_SCALE) * level
        if order.open_lots == abs(position.lots) and not is_moved:
            continue
        if settings.venue_replaces_orders:
            lots = order.filled_lots + abs(position.lots)
            effects.append(ReplaceOrder(order.client_order_id, order.instrument, lots, 0, level))
        else:
            effects.append(_cancel(order))  # sent anew once the venue confirms; the engine watches meanwhile
    if not is_covered:
        effects.append(
            SubmitOrder(
                client_order_id=ids.next(),
                instrument=position.instrument,
                side=side,
                order_type=OrderType.STOP if purpose is Purpose.STOP else OrderType.TAKE,
                qty_lots=abs(position.lots),
                price_ticks=0,
                stop_ticks=level,
                reduce_only=True,
                post_only=False,
                purpose=purpose,
                decision_id=ids.decision,
                group=group,
            )
        )
    return effects


def _is_leaving(position: Position, table: OrderTable) -> bool:
    """True while other orders close the whole position, on spot (where they share the balance) any part of it, or flip it.

    A stop sent after a flip could fill before it, and the whole flip would then open, past what review has granted.
    """
    if not table.exposure(position.instrument).entries:
        return False
    lots = 0
    for order in table.open_orders(position.instrument):
        if order.side * position.lots < 0 and not _is_protective(order):
            if not order.reduce_only:
                return True
            lots += order.open_lots
    return lots >= abs(position.lots) or (lots > 0 and not position.is_derivative)


def _is_protective(order: Order) -> bool:
    return order.purpose is _STOP or order.purpose is _TAKE


def _cancel(order: Order) -> CancelOrder:
    return CancelOrder(order.client_order_id, order.instrument)
