"""One row of a plan: the values of its columns, or what stands in for those that are not there, then the masks."""

from __future__ import annotations

from array import array

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.readiness import Readiness
else:
    from mia.kernels.readiness import Readiness


@cython.final
@cython.cclass
class Row:
    """Writes rows of width columns and their masks.

    Columns of the catalogue mostly lie side by side in the pool, too: run k holds the columns first[k] .. first[k + 1] - 1, whose
    values begin at start[k] of the pool, so that a row is a handful of copies and not hundreds of look-ups.
    values: the plan's own row, as a matrix of one.
    """

    def __init__(self, ready: Readiness, pool: memoryview[float]) -> None:
        self.ready = ready
        self.pool = pool
        self.runs = 0

    def gather(self, values: memoryview[float], slots: memoryview, neutral: memoryview) -> None:
        """values: float64[width + masks]; slots: int64[width] into the pool; neutral: float64[width]."""
        width = len(slots)
        if len(values) < width or len(neutral) != width:
            raise ValueError("plan: values, slots and neutral do not fit together")
        if len(values) - width > 60:
            raise ValueError("plan: at most 60 masks")
        self.values = values.cast("B").cast("d", [1, len(values)]) if len(values) > 0 else memoryview(bytearray(8)).cast("d", [1, 1])
        self.neutral = neutral
        self.width = width
        self.masks = len(values) - width
        first = [j for j in range(width) if j == 0 or slots[j] != slots[j - 1] + 1]
        self.runs = len(first)
        self.start = array("q", [slots[j] for j in first] or [0])
        self.first = array("q", [*first, width])

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def write(self, out: cython.double[:, ::1], row: cython.Py_ssize_t) -> cython.longlong:
        """Write one row of a matrix; four columns at once, since most have neighbours of their kind."""
        absent: cython.longlong[::1] = self.ready.absent
        cold: cython.longlong[::1] = self.ready.cold
        no_a: cython.longlong
        no_b: cython.longlong
        no_c: cython.longlong
        no_d: cython.longlong
        va: cython.double
        vb: cython.double
        vc: cython.double
        vd: cython.double
        missing: cython.longlong = 0
        k: cython.Py_ssize_t
        j: cython.Py_ssize_t = 0
        a: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        for k in range(self.runs):
            a = self.start[k]
            stop = self.first[k + 1]
            while j + 4 <= stop:
                no_a = absent[a] | cold[j]
                no_b = absent[a + 1] | cold[j + 1]
                no_c = absent[a + 2] | cold[j + 2]
                no_d = absent[a + 3] | cold[j + 3]
                va = self.pool[a]
                vb = self.pool[a + 1]
                vc = self.pool[a + 2]
                vd = self.pool[a + 3]
                if no_a | no_b | no_c | no_d != 0:
                    missing = 1
                    if no_a != 0:
                        va = self.neutral[j]
                    if no_b != 0:
                        vb = self.neutral[j + 1]
                    if no_c != 0:
                        vc = self.neutral[j + 2]
                    if no_d != 0:
                        vd = self.neutral[j + 3]
                out[row, j] = va
                out[row, j + 1] = vb
                out[row, j + 2] = vc
                out[row, j + 3] = vd
                j += 4
                a += 4
            while j < stop:
                no_a = absent[a] | cold[j]
                missing |= no_a
                out[row, j] = self.neutral[j] if no_a != 0 else self.pool[a]
                j += 1
                a += 1
        self.ready.state[11] = 1 if missing == 0 else 0
        if self.masks > 0:
            missing = self.ready.look() if missing != 0 else 0
            for j in range(self.masks):
                out[row, self.width + j] = 1.0 if (missing >> j) & 1 == 0 else 0.0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def write_own(self) -> cython.longlong:
        """Write the plan's own row."""
        return self.write(self.values, 0)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def keep(self, out: cython.double[:, ::1], at: cython.Py_ssize_t) -> cython.longlong:
        """Leave in the plan's own row what the last observation wrote to row at of a matrix; -1: it is there already."""
        j: cython.Py_ssize_t
        if at >= 0:
            for j in range(self.width + self.masks):
                self.values[0, j] = out[at, j]
        return 0
