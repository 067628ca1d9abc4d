"""Memory features: which kind of past situation this bar resembles, and what followed the likes of it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import log1p

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, bars_pushed, last_bar
    from cython.cimports.mia.kernels.inputs import Inputs
    from cython.cimports.mia.kernels.num import clip, div, ln1p_pos, root
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, bars_pushed, last_bar
    from mia.kernels.inputs import Inputs
    from mia.kernels.num import clip, div, ln1p_pos, root

# last_3_trades_success_rate, the eighth column of memory, is the account block's: it comes with our own trades.
SLOTS = (
    "cluster_distance", "cluster_margin", "cluster_ret", "cluster_hit", "cluster_n", "pattern_replay_score", "days_since_cluster",
)  # fmt: skip
CLUSTERS_MAX, CONTEXTS_MAX, NEAREST = 32, 256, 20


@cython.final
@cython.cclass
class Memory:
    """Clusters and contexts of a bundle; constants."""

    inputs: Inputs
    k: cython.Py_ssize_t
    m: cython.Py_ssize_t
    centers: cython.double[::1]
    ret: cython.double[::1]
    hit: cython.double[::1]
    size: cython.double[::1]
    seen: cython.longlong[::1]
    contexts: cython.double[::1]
    later: cython.double[::1]
    ended: cython.longlong[::1]
    all_ended: cython.longlong

    def __init__(
        self,
        inputs: Inputs,
        centers: Sequence[float],
        counts: Sequence[int],
        hits: Sequence[int],
        mean_returns: Sequence[float],
        last_ns: Sequence[int],
        contexts: Sequence[float],
        later_returns: Sequence[float],
        ended_ns: Sequence[int],
    ) -> None:
        """centers [k * d] and contexts [m * d] of scaled inputs; counts, hits, mean_returns, last_ns [k]; later_returns, ended_ns [m].

        Returns are in standard deviations of all outcomes.
        """
        self.inputs = inputs
        self.k = len(counts)
        self.m = len(later_returns)
        if not (2 <= self.k <= CLUSTERS_MAX and self.m <= CONTEXTS_MAX):
            raise ValueError(f"memory: 2 to {CLUSTERS_MAX} clusters and at most {CONTEXTS_MAX} contexts")
        if len(centers) != self.k * inputs.d or not (self.k == len(hits) == len(mean_returns) == len(last_ns)):
            raise ValueError("memory: the arrays of the clusters do not fit together")
        if len(contexts) != self.m * inputs.d or len(ended_ns) != self.m:
            raise ValueError("memory: the arrays of the contexts do not fit together")
        self.centers = array("d", centers)
        self.ret = array("d", [max(-10.0, min(10.0, r * n / (n + 20.0))) for r, n in zip(mean_returns, counts, strict=True)])
        self.hit = array("d", [(1.0 + h) / (2.0 + n) for h, n in zip(hits, counts, strict=True)])
        self.size = array("d", [min(1.0, log1p(n) / log1p(10_000.0)) for n in counts])
        self.seen = array("q", last_ns)
        # Four contexts side by side, input by input, so that four sums run at once; the last four are filled up with zeros.
        rows = [contexts[k * inputs.d : (k + 1) * inputs.d] for k in range(self.m)]
        rows += [[0.0] * inputs.d] * (-self.m % 4)
        self.contexts = array("d", [rows[k + j][i] for k in range(0, len(rows), 4) for i in range(inputs.d) for j in range(4)])
        self.later = array("d", later_returns)
        self.ended = array("q", ended_ns)
        self.all_ended = max(ended_ns, default=0)


@cython.final
@cython.cclass
class MemoryBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. Its inputs must have been written before it is called.

    seen: when each cluster was met last, ns; q: 0 cluster of the last bar + 1, 1 when that one had been met before, ns (0: never),
    2 whether which holds the twenty contexts of the last bar. far: the distance of each context; near: the numbers of those that may
    be among the twenty.
    """

    memory: Memory
    seen: cython.longlong[::1]
    q: cython.longlong[::1]
    far: cython.double[::1]
    near: cython.longlong[::1]
    best: cython.double[::1]
    which: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, memory: Memory | None = None) -> None:
        """memory: None: all is absent."""
        Block.__init__(self, arena, pool, base, hist)
        self.memory = memory  # type: ignore[assignment]  # None is an extension type's, too
        self.q = arena.longs(3)
        self.seen = arena.longs(CLUSTERS_MAX)
        if memory is not None:
            for i in range(memory.k):
                self.seen[i] = memory.seen[i]
        self.far = arena.doubles(CONTEXTS_MAX)
        self.near = arena.longs(CONTEXTS_MAX)
        self.best = arena.doubles(NEAREST)
        self.which = arena.longs(NEAREST)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed and all other blocks have written theirs."""
        b: cython.Py_ssize_t = self.base
        if self.memory is None and self.absent[b] != 0:  # no model, and the marks stand
            return 0
        k: cython.Py_ssize_t
        there: cython.bint = self.memory is not None and self.memory.inputs.read(self.pool, self.absent, bars_pushed(self.hist))
        for k in range(7):
            self.absent[b + k] = 0 if there else 1
        if there:
            self._cluster()
            if not self._replay():
                self.absent[b + 5] = 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _cluster(self) -> cython.longlong:
        x: Memory = self.memory
        d: cython.Py_ssize_t = x.inputs.d
        b: cython.Py_ssize_t = self.base
        first: cython.double = 1e300
        second: cython.double = 1e300
        total: cython.double
        diff: cython.double
        near: cython.Py_ssize_t = 0
        k: cython.Py_ssize_t
        i: cython.Py_ssize_t
        for k in range(x.k):
            total = 0.0
            for i in range(d):
                diff = x.inputs.z[i] - x.centers[k * d + i]
                total += diff * diff
            if total < first:
                second = first
                first = total
                near = k
            elif total < second:
                second = total
        first = root(first)
        second = root(second)
        total = 1.0 * d
        self.pool[b] = clip(div(first, root(total)), 0.0, 20.0)
        self.pool[b + 1] = clip(div(second - first, second), 0.0, 1.0)
        self.pool[b + 2] = x.ret[near]
        self.pool[b + 3] = x.hit[near]
        self.pool[b + 4] = x.size[near]
        t: cython.longlong = self.hist.t[last_bar(self.hist)]
        if self.q[0] != near + 1:
            self.q[0] = near + 1
            self.q[1] = self.seen[near]
        self.seen[near] = t
        self.pool[b + 6] = 1.0
        if self.q[1] > 0:
            total = (t - self.q[1]) / 86_400e9
            self.pool[b + 6] = clip(ln1p_pos(total) / 5.902633333401366, 0.0, 1.0)  # ln(1 + 365)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _replay(self) -> cython.bint:
        """The mean later return of the 20 nearest contexts that had ended by this bar; False when there are fewer."""
        x: Memory = self.memory
        d: cython.Py_ssize_t = x.inputs.d
        t: cython.longlong = self.hist.t[last_bar(self.hist)]
        ended: cython.Py_ssize_t = 0
        total: cython.double
        b: cython.double
        c: cython.double
        e: cython.double
        diff: cython.double
        k: cython.Py_ssize_t
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t = 0
        for k in range(0, x.m, 4):
            total = b = c = e = 0.0
            for i in range(d):
                diff = x.inputs.z[i] - x.contexts[j]
                total += diff * diff
                diff = x.inputs.z[i] - x.contexts[j + 1]
                b += diff * diff
                diff = x.inputs.z[i] - x.contexts[j + 2]
                c += diff * diff
                diff = x.inputs.z[i] - x.contexts[j + 3]
                e += diff * diff
                j += 4
            self.far[k] = total
            self.far[k + 1] = b
            self.far[k + 2] = c
            self.far[k + 3] = e
        if t >= x.all_ended:
            ended = x.m
        else:
            for k in range(x.m):
                if x.ended[k] <= t:
                    ended += 1
                else:
                    self.far[k] = 2e300
        if ended < 20:
            return False
        # The twenty of the last bar bound the twentieth distance of this one, which leaves few to sort; what is found is the same.
        diff = 1e300
        if self.q[2] != 0:
            diff = 0.0
            for i in range(20):
                if self.far[self.which[i]] > diff:
                    diff = self.far[self.which[i]]
            diff = diff * (1.0 + 1e-9) + 1e-300
        self._nearest(diff)
        self.q[2] = 1
        total = 0.0
        for i in range(20):
            total += x.later[self.which[i]]
        self.pool[self.base + 5] = clip(total / 20.0, -10.0, 10.0)
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _nearest(self, limit: cython.double) -> cython.longlong:
        """Sort the 20 smallest of far into best and their numbers into which, of equals the first; at least 20 are below limit."""
        found: cython.Py_ssize_t = 0
        count: cython.Py_ssize_t = 0
        total: cython.double
        k: cython.Py_ssize_t
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t
        for k in range(self.memory.m):  # no branch: which of them are near cannot be guessed
            self.near[count] = k
            count += self.far[k] < limit
        for j in range(count):
            k = self.near[j]
            total = self.far[k]
            if total >= limit:
                continue
            i = found if found < 20 else 19
            while i > 0 and self.best[i - 1] > total:
                self.best[i] = self.best[i - 1]
                self.which[i] = self.which[i - 1]
                i -= 1
            self.best[i] = total
            self.which[i] = k
            if found < 20:
                found += 1
            if found == 20:
                limit = self.best[19]
        return 0
