"""What the simulated venue takes without an order: funding, borrow and rolls when they are due, and liquidation."""

from __future__ import annotations

from collections.abc import Mapping

from mia.domain.events import BUY, SELL, CashFlow
from mia.ports import NEVER_NS
from mia.sim.account import unrealized_e8
from mia.sim.costs import CostModel
from mia.sim.desk import Desk
from mia.sim.matching import Matching
from mia.sim.state import VenueOrder, VenueState
from mia.sim.wire import Wire


class Charging:
    """Works on the venue's state; holds none of its own."""

    def __init__(self, state: VenueState, desks: Mapping[int, Desk], matching: Matching, wire: Wire, costs: CostModel) -> None:
        self._state = state
        self._desks = desks
        self._matching = matching
        self._wire = wire
        self._costs = costs
        self.watches = costs.charges_carry or costs.liquidates  # whether an open position needs the market's prices

    @property
    def next_due_ns(self) -> int:
        """When something is due next; NEVER_NS without a position that is charged."""
        if not self._costs.charges_carry:
            return NEVER_NS
        return min((s.next_charge_ns for s in self._state.instruments.values() if s.next_charge_ns), default=NEVER_NS)

    def charge(self, at_ns: int) -> None:
        """Take or give what is due at this instant, at the mids as they are."""
        for number, desk in self._desks.items():
            known = desk.liquidity.state
            if known.next_charge_ns != at_ns:
                continue
            for kind, amount_e8 in self._costs.charges(number, at_ns, desk.position.lots, _mark2(desk)):
                self._flow(number, kind, amount_e8, at_ns)
            known.next_charge_ns = self._costs.next_charge_ns(number, at_ns)

    def check(self, now_ns: int) -> None:
        """Close every derivative when equity is below what they must maintain; one whose other side is empty waits."""
        held = [d for d in self._desks.values() if d.rates.terms.is_derivative and d.position.lots]
        if not held or not all(d.liquidity.mid2() for d in held):
            return  # without a price nothing is judged
        equity = self._state.cash_e8 + sum(unrealized_e8(d.position, d.rates, d.liquidity.mid2()) for d in held)
        needed = sum(self._costs.maintenance_e8(d.instrument, d.position.lots, d.liquidity.mid2()) for d in held)
        if equity >= needed:
            return
        for order in list(self._state.open.values()):
            if self._desks[order.instrument].rates.terms.is_derivative:
                self._matching.end(order, "canceled", "liquidation", now_ns)
        for desk in held:
            self._liquidate(desk, now_ns)

    def _liquidate(self, desk: Desk, now_ns: int) -> None:
        """At the market, whatever it costs: as an order of the venue's, that we hear of by its fills."""
        state, lots = self._state, abs(desk.position.lots)
        side = SELL if desk.position.lots > 0 else BUY
        state.liquidations += 1
        order = VenueOrder(
            f"liquidation{state.liquidations}", f"L{state.liquidations}", desk.instrument, side, "market", lots, 0, 0, True, False, ""
        )
        bid, ask = desk.liquidity.touch()
        plan = desk.liquidity.plan(side, lots, 0)
        fee_e8 = sum(self._costs.liquidation_fee_e8(desk.instrument, price, part) for price, part in plan)
        self._flow(desk.instrument, "liquidation_fee", -fee_e8, now_ns)  # before the fills: it belongs to the trade that they close
        for price, part in plan:
            desk.liquidity.take(side, price, part)
            self._matching.book_fill(desk, order, price, part, False, now_ns, ask if side == BUY else bid)
        order.status = "filled"
        self._matching.keep_closed(order)

    def _flow(self, instrument: int, kind: str, amount_e8: int, now_ns: int) -> None:
        if not amount_e8:
            return
        state = self._state
        state.flows += 1
        state.cash_e8 += amount_e8
        self._wire.report(now_ns, CashFlow, f"C{state.flows}", instrument, kind, amount_e8)


def _mark2(desk: Desk) -> int:
    """The doubled mid; the average entry where nobody quotes."""
    position = desk.position
    return desk.liquidity.mid2() or 2 * position.cost_e8 // (position.lots * desk.rates.terms.unit_e8)
