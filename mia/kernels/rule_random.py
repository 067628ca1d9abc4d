"""Sides drawn by lot: what luck alone does with a given turnover."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rng import uniform_of
    from cython.cimports.mia.kernels.rule import RuleKernel, held
else:
    from mia.kernels.rng import uniform_of
    from mia.kernels.rule import RuleKernel, held


@cython.cfunc
@cython.exceptval(check=False)
def random_step(
    day: cython.double,
    second: cython.double,
    last: cython.double,
    long_size: cython.double,
    short_size: cython.double,
    seed: cython.longlong,
    chance: cython.double,
) -> cython.double:
    """With a chance per bar a new side, each as likely, from a hash of seed and the time of the bar; else the old one."""
    u: cython.double = uniform_of(seed, cython.cast(cython.longlong, day), cython.cast(cython.longlong, second * 100.0 + 0.5))
    if u >= chance:
        return held(last, long_size, short_size)
    if u + u < chance:
        return long_size
    return short_size


@cython.final
@cython.cclass
class Random(RuleKernel):  # type: ignore[misc]
    """Columns: UTC day and second of the day at which the bar closed (bars of one 10 ms share a draw)."""

    long_size: cython.double
    short_size: cython.double
    seed: cython.longlong
    chance: cython.double

    def __init__(self, long_size: float, short_size: float, seed: int, chance: float) -> None:
        RuleKernel.__init__(self, 2, True)
        self.long_size = long_size
        self.short_size = short_size
        self.seed = seed
        self.chance = chance

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The step over the columns that begin at x[at]."""
        return random_step(self.x[at], self.x[at + 1], last, self.long_size, self.short_size, self.seed, self.chance)
