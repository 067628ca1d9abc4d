"""Where price stands in the ranges that sessions leave: of the session before, overnight, of its first half hour, of itself."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, atr_of, last_bar
    from cython.cimports.mia.kernels.num import clip, ratio
    from cython.cimports.mia.kernels.session_watch import SessionWatch
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, atr_of, last_bar
    from mia.kernels.num import clip, ratio
    from mia.kernels.session_watch import SessionWatch

SLOTS = (
    "opening_range_pos_30", "prev_day_high_dist", "prev_day_low_dist", "prev_day_close_dist", "overnight_range_pos",
    "session_range_pos", "session_range_ratio",
)  # fmt: skip

# Declared, since large literals would make Python objects of the expressions they stand in.
_HALF_HOUR_NS = cython.declare(cython.longlong, 1_800_000_000_000)
_DAY_HOURS_NS = cython.declare(cython.longlong, 27_000_000_000_000)  # of a long session: from the regular open to its close
_ASIA_NS = cython.declare(cython.longlong, 28_800_000_000_000)
_HALF_DAY_NS = cython.declare(cython.longlong, 43_200_000_000_000)
_DAY_NS = cython.declare(cython.longlong, 86_400_000_000_000)


@cython.final
@cython.cclass
class SessionBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    s: high and low of 0, 1 the session, 3, 4 the one before, 6, 7 the opening range, 8, 9 the night that forms, 10, 11 the last whole
    night; close of 2 the session, 5 the one before.
    q: bars in 0 the opening range, 1 the night that forms; 2 is a whole night known?, 3 does a night form?
    """

    watch: SessionWatch
    s: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.watch = SessionWatch(arena)
        self.s = arena.doubles(12)
        self.q = arena.longs(4)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        i: cython.Py_ssize_t = last_bar(x)
        t: cython.longlong = x.t[i]
        open_ns: cython.longlong = x.session.open_ns()
        close_ns: cython.longlong = x.session.close_ns()
        length: cython.longlong = close_ns - open_ns
        if self.watch.step(x.session):
            self._turn(i, length)
        elif t <= close_ns:  # what trades after the close is no part of the day's range
            self._widen(0, i)
            self.s[2] = x.c[i]
        if t <= open_ns + _HALF_HOUR_NS and self.watch.is_whole():
            self._gather(6, 0, i)
        self._night(i, length, open_ns, close_ns)
        self._write(i, open_ns)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _turn(self, i: cython.Py_ssize_t, length: cython.longlong) -> cython.longlong:
        """A session begins with bar i."""
        x: BarHistory = self.hist
        self.s[3] = self.s[0]
        self.s[4] = self.s[1]
        self.s[5] = self.s[2]
        self.s[0] = x.h[i]
        self.s[1] = x.l[i]
        self.s[2] = x.c[i]
        self.q[0] = 0
        if length < _HALF_DAY_NS and self.q[1] > 0 and self.watch.is_whole():
            self._night_over()
        self.q[1] = 0
        self.q[3] = 1 if length >= _HALF_DAY_NS and self.watch.is_whole() else 0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _widen(self, k: cython.Py_ssize_t, i: cython.Py_ssize_t) -> cython.longlong:
        """Let the range at s[k], s[k + 1] hold bar i."""
        x: BarHistory = self.hist
        if x.h[i] > self.s[k]:
            self.s[k] = x.h[i]
        if x.l[i] < self.s[k + 1]:
            self.s[k + 1] = x.l[i]
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _gather(self, k: cython.Py_ssize_t, n: cython.Py_ssize_t, i: cython.Py_ssize_t) -> cython.longlong:
        """The same for a range that q[n] bars made so far, none at its start."""
        x: BarHistory = self.hist
        if self.q[n] == 0:
            self.s[k] = x.h[i]
            self.s[k + 1] = x.l[i]
        self.q[n] += 1
        return self._widen(k, i)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _night(self, i: cython.Py_ssize_t, length: cython.longlong, open_ns: cython.longlong, close_ns: cython.longlong) -> cython.longlong:
        """Gather the night: of a UTC day its first 8 hours, of a long session all until 7.5 h before its close, else what follows it."""
        x: BarHistory = self.hist
        t: cython.longlong = x.t[i]
        if length < _HALF_DAY_NS:
            if t > close_ns:
                self._gather(8, 1, i)
            return 0
        end: cython.longlong = open_ns + _ASIA_NS
        if length < _DAY_NS:
            end = close_ns - _DAY_HOURS_NS
        if self.q[3] == 1 and t <= end:
            self._gather(8, 1, i)
        if self.q[3] == 1 and t >= end:
            self.q[3] = 0
            if self.q[1] > 0:
                self._night_over()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _night_over(self) -> cython.longlong:
        """The night that formed is whole."""
        self.s[10] = self.s[8]
        self.s[11] = self.s[9]
        self.q[2] = 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _write(self, i: cython.Py_ssize_t, open_ns: cython.longlong) -> cython.longlong:
        """The columns."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        c: cython.double = x.c[i]
        atr: cython.double = atr_of(x)
        opened: cython.bint = self.q[0] > 0 and x.t[i] >= open_ns + _HALF_HOUR_NS
        self.absent[b] = 0 if opened else 1
        self.pool[b] = self._place(c, self.s[6], self.s[7]) if opened else 0.0
        before: cython.bint = self.watch.was_whole()
        k: cython.Py_ssize_t
        for k in range(1, 4):
            self.absent[b + k] = 0 if before else 1
        self.absent[b + 6] = self.absent[b + 1]
        if before:
            self.pool[b + 1] = ratio(c - self.s[3], atr, 200.0)
            self.pool[b + 2] = ratio(c - self.s[4], atr, 200.0)
            self.pool[b + 3] = ratio(c - self.s[5], atr, 200.0)
            self.pool[b + 6] = ratio(self.s[0] - self.s[1], self.s[3] - self.s[4], 20.0)
        self.absent[b + 4] = 0 if self.q[2] == 1 else 1
        self.pool[b + 4] = self._place(c, self.s[10], self.s[11])
        self.pool[b + 5] = clip(self._place(c, self.s[0], self.s[1]), 0.0, 1.0)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _place(self, c: cython.double, high: cython.double, low: cython.double) -> cython.double:
        """Place of c in a range: 0 at its low, 1 at its high; 0.5 of one without width."""
        if high <= low:
            return 0.5
        return clip((c - low) / (high - low), -20.0, 20.0)
