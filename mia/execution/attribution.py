"""Where the money went: gross -> fees -> spread -> slippage -> impact -> funding -> borrow, commission, roll -> net, in exact integers.

Fed with the same fills and cash flows as the portfolio, and with the mids of the moments behind each fill. Beside the hot path: the journal's
projection and a backtest call it, the engine does not.

Every part is defined per fill (side s, q lots, unit u, price P; D the mid when it was decided, A the mid when it filled, T the touch that it met):
  slippage  s q u (A - D)      the mid moved between decision and fill (below 0: in our favour)
  spread    s q u (T - A)      half the spread, paid by a taker; a maker's fill is its own touch, so it earns here what it is better than the mid
  impact    s q u (P - T)      beyond the touch: depth that was walked, and the market impact that a cost model adds
  fees      what the venue took for the fill, in cash or in coins at the fill's price
  gross     the profit had every fill happened at its D: what the signal earned before any cost
so that P = D + slippage + spread + impact per lot. Perold (1988), "The implementation shortfall: paper versus reality", with the spread set apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from mia.domain.events import CashFlow, OrderFilled
from mia.domain.sizing import Terms, base_fee_lots

_KINDS: Final[Mapping[str, str]] = {
    "funding": "funding_e8",
    "borrow": "borrow_e8",
    "commission": "commission_e8",
    "roll": "roll_e8",
    "liquidation_fee": "liquidation_e8",
}


class Moments(msgspec.Struct, frozen=True, gc=False):
    """The prices behind one fill; 0 where one is not known (see `costs_of`)."""

    decision_mid2: int = 0  # doubled mid when the order was decided
    arrival_mid2: int = 0  # doubled mid when it filled
    touch_ticks: int = 0  # best price of the other side then


class FillCosts(msgspec.Struct, frozen=True, gc=False):
    """What one fill cost against the mid of its decision, e8; above 0 is a cost. They sum to (price - decision mid) + fees, exactly."""

    fees_e8: int
    spread_e8: int
    slippage_e8: int
    impact_e8: int

    @property
    def total_e8(self) -> int:
        """All four."""
        return self.fees_e8 + self.spread_e8 + self.slippage_e8 + self.impact_e8

    def split(self, part: int, whole: int) -> tuple[FillCosts, FillCosts]:
        """(the share of `part` of `whole` lots, the rest), as a flip's fee is split."""
        first = FillCosts(
            self.fees_e8 * part // whole,
            self.spread_e8 * part // whole,
            self.slippage_e8 * part // whole,
            self.impact_e8 * part // whole,
        )
        rest = FillCosts(
            self.fees_e8 - first.fees_e8,
            self.spread_e8 - first.spread_e8,
            self.slippage_e8 - first.slippage_e8,
            self.impact_e8 - first.impact_e8,
        )
        return first, rest


class Parts(msgspec.Struct):
    """Gross profit and what was taken from it, e8; a cost is above 0, so net = gross - all others."""

    gross_e8: int = 0
    fees_e8: int = 0
    spread_e8: int = 0
    slippage_e8: int = 0
    impact_e8: int = 0
    funding_e8: int = 0
    borrow_e8: int = 0
    commission_e8: int = 0
    roll_e8: int = 0
    liquidation_e8: int = 0
    other_e8: int = 0  # flows of a kind that only the venue has a word for

    @property
    def net_e8(self) -> int:
        """What is left: the change of equity."""
        return 2 * self.gross_e8 - sum(msgspec.structs.astuple(self))  # ints

    def _charge(self, costs: FillCosts) -> None:
        self.fees_e8 += costs.fees_e8
        self.spread_e8 += costs.spread_e8
        self.slippage_e8 += costs.slippage_e8
        self.impact_e8 += costs.impact_e8

    def _flow(self, flow: CashFlow) -> None:
        name = _KINDS.get(flow.kind, "other_e8")
        setattr(self, name, getattr(self, name) - flow.amount_e8)


class ClosedTrip(msgspec.Struct, frozen=True):
    """One round trip, flat to flat; its parts' net is the profit_e8 of the closing RecordTrade."""

    instrument: int
    parts: Parts


class _Book(msgspec.Struct):
    terms: Terms
    lots: int = 0
    dust_e8: int = 0
    last_fill_ticks: int = 0
    trip: Parts = msgspec.field(default_factory=Parts)


