"""Trend features of closed bars with a memory of their own: RSI of other lengths, money flow, adaptive and lag-free averages, bands."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena
from mia.kernels.history import CAPACITY

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import div, ratio
    from cython.cimports.mia.kernels.roll import Ema, Extreme, Wilder
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import div, ratio
    from mia.kernels.roll import Ema, Extreme, Wilder

SLOTS = (
    "rsi_7", "rsi_28", "mfi_14", "donchian_pos_55", "supertrend_dist_10_3", "trix_15", "kama_gap_10", "hull_slope_16",
    "tema_gap_20",
)  # fmt: skip


@cython.cclass
class OscillatorBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml."""

    gain7: Wilder
    loss7: Wilder
    gain28: Wilder
    loss28: Wilder
    atr10: Wilder
    highest: Extreme
    lowest: Extreme
    trix1: Ema
    trix2: Ema
    trix3: Ema
    tema1: Ema
    tema2: Ema
    tema3: Ema
    flow: cython.double[::1]
    hull: cython.double[::1]
    state: cython.double[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.gain7 = Wilder(arena, 7)
        self.loss7 = Wilder(arena, 7)
        self.gain28 = Wilder(arena, 28)
        self.loss28 = Wilder(arena, 28)
        self.atr10 = Wilder(arena, 10)
        self.highest = Extreme(arena, 55, 1)
        self.lowest = Extreme(arena, 55, -1)
        self.trix1 = Ema(arena, 2.0 / 16.0)
        self.trix2 = Ema(arena, 2.0 / 16.0)
        self.trix3 = Ema(arena, 2.0 / 16.0)
        self.tema1 = Ema(arena, 2.0 / 21.0)
        self.tema2 = Ema(arena, 2.0 / 21.0)
        self.tema3 = Ema(arena, 2.0 / 21.0)
        self.flow = arena.doubles(2 * CAPACITY)  # typical price times volume, signed by the move of the typical price
        self.hull = arena.doubles(2 * CAPACITY)  # 2 WMA8 - WMA16
        self.state = arena.doubles(4)  # 0 KAMA, 1 lower band, 2 upper band, 3 side of the supertrend: 1, -1, 0 before the first

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        i: cython.Py_ssize_t = x.last()
        c: cython.double = x.c[i]
        atr: cython.double = x.atr()
        top: cython.double = self.highest.push(x.h[i])
        bottom: cython.double = self.lowest.push(x.l[i])
        self.pool[b + 3] = ratio(2.0 * c - top - bottom, top - bottom, 1.0)
        before: cython.double = self.trix3.get()
        self.pool[b + 5] = ratio(self.trix3.push(self.trix2.push(self.trix1.push(c))) - before, atr, 20.0)
        self.pool[b + 6] = ratio(c - self._kama(i), atr, 20.0)
        self.pool[b + 7] = ratio(self._hull(i), atr, 20.0)
        one: cython.double = self.tema1.push(c)
        two: cython.double = self.tema2.push(one)
        self.pool[b + 8] = ratio(c - (3.0 * one - 3.0 * two + self.tema3.push(two)), atr, 20.0)
        if x.count() > 1:
            self._strength(i)
            self.pool[b + 2] = self._money(i, 14)
            self.pool[b + 4] = ratio(c - self._supertrend(i), atr, 20.0)
        return 0

    @cython.cfunc
    def _strength(self, i: cython.Py_ssize_t) -> cython.longlong:
        """RSI of 7 and of 28 bars. Source: Wilder (1978)."""
        d: cython.double = self.hist.c[i] - self.hist.c[i - 1]
        up: cython.double = d if d > 0.0 else 0.0
        down: cython.double = -d if d < 0.0 else 0.0
        gain: cython.double = self.gain7.push(up)
        loss: cython.double = self.loss7.push(down)
        self.pool[self.base] = div(gain - loss, gain + loss)
        gain = self.gain28.push(up)
        loss = self.loss28.push(down)
        self.pool[self.base + 1] = div(gain - loss, gain + loss)
        return 0

    @cython.cfunc
    def _money(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """Money flow index of n bars in [-1, 1]. Source: Quong and Soudack (1989)."""
        x: BarHistory = self.hist
        typical: cython.double = (x.h[i] + x.l[i] + x.c[i]) / 3.0
        before: cython.double = (x.h[i - 1] + x.l[i - 1] + x.c[i - 1]) / 3.0
        d: cython.double = typical * x.v[i]
        self.flow[i] = d if typical > before else -d if typical < before else 0.0
        self.flow[i - x.size] = self.flow[i]
        net: cython.double = 0.0
        total: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            net += self.flow[k]
            total += abs(self.flow[k])
        return div(net, total)

    @cython.cfunc
    def _supertrend(self, i: cython.Py_ssize_t) -> cython.double:
        """The trailing band: 3 ATR10 from the middle of the bar, never back while closes hold it. Source: Seban (2008)."""
        x: BarHistory = self.hist
        width: cython.double = 3.0 * self.atr10.push(x.tr[i])
        middle: cython.double = 0.5 * (x.h[i] + x.l[i])
        lower: cython.double = middle - width
        upper: cython.double = middle + width
        if self.state[3] == 0.0:
            self.state[3] = 1.0
        else:
            if lower < self.state[1] and x.c[i - 1] >= self.state[1]:
                lower = self.state[1]
            if upper > self.state[2] and x.c[i - 1] <= self.state[2]:
                upper = self.state[2]
            if self.state[3] > 0.0 and x.c[i] < lower:
                self.state[3] = -1.0
            elif self.state[3] < 0.0 and x.c[i] > upper:
                self.state[3] = 1.0
        self.state[1] = lower
        self.state[2] = upper
        return lower if self.state[3] > 0.0 else upper

    @cython.cfunc
    def _kama(self, i: cython.Py_ssize_t) -> cython.double:
        """Adaptive mean: as fast as EMA2 where 10 bars go straight, as slow as EMA30 where they wander. Source: Kaufman (1995)."""
        x: BarHistory = self.hist
        if x.count() <= 10:
            self.state[0] = x.c[i]
            return self.state[0]
        path: cython.double = 0.0
        d: cython.double
        k: cython.Py_ssize_t
        for k in range(i - 9, i + 1):
            d = x.c[k] - x.c[k - 1]
            path += abs(d)
        d = x.c[i] - x.c[i - 10]
        speed: cython.double = 1.0 if path <= 0.0 else abs(d) / path
        speed = speed * (2.0 / 3.0 - 2.0 / 31.0) + 2.0 / 31.0
        self.state[0] += speed * speed * (x.c[i] - self.state[0])
        return self.state[0]

    @cython.cfunc
    def _hull(self, i: cython.Py_ssize_t) -> cython.double:
        """Change per bar of WMA4 of (2 WMA8 - WMA16), weights falling with age. Source: Hull (2005)."""
        x: BarHistory = self.hist
        short: cython.double = 0.0
        long: cython.double = 0.0
        weight: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - 15, i + 1):
            weight += 1.0
            long += weight * x.c[k]
            if k > i - 8:
                short += (weight - 8.0) * x.c[k]
        self.hull[i] = 2.0 * short / 36.0 - long / 136.0
        self.hull[i - x.size] = self.hull[i]
        return (4.0 * self.hull[i] - self.hull[i - 1] - self.hull[i - 2] - self.hull[i - 3] - self.hull[i - 4]) / 10.0
