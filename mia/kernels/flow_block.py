"""Order-flow features: what closed bars say about buying and selling, and exponentially decayed flow between bars."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, decay, div, ln1p_pos, ln_ratio, ratio, root
    from cython.cimports.mia.kernels.roll import mean_of
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, decay, div, ln1p_pos, ln_ratio, ratio, root
    from mia.kernels.roll import mean_of

SLOTS = (
    "delta_volume", "delta_ratio", "trade_imbalance_20", "count_imbalance", "bar_toxicity_30", "kyle_lambda_50",
    "amihud_20", "rel_bar_volume_20", "trade_size_ratio_20", "flow_imb_1s", "flow_imb_10s", "count_imb_10s",
    "trade_rate_10s", "side_run", "trade_size_last", "time_since_trade", "vwap_gap_10s",
)  # fmt: skip


@cython.cclass
class FlowBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    s: decayed sums: 0 signed lots 1 s, 1 lots 1 s, 2 signed lots 10 s, 3 lots 10 s, 4 signed count 10 s, 5 count 10 s,
    6 count 60 s, 7 lots x price 10 s, 8 last size. q: 0 last trade ns, 1 first trade ns, 2 signed run length.
    """

    s: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.s = arena.doubles(9)
        self.q = arena.longs(3)

    @cython.cfunc
    def trade(self, t_ns: cython.longlong, price: cython.double, qty: cython.double, side: cython.longlong) -> cython.longlong:
        """Take one trade."""
        s = self.s
        if self.q[1] == 0:
            self.q[0] = t_ns
            self.q[1] = t_ns
        e60: cython.double = decay(t_ns - self.q[0], 60.0)
        self.q[0] = t_ns
        e30: cython.double = e60 * e60
        e10: cython.double = e30 * e30 * e30
        e5: cython.double = e10 * e10
        e2: cython.double = e5 * e5 * e10  # 5 time constants of 10 s: exp(-dt / 2 s)
        e1: cython.double = e2 * e2
        sign: cython.double = side
        s[0] = s[0] * e1 + sign * qty
        s[1] = s[1] * e1 + qty
        s[2] = s[2] * e10 + sign * qty
        s[3] = s[3] * e10 + qty
        s[4] = s[4] * e10 + sign
        s[5] = s[5] * e10 + 1.0
        s[6] = s[6] * e60 + 1.0
        s[7] = s[7] * e10 + qty * price
        s[8] = qty
        if side > 0:
            self.q[2] = self.q[2] + 1 if self.q[2] > 0 else 1
        elif side < 0:
            self.q[2] = self.q[2] - 1 if self.q[2] < 0 else -1
        return 0

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        s = self.s
        p = self.pool
        b: cython.Py_ssize_t = self.base
        p[b + 9] = clip(div(s[0], s[1]), -1.0, 1.0)
        p[b + 10] = clip(div(s[2], s[3]), -1.0, 1.0)
        p[b + 11] = clip(div(s[4], s[5]), -1.0, 1.0)
        p[b + 12] = self._rate(t_ns)
        run: cython.double = self.q[2]
        p[b + 13] = clip((ln1p_pos(run) - ln1p_pos(-run)) / 5.0, -1.0, 1.0)
        p[b + 14] = clip(ln_ratio(s[8], div(s[3], s[5])), -10.0, 10.0)
        p[b + 15] = ln1p_pos((t_ns - self.q[0]) * 1e-9) if self.q[1] > 0 else 0.0
        p[b + 16] = ratio(mid - s[7] / s[3], self.hist.atr(), 20.0) if s[3] > 0.0 and mid > 0.0 else 0.0
        return 0

    @cython.cfunc
    def _rate(self, t_ns: cython.longlong) -> cython.double:
        """z of the trade count decayed over 10 s against the rate over 60 s; both corrected for their short past."""
        if self.q[1] == 0:
            return 0.0
        silence: cython.longlong = t_ns - self.q[0]
        age: cython.longlong = t_ns - self.q[1]
        slow: cython.double = div(self.s[6] * decay(silence, 60.0), 60.0 * (1.0 - decay(age, 60.0)))
        fast: cython.double = div(self.s[5] * decay(silence, 10.0), 1.0 - decay(age, 10.0))
        return ratio(fast - 10.0 * slow, root(5.0 * slow), 20.0)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        p = self.pool
        b: cython.Py_ssize_t = self.base
        i: cython.Py_ssize_t = x.last()
        mean_v: cython.double = mean_of(x.v, i, 20)
        p[b] = ratio(x.sv[i], mean_v, 20.0)
        p[b + 1] = clip(div(x.sv[i], x.v[i]), -1.0, 1.0)
        signed: cython.double = 0.0
        total: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - 19, i + 1):
            signed += x.sv[k]
            total += x.v[k]
        p[b + 2] = clip(div(signed, total), -1.0, 1.0)
        p[b + 3] = clip(div(x.sn[i], x.n[i]), -1.0, 1.0)
        signed = 0.0
        total = 0.0
        for k in range(i - 29, i + 1):
            signed += -x.sv[k] if x.sv[k] < 0.0 else x.sv[k]
            total += x.v[k]
        p[b + 4] = clip(div(signed, total), 0.0, 1.0)
        p[b + 5] = self._kyle(i, 50)
        p[b + 6] = self._amihud(i, 20)
        p[b + 7] = ratio(x.v[i], mean_v, 20.0)
        p[b + 8] = ratio(div(x.v[i], x.n[i]), div(mean_v, mean_of(x.n, i, 20)), 20.0)
        return 0

    @cython.cfunc
    def _kyle(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """OLS slope of close changes on signed volume, n bars, x mean volume / ATR. Source: Kyle (1985)."""
        x: BarHistory = self.hist
        mean_s: cython.double = mean_of(x.sv, i, n)
        mean_d: cython.double = (x.c[i] - x.c[i - n]) / n
        cov: cython.double = 0.0
        var: cython.double = 0.0
        d: cython.double
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            d = x.sv[k] - mean_s
            cov += d * (x.c[k] - x.c[k - 1] - mean_d)
            var += d * d
        return ratio(div(cov, var) * mean_of(x.v, i, n), x.atr(), 20.0)

    @cython.cfunc
    def _amihud(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """Mean of abs(r) / notional x mean notional, over the bars of the last n with trades. Source: Amihud (2002)."""
        x: BarHistory = self.hist
        total: cython.double = 0.0
        notional: cython.double = 0.0
        m: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            if x.notional[k] > 0.0:
                total += (-x.r[k] if x.r[k] < 0.0 else x.r[k]) / x.notional[k]
                notional += x.notional[k]
                m += 1.0
        return clip(div(total, m) * div(notional, m), 0.0, 1.0)
