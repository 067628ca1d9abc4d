"""What all compiled rules share: one step from columns and the last signal to the next one, and the loop over history that calls it.

A rule_*.py holds the step as a function of plain doubles (columns, then the last signal where it is read, then parameters; others
cimport it) and a RuleKernel that reads the columns of a row. A step has no state: the same row and last signal give the same answer.
"""

from __future__ import annotations

from array import array
from typing import Any

import cython

# Scaled sizes are multiples of 1 / _GRID: float32 holds them exactly, so that holding one is no order. Declared: else a Python object.
_GRID = cython.declare(cython.double, 1024.0)


@cython.cclass
class RuleKernel:
    """Base of all rules: always flat. width: columns that it reads, from the first of a row on; reads_last: does the last signal matter?

    x: the rows that `signal` reads; a field, since a view of memory as an argument costs more than the step itself.
    """

    def __init__(self, width: int, reads_last: bool) -> None:
        self.width = width
        self.reads_last = reads_last
        self.x: Any = memoryview(array("f", [0.0]))

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The signal in [-1, 1] of the row that begins at x[at]."""
        return 0.0

    @cython.ccall
    @cython.exceptval(-2, check=True)
    def next_signal(self, obs: cython.float[::1], last: cython.double) -> cython.double:
        """The signal in [-1, 1]. obs: float32, at least `width` finite columns; last: the signal given before, 0.0 at the start."""
        if obs.shape[0] < self.width:
            raise IndexError("next_signal: the observation is shorter than the rule's columns")
        self.x = obs
        return self.signal(0, last)

    def run(self, rows: Any, last: float, out: cython.double[::1]) -> float:
        """Fill out with the signals of rows in order, each told the one before; returns the last of them as a next row would see it.

        rows: float32[n, k], contiguous, k >= width (columns after them are not read); last: before the first row; out: float64[n].
        Between rows the signal passes through float32, as it does live in the column `last_action`. ValueError for other shapes.
        """
        view: Any = memoryview(rows)
        if view.ndim != 2 or view.format != "f" or view.shape[1] < self.width or view.shape[0] != len(out):
            raise ValueError(f"run: rows must be float32[{len(out)}, {self.width} or more]")
        n, width = view.shape
        flat: Any = memoryview(array("f", [0.0]))
        if n * width > 0:  # a read-only one is copied: the compiled step takes none
            flat = (memoryview(bytearray(view.cast("B"))) if view.readonly else view.cast("B")).cast("f")
        return self._fill(flat, n, width, last, memoryview(array("f", [0.0])), out)

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def _fill(
        self,
        x: cython.float[::1],
        n: cython.Py_ssize_t,
        width: cython.Py_ssize_t,
        last: cython.double,
        narrow: cython.float[::1],
        out: cython.double[::1],
    ) -> cython.double:
        i: cython.Py_ssize_t
        narrow[0] = last
        self.x = x
        for i in range(n):
            out[i] = self.signal(i * width, narrow[0])
            narrow[0] = out[i]
        return narrow[0]


@cython.cfunc
@cython.exceptval(check=False)
def held(last: cython.double, long_size: cython.double, short_size: cython.double) -> cython.double:
    """The side that `last` stands on, at the size of today: long, short (0.0 or below), or 0.0."""
    if last > 0.0:
        return long_size
    if last < 0.0:
        return short_size
    return 0.0


@cython.cfunc
@cython.exceptval(check=False)
def scaled(volatility: cython.double, target: cython.double, size: cython.double) -> cython.double:
    """Share of the cap at which the position has the target volatility, at most size, rounded down to 1 / _GRID.

    0.0 while prices do not move: such a market says nothing about risk.
    """
    if not (volatility > 0.0):
        return 0.0
    w: cython.double = size
    if volatility * size > target:
        w = target / volatility
    return cython.cast(cython.longlong, w * _GRID) / _GRID


@cython.cfunc
@cython.exceptval(check=False)
def rebalanced(wanted: cython.double, last: cython.double, band: cython.double) -> cython.double:
    """`wanted`, but `last` while it lies on the same side and no further than band away."""
    if wanted * last > 0.0 and -band <= wanted - last <= band:
        return last
    return wanted
