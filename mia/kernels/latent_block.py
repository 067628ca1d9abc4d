"""Latent features: other columns of the same plan seen through fitted projections, an autoencoder and a covariance."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.libc.math import tanh
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, bars_pushed
    from cython.cimports.mia.kernels.inputs import Inputs
    from cython.cimports.mia.kernels.num import clip, ratio, root
else:
    from math import tanh

    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, bars_pushed
    from mia.kernels.inputs import Inputs
    from mia.kernels.num import clip, ratio, root

SLOTS = (
    "pca_flow_1", "pca_flow_2", "pca_flow_3", "pca_price_1", "pca_price_2", "pca_price_3", "ae_vol_1", "ae_vol_2", "ae_vol_3",
    "novelty", "latent_shift", "stress",
)  # fmt: skip


@cython.final
@cython.cclass
class Projection:
    """Three rows of weights over scaled inputs: y = W z, clipped to +- 10."""

    inputs: Inputs
    w: cython.double[::1]

    def __init__(self, inputs: Inputs, weights: Sequence[float]) -> None:
        """weights: [3 * d], row per component."""
        self.inputs = inputs
        self.w = array("d", weights)
        if len(self.w) != 3 * inputs.d:
            raise ValueError("projection: weights must be 3 rows of d")

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def put(self, pool: cython.double[::1], base: cython.Py_ssize_t) -> cython.longlong:
        """Write the three components of the inputs read last."""
        j: cython.Py_ssize_t
        i: cython.Py_ssize_t
        d: cython.Py_ssize_t = self.inputs.d
        total: cython.double
        for j in range(3):
            total = 0.0
            for i in range(d):
                total += self.w[j * d + i] * self.inputs.z[i]
            pool[base + j] = clip(total, -10.0, 10.0)
        return 0


@cython.final
@cython.cclass
class Autoencoder:
    """z -> tanh(W1 z + b1) -> y = W2 h + b2 (3 numbers) -> W3 y + b3, which ought to be z again."""

    inputs: Inputs
    h: cython.Py_ssize_t
    w1: cython.double[::1]
    b1: cython.double[::1]
    w2: cython.double[::1]
    b2: cython.double[::1]
    w3: cython.double[::1]
    b3: cython.double[::1]
    hidden: cython.double[::1]
    code: cython.double[::1]
    error_p99: cython.double

    def __init__(
        self,
        arena: Arena,
        inputs: Inputs,
        w1: Sequence[float],
        b1: Sequence[float],
        w2: Sequence[float],
        b2: Sequence[float],
        w3: Sequence[float],
        b3: Sequence[float],
        error_p99: float,
    ) -> None:
        """w1 [h * d], b1 [h], w2 [3 * h], b2 [3], w3 [d * 3], b3 [d]; error_p99: of the mean squared error on the training rows."""
        self.inputs = inputs
        self.h = len(b1)
        self.w1, self.b1 = array("d", w1), array("d", b1)
        self.w2, self.b2 = array("d", w2), array("d", b2)
        self.w3, self.b3 = array("d", w3), array("d", b3)
        if len(w1) != self.h * inputs.d or len(w2) != 3 * self.h or len(b2) != 3 or len(w3) != 3 * inputs.d or len(b3) != inputs.d:
            raise ValueError("autoencoder: shapes of the weights do not fit together")
        self.hidden = arena.doubles(self.h)
        self.code = arena.doubles(3)
        self.error_p99 = error_p99

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def put(self, pool: cython.double[::1], base: cython.Py_ssize_t) -> cython.double:
        """Write the code, clipped to +- 10, of the inputs read last; returns the mean squared error of what the code gives back."""
        d: cython.Py_ssize_t = self.inputs.d
        j: cython.Py_ssize_t
        i: cython.Py_ssize_t
        total: cython.double
        error: cython.double = 0.0
        for j in range(self.h):
            total = self.b1[j]
            for i in range(d):
                total += self.w1[j * d + i] * self.inputs.z[i]
            self.hidden[j] = tanh(total)
        for j in range(3):
            total = self.b2[j]
            for i in range(self.h):
                total += self.w2[j * self.h + i] * self.hidden[i]
            self.code[j] = total
            pool[base + j] = clip(total, -10.0, 10.0)
        for j in range(d):
            total = self.b3[j] - self.inputs.z[j]
            for i in range(3):
                total += self.w3[j * 3 + i] * self.code[i]
            error += total * total
        return error / d


@cython.final
@cython.cclass
class Distance:
    """Mahalanobis distance: the length of L z, where L is lower triangular and L' L the inverse covariance of the training rows."""

    inputs: Inputs
    w: cython.double[::1]

    def __init__(self, inputs: Inputs, whiten: Sequence[float]) -> None:
        """whiten: [d * d], row per row; what lies above the diagonal is not read."""
        self.inputs = inputs
        self.w = array("d", whiten)
        if len(self.w) != inputs.d * inputs.d:
            raise ValueError("distance: the whitening matrix must be d rows of d")

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def measure(self) -> cython.double:
        """The distance over sqrt(d), of the inputs read last."""
        d: cython.Py_ssize_t = self.inputs.d
        square: cython.double = 0.0
        total: cython.double
        j: cython.Py_ssize_t
        i: cython.Py_ssize_t
        for j in range(d):
            total = 0.0
            for i in range(j + 1):
                total += self.w[j * d + i] * self.inputs.z[i]
            square += total * total
        return root(square / d)


