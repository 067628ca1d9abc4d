"""Order flow over windows of closed bars: delta of the session, delta against price, what flow explains, self-excitation."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, div, root
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, div, root

SLOTS = (
    "cum_delta_session", "delta_divergence_20", "absorption_20", "kyle_r2_50", "flow_lead_50", "branching_ratio_60",
)  # fmt: skip


@cython.cclass
class FlowWindowBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    s: of the bars of the running session: 0 signed volume, 1 volume (whole lots: their sums are exact). q: 0 session number.
    """

    s: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.s = arena.doubles(2)
        self.q = arena.longs(1)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        i: cython.Py_ssize_t = x.last()
        if x.session.begun() != self.q[0]:
            self.q[0] = x.session.begun()
            self.s[0] = 0.0
            self.s[1] = 0.0
        self.s[0] += x.sv[i]
        self.s[1] += x.v[i]
        self.pool[self.base] = clip(div(self.s[0], self.s[1]), -1.0, 1.0)
        self._divergence(i, 20)
        self._explained(i, 50)
        self.pool[self.base + 5] = self._branching(i, 60)
        return 0

    @cython.cfunc
    def _divergence(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Net price move against net delta, and the delta of bars whose price did not follow it."""
        c = self.hist.c
        sv = self.hist.sv
        v = self.hist.v
        path: cython.double = 0.0
        net: cython.double = 0.0
        gross: cython.double = 0.0
        absorbed: cython.double = 0.0
        volume: cython.double = 0.0
        d: cython.double
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            d = c[k] - c[k - 1]
            path += -d if d < 0.0 else d
            net += sv[k]
            gross += -sv[k] if sv[k] < 0.0 else sv[k]
            absorbed += sv[k] if d * sv[k] <= 0.0 else 0.0
            volume += v[k]
        self.pool[self.base + 1] = clip(div(c[i] - c[i - n], path) - div(net, gross), -2.0, 2.0)
        self.pool[self.base + 2] = clip(div(absorbed, volume), -1.0, 1.0)
        return 0

    @cython.cfunc
    def _explained(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Squared correlation of close changes with the delta of their bar; correlation with that of the bar before."""
        c = self.hist.c
        sv = self.hist.sv
        total: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            total += sv[k]
        mean: cython.double = total / n
        mean_before: cython.double = (total - sv[i] + sv[i - n]) / n
        drift: cython.double = (c[i] - c[i - n]) / n
        var_d: cython.double = 0.0
        var: cython.double = 0.0
        var_before: cython.double = 0.0
        cov: cython.double = 0.0
        cov_before: cython.double = 0.0
        d: cython.double
        a: cython.double
        z: cython.double
        for k in range(i - n + 1, i + 1):
            d = c[k] - c[k - 1] - drift
            a = sv[k] - mean
            z = sv[k - 1] - mean_before
            var_d += d * d
            var += a * a
            cov += a * d
            var_before += z * z
            cov_before += z * d
        self.pool[self.base + 3] = clip(div(div(cov * cov, var), var_d), 0.0, 1.0)
        self.pool[self.base + 4] = clip(div(cov_before, root(var_before) * root(var_d)), -1.0, 1.0)
        return 0

    @cython.cfunc
    def _branching(self, i: cython.Py_ssize_t, m: cython.Py_ssize_t) -> cython.double:
        """1 - sqrt(mean / variance) of the trades per bar: the share of trades that trades set off. Source: Hardiman, Bouchaud (2014)."""
        n = self.hist.n
        total: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - m + 1, i + 1):
            total += n[k]
        mean: cython.double = total / m
        var: cython.double = 0.0
        d: cython.double
        for k in range(i - m + 1, i + 1):
            d = n[k] - mean
            var += d * d
        var /= m
        if var <= mean:
            return 0.0
        return clip(1.0 - root(div(mean, var)), 0.0, 1.0)
