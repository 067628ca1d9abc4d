"""Order-flow features: what closed bars say about buying and selling, and exponentially decayed flow between bars."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from cython.cimports.mia.kernels.num import clip, decay, div, ln1p_pos, ln_ratio, ratio, root
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from mia.kernels.num import clip, decay, div, ln1p_pos, ln_ratio, ratio, root

SLOTS = (
    "delta_volume", "delta_ratio", "trade_imbalance_20", "count_imbalance", "bar_toxicity_30", "kyle_lambda_50",
    "amihud_20", "rel_bar_volume_20", "trade_size_ratio_20", "flow_imb_1s", "flow_imb_10s", "count_imb_10s",
    "trade_rate_10s", "side_run", "trade_size_last", "time_since_trade", "vwap_gap_10s", "cum_delta_session",
    "delta_divergence_20", "absorption_20", "kyle_r2_50", "flow_lead_50", "branching_ratio_60",
)  # fmt: skip


LANES = 10
TWO_ROWS = 16  # rows kept of the sums of 2 bars: a power of two above the 8 that a sum of 10 reaches back
TEN_ROWS = 64  # of 10 bars: above the 50 that a sum of 60 reaches back
CROSS = 6

_LANES = cython.declare(cython.Py_ssize_t, 10)
_OLD_NS = cython.declare(cython.longlong, 3_000_000_000_000)  # after 50 time constants, 1 less the decay is 1
_CROSS = cython.declare(cython.Py_ssize_t, 6)


@cython.final
@cython.cclass
class FlowBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    s: decayed sums: 0 signed lots 1 s, 1 lots 1 s, 2 signed lots 10 s, 3 lots 10 s, 4 signed count 10 s, 5 count 10 s,
    6 count 60 s, 7 lots x price 10 s, 8 last size; of the bars of the running session: 9 signed volume, 10 volume (whole lots:
    their sums are exact). q: 0 last trade ns, 1 first trade ns, 2 signed run length, 3 number of the session.

    What is summed over bars has a lane: 0 V, 1 signed V, 2 its size, 3 trades, 4 their square, 5 notional, 6 whether there is
    one, 7 |r| / notional, 8 |c - c[-1]|, 9 signed V that the close did not follow. Sums of 2 bars make sums of 10, and those
    the windows, each bar anew: a sum holds its own bars and nothing else. cross, of 10 bars, d = c - c[-1] and signed volume f:
    0 mean d, 1 mean f, then what differs from them: 2 squares of f, 3 squares of d, 4 f d, 5 f[-1] d. The block hears every bar.
    """

    s: cython.double[::1]
    q: cython.longlong[::1]
    terms: cython.double[::1]
    before: cython.double[::1]
    two: cython.double[::1]
    ten: cython.double[::1]
    cross: cython.double[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.s = arena.doubles(11)
        self.q = arena.longs(4)
        self.terms = arena.doubles(LANES)  # of the newest bar
        self.before = arena.doubles(LANES)  # of the bar before it
        self.two = arena.doubles(TWO_ROWS * LANES)
        self.ten = arena.doubles(TEN_ROWS * LANES)
        self.cross = arena.doubles(TEN_ROWS * CROSS)

    @cython.cfunc
    def trade(self, t_ns: cython.longlong, price: cython.double, qty: cython.double, side: cython.longlong) -> cython.longlong:
        """Take one trade."""
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
        self.s[0] = self.s[0] * e1 + sign * qty
        self.s[1] = self.s[1] * e1 + qty
        self.s[2] = self.s[2] * e10 + sign * qty
        self.s[3] = self.s[3] * e10 + qty
        self.s[4] = self.s[4] * e10 + sign
        self.s[5] = self.s[5] * e10 + 1.0
        self.s[6] = self.s[6] * e60 + 1.0
        self.s[7] = self.s[7] * e10 + qty * price
        self.s[8] = qty
        if side > 0:
            self.q[2] = self.q[2] + 1 if self.q[2] > 0 else 1
        elif side < 0:
            self.q[2] = self.q[2] - 1 if self.q[2] < 0 else -1
        return 0

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        b: cython.Py_ssize_t = self.base
        self.pool[b + 9] = clip(div(self.s[0], self.s[1]), -1.0, 1.0)
        self.pool[b + 10] = clip(div(self.s[2], self.s[3]), -1.0, 1.0)
        self.pool[b + 11] = clip(div(self.s[4], self.s[5]), -1.0, 1.0)
        self.pool[b + 12] = self._rate(t_ns)
        run: cython.double = self.q[2]
        unsigned: cython.longlong = 1 if self.q[2] == 0 else 0  # no trade yet had a known aggressor
        self.absent[b + 9] = unsigned
        self.absent[b + 10] = unsigned
        self.absent[b + 11] = unsigned
        self.absent[b + 13] = unsigned
        self.pool[b + 13] = clip((ln1p_pos(run) - ln1p_pos(-run)) / 5.0, -1.0, 1.0)
        self.pool[b + 14] = clip(ln_ratio(self.s[8], div(self.s[3], self.s[5])), -10.0, 10.0)
        self.pool[b + 15] = ln1p_pos((t_ns - self.q[0]) * 1e-9) if self.q[1] > 0 else 0.0
        self.pool[b + 16] = ratio(mid - self.s[7] / self.s[3], atr_of(self.hist), 20.0) if self.s[3] > 0.0 and mid > 0.0 else 0.0
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _rate(self, t_ns: cython.longlong) -> cython.double:
        """z of the trade count decayed over 10 s against the rate over 60 s; both corrected for their short past."""
        if self.q[1] == 0:
            return 0.0
        silence: cython.longlong = t_ns - self.q[0]
        age: cython.longlong = t_ns - self.q[1]
        e60: cython.double = decay(silence, 60.0)
        e20: cython.double = e60 * e60 * e60
        old60: cython.double = decay(age, 60.0) if age < _OLD_NS else 0.0
        old20: cython.double = old60 * old60 * old60
        slow: cython.double = div(self.s[6] * e60, 60.0 * (1.0 - old60))
        fast: cython.double = div(self.s[5] * (e20 * e20), 1.0 - old20 * old20)
        return ratio(fast - 10.0 * slow, root(5.0 * slow), 20.0)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars. The windows of 20, 30, 50 and 60 bars are tens side by side."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        i: cython.Py_ssize_t = last_bar(x)
        n: cython.Py_ssize_t = bars_pushed(x) - 1
        self._tens(i, n)
        row: cython.Py_ssize_t = (n & 63) * _LANES
        row1: cython.Py_ssize_t = ((n + 54) & 63) * _LANES
        row2: cython.Py_ssize_t = ((n + 44) & 63) * _LANES
        row3: cython.Py_ssize_t = ((n + 34) & 63) * _LANES
        row4: cython.Py_ssize_t = ((n + 24) & 63) * _LANES
        row5: cython.Py_ssize_t = ((n + 14) & 63) * _LANES
        volume: cython.double = self.ten[row] + self.ten[row1]
        net: cython.double = self.ten[row + 1] + self.ten[row1 + 1]
        gross: cython.double = self.ten[row + 2] + self.ten[row1 + 2]
        trades: cython.double = self.ten[row + 3] + self.ten[row1 + 3]
        turnover: cython.double = self.ten[row + 5] + self.ten[row1 + 5]
        active: cython.double = self.ten[row + 6] + self.ten[row1 + 6]
        illiquidity: cython.double = self.ten[row + 7] + self.ten[row1 + 7]
        path: cython.double = self.ten[row + 8] + self.ten[row1 + 8]
        absorbed: cython.double = self.ten[row + 9] + self.ten[row1 + 9]
        share: cython.double = div(net, volume)
        self.pool[b] = ratio(20.0 * x.sv[i], volume, 20.0)
        self.pool[b + 1] = clip(div(x.sv[i], x.v[i]), -1.0, 1.0)
        self.pool[b + 2] = clip(share, -1.0, 1.0)
        self.pool[b + 3] = clip(div(x.sn[i], x.n[i]), -1.0, 1.0)
        self.pool[b + 6] = clip(div(illiquidity, active) * div(turnover, active), 0.0, 1.0)  # Amihud (2002)
        self.pool[b + 7] = ratio(20.0 * x.v[i], volume, 20.0)
        self.pool[b + 8] = ratio(div(x.v[i], x.n[i]), div(volume, trades), 20.0)
        self.pool[b + 17] = self._session(x.v[i], x.sv[i])
        self.pool[b + 18] = clip(div(x.c[i] - x.c[i - 20], path) - div(net, gross), -2.0, 2.0)
        self.pool[b + 19] = clip(div(absorbed, volume), -1.0, 1.0)
        volume += self.ten[row2]
        gross += self.ten[row2 + 2]
        self.pool[b + 4] = clip(div(gross, volume), 0.0, 1.0)
        volume += self.ten[row3] + self.ten[row4]
        gross += self.ten[row3 + 2] + self.ten[row4 + 2]
        net += self.ten[row2 + 1] + (self.ten[row3 + 1] + self.ten[row4 + 1])
        self._mark(1 if gross <= 0.0 and volume > 0.0 else 0)
        self._impact(i, n, net, volume)
        # Hardiman and Bouchaud (2014). Counts are whole, so that the variance x 60^2 is exact.
        trades += (self.ten[row2 + 3] + self.ten[row3 + 3]) + (self.ten[row4 + 3] + self.ten[row5 + 3])
        squares: cython.double = (self.ten[row + 4] + self.ten[row1 + 4]) + (self.ten[row2 + 4] + self.ten[row3 + 4])
        squares += self.ten[row4 + 4] + self.ten[row5 + 4]
        spread: cython.double = 60.0 * squares - trades * trades
        self.pool[b + 22] = clip(1.0 - root(div(60.0 * trades, spread)), 0.0, 1.0) if spread > 0.0 else 0.0
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _tens(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Sums of the last ten bars of every lane; n: number of the bar."""
        x: BarHistory = self.hist
        row: cython.Py_ssize_t = (n & 15) * _LANES
        row2: cython.Py_ssize_t = ((n + 14) & 15) * _LANES
        row4: cython.Py_ssize_t = ((n + 12) & 15) * _LANES
        row6: cython.Py_ssize_t = ((n + 10) & 15) * _LANES
        row8: cython.Py_ssize_t = ((n + 8) & 15) * _LANES
        ten: cython.Py_ssize_t = (n & 63) * _LANES
        d: cython.double = x.c[i] - x.c[i - 1]
        f: cython.double = x.sv[i]
        a: cython.double
        b: cython.double
        ten_a: cython.double
        ten_b: cython.double
        k: cython.Py_ssize_t
        for k in range(0, 10, 2):
            a = self.terms[k]
            b = self.terms[k + 1]
            self.before[k] = a
            self.before[k + 1] = b
        self.terms[0] = x.v[i]
        self.terms[1] = f
        self.terms[2] = abs(f)
        self.terms[3] = x.n[i]
        self.terms[4] = x.n[i] * x.n[i]
        self.terms[5] = x.notional[i]
        self.terms[6] = 1.0 if x.notional[i] > 0.0 else 0.0
        self.terms[7] = div(abs(x.r[i]), x.notional[i])
        self.terms[8] = abs(d)
        self.terms[9] = f if d * f <= 0.0 else 0.0
        for k in range(0, 10, 2):  # two lanes at a time, stored last: the C compiler makes vectors of them
            a = self.terms[k] + self.before[k]
            b = self.terms[k + 1] + self.before[k + 1]
            ten_a = ((a + self.two[row2 + k]) + (self.two[row4 + k] + self.two[row6 + k])) + self.two[row8 + k]
            ten_b = ((b + self.two[row2 + k + 1]) + (self.two[row4 + k + 1] + self.two[row6 + k + 1])) + self.two[row8 + k + 1]
            self.two[row + k] = a
            self.two[row + k + 1] = b
            self.ten[ten + k] = ten_a
            self.ten[ten + k + 1] = ten_b
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
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
    @cython.exceptval(check=False)
    def _session(self, volume: cython.double, signed: cython.double) -> cython.double:
        """Share of signed volume in that of the session, the newest bar included."""
        begun: cython.longlong = self.hist.session.begun()
        if begun != self.q[3]:
            self.q[3] = begun
            self.s[9] = 0.0
            self.s[10] = 0.0
        self.s[9] += signed
        self.s[10] += volume
        return clip(div(self.s[9], self.s[10]), -1.0, 1.0)

    @cython.cfunc
    @cython.exceptval(check=False)
    def _impact(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t, net: cython.double, volume: cython.double) -> cython.longlong:
        """Close changes on the signed volume of their bar, and of the bar before, 50 bars; net, volume: sums over them.

        Five tens are put together as Chan, Golub and LeVeque (1983) do it: as good as two passes over all.
        Sources: Kyle (1985), the OLS slope; Hasbrouck (1991), the lag.
        """
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        self._cross(i, n)
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
        row: cython.Py_ssize_t
        lagged: cython.Py_ssize_t
        k: cython.Py_ssize_t
        for k in range(n + 24, n + 74, 10):
            row = (k & 63) * _CROSS
            lagged = ((k + 63) & 63) * _CROSS
            d = self.cross[row] - drift
            a = self.cross[row + 1] - mean
            z = self.cross[lagged + 1] - mean_before
            var += self.cross[row + 2] + 10.0 * (a * a)
            var_d += self.cross[row + 3] + 10.0 * (d * d)
            var_before += self.cross[lagged + 2] + 10.0 * (z * z)
            cov += self.cross[row + 4] + 10.0 * (a * d)
            cov_before += self.cross[row + 5] + 10.0 * (z * d)
        slope: cython.double = div(cov, var)
        self.pool[b + 5] = ratio(slope * (volume / 50.0), atr_of(x), 20.0)
        self.pool[b + 20] = clip(div(slope * cov, var_d), 0.0, 1.0)
        self.pool[b + 21] = clip(div(cov_before, root(var_before) * root(var_d)), -1.0, 1.0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _cross(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Means, squares and products of the newest ten bars, in two passes."""
        x: BarHistory = self.hist
        row: cython.Py_ssize_t = (n & 63) * _CROSS
        drift: cython.double = (x.c[i] - x.c[i - 10]) / 10.0
        mean: cython.double = self.ten[(n & 63) * _LANES + 1] / 10.0
        mean_before: cython.double = self.cross[((n + 63) & 63) * _CROSS + 1]
        var: cython.double = 0.0
        var_d: cython.double = 0.0
        cov: cython.double = 0.0
        cov_before: cython.double = 0.0
        var_odd: cython.double = 0.0
        var_d_odd: cython.double = 0.0
        cov_odd: cython.double = 0.0
        cov_before_odd: cython.double = 0.0
        d: cython.double
        a: cython.double
        z: cython.double = x.sv[i - 10]
        k: cython.Py_ssize_t
        for k in range(i - 9, i + 1, 2):
            d = x.c[k] - x.c[k - 1] - drift
            a = x.sv[k] - mean
            var += a * a
            var_d += d * d
            cov += a * d
            cov_before += (z - mean_before) * d
            z = x.sv[k + 1]
            d = x.c[k + 1] - x.c[k] - drift
            a = z - mean
            var_odd += a * a
            var_d_odd += d * d
            cov_odd += a * d
            cov_before_odd += (x.sv[k] - mean_before) * d
        self.cross[row] = drift
        self.cross[row + 1] = mean
        self.cross[row + 2] = var + var_odd
        self.cross[row + 3] = var_d + var_d_odd
        self.cross[row + 4] = cov + cov_odd
        self.cross[row + 5] = cov_before + cov_before_odd
        return 0
