"""Price features of closed bars: returns, the shape of the bar, where the close lies among the bars before it."""

from __future__ import annotations

from array import array

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from cython.cimports.mia.kernels.num import clip, div, ln_ratio, ratio, root
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from mia.kernels.num import clip, div, ln_ratio, ratio, root

SLOTS = (
    "ret_1", "ret_5", "ret_10", "ret_20", "ret_z_50", "body_ratio", "close_location", "upper_wick", "lower_wick", "gap",
    "dist_high_20", "dist_low_20", "dist_high_60", "dist_low_60", "up_share_20", "close_vwap_gap",
    "frac_diff_04", "ret_60", "ret_240", "ret_z_5_50", "close_rank_60", "bar_overlap", "wick_balance_20", "close_run_10",
)  # fmt: skip

FRAC_ORDER = 0.4
FRAC_TERMS = 100  # closes; 99 returns


def frac_return_weights() -> array[float]:
    """float64[99], oldest first: what each of the last 99 returns weighs in the fractional difference of 100 log closes.

    With w_0 = 1, w_k = -w_{k-1} (d - k + 1) / k, the sum of w_k (ln c[-k] - ln c[-99]) is, summed by parts, that of
    W_k r[-k] with W_k = w_0 + ... + w_k. Source: Lopez de Prado (2018), Advances in Financial Machine Learning, 5.4.
    """
    w = total = 1.0
    weights = [total]
    for k in range(1, FRAC_TERMS - 1):
        w = -w * (FRAC_ORDER - k + 1) / k
        total += w
        weights.append(total)
    return array("d", weights[::-1])


ROWS = 64  # rows kept of maxima and of tens: a power of two above the 40 bars that a window of 50 reaches back
SUM_ROWS = 32  # of sums: above the 16 bars that a window of 20 reaches back


