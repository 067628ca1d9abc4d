"""How far a model's inputs have drifted from its training: the population stability index over the latest decisions."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.num import ln_ratio
    from cython.cimports.mia.kernels.plan_core import PlanCore
else:
    from mia.kernels.num import ln_ratio
    from mia.kernels.plan_core import PlanCore

BLOCK = 5_000  # values; fewer say little of columns that move slowly
_FLOOR = cython.declare(cython.double, 1e-4)  # of a share, so that an empty bin stays finite; as mia.backtest.distribution has it


@cython.final
@cython.cclass
class DriftMeter:
    """Counts the values that decisions see into the bins of training, column by column, and weighs the counts.

    A column's window is its last full block of values and those of the block that fills, BLOCK to 2 BLOCK - 1 in all; before its
    first block is full nothing is known of it. Values that are not there are not counted. count() costs one search per column;
    the index of one column, in turn, is worked out anew, so the largest one is at most as many decisions old as there are columns.
    Source: Siddiqi (2006), Credit Risk Scorecards: sum (q - p) ln(q / p) over the bins, p of training, q of the window.
    state: 0 the column that is weighed next. The bins of column k begin at starts[k] + k, its edges at starts[k].
    """

    plan: PlanCore
    columns: cython.Py_ssize_t
    block: cython.longlong
    index: cython.longlong[::1]
    starts: cython.longlong[::1]
    edges: cython.double[::1]
    shares: cython.double[::1]
    state: cython.longlong[::1]
    now: cython.longlong[::1]
    before: cython.longlong[::1]
    seen: cython.longlong[::1]
    full: cython.longlong[::1]
    psi: cython.double[::1]

    def __init__(
        self,
        arena: Arena,
        plan: PlanCore,
        index: Sequence[int],
        edges: Sequence[Sequence[float]],
        shares: Sequence[Sequence[float]],
        block: int = BLOCK,
    ) -> None:
        """index: the plan's columns that are watched; edges, shares: of each, one share more than edges, edges rising.

        ValueError when these do not fit together.
        """
        if not len(index) == len(edges) == len(shares) > 0 or any(len(s) != len(e) + 1 for e, s in zip(edges, shares, strict=True)):
            raise ValueError("drift: every column needs its edges and one share more than edges")
        self.plan = plan
        self.columns = len(index)
        self.block = block
        self.index = array("q", index)
        starts = [0]
        for column in edges:
            starts.append(starts[len(starts) - 1] + len(column))
        self.starts = array("q", starts)
        self.edges = array("d", [x for column in edges for x in column] or [0.0])
        self.shares = array("d", [x if x > 1e-4 else 1e-4 for column in shares for x in column])
        bins = len(self.shares)
        self.state = arena.longs(1)
        self.now = arena.longs(bins)
        self.before = arena.longs(bins)
        self.seen = arena.longs(len(index))
        self.full = arena.longs(len(index))
        self.psi = arena.doubles(len(index))

    @cython.ccall
    def count(self) -> cython.longlong:
        """Take the row that the plan has just observed."""
        k: cython.Py_ssize_t
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        x: cython.double
        for k in range(self.columns):
            j = self.index[k]
            x = self.plan.row.values[0, j]
            if x - x != 0.0 or not self.plan.is_there(j):
                continue
            i = self.starts[k]
            stop = self.starts[k + 1]
            while i < stop and self.edges[i] <= x:
                i += 1
            self.now[i + k] += 1
            self.seen[k] += 1
            if self.seen[k] == self.block:
                self._turn(k)
        k = self.state[0]
        self._weigh(k)
        self.state[0] = k + 1 if k + 1 < self.columns else 0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _turn(self, k: cython.Py_ssize_t) -> cython.longlong:
        """The block of column k is full: the next one begins."""
        i: cython.Py_ssize_t
        for i in range(self.starts[k] + k, self.starts[k + 1] + k + 1):
            self.before[i] = self.now[i]
            self.now[i] = 0
        self.seen[k] = 0
        self.full[k] = 1
        self._weigh(k)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _weigh(self, k: cython.Py_ssize_t) -> cython.longlong:
        """Work out the index of column k."""
        if self.full[k] == 0:
            return 0
        n: cython.double = 1.0 * (self.block + self.seen[k])
        total: cython.double = 0.0
        q: cython.double
        i: cython.Py_ssize_t
        for i in range(self.starts[k] + k, self.starts[k + 1] + k + 1):
            q = (self.before[i] + self.now[i]) / n
            if q < _FLOOR:
                q = _FLOOR
            total += (q - self.shares[i]) * ln_ratio(q, self.shares[i])
        self.psi[k] = total
        return 0

    @cython.ccall
    @cython.exceptval(-2, check=True)
    def worst(self) -> cython.Py_ssize_t:
        """Which of the watched columns has the largest index, the first of equal ones; -1 while none is known."""
        found: cython.Py_ssize_t = -1
        k: cython.Py_ssize_t
        for k in range(self.columns):
            if self.full[k] != 0 and (found < 0 or self.psi[k] > self.psi[found]):
                found = k
        return found

    @cython.ccall
    def score(self) -> cython.double:
        """The largest index of all columns; -1.0 while none is known."""
        k: cython.Py_ssize_t = self.worst()
        return self.psi[k] if k >= 0 else -1.0
