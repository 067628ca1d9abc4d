"""Rolling primitives whose error does not grow: what leaves a window leaves no trace of itself.

A window is a mirrored ring: every value is stored twice, so that the last n values always lie side by side and a
statistic is one loop in a stated order instead of a running sum that drifts. All state is in the arena.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.libc.math import sqrt
else:
    from math import sqrt


@cython.final
@cython.cclass
class Ring:
    """The last `size` values of one series, contiguous at any moment."""

    def __init__(self, arena: Arena, size: int) -> None:
        if size < 1:
            raise ValueError(f"ring size must be at least 1, got {size}")
        self.size = size
        self.x = arena.doubles(2 * size)
        self.state = arena.longs(2)  # count of values ever pushed, slot of the next

    @cython.ccall
    def push(self, value: cython.double) -> cython.longlong:
        """Store one value; returns how many were ever pushed."""
        slot: cython.Py_ssize_t = self.state[1]
        self.x[slot] = value
        self.x[slot + self.size] = value
        slot += 1
        self.state[1] = 0 if slot == self.size else slot
        self.state[0] += 1
        return self.state[0]

    @cython.ccall
    def count(self) -> cython.longlong:
        """How many values were ever pushed."""
        return self.state[0]

    @cython.ccall
    def last(self) -> cython.Py_ssize_t:
        """Index into x of the newest value: x[last - n + 1 .. last] are the last n, n <= size."""
        return self.state[1] + self.size - 1 if self.state[1] > 0 else 2 * self.size - 1

    @cython.ccall
    def back(self, k: cython.Py_ssize_t) -> cython.double:
        """The value k pushes ago (0: the newest); 0.0 before it exists or outside the ring."""
        if k < 0 or k >= self.size or k >= self.state[0]:
            return 0.0
        return self.x[self.last() - k]


@cython.final
@cython.cclass
class Window:
    """Mean, variance, extremes and order of the last n values, recomputed exactly; fewer while it fills."""

    def __init__(self, arena: Arena, n: int) -> None:
        self.n = n
        self.ring = Ring(arena, n)

    @cython.ccall
    def push(self, value: cython.double) -> cython.longlong:
        """Store one value; returns how many were ever pushed."""
        return self.ring.push(value)

    @cython.ccall
    def filled(self) -> cython.Py_ssize_t:
        """How many values the window holds, at most n."""
        count: cython.longlong = self.ring.count()
        if count < self.n:
            return count
        return self.n

    @cython.ccall
    def mean(self) -> cython.double:
        """Arithmetic mean; 0.0 of nothing."""
        m: cython.Py_ssize_t = self.filled()
        return mean_of(self.ring.x, self.ring.last(), m)

    @cython.ccall
    def variance(self) -> cython.double:
        """Population variance in two passes; 0.0 of nothing."""
        m: cython.Py_ssize_t = self.filled()
        return variance_of(self.ring.x, self.ring.last(), m)

    @cython.ccall
    def std(self) -> cython.double:
        """Population standard deviation."""
        v: cython.double = self.variance()
        if v <= 0.0:
            return 0.0
        return sqrt(v)

    @cython.ccall
    def highest(self) -> cython.double:
        """Largest value; 0.0 of nothing."""
        return highest_of(self.ring.x, self.ring.last(), self.filled())

    @cython.ccall
    def lowest(self) -> cython.double:
        """Smallest value; 0.0 of nothing."""
        return lowest_of(self.ring.x, self.ring.last(), self.filled())


@cython.final
@cython.cclass
class Extreme:
    """Largest (sign 1) or smallest (sign -1) of the last n values in O(1) amortised: a monotonic deque."""

    def __init__(self, arena: Arena, n: int, sign: int) -> None:
        if n < 1 or sign not in (1, -1):
            raise ValueError(f"extreme needs n >= 1 and sign 1 or -1, got {n} and {sign}")
        self.n = n
        self.sign = sign
        self.value = arena.doubles(n)
        self.index = arena.longs(n)
        self.state = arena.longs(3)  # head, length, count

    @cython.ccall
    def push(self, x: cython.double) -> cython.double:
        """Store one value; returns the extreme of the last n. A NaN is stored as it comes and beats nothing."""
        head: cython.longlong = self.state[0]
        length: cython.longlong = self.state[1]
        count: cython.longlong = self.state[2]
        if length > 0 and self.index[head] <= count - self.n:
            head = head + 1 if head + 1 < self.n else 0
            length -= 1
        tail: cython.Py_ssize_t
        while length > 0:
            tail = head + length - 1
            if tail >= self.n:
                tail -= self.n
            if (x - self.value[tail]) * self.sign >= 0.0:
                length -= 1
            else:
                break
        tail = head + length
        if tail >= self.n:
            tail -= self.n
        self.value[tail] = x
        self.index[tail] = count
        self.state[0] = head
        self.state[1] = length + 1
        self.state[2] = count + 1
        return self.value[head]


@cython.final
@cython.cclass
class Ema:
    """Exponential mean with weight alpha of the newest value; the first value is its start."""

    def __init__(self, arena: Arena, alpha: float) -> None:
        if not (0.0 < alpha <= 1.0):
            raise ValueError(f"alpha must be in (0, 1], got {alpha}")
        self.alpha = alpha
        self.s = arena.doubles(1)
        self.state = arena.longs(1)

    @cython.ccall
    def push(self, x: cython.double) -> cython.double:
        """Take one value; returns the mean."""
        if self.state[0] == 0:
            self.s[0] = x
        else:
            self.s[0] += self.alpha * (x - self.s[0])
        self.state[0] += 1
        return self.s[0]

    @cython.ccall
    def get(self) -> cython.double:
        """The mean; 0.0 before the first value."""
        return self.s[0]

    @cython.ccall
    def count(self) -> cython.longlong:
        """How many values it has seen."""
        return self.state[0]


@cython.final
@cython.cclass
class Wilder:
    """Wilder's smoothing of length n: the plain mean of the first n values, then s += (x - s) / n.

    Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """

    def __init__(self, arena: Arena, n: int) -> None:
        if n < 1:
            raise ValueError(f"Wilder length must be at least 1, got {n}")
        self.n = n
        self.s = arena.doubles(1)
        self.state = arena.longs(1)

    @cython.ccall
    def push(self, x: cython.double) -> cython.double:
        """Take one value; returns the smoothed one (the running mean while fewer than n came)."""
        k: cython.longlong = self.state[0] + 1
        self.state[0] = k
        if k > self.n:
            k = self.n
        self.s[0] += (x - self.s[0]) / k
        return self.s[0]

    @cython.ccall
    def get(self) -> cython.double:
        """The smoothed value; 0.0 before the first."""
        return self.s[0]

    @cython.ccall
    def count(self) -> cython.longlong:
        """How many values it has seen."""
        return self.state[0]


@cython.cfunc
def sum_of(x: cython.double[::1], last: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
    """Sum of x[last - n + 1 .. last]: of every fourth, oldest first, then of the four (one sum would wait for every addition)."""
    a0: cython.double = 0.0
    a1: cython.double = 0.0
    a2: cython.double = 0.0
    a3: cython.double = 0.0
    i: cython.Py_ssize_t
    first: cython.Py_ssize_t = last - n + 1
    while first + 3 <= last:
        a0 += x[first]
        a1 += x[first + 1]
        a2 += x[first + 2]
        a3 += x[first + 3]
        first += 4
    for i in range(first, last + 1):
        a0 += x[i]
    return (a0 + a1) + (a2 + a3)


@cython.cfunc
def mean_of(x: cython.double[::1], last: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
    """Mean of the n values that end at index last; 0.0 of nothing."""
    if n <= 0:
        return 0.0
    return sum_of(x, last, n) / n


@cython.cfunc
def variance_of(x: cython.double[::1], last: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
    """Population variance of the n values that end at index last, in two passes; 0.0 of nothing."""
    if n <= 0:
        return 0.0
    mean: cython.double = sum_of(x, last, n) / n
    a0: cython.double = 0.0
    a1: cython.double = 0.0
    i: cython.Py_ssize_t
    first: cython.Py_ssize_t = last - n + 1
    if n % 2 == 1:
        a0 = (x[first] - mean) * (x[first] - mean)
        first += 1
    for i in range(first, last + 1, 2):
        a0 += (x[i] - mean) * (x[i] - mean)
        a1 += (x[i + 1] - mean) * (x[i + 1] - mean)
    return (a0 + a1) / n


@cython.cfunc
def highest_of(x: cython.double[::1], last: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
    """Largest of the n values that end at index last; 0.0 of nothing."""
    if n <= 0:
        return 0.0
    best: cython.double = x[last - n + 1]
    i: cython.Py_ssize_t
    for i in range(last - n + 2, last + 1):
        if x[i] > best:
            best = x[i]
    return best


@cython.cfunc
def lowest_of(x: cython.double[::1], last: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.double:
    """Smallest of the n values that end at index last; 0.0 of nothing."""
    if n <= 0:
        return 0.0
    best: cython.double = x[last - n + 1]
    i: cython.Py_ssize_t
    for i in range(last - n + 2, last + 1):
        if x[i] < best:
            best = x[i]
    return best
