"""Market structure of closed bars: swings, breakouts, ranges, levels. A swing is known two bars after it happened, not before."""

from __future__ import annotations

from math import inf

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from cython.cimports.mia.kernels.num import clip, div, ratio
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from mia.kernels.num import clip, div, ratio

SLOTS = (
    "swing_high_dist", "swing_low_dist", "hh_hl_score", "breakout_score", "breakdown_score", "range_compression",
    "bars_since_high_60", "bars_since_low_60", "touch_count_20", "resistance_near", "support_near", "consolidation_60",
    "round_number_dist",
)  # fmt: skip

LEVELS = 8  # swings of either kind that are remembered; a power of two
DECADES = 40


@cython.final
@cython.cclass
class StructureBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    swings: prices of the last 8 swing highs, in a ring, and of the last 8 lows behind them; infinite before there were as many.
    q: 0 swing highs and 1 lows ever, 2 number of the bar with the highest high of 60 and 3 with the lowest low, counted from 1, 4 place
    of the price in `decade`, the powers of ten.
    """

    levels: cython.longlong
    tick: cython.double
    swings: cython.double[::1]
    decade: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, tick: float) -> None:
        """tick: size of a tick in quote currency, for round numbers."""
        Block.__init__(self, arena, pool, base, hist)
        self.levels = LEVELS
        self.tick = tick
        self.swings = arena.doubles(2 * LEVELS)
        self.decade = arena.doubles(DECADES)
        self.q = arena.longs(5)
        k: cython.Py_ssize_t
        for k in range(DECADES):
            self.decade[k] = float(f"1e{k - 20}")  # exact to the last bit, which repeated products are not
        self.q[4] = 20
        for k in range(2 * LEVELS):
            self.swings[k] = inf

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        i: cython.Py_ssize_t = last_bar(x)
        self._swings(i)
        self._extremes(i, 60)
        self._ranges(i)
        self._levels(i)
        self.pool[self.base + 12] = self._round_number(x.c[i] * self.tick)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _swings(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Take the bar before the last two for a swing when it towers above two bars on each side. Source: Williams (1995), fractals."""
        x: BarHistory = self.hist
        j: cython.Py_ssize_t = i - 2
        if bars_pushed(x) >= 5:  # bits instead of branches, which would be guessed wrong half of the time
            if (x.h[j] > x.h[j - 1]) & (x.h[j] > x.h[j - 2]) & (x.h[j] > x.h[j + 1]) & (x.h[j] > x.h[j + 2]):
                self.swings[self.q[0] & (self.levels - 1)] = x.h[j]
                self.q[0] += 1
            if (x.l[j] < x.l[j - 1]) & (x.l[j] < x.l[j - 2]) & (x.l[j] < x.l[j + 1]) & (x.l[j] < x.l[j + 2]):
                self.swings[self.levels + (self.q[1] & (self.levels - 1))] = x.l[j]
                self.q[1] += 1
        b: cython.Py_ssize_t = self.base
        atr: cython.double = atr_of(x)
        self.absent[b] = 0 if self.q[0] > 0 else 1
        self.absent[b + 1] = 0 if self.q[1] > 0 else 1
        self.absent[b + 2] = 0 if self.q[0] > 2 and self.q[1] > 2 else 1
        if self.q[0] > 0:
            self.pool[b] = ratio(x.c[i] - self._past(0, 1), atr, 50.0)
        if self.q[1] > 0:
            self.pool[b + 1] = ratio(x.c[i] - self._past(1, 1), atr, 50.0)
        self.pool[b + 2] = 0.25 * (self._rises(0) + self._rises(1))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _past(self, low: cython.Py_ssize_t, k: cython.longlong) -> cython.double:
        """The swing high (low 0) or low (1) k swings ago, 1 the last."""
        return self.swings[low * self.levels + ((self.q[low] - k) & (self.levels - 1))]

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _rises(self, low: cython.Py_ssize_t) -> cython.double:
        """How often the last three swings rose, less how often they fell."""
        a: cython.double = self._past(low, 3)
        m: cython.double = self._past(low, 2)
        z: cython.double = self._past(low, 1)
        score: cython.longlong = (m > a) - (m < a) + (z > m) - (z < m)
        return 1.0 * score

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _extremes(self, i: cython.Py_ssize_t, n: cython.longlong) -> cython.longlong:
        """Age of the highest high and the lowest low of n bars, the newer of equals; searched again only when one leaves the window."""
        x: BarHistory = self.hist
        count: cython.longlong = bars_pushed(x)
        at: cython.Py_ssize_t
        k: cython.Py_ssize_t
        m: cython.longlong = n if count > n else count
        if self.q[2] > 0 and self.q[2] > count - n:
            if x.h[i] >= x.h[i - (count - self.q[2])]:
                self.q[2] = count
        else:
            at = i - m + 1
            for k in range(i - m + 2, i + 1):
                if x.h[k] >= x.h[at]:
                    at = k
            self.q[2] = count - (i - at)
        if self.q[3] > 0 and self.q[3] > count - n:
            if x.l[i] <= x.l[i - (count - self.q[3])]:
                self.q[3] = count
        else:
            at = i - m + 1
            for k in range(i - m + 2, i + 1):
                if x.l[k] <= x.l[at]:
                    at = k
            self.q[3] = count - (i - at)
        age: cython.double = count - self.q[2]
        self.pool[self.base + 6] = age / n
        age = count - self.q[3]
        self.pool[self.base + 7] = age / n
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _ranges(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Breaks of the range of 20 bars before, range of 10 bars against 60, length of the narrow stretch that ends here."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        c: cython.double = x.c[i]
        atr: cython.double = atr_of(x)
        top: cython.double = x.h[i - 1]
        bottom: cython.double = x.l[i - 1]
        k: cython.Py_ssize_t
        for k in range(i - 9, i - 1):
            top = x.h[k] if x.h[k] > top else top
            bottom = x.l[k] if x.l[k] < bottom else bottom
        span: cython.double = (x.h[i] if x.h[i] > top else top) - (x.l[i] if x.l[i] < bottom else bottom)
        count: cython.longlong = bars_pushed(x)
        wide: cython.double = x.h[i - (count - self.q[2])] - x.l[i - (count - self.q[3])]
        self.pool[b + 5] = div(span, wide) if count >= 60 else 0.0
        for k in range(i - 20, i - 9):
            top = x.h[k] if x.h[k] > top else top
            bottom = x.l[k] if x.l[k] < bottom else bottom
        self.pool[b + 3] = ratio(c - top, atr, 20.0)
        self.pool[b + 4] = ratio(c - bottom, atr, 20.0)
        m: cython.longlong = 0
        top = x.h[i]
        bottom = x.l[i]
        while m < 60 and m < count:
            top = x.h[i - m] if x.h[i - m] > top else top
            bottom = x.l[i - m] if x.l[i - m] < bottom else bottom
            if top - bottom > 4.0 * atr:
                break
            m += 1
        length: cython.double = m
        self.pool[b + 11] = length / 60.0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _levels(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Touches of the nearer of the last two swings, and the nearest of all that are remembered."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        k: cython.Py_ssize_t
        unknown: cython.longlong = 0 if self.q[0] > 0 and self.q[1] > 0 else 1
        for k in range(8, 11):
            self.absent[b + k] = unknown
        if unknown == 1:
            return 0
        c: cython.double = x.c[i]
        atr: cython.double = atr_of(x)
        level: cython.double = self._past(0, 1)
        other: cython.double = self._past(1, 1)
        if (c - other if c > other else other - c) < (c - level if c > level else level - c):
            level = other
        above: cython.double = level + 0.1 * atr
        below: cython.double = level - 0.1 * atr
        touches: cython.longlong = 0
        for k in range(i - 19, i + 1):
            touches += ((x.h[k] >= below) & (x.h[k] <= above)) | ((x.l[k] >= below) & (x.l[k] <= above))
        share: cython.double = touches
        self.pool[b + 8] = share / 20.0
        up: cython.double = 1e300  # no level
        down: cython.double = 1e300
        d: cython.double
        for k in range(2 * self.levels):
            d = self.swings[k] - c
            up = d if (d >= 0.0) & (d < up) else up
            down = -d if (d <= 0.0) & (-d < down) else down
        self.pool[b + 9] = div(atr, atr + up) if up < 1e300 else 0.0
        self.pool[b + 10] = div(atr, atr + down) if down < 1e300 else 0.0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _round_number(self, price: cython.double) -> cython.double:
        """Distance to the nearest multiple of a hundredth of the price's power of ten, 1 half way between two."""
        k: cython.longlong = self.q[4]
        if not (price > 1e-17 and price < 1e17):
            return 0.0
        while self.decade[k + 1] <= price:
            k += 1
        while self.decade[k] > price:
            k -= 1
        self.q[4] = k
        steps: cython.double = price / self.decade[k - 2]
        whole: cython.double = cython.cast(cython.longlong, steps + 0.5)
        return clip(2.0 * (steps - whole if steps > whole else whole - steps), 0.0, 1.0)
