"""Volatility features of closed bars: range and return estimators, their ratios, jumps, the shape and memory of returns."""

from __future__ import annotations

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
    "atr_14", "rv_30", "parkinson_20", "garman_klass_20", "rogers_satchell_20", "yang_zhang_20", "bollinger_width_20",
    "bipower_30", "jump_share_30", "semivar_down_30", "vol_ratio_10_60", "vol_ratio_5_30", "range_ratio_20",
    "ewma_vol_94", "vol_surprise_94", "shock_age_60", "jump_z_30", "quarticity_ratio_30", "ret_skew_60", "ret_kurt_60",
    "abs_autocorr_60", "leverage_corr_60", "volume_vol_corr_60", "vol_of_vol_60", "vol_rank_240", "vol_change_10",
    "vol_ratio_60_240", "atr_ratio_60", "squeeze_20", "range_close_balance_20", "gap_share_20", "range_down_share_20",
)  # fmt: skip

LANES = 24
TWO_ROWS = 16  # rows kept of the sums of 2 bars: a power of two above the 8 that a sum of 10 reaches back
TEN_ROWS = 64  # of 10 bars: above the 50 that a sum of 60 reaches back
HOUR_ROWS = 256  # of 60 bars: above the 180 that a sum of 240 reaches back
VOL_ROWS = 32  # of root mean squares of 10 returns, of every tenth bar: above the 23 that the rank reaches back

_LANES = cython.declare(cython.Py_ssize_t, 24)
_LN2 = cython.declare(cython.double, 0.6931471805599453)
_PI = cython.declare(cython.double, 3.141592653589793)
_THETA = cython.declare(cython.double, 0.6089937538621327)  # pi^2 / 4 + pi - 5
_FLAT = cython.declare(cython.double, 1e-6)  # a variance below this share of the mean square is lost to rounding: no shape


