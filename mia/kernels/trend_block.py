"""Trend features of closed bars: Wilder's oscillators, moving averages, regression lines, persistence of returns.

What is nested is computed once: lines of 10, 20, 40 and 60 bars in one pass, the moments of 60 returns in another. The block's own
rings share the index of BarHistory. Averages that adapt and other oscillators: oscillator_block.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena
from mia.kernels.history import CAPACITY

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, div, ln_ratio, ratio, root
    from cython.cimports.mia.kernels.roll import Ema, Wilder, highest_of, lowest_of
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, div, ln_ratio, ratio, root
    from mia.kernels.roll import Ema, Wilder, highest_of, lowest_of

SLOTS = (
    "rsi_14", "adx_14", "plus_di_14", "minus_di_14", "macd_hist_12_26_9", "stoch_k_14", "ema_gap_10_20", "ema_gap_20_50",
    "cci_20", "linreg_slope_20", "linreg_r2_20", "variance_ratio_5_60", "variance_ratio_2_30", "efficiency_20",
    "sma_gap_20", "aroon_osc_20", "stoch_rsi_14", "adx_slope_5", "macd_line_12_26", "ppo_12_26", "keltner_pos_20",
    "ma_ribbon_order", "stoch_d_14_3", "vortex_14", "choppiness_14", "bollinger_pct_b_20", "dpo_20", "linreg_slope_60",
    "linreg_resid_60", "trend_scan_t", "autocorr_1_60", "autocorr_5_60", "tsmom_60", "tsmom_240", "hurst_ema_128",
)  # fmt: skip

_LN2 = cython.declare(cython.double, 0.6931471805599453)
_LN14 = cython.declare(cython.double, 2.6390573296152584)


@cython.cclass
class TrendBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml."""

    gain: Wilder
    loss: Wilder
    up: Wilder
    down: Wilder
    adx: Wilder
    ema10: Ema
    ema12: Ema
    ema20: Ema
    ema26: Ema
    ema50: Ema
    ema100: Ema
    ema200: Ema
    signal: Ema
    power1: Ema
    power2: Ema
    power8: Ema
    power16: Ema
    rsi_past: cython.double[::1]
    adx_past: cython.double[::1]
    stoch_past: cython.double[::1]
    typical: cython.double[::1]
    r2: cython.double[::1]
    r4: cython.double[::1]
    r5: cython.double[::1]
    r8: cython.double[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.gain = Wilder(arena, 14)
        self.loss = Wilder(arena, 14)
        self.up = Wilder(arena, 14)
        self.down = Wilder(arena, 14)
        self.adx = Wilder(arena, 14)
        self.ema10 = Ema(arena, 2.0 / 11.0)
        self.ema12 = Ema(arena, 2.0 / 13.0)
        self.ema20 = Ema(arena, 2.0 / 21.0)
        self.ema26 = Ema(arena, 2.0 / 27.0)
        self.ema50 = Ema(arena, 2.0 / 51.0)
        self.ema100 = Ema(arena, 2.0 / 101.0)
        self.ema200 = Ema(arena, 2.0 / 201.0)
        self.signal = Ema(arena, 2.0 / 10.0)
        self.power1 = Ema(arena, 2.0 / 129.0)  # of squared sums of 1, 2, 8 and 16 returns
        self.power2 = Ema(arena, 2.0 / 129.0)
        self.power8 = Ema(arena, 2.0 / 129.0)
        self.power16 = Ema(arena, 2.0 / 129.0)
        size = 2 * CAPACITY
        self.rsi_past = arena.doubles(size)
        self.adx_past = arena.doubles(size)
        self.stoch_past = arena.doubles(size)
        self.typical = arena.doubles(size)  # h + l + c: thrice the typical price
        self.r2 = arena.doubles(size)  # sums of the last 2, 4, 5 and 8 returns
        self.r4 = arena.doubles(size)
        self.r5 = arena.doubles(size)
        self.r8 = arena.doubles(size)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        i: cython.Py_ssize_t = x.last()
        if x.count() > 1:
            self._directional(i)
        self._averages(x.c[i], x.atr())
        self._ranges(i, 14)
        self._window(i, 20)
        self._lines(i, x.atr())
        self._returns(i)
        self._scaling(i)
        return 0

    @cython.cfunc
    def _directional(self, i: cython.Py_ssize_t) -> cython.longlong:
        """RSI, +DI, -DI and ADX, where RSI lies in its own range, how ADX moved. Source: Wilder (1978); Chande and Kroll (1994)."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        d: cython.double = x.c[i] - x.c[i - 1]
        gain: cython.double = self.gain.push(d if d > 0.0 else 0.0)
        loss: cython.double = self.loss.push(-d if d < 0.0 else 0.0)
        rsi: cython.double = div(gain - loss, gain + loss)
        self.pool[b] = rsi
        self.rsi_past[i] = rsi
        self.rsi_past[i - x.size] = rsi
        top: cython.double = highest_of(self.rsi_past, i, 14)
        bottom: cython.double = lowest_of(self.rsi_past, i, 14)
        # While nothing moves RSI stays where it is but for rounding, which has no place in a range.
        self.pool[b + 16] = 0.5 if top - bottom <= 1e-9 else (rsi - bottom) / (top - bottom)
        rise: cython.double = x.h[i] - x.h[i - 1]
        fall: cython.double = x.l[i - 1] - x.l[i]
        up: cython.double = self.up.push(rise if rise > fall and rise > 0.0 else 0.0)
        down: cython.double = self.down.push(fall if fall > rise and fall > 0.0 else 0.0)
        self.pool[b + 2] = clip(div(up, x.atr()), 0.0, 1.0)
        self.pool[b + 3] = clip(div(down, x.atr()), 0.0, 1.0)
        if self.up.count() >= 14:
            d = up - down
            self.pool[b + 1] = self.adx.push(div(abs(d), up + down))
        self.adx_past[i] = self.pool[b + 1]
        self.adx_past[i - x.size] = self.pool[b + 1]
        self.pool[b + 17] = self.pool[b + 1] - self.adx_past[i - 5]
        return 0

    @cython.cfunc
    def _averages(self, c: cython.double, atr: cython.double) -> cython.longlong:
        """Gaps between exponential means of closes, and how far the means of 10 to 200 bars stand in the order of a trend."""
        b: cython.Py_ssize_t = self.base
        e10: cython.double = self.ema10.push(c)
        e20: cython.double = self.ema20.push(c)
        e50: cython.double = self.ema50.push(c)
        e100: cython.double = self.ema100.push(c)
        e200: cython.double = self.ema200.push(c)
        slow: cython.double = self.ema26.push(c)
        macd: cython.double = self.ema12.push(c) - slow
        signal: cython.double = self.signal.push(macd)
        self.pool[b + 4] = ratio(macd - signal, atr, 20.0)
        self.pool[b + 6] = ratio(e10 - e20, atr, 20.0)
        self.pool[b + 7] = ratio(e20 - e50, atr, 20.0)
        self.pool[b + 18] = ratio(macd, atr, 20.0)
        self.pool[b + 19] = ratio(macd, slow, 1.0)
        self.pool[b + 20] = ratio(c - e20, 2.0 * atr, 20.0)
        order: cython.double = _above(e10, e20) + _above(e10, e50) + _above(e10, e100) + _above(e10, e200) + _above(e20, e50)
        order += _above(e20, e100) + _above(e20, e200) + _above(e50, e100) + _above(e50, e200) + _above(e100, e200)
        order -= _above(e20, e10) + _above(e50, e10) + _above(e100, e10) + _above(e200, e10) + _above(e50, e20)
        order -= _above(e100, e20) + _above(e200, e20) + _above(e100, e50) + _above(e200, e50) + _above(e200, e100)
        self.pool[b + 21] = order / 10.0
        return 0

    @cython.cfunc
    def _ranges(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Stochastic %K and %D (Lane 1984), vortex (Botes and Siepman 2010), choppiness (Dreiss 1993) of the last n bars."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        top: cython.double = x.h[i]
        bottom: cython.double = x.l[i]
        path: cython.double = 0.0
        rise: cython.double = 0.0
        fall: cython.double = 0.0
        d: cython.double
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            if x.h[k] > top:
                top = x.h[k]
            if x.l[k] < bottom:
                bottom = x.l[k]
            path += x.tr[k]
            d = x.h[k] - x.l[k - 1]
            rise += abs(d)
            d = x.l[k] - x.h[k - 1]
            fall += abs(d)
        stoch: cython.double = 0.5 if top <= bottom else (x.c[i] - bottom) / (top - bottom)
        self.stoch_past[i] = stoch
        self.stoch_past[i - x.size] = stoch
        self.pool[b + 5] = stoch
        self.pool[b + 22] = (stoch + self.stoch_past[i - 1] + self.stoch_past[i - 2]) / 3.0
        self.pool[b + 23] = ratio(rise - fall, path, 2.0)
        self.pool[b + 24] = 1.0 if top <= bottom else clip(ln_ratio(path, top - bottom) / _LN14, 0.0, 2.0)
        return 0

    @cython.cfunc
    def _window(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """CCI / 100 (Lambert 1980), signed efficiency (Kaufman 1995) and Aroon oscillator (Chande 1995) of the last n bars; n is even.

        CCI does not depend on the unit: in 3 n ticks everything is whole and exact. Aroon counts from the newest extreme
        within n + 1 bars.
        """
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        newest: cython.double = x.h[i] + x.l[i] + x.c[i]
        self.typical[i] = newest
        self.typical[i - x.size] = newest
        total: cython.double = 0.0
        path: cython.double = 0.0
        d: cython.double
        top: cython.double = x.h[i - n]
        bottom: cython.double = x.l[i - n]
        high: cython.Py_ssize_t = i - n
        low: cython.Py_ssize_t = i - n
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            total += self.typical[k]
            d = x.c[k] - x.c[k - 1]
            path += abs(d)
            if x.h[k] >= top:
                top = x.h[k]
                high = k
            if x.l[k] <= bottom:
                bottom = x.l[k]
                low = k
        even: cython.double = 0.0
        odd: cython.double = 0.0
        for k in range(i - n + 1, i, 2):
            d = n * self.typical[k] - total
            even += abs(d)
            d = n * self.typical[k + 1] - total
            odd += abs(d)
        d = even + odd
        # Rounding of a flat window is not a deviation.
        self.pool[b + 8] = 0.0 if d <= 1e-9 * total else ratio(n * newest - total, 1.5 * d / n, 10.0)
        self.pool[b + 13] = ratio(x.c[i] - x.c[i - n], path, 1.0)
        d = high - low
        self.pool[b + 15] = d / n
        return 0

    @cython.cfunc
    def _lines(self, i: cython.Py_ssize_t, atr: cython.double) -> cython.longlong:
        """Lines through the last 10, 20, 40 and 60 closes, and the mean and deviation of 20.

        Closes are measured from the newest one: whole ticks, so that the sums are exact and a flat window is exactly flat.
        """
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        newest: cython.double = x.c[i]
        s: cython.double = 0.0  # sum of y = c[-j] - c
        sj: cython.double = 0.0  # of j y
        syy: cython.double = 0.0
        s_odd: cython.double = 0.0
        sj_odd: cython.double = 0.0
        syy_odd: cython.double = 0.0
        y: cython.double
        t: cython.double
        best: cython.double = 0.0
        size: cython.double
        half: cython.double
        sxy: cython.double
        sxx: cython.double
        rest: cython.double
        slope: cython.double
        j: cython.Py_ssize_t = 0
        n: cython.Py_ssize_t = 10
        while n <= 60:
            while j < n:
                y = x.c[i - j] - newest
                s += y
                sj += y * j
                syy += y * y
                y = x.c[i - j - 1] - newest
                s_odd += y
                sj_odd += y * (j + 1)
                syy_odd += y * y
                j += 2
            s += s_odd
            sj += sj_odd
            syy += syy_odd
            s_odd = 0.0
            sj_odd = 0.0
            syy_odd = 0.0
            size = n
            half = 0.5 * (size - 1.0)
            sxx = size * (size * size - 1.0) / 12.0
            sxy = half * s - sj  # time runs forward: x = -j
            rest = syy - s * s / size
            slope = sxy / sxx
            t = clip(div(sxy * slope, rest), 0.0, 1.0)  # R^2
            if n == 20:
                self.pool[b + 9] = ratio(slope, atr, 20.0)
                self.pool[b + 10] = t
                self.pool[b + 14] = ratio(-s / size, atr, 20.0)
                self.pool[b + 25] = clip(0.5 + div(-s / size, 4.0 * root(rest / size)), -1.0, 2.0)
                self.pool[b + 26] = ratio(x.c[i - 11] - newest - s / size, atr, 20.0)
            if n == 60:
                self.pool[b + 27] = ratio(slope, atr, 20.0)
                y = -s / size - slope * half
                self.pool[b + 28] = 0.0 if 1.0 - t <= 1e-9 else ratio(y, root(rest * (1.0 - t) / size), 10.0)
            t = (size - 2.0) * t / (1.0 - t if 1.0 - t > 1e-9 else 1e-9)
            if t > best * best:
                best = root(t) if slope > 0.0 else -root(t)
            n += 10 if n == 10 else 20
        self.pool[b + 29] = clip(best, -50.0, 50.0)
        return 0

    @cython.cfunc
    def _returns(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Moments of the last 60 and 30 returns: variance ratios (Lo and MacKinlay 1988), autocorrelations, momentum in volatility."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        self.r2[i] = x.r[i] + x.r[i - 1]
        self.r2[i - x.size] = self.r2[i]
        self.r4[i] = self.r2[i] + self.r2[i - 2]
        self.r4[i - x.size] = self.r4[i]
        self.r5[i] = self.r4[i] + x.r[i - 4]
        self.r5[i - x.size] = self.r5[i]
        s: cython.double = 0.0
        q: cython.double = 0.0
        one: cython.double = 0.0
        five: cython.double = 0.0
        f: cython.double = self.r5[i - 55]
        ff: cython.double = f * f
        k: cython.Py_ssize_t
        for k in range(i - 59, i - 54):
            s += x.r[k]
            q += x.r[k] * x.r[k]
            if k > i - 59:
                one += x.r[k] * x.r[k - 1]
        for k in range(i - 54, i + 1):
            s += x.r[k]
            q += x.r[k] * x.r[k]
            one += x.r[k] * x.r[k - 1]
            five += x.r[k] * x.r[k - 5]
            f += self.r5[k]
            ff += self.r5[k] * self.r5[k]
        mean: cython.double = s / 60.0
        spread: cython.double = q - s * mean
        if spread <= 1e-12 * q:  # rounding of equal returns is no variance
            spread = 0.0
        self.pool[b + 11] = ratio((ff - f * f / 56.0) / 56.0, spread / 12.0, 20.0)
        self.pool[b + 30] = ratio(one - mean * (2.0 * s - x.r[i - 59] - x.r[i]) + 59.0 * mean * mean, spread, 1.0)
        self.pool[b + 31] = ratio(five - mean * (2.0 * s - self.r5[i - 55] - self.r5[i]) + 55.0 * mean * mean, spread, 1.0)
        self.pool[b + 32] = ratio(s, root(q), 8.0)
        self.pool[b + 33] = ratio(ln_ratio(x.c[i], x.c[i - 240]), 2.0 * root(q), 10.0)
        s = x.r[i - 29]
        q = s * s
        f = 0.0
        ff = 0.0
        for k in range(i - 28, i + 1):
            s += x.r[k]
            q += x.r[k] * x.r[k]
            f += self.r2[k]
            ff += self.r2[k] * self.r2[k]
        spread = q - s * s / 30.0
        if spread <= 1e-12 * q:
            spread = 0.0
        self.pool[b + 12] = ratio((ff - f * f / 29.0) / 29.0, spread / 15.0, 20.0)
        return 0

    @cython.cfunc
    def _scaling(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Hurst exponent: how the power of returns over q bars grows with q. Source: Di Matteo, Aste and Dacorogna (2003)."""
        x: BarHistory = self.hist
        r8: cython.double = self.r4[i] + self.r4[i - 4]
        r16: cython.double = r8 + self.r8[i - 8]
        self.r8[i] = r8
        self.r8[i - x.size] = r8
        if x.count() <= 16:
            return 0
        one: cython.double = self.power1.push(x.r[i] * x.r[i])
        two: cython.double = self.power2.push(self.r2[i] * self.r2[i])
        eight: cython.double = self.power8.push(r8 * r8)
        sixteen: cython.double = self.power16.push(r16 * r16)
        # The least squares weights of ln q = 0, 1, 2, 3, 4 times ln 2 are -2, -1, 0, 1, 2 tenths: that of q = 4 is 0.
        slope: cython.double = (2.0 * ln_ratio(sixteen, one) + ln_ratio(eight, two)) / (10.0 * _LN2)
        self.pool[self.base + 34] = 0.5 if one <= 1e-30 else clip(0.5 * slope, 0.0, 1.0)
        return 0


@cython.cfunc
def _above(a: cython.double, b: cython.double) -> cython.double:
    """1.0 where a is above b, else 0.0."""
    return 1.0 if a > b else 0.0
