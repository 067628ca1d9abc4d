"""Random numbers with their state in the arena: MRG32k3a, the same bits interpreted and compiled.

Every product stays below 2**53 and every sum in int64, so Python's integers and C's agree. For simulation, not for secrets.
Source: L'Ecuyer (1999), "Good parameters and implementations for combined multiple recursive random number generators".
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.libc.math import cos, exp, log, sin, sqrt
else:
    from math import cos, exp, log, sin, sqrt

# Declared, since a large literal would make Python objects of the expressions it stands in.
_LOW_32 = cython.declare(cython.longlong, 4294967295)
_TWO_PI = 6.283185307179586
_NORM = 2.328306549295727688e-10  # 1 / (m1 + 1): uniforms lie strictly between 0 and 1


@cython.cclass
class Rng:
    """One stream of random numbers; two streams of different seeds do not overlap in practice (period 2**191)."""

    def __init__(self, arena: Arena, seed: int) -> None:
        """arena: where the six state words and the spare normal live; seed: any int64, 0 included."""
        self.s = arena.longs(6)
        self.cache = arena.doubles(2)  # [0] the spare normal, [1] 1.0 when there is one
        self.seed(seed)

    @cython.ccall
    def seed(self, value: cython.longlong) -> cython.void:
        """Restart the stream from one integer, spread over the six words by an LCG."""
        x: cython.longlong = value % 2147483647
        y: cython.longlong = (value // 2147483647) % 2147483647
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t
        for i in range(6):
            for j in range(4):  # Lehmer steps: products below 2**47
                x = ((x + y + 1 + i) % 2147483647 * 48271) % 2147483647
                y = ((y + x + j) % 2147483647 * 69621) % 2147483647
            self.s[i] = 1 + (x * 2 + (y & 1)) % 4294944442  # in [1, m2 - 1]: never an all-zero half
        self.cache[0] = 0.0
        self.cache[1] = 0.0
        for _ in range(16):
            self.uniform()

    @cython.ccall
    def uniform(self) -> cython.double:
        """A number in (0, 1), 32 random bits. (`%` is Python's: never negative.)"""
        m1: cython.longlong = 4294967087  # typed: a literal above 2**31 would be a Python integer
        m2: cython.longlong = 4294944443
        p: cython.longlong = (1403580 * self.s[1] - 810728 * self.s[0]) % m1
        self.s[0] = self.s[1]
        self.s[1] = self.s[2]
        self.s[2] = p
        q: cython.longlong = (527612 * self.s[5] - 1370589 * self.s[3]) % m2
        self.s[3] = self.s[4]
        self.s[4] = self.s[5]
        self.s[5] = q
        if p <= q:
            return (p - q + m1) * _NORM
        return (p - q) * _NORM

    @cython.ccall
    def exponential(self) -> cython.double:
        """An exponential of mean 1."""
        return -log(self.uniform())

    @cython.ccall
    def normal(self) -> cython.double:
        """A standard normal (Box-Muller; the second of each pair is kept for the next call)."""
        if self.cache[1] != 0.0:
            self.cache[1] = 0.0
            return self.cache[0]
        radius: cython.double = sqrt(-2.0 * log(self.uniform()))
        angle: cython.double = _TWO_PI * self.uniform()
        self.cache[0] = radius * sin(angle)
        self.cache[1] = 1.0
        return radius * cos(angle)

    @cython.ccall
    def below(self, n: cython.longlong) -> cython.longlong:
        """An integer in [0, n), n up to 2**31; 0 when n < 1."""
        if n < 1:
            return 0
        k: cython.longlong = cython.cast(cython.longlong, self.uniform() * n)
        return k if k < n else n - 1

    @cython.ccall
    def poisson(self, mean: cython.double) -> cython.longlong:
        """A Poisson count; above a mean of 30 the rounded normal approximation, below 0 (or NaN) it is 0."""
        if not (mean > 0.0):
            return 0
        k: cython.longlong = 0
        if mean > 30.0:
            x: cython.double = mean + sqrt(mean) * self.normal() + 0.5
            if x < 0.0:
                return 0
            return cython.cast(cython.longlong, x)
        floor: cython.double = exp(-mean)
        product: cython.double = self.uniform()
        while product > floor:
            k += 1
            product *= self.uniform()
        return k

    @cython.ccall
    def geometric(self, p: cython.double) -> cython.longlong:
        """Failures before the first success of probability p in (0, 1]; capped at 1000000."""
        if not (p > 1e-6):
            return 1000000
        k: cython.longlong = 0
        if p < 0.999999:
            x: cython.double = log(self.uniform()) / log(1.0 - p)
            if x > 1000000.0:
                x = 1000000.0
            k = cython.cast(cython.longlong, x)
        return k


@cython.cfunc
@cython.exceptval(check=False)
def _mixed(x: cython.longlong) -> cython.longlong:
    """A permutation of 0 .. 2**32 - 1 in which each bit of x flips about half of the bits.

    Source: Wellons (2018), "Prospecting for hash functions" (lowbias32); the second factor in two parts, so that products fit int64.
    """
    x = (x ^ (x >> 16)) * 2146121005 & _LOW_32
    x = x ^ (x >> 15)
    x = (((x * 33900 & _LOW_32) << 16) + x * 42635) & _LOW_32  # 2221713035 = 33900 * 2**16 + 42635
    return x ^ (x >> 16)


@cython.cfunc
@cython.exceptval(check=False)
def uniform_of(seed: cython.longlong, i: cython.longlong, j: cython.longlong) -> cython.double:
    """A number in (0, 1), 32 random bits, that depends on nothing but seed, i and j (their low 32 bits): no state, any order."""
    h: cython.longlong = _mixed((seed + 1) & _LOW_32)
    h = _mixed((h + i) & _LOW_32)
    h = _mixed((h + j) & _LOW_32)
    return (h + 0.5) / 4294967296.0


def uniform_at(seed: int, i: int, j: int) -> float:
    """uniform_of for callers in Python."""
    return uniform_of(seed, i, j)
