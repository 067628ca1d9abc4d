"""Features of the levels behind the touch, read from the shared book when an observation needs them."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.book import Book
    from cython.cimports.mia.kernels.history import BarHistory, last_bar
    from cython.cimports.mia.kernels.num import clip, div
    from cython.cimports.mia.kernels.roll import mean_of
else:
    from mia.kernels.block import Block
    from mia.kernels.book import Book
    from mia.kernels.history import BarHistory, last_bar
    from mia.kernels.num import clip, div
    from mia.kernels.roll import mean_of

SLOTS = (
    "depth_imb_5", "depth_imb_10", "depth_imb_20", "book_slope_bid", "book_slope_ask", "impact_bps_bar_buy",
    "impact_bps_bar_sell", "depth_near_share", "impact_bps_10k", "depth_imb_50", "depth_imb_near", "book_price_gap_10",
    "book_shape_skew_10", "wall_share_bid", "wall_share_ask", "wall_dist_bid", "wall_dist_ask",
)  # fmt: skip


@cython.final
@cython.cclass
class DepthBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. Computed once per change of the book, at the next emit.

    x: the best 50 levels as last read: 0.. bid prices, 50.. bid lots, 100.. minus ask prices, 150.. ask lots: nearer is larger.
    y: what _read found, bids in 0 .. 9, asks in 10 .. 19: lots of the best 0: 5, 1: 10, 2: 20, 3: 50 levels, 4: distance of the
    20th from the mid, 5: lots x distance of 10, 6: ticks from the best to the 10th, 7: share and 8: place of the largest of
    2 .. 20, 9: lots x ticks from the best of 10. v: mean volume of the last 20 bars. q: 0 whether the book changed or a bar closed since
    the last emit, 1 whether a bar closed since v was made.
    """

    book: Book
    budget: cython.double
    x: cython.double[::1]
    y: cython.double[::1]
    v: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, book: Book, budget: float) -> None:
        """budget: notional whose price impact is asked for, in ticks x lots."""
        Block.__init__(self, arena, pool, base, hist)
        self.book = book
        self.budget = budget
        self.x = arena.doubles(200)
        self.y = arena.doubles(20)
        self.v = arena.doubles(1)
        self.q = arena.longs(2)

    @cython.cfunc
    def book_changed(self, t_ns: cython.longlong) -> cython.longlong:
        """The book changed."""
        self.q[0] = 1
        return 0

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: what a bar trades is another size to ask the price of."""
        self.q[0] = 1
        self.q[1] = 1
        return 0

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        if self.q[0] == 0:
            return 0
        self.q[0] = 0
        k: cython.Py_ssize_t
        b: cython.Py_ssize_t = self.base
        if not self.book.is_valid() or self.book.n_bids() == 0 or self.book.n_asks() == 0:
            for k in range(17):
                self.absent[b + k] = 1
            return 0
        if self.q[1] != 0:
            self.q[1] = 0
            self.v[0] = mean_of(self.hist.v, last_bar(self.hist), 20)
        bids: cython.Py_ssize_t = self.book.copy_best(True, 50, self.x, 0, 50)
        asks: cython.Py_ssize_t = self.book.copy_best(False, 50, self.x, 100, 150)
        for k in range(17):
            self.absent[b + k] = 0
        middle: cython.double = 0.5 * (self.x[0] - self.x[100])
        self._read(0, 0, bids, middle)
        self._read(100, 10, asks, -middle)
        self.pool[b] = div(self.y[0] - self.y[10], self.y[0] + self.y[10])
        self.pool[b + 1] = div(self.y[1] - self.y[11], self.y[1] + self.y[11])
        self.pool[b + 2] = div(self.y[2] - self.y[12], self.y[2] + self.y[12])
        self.pool[b + 3] = self._slope(0, bids)
        self.pool[b + 4] = self._slope(100, asks)
        self.pool[b + 5] = clip(1e4 * (-div(self._filled(100, asks), middle) - 1.0), -100.0, 1000.0)
        self.pool[b + 6] = clip(1e4 * (1.0 - div(self._filled(0, bids), middle)), -100.0, 1000.0)
        self.pool[b + 7] = div(self.y[0] + self.y[10], self.y[2] + self.y[12])
        buy: cython.double = 1e4 * (div(self._taken(100, asks, -1.0), middle) - 1.0)
        sell: cython.double = 1e4 * (1.0 - div(self._taken(0, bids, 1.0), middle))
        self.pool[b + 8] = clip(buy if buy > sell else sell, -100.0, 1000.0)
        self.pool[b + 9] = div(self.y[3] - self.y[13], self.y[3] + self.y[13])
        reach: cython.double = self.y[4] if self.y[4] < self.y[14] else self.y[14]
        near_bids: cython.double = self._near(0, bids, middle, reach)
        near_asks: cython.double = self._near(100, asks, -middle, reach)
        self.pool[b + 10] = div(near_bids - near_asks, near_bids + near_asks)
        half_span: cython.double = 0.5 * (self.y[6] + self.y[16] - self.x[100] - self.x[0])
        self.pool[b + 11] = clip(div(div(self.y[15] - self.y[5], self.y[1] + self.y[11]), half_span), -1.0, 1.0)
        bid_shape: cython.double = div(self.y[9], self.y[1])
        ask_shape: cython.double = div(self.y[19], self.y[11])
        self.pool[b + 12] = div(ask_shape - bid_shape, ask_shape + bid_shape)
        self.pool[b + 13] = self.y[7]
        self.pool[b + 14] = self.y[17]
        self.pool[b + 15] = self.y[8]
        self.pool[b + 16] = self.y[18]
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _read(self, at: cython.Py_ssize_t, to: cython.Py_ssize_t, levels: cython.Py_ssize_t, middle: cython.double) -> cython.longlong:
        """Sum up the side that begins at self.x[at] into self.y[to .. to + 9]; a distance from the mid is below 0 where the sides cross."""
        lots: cython.double = 0.0
        moment: cython.double = 0.0
        shape: cython.double = 0.0
        largest: cython.double = 0.0
        place: cython.double = 0.0
        size: cython.double
        distance: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(4):
            self.y[to + k] = 0.0
        for k in range(levels if levels < 20 else 20):
            size = self.x[at + 50 + k]
            distance = middle - self.x[at + k]
            lots += size
            if k > 0 and size > largest:
                largest = size
                place = self.x[at] - self.x[at + k]
            if k < 10:
                moment += size * distance
                shape += size * (self.x[at] - self.x[at + k])
                self.y[to + 6] = self.x[at] - self.x[at + k]
                self.y[to + 1] = lots
                if k < 5:
                    self.y[to] = lots
        self.y[to + 2] = lots
        self.y[to + 4] = distance
        self.y[to + 5] = moment
        self.y[to + 9] = shape
        self.y[to + 7] = div(largest, lots)
        self.y[to + 8] = div(place, self.x[at] - self.x[at + (levels if levels < 20 else 20) - 1])
        for k in range(20, levels):
            lots += self.x[at + 50 + k]
        self.y[to + 3] = lots
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _near(self, at: cython.Py_ssize_t, levels: cython.Py_ssize_t, middle: cython.double, reach: cython.double) -> cython.double:
        """Lots of the best 20 levels of a side, weighted 1 at the mid and falling to 0 at the reach."""
        if reach <= 0.0:
            return 0.0
        total: cython.double = 0.0
        distance: cython.double
        scale: cython.double = div(1.0, reach)
        k: cython.Py_ssize_t
        for k in range(levels if levels < 20 else 20):
            distance = middle - self.x[at + k]
            if distance >= reach:
                break
            total += self.x[at + 50 + k] * (1.0 - distance * scale)
        return total

    @cython.cfunc
    @cython.exceptval(-1, check=True)
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
        k: cython.Py_ssize_t
        for k in range(levels):
            x = self.x[at] - self.x[at + k]
            y += self.x[at + 50 + k]
            span = x
            sx += x
            sy += y
            sxx += x * x
            sxy += x * y
        return clip(div(div(levels * sxy - sx * sy, levels * sxx - sx * sx) * span, y), -100.0, 100.0)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _taken(self, at: cython.Py_ssize_t, levels: cython.Py_ssize_t, sign: cython.double) -> cython.double:
        """Average price in ticks of taking the budget from one side, at most 50 levels deep; what is there if it is less."""
        left: cython.double = self.budget
        lots: cython.double = 0.0
        price: cython.double
        size: cython.double
        k: cython.Py_ssize_t
        for k in range(levels):
            price = sign * self.x[at + k]
            size = self.x[at + 50 + k]
            if price * size >= left:
                lots += div(left, price)
                left = 0.0
                break
            lots += size
            left -= price * size
        return div(self.budget - left, lots)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _filled(self, at: cython.Py_ssize_t, levels: cython.Py_ssize_t) -> cython.double:
        """Average key of taking v[0] lots from one side, at most 50 levels deep; what is there if it is less, the best if v[0] is 0."""
        left: cython.double = self.v[0]
        lots: cython.double = 0.0
        moment: cython.double = 0.0  # from the best key: exact for any price
        size: cython.double
        k: cython.Py_ssize_t
        for k in range(levels):
            size = self.x[at + 50 + k]
            if size > left:
                size = left
            lots += size
            left -= size
            moment += size * (self.x[at] - self.x[at + k])
            if left <= 0.0:
                break
        return self.x[at] - div(moment, lots)
