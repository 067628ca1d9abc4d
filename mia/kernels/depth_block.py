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
    "impact_bps_10k_sell", "depth_near_share", "impact_bps_10k", "depth_imb_50", "depth_imb_near", "book_price_gap_10",
    "book_gap_skew", "wall_share_bid", "wall_share_ask", "wall_dist_bid", "wall_dist_ask",
)  # fmt: skip


@cython.cclass
class DepthBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. Computed once per change of the book, at the next emit.

    x: the best 50 levels as last read: 0.. bid prices, 50.. bid lots, 100.. ask prices, 150.. ask lots.
    y: what _read found, bids in 0 .. 9, asks in 10 .. 19: lots of the best 0: 5, 1: 10, 2: 20, 3: 50 levels, 4: lots / distance
    from the mid of 20, 5: lots x distance of 10, 6: distance of the 10th level from the best, 7: share and 8: place of the largest
    of 20. q: 0 whether the book changed since the last emit.
    """

    book: Book
    budget: cython.double
    x: cython.double[::1]
    y: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, book: Book, budget: float) -> None:
        """budget: notional whose price impact is asked for, in ticks x lots."""
        Block.__init__(self, arena, pool, base, hist)
        self.book = book
        self.budget = budget
        self.x = arena.doubles(200)
        self.y = arena.doubles(20)
        self.q = arena.longs(1)

    @cython.cfunc
    def book_changed(self, t_ns: cython.longlong) -> cython.longlong:
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
        y = self.y
        b: cython.Py_ssize_t = self.base
        bids: cython.Py_ssize_t = self.book.n_bids()
        asks: cython.Py_ssize_t = self.book.n_asks()
        if not self.book.is_valid() or bids == 0 or asks == 0:
            for k in range(17):
                self.absent[b + k] = 1
            return 0
        for k in range(17):
            self.absent[b + k] = 0
        if bids > 50:
            bids = 50
        if asks > 50:
            asks = 50
        for k in range(bids):
            self.x[k] = 1.0 * self.book.bid_ticks_at(k)
            self.x[50 + k] = 1.0 * self.book.bid_lots_at(k)
        for k in range(asks):
            self.x[100 + k] = 1.0 * self.book.ask_ticks_at(k)
            self.x[150 + k] = 1.0 * self.book.ask_lots_at(k)
        middle: cython.double = 0.5 * (self.x[0] + self.x[100])
        self._read(0, 0, bids, middle)
        self._read(100, 10, asks, middle)
        p[b] = div(y[0] - y[10], y[0] + y[10])
        p[b + 1] = div(y[1] - y[11], y[1] + y[11])
        p[b + 2] = div(y[2] - y[12], y[2] + y[12])
        p[b + 3] = self._slope(0, bids)
        p[b + 4] = self._slope(100, asks)
        buy: cython.double = 1e4 * (div(self._taken(100, asks), middle) - 1.0)
        sell: cython.double = 1e4 * (1.0 - div(self._taken(0, bids), middle))
        p[b + 5] = clip(buy, -100.0, 1000.0)
        p[b + 6] = clip(sell, -100.0, 1000.0)
        p[b + 7] = div(y[0] + y[10], y[2] + y[12])
        p[b + 8] = clip(buy if buy > sell else sell, -100.0, 1000.0)
        p[b + 9] = div(y[3] - y[13], y[3] + y[13])
        p[b + 10] = div(y[4] - y[14], y[4] + y[14])
        half_span: cython.double = 0.5 * (y[6] + y[16] + self.x[100] - self.x[0])
        p[b + 11] = clip(div(div(y[15] - y[5], y[1] + y[11]), half_span), -1.0, 1.0)
        p[b + 12] = div(y[16] - y[6], y[16] + y[6])
        p[b + 13] = y[7]
        p[b + 14] = y[17]
        p[b + 15] = y[8]
        p[b + 16] = y[18]
        return 0

    @cython.cfunc
    def _read(self, at: cython.Py_ssize_t, to: cython.Py_ssize_t, levels: cython.Py_ssize_t, middle: cython.double) -> cython.longlong:
        """Sum up the side that begins at x[at] into y[to .. to + 9]. A distance below 0 (crossed) stays one; half a tick weighs most."""
        x = self.x
        y = self.y
        sign: cython.double = 1.0 if at == 100 else -1.0
        lots: cython.double = 0.0
        near: cython.double = 0.0
        moment: cython.double = 0.0
        largest: cython.double = 0.0
        place: cython.double = 0.0
        size: cython.double
        distance: cython.double
        k: cython.Py_ssize_t
        for k in range(4):
            y[to + k] = 0.0
        for k in range(levels if levels < 20 else 20):
            size = x[at + 50 + k]
            distance = sign * (x[at + k] - middle)
            lots += size
            near += size / (distance if distance > 0.5 else 0.5)
            if size > largest:
                largest = size
                place = sign * (x[at + k] - x[at])
            if k < 10:
                moment += size * distance
                y[to + 6] = sign * (x[at + k] - x[at])
                y[to + 1] = lots
                if k < 5:
                    y[to] = lots
        y[to + 2] = lots
        y[to + 4] = near
        y[to + 5] = moment
        y[to + 7] = div(largest, lots)
        y[to + 8] = div(place, sign * (x[at + (levels if levels < 20 else 20) - 1] - x[at]))
        for k in range(20, levels):
            lots += x[at + 50 + k]
        y[to + 3] = lots
        return 0

    @cython.cfunc
    def _slope(self, at: cython.Py_ssize_t, levels: cython.Py_ssize_t) -> cython.double:
        """OLS slope of the cumulative share of lots on the distance from the best level / distance of the 10th, 10 levels."""
        if levels > 10:
            levels = 10
        if levels < 2:
            return 0.0
        x: cython.double
        y: cython.double = 0.0
        sx: cython.double = 0.0
        sy: cython.double = 0.0
        sxx: cython.double = 0.0
        sxy: cython.double = 0.0
        span: cython.double = 0.0
        sign: cython.double = 1.0 if at == 100 else -1.0
        k: cython.Py_ssize_t
        for k in range(levels):
            x = sign * (self.x[at + k] - self.x[at])
            y += self.x[at + 50 + k]
            span = x
            sx += x
            sy += y
            sxx += x * x
            sxy += x * y
        return clip(div(div(levels * sxy - sx * sy, levels * sxx - sx * sx) * span, y), -100.0, 100.0)

    @cython.cfunc
    def _taken(self, at: cython.Py_ssize_t, levels: cython.Py_ssize_t) -> cython.double:
        """Average price in ticks of taking the budget from one side, at most 50 levels deep; what is there if it is less."""
        left: cython.double = self.budget
        lots: cython.double = 0.0
        price: cython.double
        size: cython.double
        k: cython.Py_ssize_t
        for k in range(levels):
            price = self.x[at + k]
            size = self.x[at + 50 + k]
            if price * size >= left:
                lots += div(left, price)
                left = 0.0
                break
            lots += size
            left -= price * size
        return div(self.budget - left, lots)
