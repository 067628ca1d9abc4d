"""Which market session a moment belongs to: rows of a session table, or UTC days for a market that never closes.

The table is a constant of the caller; the place in it is state in the arena. Time only goes forward: a clock that steps back
stays in the session it was in.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

_DAY_NS = cython.declare(cython.longlong, 86_400_000_000_000)  # typed: a literal above 2**31 would be a Python integer


@cython.cclass
class SessionClock:
    """The session that began last at or before the moments it is told.

    state: 0 sessions begun, 1 open ns, 2 close ns, 3 whether the last call began one, 4 row of the table that comes next.
    """

    def __init__(self, arena: Arena, opens: memoryview[int], closes: memoryview[int]) -> None:
        """opens, closes: int64 Unix ns, rising, row for row; empty, or before the first row and after the last: UTC days."""
        if len(opens) != len(closes):
            raise ValueError(f"session table: {len(opens)} opens and {len(closes)} closes")
        self.opens = opens
        self.closes = closes
        self.n = len(opens)
        self.state = arena.longs(5)

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def advance(self, t_ns: cython.longlong) -> cython.bint:
        """Move to t_ns; True when a session began since the last call. Between two sessions the earlier one goes on."""
        self.state[3] = 0
        if self.state[0] > 0 and t_ns < self.state[2]:
            return False
        i: cython.Py_ssize_t = self.state[4]
        while i < self.n and self.opens[i] <= t_ns:
            i += 1
        if i > self.state[4]:
            self.state[4] = i
            self._begin(self.opens[i - 1], self.closes[i - 1])
        if self.state[0] > 0 and t_ns < self.state[2]:
            return self.state[3] != 0
        if i > 0 and i < self.n:
            return self.state[3] != 0
        day: cython.longlong = t_ns // _DAY_NS * _DAY_NS
        if self.state[0] == 0 or day >= self.state[2]:
            self._begin(day, day + _DAY_NS)
        return self.state[3] != 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _begin(self, open_ns: cython.longlong, close_ns: cython.longlong) -> cython.longlong:
        self.state[0] += 1
        self.state[1] = open_ns
        self.state[2] = close_ns
        self.state[3] = 1
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def begun(self) -> cython.longlong:
        """Sessions begun so far, this one included; 0 before the first call."""
        return self.state[0]

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def is_new(self) -> cython.bint:
        """Did the last call of advance begin a session?"""
        return self.state[3] != 0

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def open_ns(self) -> cython.longlong:
        """When the session opened."""
        return self.state[1]

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def close_ns(self) -> cython.longlong:
        """When the session closes."""
        return self.state[2]
