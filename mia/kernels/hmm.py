"""Forward filter of a Gaussian hidden Markov model with diagonal covariance: the probability of each state given the past only."""

from __future__ import annotations

from collections.abc import Sequence

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.libc.math import exp, log
else:
    from math import exp, log


@cython.cclass
class HmmFilter:
    """P(state | inputs so far), one step per bar.

    Inputs are scaled, (x - center) * inv_scale, and clipped to +- clip before use, so that one wild value cannot pin
    the filter for ever. State in the arena: probs[k] and the count of steps taken. Source: Hamilton (1989).
    """

    _probs: cython.double[::1]
    _count: cython.longlong[::1]
    _next: cython.double[::1]
    _z: cython.double[::1]
    _center: cython.double[::1]
    _inv_scale: cython.double[::1]
    _mean: cython.double[::1]
    _inv_var: cython.double[::1]
    _offset: cython.double[::1]
    _transition: cython.double[::1]
    _index: cython.longlong[::1]
    _clip: cython.double
    _k: cython.Py_ssize_t
    _d: cython.Py_ssize_t
    _warm: cython.longlong

    def __init__(
        self,
        arena: Arena,
        center: Sequence[float],
        inv_scale: Sequence[float],
        mean: Sequence[float],
        inv_var: Sequence[float],
        offset: Sequence[float],
        transition: Sequence[float],
        index: Sequence[int],
        clip: float,
        warm: int,
    ) -> None:
        """State and scratch from arena; every other array is a constant the caller keeps.

        center, inv_scale [d]; mean, inv_var [k * d] row per state; offset [k] = -0.5 * sum(log var); transition [k * k],
        row = from; index [d] = where each input lies in the values given to step; warm: steps before probs count.
        """
        self._d = len(center)
        self._k = len(offset)
        if len(mean) != self._k * self._d or len(inv_var) != self._k * self._d or len(transition) != self._k * self._k:
            raise ValueError("hmm: array lengths do not agree")
        if len(inv_scale) != self._d or len(index) != self._d:
            raise ValueError("hmm: array lengths do not agree")
        self._probs = arena.doubles(self._k)
        self._count = arena.longs(1)
        self._next = arena.doubles(self._k)
        self._z = arena.doubles(self._d)
        self._center = center
        self._inv_scale = inv_scale
        self._mean = mean
        self._inv_var = inv_var
        self._offset = offset
        self._transition = transition
        self._index = index
        self._clip = clip
        self._warm = warm
        self.reset()

    @cython.ccall
    def reset(self) -> cython.longlong:
        """Back to the uniform start; returns 0."""
        i: cython.Py_ssize_t
        for i in range(self._k):
            self._probs[i] = 1.0 / self._k
        self._count[0] = 0
        return 0

    def state(self) -> tuple[float, ...]:
        """The probabilities, one per state."""
        return tuple([self._probs[i] for i in range(self._k)])

    @cython.ccall
    def is_warm(self) -> cython.bint:
        """True once enough steps were taken for the probabilities to mean something."""
        return self._count[0] >= self._warm

    @cython.ccall
    def step(self, values: cython.double[::1]) -> cython.bint:
        """Take one bar's inputs, values[index]; False (and nothing changes) when one of them is not finite."""
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t
        z: cython.double
        total: cython.double
        best: cython.double
        score: cython.double
        for i in range(self._d):
            z = (values[self._index[i]] - self._center[i]) * self._inv_scale[i]
            if not (z - z == 0.0):  # noqa: SIM201 (the form that NaN and inf fail)
                return False
            if z > self._clip:
                z = self._clip
            elif z < -self._clip:
                z = -self._clip
            self._z[i] = z
        best = -1.0e300
        for j in range(self._k):
            total = 0.0
            for i in range(self._k):
                total = total + self._probs[i] * self._transition[i * self._k + j]
            score = self._offset[j]
            for i in range(self._d):
                z = self._z[i] - self._mean[j * self._d + i]
                score = score - 0.5 * z * z * self._inv_var[j * self._d + i]
            if total < 1.0e-12:
                total = 1.0e-12  # a state is never excluded for good
            score = score + log(total)
            self._next[j] = score
            if score > best:
                best = score
        total = 0.0
        for j in range(self._k):
            self._next[j] = exp(self._next[j] - best)
            total = total + self._next[j]
        for j in range(self._k):
            self._probs[j] = self._next[j] / total  # total >= 1: the best state contributes exp(0)
        self._count[0] = self._count[0] + 1
        return True
