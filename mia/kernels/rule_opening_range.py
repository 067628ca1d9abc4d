"""Opening range breakout: the first close outside of the range of the session's first minutes is followed."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rule import RuleKernel, held
else:
    from mia.kernels.rule import RuleKernel, held


@cython.cfunc
@cython.exceptval(check=False)
def opening_range_step(
    close: cython.double,
    high: cython.double,
    low: cython.double,
    age_s: cython.double,
    left_s: cython.double,
    last: cython.double,
    long_size: cython.double,
    short_size: cython.double,
    range_s: cython.double,
    exit_s: cython.double,
) -> cython.double:
    """Long above the range, short below, what it was inside; flat until range_s after the open and from exit_s before the close on."""
    if age_s <= range_s or left_s <= exit_s:
        return 0.0
    if close > high:
        return long_size
    if close < low:
        return short_size
    return held(last, long_size, short_size)


@cython.final
@cython.cclass
class OpeningRange(RuleKernel):  # type: ignore[misc]
    """Columns: close, high and low of the opening range in ticks; seconds since the open and until the close of the session."""

    long_size: cython.double
    short_size: cython.double
    range_s: cython.double
    exit_s: cython.double

    def __init__(self, long_size: float, short_size: float, range_s: float, exit_s: float) -> None:
        RuleKernel.__init__(self, 5, True)
        self.long_size = long_size
        self.short_size = short_size
        self.range_s = range_s
        self.exit_s = exit_s

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The step over the columns that begin at x[at]."""
        return opening_range_step(
            self.x[at],
            self.x[at + 1],
            self.x[at + 2],
            self.x[at + 3],
            self.x[at + 4],
            last,
            self.long_size,
            self.short_size,
            self.range_s,
            self.exit_s,
        )
