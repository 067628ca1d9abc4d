"""Time-series momentum: the sign of the past return, at the size that has the target volatility."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rule import RuleKernel, rebalanced, scaled
else:
    from mia.kernels.rule import RuleKernel, rebalanced, scaled


@cython.cfunc
@cython.exceptval(check=False)
def ts_momentum_step(
    past_return: cython.double,
    volatility: cython.double,
    last: cython.double,
    size: cython.double,
    is_long_only: cython.longlong,
    target: cython.double,
    band: cython.double,
) -> cython.double:
    """Long after a rise, short (or flat) after a fall, min(size, target / volatility); unchanged while within band of that."""
    w: cython.double = scaled(volatility, target, size)
    if past_return > 0.0:
        return rebalanced(w, last, band)
    if past_return < 0.0 and is_long_only == 0 and w > 0.0:
        return rebalanced(-w, last, band)
    return 0.0


@cython.final
@cython.cclass
class TsMomentum(RuleKernel):  # type: ignore[misc]
    """Columns: log return over the lookback, annualised volatility."""

    size: cython.double
    is_long_only: cython.longlong
    target: cython.double
    band: cython.double

    def __init__(self, size: float, is_long_only: int, target: float, band: float) -> None:
        RuleKernel.__init__(self, 2, True)
        self.size = size
        self.is_long_only = is_long_only
        self.target = target
        self.band = band

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The step over the columns that begin at x[at]."""
        return ts_momentum_step(self.x[at], self.x[at + 1], last, self.size, self.is_long_only, self.target, self.band)
