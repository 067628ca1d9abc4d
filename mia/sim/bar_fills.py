"""The money of the venue of bars: fills at their price and fee, charges, liquidation, and the reports of all of it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import msgspec

from mia.domain.events import BUY, SELL, CashFlow, OrderCanceled, OrderExpired, OrderFilled, OrderReplaced
from mia.domain.instruments import Instrument
from mia.domain.sizing import lots_of_equity
from mia.execution.attribution import Moments
from mia.sim.account import apply_fill, pay_in_base, unrealized_e8
from mia.sim.bar_desk import BarDesk, Resting
from mia.sim.costs import CostModel, Costs, FillPrice, worse_ticks
from mia.sim.state import VenueOrder, VenueReport


class BarFills:
    """Cash, positions and reports of one account. equity_share_e9: above 0 a market order is sized where it fills, see `_resize`."""

    def __init__(self, instruments: Mapping[int, Instrument], costs: Costs, cash_e8: int, equity_share_e9: int) -> None:
        self.costs = CostModel(costs, instruments)
        self.desks = {i: BarDesk(self.costs.rates[i]) for i in sorted(instruments)}
        self.cash_e8 = cash_e8
        self.reports: list[tuple[int, int, VenueReport]] = []
        self._share_e9 = equity_share_e9
        self._has_impact = costs.impact.kind != "off"
        self._is_partial = costs.participation.partial_fills
        self._has_tiers = costs.fees.kind == "table"
        self._moments: dict[str, Moments] = {}
        self._number = self._fills = self._flows = self._liquidations = 0
        self._now_ns = self._due_ns = 0

    # --- fills ------------------------------------------------------------------------------------------------------
    def take(self, desk: BarDesk, resting: Resting, mid2: int, now_ns: int) -> bool:
        """The order takes what the market gives at a doubled price; False when nothing happened to it."""
        order = resting.order
        if resting.sizing is not None:
            self._resize(desk, resting, mid2, now_ns)
        wanted = allowed_lots(desk, order)
        if wanted <= 0:
            self.expire(desk, order, "reduce_only" if order.reduce_only else "insufficient_balance", now_ns)
            return True
        lots = self._capped(desk, wanted)
        if lots <= 0:
            if self._is_partial or order.order_type != "market":
                resting.is_market = True  # the next bars have volume of their own
                return False
            self.expire(desk, order, "participation", now_ns)
            return True
        price = self._price(desk, order, mid2, lots, now_ns)
        self._fill(desk, resting, lots, price, wanted, False, now_ns)
        resting.is_market = True
        return True

    def make(self, desk: BarDesk, resting: Resting, now_ns: int) -> bool:
        """A limit order fills at its own price; False when the bar's volume left nothing for it."""
        order = resting.order
        wanted = allowed_lots(desk, order)
        if wanted <= 0:
            self.expire(desk, order, "reduce_only" if order.reduce_only else "insufficient_balance", now_ns)
            return True
        lots = self._capped(desk, wanted)
        if lots <= 0:
            return False
        price = order.price_ticks
        self._fill(desk, resting, lots, FillPrice(price, price, 2 * price), wanted, True, now_ns)
        return True

    def _capped(self, desk: BarDesk, lots: int) -> int:
        volume = desk.bar.volume_lots if desk.bar is not None else 0
        return self.costs.capped_lots(lots, volume, desk.used_lots)

    def _price(self, desk: BarDesk, order: VenueOrder, mid2: int, lots: int, now_ns: int) -> FillPrice:
        sigma, volume = desk.pace() if self._has_impact else (0.0, 0)
        return self.costs.fill_price(order.instrument, order.side, mid2, lots, ts_ns=now_ns, sigma=sigma, volume_lots=volume)

    def _resize(self, desk: BarDesk, resting: Resting, mid2: int, now_ns: int) -> None:
        """The same share of what could be held at the decision is held at the fill: whole lots of the equity then, at the price then."""
        order, sizing = resting.order, resting.sizing
        assert sizing is not None
        resting.sizing = None
        (target, cap), terms = sizing, desk.rates.terms
        equity = self.equity_e8({order.instrument: mid2})
        price = self._price(desk, order, mid2, order.qty_lots, now_ns).price_ticks
        size = abs(target) * lots_of_equity(equity, self._share_e9, 2 * price, terms) // cap
        lots = order.side * ((size if target > 0 else -size) - desk.position.lots)
        if lots > 0 and lots != order.qty_lots:
            order.qty_lots = lots
            self.report(now_ns, OrderReplaced, order.client_order_id, 0, 0, lots)

    def size_at_fill(self, desk: BarDesk, resting: Resting) -> None:
        """Remember what share of the account a market order stands for, where orders are sized at their fills."""
        order, terms = resting.order, desk.rates.terms
        if self._share_e9 and order.order_type == "market" and not order.reduce_only:
            cap = lots_of_equity(self.equity_e8({}), self._share_e9, 2 * desk.mark_ticks, terms)
            target = desk.position.lots + order.side * order.qty_lots
            if cap > 0 and target:
                resting.sizing = (target, cap)

    def _fill(self, desk: BarDesk, resting: Resting, lots: int, price: FillPrice, wanted: int, is_maker: bool, now_ns: int) -> None:
        order = resting.order
        self._book(desk, order, lots, price, is_maker, now_ns)
        order.filled_lots += lots
        if order.open_lots == 0:
            desk.orders.pop(order.client_order_id, None)
        elif lots == wanted:
            self.expire(desk, order, "reduce_only" if order.reduce_only else "insufficient_balance", now_ns)
        if order.group:
            self._step_group(desk, order, lots, now_ns)

    def _book(self, desk: BarDesk, order: VenueOrder, lots: int, price: FillPrice, is_maker: bool, now_ns: int) -> None:
        rates, position, ticks = desk.rates, desk.position, price.price_ticks
        fee = self.costs.fee(order.instrument, order.side, ticks, lots, is_maker, now_ns)
        self.cash_e8 += apply_fill(position, rates, order.side, ticks, lots) - (0 if fee.base_fee_e8 else fee.fee_e8)
        if fee.base_fee_e8:
            pay_in_base(position, rates, fee.base_fee_e8)
        if self._has_tiers:
            self.costs.volume.add(rates.value_e8(ticks, lots), now_ns)
        desk.used_lots += lots
        self._fills += 1
        fill_id = f"F{self._fills}"
        self._moments[fill_id] = price.moments(0)
        fields = (order.client_order_id, fill_id, order.instrument, order.side, ticks, lots, fee.fee_e8, is_maker, fee.base_fee_e8)
        self.report(now_ns, OrderFilled, *fields)

    def _step_group(self, desk: BarDesk, order: VenueOrder, lots: int, now_ns: int) -> None:
        """The others of the group shrink with a fill, and go when one of them is done."""
        is_done = order.client_order_id not in desk.orders
        for other in [r.order for r in desk.orders.values() if r.order.group == order.group and r.order is not order]:
            if is_done or other.open_lots <= lots:
                self.cancel(desk, other, "group", now_ns)
            else:
                other.qty_lots -= lots
                self.report(now_ns, OrderReplaced, other.client_order_id, other.price_ticks, other.stop_ticks, other.qty_lots)

    def expire(self, desk: BarDesk, order: VenueOrder, reason: str, now_ns: int) -> None:
        """What is left of the order is gone, by the venue."""
        desk.orders.pop(order.client_order_id, None)
        self.report(now_ns, OrderExpired, order.client_order_id, reason)

    def cancel(self, desk: BarDesk, order: VenueOrder, reason: str, now_ns: int) -> None:
        """What is left of the order is gone, as asked or with its group."""
        desk.orders.pop(order.client_order_id, None)
        self.report(now_ns, OrderCanceled, order.client_order_id, reason)

    # --- charges and liquidation --------------------------------------------------------------------------------------
    def charge(self, number: int, at_ns: int) -> None:
        """Take or give what is due at this instant for what is held."""
        desk = self.desks[number]
        if desk.position.lots:
            for kind, amount_e8 in self.costs.charges(number, at_ns, desk.position.lots, 2 * desk.price_at(at_ns)):
                self._flow(number, kind, amount_e8, at_ns)

    def _flow(self, instrument: int, kind: str, amount_e8: int, now_ns: int) -> None:
        if amount_e8:
            self._flows += 1
            self.cash_e8 += amount_e8
            self.report(now_ns, CashFlow, f"C{self._flows}", instrument, kind, amount_e8)

    def equity_e8(self, prices2: Mapping[int, int]) -> int:
        """Cash and what is held, at the doubled prices that are given, else at the last closes."""
        total = self.cash_e8
        for number, desk in self.desks.items():
            if desk.position.lots:
                total += unrealized_e8(desk.position, desk.rates, prices2.get(number, 2 * desk.mark_ticks))
                if not desk.rates.terms.is_derivative:
                    total += desk.position.cost_e8
        return total

    def liquidate_below(self, ticks: Mapping[int, int], now_ns: int) -> bool:
        """Close every derivative, at its bar's worse price, when equity at these prices is below what they must maintain."""
        held = {n: d for n, d in self.desks.items() if d.rates.terms.is_derivative and d.position.lots}
        if not held:
            return False
        prices = {number: ticks.get(number, desk.price_at(now_ns)) for number, desk in self.desks.items()}
        needed = sum(self.costs.maintenance_e8(number, desk.position.lots, 2 * prices[number]) for number, desk in held.items())
        if self.equity_e8({number: 2 * price for number, price in prices.items()}) >= needed:
            return False
        for desk in self.desks.values():
            if desk.rates.terms.is_derivative:
                for resting in list(desk.orders.values()):
                    self.cancel(desk, resting.order, "liquidation", now_ns)
        for number, desk in held.items():
            self._liquidate(number, desk, now_ns)
        return True

    def _liquidate(self, number: int, desk: BarDesk, now_ns: int) -> None:
        """As an order of the venue's, that we hear of by its fill; no cap on its share of the volume."""
        self._liquidations += 1
        lots = desk.position.lots
        name, side = f"liquidation{self._liquidations}", SELL if lots > 0 else BUY
        order = VenueOrder(name, f"L{self._liquidations}", number, side, "market", abs(lots), 0, 0, True, False, "")
        price = self._price(desk, order, 2 * self.worse(desk), abs(lots), now_ns)
        self._flow(number, "liquidation_fee", -self.costs.liquidation_fee_e8(number, price.price_ticks, lots), now_ns)
        self._book(desk, order, abs(lots), price, False, now_ns)  # after its fee, which belongs to the trade that it closes

    @staticmethod
    def worse(desk: BarDesk) -> int:
        """The worst that the running bar does to the position; the last close where no bar runs."""
        bar = desk.bar
        if bar is None or not desk.is_running:
            return desk.mark_ticks
        return worse_ticks(desk.position.lots, bar.low_ticks, bar.high_ticks)

    # --- reports ----------------------------------------------------------------------------------------------------
    def moments(self, fill_id: str, decision_mid2: int) -> Moments:
        """The prices behind a fill, once; all unknown the second time."""
        found = self._moments.pop(fill_id, Moments())
        return msgspec.structs.replace(found, decision_mid2=decision_mid2)

    def report(self, now_ns: int, make: Any, *fields: object) -> None:
        """Something happened at now_ns; we hear of it after its latency, and never before what happened earlier."""
        self._number += 1
        self._now_ns = max(self._now_ns, now_ns)
        self._due_ns = max(self._due_ns, self._now_ns + self.costs.report_ns(self._number, 0))
        heapq.heappush(self.reports, (self._due_ns, self._number, make(0, self._now_ns, self._due_ns, *fields)))


def allowed_lots(desk: BarDesk, order: VenueOrder) -> int:
    """Never past flat where the order only reduces, or where there is nothing to be short of."""
    if order.reduce_only or (order.side == SELL and not desk.rates.terms.is_derivative):
        return min(order.open_lots, max(0, -order.side * desk.position.lots))
    return order.open_lots
