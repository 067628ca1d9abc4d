"""Lines through the closes of bars: regression of 20 and 60, the strongest of four lengths, the mean and band of 20."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from cython.cimports.mia.kernels.num import clip, div, ratio, root
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from mia.kernels.num import clip, div, ratio, root

SLOTS = (
    "linreg_slope_20", "linreg_r2_20", "sma_gap_20", "bollinger_pct_b_20", "dpo_20", "linreg_slope_60", "linreg_resid_60",
    "trend_scan_t",
)  # fmt: skip

LINE = 4
LINE_ROWS = 64  # of the moments of 10 closes: above the 50 that a line of 60 reaches back


@cython.final
@cython.cclass
class LineBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    line: moments of the last 10 closes from the newest of them: sum of y, of j y, of y^2. fit: 0 slope, 1 R^2, 2 sum of squares.
    """

    line: cython.double[::1]
    fit: cython.double[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.line = arena.doubles(LINE_ROWS * LINE)
        self.fit = arena.doubles(3)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        atr: cython.double = atr_of(x)
        self._lines(last_bar(x), bars_pushed(x) - 1, 1.0 / atr if atr > 1e-300 else 0.0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _lines(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t, per_atr: cython.double) -> cython.longlong:
        """Lines through the last 10, 20, 40 and 60 closes, and the mean and deviation of 20.

        Closes are measured from the newest one: whole ticks, so that the sums are exact and a flat window is exactly flat.
        """
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        newest: cython.double = x.c[i]
        row: cython.Py_ssize_t = (n & 63) * 4
        y1: cython.double = x.c[i - 1] - newest
        y2: cython.double = x.c[i - 2] - newest
        y3: cython.double = x.c[i - 3] - newest
        y4: cython.double = x.c[i - 4] - newest
        y5: cython.double = x.c[i - 5] - newest
        y6: cython.double = x.c[i - 6] - newest
        y7: cython.double = x.c[i - 7] - newest
        y8: cython.double = x.c[i - 8] - newest
        y9: cython.double = x.c[i - 9] - newest
        s: cython.double = ((y1 + y2) + (y3 + y4)) + ((y5 + y6) + (y7 + y8)) + y9  # of y = c[-j] - c
        sj: cython.double = ((y1 + 2.0 * y2) + (3.0 * y3 + 4.0 * y4)) + ((5.0 * y5 + 6.0 * y6) + (7.0 * y7 + 8.0 * y8)) + 9.0 * y9
        syy: cython.double = ((y1 * y1 + y2 * y2) + (y3 * y3 + y4 * y4)) + ((y5 * y5 + y6 * y6) + (y7 * y7 + y8 * y8)) + y9 * y9
        self.line[row] = s
        self.line[row + 1] = sj
        self.line[row + 2] = syy
        best: cython.double = self._line(10.0, 0.1, 12.0 / 990.0, s, sj, syy)
        t: cython.double
        d: cython.double
        past: cython.double
        weight: cython.double
        m: cython.Py_ssize_t
        for m in range(10, 60, 10):
            # The ten closes before, which were measured from the newest of them.
            row = ((n + 64 - m) & 63) * 4
            d = x.c[i - m] - newest
            past = self.line[row]
            weight = m
            syy += self.line[row + 2] + d * (2.0 * past + 10.0 * d)
            sj += self.line[row + 1] + weight * past + d * (10.0 * weight + 45.0)
            s += past + 10.0 * d
            if m == 10:
                t = self._line(20.0, 0.05, 12.0 / 7980.0, s, sj, syy)
                self.pool[b] = clip(self.fit[0] * per_atr, -20.0, 20.0)
                self.pool[b + 1] = self.fit[1]
                self.pool[b + 2] = clip(-0.05 * s * per_atr, -20.0, 20.0)
                self.pool[b + 3] = clip(0.5 + div(-0.05 * s, 4.0 * root(self.fit[2] * 0.05)), -1.0, 2.0)
                self.pool[b + 4] = clip((x.c[i - 11] - newest - 0.05 * s) * per_atr, -20.0, 20.0)
            elif m == 30:
                t = self._line(40.0, 0.025, 12.0 / 63960.0, s, sj, syy)
            elif m == 50:
                t = self._line(60.0, 1.0 / 60.0, 12.0 / 215940.0, s, sj, syy)
                self.pool[b + 5] = clip(self.fit[0] * per_atr, -20.0, 20.0)
                past = 1.0 - self.fit[1]
                d = -s / 60.0 - self.fit[0] * 29.5
                self.pool[b + 6] = 0.0 if past <= 1e-9 else ratio(d, root(self.fit[2] * past / 60.0), 10.0)
            else:
                continue
            if abs(t) > abs(best):
                best = t
        self.pool[b + 7] = clip(root(best) - root(-best), -50.0, 50.0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _line(
        self,
        size: cython.double,
        per_size: cython.double,
        per_sxx: cython.double,
        s: cython.double,
        sj: cython.double,
        syy: cython.double,
    ) -> cython.double:
        """The line through `size` closes, into fit; returns the square of the t value of its slope, with the sign of the slope."""
        sxy: cython.double = 0.5 * (size - 1.0) * s - sj  # time runs forward: x = -j
        rest: cython.double = syy - s * s * per_size
        slope: cython.double = sxy * per_sxx
        t: cython.double = clip(div(sxy * slope, rest), 0.0, 1.0)
        self.fit[0] = slope
        self.fit[1] = t
        self.fit[2] = rest
        t = (size - 2.0) * t / (1.0 - t if 1.0 - t > 1e-9 else 1e-9)
        return t if slope > 0.0 else -t
