"""Features of what happens in the book: sizes added and taken away at the best 10 levels of each side, one change after the other.

Levels show sizes, not orders: what was added and removed at one price between two states cancels out unseen, so the rates are
estimates. A book that was invalid in between is not compared with what it was before.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.book import Book
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, decay, div, ratio
else:
    from mia.kernels.block import Block
    from mia.kernels.book import Book
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, decay, div, ratio

SLOTS = ("ofi_l5", "cancel_ratio_1m", "add_imb_10s", "cancel_imb_10s", "book_churn_10s", "depth_resiliency_1m")


@cython.final
@cython.cclass
class BookFlowBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    x: two states of the book in turn (44 numbers each): keys and lots of 11 bids, keys and lots of 11 asks, best first; the key is
    the price of a bid and minus that of an ask, and a key of -1e300 ends a side. s: sums decayed over 10 s: lots 0 added to bids,
    1 added to asks, 2 removed from bids, 3 removed from asks, 4 sold, 5 bought; over 60 s: 6 added, 7 removed, 8 traded; 9 OFI of
    5 levels 1 s; over 10 s: 10 lots of 5 levels, 11 of 10 levels, 12 weight; samples: 13 last, 14 mean, 15 deviation x change,
    16 deviation squared; 17 lots of 10 levels in the last state. q: 0 whether there is a last state, 1 its half of x, 2 last
    event ns, 3 second of the last change, 4 whether there is a last sample, 5 samples, 6 pairs of them.
    """

    book: Book
    x: cython.double[::1]
    s: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, book: Book) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.book = book
        self.x = arena.doubles(88)
        self.s = arena.doubles(18)
        self.q = arena.longs(7)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _advance(self, t_ns: cython.longlong) -> cython.longlong:
        """Let the sums decay until t_ns."""
        e60: cython.double = decay(t_ns - self.q[2], 60.0)
        e20: cython.double = e60 * e60 * e60
        e10: cython.double = e20 * e20
        e2: cython.double = e10 * e10 * e10 * e10 * e10
        self.q[2] = t_ns
        k: cython.Py_ssize_t
        for k in range(6):
            self.s[k] *= e10
        for k in range(6, 9):
            self.s[k] *= e60
        self.s[9] *= e2 * e2
        for k in range(10, 13):
            self.s[k] *= e10
        return 0

    @cython.cfunc
    def trade(self, t_ns: cython.longlong, price: cython.double, qty: cython.double, side: cython.longlong) -> cython.longlong:
        """Take one trade; one without an aggressor took half from each side. Behind the tenth level nobody sees lots removed."""
        if self.q[0] == 0:  # no book that they could be missing from
            return 0
        self._advance(t_ns)
        last: cython.Py_ssize_t = 44 * self.q[1]
        sold: cython.double = 0.0
        bought: cython.double = 0.0
        if side <= 0 and price >= self.x[last + 9]:
            sold = qty if side < 0 else 0.5 * qty
        if side >= 0 and -price >= self.x[last + 31]:
            bought = qty if side > 0 else 0.5 * qty
        self.s[4] += sold
        self.s[5] += bought
        self.s[8] += sold + bought
        return 0

    @cython.cfunc
    def book_changed(self, t_ns: cython.longlong) -> cython.longlong:
        """Compare the book with its last state."""
        if not self.book.is_valid():
            self.q[0] = 0
            self.q[4] = 0
            return 0
        self._advance(t_ns)
        if self.q[0] != 0 and t_ns // 1_000_000_000 > self.q[3]:
            self._sample(self.s[17])
        self.q[3] = t_ns // 1_000_000_000
        old: cython.Py_ssize_t = 44 * self.q[1]
        new: cython.Py_ssize_t = 44 - old
        five: cython.double = self._read(new)
        self.s[10] += five
        self.s[11] += self.s[17]
        self.s[12] += 1.0
        if self.q[0] != 0:
            self.s[9] += 0.2 * (self._ofi(old, new) - self._ofi(old + 22, new + 22))
            self._flow(old, new, 0)
            self._flow(old + 22, new + 22, 1)
        self.q[0] = 1
        self.q[1] = 1 - self.q[1]
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _read(self, to: cython.Py_ssize_t) -> cython.double:
        """Copy the best 10 levels to self.x[to ..] and their lots to s[17]; returns the mean lots of the best 5 of a side per level."""
        bids: cython.Py_ssize_t = self.book.copy_best(True, 10, self.x, to, to + 11)
        asks: cython.Py_ssize_t = self.book.copy_best(False, 10, self.x, to + 22, to + 33)
        five: cython.double = 0.0
        ten: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(bids, 11):
            self.x[to + k] = -1e300
            self.x[to + 11 + k] = 0.0
        for k in range(asks, 11):
            self.x[to + 22 + k] = -1e300
            self.x[to + 33 + k] = 0.0
        for k in range(5):
            five += self.x[to + 11 + k] + self.x[to + 33 + k]
        for k in range(5, 10):
            ten += self.x[to + 11 + k] + self.x[to + 33 + k]
        self.s[17] = five + ten
        return 0.1 * five

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _ofi(self, old: cython.Py_ssize_t, new: cython.Py_ssize_t) -> cython.double:
        """Growth of one side, summed over the best 5 levels by rank. Source: Xu, Gould, Howison (2019)."""
        total: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(5):
            if self.x[new + k] >= self.x[old + k]:
                total += self.x[new + 11 + k]
            if self.x[new + k] <= self.x[old + k]:
                total -= self.x[old + 11 + k]
        return total

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _flow(self, old: cython.Py_ssize_t, new: cython.Py_ssize_t, side: cython.Py_ssize_t) -> cython.longlong:
        """Add up what one side gained and lost at the prices that both states show: not below the worse end of a full ten."""
        floor: cython.double = self.x[old + 9] if self.x[old + 9] > self.x[new + 9] else self.x[new + 9]
        i: cython.Py_ssize_t = 0
        j: cython.Py_ssize_t = 0
        added: cython.double = 0.0
        removed: cython.double = 0.0
        change: cython.double
        if floor == -1e300:  # neither state has ten levels: all of both is known
            floor = -1e299
        while True:
            if self.x[new + j] == self.x[old + i]:
                if self.x[new + j] < floor:
                    break
                change = self.x[new + 11 + j] - self.x[old + 11 + i]
                i += 1
                j += 1
            elif self.x[new + j] > self.x[old + i]:
                if self.x[new + j] < floor:
                    break
                change = self.x[new + 11 + j]
                j += 1
            else:
                if self.x[old + i] < floor:
                    break
                change = -self.x[old + 11 + i]
                i += 1
            if change > 0.0:
                added += change
            else:
                removed -= change
        self.s[side] += added
        self.s[2 + side] += removed
        self.s[6] += added
        self.s[7] += removed
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _sample(self, lots: cython.double) -> cython.longlong:
        """Take what the best 10 levels held at the end of a second in which the book changed."""
        keep: cython.double = 59.0 / 60.0
        deviation: cython.double
        if self.q[4] != 0:
            deviation = self.s[13] - self.s[14]
            self.s[15] = self.s[15] * keep + deviation * (lots - self.s[13])
            self.s[16] = self.s[16] * keep + deviation * deviation
            self.q[6] += 1
        self.q[4] = 1
        self.q[5] += 1
        self.s[13] = lots
        self.s[14] += (lots - self.s[14]) / (self.q[5] if self.q[5] < 60 else 60)
        return 0

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        b: cython.Py_ssize_t = self.base
        k: cython.Py_ssize_t
        if self.q[0] == 0 and self.absent[b] != 0:  # no book, and the marks stand
            return 0
        if self.q[0] == 0 or self.book.n_bids() == 0 or self.book.n_asks() == 0:
            for k in range(6):
                self.absent[b + k] = 1
            return 0
        e10: cython.double = decay(t_ns - self.q[2], 10.0)
        e5: cython.double = e10 * e10
        e1: cython.double = e5 * e5 * e5 * e5 * e5
        self.pool[b] = ratio(self.s[9] * e1 * self.s[12], self.s[10], 50.0)
        self.pool[b + 1] = clip(div(self.s[7] - self.s[8], self.s[6]), 0.0, 10.0)
        self.absent[b + 1] = 1 if self.s[6] <= 0.0 else 0
        self.pool[b + 2] = clip(div(self.s[0] - self.s[1], self.s[0] + self.s[1]), -1.0, 1.0)
        # What was removed by trades alone leaves a difference that is rounding, not a cancel.
        bids: cython.double = self.s[2] - self.s[4] if self.s[2] - self.s[4] > 1e-9 * self.s[2] else 0.0
        asks: cython.double = self.s[3] - self.s[5] if self.s[3] - self.s[5] > 1e-9 * self.s[3] else 0.0
        self.pool[b + 3] = clip(div(bids - asks, bids + asks), -1.0, 1.0)
        self.pool[b + 4] = clip(div((self.s[0] + self.s[1] + self.s[2] + self.s[3]) * e10 * self.s[12], 10.0 * self.s[11]), 0.0, 50.0)
        self.pool[b + 5] = clip(-div(self.s[15], self.s[16]), -2.0, 2.0)
        self.absent[b + 5] = 1 if self.q[6] == 0 else 0
        self.absent[b] = 0
        for k in range(2, 5):
            self.absent[b + k] = 0
        return 0
