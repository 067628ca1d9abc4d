"""The check between features and a policy: float32 copy, finite and inside of what the policy was trained on."""

from __future__ import annotations

import cython


@cython.ccall
def to_float32(
    values: cython.double[::1], n: cython.Py_ssize_t, lo: cython.double[::1], hi: cython.double[::1], out32: cython.float[::1]
) -> cython.Py_ssize_t:
    """Copy the first n of values to out32; -1 when all are finite and inside [lo_i, hi_i].

    Else the first bad one, where copying stopped: its index i when it is not finite, n + i when it is out of range.
    lo, hi: float64[n] finite within float32. IndexError when an array is shorter than n.
    """
    if n < 0 or values.shape[0] < n or lo.shape[0] < n or hi.shape[0] < n or out32.shape[0] < n:
        raise IndexError("to_float32: an array is shorter than n")
    i: cython.Py_ssize_t
    x: cython.double
    for i in range(n):
        x = values[i]
        if x - x != 0.0:  # NaN and both infinities
            return i
        if not (x >= lo[i] and x <= hi[i]):
            return n + i
        out32[i] = x
    return -1