@cython.final
@cython.cclass
class PriceBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. weights: of frac_return_weights, a constant.

    Windows are put together from those of 2, 4, 8, 16 and 32 bars, each kept for the last bars. m2 .. m32, maxima: highs at even
    places, lows with the sign changed at odd ones. w2 .. w8, sums: o + c - h - l at even places, h - l at odd ones. tens, of 10
    returns: the mean, and the squares of what differs from it. state: 0 falls of the last 20 bars taken from rises, 1 bars of
    them that moved, 2 signed number of bars in a row that moved the same way. The block hears every bar.
    """

    weights: cython.double[::1]
    m2: cython.double[::1]
    m4: cython.double[::1]
    m8: cython.double[::1]
    m16: cython.double[::1]
    m32: cython.double[::1]
    w2: cython.double[::1]
    w4: cython.double[::1]
    w8: cython.double[::1]
    tens: cython.double[::1]
    state: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.weights = memoryview(frac_return_weights())
        self.m2 = arena.doubles(2 * ROWS)
        self.m4 = arena.doubles(2 * ROWS)
        self.m8 = arena.doubles(2 * ROWS)
        self.m16 = arena.doubles(2 * ROWS)
        self.m32 = arena.doubles(2 * ROWS)
        self.w2 = arena.doubles(2 * SUM_ROWS)
        self.w4 = arena.doubles(2 * SUM_ROWS)
        self.w8 = arena.doubles(2 * SUM_ROWS)
        self.tens = arena.doubles(2 * ROWS)
        self.state = arena.longs(3)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        i: cython.Py_ssize_t = last_bar(x)
        n: cython.Py_ssize_t = bars_pushed(x) - 1
        c: cython.double = x.c[i]
        b: cython.Py_ssize_t = self.base
        ret_5: cython.double = ln_ratio(c, x.c[i - 5])
        self.pool[b] = clip(x.r[i], -1.0, 1.0)
        self.pool[b + 1] = clip(ret_5, -1.0, 1.0)
        self.pool[b + 2] = clip(ln_ratio(c, x.c[i - 10]), -1.0, 1.0)
        self.pool[b + 3] = clip(ln_ratio(c, x.c[i - 20]), -1.0, 1.0)
        self.pool[b + 9] = clip(ln_ratio(x.o[i], x.c[i - 1]), -1.0, 1.0)
        vwap: cython.double = x.notional[i] / x.v[i] if x.v[i] > 0.0 else c
        self.pool[b + 15] = ratio(c - vwap, atr_of(x), 20.0)
        self.pool[b + 16] = clip(self._frac_diff(i), -1.0, 1.0)
        self.pool[b + 17] = clip(ln_ratio(c, x.c[i - 60]), -1.0, 1.0)
        self.pool[b + 18] = clip(ln_ratio(c, x.c[i - 240]), -2.0, 2.0)
        self._shape(i)
        self._standard(i, n, ret_5)
        self._range(i, n)
        self._sides(i)
        self._wicks(i, n)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _shape(self, i: cython.Py_ssize_t) -> cython.longlong:
        """The newest bar: its body and wicks as shares of its range, and how far it covers the bar before."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        o: cython.double = x.o[i]
        h: cython.double = x.h[i]
        low: cython.double = x.l[i]
        c: cython.double = x.c[i]
        width: cython.double = h - low
        self.pool[b + 5] = div(c - o, width)
        self.pool[b + 6] = div(2.0 * c - h - low, width)
        self.pool[b + 7] = div(h - (o if o > c else c), width)
        self.pool[b + 8] = div((c if o > c else o) - low, width)
        h1: cython.double = x.h[i - 1]
        l1: cython.double = x.l[i - 1]
        shared: cython.double = (h if h < h1 else h1) - (low if low > l1 else l1)
        whole: cython.double = (h if h > h1 else h1) - (low if low < l1 else l1)
        self.pool[b + 21] = div(shared, whole)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _standard(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t, ret_5: cython.double) -> cython.longlong:
        """Returns of one and of five bars in standard deviations of the last 50, put together from five tens.

        Source of the sum of squares: Chan, Golub and LeVeque (1983), which is as good as two passes.
        """
        x: BarHistory = self.hist
        row: cython.Py_ssize_t = (n & 63) * 2
        row1: cython.Py_ssize_t = ((n + 54) & 63) * 2
        row2: cython.Py_ssize_t = ((n + 44) & 63) * 2
        row3: cython.Py_ssize_t = ((n + 34) & 63) * 2
        row4: cython.Py_ssize_t = ((n + 24) & 63) * 2
        a0: cython.double = 0.0
        a1: cython.double = 0.0
        q0: cython.double = 0.0
        q1: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - 9, i + 1, 2):
            a0 += x.r[k]
            a1 += x.r[k + 1]
        mean: cython.double = (a0 + a1) / 10.0
        for k in range(i - 9, i + 1, 2):
            q0 += (x.r[k] - mean) * (x.r[k] - mean)
            q1 += (x.r[k + 1] - mean) * (x.r[k + 1] - mean)
        self.tens[row] = mean
        self.tens[row + 1] = q0 + q1
        mean = (((mean + self.tens[row1]) + (self.tens[row2] + self.tens[row3])) + self.tens[row4]) / 5.0
        a0 = (self.tens[row] - mean) * (self.tens[row] - mean)
        a0 += (self.tens[row1] - mean) * (self.tens[row1] - mean) + (self.tens[row2] - mean) * (self.tens[row2] - mean)
        a0 += (self.tens[row3] - mean) * (self.tens[row3] - mean) + (self.tens[row4] - mean) * (self.tens[row4] - mean)
        q0 = (q0 + q1) + (self.tens[row1 + 1] + self.tens[row2 + 1]) + (self.tens[row3 + 1] + self.tens[row4 + 1])
        std: cython.double = root((q0 + 10.0 * a0) / 50.0)
        self.pool[self.base + 4] = ratio(x.r[i], std, 10.0)
        self.pool[self.base + 19] = ratio(ret_5, 2.23606797749979 * std, 10.0)  # sqrt(5)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _frac_diff(self, i: cython.Py_ssize_t) -> cython.double:
        """Fractional difference of the last 100 log closes, measured from the oldest of them."""
        x: BarHistory = self.hist
        j: cython.Py_ssize_t = i - 98
        a0: cython.double = x.r[j] * self.weights[0]
        a1: cython.double = x.r[j + 1] * self.weights[1]
        a2: cython.double = x.r[j + 2] * self.weights[2]
        a3: cython.double = 0.0
        a4: cython.double = 0.0
        a5: cython.double = 0.0
        a6: cython.double = 0.0
        a7: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(3, 99, 8):
            a0 += x.r[j + k] * self.weights[k]
            a1 += x.r[j + k + 1] * self.weights[k + 1]
            a2 += x.r[j + k + 2] * self.weights[k + 2]
            a3 += x.r[j + k + 3] * self.weights[k + 3]
            a4 += x.r[j + k + 4] * self.weights[k + 4]
            a5 += x.r[j + k + 5] * self.weights[k + 5]
            a6 += x.r[j + k + 6] * self.weights[k + 6]
            a7 += x.r[j + k + 7] * self.weights[k + 7]
        return ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7))

    @cython.cfunc
    @cython.exceptval(check=False)
    def _range(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """How far the close lies below the highs and above the lows of the last 20 and 60 bars."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        c: cython.double = x.c[i]
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
        back = ((n + 60) & 63) * 2  # 16 bars, and the 16 that ended 4 before
        self.pool[b + 10] = clip(ln_ratio(c, max(high, self.m16[back])), -2.0, 0.0)
        self.pool[b + 11] = clip(ln_ratio(c, -max(low, self.m16[back + 1])), 0.0, 2.0)
        back = ((n + 48) & 63) * 2
        high = max(high, self.m16[back])
        low = max(low, self.m16[back + 1])
        self.m32[row] = high
        self.m32[row + 1] = low
        back = ((n + 36) & 63) * 2  # 32 bars, and the 32 that ended 28 before
        self.pool[b + 12] = clip(ln_ratio(c, max(high, self.m32[back])), -2.0, 0.0)
        self.pool[b + 13] = clip(ln_ratio(c, -max(low, self.m32[back + 1])), 0.0, 2.0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _sides(self, i: cython.Py_ssize_t) -> cython.longlong:
        """How many of the last 60 closes lie on which side, and how many of the last bars moved to which; all whole numbers."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        c: cython.double = x.c[i]
        a0: cython.double = 0.0  # closes below, of every fourth: of four sums and one comparison a loop the C compiler makes vectors
        a1: cython.double = 0.0
        a2: cython.double = 0.0
        a3: cython.double = 0.0
        z0: cython.double = 0.0  # closes above
        z1: cython.double = 0.0
        z2: cython.double = 0.0
        z3: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - 59, i + 1, 4):
            a0 += 1.0 if x.c[k] < c else 0.0
            a1 += 1.0 if x.c[k + 1] < c else 0.0
            a2 += 1.0 if x.c[k + 2] < c else 0.0
            a3 += 1.0 if x.c[k + 3] < c else 0.0
        for k in range(i - 59, i + 1, 4):
            z0 += 1.0 if x.c[k] > c else 0.0
            z1 += 1.0 if x.c[k + 1] > c else 0.0
            z2 += 1.0 if x.c[k + 2] > c else 0.0
            z3 += 1.0 if x.c[k + 3] > c else 0.0
        self.pool[b + 20] = ((a0 + a1) + (a2 + a3) - (z0 + z1) - (z2 + z3)) / 59.0
        up: cython.longlong = x.r[i] > 0.0
        down: cython.longlong = x.r[i] < 0.0
        old_up: cython.longlong = x.r[i - 20] > 0.0
        old_down: cython.longlong = x.r[i - 20] < 0.0
        self.state[0] += (up - down) - (old_up - old_down)
        self.state[1] += (up + down) - (old_up + old_down)
        self.pool[b + 14] = div(1.0 * self.state[0], 1.0 * self.state[1])
        run: cython.longlong = self.state[2]
        if up:
            run = run + 1 if run > 0 else 1
        elif down:
            run = run - 1 if run < 0 else -1
        else:
            run = 0
        self.state[2] = run
        self.pool[b + 23] = clip(run / 10.0, -1.0, 1.0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _wicks(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Who pushed the price back, over the last 20 bars."""
        x: BarHistory = self.hist
        row: cython.Py_ssize_t = (n & 31) * 2
        wick: cython.double = (x.o[i] + x.c[i] - x.h[i] - x.l[i]) + (x.o[i - 1] + x.c[i - 1] - x.h[i - 1] - x.l[i - 1])
        width: cython.double = (x.h[i] - x.l[i]) + (x.h[i - 1] - x.l[i - 1])
        self.w2[row] = wick
        self.w2[row + 1] = width
        back: cython.Py_ssize_t = ((n + 30) & 31) * 2
        wick += self.w2[back]
        width += self.w2[back + 1]
        self.w4[row] = wick
        self.w4[row + 1] = width
        back = ((n + 28) & 31) * 2
        wick += self.w4[back]
        width += self.w4[back + 1]
        self.w8[row] = wick
        self.w8[row + 1] = width
        back = ((n + 24) & 31) * 2
        wick += self.w8[back]
        width += self.w8[back + 1]
        back = ((n + 16) & 31) * 2
        self.pool[self.base + 22] = div(wick + self.w4[back], width + self.w4[back + 1])
        return 0
