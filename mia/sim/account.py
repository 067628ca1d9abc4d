"""Money at the simulated venue: fees, positions by average cost, and whether an order can be paid. Integers only."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import msgspec

from mia.domain.events import BUY
from mia.domain.instruments import MONEY_SCALE, Instrument
from mia.domain.sizing import SHARE_SCALE, Terms, base_fee_lots
from mia.sim.state import VenueOrder, VenuePosition

_ZERO: Final = Decimal(0)


class Rates:
    """One instrument's figures ready for integer arithmetic."""

    def __init__(self, instrument_id: int, definition: Instrument, *, initial_margin: Decimal = _ZERO, per_lot: Decimal = _ZERO) -> None:
        """initial_margin: share of notional in place of the instrument's, 0 keeps that; per_lot: commission of a lot, quote currency."""
        self.definition = definition
        self.terms = Terms.of(instrument_id, definition)
        if initial_margin and definition.is_derivative:
            self.terms = msgspec.structs.replace(self.terms, margin_e9=int(initial_margin * SHARE_SCALE))
        self._per_lot = (per_lot * MONEY_SCALE).as_integer_ratio()
        self.set_fees(definition.maker_fee, definition.taker_fee)

    def set_fees(self, maker: Decimal, taker: Decimal) -> None:
        """Other shares of notional from now on."""
        self._maker = maker.as_integer_ratio()
        self._taker = taker.as_integer_ratio()

    def fee_e8(self, notional_e8: int, is_maker: bool, lots: int = 0) -> int:
        """Fee of a fill, rounded up as a cost; a rebate is negative and rounded towards less of it. lots: for the commission of each."""
        num, den = self._maker if is_maker else self._taker
        per_lot, of = self._per_lot
        return -(-abs(notional_e8) * num // den) - (-abs(lots) * per_lot // of)

    def base_fee_e8(self, lots: int, is_maker: bool) -> int:
        """The same share of bought coins, 1e-8 of the base, rounded up; 0 where it would be a rebate."""
        num, den = self._maker if is_maker else self._taker
        return max(0, -(-lots * self.terms.lot_e8 * num // den))

    def value_e8(self, price_ticks: int, lots: int) -> int:
        """Notional; the sign follows lots."""
        return price_ticks * lots * self.terms.unit_e8


def cash_e8(amount: Decimal) -> int:
    """Quote currency -> e8, rounded down."""
    return int(amount * 100_000_000)


def apply_fill(position: VenuePosition, rates: Rates, side: int, price_ticks: int, lots: int) -> int:
    """Change the position by one fill; returns what it adds to cash before fees (realised P&L, on spot the notional).

    A reduction takes its share of the cost, rounded towards 0; the last lot takes what is left, so that over any sequence
    of fills cash == start - signed notional + cost of what is open, exactly (spot: without the cost).
    """
    is_derivative = rates.terms.is_derivative
    change_e8 = 0 if is_derivative else -rates.value_e8(price_ticks, side * lots)
    closing = min(lots, max(0, -side * position.lots))
    if closing:
        sign = -side
        part_e8 = sign * (sign * position.cost_e8 * closing // abs(position.lots))
        position.lots += side * closing
        position.cost_e8 -= part_e8
        if is_derivative:
            change_e8 -= rates.value_e8(price_ticks, side * closing) + part_e8
    opening = lots - closing
    if opening:
        position.lots += side * opening
        position.cost_e8 += rates.value_e8(price_ticks, side * opening)
    return change_e8


def pay_in_base(position: VenuePosition, rates: Rates, base_fee_e8: int) -> None:
    """Take a fee out of the coins that were bought: whole lots with their share of the cost, the rest as dust."""
    held = max(0, position.lots)
    lots, position.dust_e8 = base_fee_lots(position.dust_e8, base_fee_e8, rates.terms.lot_e8, held)
    if lots:
        position.cost_e8 -= position.cost_e8 * lots // held
        position.lots -= lots


def unrealized_e8(position: VenuePosition, rates: Rates, mid2_ticks: int) -> int:
    """Open profit at a doubled mid (rounded down); 0 without a mid."""
    if mid2_ticks <= 0:
        return 0
    return (rates.value_e8(mid2_ticks, position.lots) - 2 * position.cost_e8) // 2


def worst_lots(position_lots: int, orders: Iterable[VenueOrder]) -> int:
    """The largest position, by size, that the open orders which may raise exposure could lead to."""
    buys = sells = 0
    for order in orders:
        if not order.reduce_only:
            if order.side == BUY:
                buys += order.open_lots
            else:
                sells += order.open_lots
    return max(abs(position_lots + buys), abs(position_lots - sells))


def margin_e8(lots: int, mid2_ticks: int, rates: Rates) -> int:
    """Initial margin of a position at a doubled mid, rounded up."""
    return -(-abs(rates.value_e8(mid2_ticks, lots)) * rates.terms.margin_e9 // (2 * SHARE_SCALE))
