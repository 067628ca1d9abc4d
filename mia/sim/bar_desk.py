"""One instrument's place at the venue of bars: the bar that runs, what rests there, and how much its market moved lately."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import msgspec

from mia.domain.events import BUY
from mia.ports import NEVER_NS
from mia.sim.account import Rates
from mia.sim.state import VenueOrder, VenuePosition

RECENT_BARS: Final = 20  # finished bars that volatility and usual volume are taken from


class BarPrices(msgspec.Struct, frozen=True, gc=False):
    """One bar of one instrument, in ticks and lots. open_ns: from when on its open could be traded; close_ns: its end."""

    instrument: int
    open_ns: int
    close_ns: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int


class Resting:
    """An open order and since when. is_market: it takes what the market gives from here on; sizing: (target, cap) when it was decided.

    rises: a price that rises comes to fill or trigger it, else one that falls.
    """

    __slots__ = ("is_limit", "is_market", "order", "rises", "since_ns", "sizing")

    def __init__(self, order: VenueOrder, since_ns: int) -> None:
        self.order = order
        self.since_ns = since_ns
        self.is_market = order.order_type == "market"
        self.is_limit = order.order_type == "limit"
        self.rises = (order.side == BUY) == (order.order_type == "stop")
        self.sizing: tuple[int, int] | None = None


class BarDesk:
    """One instrument. mark_ticks: the last close; used_lots: of the bar's volume, ours; is_open: the bar's open has been traded."""

    __slots__ = ("_recent", "bar", "is_open", "is_running", "mark_ticks", "next_charge_ns", "orders", "position", "rates", "used_lots")

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self.position = VenuePosition()
        self.orders: dict[str, Resting] = {}
        self.bar: BarPrices | None = None
        self.is_running = False
        self.is_open = False
        self.mark_ticks = 0
        self.used_lots = 0
        self.next_charge_ns = NEVER_NS
        self._recent: deque[tuple[int, int, int]] = deque(maxlen=RECENT_BARS)  # close of the bar before, close, volume

    def begin(self, bar: BarPrices) -> None:
        """A bar begins."""
        self.bar, self.is_running, self.is_open, self.used_lots = bar, True, False, 0

    def end(self) -> None:
        """The bar is over: its close is the mark of what is decided next."""
        bar = self.bar
        if self.is_running and bar is not None:
            self._recent.append((self.mark_ticks, bar.close_ticks, bar.volume_lots))
            self.mark_ticks = bar.close_ticks
        self.is_running = False

    def is_touched(self, bar: BarPrices) -> bool:
        """Could the bar do anything to what rests here? False only when no price of it fills or triggers an order."""
        low, high = bar.low_ticks, bar.high_ticks
        if not (low <= bar.open_ticks <= high and low <= bar.close_ticks <= high):
            return True
        for resting in self.orders.values():
            if resting.is_market or resting.is_limit:
                if resting.is_market or is_beyond(resting.order, high if resting.rises else low):
                    return True
            elif high >= resting.order.stop_ticks if resting.rises else low <= resting.order.stop_ticks:
                return True
        return False

    def pace(self) -> tuple[float, int]:
        """(volatility as a share of price, lots traded) of one bar, over the finished bars; (0.0, 0) while none is known.

        Volatility: root of the mean squared log return from close to close.
        """
        known = self._recent
        if not known:
            return 0.0, 0
        squares = sum(_squared_return(before, close) for before, close, _ in known)
        return math.sqrt(squares / len(known)), sum(lots for _, _, lots in known) // len(known)

    def price_at(self, at_ns: int) -> int:
        """What is known of the price at an instant of the running bar: before its open the last close, at its end its close."""
        bar = self.bar
        if bar is None or not self.is_running:
            return self.mark_ticks
        if at_ns < bar.open_ns:
            return self.mark_ticks or bar.open_ticks
        return bar.close_ticks if at_ns >= bar.close_ns else bar.open_ticks

    def line2(self, side: int, at_ns: int) -> int:
        """The doubled price on the straight line from open to close at an instant of the running bar, rounded against the side.

        That is where a random walk of these two ends is on average; a bar says no more of what lies between.
        """
        bar = self.bar
        assert bar is not None
        top = 2 * (bar.close_ticks - bar.open_ticks) * (at_ns - bar.open_ns)
        span = max(1, bar.close_ns - bar.open_ns)
        return 2 * bar.open_ticks + (-(-top // span) if side == BUY else top // span)


def _squared_return(before_ticks: int, close_ticks: int) -> float:
    r = math.log(close_ticks / before_ticks) if before_ticks > 0 and close_ticks > 0 else 0.0
    return r * r


def is_beyond(order: VenueOrder, price_ticks: int) -> bool:
    """Would a market at this price fill (limit) or trigger (stop, take) the order?

    A limit fills where the market goes through its price: whoever stood before us at that price is served first.
    """
    if order.order_type == "limit":
        return price_ticks < order.price_ticks if order.side == BUY else price_ticks > order.price_ticks
    is_from_below = (order.side == BUY) == (order.order_type == "stop")  # a buy stop, a sell take
    return price_ticks >= order.stop_ticks if is_from_below else price_ticks <= order.stop_ticks