@cython.final
@cython.cclass
class VolBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    What is summed over windows has a lane: 0 r, 1 r^2, 2 r^3, 3 r^4, 4 |r|, 5 |r r[-1]|, 6 |r| r[-1], 7 r^2 of falls,
    8 |r r[-1] r[-2] r[-3]|, 9 ln(h/l)^2, 10 ln(c/o), 11 its square, 12 ln(o/c[-1]), 13 its square, 14 the terms of Rogers and
    Satchell, 15 ln(h/o)^2, 16 ln(l/o)^2, 17 h - l, 18 true range, 19 V, 20 V^2, 21 V |r|, 22 root mean square of 10 r, 23 its
    square. Rows of sums of 2 bars make sums of 10, and those make sums of 20, 30 and 60, each bar anew: a sum holds its own
    bars and nothing else.
    """

    terms: cython.double[::1]
    before: cython.double[::1]
    two: cython.double[::1]
    ten: cython.double[::1]
    s20: cython.double[::1]
    s30: cython.double[::1]
    s60: cython.double[::1]
    hour: cython.double[::1]
    vols: cython.double[::1]
    ewma: cython.double[::1]
    age: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.terms = arena.doubles(LANES)  # of the newest bar
        self.before = arena.doubles(LANES)  # of the bar before it
        self.two = arena.doubles(TWO_ROWS * LANES)
        self.ten = arena.doubles(TEN_ROWS * LANES)
        self.s20 = arena.doubles(LANES)
        self.s30 = arena.doubles(LANES)
        self.s60 = arena.doubles(LANES)
        self.hour = arena.doubles(HOUR_ROWS)  # sums of 60 squared returns
        self.vols = arena.doubles(10 * 2 * VOL_ROWS)  # a mirrored ring for every bar of ten: those that overlap lie apart
        self.ewma = arena.doubles(1)  # of squared returns
        self.age = arena.longs(1)  # bars since the last shock, at most 60

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        i: cython.Py_ssize_t = last_bar(x)
        n: cython.Py_ssize_t = bars_pushed(x) - 1
        b: cython.Py_ssize_t = self.base
        self._ewma(x.r[i] * x.r[i], n)
        self._terms(i)
        self._roll(n, 0, 22)
        power_10: cython.double = self.ten[(n & 63) * _LANES + 1]
        self.terms[22] = root(power_10 / 10.0)
        self.terms[23] = power_10 / 10.0
        self._roll(n, 22, 24)
        # What a lagged series sums to is what the series itself summed to a bar ago.
        r: cython.double = self.s60[0]
        r2: cython.double = self.s60[1]
        size: cython.double = self.s60[4]
        self._windows(n)
        self.pool[b] = clip(div(atr_of(x), x.c[i]), 0.0, 1.0)
        self._ranges(x.h[i] - x.l[i])
        self._closes(i)
        self._jumps()
        self._moments()
        self.pool[b + 20] = _corr(self.s60[5], self.s60[4], self.s60[1], size, r2)
        self.pool[b + 21] = _corr(self.s60[6], self.s60[4], self.s60[1], r, r2)
        self.pool[b + 22] = _corr(self.s60[21], self.s60[4], self.s60[1], self.s60[19], self.s60[20])
        self._terms_of_volatility(i, n)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _ewma(self, square: cython.double, n: cython.Py_ssize_t) -> cython.longlong:
        """RiskMetrics volatility, and the newest return against what it was a bar ago. Source: J.P. Morgan (1996)."""
        b: cython.Py_ssize_t = self.base
        known: cython.double = self.ewma[0]
        self.pool[b + 14] = ratio(root(square), root(known), 20.0)
        if known > 0.0 and square > 9.0 * known:
            self.age[0] = 0
        elif self.age[0] < 60:
            self.age[0] += 1
        if n == 1:
            self.ewma[0] = square
        elif n > 1:
            self.ewma[0] = known + 0.06 * (square - known)
        self.pool[b + 13] = clip(root(self.ewma[0]), 0.0, 1.0)
        self.pool[b + 15] = self.age[0] / 60.0
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _terms(self, i: cython.Py_ssize_t) -> cython.longlong:
        """What the newest bar adds to each lane; four logarithms, all of ratios near 1, give the rest by subtraction."""
        x: BarHistory = self.hist
        k: cython.Py_ssize_t
        size: cython.double
        square: cython.double
        for k in range(0, 24, 2):
            size = self.terms[k]
            square = self.terms[k + 1]
            self.before[k] = size
            self.before[k + 1] = square
        r: cython.double = x.r[i]
        lagged: cython.double = x.r[i - 1]
        size = -r if r < 0.0 else r
        square = r * r
        older: cython.double = x.r[i - 2] * x.r[i - 3]
        pair: cython.double = r * lagged
        if pair < 0.0:
            pair = -pair
        self.terms[0] = r
        self.terms[1] = square
        self.terms[2] = square * r
        self.terms[3] = square * square
        self.terms[4] = size
        self.terms[5] = pair
        self.terms[6] = size * lagged
        self.terms[7] = square if r < 0.0 else 0.0
        self.terms[8] = pair * (-older if older < 0.0 else older)
        up: cython.double = ln_ratio(x.h[i], x.o[i])
        low: cython.double = ln_ratio(x.l[i], x.o[i])
        body: cython.double = ln_ratio(x.c[i], x.o[i])
        gap: cython.double = ln_ratio(x.o[i], x.c[i - 1])
        self.terms[9] = (up - low) * (up - low)
        self.terms[10] = body
        self.terms[11] = body * body
        self.terms[12] = gap
        self.terms[13] = gap * gap
        self.terms[14] = (up - body) * up + (low - body) * low
        self.terms[15] = up * up
        self.terms[16] = low * low
        self.terms[17] = x.h[i] - x.l[i]
        self.terms[18] = x.tr[i]
        self.terms[19] = x.v[i]
        self.terms[20] = x.v[i] * x.v[i]
        self.terms[21] = x.v[i] * size
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _roll(self, n: cython.Py_ssize_t, first: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> cython.longlong:
        """Sums of the last two and ten bars of the lanes first .. stop - 1; n: number of the bar."""
        row: cython.Py_ssize_t = (n & 15) * _LANES
        row2: cython.Py_ssize_t = ((n + 14) & 15) * _LANES
        row4: cython.Py_ssize_t = ((n + 12) & 15) * _LANES
        row6: cython.Py_ssize_t = ((n + 10) & 15) * _LANES
        row8: cython.Py_ssize_t = ((n + 8) & 15) * _LANES
        ten: cython.Py_ssize_t = (n & 63) * _LANES
        a: cython.double
        b: cython.double
        ten_a: cython.double
        ten_b: cython.double
        k: cython.Py_ssize_t
        for k in range(first, stop, 2):  # two lanes at a time, stored last: the C compiler makes vectors of them
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
    def _windows(self, n: cython.Py_ssize_t) -> cython.longlong:
        """Sums of the last 20, 30 and 60 bars of every lane."""
        row: cython.Py_ssize_t = (n & 63) * _LANES
        row1: cython.Py_ssize_t = ((n + 54) & 63) * _LANES
        row2: cython.Py_ssize_t = ((n + 44) & 63) * _LANES
        row3: cython.Py_ssize_t = ((n + 34) & 63) * _LANES
        row4: cython.Py_ssize_t = ((n + 24) & 63) * _LANES
        row5: cython.Py_ssize_t = ((n + 14) & 63) * _LANES
        a20: cython.double
        b20: cython.double
        a30: cython.double
        b30: cython.double
        a60: cython.double
        b60: cython.double
        k: cython.Py_ssize_t
        for k in range(0, 24, 2):
            a20 = self.ten[row + k] + self.ten[row1 + k]
            b20 = self.ten[row + k + 1] + self.ten[row1 + k + 1]
            a30 = a20 + self.ten[row2 + k]
            b30 = b20 + self.ten[row2 + k + 1]
            a60 = a30 + ((self.ten[row3 + k] + self.ten[row4 + k]) + self.ten[row5 + k])
            b60 = b30 + ((self.ten[row3 + k + 1] + self.ten[row4 + k + 1]) + self.ten[row5 + k + 1])
            self.s20[k] = a20
            self.s20[k + 1] = b20
            self.s30[k] = a30
            self.s30[k + 1] = b30
            self.s60[k] = a60
            self.s60[k + 1] = b60
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _ranges(self, width: cython.double) -> cython.longlong:
        """Parkinson (1980), Garman-Klass (1980), Rogers-Satchell (1991), Yang-Zhang (2000), per bar; what ranges say of each other."""
        b: cython.Py_ssize_t = self.base
        parkinson: cython.double = self.s20[9] / 20.0 / (4.0 * _LN2)
        rogers: cython.double = self.s20[14] / 20.0
        var_gap: cython.double = (self.s20[13] - self.s20[12] * self.s20[12] / 20.0) / 19.0
        var_body: cython.double = (self.s20[11] - self.s20[10] * self.s20[10] / 20.0) / 19.0
        weight: cython.double = 0.34 / (1.34 + 21.0 / 19.0)
        self.pool[b + 2] = clip(root(parkinson), 0.0, 1.0)
        self.pool[b + 3] = clip(root((0.5 * self.s20[9] - (2.0 * _LN2 - 1.0) * self.s20[11]) / 20.0), 0.0, 1.0)
        self.pool[b + 4] = clip(root(rogers), 0.0, 1.0)
        self.pool[b + 5] = clip(root(var_gap + weight * var_body + (1.0 - weight) * rogers), 0.0, 1.0)
        self.pool[b + 12] = ratio(width, self.s20[17] / 20.0, 20.0)
        self.pool[b + 29] = div(parkinson - self.s20[1] / 20.0, parkinson + self.s20[1] / 20.0)
        self.pool[b + 30] = div(self.s20[13], self.s20[13] + self.s20[11])
        self.pool[b + 31] = div(self.s20[16], self.s20[16] + self.s20[15])
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _closes(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Bollinger bands, and how they lie in Keltner's: of distances from the newest close, whole numbers that sum exactly."""
        x: BarHistory = self.hist
        close: cython.double = x.c[i]
        s0: cython.double = 0.0
        s1: cython.double = 0.0
        s2: cython.double = 0.0
        s3: cython.double = 0.0
        q0: cython.double = 0.0
        q1: cython.double = 0.0
        q2: cython.double = 0.0
        q3: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - 19, i + 1, 4):
            s0 += x.c[k] - close
            s1 += x.c[k + 1] - close
            s2 += x.c[k + 2] - close
            s3 += x.c[k + 3] - close
            q0 += (x.c[k] - close) * (x.c[k] - close)
            q1 += (x.c[k + 1] - close) * (x.c[k + 1] - close)
            q2 += (x.c[k + 2] - close) * (x.c[k + 2] - close)
            q3 += (x.c[k + 3] - close) * (x.c[k + 3] - close)
        mean: cython.double = ((s0 + s1) + (s2 + s3)) / 20.0
        std: cython.double = root(((q0 + q1) + (q2 + q3)) / 20.0 - mean * mean)
        self.pool[self.base + 6] = clip(div(4.0 * std, close + mean), 0.0, 2.0)
        self.pool[self.base + 28] = ratio(2.0 * std, 1.5 * atr_of(x), 20.0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _jumps(self) -> cython.longlong:
        """Realized volatility, bipower variation, downside share, and the test for jumps.

        Sources: Barndorff-Nielsen and Shephard (2004); Huang and Tauchen (2005), with quad-power quarticity.
        """
        b: cython.Py_ssize_t = self.base
        power: cython.double = self.s30[1]
        bipower: cython.double = 0.5 * _PI * self.s30[5]
        uneven: cython.double = div(30.0 * self.s30[8], self.s30[5] * self.s30[5])  # quad-power quarticity / bipower^2
        share: cython.double = div(power - bipower, power)
        self.pool[b + 1] = clip(root(power), 0.0, 1.0)
        self.pool[b + 7] = clip(bipower, 0.0, 1.0)
        self.pool[b + 8] = clip(share, 0.0, 1.0)
        self.pool[b + 9] = div(self.s30[7], power)
        self.pool[b + 16] = ratio(share, root(_THETA / 30.0 * (uneven if uneven > 1.0 else 1.0)), 10.0)
        self.pool[b + 17] = clip(uneven, 0.0, 30.0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _moments(self) -> cython.longlong:
        """Skewness and excess kurtosis of the last 60 returns; 0 when they are all but equal."""
        mean: cython.double = self.s60[0] / 60.0
        m2: cython.double = self.s60[1] / 60.0
        m3: cython.double = self.s60[2] / 60.0
        m4: cython.double = self.s60[3] / 60.0
        variance: cython.double = m2 - mean * mean
        third: cython.double
        fourth: cython.double
        self.pool[self.base + 18] = 0.0
        self.pool[self.base + 19] = 0.0
        if variance > _FLAT * m2:
            third = m3 - 3.0 * mean * m2 + 2.0 * mean * mean * mean
            fourth = m4 - 4.0 * mean * m3 + 6.0 * mean * mean * m2 - 3.0 * mean * mean * mean * mean
            self.pool[self.base + 18] = ratio(third, variance * root(variance), 8.0)
            self.pool[self.base + 19] = clip(div(fourth, variance * variance) - 3.0, -2.0, 60.0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _terms_of_volatility(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Volatility now against that of longer windows, of earlier ones, and its own spread."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        now: cython.double = self.terms[22]
        slot: cython.Py_ssize_t = n % 10 * 64 + (n // 10 & 31) + 32
        then: cython.double = self.vols[slot - 1]
        mean: cython.double = self.s60[22] / 60.0
        slow: cython.double = root(self.s60[1] / 60.0)
        five: cython.double = (x.r[i - 4] * x.r[i - 4] + x.r[i - 3] * x.r[i - 3]) + (x.r[i - 2] * x.r[i - 2] + x.r[i - 1] * x.r[i - 1])
        five += x.r[i] * x.r[i]
        self.vols[slot] = now
        self.vols[slot - 32] = now
        self.hour[n & 255] = self.s60[1]
        hours: cython.double = (self.hour[n & 255] + self.hour[(n + 196) & 255]) + (self.hour[(n + 136) & 255] + self.hour[(n + 76) & 255])
        self.pool[b + 10] = ratio(now, slow, 20.0)
        self.pool[b + 11] = ratio(root(five / 5.0), root(self.s30[1] / 30.0), 20.0)
        self.pool[b + 23] = ratio(root(self.s60[23] / 60.0 - mean * mean), mean, 8.0)
        self.pool[b + 24] = self._rank(now, slot)
        self.pool[b + 25] = div(now - then, now + then)
        self.pool[b + 26] = ratio(slow, root(hours / 240.0), 2.0)
        self.pool[b + 27] = ratio(atr_of(x), self.s60[18] / 60.0, 20.0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _rank(self, now: cython.double, slot: cython.Py_ssize_t) -> cython.double:
        """Where `now` lies among the volatilities of the 23 stretches of ten bars before: 0 lowest, 1 highest, 0.5 when all are equal."""
        a0: cython.double = 0.0
        a1: cython.double = 0.0
        a2: cython.double = 0.0
        a3: cython.double = 0.0  # of 24 stretches, the last of them `now`, which neither lies above nor below itself
        b0: cython.double = 0.0
        b1: cython.double = 0.0
        b2: cython.double = 0.0
        b3: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(slot - 23, slot + 1, 4):
            a0 += 1.0 if self.vols[k] < now else 0.0
            a1 += 1.0 if self.vols[k + 1] < now else 0.0
            a2 += 1.0 if self.vols[k + 2] < now else 0.0
            a3 += 1.0 if self.vols[k + 3] < now else 0.0
        for k in range(slot - 23, slot + 1, 4):
            b0 += 1.0 if self.vols[k] > now else 0.0
            b1 += 1.0 if self.vols[k + 1] > now else 0.0
            b2 += 1.0 if self.vols[k + 2] > now else 0.0
            b3 += 1.0 if self.vols[k + 3] > now else 0.0
        return 0.5 + 0.5 * ((a0 + a1) + (a2 + a3) - (b0 + b1) - (b2 + b3)) / 23.0


@cython.cfunc
@cython.exceptval(check=False)
def _corr(xy: cython.double, x: cython.double, xx: cython.double, y: cython.double, yy: cython.double) -> cython.double:
    """Correlation from the sums of 60 pairs, in [-1, 1]; 0.0 when either is all but constant."""
    mx: cython.double = x / 60.0
    my: cython.double = y / 60.0
    vx: cython.double = xx / 60.0 - mx * mx
    vy: cython.double = yy / 60.0 - my * my
    if vx <= _FLAT * xx / 60.0 or vy <= _FLAT * yy / 60.0:
        return 0.0
    return clip(div(xy / 60.0 - mx * my, root(vx) * root(vy)), -1.0, 1.0)
