"""The instrument beside its reference instruments, bar by bar: correlation, beta, lead and lag, spread, and the basis.

A reference moves from bar to bar by what was known of it when each closed. A bar at which it is stale breaks the window:
the columns are absent until as many bars have passed again.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.history import BarHistory, last_bar
    from cython.cimports.mia.kernels.num import clip, ln_ratio, ratio, root
    from cython.cimports.mia.kernels.reference_block import ReferenceBlock, correlation, z_of
    from cython.cimports.mia.kernels.roll import Ring, sum_of
else:
    from mia.kernels.history import BarHistory, last_bar
    from mia.kernels.num import clip, ln_ratio, ratio, root
    from mia.kernels.reference_block import ReferenceBlock, correlation, z_of
    from mia.kernels.roll import Ring, sum_of

SLOTS = (
    "ref_corr_60", "beta_ref_60", "ref_lead_1", "ref_lag_1", "ref_ret_z_60", "ref_rel_strength_20", "ref_spread_z_60",
    "ref_resid_z_60", "ref2_corr_60", "ref2_lead_1", "basis_z_60",
)  # fmt: skip
READS = (
    ("ref",), ("ref",), ("ref",), ("ref",), ("ref",), ("ref",), ("ref",), ("ref",), ("ref2",), ("ref2",), ("perp", "spot"),
)  # fmt: skip
REF = cython.declare(cython.longlong, 7)  # numbers of mia.features.series
REF2 = cython.declare(cython.longlong, 8)
SPOT = cython.declare(cython.longlong, 9)
PERP = cython.declare(cython.longlong, 10)


@cython.final
@cython.cclass
class PairBlock(ReferenceBlock):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    x, y: log returns of ref and ref2 per bar; lc, lx: logarithms of close and ref. q: bars in a row with 0 ref, 1 ref2,
    2 both sides of the basis. d: logarithm of 0 ref and 1 ref2 at the last bar.
    """

    x: Ring
    y: Ring
    lc: Ring
    lx: Ring
    basis: Ring
    q: cython.longlong[::1]
    d: cython.double[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        ReferenceBlock.__init__(self, arena, pool, base, hist, READS)
        self.x = Ring(arena, 61)
        self.y = Ring(arena, 61)
        self.lc = Ring(arena, 60)
        self.lx = Ring(arena, 60)
        self.basis = Ring(arena, 60)
        self.q = arena.longs(3)
        self.d = arena.doubles(2)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        if self.state[5] == 0 and self.state[0] == 0:  # nothing was ever heard
            return 0
        h: BarHistory = self.hist
        i: cython.Py_ssize_t = last_bar(h)
        t_ns: cython.longlong = h.t[i]
        if self.state[0] > 0:
            self.catch_up(t_ns)
        self.state[1] = 0
        n: cython.longlong = self._follow(REF, 0, self.x, t_ns)
        if n > 0:
            self.lc.push(ln_ratio(h.c[i], 1.0))
            self.lx.push(self.d[0])
        self._ready(0, 8, n >= 61)
        self._ready(2, 4, n >= 62)
        if n >= 61:
            self._first(i)
        n = self._follow(REF2, 1, self.y, t_ns)
        self._ready(8, 9, n >= 61)
        self._ready(9, 10, n >= 62)
        if n >= 61:
            self._second(i)
        if self.is_fresh(SPOT, t_ns) and self.is_fresh(PERP, t_ns):
            self.q[2] += 1
            self.basis.push((self.value[PERP] - self.value[SPOT]) / self.value[SPOT])
        else:
            self.q[2] = 0
        self._ready(10, 11, self.q[2] >= 60)
        if self.q[2] >= 60:
            self.pool[self.base + 10] = z_of(self.basis.x, self.basis.last(), 60)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _ready(self, start: cython.Py_ssize_t, stop: cython.Py_ssize_t, is_ready: cython.bint) -> cython.longlong:
        k: cython.Py_ssize_t
        for k in range(start, stop):
            self.ready[k] = 1 if is_ready else 0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _follow(self, s: cython.longlong, k: cython.Py_ssize_t, ring: Ring, t_ns: cython.longlong) -> cython.longlong:
        """Push the return of series s since the last bar; returns at how many bars in a row it was known, this one included."""
        if not self.is_fresh(s, t_ns):
            self.q[k] = 0
            return 0
        now: cython.double = ln_ratio(self.value[s], 1.0)
        ring.push(now - self.d[k] if self.q[k] > 0 else 0.0)
        self.d[k] = now
        self.q[k] += 1
        return self.q[k]

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _first(self, i: cython.Py_ssize_t) -> cython.longlong:
        """All columns of ref. r: the instrument, x: ref, 1: a bar earlier, l and m: logarithms of close and ref."""
        j: cython.Py_ssize_t = self.x.last()
        e: cython.Py_ssize_t = self.lc.last()
        k: cython.Py_ssize_t
        mr: cython.double = 0.0
        mx: cython.double = 0.0
        ml: cython.double = 0.0
        mm: cython.double = 0.0
        for k in range(60):
            mr += self.hist.r[i - 59 + k]
            mx += self.x.x[j - 59 + k]
            ml += self.lc.x[e - 59 + k]
            mm += self.lx.x[e - 59 + k]
        mr1: cython.double = (mr - self.hist.r[i] + self.hist.r[i - 60]) / 60.0
        mx1: cython.double = (mx - self.x.x[j] + self.x.x[j - 60]) / 60.0
        mr /= 60.0
        mx /= 60.0
        ml /= 60.0
        mm /= 60.0
        rr: cython.double = 0.0
        xx: cython.double = 0.0
        rx: cython.double = 0.0
        xx1: cython.double = 0.0
        rx1: cython.double = 0.0
        rr1: cython.double = 0.0
        r1x: cython.double = 0.0
        ll: cython.double = 0.0
        mm2: cython.double = 0.0
        lm: cython.double = 0.0
        dr: cython.double = 0.0
        dx: cython.double = 0.0
        dr1: cython.double
        dx1: cython.double
        dl: cython.double = 0.0
        dm: cython.double = 0.0
        for k in range(60):
            dr = self.hist.r[i - 59 + k] - mr
            dx = self.x.x[j - 59 + k] - mx
            dr1 = self.hist.r[i - 60 + k] - mr1
            dx1 = self.x.x[j - 60 + k] - mx1
            dl = self.lc.x[e - 59 + k] - ml
            dm = self.lx.x[e - 59 + k] - mm
            rr += dr * dr
            xx += dx * dx
            rx += dr * dx
            xx1 += dx1 * dx1
            rx1 += dr * dx1
            rr1 += dr1 * dr1
            r1x += dr1 * dx
            ll += dl * dl
            mm2 += dm * dm
            lm += dl * dm
        b: cython.Py_ssize_t = self.base
        moves: cython.bint = xx > 1e-22
        beta: cython.double = rx / xx if moves else 0.0
        self.pool[b] = correlation(rx, rr, xx)
        self.pool[b + 1] = clip(beta, -20.0, 20.0)
        self.pool[b + 2] = correlation(rx1, rr, xx1)
        self.pool[b + 3] = correlation(r1x, rr1, xx)
        self.pool[b + 4] = ratio(self.x.x[j], root(xx / 60.0), 10.0) if moves else 0.0
        left: cython.double = rr + xx - 2.0 * rx
        gone: cython.double = sum_of(self.hist.r, i, 20) - sum_of(self.x.x, j, 20)
        self.pool[b + 5] = ratio(gone, root(left / 3.0), 10.0) if left > 1e-12 * (rr + xx) else 0.0  # 20 / 60 of left
        hedge: cython.double = lm / mm2 if mm2 > 1e-22 else 0.0
        left = ll - hedge * lm
        self.pool[b + 6] = ratio(dl - hedge * dm, root(left / 60.0), 10.0) if mm2 > 1e-22 and left > 1e-12 * ll else 0.0
        left = rr - beta * rx
        self.pool[b + 7] = ratio(dr - beta * dx, root(left / 60.0), 10.0) if moves and left > 1e-12 * rr else 0.0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _second(self, i: cython.Py_ssize_t) -> cython.longlong:
        """The columns of ref2."""
        j: cython.Py_ssize_t = self.y.last()
        k: cython.Py_ssize_t
        mr: cython.double = 0.0
        my: cython.double = 0.0
        for k in range(60):
            mr += self.hist.r[i - 59 + k]
            my += self.y.x[j - 59 + k]
        my1: cython.double = (my - self.y.x[j] + self.y.x[j - 60]) / 60.0
        mr /= 60.0
        my /= 60.0
        rr: cython.double = 0.0
        yy: cython.double = 0.0
        ry: cython.double = 0.0
        yy1: cython.double = 0.0
        ry1: cython.double = 0.0
        dr: cython.double
        dy: cython.double
        dy1: cython.double
        for k in range(60):
            dr = self.hist.r[i - 59 + k] - mr
            dy = self.y.x[j - 59 + k] - my
            dy1 = self.y.x[j - 60 + k] - my1
            rr += dr * dr
            yy += dy * dy
            ry += dr * dy
            yy1 += dy1 * dy1
            ry1 += dr * dy1
        self.pool[self.base + 8] = correlation(ry, rr, yy)
        self.pool[self.base + 9] = correlation(ry1, rr, yy1)
        return 0
