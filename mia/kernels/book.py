"""Price levels of one instrument: sorted int64 arrays whose best level lies at the end, so changes near the touch are cheap.

Owns levels and their order. Which update may be applied when (sequence numbers, gaps) is the codec's business.
Whatever it is fed it stays sorted and inside its arrays: levels with a price <= 0 or a size < 0 are ignored and counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cython

if TYPE_CHECKING:
    from mia.kernels.arena import Arena

LEVELS_MAX: Final = 16_384

# Indices for Book.count().
FAR_LEVELS_DROPPED: Final = 3  # beyond levels_max, farthest from the touch
BAD_LEVELS_IGNORED: Final = 4  # price <= 0, size < 0, or bytes that are no whole pair
UNKNOWN_REMOVALS: Final = 5  # normal: the venue removes levels that lie outside of its snapshot
IGNORED_WHILE_INVALID: Final = 6  # deltas that came without a snapshot
LOADS: Final = 7
_WALK_COST: Final = 8
_STATE: Final = 9  # 0: bids, 1: asks, 2: is_valid, then the counters above

_INT64_MAX = cython.declare(cython.longlong, 9223372036854775807)
_PROBE = cython.declare(cython.Py_ssize_t, 12)  # levels tried one by one from the touch before halving


@cython.cclass
class Book:
    """The book of one instrument, prices in ticks and sizes in lots.

    Inside, a side is a run of keys (price for bids, -price for asks, ascending) and a run of lots beside it.
    """

    def __init__(self, arena: Arena, levels_max: int = LEVELS_MAX) -> None:
        """levels_max: levels kept on each side (at least 1); 32 bytes of arena each."""
        if not levels_max >= 1:
            raise ValueError(f"levels_max must be at least 1, got {levels_max}")
        self.cap = levels_max
        self.levels = arena.longs(4 * levels_max)  # bid keys | bid lots | ask keys | ask lots
        self.state = arena.longs(_STATE)

    @cython.ccall
    def load(self, bids: bytes, asks: bytes):  # type: ignore[no-untyped-def]
        """Replace everything by packed little-endian int64 pairs (ticks, lots), best first; the book becomes valid."""
        self.state[0] = 0
        self.state[1] = 0
        self.state[2] = 1
        self.state[7] += 1
        self._merge(True, bids, True)
        self._merge(False, asks, True)

    @cython.ccall
    def apply(self, bids: bytes, asks: bytes):  # type: ignore[no-untyped-def]
        """Set the levels of packed pairs; lots 0 removes. Ignored and counted while the book is invalid."""
        if self.state[2] == 0:
            self.state[6] += 1
            return
        self._merge(True, bids, False)
        self._merge(False, asks, False)

    @cython.ccall
    def invalidate(self):  # type: ignore[no-untyped-def]
        """Forget all levels, so that nobody can read a wrong one; the next load makes the book valid again."""
        self.state[0] = 0
        self.state[1] = 0
        self.state[2] = 0

    @cython.ccall
    def is_valid(self) -> cython.bint:
        """A snapshot was loaded and nothing broke since."""
        return self.state[2] != 0

    @cython.ccall
    def is_crossed(self) -> cython.bint:
        """Both sides exist and the best bid is not below the best ask."""
        if self.state[0] == 0 or self.state[1] == 0:
            return False
        return self.bid_ticks_at(0) >= self.ask_ticks_at(0)

    @cython.ccall
    def best_bid_ticks(self) -> cython.longlong:
        """Highest bid, 0 when there is none."""
        return self.bid_ticks_at(0)

    @cython.ccall
    def best_bid_lots(self) -> cython.longlong:
        """Size at the highest bid, 0 when there is none."""
        return self.bid_lots_at(0)

    @cython.ccall
    def best_ask_ticks(self) -> cython.longlong:
        """Lowest ask, 0 when there is none."""
        return self.ask_ticks_at(0)

    @cython.ccall
    def best_ask_lots(self) -> cython.longlong:
        """Size at the lowest ask, 0 when there is none."""
        return self.ask_lots_at(0)

    @cython.ccall
    def n_bids(self) -> cython.Py_ssize_t:
        """Bid levels known."""
        return self.state[0]

    @cython.ccall
    def n_asks(self) -> cython.Py_ssize_t:
        """Ask levels known."""
        return self.state[1]

    @cython.ccall
    def bid_ticks_at(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Price of the i-th best bid (0 = best); 0 outside."""
        n: cython.Py_ssize_t = self.state[0]
        if i < 0 or i >= n:
            return 0
        return self.levels[n - 1 - i]

    @cython.ccall
    def bid_lots_at(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Size of the i-th best bid; 0 outside."""
        n: cython.Py_ssize_t = self.state[0]
        if i < 0 or i >= n:
            return 0
        return self.levels[self.cap + n - 1 - i]

    @cython.ccall
    def ask_ticks_at(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Price of the i-th best ask; 0 outside."""
        n: cython.Py_ssize_t = self.state[1]
        if i < 0 or i >= n:
            return 0
        return -self.levels[2 * self.cap + n - 1 - i]

    @cython.ccall
    def ask_lots_at(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Size of the i-th best ask; 0 outside."""
        n: cython.Py_ssize_t = self.state[1]
        if i < 0 or i >= n:
            return 0
        return self.levels[3 * self.cap + n - 1 - i]

    @cython.ccall
    def lots_at(self, is_bid: cython.bint, price_ticks: cython.longlong) -> cython.longlong:
        """Size resting at one price; 0 when the level is unknown."""
        base: cython.Py_ssize_t = 0 if is_bid else 2 * self.cap
        n: cython.Py_ssize_t = self.state[0] if is_bid else self.state[1]
        if price_ticks <= 0:
            return 0
        key: cython.longlong = price_ticks if is_bid else -price_ticks
        at: cython.Py_ssize_t = self._find(base, n, key)
        if at < n and self.levels[base + at] == key:
            return self.levels[base + self.cap + at]
        return 0

    @cython.cfunc
    def copy_best(
        self, is_bid: cython.bint, k: cython.Py_ssize_t, out: cython.double[::1], at: cython.Py_ssize_t, beside: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Write the best k levels of a side, best first: keys to out[at ..], lots to out[beside ..]; returns how many there are."""
        base: cython.Py_ssize_t = 0 if is_bid else 2 * self.cap
        n: cython.Py_ssize_t = self.state[0] if is_bid else self.state[1]
        i: cython.Py_ssize_t
        if k > n:
            k = n
        base += n - 1
        for i in range(k):
            out[at + i] = 1.0 * self.levels[base - i]
        base += self.cap
        for i in range(k):
            out[beside + i] = 1.0 * self.levels[base - i]
        return k

    @cython.ccall
    def depth_lots(self, is_bid: cython.bint, k: cython.Py_ssize_t) -> cython.longlong:
        """Sum of sizes over the best k levels of a side (saturates at 2^63 - 1)."""
        base: cython.Py_ssize_t = self.cap if is_bid else 3 * self.cap
        n: cython.Py_ssize_t = self.state[0] if is_bid else self.state[1]
        total: cython.longlong = 0
        lots: cython.longlong
        i: cython.Py_ssize_t
        if k > n:
            k = n
        for i in range(k):
            lots = self.levels[base + n - 1 - i]
            if lots > _INT64_MAX - total:
                return _INT64_MAX
            total += lots
        return total

    @cython.ccall
    def walk(self, is_bid_side: cython.bint, qty_lots: cython.longlong, limit_ticks: cython.longlong) -> cython.longlong:
        """Lots that an order of qty_lots would take from a side at once; `walk_cost()` then is the sum of ticks x lots.

        is_bid_side: True walks the bids (what a seller meets). limit_ticks: worst price accepted, 0 for none.
        The cost saturates at 2^63 - 1; nothing changes in the levels.
        """
        n: cython.Py_ssize_t = self.state[0] if is_bid_side else self.state[1]
        base: cython.Py_ssize_t = 0 if is_bid_side else 2 * self.cap
        i: cython.Py_ssize_t = n - 1
        filled: cython.longlong = 0
        cost: cython.longlong = 0
        price: cython.longlong
        take: cython.longlong
        while i >= 0 and filled < qty_lots:
            price = self.levels[base + i] if is_bid_side else -self.levels[base + i]
            if limit_ticks > 0 and (price < limit_ticks if is_bid_side else price > limit_ticks):
                break
            take = self.levels[base + self.cap + i]
            if take > qty_lots - filled:
                take = qty_lots - filled
            filled += take
            if price > 0 and take <= (_INT64_MAX - cost) // price:
                cost += price * take
            else:
                cost = _INT64_MAX
            i -= 1
        self.state[8] = cost
        return filled

    @cython.ccall
    def walk_cost(self) -> cython.longlong:
        """Sum of ticks x lots of the last walk."""
        return self.state[8]

    @cython.ccall
    def count(self, which: cython.Py_ssize_t) -> cython.longlong:
        """One counter: FAR_LEVELS_DROPPED, BAD_LEVELS_IGNORED, UNKNOWN_REMOVALS, IGNORED_WHILE_INVALID or LOADS; 0 outside."""
        if which < 3 or which > 7:
            return 0
        return self.state[which]

    @cython.cfunc
    def _find(self, base: cython.Py_ssize_t, n: cython.Py_ssize_t, key: cython.longlong) -> cython.Py_ssize_t:
        """First index in [0, n] whose key is >= key: a few steps from the touch, then halving."""
        at: cython.Py_ssize_t = n
        low: cython.Py_ssize_t = n - _PROBE
        middle: cython.Py_ssize_t
        if low < 0:
            low = 0
        while at > low:
            if self.levels[base + at - 1] < key:
                return at
            at -= 1
        low = 0
        while low < at:
            middle = (low + at) >> 1
            if self.levels[base + middle] < key:
                low = middle + 1
            else:
                at = middle
        return at

    @cython.cfunc
    def _set(self, base: cython.Py_ssize_t, n: cython.Py_ssize_t, key: cython.longlong, lots: cython.longlong) -> cython.Py_ssize_t:
        """Set, insert or remove one level; returns the new number of levels."""
        beside: cython.Py_ssize_t = base + self.cap
        at: cython.Py_ssize_t = self._find(base, n, key)
        i: cython.Py_ssize_t
        if at < n and self.levels[base + at] == key:
            if lots > 0:
                self.levels[beside + at] = lots
                return n
            for i in range(at, n - 1):
                self.levels[base + i] = self.levels[base + i + 1]
            for i in range(at, n - 1):
                self.levels[beside + i] = self.levels[beside + i + 1]
            return n - 1
        if lots == 0:
            self.state[5] += 1
            return n
        if n == self.cap:
            self.state[3] += 1
            if at == 0:  # the new level itself is the farthest
                return n
            at -= 1
            for i in range(at):
                self.levels[base + i] = self.levels[base + i + 1]
            for i in range(at):
                self.levels[beside + i] = self.levels[beside + i + 1]
        else:
            for i in range(n, at, -1):
                self.levels[base + i] = self.levels[base + i - 1]
            for i in range(n, at, -1):
                self.levels[beside + i] = self.levels[beside + i - 1]
            n += 1
        self.levels[base + at] = key
        self.levels[beside + at] = lots
        return n

    @cython.cfunc
    def _merge(self, is_bid: cython.bint, raw: bytes, is_load: cython.bint):  # type: ignore[no-untyped-def]
        """Set all pairs of one side; a snapshot goes in from its far end, so that each level is an append."""
        pairs: cython.Py_ssize_t = len(raw) // 16
        base: cython.Py_ssize_t = 0 if is_bid else 2 * self.cap
        n: cython.Py_ssize_t = self.state[0] if is_bid else self.state[1]
        i: cython.Py_ssize_t
        at: cython.Py_ssize_t
        price: cython.longlong
        lots: cython.longlong
        words: cython.p_longlong
        if cython.compiled:
            words = cython.cast(cython.p_longlong, cython.cast(cython.p_char, raw))
        else:
            words = memoryview(raw)[: 16 * pairs].cast("q")
        if len(raw) != 16 * pairs:
            self.state[4] += 1
        for i in range(pairs):
            at = 2 * (pairs - 1 - i) if is_load else 2 * i
            price = words[at]
            lots = words[at + 1]
            if price <= 0 or lots < 0:
                self.state[4] += 1
            else:
                n = self._set(base, n, price if is_bid else -price, lots)
        if is_bid:
            self.state[0] = n
        else:
            self.state[1] = n
