"""Order flow on the volume clock: how one-sided the last 50 buckets of volume were, and how fast they filled."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, decay, div, ln_ratio
    from cython.cimports.mia.kernels.tick_rule import tick_sign
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, decay, div, ln_ratio
    from mia.kernels.tick_rule import tick_sign

_SIZING_NS = cython.declare(cython.longlong, 60_000_000_000)  # typed: a literal above 2**31 would be a Python integer

SLOTS = ("vpin_50", "vpin_gap_10_50", "volume_clock_10_50")


@cython.final
@cython.cclass
class VpinBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. They change when a bucket is full, and are absent before 50 are.

    A bucket is 1/50 of the mean volume of 300 s, decayed over 300 s up to its opening, and at least 4 mean trades, so that a
    thin market does not fill buckets with single trades. The first 60 s of trades only set the size. A trade that overfills a
    bucket goes on in the next ones, 50 at most. A trade of unknown aggressor is signed by the tick test.

    s: 0 lots 300 s, 1 trades 300 s, 2 size of the open bucket, 3 lots in it, 4 signed lots in it, 5 last price, 6 tick sign.
    q: 0 last trade ns, 1 first trade ns, 2 buckets ever full.
    """

    s: cython.double[::1]
    q: cython.longlong[::1]
    one_sided: cython.double[::1]
    ends: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.s = arena.doubles(7)
        self.q = arena.longs(3)
        self.one_sided = arena.doubles(100)  # mirrored: abs(Vb - Vs) / size of the last 50 buckets
        self.ends = arena.longs(64)  # when the bucket of a number modulo 64 was full

    @cython.cfunc
    def trade(self, t_ns: cython.longlong, price: cython.double, qty: cython.double, side: cython.longlong) -> cython.longlong:
        """Take one trade."""
        if self.q[1] == 0:
            self.q[0] = t_ns
            self.q[1] = t_ns
        e: cython.double = decay(t_ns - self.q[0], 300.0)
        self.q[0] = t_ns
        self.s[0] = self.s[0] * e + qty
        self.s[1] = self.s[1] * e + 1.0
        self.s[6] = tick_sign(price, self.s[5], self.s[6])
        self.s[5] = price
        sign: cython.double = self.s[6] if side == 0 else 1.0 * side
        if self.s[2] <= 0.0:
            if t_ns - self.q[1] < _SIZING_NS:
                return self._mark()
            self.s[2] = self._size(t_ns)
            self.ends[63] = t_ns  # the clock of the first bucket starts here
        left: cython.double = qty
        full: cython.longlong = 0
        room: cython.double = self.s[2] - self.s[3]
        while left >= room and full < 50:
            self.s[4] += sign * room
            left -= room
            self._close(t_ns)
            if full == 0:
                self.s[2] = self._size(t_ns)  # of all that this trade opens
            full += 1
            room = self.s[2]
        if full < 50:
            self.s[3] += left
            self.s[4] += sign * left
        if full > 0:
            self._write()
        return self._mark()

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _size(self, t_ns: cython.longlong) -> cython.double:
        """Lots of a bucket that opens now; the decayed volume is corrected for a past shorter than its memory."""
        size: cython.double = div(self.s[0], 50.0 * (1.0 - decay(t_ns - self.q[1], 300.0)))
        least: cython.double = 4.0 * self.s[0] / self.s[1]
        return size if size > least else least

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _close(self, t_ns: cython.longlong) -> cython.longlong:
        """Put the open bucket, which is full, behind the others and empty it."""
        j: cython.Py_ssize_t = self.q[2] % 50
        value: cython.double = clip((-self.s[4] if self.s[4] < 0.0 else self.s[4]) / self.s[2], 0.0, 1.0)
        self.one_sided[j] = value
        self.one_sided[j + 50] = value
        self.ends[self.q[2] & 63] = t_ns
        self.q[2] += 1
        self.s[3] = 0.0
        self.s[4] = 0.0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _write(self) -> cython.longlong:
        """Recompute the slots from the last 50 buckets, oldest first."""
        count: cython.longlong = self.q[2]
        if count < 50:
            return 0
        last: cython.Py_ssize_t = (count + 49) % 50 + 50
        older: cython.double = 0.0
        newer: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(last - 49, last - 9):
            older += self.one_sided[k]
        for k in range(last - 9, last + 1):
            newer += self.one_sided[k]
        b: cython.Py_ssize_t = self.base
        vpin: cython.double = clip((older + newer) / 50.0, 0.0, 1.0)
        self.pool[b] = vpin
        self.pool[b + 1] = clip(newer / 10.0 - vpin, -1.0, 1.0)
        now: cython.longlong = self.ends[(count - 1) & 63]
        slow: cython.double = (now - self.ends[(count - 51) & 63]) * 1e-9 / 50.0 + 0.001
        fast: cython.double = (now - self.ends[(count - 11) & 63]) * 1e-9 / 10.0 + 0.001
        self.pool[b + 2] = clip(ln_ratio(slow, fast), -10.0, 10.0)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _mark(self) -> cython.longlong:
        missing: cython.longlong = 1 if self.q[2] < 50 else 0
        k: cython.Py_ssize_t
        for k in range(3):
            self.absent[self.base + k] = missing
        return 0
