"""Price features of closed bars: returns, the shape of the bar, where the close lies among the bars before it."""

from __future__ import annotations

from array import array

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, div, ln_ratio, ratio, root
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
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


@cython.final
@cython.cclass
class PriceBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. weights: of frac_return_weights, a constant."""

    weights: cython.double[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.weights = memoryview(frac_return_weights())

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        i: cython.Py_ssize_t = x.last()
        c: cython.double = x.c[i]
        b: cython.Py_ssize_t = self.base
        ret_5: cython.double = ln_ratio(c, x.c[i - 5])
        self.pool[b] = clip(x.r[i], -1.0, 1.0)
        self.pool[b + 1] = clip(ret_5, -1.0, 1.0)
        self.pool[b + 2] = clip(ln_ratio(c, x.c[i - 10]), -1.0, 1.0)
        self.pool[b + 3] = clip(ln_ratio(c, x.c[i - 20]), -1.0, 1.0)
        self.pool[b + 9] = clip(ln_ratio(x.o[i], x.c[i - 1]), -1.0, 1.0)
        vwap: cython.double = x.notional[i] / x.v[i] if x.v[i] > 0.0 else c
        self.pool[b + 15] = ratio(c - vwap, x.atr(), 20.0)
        self.pool[b + 16] = clip(self._frac_diff(i), -1.0, 1.0)
        self.pool[b + 17] = clip(ln_ratio(c, x.c[i - 60]), -1.0, 1.0)
        self.pool[b + 18] = clip(ln_ratio(c, x.c[i - 240]), -2.0, 2.0)
        self.pool[b + 23] = self._run(i, 10)
        self._shape(i)
        self._standard(i, ret_5)
        self._places(i)
        return 0

    @cython.cfunc
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
    def _standard(self, i: cython.Py_ssize_t, ret_5: cython.double) -> cython.longlong:
        """Returns of one and of five bars in standard deviations of the last 50, in two passes of five sums each."""
        x: BarHistory = self.hist
        a0: cython.double = 0.0
        a1: cython.double = 0.0
        a2: cython.double = 0.0
        a3: cython.double = 0.0
        a4: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - 49, i + 1, 5):
            a0 += x.r[k]
            a1 += x.r[k + 1]
            a2 += x.r[k + 2]
            a3 += x.r[k + 3]
            a4 += x.r[k + 4]
        mean: cython.double = (a0 + a1 + a2 + a3 + a4) / 50.0
        a0 = 0.0
        a1 = 0.0
        a2 = 0.0
        a3 = 0.0
        a4 = 0.0
        for k in range(i - 49, i + 1, 5):
            a0 += (x.r[k] - mean) * (x.r[k] - mean)
            a1 += (x.r[k + 1] - mean) * (x.r[k + 1] - mean)
            a2 += (x.r[k + 2] - mean) * (x.r[k + 2] - mean)
            a3 += (x.r[k + 3] - mean) * (x.r[k + 3] - mean)
            a4 += (x.r[k + 4] - mean) * (x.r[k + 4] - mean)
        std: cython.double = root((a0 + a1 + a2 + a3 + a4) / 50.0)
        self.pool[self.base + 4] = ratio(x.r[i], std, 10.0)
        self.pool[self.base + 19] = ratio(ret_5, 2.23606797749979 * std, 10.0)  # sqrt(5)
        return 0

    @cython.cfunc
    def _frac_diff(self, i: cython.Py_ssize_t) -> cython.double:
        """Fractional difference of the last 100 log closes, measured from the oldest of them."""
        x: BarHistory = self.hist
        j: cython.Py_ssize_t = i - 98
        a0: cython.double = x.r[j] * self.weights[0]
        a1: cython.double = x.r[j + 1] * self.weights[1]
        a2: cython.double = x.r[j + 2] * self.weights[2]
        a3: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(3, 99, 4):
            a0 += x.r[j + k] * self.weights[k]
            a1 += x.r[j + k + 1] * self.weights[k + 1]
            a2 += x.r[j + k + 2] * self.weights[k + 2]
            a3 += x.r[j + k + 3] * self.weights[k + 3]
        return (a0 + a1) + (a2 + a3)

    @cython.cfunc
    def _places(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Where the close lies within the last 20 and 60 bars; who pushed, over the last 20."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        c: cython.double = x.c[i]
        top: cython.double = x.h[i]
        bottom: cython.double = x.l[i]
        wicks: cython.double = 0.0
        widths: cython.double = 0.0
        net: cython.longlong = 0
        moved: cython.longlong = 0
        below: cython.longlong = 0
        above: cython.longlong = 0
        k: cython.Py_ssize_t
        for k in range(i - 19, i + 1):
            top = x.h[k] if x.h[k] > top else top
            bottom = x.l[k] if x.l[k] < bottom else bottom
            wicks += x.o[k] + x.c[k] - x.h[k] - x.l[k]
            widths += x.h[k] - x.l[k]
            net += (x.r[k] > 0.0) - (x.r[k] < 0.0)
            moved += x.r[k] != 0.0
            below += x.c[k] < c
            above += x.c[k] > c
        self.pool[b + 10] = clip(ln_ratio(c, top), -2.0, 0.0)
        self.pool[b + 11] = clip(ln_ratio(c, bottom), 0.0, 2.0)
        self.pool[b + 14] = div(1.0 * net, 1.0 * moved)
        self.pool[b + 22] = div(wicks, widths)
        top_too: cython.double = top
        bottom_too: cython.double = bottom
        for k in range(i - 59, i - 19, 2):
            top = x.h[k] if x.h[k] > top else top
            top_too = x.h[k + 1] if x.h[k + 1] > top_too else top_too
            bottom = x.l[k] if x.l[k] < bottom else bottom
            bottom_too = x.l[k + 1] if x.l[k + 1] < bottom_too else bottom_too
            below += (x.c[k] < c) + (x.c[k + 1] < c)
            above += (x.c[k] > c) + (x.c[k + 1] > c)
        self.pool[b + 12] = clip(ln_ratio(c, top_too if top_too > top else top), -2.0, 0.0)
        self.pool[b + 13] = clip(ln_ratio(c, bottom_too if bottom_too < bottom else bottom), 0.0, 2.0)
        self.pool[b + 20] = (below - above) / 59.0
        return 0

    @cython.cfunc
    def _run(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """Signed number of newest bars in a row whose closes moved the same way, as a share of n, the most that counts."""
        x: BarHistory = self.hist
        up: cython.bint = x.r[i] > 0.0
        length: cython.Py_ssize_t = 0
        while length < n and (x.r[i - length] > 0.0 if up else x.r[i - length] < 0.0):
            length += 1
        share: cython.double = (1.0 * length) / n
        return share if up else -share
