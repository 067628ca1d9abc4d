"""Forward filter of a Gaussian hidden Markov model with diagonal covariance: the probability of each state given the past only."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.libc.math import exp, log, sqrt
else:
    from math import exp, log, sqrt

if TYPE_CHECKING:
    from mia.domain.regime import RegimeParams


@cython.cclass
class HmmFilter:
    """P(state | inputs so far), one step per bar.

    Inputs are scaled, (x - center) * inv_scale, and clipped to +- clip before use, so that one wild value cannot pin
    the filter for ever. State in the arena: probs[k], the count of steps taken, the log-likelihood of the last one.
    Source: Hamilton (1989).
    """

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
        self._loglik = arena.doubles(1)
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
    @cython.exceptval(-1, check=True)
    def reset(self) -> cython.longlong:
        """Back to the uniform start; returns 0."""
        i: cython.Py_ssize_t
        for i in range(self._k):
            self._probs[i] = 1.0 / self._k
        self._count[0] = 0
        self._loglik[0] = 0.0
        return 0

    def state(self) -> tuple[float, ...]:
        """The probabilities, one per state."""
        return tuple([self._probs[i] for i in range(self._k)])

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def is_warm(self) -> cython.bint:
        """True once enough steps were taken for the probabilities to mean something."""
        return self._count[0] >= self._warm

    @cython.ccall
    @cython.exceptval(-1, check=True)
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
        self._loglik[0] = best + log(total)
        self._count[0] = self._count[0] + 1
        return True

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def steps(self) -> cython.longlong:
        """Steps taken since the start."""
        return self._count[0]

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def prob(self, k: cython.Py_ssize_t) -> cython.double:
        """Probability of state k after the last step."""
        return self._probs[k]

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def stay(self, k: cython.Py_ssize_t) -> cython.double:
        """Probability that state k lasts another bar: A_kk."""
        return self._transition[k * self._k + k]

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def loglik(self) -> cython.double:
        """ln of the predictive density of the last step's scaled inputs, less the constant -d / 2 ln(2 pi)."""
        return self._loglik[0]

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def surprise(self) -> cython.double:
        """The first scaled input of the last step in standard deviations of the filtered mixture of states; 0.0 before a step."""
        mean: cython.double = 0.0
        square: cython.double = 0.0
        m: cython.double
        j: cython.Py_ssize_t
        for j in range(self._k):
            m = self._mean[j * self._d]
            mean = mean + self._probs[j] * m
            square = square + self._probs[j] * (m * m + 1.0 / self._inv_var[j * self._d])
        square = square - mean * mean
        if self._count[0] == 0 or square <= 0.0:
            return 0.0
        return (self._z[0] - mean) / sqrt(square)


def filter_of(params: RegimeParams, arena: Arena, index: Mapping[str, int]) -> HmmFilter:
    """The filter of checked parameters; index: where each of their columns lies in the values that `step` is given."""
    var = [v for row in params.var for v in row]
    return HmmFilter(
        arena,
        array("d", params.center),
        array("d", [1.0 / s for s in params.scale]),
        array("d", [v for row in params.mean for v in row]),
        array("d", [1.0 / v for v in var]),
        array("d", [-0.5 * math.fsum(math.log(v) for v in row) for row in params.var]),
        array("d", [v for row in params.transition for v in row]),
        array("q", [index[c] for c in params.columns]),
        params.clip,
        params.warm_bars,
    )
