"""Two plain means of the closes: in the market from the first bar on at which they cross."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rule import RuleKernel, held
else:
    from mia.kernels.rule import RuleKernel, held


@cython.cfunc
@cython.exceptval(check=False)
def sma_cross_step(
    gap: cython.double, prior: cython.double, last: cython.double, long_size: cython.double, short_size: cython.double
) -> cython.double:
    """Long above and short below, as before while equal; 0.0 until they change sides for the first time."""
    if gap > 0.0:
        return 0.0 if last == 0.0 and prior > 0.0 else long_size
    if gap < 0.0:
        return 0.0 if last == 0.0 and prior < 0.0 else short_size
    return held(last, long_size, short_size)


@cython.final
@cython.cclass
class SmaCross(RuleKernel):  # type: ignore[misc]
    """Columns: fast less slow mean, now and one bar before."""

    long_size: cython.double
    short_size: cython.double

    def __init__(self, long_size: float, short_size: float) -> None:
        RuleKernel.__init__(self, 2, True)
        self.long_size = long_size
        self.short_size = short_size

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The step over the columns that begin at x[at]."""
        return sma_cross_step(self.x[at], self.x[at + 1], last, self.long_size, self.short_size)
