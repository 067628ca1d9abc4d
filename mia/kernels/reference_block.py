"""What the blocks of outside series share: the last value known of each series, those that wait, and which columns are absent.

A value counts from the later of its arrival and known_ns on and is stale past until_ns. It is not taken when it is outside of
the plausible (_LOW, _HIGH) or was known before the one that is held; the same value with the same known_ns is a repetition.
"""

from __future__ import annotations

from array import array

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, ratio, root
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, ratio, root

# The numbers of mia.features.series, in its order; a test compares.
SERIES = (
    "vix", "vix3m", "us2y", "us10y", "dollar_index", "high_yield_spread", "fed_funds", "ref", "ref2", "spot", "perp",
    "funding_rate", "nyse_tick", "trin",
)  # fmt: skip
_WAITING = 64  # values known in the future; a further one displaces the one known last
_FOREVER = cython.declare(cython.longlong, 9_223_372_036_854_775_807)
_P = 1e-9  # the least price or level: logarithms and ratios of these stay finite
_LOW = (_P, _P, -1e3, -1e3, _P, -1e3, -1e3, _P, _P, _P, _P, -1.0, -1e5, _P)
_HIGH = (1e4, 1e4, 1e3, 1e3, 1e6, 1e3, 1e3, 1e9, 1e9, 1e9, 1e9, 1.0, 1e5, 1e6)


