"""Moving average convergence divergence: long while the MACD line is above its signal line."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rule import RuleKernel
else:
    from mia.kernels.rule import RuleKernel


@cython.cfunc
@cython.exceptval(check=False)
def macd_step(histogram: cython.double, long_size: cython.double, short_size: cython.double) -> cython.double:
    """Long above zero, short below, 0.0 at it."""
    if histogram > 0.0:
        return long_size
    if histogram < 0.0:
        return short_size
    return 0.0


@cython.final
@cython.cclass
class Macd(RuleKernel):  # type: ignore[misc]
    """Columns: MACD line - signal line."""

    long_size: cython.double
    short_size: cython.double

    def __init__(self, long_size: float, short_size: float) -> None:
        RuleKernel.__init__(self, 1, False)
        self.long_size = long_size
        self.short_size = short_size

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The step over the columns that begin at x[at]."""
        return macd_step(self.x[at], self.long_size, self.short_size)
