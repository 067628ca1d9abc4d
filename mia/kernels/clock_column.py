"""Columns of the time at which a bar closed, of its session, and of the range of the session's first minutes; for rules."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, last_bar
    from cython.cimports.mia.kernels.session_watch import SessionWatch
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, last_bar
    from mia.kernels.session_watch import SessionWatch

KINDS = ("bar_day", "bar_second", "session_age", "session_left", "opening_high", "opening_low")

# Declared, since large literals would make Python objects of the expressions they stand in.
_DAY_NS = cython.declare(cython.longlong, 86_400_000_000_000)


@cython.final
@cython.cclass
class ClockColumn(Block):  # type: ignore[misc]
    """One slot, written when a bar closes.

    bar_day: whole UTC days since 1970; bar_second: seconds since then into the day; session_age, session_left: seconds since the open
    and until the close of the session (below 0 after it); opening_high, opening_low: in ticks, of the bars of the session so far that
    closed within its first `minutes`, absent until there is one and in a session whose open was not seen.
    """

    kind: cython.Py_ssize_t
    range_ns: cython.longlong
    watch: SessionWatch
    q: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, kind: int, minutes: int) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.kind = kind
        self.range_ns = minutes * 60_000_000_000
        self.watch = SessionWatch(arena)
        self.q = arena.longs(1)  # bars in the opening range

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the column."""
        x: BarHistory = self.hist
        i: cython.Py_ssize_t = last_bar(x)
        t: cython.longlong = x.t[i]
        b: cython.Py_ssize_t = self.base
        day: cython.longlong = t // _DAY_NS
        if self.kind == 0:
            self.pool[b] = 1.0 * day
        elif self.kind == 1:
            self.pool[b] = (t - day * _DAY_NS) / 1e9
        elif self.kind == 2:
            self.pool[b] = (t - x.session.open_ns()) / 1e9
        elif self.kind == 3:
            self.pool[b] = (x.session.close_ns() - t) / 1e9
        else:
            self._opening(x.h[i] if self.kind == 4 else x.l[i], t)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _opening(self, price: cython.double, t: cython.longlong) -> cython.longlong:
        """Widen the range by a bar that closed at t."""
        x: BarHistory = self.hist
        b: cython.Py_ssize_t = self.base
        if self.watch.step(x.session):
            self.q[0] = 0
        if t <= x.session.open_ns() + self.range_ns and self.watch.is_whole():
            if self.q[0] == 0 or (price > self.pool[b] if self.kind == 4 else price < self.pool[b]):
                self.pool[b] = price
            self.q[0] += 1
        self.absent[b] = 0 if self.q[0] > 0 else 1
        return 0
