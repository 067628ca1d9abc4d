"""Exact money of one instrument: position in lots, cash in e8, every fill at the touch with the taker fee."""

from __future__ import annotations

from mia.domain.instruments import Instrument

_FEE_SCALE = 10_000_000


class Ledger:
    """Integers only, so that rewards are exact differences of equity."""

    def __init__(self, instrument: Instrument) -> None:
        self._unit = instrument.unit_e8
        self._fee = int(instrument.taker_fee * _FEE_SCALE)
        self.reset()

    def reset(self) -> None:
        """Flat, no cash."""
        self.position_lots = 0
        self.cash_e8 = 0
        self.fees_e8 = 0
        self.traded_e8 = 0
        self.entry_e8 = 0  # what the open position cost, signed as the position; fees apart
        self.start_e8 = 0  # cash before the open round trip
        self.closed = 0  # round trips, flat to flat; a flip closes one
        self.profit_e8 = 0  # of the last one closed, net of fees

    def fill(self, qty_lots: int, price_ticks: int) -> None:
        """Take qty_lots (signed) at price_ticks; the fee is rounded up against us."""
        if qty_lots == 0:
            return
        notional = qty_lots * price_ticks * self._unit
        fee = -(-abs(notional) * self._fee // _FEE_SCALE)
        self.cash_e8 -= notional + fee
        self.fees_e8 += fee
        self.traded_e8 += abs(notional)
        old, new = self.position_lots, self.position_lots + qty_lots
        if old == 0:
            self.start_e8 = self.cash_e8 + notional + fee
        elif old * new <= 0:  # the fee is split by lots, as the portfolio does it
            end_e8 = self.cash_e8 + new * price_ticks * self._unit + fee - fee * abs(old) // abs(qty_lots)
            self.profit_e8 = end_e8 - self.start_e8
            self.start_e8 = end_e8
            self.closed += 1
        if old == 0 or old * new < 0:
            self.entry_e8 = new * price_ticks * self._unit
        elif abs(new) > abs(old):
            self.entry_e8 += notional
        else:
            sign = 1 if old > 0 else -1  # rounded away from 0, as the portfolio leaves it
            self.entry_e8 = sign * -(-sign * self.entry_e8 * abs(new) // abs(old))
        self.position_lots = new

    def equity_x2_e8(self, bid_ticks: int, ask_ticks: int) -> int:
        """Twice the equity at mid: an integer, where the mid may be half a tick."""
        return 2 * self.cash_e8 + self.position_lots * (bid_ticks + ask_ticks) * self._unit

    @property
    def entry_ticks(self) -> float:
        """Average entry price; 0 when flat."""
        return self.entry_e8 / (self.position_lots * self._unit) if self.position_lots else 0.0
