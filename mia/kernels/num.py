"""Guarded scalar arithmetic: the only divisions, logarithms and roots that feature kernels use.

NaN passes through every function, so that a bad input is seen by the check of the observation and not hidden as a 0.
"""

from __future__ import annotations

import cython

if not cython.compiled:  # compiled, they are the inline functions of num.pxd; change both
    from math import exp, log, sqrt

    def div(a: cython.double, b: cython.double) -> cython.double:
        """a / b for a divisor above 0; 0.0 where b is 0 or negative."""
        if b <= 0.0:
            return 0.0
        return a / b

    def clip(x: cython.double, low: cython.double, high: cython.double) -> cython.double:
        """x held inside [low, high]."""
        if x < low:
            return low
        if x > high:
            return high
        return x

    def ratio(a: cython.double, b: cython.double, bound: cython.double) -> cython.double:
        """div(a, b) clipped to [-bound, bound]."""
        x: cython.double = div(a, b)
        if x < -bound:
            return -bound
        if x > bound:
            return bound
        return x

    def ln_ratio(a: cython.double, b: cython.double) -> cython.double:
        """ln(a / b) of two positive numbers; 0.0 where either is not above 0 (a NaN passes through).

        Within 5 % of each other, as prices mostly are, by the series 2 artanh q = 2 (q + q^3/3 + ... + q^11/11) of
        q = (a - b) / (a + b), whose rest is below 1e-20 of it: a third of the time of a logarithm, and a - b is exact.
        """
        if a <= 0.0 or b <= 0.0:
            return 0.0
        d: cython.double = a - b
        q: cython.double
        w: cython.double
        if -0.05 * b < d < 0.05 * b:
            q = d / (a + b)
            w = q * q
            return 2.0 * q + 2.0 * q * w * (((1.0 / 3.0) + w * (1.0 / 5.0)) + w * w * ((1.0 / 7.0) + w * ((1.0 / 9.0) + w * (1.0 / 11.0))))
        q = a / b
        if q <= 0.0:  # underflow
            return 0.0
        return log(q)

    def ln1p_pos(x: cython.double) -> cython.double:
        """ln(1 + x), 0.0 for x at or below 0."""
        if x <= 0.0:
            return 0.0
        return log(1.0 + x)

    def root(x: cython.double) -> cython.double:
        """Square root, 0.0 for x at or below 0."""
        if x <= 0.0:
            return 0.0
        return sqrt(x)

    def decay(dt_ns: cython.longlong, tau_s: cython.double) -> cython.double:
        """exp(-dt / tau); 1.0 for a dt at or below 0, 0.0 beyond 700 time constants."""
        if dt_ns <= 0:
            return 1.0
        x: cython.double = dt_ns * 1e-9 / tau_s
        if x > 700.0:
            return 0.0
        return exp(-x)
