"""Positions, cash and round trips in exact integers: what was paid is what is booked, to the last 1e-8.

Marks are doubled mids (bid + ask, in half ticks), by instrument id, 0 where none is known; then the last fill's price
stands in. Money at a mid is rounded down once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from mia.domain.effects import RecordTrade
from mia.domain.events import CashFlow, OrderFilled
from mia.domain.sizing import Terms, base_fee_lots

Mids = Sequence[int] | Mapping[int, int]
NO_REGIME: Final = (0.0, 0.0, 0.0)
FLOWS_KEPT: Final = 256  # ids of cash flows that are known as repeated when they come again


class RoundTrip(msgspec.Struct):
    """One trade, flat to flat, while it is open. Price sums are in ticks x lots."""

    trade_id: str
    side: int
    opened_ns: int
    entry_lots: int = 0
    entry_tick_lots: int = 0
    exit_lots: int = 0
    exit_tick_lots: int = 0
    max_lots: int = 0
    realized_e8: int = 0
    fees_e8: int = 0
    fills: int = 0
    regime_probs: tuple[float, float, float] = NO_REGIME
    flows_e8: int = 0  # cash flows while it was open: above 0 was received


class Position(msgspec.Struct):
    """What we hold of one instrument. cost_e8 is the signed price x lots of the open lots, exact; 0 when flat."""

    instrument: int
    unit_e8: int
    is_derivative: bool
    lots: int = 0
    cost_e8: int = 0
    realized_e8: int = 0  # of the run of the account, before fees
    fees_e8: int = 0
    opened_ns: int = 0
    max_lots: int = 0  # largest |lots| of the open trade
    last_fill_ticks: int = 0
    stop_ticks: int = 0  # protective levels of the open lots, kept by mia.execution.protect; 0 when flat
    take_ticks: int = 0
    trade: RoundTrip | None = None
    dust_e8: int = 0  # 1e-8 of the base below one lot, left over where fees are taken in the base: below lot_e8
    flows_e8: int = 0  # funding, borrow and the like, of the run of the account

    @property
    def average_entry_ticks(self) -> float:
        """Average entry price in ticks; 0.0 when flat."""
        return self.cost_e8 / (self.lots * self.unit_e8) if self.lots else 0.0

    def notional_e8(self, mid2: int) -> int:
        """|lots| at the mid, rounded up."""
        return -(-abs(self.lots) * (mid2 or 2 * self.last_fill_ticks) * self.unit_e8 // 2)

    def unrealized_e8(self, mid2: int) -> int:
        """P&L of the open lots at the mid, before fees, rounded down."""
        return ((mid2 or 2 * self.last_fill_ticks) * self.lots * self.unit_e8 - 2 * self.cost_e8) // 2


class Portfolio(msgspec.Struct):
    """Cash and positions of one account in one currency; engine state."""

    instance: str
    currency: str
    cash_e8: int
    positions: dict[int, Position] = {}
    trade_counter: int = 0
    flows_seen: dict[str, int] = {}  # "instrument/kind/flow_id" -> amount_e8, oldest first, FLOWS_KEPT at most

    def position(self, terms: Terms) -> Position:
        """The position of an instrument, made flat on first use."""
        found = self.positions.get(terms.instrument)
        if found is None:
            found = self.positions[terms.instrument] = Position(terms.instrument, terms.unit_e8, terms.is_derivative)
        return found

    def lots(self, instrument: int) -> int:
        """Signed lots held; 0 when never traded."""
        found = self.positions.get(instrument)
        return found.lots if found is not None else 0

    def trade_id(self, instrument: int) -> str:
        """Id of the open round trip; "" when flat."""
        found = self.positions.get(instrument)
        return found.trade.trade_id if found is not None and found.trade is not None else ""

    def equity_e8(self, mids: Mids) -> int:
        """Cash plus positions at the mids: their value on spot, their P&L on derivatives; rounded down."""
        doubled = 2 * self.cash_e8
        for position in self.positions.values():
            if position.lots:
                mid2 = mids[position.instrument] or 2 * position.last_fill_ticks
                doubled += mid2 * position.lots * position.unit_e8
                if position.is_derivative:
                    doubled -= 2 * position.cost_e8
        return doubled // 2

    def unrealized_e8(self, mids: Mids) -> int:
        """P&L of all open lots at the mids, before fees."""
        total = 0
        for position in self.positions.values():
            if position.lots:
                total += position.unrealized_e8(mids[position.instrument])
        return total

    def apply_fill(
        self, terms: Terms, fill: OrderFilled, ts_ns: int, regime_probs: tuple[float, float, float] = NO_REGIME
    ) -> list[RecordTrade]:
        """Book one fill (the caller has checked that it is new); the records of trades it closed and opened, in that order.

        regime_probs: of the opening decision, kept for the trade's records. A flip closes the old round trip and opens the
        next with the rest; the fee is split by lots, the opening part takes the remainder. A fee in the base takes lots instead of cash.
        """
        if fill.base_fee_e8 > 0:
            records = self._book(terms, fill.side, fill.price_ticks, fill.qty_lots, 0, ts_ns, regime_probs)
            return records + self._pay_in_base(terms, fill.base_fee_e8, ts_ns)
        return self._book(terms, fill.side, fill.price_ticks, fill.qty_lots, fill.fee_e8, ts_ns, regime_probs)

    def adopt(self, terms: Terms, lots: int, price_ticks: int, ts_ns: int) -> list[RecordTrade]:
        """Take the venue's word on a position: the difference is booked as one fill at price_ticks without a fee."""
        change = lots - self.lots(terms.instrument)
        if change == 0:
            return []
        return self._book(terms, 1 if change > 0 else -1, price_ticks, abs(change), 0, ts_ns, NO_REGIME)

    def apply_flow(self, flow: CashFlow) -> bool:
        """Book money that moved without a fill; False when it is one that was booked before.

        It belongs to the instrument's open trade; with none open (funding that is told after the close) to the account alone.
        """
        if flow.flow_id:
            key = f"{flow.instrument}/{flow.kind}/{flow.flow_id}"
            if key in self.flows_seen:
                return False
            self.flows_seen[key] = flow.amount_e8
            while len(self.flows_seen) > FLOWS_KEPT:
                del self.flows_seen[next(iter(self.flows_seen))]
        self.cash_e8 += flow.amount_e8
        position = self.positions.get(flow.instrument)
        if position is not None:
            position.flows_e8 += flow.amount_e8
            if position.trade is not None:
                position.trade.flows_e8 += flow.amount_e8
        return True

    def _pay_in_base(self, terms: Terms, base_fee_e8: int, ts_ns: int) -> list[RecordTrade]:
        """Hand over coins: whole lots of the position, the rest out of (or into) the dust. What the lots had cost is the fee."""
        position = self.position(terms)
        lots, position.dust_e8 = base_fee_lots(position.dust_e8, base_fee_e8, terms.lot_e8, position.lots)
        trade = position.trade
        if lots <= 0 or trade is None:
            return []
        cost_e8 = position.cost_e8 * lots // position.lots
        position.lots -= lots
        position.cost_e8 -= cost_e8
        position.fees_e8 += cost_e8
        trade.fees_e8 += cost_e8
        return [self._close(position, terms, ts_ns)] if position.lots == 0 else []

    def _book(
        self, terms: Terms, side: int, price_ticks: int, qty: int, fee_e8: int, ts_ns: int, regime_probs: tuple[float, float, float]
    ) -> list[RecordTrade]:
        position = self.position(terms)
        position.last_fill_ticks = price_ticks
        records: list[RecordTrade] = []
        closing = min(qty, abs(position.lots)) if position.lots * side < 0 else 0
        opening = qty - closing
        closing_fee = fee_e8 * closing // qty
        if closing:
            self._reduce(position, side, price_ticks, closing, closing_fee)
            if position.lots == 0:
                records.append(self._close(position, terms, ts_ns))
        if opening:
            is_new = position.trade is None
            self._increase(position, side, price_ticks, opening, fee_e8 - closing_fee, ts_ns, regime_probs)
            if is_new:
                records.append(_record(position, terms, is_closed=False, ts_ns=0))
        return records

    def _increase(
        self,
        position: Position,
        side: int,
        price_ticks: int,
        lots: int,
        fee_e8: int,
        ts_ns: int,
        regime_probs: tuple[float, float, float],
    ) -> None:
        trade = position.trade
        if trade is None:
            self.trade_counter += 1
            trade = RoundTrip(f"{self.instance}-{self.trade_counter}", side, ts_ns, regime_probs=regime_probs)
            position.trade = trade
            position.opened_ns = ts_ns
            position.max_lots = 0
        value_e8 = side * price_ticks * lots * position.unit_e8
        position.lots += side * lots
        position.cost_e8 += value_e8
        position.max_lots = max(position.max_lots, abs(position.lots))
        trade.max_lots = position.max_lots
        trade.entry_lots += lots
        trade.entry_tick_lots += price_ticks * lots
        self.cash_e8 -= fee_e8 if position.is_derivative else value_e8 + fee_e8
        self._charge(position, trade, fee_e8)

    def _reduce(self, position: Position, side: int, price_ticks: int, lots: int, fee_e8: int) -> None:
        trade = position.trade
        assert trade is not None
        value_e8 = side * price_ticks * lots * position.unit_e8
        # The share of the cost is rounded toward 0 on both sides; the last lot takes what is left, so nothing is lost.
        sign = -side
        cost_e8 = sign * (sign * position.cost_e8 * lots // abs(position.lots))
        realized_e8 = -value_e8 - cost_e8
        position.lots += side * lots
        position.cost_e8 -= cost_e8
        position.realized_e8 += realized_e8
        trade.realized_e8 += realized_e8
        trade.exit_lots += lots
        trade.exit_tick_lots += price_ticks * lots
        self.cash_e8 += (realized_e8 if position.is_derivative else -value_e8) - fee_e8
        self._charge(position, trade, fee_e8)

    @staticmethod
    def _charge(position: Position, trade: RoundTrip, fee_e8: int) -> None:
        position.fees_e8 += fee_e8
        trade.fees_e8 += fee_e8
        trade.fills += 1

    @staticmethod
    def _close(position: Position, terms: Terms, ts_ns: int) -> RecordTrade:
        record = _record(position, terms, is_closed=True, ts_ns=ts_ns)
        position.trade = None
        position.opened_ns = position.max_lots = position.stop_ticks = position.take_ticks = 0
        return record


def _record(position: Position, terms: Terms, *, is_closed: bool, ts_ns: int) -> RecordTrade:
    trade = position.trade
    assert trade is not None
    return RecordTrade(
        trade_id=trade.trade_id,
        instrument=position.instrument,
        is_closed=is_closed,
        side=trade.side,
        opened_ns=trade.opened_ns,
        closed_ns=ts_ns,
        entry_price=_price(trade.entry_tick_lots, trade.entry_lots, terms),
        exit_price=_price(trade.exit_tick_lots, trade.exit_lots, terms),
        max_lots=trade.max_lots,
        profit_e8=trade.realized_e8 - trade.fees_e8 + trade.flows_e8,
        fees_e8=trade.fees_e8,
        fills=trade.fills,
        regime_probs=trade.regime_probs,
        flows_e8=trade.flows_e8,
    )


def _price(tick_lots: int, lots: int, terms: Terms) -> float:
    # One division of integers: the float nearest to the true average.
    return tick_lots * terms.tick_num / (lots * terms.tick_den) if lots else 0.0
