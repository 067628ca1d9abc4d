"""Which sessions were seen from their first bar on: what a level of a past session may be trusted with."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.session import SessionClock
else:
    from mia.kernels.session import SessionClock

# Bridges any weekend with a holiday. Declared, since a large literal would make Python objects of the expression it stands in.
_PAUSE_MAX_NS = cython.declare(cython.longlong, 345_600_000_000_000)


@cython.cclass
class SessionWatch:
    """Follows a session clock bar by bar. state: 0 sessions the clock began, 1 close ns of the last, 2 begun in a row while watching."""

    def __init__(self, arena: Arena) -> None:
        self.state = arena.longs(3)

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def step(self, clock: SessionClock) -> cython.bint:
        """Once a bar: does it open a session, or is it the first bar of all? Counts, since others may move the clock in between."""
        n: cython.longlong = clock.begun()
        if n == self.state[0]:
            return False
        if self.state[0] > 0 and clock.open_ns() - self.state[1] <= _PAUSE_MAX_NS:  # else sessions are missing in between
            self.state[2] += 1
        else:
            self.state[2] = 0
        self.state[0] = n
        self.state[1] = clock.close_ns()
        return True

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def is_whole(self) -> cython.bint:
        """Did the session that runs begin while bars were coming?"""
        return self.state[2] >= 1

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def was_whole(self) -> cython.bint:
        """Did the session before it, too?"""
        return self.state[2] >= 2
