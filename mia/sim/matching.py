"""How orders of ours meet the market at the simulated venue: taking, resting in a queue, triggers, groups, and the money of each fill."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mia.domain.events import BUY, SELL, OrderCanceled, OrderExpired, OrderFilled, OrderReplaced, Quote, Trade
from mia.sim.account import apply_fill, pay_in_base
from mia.sim.checks import Checks
from mia.sim.costs import CostModel
from mia.sim.desk import TRIGGERED, Desk, is_triggered
from mia.sim.queueing import ahead_after
from mia.sim.settings import PaperSettings
from mia.sim.state import VenueFill, VenueOrder, VenueState
from mia.sim.tape import Pace
from mia.sim.wire import Wire


class Matching:
    """Works on the venue's state; holds none of its own."""

    def __init__(
        self, state: VenueState, desks: Mapping[int, Desk], checks: Checks, wire: Wire, settings: PaperSettings, costs: CostModel
    ) -> None:
        self._state = state
        self._desks = desks
        self._checks = checks
        self._wire = wire
        self._closed_kept = settings.closed_orders_kept
        self._costs = costs
        self._queue = costs.costs.queue.kind
        self._power = float(costs.costs.queue.power)
        self._has_impact = costs.costs.impact.kind != "off"
        self.needs_tape = self._has_impact or costs.costs.participation.share_max > 0
        self._paces = {i: Pace(state.instruments[i].tape, costs) for i in desks}

    # --- fills ------------------------------------------------------------------------------------------------------
    def execute(self, desk: Desk, order: VenueOrder, plan: list[tuple[int, int]], now_ns: int) -> bool:
        """Take the planned liquidity, as a taker; False when the cap on our share of the volume left some of it."""
        wanted = min(order.open_lots, sum(lots for _, lots in plan))
        fits = self._fits(desk, wanted, now_ns)
        if not fits:
            return not wanted
        worst = self.worst_ticks(desk, order, fits)
        bid, ask = desk.liquidity.touch()
        touch, left = (ask if order.side == BUY else bid), fits
        for price, lots in plan:
            part = min(lots, order.open_lots, left)
            if order.status != "open" or not part:
                break
            left -= part
            desk.liquidity.take(order.side, price, part)
            paid = (max(price, worst) if order.side == BUY else min(price, worst)) if worst else price
            self.fill(desk, order, paid, part, False, now_ns, touch)
        return fits == wanted

    def worst_ticks(self, desk: Desk, order: VenueOrder, lots: int) -> int:
        """The price that the square-root impact alone would lead to, within the order's limit; 0 where there is none."""
        mid2 = desk.liquidity.mid2()
        impact = self._paces[desk.instrument].impact_ticks(mid2, lots) if self._has_impact and mid2 else 0.0
        if not impact:
            return 0
        bid, ask = desk.liquidity.touch()
        limit = order.price_ticks if order.order_type == "limit" else 0
        if order.side == BUY:
            return min(ask + math.ceil(impact), limit or 1 << 62)
        return max(1, bid - math.ceil(impact), limit)

    def after_impact(self, desk: Desk, order: VenueOrder, plan: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The plan at the prices that will be paid, for the question whether it can be."""
        worst = self.worst_ticks(desk, order, sum(lots for _, lots in plan)) if self._has_impact else 0
        if not worst:
            return plan
        return [(max(price, worst) if order.side == BUY else min(price, worst), lots) for price, lots in plan]

    def settle_rest(self, desk: Desk, order: VenueOrder, now_ns: int, *, is_capped: bool = False) -> None:
        """After its arrival or trigger: a limit order rests, a stop waits, what a market order did not get is gone."""
        if order.status == "open" and order.order_type == "limit":
            order.ahead_lots = desk.liquidity.ahead(order.side == BUY, order.price_ticks)
            order.level_lots, order.traded_lots = -1, 0
        elif order.status == "open" and order.order_type == "market":
            self.end(order, "expired", "participation" if is_capped else "no_liquidity", now_ns)
        desk.refresh(self._state.open.values())
        if order.status == "open" and order.order_type in TRIGGERED:
            bid, ask = desk.liquidity.touch()
            if is_triggered(order, bid, ask):
                self._trigger(desk, order, now_ns)

    def fill(self, desk: Desk, order: VenueOrder, price_ticks: int, lots: int, is_maker: bool, now_ns: int, touch_ticks: int = 0) -> None:
        """Fill up to `lots`, never past what reduce-only or a spot position allow; then the group."""
        allowed = lots
        if order.reduce_only or (order.side == SELL and not desk.rates.terms.is_derivative):
            allowed = min(lots, desk.reducible(order.side))
        if allowed > 0:
            self.book_fill(desk, order, price_ticks, allowed, is_maker, now_ns, touch_ticks or price_ticks)
        if order.open_lots == 0:
            order.status = "filled"
            self._close(order)
        elif allowed < lots:
            self.end(order, "expired", "reduce_only" if order.reduce_only else "insufficient_balance", now_ns)
        if allowed > 0 and order.group:
            self._step_group(order, allowed, now_ns)
        desk.refresh(self._state.open.values())

    def book_fill(self, desk: Desk, order: VenueOrder, price_ticks: int, lots: int, is_maker: bool, now_ns: int, touch_ticks: int) -> None:
        """Money and position of one fill, and its report."""
        state, costs, position = self._state, self._costs, desk.position
        fee = costs.fee(desk.instrument, order.side, price_ticks, lots, is_maker, now_ns)
        paid_e8 = 0 if fee.base_fee_e8 else fee.fee_e8
        state.cash_e8 += apply_fill(position, desk.rates, order.side, price_ticks, lots) - paid_e8
        if fee.base_fee_e8:
            pay_in_base(position, desk.rates, fee.base_fee_e8)
        state.fees_e8 += fee.fee_e8
        state.fills += 1
        if costs.costs.fees.kind == "table":
            state.volume.add(desk.rates.value_e8(price_ticks, lots), now_ns)
        if self.needs_tape:
            self._paces[desk.instrument].use(lots)
        if costs.charges_carry:
            known = desk.liquidity.state
            known.next_charge_ns = 0 if not position.lots else known.next_charge_ns or costs.next_charge_ns(desk.instrument, now_ns)
        mid2 = desk.liquidity.mid2()
        fill = VenueFill(f"F{state.fills}", price_ticks, lots, fee.fee_e8, is_maker, fee.base_fee_e8, mid2, touch_ticks)
        order.filled_lots += lots
        order.fills.append(fill)
        self.report_fill(order, fill, now_ns)

    def report_fill(self, order: VenueOrder, f: VenueFill, now_ns: int) -> None:
        """Say it, or say it again."""
        fields = (order.client_order_id, f.fill_id, order.instrument, order.side, f.price_ticks, f.qty_lots, f.fee_e8, f.is_maker)
        self._wire.report(now_ns, OrderFilled, *fields, f.base_fee_e8)

    def report_replaced(self, order: VenueOrder, now_ns: int) -> None:
        """An order has another size or price now."""
        self._wire.report(now_ns, OrderReplaced, order.client_order_id, order.price_ticks, order.stop_ticks, order.qty_lots)

    def _step_group(self, order: VenueOrder, lots: int, now_ns: int) -> None:
        """The others of the group shrink with a fill, and go when one of them is done."""
        for other in [o for o in self._state.open.values() if o.group == order.group and o.instrument == order.instrument]:
            if other is order:
                continue
            if order.status == "filled" or other.open_lots <= lots:
                self.end(other, "canceled", "group", now_ns)
            else:
                other.qty_lots -= lots
                self.report_replaced(other, now_ns)

    def end(self, order: VenueOrder, status: str, reason: str, now_ns: int) -> None:
        """Close an order that did not fill whole, and say so."""
        order.status, order.reason = status, reason
        self._wire.report(now_ns, OrderCanceled if status == "canceled" else OrderExpired, order.client_order_id, reason)
        self._close(order)
        self._desks[order.instrument].refresh(self._state.open.values())

    def _close(self, order: VenueOrder) -> None:
        self._state.open.pop(order.client_order_id, None)
        self.keep_closed(order)

    def keep_closed(self, order: VenueOrder) -> None:
        """Remember a finished order, as many as the settings say."""
        closed = self._state.closed
        closed[order.client_order_id] = order
        while len(closed) > self._closed_kept:
            del closed[next(iter(closed))]

    def _fits(self, desk: Desk, lots: int, now_ns: int) -> int:
        return self._paces[desk.instrument].fits(lots, now_ns) if self.needs_tape else lots

    # --- market ---------------------------------------------------------------------------------------------------
    def on_quote(self, desk: Desk, event: Quote) -> bool:
        """The touch as a Quote says it; True when it concerned our orders."""
        bid, ask = event.bid_ticks, event.ask_ticks
        quote = desk.liquidity.state.quote
        quote.bid_ticks, quote.ask_ticks, quote.bid_lots, quote.ask_lots = bid, ask, event.bid_lots, event.ask_lots
        return bool(desk.orders) and self._look(desk, bid, ask, event.ts_recv_ns)

    def on_book(self, desk: Desk, now_ns: int) -> bool:
        """The shared book changed; True when it concerned our orders."""
        book = desk.liquidity.book
        if not (desk.orders and book.is_valid() and not book.is_crossed()):
            return False
        return self._look(desk, book.best_bid_ticks(), book.best_ask_ticks(), now_ns)

    def _look(self, desk: Desk, bid: int, ask: int, now_ns: int) -> bool:
        if desk.has_limits:
            self._shrink_queues(desk)
        if not desk.concerned_by_touch(bid, ask):
            return False
        self._on_touch(desk, bid, ask, now_ns)
        return True

    def _shrink_queues(self, desk: Desk) -> None:
        """Nobody can be ahead of us who is not displayed; who left the queue without trading may have been."""
        for order in desk.orders:
            if order.ahead_lots and order.order_type == "limit":
                displayed = desk.liquidity.displayed(order.side == BUY, order.price_ticks)
                if displayed is None:
                    continue
                if self._queue != "risk_averse" and order.level_lots >= 0:
                    order.ahead_lots = ahead_after(
                        order.ahead_lots, order.level_lots, order.traded_lots, displayed, self._queue, self._power
                    )
                elif displayed < order.ahead_lots:
                    order.ahead_lots = displayed
                order.level_lots, order.traded_lots = displayed, 0

    def _on_touch(self, desk: Desk, bid: int, ask: int, now_ns: int) -> None:
        for order in list(desk.orders):
            if order.status != "open":
                continue
            if order.order_type == "limit":
                facing = ask if order.side == BUY else bid
                crossed = (0 < facing <= order.price_ticks) if order.side == BUY else facing >= order.price_ticks
                if crossed and not desk.liquidity.is_exhausted(order.side != BUY, facing):
                    self._fill_resting(desk, order, order.open_lots, now_ns)
            elif is_triggered(order, bid, ask):
                self._trigger(desk, order, now_ns)

    def on_trade(self, desk: Desk, event: Trade) -> None:
        """A public trade that may concern our orders."""
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
                self._fill_resting(desk, order, order.open_lots, event.ts_recv_ns)

    def note_trade(self, event: Trade) -> None:
        """Keep the tape of an instrument current, whether the trade concerns an order or not."""
        self._paces[event.instrument].on_trade(event.price_ticks, event.qty_lots, event.ts_recv_ns)

    def _join_trade(self, desk: Desk, order: VenueOrder, lots: int, now_ns: int) -> int:
        """A trade at our price: first those ahead of us, then us; returns our lots."""
        passed = min(order.ahead_lots, lots)
        order.ahead_lots -= passed
        order.traded_lots += max(0, lots)
        part = min(lots - passed, order.open_lots)
        if part <= 0:
            return 0
        before = order.filled_lots
        self._fill_resting(desk, order, part, now_ns)
        return order.filled_lots - before

    def _fill_resting(self, desk: Desk, order: VenueOrder, lots: int, now_ns: int) -> None:
        fits = self._fits(desk, lots, now_ns)
        if fits:
            self.fill(desk, order, order.price_ticks, fits, True, now_ns)

    def _trigger(self, desk: Desk, order: VenueOrder, now_ns: int) -> None:
        """A stop or take becomes a market order now."""
        lots = min(order.open_lots, desk.reducible(order.side)) if order.reduce_only else order.open_lots
        if lots == 0:
            self.end(order, "expired", "reduce_only", now_ns)
            return
        plan = desk.liquidity.plan(order.side, lots, 0)
        if not plan:
            return  # nothing on the other side: it stays armed
        if self._checks.unaffordable(desk, order, self.after_impact(desk, order, plan)) is not None:
            self.end(order, "expired", "insufficient_balance", now_ns)
            return
        is_whole = self.execute(desk, order, plan, now_ns)
        if order.status == "open" and is_whole:
            self.end(order, "expired", "reduce_only", now_ns)  # else the market's volume held it back: it stays armed
