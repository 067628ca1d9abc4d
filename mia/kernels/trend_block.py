"""Trend features of closed bars: oscillators, moving averages, regressions."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, div, ratio
    from cython.cimports.mia.kernels.roll import Ema, Wilder, highest_of, lowest_of, mean_of, variance_of
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, div, ratio
    from mia.kernels.roll import Ema, Wilder, highest_of, lowest_of, mean_of, variance_of

SLOTS = (
    "rsi_14", "adx_14", "plus_di_14", "minus_di_14", "macd_hist_12_26_9", "stoch_k_14", "ema_gap_10_20", "ema_gap_20_50",
    "cci_20", "linreg_slope_20", "linreg_r2_20", "variance_ratio_5_60", "variance_ratio_2_30", "efficiency_20",
    "sma_gap_20", "aroon_osc_20",
)  # fmt: skip


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
    signal: Ema

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
        self.signal = Ema(arena, 2.0 / 10.0)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        p = self.pool
        b: cython.Py_ssize_t = self.base
        i: cython.Py_ssize_t = x.last()
        c: cython.double = x.c[i]
        atr: cython.double = x.atr()
        if x.count() > 1:
            self._directional(i)
        fast: cython.double = self.ema10.push(c)
        middle: cython.double = self.ema20.push(c)
        slow: cython.double = self.ema50.push(c)
        macd: cython.double = self.ema12.push(c) - self.ema26.push(c)
        signal: cython.double = self.signal.push(macd)
        p[b + 4] = ratio(macd - signal, atr, 20.0)
        top: cython.double = highest_of(x.h, i, 14)
        bottom: cython.double = lowest_of(x.l, i, 14)
        p[b + 5] = 0.5 if top <= bottom else (c - bottom) / (top - bottom)
        p[b + 6] = ratio(fast - middle, atr, 20.0)
        p[b + 7] = ratio(middle - slow, atr, 20.0)
        p[b + 8] = self._cci(i, 20)
        self._regression(i, 20, atr)
        p[b + 11] = self._variance_ratio(i, 5, 60)
        p[b + 12] = self._variance_ratio(i, 2, 30)
        p[b + 13] = self._efficiency(i, 20)
        p[b + 14] = ratio(c - mean_of(x.c, i, 20), atr, 20.0)
        p[b + 15] = self._aroon(i, 20)
        return 0

    @cython.cfunc
    def _directional(self, i: cython.Py_ssize_t) -> cython.longlong:
        """RSI, +DI, -DI and ADX. Source: Wilder (1978)."""
        x: BarHistory = self.hist
        p = self.pool
        b: cython.Py_ssize_t = self.base
        d: cython.double = x.c[i] - x.c[i - 1]
        gain: cython.double = self.gain.push(d if d > 0.0 else 0.0)
        loss: cython.double = self.loss.push(-d if d < 0.0 else 0.0)
        p[b] = div(gain - loss, gain + loss)
        rise: cython.double = x.h[i] - x.h[i - 1]
        fall: cython.double = x.l[i - 1] - x.l[i]
        up: cython.double = self.up.push(rise if rise > fall and rise > 0.0 else 0.0)
        down: cython.double = self.down.push(fall if fall > rise and fall > 0.0 else 0.0)
        p[b + 2] = clip(div(up, x.atr()), 0.0, 1.0)
        p[b + 3] = clip(div(down, x.atr()), 0.0, 1.0)
        if self.up.count() >= 14:
            d = up - down
            p[b + 1] = self.adx.push(div(-d if d < 0.0 else d, up + down))
        return 0

    @cython.cfunc
    def _cci(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """Commodity channel index / 100 of typical prices (h + l + c) / 3. Source: Lambert (1980)."""
        x: BarHistory = self.hist
        mean: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            mean += (x.h[k] + x.l[k] + x.c[k]) / 3.0
        mean /= n
        deviation: cython.double = 0.0
        d: cython.double
        for k in range(i - n + 1, i + 1):
            d = (x.h[k] + x.l[k] + x.c[k]) / 3.0 - mean
            deviation += -d if d < 0.0 else d
        d = (x.h[i] + x.l[i] + x.c[i]) / 3.0 - mean
        if deviation <= 1e-9 * mean:  # rounding of a flat window is not a deviation
            return 0.0
        return ratio(d, 1.5 * deviation / n, 10.0)

    @cython.cfunc
    def _regression(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t, atr: cython.double) -> cython.longlong:
        """Slope per bar / ATR and R^2 of the line through the last n closes."""
        x: BarHistory = self.hist
        mean: cython.double = mean_of(x.c, i, n)
        half: cython.double = 0.5 * (n - 1)
        sxy: cython.double = 0.0
        sxx: cython.double = 0.0
        syy: cython.double = 0.0
        dx: cython.double
        dy: cython.double
        k: cython.Py_ssize_t
        for k in range(n):
            dx = k - half
            dy = x.c[i - n + 1 + k] - mean
            sxy += dx * dy
            sxx += dx * dx
            syy += dy * dy
        self.pool[self.base + 9] = ratio(div(sxy, sxx), atr, 20.0)
        self.pool[self.base + 10] = clip(div(sxy * sxy, sxx * syy), 0.0, 1.0)
        return 0

    @cython.cfunc
    def _variance_ratio(self, i: cython.Py_ssize_t, q: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """Var of overlapping q-bar returns / (q Var of returns), last n returns. Source: Lo and MacKinlay (1988)."""
        r = self.hist.r
        single: cython.double = variance_of(r, i, n)
        m: cython.Py_ssize_t = n - q + 1
        mean: cython.double = 0.0
        s: cython.double
        j: cython.Py_ssize_t
        k: cython.Py_ssize_t
        for j in range(m):
            s = 0.0
            for k in range(q):
                s += r[i - n + 1 + j + k]
            mean += s
        mean /= m
        total: cython.double = 0.0
        for j in range(m):
            s = 0.0
            for k in range(q):
                s += r[i - n + 1 + j + k]
            total += (s - mean) * (s - mean)
        return ratio(total / m, q * single, 20.0)

    @cython.cfunc
    def _efficiency(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """Net change / path length of the last n changes, signed. Source: Kaufman (1995)."""
        c = self.hist.c
        path: cython.double = 0.0
        d: cython.double
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            d = c[k] - c[k - 1]
            path += -d if d < 0.0 else d
        return div(c[i] - c[i - n], path)

    @cython.cfunc
    def _aroon(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """(bars since the low - bars since the high) / n within the last n + 1 bars, newest extreme. Source: Chande (1995)."""
        x: BarHistory = self.hist
        high: cython.Py_ssize_t = i - n
        low: cython.Py_ssize_t = i - n
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            if x.h[k] >= x.h[high]:
                high = k
            if x.l[k] <= x.l[low]:
                low = k
        lead: cython.double = high - low
        return lead / n
