"""The volume of a session by price: a histogram of bounded size for any price and any range, its point of control and value area.

A bin holds 2^k ticks; k is 0 at first, and neighbours are merged pairwise whenever the range outgrows the bins. Bin b covers the ticks
b 2^k .. (b + 1) 2^k - 1 of the price axis itself, so that what it holds does not depend on when it was merged. The bins lie in a
circle: a range that moves needs no shifting.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

BINS = 256  # a power of two
SPAN_MAX = 252  # bins in use; the value area looks two bins past either end, where there must be nothing
VALUE_SHARE = 0.7


@cython.cclass
class Profile:
    """Lots by price, in ticks. x: bins, bin b at b % BINS, 0.0 outside of the range.

    s: 0 lots in all. q: 0 k, 1 lowest and 2 highest bin in use, 3 bin of the point of control, 4 lowest and 5 highest bin of the value
    area.
    """

    def __init__(self, arena: Arena) -> None:
        self.mask = BINS - 1
        self.span = SPAN_MAX
        self.share = VALUE_SHARE
        self.one = 1  # a literal would be shifted as an int of 32 bits
        self.x = arena.doubles(BINS)
        self.spare = arena.doubles(BINS)
        self.s = arena.doubles(1)
        self.q = arena.longs(6)

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def clear(self) -> cython.longlong:
        """Forget all: a session begins."""
        k: cython.Py_ssize_t
        for k in range(self.mask + 1):
            self.x[k] = 0.0
        for k in range(6):
            self.q[k] = 0
        self.s[0] = 0.0
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def add(self, low: cython.double, high: cython.double, mean: cython.double, lots: cython.double) -> cython.longlong:
        """Half of the lots spread evenly over the ticks low .. high, half at the tick nearest to their mean price; returns 1.

        0 and nothing done for no lots or a price that is not in 1 .. 1e15.
        """
        if not (lots > 0.0 and lots < 1e18 and low >= 1.0 and high >= low and high <= 1e15):
            return 0
        a: cython.longlong = cython.cast(cython.longlong, low)
        z: cython.longlong = cython.cast(cython.longlong, high)
        m: cython.longlong = a
        if mean >= high:
            m = z
        elif mean > low:
            m = cython.cast(cython.longlong, mean + 0.5)
            if m > z:
                m = z
        self._reach(a, z)
        mask: cython.longlong = self.mask
        k: cython.longlong = self.q[0]
        first: cython.longlong = a >> k
        last: cython.longlong = z >> k
        self.x[(m >> k) & mask] += 0.5 * lots
        if self.s[0] == 0.0:
            self.q[3] = m >> k
        self.s[0] += lots
        if first == last:
            self.x[first & mask] += 0.5 * lots
        else:
            tick: cython.double = 0.5 * lots / (z - a + 1)
            width: cython.longlong = self.one << k
            self.x[first & mask] += tick * ((first + 1) * width - a)
            self.x[last & mask] += tick * (z - last * width + 1)
            whole: cython.double = tick * width
            b: cython.longlong
            for b in range(first + 1, last):
                self.x[b & mask] += whole
        self._seek(first, last)
        return 1

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _reach(self, a: cython.longlong, z: cython.longlong) -> cython.longlong:
        """Make the range hold the ticks a .. z, with wider bins if it must."""
        if self.s[0] == 0.0:
            self.q[1] = a
            self.q[2] = z
            while self.q[2] - self.q[1] >= self.span:
                self.q[0] += 1
                self.q[1] = a >> self.q[0]
                self.q[2] = z >> self.q[0]
            return 0
        low: cython.longlong = a >> self.q[0]
        high: cython.longlong = z >> self.q[0]
        while (high if high > self.q[2] else self.q[2]) - (low if low < self.q[1] else self.q[1]) >= self.span:
            self._merge()
            low = low >> 1
            high = high >> 1
        if low < self.q[1]:
            self.q[1] = low
        if high > self.q[2]:
            self.q[2] = high
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _merge(self) -> cython.longlong:
        """Double the width of the bins."""
        mask: cython.longlong = self.mask
        k: cython.Py_ssize_t
        b: cython.longlong
        for k in range(mask + 1):
            self.spare[k] = 0.0
        for b in range(self.q[1], self.q[2] + 1):
            self.spare[(b >> 1) & mask] += self.x[b & mask]
        for k in range(mask + 1):
            self.x[k] = self.spare[k]
        self.q[0] += 1
        self.q[1] = self.q[1] >> 1
        self.q[2] = self.q[2] >> 1
        self.q[3] = self.q[3] >> 1
        self._seek(self.q[1], self.q[2])
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _seek(self, first: cython.longlong, last: cython.longlong) -> cython.longlong:
        """The fullest bin after the bins first .. last have grown."""
        mask: cython.longlong = self.mask
        at: cython.longlong = self.q[3]
        best: cython.double = self.x[at & mask]
        b: cython.longlong
        for b in range(first, last + 1):
            if self.x[b & mask] > best:
                best = self.x[b & mask]
                at = b
        self.q[3] = at
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def settle(self) -> cython.longlong:
        """Find the value area: from the point of control on, the heavier pair of bins above or below (both when equal) until 70 % is in."""
        mask: cython.longlong = self.mask
        low: cython.longlong = self.q[1]
        high: cython.longlong = self.q[2]
        down: cython.longlong = self.q[3]
        up: cython.longlong = down
        held: cython.double = self.x[down & mask]
        target: cython.double = self.share * self.s[0]
        above: cython.double = self.x[(up + 1) & mask] + self.x[(up + 2) & mask] if up < high else -1.0
        below: cython.double = self.x[(down - 1) & mask] + self.x[(down - 2) & mask] if down > low else -1.0
        while held < target and (up < high or down > low):
            if above > below:
                held += above
                up += 2
                above = self.x[(up + 1) & mask] + self.x[(up + 2) & mask] if up < high else -1.0
            elif below > above:
                held += below
                down -= 2
                below = self.x[(down - 1) & mask] + self.x[(down - 2) & mask] if down > low else -1.0
            else:
                held += above + below
                up += 2
                down -= 2
                above = self.x[(up + 1) & mask] + self.x[(up + 2) & mask] if up < high else -1.0
                below = self.x[(down - 1) & mask] + self.x[(down - 2) & mask] if down > low else -1.0
        self.q[4] = down if down > low else low
        self.q[5] = up if up < high else high
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def lots(self) -> cython.double:
        """Lots in all."""
        return self.s[0]

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def control(self) -> cython.double:
        """Point of control, ticks: the middle of the fullest bin."""
        return (self.q[3] << self.q[0]) + 0.5 * ((self.one << self.q[0]) - 1)

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def value_low(self) -> cython.double:
        """Lowest tick of the value area, as of the last settle."""
        return 1.0 * (self.q[4] << self.q[0])

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def value_high(self) -> cython.double:
        """Highest tick of the value area, as of the last settle."""
        return 1.0 * (((self.q[5] + 1) << self.q[0]) - 1)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _bin(self, price: cython.double) -> cython.longlong:
        """The bin of a price, in ticks."""
        if not (price >= 1.0):
            return 0
        if price > 1e15:
            price = 1e15
        return cython.cast(cython.longlong, price) >> self.q[0]

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def height(self, price: cython.double) -> cython.double:
        """Lots in the bin of a price / lots in the fullest bin, in [0, 1]; 0.0 outside of the range."""
        b: cython.longlong = self._bin(price)
        top: cython.double = self.x[self.q[3] & self.mask]
        if b < self.q[1] or b > self.q[2] or top <= 0.0:
            return 0.0
        return self.x[b & self.mask] / top

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def above(self, price: cython.double) -> cython.double:
        """Share of the lots in bins above that of a price, with half of its own, in [0, 1]; 0.0 of nothing."""
        if self.s[0] <= 0.0:
            return 0.0
        mask: cython.longlong = self.mask
        low: cython.longlong = self.q[1]
        high: cython.longlong = self.q[2]
        b: cython.longlong = self._bin(price)
        if b > high:
            return 0.0
        if b < low:
            return 1.0
        other: cython.double = 0.0
        third: cython.double = 0.0
        fourth: cython.double = 0.0
        total: cython.double = 0.5 * self.x[b & mask]
        upper: cython.bint = high - b < b - low  # the shorter side is added up
        first: cython.longlong = b + 1 if upper else low
        last: cython.longlong = high if upper else b - 1
        k: cython.longlong = first
        while k + 2 < last:
            total += self.x[k & mask]
            other += self.x[(k + 1) & mask]
            third += self.x[(k + 2) & mask]
            fourth += self.x[(k + 3) & mask]
            k += 4
        while k <= last:
            total += self.x[k & mask]
            k += 1
        total = ((total + other) + (third + fourth)) / self.s[0]
        if total > 1.0:
            total = 1.0
        return total if upper else 1.0 - total
