"""One instrument's place at the simulated venue, and which market events can concern our orders there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mia.domain.events import BUY
from mia.sim.account import Rates
from mia.sim.liquidity import Liquidity
from mia.sim.state import VenueOrder, VenuePosition

TRIGGERED: Final = ("stop", "take")
_LOW: Final = -1
_HIGH: Final = 1 << 62


class Desk:
    """One instrument's place at the venue: its figures, its liquidity, and the touches that would concern our orders."""

    def __init__(self, instrument_id: int, rates: Rates, liquidity: Liquidity) -> None:
        self.instrument = instrument_id
        self.rates = rates
        self.liquidity = liquidity
        self.orders: list[VenueOrder] = []  # open, in time priority
        self.has_limits = False
        self.ask_low = self.bid_low = _LOW  # an ask at or below, a bid at or below: look closer
        self.ask_high = self.bid_high = _HIGH  # at or above

    @property
    def position(self) -> VenuePosition:
        """What we hold."""
        return self.liquidity.state.position

    def refresh(self, orders: Iterable[VenueOrder]) -> None:
        """Recompute what follows from the open orders."""
        self.orders = [o for o in orders if o.instrument == self.instrument]
        self.has_limits = False
        self.ask_low = self.bid_low = _LOW
        self.ask_high = self.bid_high = _HIGH
        for order in self.orders:
            if order.order_type == "limit":
                self.has_limits = True
                if order.side == BUY:
                    self.ask_low = max(self.ask_low, order.price_ticks)
                else:
                    self.bid_high = min(self.bid_high, order.price_ticks)
            elif (order.order_type == "stop") == (order.side == BUY):  # buy stop or sell take: triggered from below
                if order.side == BUY:
                    self.ask_high = min(self.ask_high, order.stop_ticks)
                else:
                    self.bid_high = min(self.bid_high, order.stop_ticks)
            elif order.side == BUY:
                self.ask_low = max(self.ask_low, order.stop_ticks)
            else:
                self.bid_low = max(self.bid_low, order.stop_ticks)

    def concerned_by_touch(self, bid: int, ask: int) -> bool:
        """This touch may fill or trigger one of our orders."""
        return (0 < ask <= self.ask_low) or ask >= self.ask_high or bid >= self.bid_high or (0 < bid <= self.bid_low)

    def concerned_by_trade(self, price: int) -> bool:
        """A trade at this price may fill or trigger one of our orders."""
        return price <= self.ask_low or price <= self.bid_low or price >= self.ask_high or price >= self.bid_high

    def reducible(self, side: int) -> int:
        """Lots that an order of this side may fill without raising or flipping the position."""
        return max(0, -side * self.position.lots)


def is_triggered(order: VenueOrder, bid: int, ask: int) -> bool:
    """A stop triggers when its own side's cost side moves through stop_ticks, a take when the price comes its way."""
    if order.side == BUY:
        return ask >= order.stop_ticks if order.order_type == "stop" else 0 < ask <= order.stop_ticks
    return 0 < bid <= order.stop_ticks if order.order_type == "stop" else bid >= order.stop_ticks