def costs_of(fill: OrderFilled, terms: Terms, moments: Moments) -> FillCosts:
    """The costs of one fill, exact to the last 1e-8 in their sum; a half 1e-8 goes from slippage to spread.

    Unknown moments hide a cost, they never invent one: without a decision mid the arrival's stands in, without an arrival mid the decision's,
    without either the touch, and without a touch (or for a maker) the fill's own price. fees_e8 is the fill's word, whatever it was paid in.
    """
    touch = fill.price_ticks if fill.is_maker or moments.touch_ticks <= 0 else moments.touch_ticks
    arrival2 = moments.arrival_mid2 or moments.decision_mid2 or 2 * touch
    decision2 = moments.decision_mid2 or arrival2
    value = fill.side * fill.qty_lots * terms.unit_e8
    slippage_e8 = value * (arrival2 - decision2) // 2
    return FillCosts(
        fees_e8=fill.fee_e8,
        spread_e8=value * (2 * touch - decision2) // 2 - slippage_e8,
        slippage_e8=slippage_e8,
        impact_e8=value * (fill.price_ticks - touch),
    )


class Attribution:
    """Adds up one account. The caller passes each fill and each flow once, as it does to the portfolio."""

    def __init__(self, terms: Sequence[Terms]) -> None:
        """terms: of every instrument that may fill."""
        self._books: Final = {t.instrument: _Book(t) for t in terms}
        self._total: Final = Parts()
        self._closed: list[ClosedTrip] = []

    def fill(self, fill: OrderFilled, moments: Moments) -> FillCosts:
        """Take one fill; its costs. A round trip that it closed is in `take_closed`.

        A fee in the base is charged as if its whole lots had been sold at the fill's price to pay it; what is left of a broken lot is dust,
        which no equity counts.
        """
        book = self._books[fill.instrument]
        terms, side, qty, price = book.terms, fill.side, fill.qty_lots, fill.price_ticks
        book.last_fill_ticks = price
        held, dust_e8 = max(0, book.lots + side * qty), book.dust_e8
        fee_lots = 0
        if fill.base_fee_e8 > 0:
            fee_lots, dust_e8 = base_fee_lots(book.dust_e8, fill.base_fee_e8, terms.lot_e8, held)
            fill = msgspec.structs.replace(fill, fee_e8=fee_lots * price * terms.unit_e8)
        costs = costs_of(fill, terms, moments)
        closing = min(qty, abs(book.lots)) if book.lots * side < 0 else 0
        ending, opening = costs.split(closing, qty)
        if closing:
            self._book(book, side * closing, price, ending)
        if qty > closing:
            self._book(book, side * (qty - closing), price, opening)
        if fill.base_fee_e8 > 0:
            book.dust_e8 = dust_e8
            self._book(book, -fee_lots, price, FillCosts(0, 0, 0, 0))
        return costs

    def flow(self, flow: CashFlow) -> None:
        """Take one cash flow; it belongs to the open round trip of its instrument, else to the account alone."""
        self._total._flow(flow)
        book = self._books.get(flow.instrument)
        if book is not None and book.lots:
            book.trip._flow(flow)

    def take_closed(self) -> list[ClosedTrip]:
        """Round trips closed since the last call, in order: one for each closing RecordTrade."""
        closed, self._closed = self._closed, []
        return closed

    def parts(self, mids: Sequence[int] | Mapping[int, int]) -> Parts:
        """Everything so far with what is open at the doubled mids; its net_e8 is equity less the equity at the start, exactly."""
        doubled = 2 * self._total.gross_e8
        for book in self._books.values():
            if book.lots:
                doubled += (mids[book.terms.instrument] or 2 * book.last_fill_ticks) * book.lots * book.terms.unit_e8
        return msgspec.structs.replace(self._total, gross_e8=doubled // 2)

    def _book(self, book: _Book, lots: int, price_ticks: int, costs: FillCosts) -> None:
        """Signed lots at a price: what they would have cost at the decision's mid is gross, the rest are its costs."""
        if not lots:
            return
        paid_e8 = lots * price_ticks * book.terms.unit_e8 - (costs.total_e8 - costs.fees_e8)
        book.lots += lots
        for parts in (self._total, book.trip):
            parts.gross_e8 -= paid_e8
            parts._charge(costs)
        if book.lots == 0:
            self._closed.append(ClosedTrip(book.terms.instrument, book.trip))
            book.trip = Parts()
