"""Price features of closed bars: returns, the shape of the bar, distances to extremes."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import div, ln_ratio, ratio, root
    from cython.cimports.mia.kernels.roll import highest_of, lowest_of, variance_of
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import div, ln_ratio, ratio, root
    from mia.kernels.roll import highest_of, lowest_of, variance_of

SLOTS = (
    "ret_1", "ret_5", "ret_10", "ret_20", "ret_z_50", "body_ratio", "close_location", "upper_wick", "lower_wick", "gap",
    "dist_high_20", "dist_low_20", "dist_high_60", "dist_low_60", "up_share_20", "close_vwap_gap",
)  # fmt: skip


@cython.cclass
class PriceBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml."""

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        p = self.pool
        b: cython.Py_ssize_t = self.base
        i: cython.Py_ssize_t = x.last()
        o: cython.double = x.o[i]
        h: cython.double = x.h[i]
        low: cython.double = x.l[i]
        c: cython.double = x.c[i]
        p[b] = x.r[i]
        p[b + 1] = ln_ratio(c, x.c[i - 5])
        p[b + 2] = ln_ratio(c, x.c[i - 10])
        p[b + 3] = ln_ratio(c, x.c[i - 20])
        p[b + 4] = ratio(x.r[i], root(variance_of(x.r, i, 50)), 10.0)
        p[b + 5] = div(c - o, h - low)
        p[b + 6] = div(2.0 * c - h - low, h - low)
        p[b + 7] = div(h - (o if o > c else c), h - low)
        p[b + 8] = div((c if o > c else o) - low, h - low)
        p[b + 9] = ln_ratio(o, x.c[i - 1])
        p[b + 10] = ln_ratio(c, highest_of(x.h, i, 20))
        p[b + 11] = ln_ratio(c, lowest_of(x.l, i, 20))
        p[b + 12] = ln_ratio(c, highest_of(x.h, i, 60))
        p[b + 13] = ln_ratio(c, lowest_of(x.l, i, 60))
        p[b + 14] = self._up_share(i, 20)
        vwap: cython.double = x.notional[i] / x.v[i] if x.v[i] > 0.0 else c
        p[b + 15] = ratio(c - vwap, x.atr(), 20.0)
        return 0

    @cython.cfunc
    def _up_share(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """(bars up - bars down) / bars that moved, of the last n."""
        up: cython.double = 0.0
        moved: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            if self.hist.r[k] > 0.0:
                up += 1.0
                moved += 1.0
            elif self.hist.r[k] < 0.0:
                up -= 1.0
                moved += 1.0
        return div(up, moved)
