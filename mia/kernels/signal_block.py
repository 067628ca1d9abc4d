"""The signal that somebody outside stamped and sent: the last one that is known by now, while it holds. A column for the rule `signals`.

A signal counts from known_ns to until_ns, both included. One outside of [-1, 1] is none, one that is older than the last known is late
and dropped; one that will be known later waits, and another that is sent before then takes its place.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory


@cython.final
@cython.cclass
class SignalColumn(Block):  # type: ignore[misc]
    """One slot: value times confidence of the signal that holds; without one absent, or 0.0 when `is_flat_without`.

    name: the number of the series in mia.features.series.PREDICTIONS. x: value now, value later; q: known, until and whether there is
    one (0 or 1), of now and of later.
    """

    name: cython.longlong
    is_flat_without: cython.bint
    x: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, name: int, is_flat_without: bool) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.name = name
        self.is_flat_without = is_flat_without
        self.x = arena.doubles(2)
        self.q = arena.longs(6)

    @cython.cfunc
    def predicted(
        self,
        t_ns: cython.longlong,
        name: cython.longlong,
        value: cython.double,
        confidence: cython.double,
        known_ns: cython.longlong,
        until_ns: cython.longlong,
    ) -> cython.longlong:
        """Take one signal."""
        if name != self.name or not (-1.0 <= value <= 1.0):
            return 0
        self._catch_up(t_ns)
        if known_ns > t_ns:
            self._set(1, value * confidence, known_ns, until_ns)
        elif self.q[2] == 0 or known_ns >= self.q[0]:
            self._set(0, value * confidence, known_ns, until_ns)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _set(self, row: cython.Py_ssize_t, value: cython.double, known_ns: cython.longlong, until_ns: cython.longlong) -> cython.longlong:
        self.x[row] = value
        self.q[3 * row] = known_ns
        self.q[3 * row + 1] = until_ns
        self.q[3 * row + 2] = 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _catch_up(self, t_ns: cython.longlong) -> cython.longlong:
        """What was to be known later is known now."""
        if self.q[5] != 0 and self.q[3] <= t_ns:
            if self.q[2] == 0 or self.q[3] >= self.q[0]:
                self._set(0, self.x[1], self.q[3], self.q[4])
            self.q[5] = 0
        return 0

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the column."""
        self._catch_up(t_ns)
        holds: cython.bint = self.q[2] != 0 and t_ns <= self.q[1]
        self.pool[self.base] = self.x[0] if holds else 0.0
        self.absent[self.base] = 0 if holds or self.is_flat_without else 1
        return 0