@cython.cclass
class ReferenceBlock(Block):  # type: ignore[misc]
    """Base of blocks that hear `slow` and `emit`; a subclass writes its columns in took() and bar() and says which are `ready`.

    value, known, until, count: of each series; ready: 1 for a column that has seen enough. Scratch of the value just taken:
    state[3] when it counts from, state[4] 1 when it replaces the observation of the same UTC day.
    state: 0 waiting, 1 whether the flags are up to date, 2 as of when, 5 values ever taken. holds: until when the flags hold.
    """

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, reads: tuple[tuple[str, ...], ...]) -> None:
        """reads: for each slot the one or two series that must be fresh."""
        Block.__init__(self, arena, pool, base, hist)
        self.columns = len(reads)
        self.series = len(SERIES)
        self.waiting_max = _WAITING
        self.low = memoryview(array("d", _LOW))
        self.high = memoryview(array("d", _HIGH))
        self.first = memoryview(array("q", [SERIES.index(names[0]) for names in reads]))
        self.second = memoryview(array("q", [SERIES.index(names[len(names) - 1]) for names in reads]))
        self.value = arena.doubles(len(SERIES))
        self.known = arena.longs(len(SERIES))
        self.until = arena.longs(len(SERIES))
        self.count = arena.longs(len(SERIES))
        self.fresh = arena.longs(len(SERIES))
        self.ready = arena.longs(self.columns)
        self.state = arena.longs(6)
        self.holds = arena.longs(1)
        self.w_value = arena.doubles(_WAITING)
        self.w_from = arena.longs(_WAITING)
        self.w_known = arena.longs(_WAITING)
        self.w_until = arena.longs(_WAITING)
        self.w_series = arena.longs(_WAITING)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def took(self, s: cython.longlong) -> cython.longlong:
        """A value of series s was taken: write what follows from it."""
        return 0

    @cython.cfunc
    def reference(
        self, t_ns: cython.longlong, series: cython.longlong, value: cython.double, known_ns: cython.longlong, until_ns: cython.longlong
    ) -> cython.longlong:
        """Take a value of an outside series, or let it wait until it is known."""
        if series < 0 or series >= self.series:
            return 0
        if self.state[0] == 0 and known_ns <= t_ns:
            self._take(t_ns, series, value, known_ns, until_ns)
            return 0
        self._wait(known_ns if known_ns > t_ns else t_ns, series, value, known_ns, until_ns)
        self.catch_up(t_ns)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _wait(
        self, from_ns: cython.longlong, series: cython.longlong, value: cython.double, known_ns: cython.longlong, until_ns: cython.longlong
    ) -> cython.longlong:
        """Insert by the time it counts from, after those of the same time."""
        i: cython.Py_ssize_t = self.state[0]
        self.state[1] = 0
        if i == self.waiting_max:
            if from_ns >= self.w_from[i - 1]:
                return 0
            i -= 1
        else:
            self.state[0] = i + 1
        while i > 0 and self.w_from[i - 1] > from_ns:
            self._move(i - 1, i)
            i -= 1
        self.w_value[i] = value
        self.w_from[i] = from_ns
        self.w_known[i] = known_ns
        self.w_until[i] = until_ns
        self.w_series[i] = series
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _move(self, i: cython.Py_ssize_t, j: cython.Py_ssize_t) -> cython.longlong:
        self.w_value[j] = self.w_value[i]
        self.w_from[j] = self.w_from[i]
        self.w_known[j] = self.w_known[i]
        self.w_until[j] = self.w_until[i]
        self.w_series[j] = self.w_series[i]
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def catch_up(self, t_ns: cython.longlong) -> cython.longlong:
        """Take what waits and is known by t_ns, as of when it became known: asking earlier or later makes no difference."""
        n: cython.Py_ssize_t = self.state[0]
        k: cython.Py_ssize_t = 0
        while k < n and self.w_from[k] <= t_ns:
            self._take(self.w_from[k], self.w_series[k], self.w_value[k], self.w_known[k], self.w_until[k])
            k += 1
        if k == 0:
            return 0
        self.state[0] = n - k
        i: cython.Py_ssize_t
        for i in range(n - k):
            self._move(i + k, i)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _take(
        self, from_ns: cython.longlong, s: cython.longlong, value: cython.double, known_ns: cython.longlong, until_ns: cython.longlong
    ) -> cython.longlong:
        if not (value >= self.low[s] and value <= self.high[s]):
            return 0
        held: cython.longlong = self.known[s]
        self.state[4] = 0
        if self.count[s] > 0:
            if known_ns < held:
                return 0
            if known_ns == held and value == self.value[s]:
                self.until[s] = until_ns
                self.state[1] = 0
                return 0
            # Values known at one instant are observations of their own: the dollar index of a week comes at once.
            if known_ns > held and known_ns // 1_000_000_000 // 86_400 == held // 1_000_000_000 // 86_400:
                self.state[4] = 1
        self.value[s] = value
        self.known[s] = known_ns
        self.until[s] = until_ns
        self.count[s] += 1
        self.state[1] = 0
        self.state[5] += 1
        self.state[3] = from_ns
        self.took(s)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def is_fresh(self, s: cython.longlong, t_ns: cython.longlong) -> cython.bint:
        """Is a value of series s known and not too old at t_ns?"""
        return self.count[s] > 0 and t_ns <= self.until[s]

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Mark what is absent; the values were written when they changed."""
        if self.state[1] != 0 and t_ns >= self.state[2] and t_ns <= self.holds[0]:
            return 0
        if self.state[5] == 0 and self.state[0] == 0 and self.absent[self.base] != 0:  # nothing was ever heard, and the marks stand
            return 0
        self.catch_up(t_ns)
        holds: cython.longlong = _FOREVER
        s: cython.Py_ssize_t
        for s in range(self.series):
            self.fresh[s] = 0
            if self.count[s] > 0 and t_ns <= self.until[s]:
                self.fresh[s] = 1
                if self.until[s] < holds:
                    holds = self.until[s]
        if self.state[0] > 0 and self.w_from[0] - 1 < holds:
            holds = self.w_from[0] - 1
        k: cython.Py_ssize_t
        for k in range(self.columns):
            self.absent[self.base + k] = 1 - self.ready[k] * self.fresh[self.first[k]] * self.fresh[self.second[k]]
        self.state[1] = 1
        self.state[2] = t_ns
        self.holds[0] = holds
        return 0


@cython.cfunc
@cython.exceptval(-1, check=True)
def z_of(x: cython.double[::1], last: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
    """(newest - mean) / population std of the n values that end at index last, in [-10, 10]; n even.

    0.0 when the values differ by rounding alone (std below 1e-12 of the mean). Two sums side by side are faster than one.
    """
    a: cython.double = 0.0
    b: cython.double = 0.0
    i: cython.Py_ssize_t = last - n + 1
    while i < last:
        a += x[i]
        b += x[i + 1]
        i += 2
    mean: cython.double = (a + b) / n
    a = 0.0
    b = 0.0
    i = last - n + 1
    while i < last:
        a += (x[i] - mean) * (x[i] - mean)
        b += (x[i + 1] - mean) * (x[i + 1] - mean)
        i += 2
    variance: cython.double = (a + b) / n
    if variance <= 1e-24 * mean * mean:
        return 0.0
    return ratio(x[last] - mean, root(variance), 10.0)


@cython.cfunc
@cython.exceptval(-1, check=True)
def correlation(sxy: cython.double, sxx: cython.double, syy: cython.double) -> cython.double:
    """Of sums of products of deviations of log changes; 0.0 when either series does not move (a sum of squares below 1e-22)."""
    if sxx <= 1e-22 or syy <= 1e-22:
        return 0.0
    return clip(sxy / root(sxx * syy), -1.0, 1.0)
