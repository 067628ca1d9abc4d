"""A long position whose size follows the target volatility."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rule import RuleKernel, rebalanced, scaled
else:
    from mia.kernels.rule import RuleKernel, rebalanced, scaled


@cython.cfunc
@cython.exceptval(check=False)
def vol_target_step(
    volatility: cython.double,
    last: cython.double,
    size: cython.double,
    target: cython.double,
    band: cython.double,
) -> cython.double:
    """Long min(size, target / volatility); unchanged while within band of that."""
    return rebalanced(scaled(volatility, target, size), last, band)


@cython.final
@cython.cclass
class VolTarget(RuleKernel):  # type: ignore[misc]
    """Columns: annualised volatility."""

    size: cython.double
    target: cython.double
    band: cython.double

    def __init__(self, size: float, target: float, band: float) -> None:
        RuleKernel.__init__(self, 1, True)
        self.size = size
        self.target = target
        self.band = band

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The step over the columns that begin at x[at]."""
        return vol_target_step(self.x[at], last, self.size, self.target, self.band)
