"""Back to the session's VWAP: bought far below it, sold far above, until price is near again."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rule import RuleKernel
else:
    from mia.kernels.rule import RuleKernel


@cython.cfunc
@cython.exceptval(check=False)
def vwap_reversion_step(
    z: cython.double,
    age_s: cython.double,
    last: cython.double,
    long_size: cython.double,
    short_size: cython.double,
    entry: cython.double,
    leave: cython.double,
    start_s: cython.double,
) -> cython.double:
    """Long from below -entry until -leave, short from above entry until leave; flat in the first start_s of a session."""
    if age_s < start_s:
        return 0.0
    if z < -entry:
        return long_size
    if z > entry:
        return short_size
    if last > 0.0 and z < -leave:
        return long_size
    if last < 0.0 and z > leave:
        return short_size
    return 0.0


@cython.final
@cython.cclass
class VwapReversion(RuleKernel):  # type: ignore[misc]
    """Columns: standard deviations from the session's VWAP, seconds since the session's open."""

    long_size: cython.double
    short_size: cython.double
    entry: cython.double
    leave: cython.double
    start_s: cython.double

    def __init__(self, long_size: float, short_size: float, entry: float, leave: float, start_s: float) -> None:
        RuleKernel.__init__(self, 2, True)
        self.long_size = long_size
        self.short_size = short_size
        self.entry = entry
        self.leave = leave
        self.start_s = start_s

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The step over the columns that begin at x[at]."""
        return vwap_reversion_step(self.x[at], self.x[at + 1], last, self.long_size, self.short_size, self.entry, self.leave, self.start_s)
