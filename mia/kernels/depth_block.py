"""Features of the levels behind the touch, read from the shared book when an observation needs them."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.book import Book
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, div
else:
    from mia.kernels.block import Block
    from mia.kernels.book import Book
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, div

SLOTS = (
    "depth_imb_5", "depth_imb_10", "depth_imb_20", "book_slope_bid", "book_slope_ask", "impact_bps_10k_buy",
    "impact_bps_10k_sell", "depth_near_share",
)  # fmt: skip


@cython.cclass
class DepthBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. Computed once per change of the book, at the next emit."""

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, book: Book, budget: float) -> None:
        """budget: notional whose price impact is asked for, in ticks x lots."""
        Block.__init__(self, arena, pool, base, hist)
        self.book = book
        self.budget = budget
        self.q = arena.longs(1)  # 1: the book changed since the last emit

    @cython.ccall
    def touch(self) -> cython.longlong:
        """The book changed."""
        self.q[0] = 1
        return 0

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        if self.q[0] == 0:
            return 0
        self.q[0] = 0
        k: cython.Py_ssize_t
        p = self.pool
        b: cython.Py_ssize_t = self.base
        if not self.book.is_valid() or self.book.n_bids() == 0 or self.book.n_asks() == 0:
            for k in range(8):
                self.absent[b + k] = 1
            return 0
        for k in range(8):
            self.absent[b + k] = 0
        bids: cython.double = 0.0
        asks: cython.double = 0.0
        near: cython.double = 0.0
        for k in range(20):
            bids += self.book.bid_lots_at(k)
            asks += self.book.ask_lots_at(k)
            if k == 4:
                p[b] = div(bids - asks, bids + asks)
                near = bids + asks
            elif k == 9:
                p[b + 1] = div(bids - asks, bids + asks)
        p[b + 2] = div(bids - asks, bids + asks)
        p[b + 7] = div(near, bids + asks)
        p[b + 3] = self._slope(True, 10)
        p[b + 4] = self._slope(False, 10)
        best_bid: cython.double = 1.0 * self.book.bid_ticks_at(0)
        best_ask: cython.double = 1.0 * self.book.ask_ticks_at(0)
        middle: cython.double = 0.5 * (best_bid + best_ask)
        p[b + 5] = clip(1e4 * (div(self._taken(False), middle) - 1.0), -100.0, 1000.0)
        p[b + 6] = clip(1e4 * (1.0 - div(self._taken(True), middle)), -100.0, 1000.0)
        return 0

    @cython.cfunc
    def _slope(self, is_bid: cython.bint, n: cython.Py_ssize_t) -> cython.double:
        """OLS slope of the cumulative share of lots on the distance from the best level / distance of the n-th, n levels."""
        levels: cython.Py_ssize_t = self.book.n_bids() if is_bid else self.book.n_asks()
        if levels > n:
            levels = n
        if levels < 2:
            return 0.0
        first: cython.longlong = self.book.bid_ticks_at(0) if is_bid else self.book.ask_ticks_at(0)
        x: cython.double
        y: cython.double = 0.0
        sx: cython.double = 0.0
        sy: cython.double = 0.0
        sxx: cython.double = 0.0
        sxy: cython.double = 0.0
        span: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(levels):
            if is_bid:
                x = 1.0 * (first - self.book.bid_ticks_at(k))
                y += self.book.bid_lots_at(k)
            else:
                x = 1.0 * (self.book.ask_ticks_at(k) - first)
                y += self.book.ask_lots_at(k)
            span = x
            sx += x
            sy += y
            sxx += x * x
            sxy += x * y
        return clip(div(div(levels * sxy - sx * sy, levels * sxx - sx * sx) * span, y), -100.0, 100.0)

    @cython.cfunc
    def _taken(self, is_bid: cython.bint) -> cython.double:
        """Average price in ticks of taking the budget from one side, at most 50 levels deep; what is there if it is less."""
        left: cython.double = self.budget
        lots: cython.double = 0.0
        price: cython.double
        size: cython.double
        levels: cython.Py_ssize_t = self.book.n_bids() if is_bid else self.book.n_asks()
        if levels > 50:
            levels = 50
        k: cython.Py_ssize_t
        for k in range(levels):
            price = 1.0 * (self.book.bid_ticks_at(k) if is_bid else self.book.ask_ticks_at(k))
            size = 1.0 * (self.book.bid_lots_at(k) if is_bid else self.book.ask_lots_at(k))
            if price * size >= left:
                lots += div(left, price)
                left = 0.0
                break
            lots += size
            left -= price * size
        return div(self.budget - left, lots)
