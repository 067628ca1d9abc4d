"""Trend features of closed bars with a memory of their own: RSI of other lengths, money flow, adaptive and lag-free averages, bands."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena
from mia.kernels.history import CAPACITY

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from cython.cimports.mia.kernels.num import clip, div
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from mia.kernels.num import clip, div

SLOTS = (
    "rsi_7", "rsi_28", "mfi_14", "donchian_pos_55", "supertrend_dist_10_3", "trix_15", "kama_gap_10", "hull_slope_16",
    "tema_gap_20",
)  # fmt: skip


TOP_ROWS = 64  # rows kept of maxima: a power of two above the 23 bars that one of 55 reaches back


@cython.final
@cython.cclass
class OscillatorBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    smooth, after Wilder: 0 gains and 1 losses of 7 bars, 2 gains and 3 losses of 28, 4 true ranges of 10. mean, exponential:
    0 to 2 TRIX, 3 to 5 TEMA. m2 .. m32: of the last 2 .. 32 bars, highs at even places, lows with the sign changed at odd ones;
    a maximum of 55 is that of two of 32 that overlap. The block hears every bar, so its counts are those of BarHistory.
    """

    smooth: cython.double[::1]
    mean: cython.double[::1]
    m2: cython.double[::1]
    m4: cython.double[::1]
    m8: cython.double[::1]
    m16: cython.double[::1]
    m32: cython.double[::1]
    flow: cython.double[::1]
    hull: cython.double[::1]
    state: cython.double[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.smooth = arena.doubles(5)
        self.mean = arena.doubles(6)
        self.m2 = arena.doubles(2 * TOP_ROWS)
        self.m4 = arena.doubles(2 * TOP_ROWS)
        self.m8 = arena.doubles(2 * TOP_ROWS)
        self.m16 = arena.doubles(2 * TOP_ROWS)
        self.m32 = arena.doubles(2 * TOP_ROWS)
        self.flow = arena.doubles(2 * CAPACITY)  # typical price times 3 volume, signed by the move of the typical price
        self.hull = arena.doubles(8)  # 2 WMA8 - WMA16
        self.state = arena.doubles(4)  # 0 KAMA, 1 lower band, 2 upper band, 3 side of the supertrend: 1, -1, 0 before the first

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        i: cython.Py_ssize_t = last_bar(x)
        n: cython.Py_ssize_t = bars_pushed(x) - 1
        c: cython.double = x.c[i]
        atr: cython.double = atr_of(x)
        per_atr: cython.double = 1.0 / atr if atr > 1e-300 else 0.0
        before: cython.double = self.mean[2]
        one: cython.double
        two: cython.double
        k: cython.Py_ssize_t
        if n == 0:
            for k in range(6):
                self.mean[k] = c
        self.pool[b + 3] = self._channel(i, n)
        one = self._mean(2, self._mean(1, self._mean(0, c, 2.0 / 16.0), 2.0 / 16.0), 2.0 / 16.0)
        self.pool[b + 5] = clip((one - before) * per_atr, -20.0, 20.0)
        self.pool[b + 6] = clip((c - self._kama(i, n)) * per_atr, -20.0, 20.0)
        self.pool[b + 7] = clip(self._hull(i, n) * per_atr, -20.0, 20.0)
        one = self._mean(3, c, 2.0 / 21.0)
        two = self._mean(4, one, 2.0 / 21.0)
        self.pool[b + 8] = clip((c - (3.0 * one - 3.0 * two + self._mean(5, two, 2.0 / 21.0))) * per_atr, -20.0, 20.0)
        if n > 0:
            self._strength(i, n)
            self.pool[b + 2] = self._money(i)
            self.pool[b + 4] = clip((c - self._supertrend(i, n)) * per_atr, -20.0, 20.0)
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def _smooth(self, k: cython.Py_ssize_t, value: cython.double, share: cython.double) -> cython.double:
        """Wilder's smoothing: the plain mean of the first values, then steps of a fixed share; share: of the newest value."""
        self.smooth[k] += (value - self.smooth[k]) * share
        return self.smooth[k]

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def _mean(self, k: cython.Py_ssize_t, value: cython.double, alpha: cython.double) -> cython.double:
        """Exponential mean with weight alpha of the newest value."""
        self.mean[k] += alpha * (value - self.mean[k])
        return self.mean[k]

    @cython.cfunc
    @cython.exceptval(check=False)
    def _channel(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """Where the close lies between the highest high and the lowest low of 55 bars, in [-1, 1]. Source: Donchian (1960)."""
        x: BarHistory = self.hist
        row: cython.Py_ssize_t = (n & 63) * 2
        high: cython.double = max(x.h[i], x.h[i - 1])
        low: cython.double = max(-x.l[i], -x.l[i - 1])
        self.m2[row] = high
        self.m2[row + 1] = low
        back: cython.Py_ssize_t = ((n + 62) & 63) * 2
        high = max(high, self.m2[back])
        low = max(low, self.m2[back + 1])
        self.m4[row] = high
        self.m4[row + 1] = low
        back = ((n + 60) & 63) * 2
        high = max(high, self.m4[back])
        low = max(low, self.m4[back + 1])
        self.m8[row] = high
        self.m8[row + 1] = low
        back = ((n + 56) & 63) * 2
        high = max(high, self.m8[back])
        low = max(low, self.m8[back + 1])
        self.m16[row] = high
        self.m16[row + 1] = low
        back = ((n + 48) & 63) * 2
        high = max(high, self.m16[back])
        low = max(low, self.m16[back + 1])
        self.m32[row] = high
        self.m32[row + 1] = low
        back = ((n + 41) & 63) * 2
        high = max(high, self.m32[back])
        low = max(low, self.m32[back + 1])
        return clip(div(2.0 * x.c[i] - high + low, high + low), -1.0, 1.0)

    @cython.cfunc
    @cython.exceptval(check=False)
    def _strength(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """RSI of 7 and of 28 bars. Source: Wilder (1978)."""
        d: cython.double = self.hist.c[i] - self.hist.c[i - 1]
        up: cython.double = d if d > 0.0 else 0.0
        down: cython.double = -d if d < 0.0 else 0.0
        share: cython.double = 1.0 / n if n < 7 else 1.0 / 7.0
        gain: cython.double = self._smooth(0, up, share)
        loss: cython.double = self._smooth(1, down, share)
        self.pool[self.base] = div(gain - loss, gain + loss)
        share = 1.0 / n if n < 28 else 1.0 / 28.0
        gain = self._smooth(2, up, share)
        loss = self._smooth(3, down, share)
        self.pool[self.base + 1] = div(gain - loss, gain + loss)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _money(self, i: cython.Py_ssize_t) -> cython.double:
        """Money flow index of 14 bars in [-1, 1]. Source: Quong and Soudack (1989)."""
        x: BarHistory = self.hist
        typical: cython.double = x.h[i] + x.l[i] + x.c[i]
        before: cython.double = x.h[i - 1] + x.l[i - 1] + x.c[i - 1]
        d: cython.double = typical * x.v[i]
        self.flow[i] = d if typical > before else -d if typical < before else 0.0
        self.flow[i - x.size] = self.flow[i]
        net: cython.double = 0.0
        net_odd: cython.double = 0.0
        total: cython.double = 0.0
        total_odd: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - 13, i + 1, 2):
            net += self.flow[k]
            total += abs(self.flow[k])
            net_odd += self.flow[k + 1]
            total_odd += abs(self.flow[k + 1])
        return div(net + net_odd, total + total_odd)

    @cython.cfunc
    @cython.exceptval(check=False)
    def _supertrend(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """The trailing band: 3 ATR10 from the middle of the bar, never back while closes hold it. Source: Seban (2008)."""
        x: BarHistory = self.hist
        width: cython.double = 3.0 * self._smooth(4, x.tr[i], 1.0 / n if n < 10 else 0.1)
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
    @cython.exceptval(check=False)
    def _kama(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """Adaptive mean: as fast as EMA2 where 10 bars go straight, as slow as EMA30 where they wander. Source: Kaufman (1995)."""
        x: BarHistory = self.hist
        if n < 10:
            self.state[0] = x.c[i]
            return self.state[0]
        path: cython.double = 0.0
        path_odd: cython.double = 0.0
        d: cython.double
        k: cython.Py_ssize_t
        for k in range(i - 9, i + 1, 2):
            path += abs(x.c[k] - x.c[k - 1])
            path_odd += abs(x.c[k + 1] - x.c[k])
        path += path_odd
        d = x.c[i] - x.c[i - 10]
        speed: cython.double = 1.0 if path <= 0.0 else abs(d) / path
        speed = speed * (2.0 / 3.0 - 2.0 / 31.0) + 2.0 / 31.0
        self.state[0] += speed * speed * (x.c[i] - self.state[0])
        return self.state[0]

    @cython.cfunc
    @cython.exceptval(check=False)
    def _hull(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """Change per bar of WMA4 of (2 WMA8 - WMA16), weights falling with age. Source: Hull (2005)."""
        x: BarHistory = self.hist
        short: cython.double = 0.0
        older: cython.double = 0.0
        plain: cython.double = 0.0
        weight: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - 7, i + 1):
            weight += 1.0
            short += weight * x.c[k]
            older += weight * x.c[k - 8]
            plain += x.c[k]
        # The newer half weighs 9 to 16 in WMA16 and 1 to 8 in WMA8.
        newest: cython.double = 2.0 * short / 36.0 - (short + 8.0 * plain + older) / 136.0
        self.hull[n & 7] = newest
        newest = 4.0 * newest - self.hull[(n + 7) & 7] - self.hull[(n + 6) & 7]
        return (newest - self.hull[(n + 5) & 7] - self.hull[(n + 4) & 7]) / 10.0
