"""Volume-weighted prices of the session and since anchors, volume against its usual amount, volume beside price."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, div, ratio, root
    from cython.cimports.mia.kernels.session_watch import SessionWatch
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, div, ratio, root
    from mia.kernels.session_watch import SessionWatch

SLOTS = (
    "vwap_distance", "vwap_band_z", "rel_volume_20", "volume_pace_20", "obv_slope_20", "avwap_swing_gap",
    "avwap_prev_session_gap", "price_volume_corr_30", "volume_trend_10_60",
)  # fmt: skip

MINUTES = 1440  # of a session that have a place
SESSIONS = 20  # that each of them remembers


@cython.cclass
class VwapBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. The price of a bar is its mean price, notional / volume.

    s: session: 0 lots, 1 mean price, 2 sum of lots x squared deviations; session before: 3 lots, 4 mean price; since the last swing:
    5 lots, 6 lots x (price - anchor), 7 anchor, 0.0 before one; 8 lots of the minute; over the minutes of the session that are known
    from before: 9 lots, 10 usual lots.
    q: 0 minute of the session that runs, 1 is it open?, 2 is the usual volume of the last minute known?
    past: lots of each minute in the last sessions that had it, in a ring of its own; seen: how many sessions ever had it.
    """

    watch: SessionWatch
    minutes: cython.longlong
    sessions: cython.longlong
    s: cython.double[::1]
    q: cython.longlong[::1]
    past: cython.double[::1]
    seen: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.watch = SessionWatch(arena)
        self.minutes = MINUTES
        self.sessions = SESSIONS
        self.s = arena.doubles(11)
        self.q = arena.longs(3)
        self.past = arena.doubles(MINUTES * SESSIONS)
        self.seen = arena.longs(MINUTES)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        p = self.pool
        s = self.s
        b: cython.Py_ssize_t = self.base
        i: cython.Py_ssize_t = x.last()
        c: cython.double = x.c[i]
        begins: cython.bint = self.watch.step(x.session)
        k: cython.Py_ssize_t
        if begins:
            s[3] = s[0] if self.watch.was_whole() else 0.0
            s[4] = s[1]
            for k in range(3):
                s[k] = 0.0
        self._session(x.v[i], self._price(i))
        self._minute(i, begins)
        self.absent[b] = 0 if s[0] > 0.0 else 1
        self.absent[b + 1] = self.absent[b]
        p[b] = ratio(c - s[1], x.atr(), 50.0)
        p[b + 1] = ratio(c - s[1], root(div(s[2], s[0])), 10.0)
        p[b + 4] = self._obv_slope(i)
        self._since_swing(i)
        self.absent[b + 6] = 0 if s[3] > 0.0 else 1
        both: cython.double = s[4] + (s[1] - s[4]) * div(s[0], s[0] + s[3])
        p[b + 6] = ratio(c - both, x.atr(), 50.0)
        p[b + 7] = self._corr(i, 30)
        p[b + 8] = self._trend(i)
        return 0

    @cython.cfunc
    def _price(self, i: cython.Py_ssize_t) -> cython.double:
        """Mean price of a bar, inside of its range; its close when nothing traded."""
        x: BarHistory = self.hist
        if x.v[i] > 0.0:
            return clip(x.notional[i] / x.v[i], x.l[i], x.h[i])
        return x.c[i]

    @cython.cfunc
    def _session(self, lots: cython.double, price: cython.double) -> cython.longlong:
        """Mean and spread of the session's trades, updated so that neither is a difference of large sums. Source: West (1979)."""
        s = self.s
        if lots <= 0.0:
            return 0
        s[0] += lots
        d: cython.double = price - s[1]
        if s[0] == lots:
            s[1] = price
        else:
            s[1] += d * (lots / s[0])
            s[2] += lots * d * (price - s[1])
        return 0

    @cython.cfunc
    def _minute(self, i: cython.Py_ssize_t, begins: cython.bint) -> cython.longlong:
        """Volume of the last minute that ended against the same minute of sessions before."""
        x: BarHistory = self.hist
        s = self.s
        q = self.q
        since: cython.longlong = x.t[i] - x.session.open_ns()
        m: cython.longlong = (since - 1) // 60_000_000_000 if since > 0 else 0
        if q[1] == 1 and (begins or m != q[0]):
            self._minute_ended()
        if begins:
            s[9] = 0.0
            s[10] = 0.0
        if begins or m != q[0]:
            q[0] = m
            q[1] = 1
            s[8] = 0.0
        s[8] += x.v[i]
        if q[1] == 1 and since >= (m + 1) * 60_000_000_000:
            self._minute_ended()
        b: cython.Py_ssize_t = self.base
        self.absent[b + 2] = 1 - q[2]
        self.absent[b + 3] = 0 if s[10] > 0.0 else 1
        self.pool[b + 3] = ratio(s[9], s[10], 20.0)
        return 0

    @cython.cfunc
    def _minute_ended(self) -> cython.longlong:
        """Compare the minute, then remember it."""
        s = self.s
        q = self.q
        m: cython.longlong = q[0]
        q[1] = 0
        q[2] = 0
        if m >= self.minutes:
            return 0
        n: cython.longlong = self.seen[m]
        start: cython.Py_ssize_t = m * self.sessions
        if n >= self.sessions:
            past = self.past
            even: cython.double = 0.0
            odd: cython.double = 0.0
            k: cython.Py_ssize_t
            for k in range(start, start + self.sessions, 2):
                even += past[k]
                odd += past[k + 1]
            usual: cython.double = (even + odd) / self.sessions
            self.pool[self.base + 2] = ratio(s[8], usual, 20.0)
            q[2] = 1
            s[9] += s[8]
            s[10] += usual
        self.past[start + n % self.sessions] = s[8]
        self.seen[m] = n + 1
        return 0

    @cython.cfunc
    def _obv_slope(self, i: cython.Py_ssize_t) -> cython.double:
        """Slope of on-balance volume through 20 bars / mean volume of them: a change k bars into the line weighs k (20 - k) / 2 / 665."""
        x: BarHistory = self.hist
        total: cython.double = x.v[i - 19]
        slope: cython.double = 0.0
        w: cython.double
        k: cython.Py_ssize_t
        for k in range(1, 20):
            w = k * (20 - k)
            total += x.v[i - 19 + k]
            if x.c[i - 19 + k] > x.c[i - 20 + k]:
                slope += w * x.v[i - 19 + k]
            elif x.c[i - 19 + k] < x.c[i - 20 + k]:
                slope -= w * x.v[i - 19 + k]
        return ratio(slope / 1330.0, total / 20.0, 2.0)

    @cython.cfunc
    def _since_swing(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Mean price since the last swing bar, anchored anew two bars after it, when it is known to be one."""
        x: BarHistory = self.hist
        s = self.s
        h = x.h
        low = x.l
        j: cython.Py_ssize_t = i - 2
        k: cython.Py_ssize_t = i
        top: cython.bint = h[j] > h[j - 1] and h[j] > h[j - 2] and h[j] > h[j + 1] and h[j] > h[j + 2]
        bottom: cython.bint = low[j] < low[j - 1] and low[j] < low[j - 2] and low[j] < low[j + 1] and low[j] < low[j + 2]
        if x.count() >= 5 and (top or bottom):
            s[5] = 0.0
            s[6] = 0.0
            s[7] = x.c[j]
            k = j
        b: cython.Py_ssize_t = self.base
        self.absent[b + 5] = 0 if s[7] > 0.0 else 1
        if s[7] <= 0.0:
            return 0
        while k <= i:
            if x.v[k] > 0.0:
                s[5] += x.v[k]
                s[6] += x.v[k] * (self._price(k) - s[7])
            k += 1
        self.pool[b + 5] = ratio(x.c[i] - s[7] - div(s[6], s[5]), x.atr(), 50.0)
        return 0

    @cython.cfunc
    def _corr(self, i: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
        """Correlation of return and volume over n bars; 0.0 when either stands still."""
        x: BarHistory = self.hist
        mean_r: cython.double = 0.0
        mean_v: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - n + 1, i + 1):
            mean_r += x.r[k]
            mean_v += x.v[k]
        mean_r /= n
        mean_v /= n
        rr: cython.double = 0.0
        vv: cython.double = 0.0
        rv: cython.double = 0.0
        dr: cython.double
        dv: cython.double
        for k in range(i - n + 1, i + 1):
            dr = x.r[k] - mean_r
            dv = x.v[k] - mean_v
            rr += dr * dr
            vv += dv * dv
            rv += dr * dv
        if vv <= 1e-18 * mean_v * mean_v:  # rounding of a constant is no variance
            return 0.0
        return ratio(rv, root(rr) * root(vv), 1.0)

    @cython.cfunc
    def _trend(self, i: cython.Py_ssize_t) -> cython.double:
        """Mean volume of 10 bars against that of 60: their difference / their sum."""
        v = self.hist.v
        short: cython.double = 0.0
        s0: cython.double = 0.0
        s1: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - 9, i + 1):
            short += v[k]
        for k in range(i - 59, i - 9, 2):
            s0 += v[k]
            s1 += v[k + 1]
        fast: cython.double = short / 10.0
        slow: cython.double = (s0 + s1 + short) / 60.0
        return div(fast - slow, fast + slow)
