"""What other markets say, by the day: VIX, dollar, rates, credit, and by the moment: funding, basis, NYSE breadth.

Series of daily values are windows of observations: of the values that became known within one UTC day the last counts. The
returns that go with them are those of the instrument's sessions.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.history import BarHistory, last_bar
    from cython.cimports.mia.kernels.num import clip, ln_ratio
    from cython.cimports.mia.kernels.reference_block import ReferenceBlock, correlation, z_of
    from cython.cimports.mia.kernels.roll import Ring, mean_of
    from cython.cimports.mia.kernels.session import SessionClock
else:
    from mia.kernels.history import BarHistory, last_bar
    from mia.kernels.num import clip, ln_ratio
    from mia.kernels.reference_block import ReferenceBlock, correlation, z_of
    from mia.kernels.roll import Ring, mean_of
    from mia.kernels.session import SessionClock

SLOTS = (
    "vix_es_correlation", "vix_z_252", "vix_percentile_252", "vix_change_1", "vix_change_5", "vix_term_slope", "vrp",
    "dxy_ret_5d", "dxy_z_60", "yield_slope_10y2y", "us10y_change_5d", "policy_gap_2y", "credit_spread_change_5d",
    "fed_funds_change_3", "funding_rate", "funding_z_90", "basis_bps", "nyse_tick", "trin",
)  # fmt: skip
READS = (
    ("vix",), ("vix",), ("vix",), ("vix",), ("vix",), ("vix3m", "vix"), ("vix",),
    ("dollar_index",), ("dollar_index",), ("us10y", "us2y"), ("us10y",), ("us2y", "fed_funds"), ("high_yield_spread",),
    ("fed_funds",), ("funding_rate",), ("funding_rate",), ("perp", "spot"), ("nyse_tick",), ("trin",),
)  # fmt: skip
# Numbers of mia.features.series
VIX = cython.declare(cython.longlong, 0)
VIX3M = cython.declare(cython.longlong, 1)
US2Y = cython.declare(cython.longlong, 2)
US10Y = cython.declare(cython.longlong, 3)
DOLLAR = cython.declare(cython.longlong, 4)
HIGH_YIELD = cython.declare(cython.longlong, 5)
FED_FUNDS = cython.declare(cython.longlong, 6)
SPOT = cython.declare(cython.longlong, 9)
PERP = cython.declare(cython.longlong, 10)
FUNDING = cython.declare(cython.longlong, 11)
TICK = cython.declare(cython.longlong, 12)
TRIN = cython.declare(cython.longlong, 13)


@cython.final
@cython.cclass
class CrossBlock(ReferenceBlock):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    q: 0 sessions begun, 1 opening of the next session, 2 count of VIX values as of it, 3 the same at the last pair (0: none),
    4 sessions ended.
    d: 0 squared returns of the session, 1 VIX as known at the opening of the next, 2 close and 3 VIX of the last pair.
    """

    vix: Ring
    dollar: Ring
    us10y: Ring
    high_yield: Ring
    fed_funds: Ring
    funding: Ring
    returns: Ring
    changes: Ring
    variance: Ring
    q: cython.longlong[::1]
    d: cython.double[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        ReferenceBlock.__init__(self, arena, pool, base, hist, READS)
        self.vix = Ring(arena, 252)
        self.dollar = Ring(arena, 60)
        self.us10y = Ring(arena, 6)
        self.high_yield = Ring(arena, 6)
        self.fed_funds = Ring(arena, 4)
        self.funding = Ring(arena, 90)
        self.returns = Ring(arena, 60)
        self.changes = Ring(arena, 60)
        self.variance = Ring(arena, 20)
        self.q = arena.longs(5)
        self.d = arena.doubles(4)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: follow the sessions."""
        x: BarHistory = self.hist
        i: cython.Py_ssize_t = last_bar(x)
        begun: cython.longlong = x.session.begun()
        if self.state[0] > 0:
            self.catch_up(x.t[i])
        if begun != self.q[0]:
            if self.q[0] > 0:
                self._session_ended(x.c[i - 1])
            self.q[0] = begun
            self.q[1] = self._next_open()
            self._at_edge()
            self.d[0] = 0.0
        self.d[0] += x.r[i] * x.r[i]
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _next_open(self) -> cython.longlong:
        """When the session after the present one opens, as the table or the UTC day says."""
        clock: SessionClock = self.hist.session
        row: cython.Py_ssize_t = clock.state[4]
        close_ns: cython.longlong = clock.close_ns()
        if row >= clock.n or (row == 0 and close_ns < clock.opens[0]):
            return close_ns
        return clock.opens[row]

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _at_edge(self) -> cython.longlong:
        """The VIX of now is, so far, the one that is known when the next session opens."""
        self.d[1] = self.value[VIX]
        self.q[2] = self.count[VIX]
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _session_ended(self, close: cython.double) -> cython.longlong:
        """Take the variance of the session, and pair its return with the change of VIX.

        Sessions without a new VIX (a Sunday of a coin) go on to the next pair, so that both sides cover the same time.
        """
        d = self.d
        self.q[4] += 1
        if self.q[4] > 1:  # of the first session only a part was seen
            self.variance.push(d[0])
            self._premium()
        self.state[1] = 0
        if self.q[2] == self.q[3]:
            return 0
        if self.q[3] > 0:
            self.returns.push(ln_ratio(close, d[2]))
            self.changes.push(ln_ratio(d[1], d[3]))
            if self.returns.count() >= 60:
                self._correlate()
        d[2] = close
        d[3] = d[1]
        self.q[3] = self.q[2]
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _correlate(self) -> cython.longlong:
        last: cython.Py_ssize_t = self.returns.last()
        mean_r: cython.double = mean_of(self.returns.x, last, 60)
        mean_v: cython.double = mean_of(self.changes.x, last, 60)
        rr: cython.double = 0.0
        vv: cython.double = 0.0
        rv: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(last - 59, last + 1):
            rr += (self.returns.x[k] - mean_r) * (self.returns.x[k] - mean_r)
            vv += (self.changes.x[k] - mean_v) * (self.changes.x[k] - mean_v)
            rv += (self.returns.x[k] - mean_r) * (self.changes.x[k] - mean_v)
        self._write(0, correlation(rv, rr, vv))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _write(self, k: cython.Py_ssize_t, value: cython.double) -> cython.longlong:
        self.pool[self.base + k] = value
        self.ready[k] = 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _observe(self, ring: Ring, value: cython.double) -> cython.longlong:
        """Push a daily observation, or replace that of the same day; returns how many there are."""
        i: cython.Py_ssize_t
        if self.state[4] != 0:
            i = ring.last()
            ring.x[i] = value
            ring.x[i - ring.size] = value
            return ring.count()
        return ring.push(value)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def took(self, s: cython.longlong) -> cython.longlong:
        """A value of series s was taken."""
        v: cython.double = self.value[s]
        if s in (SPOT, PERP):
            if self.count[SPOT] > 0 and self.count[PERP] > 0:
                self._write(16, clip(1e4 * (self.value[PERP] - self.value[SPOT]) / self.value[SPOT], -1000.0, 1000.0))
        elif s == TICK:
            self._write(17, clip(v / 1000.0, -5.0, 5.0))
        elif s == TRIN:
            self._write(18, clip(ln_ratio(v, 1.0), -5.0, 5.0))
        elif s == FUNDING:
            self._funding(v)
        elif s in (VIX, VIX3M):
            self._volatility(s, v)
        else:
            self._rates(s, v)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _funding(self, v: cython.double) -> cython.longlong:
        self._write(14, clip(1e4 * v, -100.0, 100.0))
        if self.funding.push(v) >= 90:
            self._write(15, z_of(self.funding.x, self.funding.last(), 90))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _volatility(self, s: cython.longlong, v: cython.double) -> cython.longlong:
        n: cython.longlong
        last: cython.Py_ssize_t
        if s == VIX:
            if self.state[3] <= self.q[1]:
                self._at_edge()
            n = self._observe(self.vix, v)
            last = self.vix.last()
            if n >= 2:
                self._write(3, clip(ln_ratio(v, self.vix.x[last - 1]), -3.0, 3.0))
            if n >= 6:
                self._write(4, clip(ln_ratio(v, self.vix.x[last - 5]), -3.0, 3.0))
            if n >= 252:
                self._write(1, z_of(self.vix.x, last, 252))
                self._write(2, self._percentile(v, last))
            self._premium()
        if self.count[VIX] > 0 and self.count[VIX3M] > 0:
            self._write(5, clip(ln_ratio(self.value[VIX3M], self.value[VIX]), -3.0, 3.0))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _percentile(self, v: cython.double, last: cython.Py_ssize_t) -> cython.double:
        below: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(last - 251, last + 1):
            if self.vix.x[k] < v:
                below += 1.0
            elif self.vix.x[k] == v:
                below += 0.5
        return below / 252.0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _premium(self) -> cython.longlong:
        """Implied less realized variance of a year. Source: Bollerslev, Tauchen and Zhou (2009)."""
        if self.count[VIX] == 0 or self.variance.count() < 20:
            return 0
        implied: cython.double = self.value[VIX] / 100.0
        realized: cython.double = 252.0 * mean_of(self.variance.x, self.variance.last(), 20)
        self._write(6, clip(implied * implied - realized, -10.0, 10.0))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _rates(self, s: cython.longlong, v: cython.double) -> cython.longlong:
        n: cython.longlong
        if s == DOLLAR:
            n = self._observe(self.dollar, v)
            if n >= 6:
                self._write(7, clip(ln_ratio(v, self.dollar.back(5)), -1.0, 1.0))
            if n >= 60:
                self._write(8, z_of(self.dollar.x, self.dollar.last(), 60))
        elif s == US10Y:
            if self._observe(self.us10y, v) >= 6:
                self._write(10, clip(v - self.us10y.back(5), -5.0, 5.0))
        elif s == HIGH_YIELD:
            if self._observe(self.high_yield, v) >= 6:
                self._write(12, clip(v - self.high_yield.back(5), -20.0, 20.0))
        elif s == FED_FUNDS and self._observe(self.fed_funds, v) >= 4:
            self._write(13, clip(v - self.fed_funds.back(3), -10.0, 10.0))
        if s in (US10Y, US2Y) and self.count[US10Y] > 0 and self.count[US2Y] > 0:
            self._write(9, clip(self.value[US10Y] - self.value[US2Y], -10.0, 10.0))
        if s in (US2Y, FED_FUNDS) and self.count[US2Y] > 0 and self.count[FED_FUNDS] > 0:
            self._write(11, clip(self.value[US2Y] - self.value[FED_FUNDS], -10.0, 10.0))
        return 0
