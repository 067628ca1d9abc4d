"""Volatility features of closed bars: range and return estimators, their ratios, jumps."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, div, ln_ratio, ratio, root
    from cython.cimports.mia.kernels.roll import Ring, mean_of, sum_of, variance_of
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, div, ln_ratio, ratio, root
    from mia.kernels.roll import Ring, mean_of, sum_of, variance_of

SLOTS = (
    "atr_14", "rv_30", "parkinson_20", "garman_klass_20", "rogers_satchell_20", "yang_zhang_20", "bollinger_width_20",
    "bipower_30", "jump_share_30", "semivar_down_30", "vol_ratio_10_60", "vol_ratio_5_30", "range_ratio_20",
)  # fmt: skip

_LN2 = cython.declare(cython.double, 0.6931471805599453)
_PI = cython.declare(cython.double, 3.141592653589793)


@cython.cclass
class VolBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml."""

    span: Ring
    body: Ring
    jump: Ring
    rogers: Ring

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.span = Ring(arena, 20)  # ln(h / l)
        self.body = Ring(arena, 20)  # ln(c / o)
        self.jump = Ring(arena, 20)  # ln(o / c[-1])
        self.rogers = Ring(arena, 20)  # the terms of Rogers and Satchell

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        p = self.pool
        b: cython.Py_ssize_t = self.base
        i: cython.Py_ssize_t = x.last()
        p[b] = div(x.atr(), x.c[i])
        self._remember(i)
        self._ranges(20)
        p[b + 6] = div(4.0 * root(variance_of(x.c, i, 20)), mean_of(x.c, i, 20))
        self._returns(i, 30)
        p[b + 10] = ratio(root(self._power(i, 10) / 10.0), root(self._power(i, 60) / 60.0), 20.0)
        p[b + 11] = ratio(root(self._power(i, 5) / 5.0), root(self._power(i, 30) / 30.0), 20.0)
        width: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - 19, i + 1):
            width += x.h[k] - x.l[k]
        p[b + 12] = ratio(x.h[i] - x.l[i], width / 20.0, 20.0)
        return 0

    @cython.cfunc
    def _power(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """Sum of the last n squared returns."""
        r = self.hist.r
        total: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            total += r[k] * r[k]
        return total

    @cython.cfunc
    def _remember(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Take the logarithms of the newest bar, once: they are most of the cost of the range estimators."""
        x: BarHistory = self.hist
        self.span.push(ln_ratio(x.h[i], x.l[i]))
        self.body.push(ln_ratio(x.c[i], x.o[i]))
        self.jump.push(ln_ratio(x.o[i], x.c[i - 1]))
        up: cython.double = ln_ratio(x.h[i], x.c[i]) * ln_ratio(x.h[i], x.o[i])
        self.rogers.push(up + ln_ratio(x.l[i], x.c[i]) * ln_ratio(x.l[i], x.o[i]))
        return 0

    @cython.cfunc
    def _ranges(self, n: cython.Py_ssize_t) -> cython.longlong:
        """Parkinson (1980), Garman-Klass (1980), Rogers-Satchell (1991), Yang-Zhang (2000), per bar."""
        parkinson: cython.double = 0.0
        garman: cython.double = 0.0
        hl: cython.double
        co: cython.double
        k: cython.Py_ssize_t
        last: cython.Py_ssize_t = self.body.last()
        for k in range(last - n + 1, last + 1):
            hl = self.span.x[k]
            co = self.body.x[k]
            parkinson += hl * hl
            garman += 0.5 * hl * hl - (2.0 * _LN2 - 1.0) * co * co
        rogers: cython.double = sum_of(self.rogers.x, last, n)
        var_open: cython.double = variance_of(self.jump.x, last, n) * n / (n - 1)
        var_body: cython.double = variance_of(self.body.x, last, n) * n / (n - 1)
        size: cython.double = n
        weight: cython.double = 0.34 / (1.34 + (size + 1.0) / (size - 1.0))
        p = self.pool
        b: cython.Py_ssize_t = self.base
        p[b + 2] = root(parkinson / n / (4.0 * _LN2))
        p[b + 3] = root(garman / n)
        p[b + 4] = root(rogers / n)
        p[b + 5] = root(var_open + weight * var_body + (1.0 - weight) * rogers / n)
        return 0

    @cython.cfunc
    def _returns(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Realized volatility, bipower variation and its jumps (Barndorff-Nielsen, Shephard 2004), downside share."""
        r = self.hist.r
        power: cython.double = 0.0
        pairs: cython.double = 0.0
        down: cython.double = 0.0
        d: cython.double
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            power += r[k] * r[k]
            d = r[k] * r[k - 1]
            pairs += -d if d < 0.0 else d
            if r[k] < 0.0:
                down += r[k] * r[k]
        p = self.pool
        b: cython.Py_ssize_t = self.base
        pairs *= 0.5 * _PI
        p[b + 1] = root(power)
        p[b + 7] = pairs
        p[b + 8] = clip(div(power - pairs, power), 0.0, 1.0)
        p[b + 9] = div(down, power)
        return 0
