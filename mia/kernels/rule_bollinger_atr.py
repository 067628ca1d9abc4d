"""Bollinger bands, bought below and sold above, given up where the ATR says that price runs away."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.rule import RuleKernel
else:
    from mia.kernels.rule import RuleKernel


@cython.cfunc
@cython.exceptval(check=False)
def bollinger_atr_step(
    close: cython.double,
    mean: cython.double,
    std: cython.double,
    atr: cython.double,
    last: cython.double,
    long_size: cython.double,
    short_size: cython.double,
    band_stds: cython.double,
    stop_atrs: cython.double,
) -> cython.double:
    """Long below the lower band until the mean, short above the upper one; flat beyond stop_atrs x ATR outside of a band."""
    band: cython.double = band_stds * std
    d: cython.double = close - mean
    if band > 0.0 and d < -band:
        return long_size if d >= -band - stop_atrs * atr else 0.0
    if band > 0.0 and d > band:
        return short_size if d <= band + stop_atrs * atr else 0.0
    if last > 0.0 and d < 0.0:
        return long_size
    if last < 0.0 and d > 0.0:
        return short_size
    return 0.0


@cython.final
@cython.cclass
class BollingerAtr(RuleKernel):  # type: ignore[misc]
    """Columns: close, mean and standard deviation of closes, ATR; in ticks."""

    long_size: cython.double
    short_size: cython.double
    band_stds: cython.double
    stop_atrs: cython.double

    def __init__(self, long_size: float, short_size: float, band_stds: float, stop_atrs: float) -> None:
        RuleKernel.__init__(self, 4, True)
        self.long_size = long_size
        self.short_size = short_size
        self.band_stds = band_stds
        self.stop_atrs = stop_atrs

    @cython.cfunc
    @cython.exceptval(check=False)
    def signal(self, at: cython.Py_ssize_t, last: cython.double) -> cython.double:
        """The step over the columns that begin at x[at]."""
        return bollinger_atr_step(
            self.x[at],
            self.x[at + 1],
            self.x[at + 2],
            self.x[at + 3],
            last,
            self.long_size,
            self.short_size,
            self.band_stds,
            self.stop_atrs,
        )
