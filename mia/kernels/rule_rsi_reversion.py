"""Relative strength index: bought when oversold, sold when overbought, until it is back in the middle."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rule import RuleKernel
else:
    from mia.kernels.rule import RuleKernel


@cython.cfunc
@cython.exceptval(check=False)
def rsi_reversion_step(
    rsi: cython.double,
    last: cython.double,
    long_size: cython.double,
    short_size: cython.double,
    oversold: cython.double,
    middle: cython.double,
    overbought: cython.double,
) -> cython.double:
    """Long from below oversold until middle, short from above overbought until middle."""
    if rsi < oversold:
        return long_size
    if rsi > overbought:
        return short_size
    if last > 0.0 and rsi < middle:
        return long_size
    if last < 0.0 and rsi > middle:
        return short_size
    return 0.0


@cython.final
@cython.cclass
class RsiReversion(RuleKernel):  # type: ignore[misc]
    """Columns: RSI in 0 .. 100."""

    long_size: cython.double
    short_size: cython.double
    oversold: cython.double
    middle: cython.double
    overbought: cython.double

    def __init__(self, long_size: float, short_size: float, oversold: float, middle: float, overbought: float) -> None:
        RuleKernel.__init__(self, 1, True)
        self.long_size = long_size
        self.short_size = short_size
        self.oversold = oversold
        self.middle = middle
        self.overbought = overbought

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The step over the columns that begin at x[at]."""
        return rsi_reversion_step(self.x[at], last, self.long_size, self.short_size, self.oversold, self.middle, self.overbought)
