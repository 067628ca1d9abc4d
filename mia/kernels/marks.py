"""Numbers of an equity track in one pass, for loops over thousands of configurations; mia.backtest.stats has all others."""

from __future__ import annotations

import cython


@cython.ccall
@cython.exceptval(-1, check=True)
def deepest_fall(start: cython.longlong, equity: cython.longlong[::1]) -> cython.double:
    """The largest 1 - E / max(E so far) over the marks of an account that starts with `start` (above 0); above 1 when money is owed."""
    peak: cython.longlong = start
    trough: cython.longlong = start
    worst: cython.double = 0.0
    fall: cython.double
    i: cython.Py_ssize_t
    if start <= 0:
        raise ValueError("deepest_fall: an account starts with money")
    for i in range(equity.shape[0]):
        if equity[i] < trough:
            trough = equity[i]
        elif equity[i] > peak:
            fall = 1.0 - (1.0 * trough) / peak
            if fall > worst:
                worst = fall
            peak = equity[i]
            trough = peak
    fall = 1.0 - (1.0 * trough) / peak
    return fall if fall > worst else worst