@cython.final
@cython.cclass
class LatentBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. Its inputs must have been written before it is called.

    past: 21 rows of the nine latents; whole: beside it 1 for a row in which every latent that the models have was there.
    """

    flow: Projection
    price: Projection
    vol: Autoencoder
    distance: Distance
    past: cython.double[::1]
    whole: cython.longlong[::1]
    state: cython.longlong[::1]

    def __init__(
        self,
        arena: Arena,
        pool: memoryview[float],
        base: int,
        hist: BarHistory,
        flow: Projection | None = None,
        price: Projection | None = None,
        vol: Autoencoder | None = None,
        distance: Distance | None = None,
    ) -> None:
        """The models whose columns there are; None, which an extension type may be: absent."""
        Block.__init__(self, arena, pool, base, hist)
        self.flow = flow  # type: ignore[assignment]
        self.price = price  # type: ignore[assignment]
        self.vol = vol  # type: ignore[assignment]
        self.distance = distance  # type: ignore[assignment]
        self.past = arena.doubles(21 * 9)
        self.whole = arena.longs(21)
        self.state = arena.longs(1)  # rows ever written

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed and all other blocks have written theirs."""
        b: cython.Py_ssize_t = self.base
        if self.flow is None and self.price is None and self.vol is None and self.distance is None and self.absent[b] != 0:
            return 0  # no model, and the marks stand
        n: cython.longlong = bars_pushed(self.hist)
        is_whole: cython.bint = self.flow is not None or self.price is not None or self.vol is not None
        there: cython.bint = self.flow is not None and self.flow.inputs.read(self.pool, self.absent, n)
        if there:
            self.flow.put(self.pool, b)
        self._mark(0, 3, there)
        is_whole = is_whole and (there or self.flow is None)
        there = self.price is not None and self.price.inputs.read(self.pool, self.absent, n)
        if there:
            self.price.put(self.pool, b + 3)
        self._mark(3, 3, there)
        is_whole = is_whole and (there or self.price is None)
        there = self.vol is not None and self.vol.inputs.read(self.pool, self.absent, n)
        if there:
            self.pool[b + 9] = ratio(self.vol.put(self.pool, b + 6), self.vol.error_p99, 10.0)
        self._mark(6, 4, there)
        is_whole = is_whole and (there or self.vol is None)
        self._mark(10, 1, self._shift(is_whole))
        there = self.distance is not None and self.distance.inputs.read(self.pool, self.absent, n)
        if there:
            self.pool[b + 11] = clip(self.distance.measure(), 0.0, 20.0)
        self._mark(11, 1, there)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _mark(self, first: cython.Py_ssize_t, n: cython.Py_ssize_t, there: cython.bint) -> cython.longlong:
        k: cython.Py_ssize_t
        for k in range(self.base + first, self.base + first + n):
            self.absent[k] = 0 if there else 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _shift(self, is_whole: cython.bint) -> cython.bint:
        """Remember this bar's latents and write how far they moved in 20 bars; False when either end is not whole."""
        b: cython.Py_ssize_t = self.base
        row: cython.Py_ssize_t = self.state[0] % 21
        old: cython.Py_ssize_t = (self.state[0] + 1) % 21  # written 20 bars ago
        total: cython.double = 0.0
        x: cython.double
        k: cython.Py_ssize_t
        self.state[0] += 1
        self.whole[row] = 1 if is_whole else 0
        for k in range(9):
            self.past[9 * row + k] = self.pool[b + k] if is_whole else 0.0
        if not is_whole or self.whole[old] == 0:
            return False
        for k in range(9):
            x = self.past[9 * row + k] - self.past[9 * old + k]
            total += x * x
        self.pool[b + 10] = clip(root(total), 0.0, 60.0)
        return True
