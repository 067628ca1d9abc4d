"""Trend features of closed bars: Wilder's oscillators, moving averages, extremes, persistence of returns.

Windows are put together from sums (or maxima) of 1, 2, 4, 8 and 16 bars, each kept for the last bars: a window of 60 is one of 32,
16, 8 and 4 side by side. So a sum holds its own bars and nothing else, and costs a handful of additions. The block hears every
bar, so its own counts are those of BarHistory. Averages that adapt and other oscillators: oscillator_block; lines: line_block.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena
from mia.kernels.history import CAPACITY

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from cython.cimports.mia.kernels.num import clip, div, ln_ratio, ratio, root
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from mia.kernels.num import clip, div, ln_ratio, ratio, root

SLOTS = (
    "rsi_14", "adx_14", "plus_di_14", "minus_di_14", "macd_hist_12_26_9", "stoch_k_14", "ema_gap_10_20", "ema_gap_20_50", "cci_20",
    "variance_ratio_5_60", "variance_ratio_2_30", "efficiency_20", "aroon_osc_20", "stoch_rsi_14", "adx_slope_5", "macd_line_12_26",
    "ppo_12_26", "keltner_pos_20", "ma_ribbon_order", "stoch_d_14_3", "vortex_14", "choppiness_14", "autocorr_1_60", "autocorr_5_60",
    "tsmom_60", "tsmom_240", "hurst_ema_128",
)  # fmt: skip

_LN2 = cython.declare(cython.double, 0.6931471805599453)
_LN14 = cython.declare(cython.double, 2.6390573296152584)


LANES = 8
ROWS = 64  # rows kept of sums: a power of two above the 58 bars that a window reaches back
TOPS = 4
TOP_ROWS = 16  # of maxima: above the 6 that one of 14 reaches back

_LANES = cython.declare(cython.Py_ssize_t, 8)


@cython.final
@cython.cclass
class TrendBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    Lanes of w1 .. w16, sums of 1 .. 16 bars: 0 r, 1 r^2, 2 r r[-1], 3 r r[-5], 4 square of the sum of 5 r, 5 true range,
    6 |h - l[-1]| - |l - h[-1]|, 7 |c - c[-1]|. Of m1 .. m8, maxima: 0 h, 1 -l, 2 RSI, 3 -RSI; top: of 14 bars.
    smooth, after Wilder with 14: 0 gains, 1 losses, 2 rises, 3 falls, 4 ADX. mean, exponential: 0 to 6 closes of 10, 12, 20, 26,
    50, 100 and 200 bars, 7 signal of MACD, 8 to 11 squared sums of 1, 2, 8 and 16 r. at: bars of the newest extremes of 21.
    """

    w1: cython.double[::1]
    w2: cython.double[::1]
    w4: cython.double[::1]
    w8: cython.double[::1]
    w16: cython.double[::1]
    w32: cython.double[::1]
    m1: cython.double[::1]
    m2: cython.double[::1]
    m4: cython.double[::1]
    m8: cython.double[::1]
    top: cython.double[::1]
    smooth: cython.double[::1]
    mean: cython.double[::1]
    adx_past: cython.double[::1]
    stoch_past: cython.double[::1]
    typical: cython.double[::1]
    at: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.w1 = arena.doubles(ROWS * LANES)
        self.w2 = arena.doubles(ROWS * LANES)
        self.w4 = arena.doubles(ROWS * LANES)
        self.w8 = arena.doubles(ROWS * LANES)
        self.w16 = arena.doubles(ROWS * LANES)
        self.w32 = arena.doubles(LANES)  # of the newest bar
        self.m1 = arena.doubles(TOP_ROWS * TOPS)
        self.m2 = arena.doubles(TOP_ROWS * TOPS)
        self.m4 = arena.doubles(TOP_ROWS * TOPS)
        self.m8 = arena.doubles(TOP_ROWS * TOPS)
        self.top = arena.doubles(TOPS)
        self.smooth = arena.doubles(5)
        self.mean = arena.doubles(12)
        self.adx_past = arena.doubles(8)
        self.stoch_past = arena.doubles(4)
        self.typical = arena.doubles(2 * CAPACITY)  # h + l + c: thrice the typical price
        self.at = arena.longs(2)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        i: cython.Py_ssize_t = last_bar(x)
        n: cython.Py_ssize_t = bars_pushed(x) - 1
        atr: cython.double = atr_of(x)
        per_atr: cython.double = 1.0 / atr if atr > 1e-300 else 0.0
        self._add(i, n)
        if n > 0:
            self._directional(i, n, per_atr)
        self._tops(i, n)
        self._averages(x.c[i], n, per_atr)
        self._ranges(i, n)
        self._window(i, n)
        self._returns(i, n)
        self._scaling(n)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _add(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Sums of the last 1, 2, 4, 8, 16 and 32 bars of every lane; n: number of the bar."""
        x: BarHistory = self.hist
        row: cython.Py_ssize_t = (n & 63) * _LANES
        back1: cython.Py_ssize_t = ((n + 63) & 63) * _LANES
        back2: cython.Py_ssize_t = ((n + 62) & 63) * _LANES
        back4: cython.Py_ssize_t = ((n + 60) & 63) * _LANES
        back8: cython.Py_ssize_t = ((n + 56) & 63) * _LANES
        back16: cython.Py_ssize_t = ((n + 48) & 63) * _LANES
        r: cython.double = x.r[i]
        five: cython.double = ((r + x.r[i - 1]) + (x.r[i - 2] + x.r[i - 3])) + x.r[i - 4]
        a2: cython.double
        b2: cython.double
        a4: cython.double
        b4: cython.double
        a8: cython.double
        b8: cython.double
        a16: cython.double
        b16: cython.double
        a32: cython.double
        b32: cython.double
        k: cython.Py_ssize_t
        self.w1[row] = r
        self.w1[row + 1] = r * r
        self.w1[row + 2] = r * x.r[i - 1]
        self.w1[row + 3] = r * x.r[i - 5]
        self.w1[row + 4] = five * five
        self.w1[row + 5] = x.tr[i]
        self.w1[row + 6] = abs(x.h[i] - x.l[i - 1]) - abs(x.l[i] - x.h[i - 1])
        self.w1[row + 7] = abs(x.c[i] - x.c[i - 1])
        for k in range(0, 8, 2):  # two lanes at a time, stored last: the C compiler makes vectors of them
            a2 = self.w1[row + k] + self.w1[back1 + k]
            b2 = self.w1[row + k + 1] + self.w1[back1 + k + 1]
            a4 = a2 + self.w2[back2 + k]
            b4 = b2 + self.w2[back2 + k + 1]
            a8 = a4 + self.w4[back4 + k]
            b8 = b4 + self.w4[back4 + k + 1]
            a16 = a8 + self.w8[back8 + k]
            b16 = b8 + self.w8[back8 + k + 1]
            a32 = a16 + self.w16[back16 + k]
            b32 = b16 + self.w16[back16 + k + 1]
            self.w2[row + k] = a2
            self.w2[row + k + 1] = b2
            self.w4[row + k] = a4
            self.w4[row + k + 1] = b4
            self.w8[row + k] = a8
            self.w8[row + k + 1] = b8
            self.w16[row + k] = a16
            self.w16[row + k + 1] = b16
            self.w32[k] = a32
            self.w32[k + 1] = b32
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _directional(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t, per_atr: cython.double) -> cython.longlong:
        """RSI, +DI, -DI and ADX, and how ADX moved. Source: Wilder (1978)."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        share: cython.double = 1.0 / n if n < 14 else 1.0 / 14.0
        d: cython.double = x.c[i] - x.c[i - 1]
        rise: cython.double = x.h[i] - x.h[i - 1]
        fall: cython.double = x.l[i - 1] - x.l[i]
        gain: cython.double = self._smooth(0, d if d > 0.0 else 0.0, share)
        loss: cython.double = self._smooth(1, -d if d < 0.0 else 0.0, share)
        up: cython.double = self._smooth(2, rise if rise > fall and rise > 0.0 else 0.0, share)
        down: cython.double = self._smooth(3, fall if fall > rise and fall > 0.0 else 0.0, share)
        self.pool[b] = div(gain - loss, gain + loss)
        self.pool[b + 2] = clip(up * per_atr, 0.0, 1.0)
        self.pool[b + 3] = clip(down * per_atr, 0.0, 1.0)
        if n >= 14:
            self.pool[b + 1] = self._smooth(4, div(abs(up - down), up + down), 1.0 / (n - 13) if n < 27 else 1.0 / 14.0)
        self.adx_past[n & 7] = self.pool[b + 1]
        self.pool[b + 14] = self.pool[b + 1] - self.adx_past[(n + 3) & 7]
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
    def _tops(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Highs, lows and RSI of 14 bars, and where RSI lies in its own range. Source: Chande and Kroll (1994)."""
        row: cython.Py_ssize_t = (n & 15) * 4
        back1: cython.Py_ssize_t = ((n + 15) & 15) * 4
        back2: cython.Py_ssize_t = ((n + 14) & 15) * 4
        back4: cython.Py_ssize_t = ((n + 12) & 15) * 4
        back6: cython.Py_ssize_t = ((n + 10) & 15) * 4
        rsi: cython.double = self.pool[self.base]
        top: cython.double
        k: cython.Py_ssize_t
        self.m1[row] = self.hist.h[i]
        self.m1[row + 1] = -self.hist.l[i]
        self.m1[row + 2] = rsi
        self.m1[row + 3] = -rsi
        for k in range(4):
            top = max(self.m1[row + k], self.m1[back1 + k])
            self.m2[row + k] = top
            top = max(top, self.m2[back2 + k])
            self.m4[row + k] = top
            top = max(top, self.m4[back4 + k])
            self.m8[row + k] = top
            self.top[k] = max(top, self.m8[back6 + k])
        width: cython.double = self.top[2] + self.top[3]
        # While nothing moves RSI stays where it is but for rounding, which has no place in a range.
        self.pool[self.base + 13] = 0.5 if width <= 1e-9 else (rsi + self.top[3]) / width
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _averages(self, c: cython.double, n: cython.Py_ssize_t, per_atr: cython.double) -> cython.longlong:
        """Gaps between exponential means of closes, and how far the means of 10 to 200 bars stand in the order of a trend."""
        b: cython.Py_ssize_t = self.base
        k: cython.Py_ssize_t
        if n == 0:
            for k in range(7):
                self.mean[k] = c
        e10: cython.double = self._mean(0, c, 2.0 / 11.0)
        e12: cython.double = self._mean(1, c, 2.0 / 13.0)
        e20: cython.double = self._mean(2, c, 2.0 / 21.0)
        slow: cython.double = self._mean(3, c, 2.0 / 27.0)
        e50: cython.double = self._mean(4, c, 2.0 / 51.0)
        e100: cython.double = self._mean(5, c, 2.0 / 101.0)
        e200: cython.double = self._mean(6, c, 2.0 / 201.0)
        macd: cython.double = e12 - slow
        signal: cython.double = self._mean(7, macd, 2.0 / 10.0)
        self.pool[b + 4] = clip((macd - signal) * per_atr, -20.0, 20.0)
        self.pool[b + 6] = clip((e10 - e20) * per_atr, -20.0, 20.0)
        self.pool[b + 7] = clip((e20 - e50) * per_atr, -20.0, 20.0)
        self.pool[b + 15] = clip(macd * per_atr, -20.0, 20.0)
        self.pool[b + 16] = ratio(macd, slow, 1.0)
        self.pool[b + 17] = clip(0.5 * (c - e20) * per_atr, -20.0, 20.0)
        above: cython.longlong = (e10 > e20) + (e10 > e50) + (e10 > e100) + (e10 > e200) + (e20 > e50)
        below: cython.longlong = (e10 < e20) + (e10 < e50) + (e10 < e100) + (e10 < e200) + (e20 < e50)
        above += (e20 > e100) + (e20 > e200) + (e50 > e100) + (e50 > e200) + (e100 > e200)
        below += (e20 < e100) + (e20 < e200) + (e50 < e100) + (e50 < e200) + (e100 < e200)
        self.pool[b + 18] = (above - below) / 10.0
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _ranges(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Stochastic %K and %D (Lane 1984), vortex (Botes and Siepman 2010), choppiness (Dreiss 1993) of the last 14 bars."""
        b: cython.Py_ssize_t = self.base
        row: cython.Py_ssize_t = (n & 63) * _LANES
        back8: cython.Py_ssize_t = ((n + 56) & 63) * _LANES
        back12: cython.Py_ssize_t = ((n + 52) & 63) * _LANES
        path: cython.double = (self.w8[row + 5] + self.w4[back8 + 5]) + self.w2[back12 + 5]
        vortex: cython.double = (self.w8[row + 6] + self.w4[back8 + 6]) + self.w2[back12 + 6]
        width: cython.double = self.top[0] + self.top[1]
        stoch: cython.double = 0.5 if width <= 0.0 else (self.hist.c[i] + self.top[1]) / width
        self.stoch_past[n & 3] = stoch
        self.pool[b + 5] = stoch
        self.pool[b + 19] = (stoch + self.stoch_past[(n + 3) & 3] + self.stoch_past[(n + 2) & 3]) / 3.0
        self.pool[b + 20] = ratio(vortex, path, 2.0)
        self.pool[b + 21] = 1.0 if width <= 0.0 else clip(ln_ratio(path, width) / _LN14, 0.0, 2.0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _window(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """CCI / 100 (Lambert 1980), signed efficiency (Kaufman 1995) and Aroon oscillator (Chande 1995) of the last 20 bars.

        CCI does not depend on the unit: in 60 ticks everything is whole and exact. Aroon counts from the newest extreme
        within 21 bars.
        """
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        row: cython.Py_ssize_t = (n & 63) * _LANES
        back16: cython.Py_ssize_t = ((n + 48) & 63) * _LANES
        newest: cython.double = x.h[i] + x.l[i] + x.c[i]
        self.typical[i] = newest
        self.typical[i - x.size] = newest
        a0: cython.double = 0.0
        a1: cython.double = 0.0
        a2: cython.double = 0.0
        a3: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - 19, i + 1, 4):
            a0 += self.typical[k]
            a1 += self.typical[k + 1]
            a2 += self.typical[k + 2]
            a3 += self.typical[k + 3]
        total: cython.double = (a0 + a1) + (a2 + a3)
        a0 = 0.0
        a1 = 0.0
        a2 = 0.0
        a3 = 0.0
        for k in range(i - 19, i + 1, 4):
            a0 += abs(20.0 * self.typical[k] - total)
            a1 += abs(20.0 * self.typical[k + 1] - total)
            a2 += abs(20.0 * self.typical[k + 2] - total)
            a3 += abs(20.0 * self.typical[k + 3] - total)
        d: cython.double = (a0 + a1) + (a2 + a3)
        # Rounding of a flat window is not a deviation.
        self.pool[b + 8] = 0.0 if d <= 1e-9 * total else ratio(20.0 * newest - total, 0.075 * d, 10.0)
        self.pool[b + 11] = ratio(x.c[i] - x.c[i - 20], self.w16[row + 7] + self.w4[back16 + 7], 1.0)
        if x.h[i] >= x.h[i - (n - self.at[0])]:
            self.at[0] = n
        elif n - self.at[0] > 20:
            self._newest_top(i, n)
        if x.l[i] <= x.l[i - (n - self.at[1])]:
            self.at[1] = n
        elif n - self.at[1] > 20:
            self._newest_bottom(i, n)
        self.pool[b + 12] = (self.at[0] - self.at[1]) / 20.0
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _newest_top(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Look for the newest highest high of 21 bars."""
        best: cython.Py_ssize_t = i - 20
        k: cython.Py_ssize_t
        for k in range(i - 19, i + 1):
            if self.hist.h[k] >= self.hist.h[best]:
                best = k
        self.at[0] = n - (i - best)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _newest_bottom(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Look for the newest lowest low of 21 bars."""
        best: cython.Py_ssize_t = i - 20
        k: cython.Py_ssize_t
        for k in range(i - 19, i + 1):
            if self.hist.l[k] <= self.hist.l[best]:
                best = k
        self.at[1] = n - (i - best)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _returns(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Moments of the last 60 and 30 returns: variance ratios (Lo and MacKinlay 1988), autocorrelations, momentum in volatility."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        row: cython.Py_ssize_t = (n & 63) * _LANES
        back16: cython.Py_ssize_t = ((n + 48) & 63) * _LANES
        back24: cython.Py_ssize_t = ((n + 40) & 63) * _LANES
        back28: cython.Py_ssize_t = ((n + 36) & 63) * _LANES
        back32: cython.Py_ssize_t = ((n + 32) & 63) * _LANES
        back48: cython.Py_ssize_t = ((n + 16) & 63) * _LANES
        back52: cython.Py_ssize_t = ((n + 12) & 63) * _LANES
        back54: cython.Py_ssize_t = ((n + 10) & 63) * _LANES
        back56: cython.Py_ssize_t = ((n + 8) & 63) * _LANES
        back58: cython.Py_ssize_t = ((n + 6) & 63) * _LANES
        newest: cython.double = x.r[i]
        oldest: cython.double = x.r[i - 59]
        s: cython.double = (self.w32[0] + self.w16[back32]) + (self.w8[back48] + self.w4[back56])
        q: cython.double = (self.w32[1] + self.w16[back32 + 1]) + (self.w8[back48 + 1] + self.w4[back56 + 1])
        one: cython.double = (self.w32[2] + self.w16[back32 + 2]) + (self.w8[back48 + 2] + self.w2[back56 + 2]) + self.w1[back58 + 2]
        five: cython.double = (self.w32[3] + self.w16[back32 + 3]) + (self.w4[back48 + 3] + self.w2[back52 + 3]) + self.w1[back54 + 3]
        ff: cython.double = (self.w32[4] + self.w16[back32 + 4]) + self.w8[back48 + 4]
        # The 56 sums of 5 returns hold the returns at both ends less than five times; the first and the last of them.
        ends: cython.double = (x.r[i - 1] + x.r[i - 2]) + (x.r[i - 3] + x.r[i - 4])
        ends_old: cython.double = (x.r[i - 58] + x.r[i - 57]) + (x.r[i - 56] + x.r[i - 55])
        f: cython.double = 5.0 * s - (4.0 * (newest + oldest) + 3.0 * (x.r[i - 1] + x.r[i - 58]))
        f -= 2.0 * (x.r[i - 2] + x.r[i - 57]) + (x.r[i - 3] + x.r[i - 56])
        mean: cython.double = s / 60.0
        spread: cython.double = q - s * mean
        if spread <= 1e-12 * q:  # rounding of equal returns is no variance
            spread = 0.0
        per_spread: cython.double = 1.0 / spread if spread > 1e-300 else 0.0
        power: cython.double = root(q)
        per_power: cython.double = 1.0 / power if power > 0.0 else 0.0
        self.pool[b + 9] = clip((ff - f * f / 56.0) * (12.0 / 56.0) * per_spread, 0.0, 20.0)
        self.pool[b + 22] = clip((one - mean * (2.0 * s - oldest - newest) + 59.0 * mean * mean) * per_spread, -1.0, 1.0)
        five -= mean * (2.0 * s - (ends_old + oldest) - (ends + newest)) - 55.0 * mean * mean
        self.pool[b + 23] = clip(five * per_spread, -1.0, 1.0)
        self.pool[b + 24] = clip(s * per_power, -8.0, 8.0)
        self.pool[b + 25] = clip(0.5 * ln_ratio(x.c[i], x.c[i - 240]) * per_power, -10.0, 10.0)
        s = (self.w16[row] + self.w8[back16]) + (self.w4[back24] + self.w2[back28])
        q = (self.w16[row + 1] + self.w8[back16 + 1]) + (self.w4[back24 + 1] + self.w2[back28 + 1])
        one = (self.w16[row + 2] + self.w8[back16 + 2]) + (self.w4[back24 + 2] + self.w1[back28 + 2])
        oldest = x.r[i - 29]
        f = 2.0 * s - newest - oldest  # of the 29 sums of two returns, and of their squares
        ff = 2.0 * (q + one) - newest * newest - oldest * oldest
        spread = q - s * s / 30.0
        if spread <= 1e-12 * q:
            spread = 0.0
        self.pool[b + 10] = clip(div((ff - f * f / 29.0) * (15.0 / 29.0), spread), 0.0, 20.0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _scaling(self, n: cython.Py_ssize_t) -> cython.longlong:
        """Hurst exponent: how the power of returns over q bars grows with q. Source: Di Matteo, Aste and Dacorogna (2003)."""
        row: cython.Py_ssize_t = (n & 63) * _LANES
        if n < 16:
            return 0
        one: cython.double = self.w1[row] * self.w1[row]
        two: cython.double = self.w2[row] * self.w2[row]
        eight: cython.double = self.w8[row] * self.w8[row]
        sixteen: cython.double = self.w16[row] * self.w16[row]
        if n == 16:
            self.mean[8] = one
            self.mean[9] = two
            self.mean[10] = eight
            self.mean[11] = sixteen
        one = self._mean(8, one, 2.0 / 129.0)
        two = self._mean(9, two, 2.0 / 129.0)
        eight = self._mean(10, eight, 2.0 / 129.0)
        sixteen = self._mean(11, sixteen, 2.0 / 129.0)
        # The least squares weights of ln q = 0, 1, 2, 3, 4 times ln 2 are -2, -1, 0, 1, 2 tenths: that of q = 4 is 0.
        slope: cython.double = (2.0 * ln_ratio(sixteen, one) + ln_ratio(eight, two)) / (10.0 * _LN2)
        self.pool[self.base + 26] = 0.5 if one <= 1e-30 else clip(0.5 * slope, 0.0, 1.0)
        return 0
