"""Order-flow features: what closed bars say about buying and selling, and exponentially decayed flow between bars."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.libc.math import fabs
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, decay, div, ln1p_pos, ln_ratio, ratio, root
    from cython.cimports.mia.kernels.roll import Ring, sum_of
else:
    from math import fabs

    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, decay, div, ln1p_pos, ln_ratio, ratio, root
    from mia.kernels.roll import Ring, sum_of

SLOTS = (
    "delta_volume", "delta_ratio", "trade_imbalance_20", "count_imbalance", "bar_toxicity_30", "kyle_lambda_50",
    "amihud_20", "rel_bar_volume_20", "trade_size_ratio_20", "flow_imb_1s", "flow_imb_10s", "count_imb_10s",
    "trade_rate_10s", "side_run", "trade_size_last", "time_since_trade", "vwap_gap_10s", "cum_delta_session",
    "delta_divergence_20", "absorption_20", "kyle_r2_50", "flow_lead_50", "branching_ratio_60",
)  # fmt: skip


@cython.cclass
class FlowBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    s: decayed sums: 0 signed lots 1 s, 1 lots 1 s, 2 signed lots 10 s, 3 lots 10 s, 4 signed count 10 s, 5 count 10 s,
    6 count 60 s, 7 lots x price 10 s, 8 last size; of the bars of the running session: 9 signed volume, 10 volume (whole lots:
    their sums are exact). q: 0 last trade ns, 1 first trade ns, 2 signed run length, 3 number of the session.
    """

    s: cython.double[::1]
    q: cython.longlong[::1]
    illiquidity: Ring

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.s = arena.doubles(11)
        self.q = arena.longs(4)
        self.illiquidity = Ring(arena, 20)  # abs(r) / notional of a bar, 0.0 of one without trades

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
        unsigned: cython.longlong = 1 if self.q[2] == 0 else 0  # no trade yet had a known aggressor
        self.absent[b + 9] = unsigned
        self.absent[b + 10] = unsigned
        self.absent[b + 11] = unsigned
        self.absent[b + 13] = unsigned
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
        """A bar was pushed: write the features of bars. One pass from the newest bar back; the windows lie inside each other."""
        x: BarHistory = self.hist
        p = self.pool
        b: cython.Py_ssize_t = self.base
        i: cython.Py_ssize_t = x.last()
        volume: cython.double = 0.0
        net: cython.double = 0.0
        gross: cython.double = 0.0
        trades: cython.double = 0.0
        squares: cython.double = 0.0
        path: cython.double = 0.0
        absorbed: cython.double = 0.0
        turnover: cython.double = 0.0
        active: cython.double = 0.0
        d: cython.double
        f: cython.double
        k: cython.Py_ssize_t
        for k in range(i, i - 20, -1):
            d = x.c[k] - x.c[k - 1]
            f = x.sv[k]
            path += fabs(d)
            volume += x.v[k]
            net += f
            gross += fabs(f)
            absorbed += f if d * f <= 0.0 else 0.0
            trades += x.n[k]
            squares += x.n[k] * x.n[k]
            turnover += x.notional[k]
            active += 1.0 if x.notional[k] > 0.0 else 0.0
        self.illiquidity.push(div(fabs(x.r[i]), x.notional[i]))
        illiquidity: cython.double = sum_of(self.illiquidity.x, self.illiquidity.last(), 20)
        p[b] = ratio(20.0 * x.sv[i], volume, 20.0)
        p[b + 1] = clip(div(x.sv[i], x.v[i]), -1.0, 1.0)
        p[b + 2] = clip(div(net, volume), -1.0, 1.0)
        p[b + 3] = clip(div(x.sn[i], x.n[i]), -1.0, 1.0)
        p[b + 6] = clip(div(illiquidity, active) * div(turnover, active), 0.0, 1.0)  # Amihud (2002)
        p[b + 7] = ratio(20.0 * x.v[i], volume, 20.0)
        p[b + 8] = ratio(div(x.v[i], x.n[i]), div(volume, trades), 20.0)
        p[b + 17] = self._session(x.v[i], x.sv[i])
        p[b + 18] = clip(div(x.c[i] - x.c[i - 20], path) - div(net, gross), -2.0, 2.0)
        p[b + 19] = clip(div(absorbed, volume), -1.0, 1.0)
        for k in range(i - 20, i - 30, -1):
            volume += x.v[k]
            net += x.sv[k]
            gross += fabs(x.sv[k])
            trades += x.n[k]
            squares += x.n[k] * x.n[k]
        p[b + 4] = clip(div(gross, volume), 0.0, 1.0)
        for k in range(i - 30, i - 50, -1):
            volume += x.v[k]
            net += x.sv[k]
            gross += fabs(x.sv[k])
            trades += x.n[k]
            squares += x.n[k] * x.n[k]
        self._mark(1 if gross <= 0.0 and volume > 0.0 else 0)
        self._impact(i, net, volume)
        for k in range(i - 50, i - 60, -1):
            trades += x.n[k]
            squares += x.n[k] * x.n[k]
        # Hardiman and Bouchaud (2014). Counts are whole, so that the variance x 60^2 is exact.
        spread: cython.double = 60.0 * squares - trades * trades
        p[b + 22] = clip(1.0 - root(div(60.0 * trades, spread)), 0.0, 1.0) if spread > 0.0 else 0.0
        return 0

    @cython.cfunc
    def _mark(self, missing: cython.longlong) -> cython.longlong:
        """Bars that traded without any delta come from a feed that names no aggressor: not a balanced market."""
        b: cython.Py_ssize_t = self.base
        k: cython.Py_ssize_t
        for k in range(b, b + 6):
            self.absent[k] = missing
        for k in range(b + 17, b + 22):
            self.absent[k] = missing
        return 0

    @cython.cfunc
    def _session(self, volume: cython.double, signed: cython.double) -> cython.double:
        """Share of signed volume in that of the session, the newest bar included."""
        s = self.s
        begun: cython.longlong = self.hist.session.begun()
        if begun != self.q[3]:
            self.q[3] = begun
            s[9] = 0.0
            s[10] = 0.0
        s[9] += signed
        s[10] += volume
        return clip(div(s[9], s[10]), -1.0, 1.0)

    @cython.cfunc
    def _impact(self, i: cython.Py_ssize_t, net: cython.double, volume: cython.double) -> cython.longlong:
        """Close changes on the signed volume of their bar, and of the bar before, 50 bars; net, volume: sums over them.

        Sources: Kyle (1985), the OLS slope; Hasbrouck (1991), the lag.
        """
        x: BarHistory = self.hist
        p = self.pool
        b: cython.Py_ssize_t = self.base
        mean: cython.double = net / 50.0
        mean_before: cython.double = (net - x.sv[i] + x.sv[i - 50]) / 50.0
        drift: cython.double = (x.c[i] - x.c[i - 50]) / 50.0
        var_d: cython.double = 0.0
        var: cython.double = 0.0
        var_before: cython.double = 0.0
        cov: cython.double = 0.0
        cov_before: cython.double = 0.0
        d: cython.double
        a: cython.double
        z: cython.double
        k: cython.Py_ssize_t
        for k in range(i - 49, i + 1):
            d = x.c[k] - x.c[k - 1] - drift
            a = x.sv[k] - mean
            z = x.sv[k - 1] - mean_before
            var_d += d * d
            var += a * a
            var_before += z * z
            cov += a * d
            cov_before += z * d
        slope: cython.double = div(cov, var)
        p[b + 5] = ratio(slope * (volume / 50.0), x.atr(), 20.0)
        p[b + 20] = clip(div(slope * cov, var_d), 0.0, 1.0)
        p[b + 21] = clip(div(cov_before, root(var_before) * root(var_d)), -1.0, 1.0)
        return 0
