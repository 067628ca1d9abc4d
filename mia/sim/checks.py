"""Why the simulated venue says no: malformed, too small, or not paid for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mia.domain.events import BUY, SELL
from mia.domain.orders import OrderType
from mia.sim.account import Rates, margin_e8, unrealized_e8, worst_lots
from mia.sim.desk import TRIGGERED, Desk
from mia.sim.state import VenueOrder, VenueState

_TYPES: Final = frozenset(str(t) for t in OrderType)


def would_match(desk: Desk, side: int, price_ticks: int) -> bool:
    """A limit order of this price would take at once."""
    bid, ask = desk.liquidity.touch()
    return (0 < ask <= price_ticks) if side == BUY else bid >= price_ticks


def plan_of(desk: Desk, order: VenueOrder) -> list[tuple[int, int]]:
    """What the order takes now; nothing for an untriggered stop or take."""
    if order.order_type in TRIGGERED:
        return []
    return desk.liquidity.plan(order.side, order.open_lots, order.price_ticks if order.order_type == "limit" else 0)


class Checks:
    """Judges orders against the account; changes nothing."""

    def __init__(self, state: VenueState, desks: Mapping[int, Desk]) -> None:
        self._state = state
        self._desks = desks

    def why_not(self, order: VenueOrder) -> tuple[str, str] | None:
        """(code, reason) of a request that cannot be an order; None when it can."""
        desk = self._desks.get(order.instrument)
        if desk is None:
            return "unknown_instrument", f"instrument {order.instrument} is not traded here"
        if order.side not in (BUY, SELL) or order.order_type not in _TYPES:
            return "bad_order", f"side {order.side}, type {order.order_type!r}"
        if not (0 < order.qty_lots < 1 << 53):
            return "bad_qty", f"qty_lots {order.qty_lots} must be above 0"
        price = order.price_ticks if order.order_type == "limit" else order.stop_ticks
        if order.order_type != "market" and not (0 < price < 1 << 53):
            return "bad_price", f"price {price} must be above 0"
        if order.reduce_only:
            if desk.reducible(order.side) == 0:
                return "reduce_only", f"position {desk.position.lots} cannot be reduced by this side"
            if order.order_type != "market":
                return None
        if order.order_type == "market":
            bid, ask = desk.liquidity.touch()
            price = ask if order.side == BUY else bid
            if price <= 0:
                return "no_liquidity", "no price on the other side"
        notional = desk.rates.value_e8(price, order.qty_lots)
        if not order.reduce_only and notional < desk.rates.terms.min_notional_e8:
            return "min_notional", f"notional {notional} e8 is below {desk.rates.terms.min_notional_e8}"
        return None

    def unaffordable(self, desk: Desk, order: VenueOrder, plan: list[tuple[int, int]]) -> tuple[str, str] | None:
        """The balance or margin check, on the worst case; reducing is always paid for."""
        rates = desk.rates
        if order.reduce_only:
            return None
        others = [o for o in self._state.open.values() if o is not order]
        if not rates.terms.is_derivative:
            if order.side == SELL:
                promised = sum(o.open_lots for o in others if o.instrument == order.instrument and o.side == SELL and not o.reduce_only)
                if order.open_lots + promised > desk.position.lots:
                    return "insufficient_balance", f"{desk.position.lots} lots held, {order.open_lots + promised} would be sold"
                return None
            need = self._cost_of_buy(rates, order, plan) + sum(
                self._cost_of_buy(self._desks[o.instrument].rates, o, [])
                for o in others
                if o.side == BUY and not o.reduce_only and not self._desks[o.instrument].rates.terms.is_derivative
            )
            if need > self._state.cash_e8:
                return "insufficient_balance", f"cash {self._state.cash_e8} e8, {need} needed"
            return None
        mine = [o for o in others if o.instrument == order.instrument]
        worst = worst_lots(desk.position.lots, [*mine, order])
        if worst <= abs(desk.position.lots):
            return None
        mid2 = desk.liquidity.mid2() or 2 * (order.price_ticks or order.stop_ticks)
        need = margin_e8(worst, mid2, rates) + rates.fee_e8(rates.value_e8(mid2, order.open_lots), is_maker=False) // 2
        need += rates.fee_e8(0, is_maker=False, lots=order.open_lots)  # a commission per contract has no price
        for other in self._desks.values():
            if other is not desk and other.rates.terms.is_derivative:
                lots = worst_lots(other.position.lots, [o for o in others if o.instrument == other.instrument])
                need += margin_e8(lots, other.liquidity.mid2(), other.rates)
        gained = sum(unrealized_e8(d.position, d.rates, d.liquidity.mid2()) for d in self._desks.values() if d.rates.terms.is_derivative)
        if need > self._state.cash_e8 + gained:
            return "insufficient_balance", f"margin {need} e8 needed, equity {self._state.cash_e8 + gained}"
        return None

    @staticmethod
    def _cost_of_buy(rates: Rates, order: VenueOrder, plan: list[tuple[int, int]]) -> int:
        """Cash that a spot buy locks: what it takes now, the rest at its limit or trigger, all at the higher fee."""
        rest = order.open_lots - sum(lots for _, lots in plan)
        value = sum(rates.value_e8(price, lots) for price, lots in plan)
        fees = sum(rates.fee_e8(rates.value_e8(price, lots), is_maker=False) for price, lots in plan)
        value_rest = rates.value_e8(order.price_ticks if order.order_type == "limit" else order.stop_ticks, rest)
        fee_rest = max(rates.fee_e8(value_rest, is_maker=False), rates.fee_e8(value_rest, is_maker=True))
        # Every further fill may round its fee up by one.
        return value + fees + value_rest + fee_rest + rest
