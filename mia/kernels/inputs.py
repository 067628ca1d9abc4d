"""What a model reads: columns that other blocks wrote into the pool at this bar, scaled and clipped. Constants but for scratch."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import cython

from mia.kernels.arena import Arena


@cython.cclass
class Inputs:
    """z = clip((pool[index] - center) / scale, -clip, clip) of d columns, ready once all of them are warm and present."""

    def __init__(self, arena: Arena, index: Sequence[int], center: Sequence[float], scale: Sequence[float], clip: float, bars: int) -> None:
        """index: slots of the pool; scale above 0; bars: closed bars after which all of the columns are warm."""
        if not (0 < len(index) == len(center) == len(scale)):
            raise ValueError("inputs: index, center and scale do not fit together")
        self.index = array("q", index)
        self.center = array("d", center)
        self.inv_scale = array("d", [1.0 / s for s in scale])
        self.clip = clip
        self.bars = bars
        self.d = len(index)
        self.z = arena.doubles(self.d)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def read(self, pool: cython.double[::1], absent: cython.longlong[::1], bars: cython.longlong) -> cython.bint:
        """Fill z; False when a column is cold (fewer than its bars are closed), absent or not finite."""
        if bars < self.bars:
            return False
        i: cython.Py_ssize_t
        x: cython.double
        for i in range(self.d):
            if absent[self.index[i]] != 0:
                return False
            x = (pool[self.index[i]] - self.center[i]) * self.inv_scale[i]
            if not (x - x == 0.0):  # noqa: SIM201 (the form that NaN and inf fail)
                return False
            if x > self.clip:
                x = self.clip
            elif x < -self.clip:
                x = -self.clip
            self.z[i] = x
        return True
