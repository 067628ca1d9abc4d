"""Volume-weighted prices of the session and since anchors, volume against its usual amount, volume beside price."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from cython.cimports.mia.kernels.num import clip, div, ratio, root
    from cython.cimports.mia.kernels.roll import Ring
    from cython.cimports.mia.kernels.session_watch import SessionWatch
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from mia.kernels.num import clip, div, ratio, root
    from mia.kernels.roll import Ring
    from mia.kernels.session_watch import SessionWatch

SLOTS = (
    "vwap_distance", "vwap_band_z", "rel_volume_20", "volume_pace_20", "obv_slope_20", "avwap_swing_gap",
    "avwap_prev_session_gap", "price_volume_corr_30", "volume_trend_10_60",
)  # fmt: skip

MINUTES = 1440  # of a session that have a place
SESSIONS = 20  # that each of them remembers

# Declared, since a large literal would make Python objects of the expressions it stands in.
_MINUTE_NS = cython.declare(cython.longlong, 60_000_000_000)


@cython.final
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
    steps: Ring
    minutes: cython.longlong
    sessions: cython.longlong
    s: cython.double[::1]
    q: cython.longlong[::1]
    past: cython.double[::1]
    seen: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.watch = SessionWatch(arena)
        self.steps = Ring(arena, 20)  # of on-balance volume
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
        b: cython.Py_ssize_t = self.base
        i: cython.Py_ssize_t = last_bar(x)
        c: cython.double = x.c[i]
        atr: cython.double = atr_of(x)
        begins: cython.bint = self.watch.step(x.session)
        k: cython.Py_ssize_t
        if begins:
            self.s[3] = self.s[0] if self.watch.was_whole() else 0.0
            self.s[4] = self.s[1]
            for k in range(3):
                self.s[k] = 0.0
        self._session(x.v[i], self._price(i))
        self._minute(i, begins)
        self.absent[b] = 0 if self.s[0] > 0.0 else 1
        self.absent[b + 1] = self.absent[b]
        self.pool[b] = ratio(c - self.s[1], atr, 200.0)
        self.pool[b + 1] = ratio(c - self.s[1], root(div(self.s[2], self.s[0])), 10.0)
        self._since_swing(i)
        self.absent[b + 6] = 0 if self.s[3] > 0.0 else 1
        both: cython.double = self.s[4] + (self.s[1] - self.s[4]) * div(self.s[0], self.s[0] + self.s[3])
        self.pool[b + 6] = ratio(c - both, atr, 200.0)
        self.pool[b + 7] = self._corr(i)
        self._volumes(i)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _price(self, i: cython.Py_ssize_t) -> cython.double:
        """Mean price of a bar, inside of its range; its close when nothing traded."""
        x: BarHistory = self.hist
        if x.v[i] > 0.0:
            return clip(x.notional[i] / x.v[i], x.l[i], x.h[i])
        return x.c[i]

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _session(self, lots: cython.double, price: cython.double) -> cython.longlong:
        """Mean and spread of the session's trades, updated so that neither is a difference of large sums. Source: West (1979)."""
        if not (lots > 0.0):
            return 0
        self.s[0] += lots
        d: cython.double = price - self.s[1]
        if self.s[0] == lots:
            self.s[1] = price
        else:
            self.s[1] += d * (lots / self.s[0])
            self.s[2] += lots * d * (price - self.s[1])
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _minute(self, i: cython.Py_ssize_t, begins: cython.bint) -> cython.longlong:
        """Volume of the last minute that ended against the same minute of sessions before."""
        x: BarHistory = self.hist
        since: cython.longlong = x.t[i] - x.session.open_ns()
        m: cython.longlong = (since - 1) // 1_000_000_000 // 60 if since > 0 else 0  # constants divide without a division
        if self.q[1] == 1 and (begins or m != self.q[0]):
            self._minute_ended()
        if begins:
            self.s[9] = 0.0
            self.s[10] = 0.0
        if begins or m != self.q[0]:
            self.q[0] = m
            self.q[1] = 1
            self.s[8] = 0.0
        self.s[8] += x.v[i]
        if self.q[1] == 1 and since >= (m + 1) * _MINUTE_NS:
            self._minute_ended()
        b: cython.Py_ssize_t = self.base
        self.absent[b + 2] = 1 - self.q[2]
        self.absent[b + 3] = 0 if self.s[10] > 0.0 else 1
        self.pool[b + 3] = ratio(self.s[9], self.s[10], 20.0)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _minute_ended(self) -> cython.longlong:
        """Compare the minute, then remember it."""
        m: cython.longlong = self.q[0]
        self.q[1] = 0
        self.q[2] = 0
        if m >= self.minutes:
            return 0
        n: cython.longlong = self.seen[m]
        start: cython.Py_ssize_t = m * self.sessions
        if n >= self.sessions:
            even: cython.double = 0.0
            odd: cython.double = 0.0
            k: cython.Py_ssize_t
            for k in range(start, start + self.sessions, 2):
                even += self.past[k]
                odd += self.past[k + 1]
            usual: cython.double = (even + odd) / self.sessions
            self.pool[self.base + 2] = ratio(self.s[8], usual, 20.0)
            self.q[2] = 1
            self.s[9] += self.s[8]
            self.s[10] += usual
        self.past[start + n % 20] = self.s[8]
        self.seen[m] = n + 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _since_swing(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Mean price since the last swing bar, anchored anew two bars after it, when it is known to be one."""
        x: BarHistory = self.hist
        j: cython.Py_ssize_t = i - 2
        k: cython.Py_ssize_t = i
        top: cython.bint = (x.h[j] > x.h[j - 1]) & (x.h[j] > x.h[j - 2]) & (x.h[j] > x.h[j + 1]) & (x.h[j] > x.h[j + 2])
        bottom: cython.bint = (x.l[j] < x.l[j - 1]) & (x.l[j] < x.l[j - 2]) & (x.l[j] < x.l[j + 1]) & (x.l[j] < x.l[j + 2])
        if bars_pushed(x) >= 5 and (top or bottom):
            self.s[5] = 0.0
            self.s[6] = 0.0
            self.s[7] = x.c[j]
            k = j
        b: cython.Py_ssize_t = self.base
        self.absent[b + 5] = 0 if self.s[7] > 0.0 else 1
        if self.s[7] <= 0.0:
            return 0
        while k <= i:
            if x.v[k] > 0.0:
                self.s[5] += x.v[k]
                self.s[6] += x.v[k] * (self._price(k) - self.s[7])
            k += 1
        self.pool[b + 5] = ratio(x.c[i] - self.s[7] - div(self.s[6], self.s[5]), atr_of(x), 50.0)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _volumes(self, i: cython.Py_ssize_t) -> cython.longlong:
        """Slope of on-balance volume through 20 bars, mean volume of 10 bars against that of 60.

        A step of on-balance volume k bars into a line of 20 weighs k (20 - k) / 1330 in its slope.
        """
        x: BarHistory = self.hist
        d: cython.double = x.c[i] - x.c[i - 1]
        self.steps.push(x.v[i] if d > 0.0 else -x.v[i] if d < 0.0 else 0.0)
        start: cython.Py_ssize_t = self.steps.last() - 19
        even: cython.double = 0.0
        odd: cython.double = 0.0
        w: cython.double
        k: cython.Py_ssize_t
        for k in range(1, 19, 2):
            w = k * (20 - k)
            odd += w * self.steps.x[start + k]
            w = (k + 1) * (19 - k)
            even += w * self.steps.x[start + k + 1]
        odd += 19.0 * self.steps.x[start + 19]
        slope: cython.double = (even + odd) / 1330.0
        a: cython.double = 0.0
        z: cython.double = 0.0
        for k in range(i - 9, i + 1, 2):
            a += x.v[k]
            z += x.v[k + 1]
        sum10: cython.double = a + z
        a = 0.0
        z = 0.0
        for k in range(i - 19, i - 9, 2):
            a += x.v[k]
            z += x.v[k + 1]
        sum20: cython.double = a + z + sum10
        s0: cython.double = 0.0
        s1: cython.double = 0.0
        a = 0.0
        z = 0.0
        for k in range(i - 59, i - 19, 4):
            a += x.v[k]
            z += x.v[k + 1]
            s0 += x.v[k + 2]
            s1 += x.v[k + 3]
        fast: cython.double = sum10 / 10.0
        slow: cython.double = ((a + z) + (s0 + s1) + sum20) / 60.0
        self.pool[self.base + 4] = ratio(slope, sum20 / 20.0, 2.0)
        self.pool[self.base + 8] = div(fast - slow, fast + slow)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _corr(self, i: cython.Py_ssize_t) -> cython.double:
        """Correlation of return and volume over 30 bars; 0.0 when either stands still."""
        x: BarHistory = self.hist
        r0: cython.double = 0.0
        r1: cython.double = 0.0
        v0: cython.double = 0.0
        v1: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(i - 29, i + 1, 2):
            r0 += x.r[k]
            r1 += x.r[k + 1]
            v0 += x.v[k]
            v1 += x.v[k + 1]
        mean_r: cython.double = (r0 + r1) / 30.0
        mean_v: cython.double = (v0 + v1) / 30.0
        rr0: cython.double = 0.0
        rr1: cython.double = 0.0
        vv0: cython.double = 0.0
        vv1: cython.double = 0.0
        rv0: cython.double = 0.0
        rv1: cython.double = 0.0
        for k in range(i - 29, i + 1, 2):
            r0 = x.r[k] - mean_r
            v0 = x.v[k] - mean_v
            r1 = x.r[k + 1] - mean_r
            v1 = x.v[k + 1] - mean_v
            rr0 += r0 * r0
            rr1 += r1 * r1
            vv0 += v0 * v0
            vv1 += v1 * v1
            rv0 += r0 * v0
            rv1 += r1 * v1
        if vv0 + vv1 <= 1e-18 * mean_v * mean_v:  # rounding of a constant is no variance
            return 0.0
        return ratio(rv0 + rv1, root(rr0 + rr1) * root(vv0 + vv1), 1.0)
