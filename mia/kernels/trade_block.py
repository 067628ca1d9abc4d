"""Trades between bars: who trades in what sizes, how bunched the trades are, and how flow of several memories leans."""

from __future__ import annotations

from array import array
from math import log as ln

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, atr_of
    from cython.cimports.mia.kernels.num import clip, decay, div, ln_ratio, ratio, root
    from cython.cimports.mia.kernels.tick_rule import tick_sign
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, atr_of
    from mia.kernels.num import clip, decay, div, ln_ratio, ratio, root
    from mia.kernels.tick_rule import tick_sign

SLOTS = (
    "large_trade_share", "large_trade_imb", "size_entropy_64", "size_asym_60s", "burstiness_100", "volume_accel_10_60",
    "flow_imb_60s", "flow_imb_300s", "buy_sell_vwap_gap_60s", "tick_rule_imb_10s",
)  # fmt: skip
_UNIT = 1 << 40  # n ln n as integers, so that what leaves the window takes exactly what it brought


@cython.final
@cython.cclass
class TradeBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    The percentile is exact over quarter-octave classes of size: a ring of the classes of the last 512 trades, a count of each
    class and a threshold class that moves with them; the entropy is that of the octaves of the last 64.

    s: 0 large lots 60 s, 1 signed large lots 60 s, 2 lots 10 s, 3 lots 60 s, 4 lots 300 s, 5 signed lots 60 s, 6 signed lots
    300 s, 7 buyers' lots, 8 trades, 9 lots x price 60 s, 10-12 sellers' likewise, 13 tick-signed lots 10 s, 14 last price,
    15 tick sign, 16 mean interval in s, 17 its variance.
    q: 0 last trade ns, 1 first trade ns, 2 trades, 3 threshold class, 4 trades of the window above it, 5 sum of n ln n,
    6 whether a trade had a known aggressor.
    """

    s: cython.double[::1]
    q: cython.longlong[::1]
    ring: cython.longlong[::1]
    classes: cython.longlong[::1]
    octaves: cython.longlong[::1]
    n_ln_n: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.s = arena.doubles(18)
        self.q = arena.longs(7)
        self.ring = arena.longs(512)
        self.classes = arena.longs(256)
        self.octaves = arena.longs(64)
        self.n_ln_n = array("q", [0, *(round(n * ln(n) * _UNIT) for n in range(1, 65))])

    @cython.cfunc
    def trade(self, t_ns: cython.longlong, price: cython.double, qty: cython.double, side: cython.longlong) -> cython.longlong:
        """Take one trade."""
        if self.q[2] == 0:
            self.q[0] = t_ns
            self.q[1] = t_ns
        else:
            self._interval((t_ns - self.q[0]) * 1e-9)
        e300: cython.double = decay(t_ns - self.q[0], 300.0)
        self.q[0] = t_ns
        e150: cython.double = e300 * e300
        e60: cython.double = e150 * e150 * e300
        e30: cython.double = e60 * e60
        e10: cython.double = e30 * e30 * e30
        self.s[15] = tick_sign(price, self.s[14], self.s[15])
        self.s[14] = price
        given: cython.double = 1.0 * side
        sign: cython.double = self.s[15] if side == 0 else given
        large: cython.double = qty if self._is_large(qty) else 0.0
        self.s[0] = self.s[0] * e60 + large
        self.s[1] = self.s[1] * e60 + sign * large
        self.s[2] = self.s[2] * e10 + qty
        self.s[3] = self.s[3] * e60 + qty
        self.s[4] = self.s[4] * e300 + qty
        self.s[5] = self.s[5] * e60 + given * qty
        self.s[6] = self.s[6] * e300 + given * qty
        k: cython.Py_ssize_t
        for k in range(7, 13):
            self.s[k] *= e60
        if side != 0:
            self.q[6] = 1
        if sign != 0.0:
            k = 7 if sign > 0.0 else 10
            self.s[k] += qty
            self.s[k + 1] += 1.0
            self.s[k + 2] += qty * price
        self.s[13] = self.s[13] * e10 + self.s[15] * qty
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _interval(self, x: cython.double) -> cython.longlong:
        """Mean and variance of the time between trades: of all while fewer than 100, then with weight 1/100 of the newest."""
        weight: cython.double = 1.0 / self.q[2] if self.q[2] < 100 else 0.01
        d: cython.double = x - self.s[16]
        self.s[16] += weight * d
        self.s[17] = (1.0 - weight) * (self.s[17] + weight * d * d)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _is_large(self, qty: cython.double) -> cython.bint:
        """Is a trade above the 95th percentile of the 512 before it (100 at least)? It then enters their window."""
        k: cython.longlong = self._class_of(qty)
        count: cython.longlong = self.q[2]
        large: cython.bint = count >= 100 and k > self.q[3]
        j: cython.Py_ssize_t = count & 511
        gone: cython.longlong
        if count >= 512:
            gone = self.ring[j]
            self.classes[gone] -= 1
            if gone > self.q[3]:
                self.q[4] -= 1
        if count >= 64:
            gone = self.ring[(count - 64) & 511] >> 2
            self._count_octave(gone, -1)
        self.ring[j] = k
        self.classes[k] += 1
        if k > self.q[3]:
            self.q[4] += 1
        self._count_octave(k >> 2, 1)
        self.q[2] = count + 1
        # The threshold is the lowest class with at most 5 % of the window above it.
        held: cython.longlong = count + 1 if count < 511 else 512
        while 20 * self.q[4] > held:
            self.q[3] += 1
            self.q[4] -= self.classes[self.q[3]]
        while self.q[3] > 0 and 20 * (self.q[4] + self.classes[self.q[3]]) <= held:
            self.q[4] += self.classes[self.q[3]]
            self.q[3] -= 1
        return large

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _count_octave(self, k: cython.longlong, change: cython.longlong) -> cython.longlong:
        n: cython.longlong = self.octaves[k]
        self.octaves[k] = n + change
        self.q[5] += self.n_ln_n[n + change] - self.n_ln_n[n]
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _class_of(self, qty: cython.double) -> cython.longlong:
        """4 x octave + quarter of a size of 1 .. 2^63 lots: classes begin at 1, 1.25, 1.5 and 1.75 times a power of 2."""
        x: cython.double = qty
        k: cython.longlong = 0
        if x >= 4294967296.0:
            x *= 2.3283064365386963e-10  # 2^-32: scaling by powers of 2 is exact
            k += 128
        if x >= 65536.0:
            x *= 1.52587890625e-05
            k += 64
        if x >= 256.0:
            x *= 0.00390625
            k += 32
        if x >= 16.0:
            x *= 0.0625
            k += 16
        if x >= 4.0:
            x *= 0.25
            k += 8
        if x >= 2.0:
            x *= 0.5
            k += 4
        if x >= 1.75:
            return k + 3
        if x >= 1.5:
            return k + 2
        if x >= 1.25:
            return k + 1
        return k

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        if self.q[2] == 0:
            return 0
        b: cython.Py_ssize_t = self.base
        self.pool[b] = clip(div(self.s[0], self.s[3]), 0.0, 1.0)
        self.pool[b + 1] = clip(div(self.s[1], self.s[3]), -1.0, 1.0)
        self.pool[b + 2] = clip(1.0 - (1.0 * self.q[5]) / (1.0 * self.n_ln_n[64]), 0.0, 1.0)
        size: cython.double = div(self.s[7] + self.s[10], self.s[8] + self.s[11])
        self.pool[b + 3] = clip(ln_ratio((self.s[7] + size) * (self.s[11] + 1.0), (self.s[10] + size) * (self.s[8] + 1.0)), -10.0, 10.0)
        spread: cython.double = root(self.s[17])
        self.pool[b + 4] = clip(div(spread - self.s[16], spread + self.s[16]), -1.0, 1.0)
        self.pool[b + 5] = self._acceleration(t_ns)
        self.pool[b + 6] = clip(div(self.s[5], self.s[3]), -1.0, 1.0)
        self.pool[b + 7] = clip(div(self.s[6], self.s[4]), -1.0, 1.0)
        self.absent[b + 6] = 1 - self.q[6]
        self.absent[b + 7] = 1 - self.q[6]
        vwap: cython.double = div(self.s[9] + self.s[12], self.s[7] + self.s[10])
        gap: cython.double = div(self.s[9] + size * vwap, self.s[7] + size) - div(self.s[12] + size * vwap, self.s[10] + size)
        self.pool[b + 8] = ratio(gap, atr_of(self.hist), 20.0)
        self.pool[b + 9] = clip(div(self.s[13], self.s[2]), -1.0, 1.0)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _acceleration(self, t_ns: cython.longlong) -> cython.double:
        """Log of the volume rate of 10 s over that of 60 s; the silence since the last trade enters the log as it is."""
        e60: cython.double = decay(t_ns - self.q[1], 60.0)
        e30: cython.double = e60 * e60
        fast: cython.double = self.s[2] * 6.0 * (1.0 - e60)
        slow: cython.double = self.s[3] * (1.0 - e30 * e30 * e30)
        if fast <= 0.0 or slow <= 0.0:
            return 0.0
        return clip(ln_ratio(fast, slow) - (t_ns - self.q[0]) * 1e-9 / 12.0, -10.0, 10.0)
