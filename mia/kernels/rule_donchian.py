"""Donchian channels: a close beyond the entry channel is followed until one beyond the opposite exit channel."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rule import RuleKernel
else:
    from mia.kernels.rule import RuleKernel


@cython.cfunc
@cython.exceptval(check=False)
def donchian_step(
    close: cython.double,
    entry_high: cython.double,
    entry_low: cython.double,
    exit_high: cython.double,
    exit_low: cython.double,
    last: cython.double,
    long_size: cython.double,
    short_size: cython.double,
) -> cython.double:
    """Long from a close above entry_high until one below exit_low, short from one below entry_low until one above exit_high."""
    if close > entry_high:
        return long_size
    if close < entry_low:
        return short_size
    if last > 0.0 and close >= exit_low:
        return long_size
    if last < 0.0 and close <= exit_high:
        return short_size
    return 0.0


@cython.final
@cython.cclass
class Donchian(RuleKernel):  # type: ignore[misc]
    """Columns: close, highest high and lowest low of the bars before it over the entry and the exit period; in ticks."""

    long_size: cython.double
    short_size: cython.double

    def __init__(self, long_size: float, short_size: float) -> None:
        RuleKernel.__init__(self, 5, True)
        self.long_size = long_size
        self.short_size = short_size

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The step over the columns that begin at x[at]."""
        return donchian_step(
            self.x[at],
            self.x[at + 1],
            self.x[at + 2],
            self.x[at + 3],
            self.x[at + 4],
            last,
            self.long_size,
            self.short_size,
        )
