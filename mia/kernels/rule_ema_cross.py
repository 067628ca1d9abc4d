"""Two exponential means of the closes: long while the fast one is above the slow one."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rule import RuleKernel
else:
    from mia.kernels.rule import RuleKernel


@cython.cfunc
@cython.exceptval(check=False)
def ema_cross_step(fast: cython.double, slow: cython.double, long_size: cython.double, short_size: cython.double) -> cython.double:
    """Long above, short below, 0.0 while equal."""
    if fast > slow:
        return long_size
    if fast < slow:
        return short_size
    return 0.0


@cython.final
@cython.cclass
class EmaCross(RuleKernel):  # type: ignore[misc]
    """Columns: fast and slow mean."""

    long_size: cython.double
    short_size: cython.double

    def __init__(self, long_size: float, short_size: float) -> None:
        RuleKernel.__init__(self, 2, False)
        self.long_size = long_size
        self.short_size = short_size

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The step over the columns that begin at x[at]."""
        return ema_cross_step(self.x[at], self.x[at + 1], self.long_size, self.short_size)
