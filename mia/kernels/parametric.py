"""Columns with a length of the caller's choice, for rules: ema(20), sma(50), rsi(14), ... Prices in ticks, never in a policy."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, bars_pushed, last_bar
    from cython.cimports.mia.kernels.num import div, ln_ratio, root
    from cython.cimports.mia.kernels.roll import Ema, Extreme, Ring, Wilder, Window, sum_of
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, bars_pushed, last_bar
    from mia.kernels.num import div, ln_ratio, root
    from mia.kernels.roll import Ema, Extreme, Ring, Wilder, Window, sum_of

KINDS = ("close", "mid", "ema", "sma", "std", "rsi", "atr", "highest", "lowest", "prior_highest", "prior_lowest", "momentum")
_YEAR_S = cython.declare(cython.double, 31557600.0)  # 365.25 days


@cython.cclass
class Parametric(Block):  # type: ignore[misc]
    """One slot: the column KINDS[kind] of length n, over closed bars (mid: as of the last quote).

    prior_highest, prior_lowest: of the n bars before the last one; momentum: log of the close over that of n bars before.
    """

    kind: cython.Py_ssize_t
    ema: Ema
    window: Window
    extreme: Extreme
    first: Wilder
    second: Wilder
    closes: Ring
    prior: cython.double[::1]
    n: cython.Py_ssize_t

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, kind: int, n: int) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.kind = kind
        self.ema = Ema(arena, 2.0 / (n + 1.0))
        self.window = Window(arena, n if kind in (3, 4) else 1)
        self.extreme = Extreme(arena, n if kind in (7, 8, 9, 10) else 1, -1 if kind in (8, 10) else 1)
        self.first = Wilder(arena, n)
        self.second = Wilder(arena, n)
        self.closes = Ring(arena, n + 1 if kind == 11 else 1)
        self.prior = arena.doubles(1)
        self.n = n

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        if self.kind != 1:
            self.pool[self.base] = self._value(last_bar(self.hist))
        return 0

    @cython.cfunc
    def _value(self, i: cython.Py_ssize_t) -> cython.double:
        x: BarHistory = self.hist
        gain: cython.double
        loss: cython.double
        if self.kind == 0:
            return x.c[i]
        if self.kind == 2:
            return self.ema.push(x.c[i])
        if self.kind == 3 or self.kind == 4:
            self.window.push(x.c[i])
            return self.window.mean() if self.kind == 3 else self.window.std()
        if self.kind == 7:
            return self.extreme.push(x.h[i])
        if self.kind == 8:
            return self.extreme.push(x.l[i])
        if self.kind == 9 or self.kind == 10:
            gain = self.prior[0]
            self.prior[0] = self.extreme.push(x.h[i] if self.kind == 9 else x.l[i])
            return gain
        if self.kind == 11:
            self.closes.push(x.c[i])
            return ln_ratio(x.c[i], self.closes.back(self.n))
        if bars_pushed(x) < 2:
            return 0.0
        if self.kind == 6:
            return self.first.push(x.tr[i])
        gain = x.c[i] - x.c[i - 1]
        loss = self.second.push(-gain if gain < 0.0 else 0.0)
        gain = self.first.push(gain if gain > 0.0 else 0.0)
        return 50.0 if gain + loss <= 0.0 else 100.0 * div(gain, gain + loss)

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        if self.kind == 1:
            self.pool[self.base] = mid
        return 0


@cython.final
@cython.cclass
class MacdHistogram(Block):  # type: ignore[misc]
    """One slot: the MACD line, ema(fast) - ema(slow) of closes, less its ema(smooth); in ticks. Source: Appel (2005)."""

    fast: Ema
    slow: Ema
    smooth: Ema

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, fast: int, slow: int, smooth: int) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.fast = Ema(arena, 2.0 / (fast + 1.0))
        self.slow = Ema(arena, 2.0 / (slow + 1.0))
        self.smooth = Ema(arena, 2.0 / (smooth + 1.0))

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the column."""
        c: cython.double = self.hist.c[last_bar(self.hist)]
        fast: cython.double = self.fast.push(c)
        slow: cython.double = self.slow.push(c)
        line: cython.double = fast - slow
        self.pool[self.base] = line - self.smooth.push(line)
        return 0


@cython.final
@cython.cclass
class SmaGap(Block):  # type: ignore[misc]
    """One slot: the plain mean of the last `fast` closes less that of the last `slow` ones, in ticks; is_prior: as it was one bar before.

    Of whole ticks the sums are exact, so that the sign is: two means that are equal give 0.0, and none that differ do.
    """

    closes: Ring
    prior: cython.double[::1]
    fast: cython.Py_ssize_t
    slow: cython.Py_ssize_t
    is_prior: cython.bint

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, fast: int, slow: int, is_prior: bool) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.closes = Ring(arena, max(fast, slow))
        self.prior = arena.doubles(1)
        self.fast = fast
        self.slow = slow
        self.is_prior = is_prior

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the column."""
        self.closes.push(self.hist.c[last_bar(self.hist)])
        gap: cython.double = self._gap()
        self.pool[self.base] = self.prior[0] if self.is_prior else gap
        self.prior[0] = gap
        return 0

    @cython.cfunc
    def _gap(self) -> cython.double:
        count: cython.longlong = self.closes.count()
        if count < self.fast or count < self.slow:
            return 0.0
        f: cython.double = self.fast
        s: cython.double = self.slow
        last: cython.Py_ssize_t = self.closes.last()
        return div(sum_of(self.closes.x, last, self.fast) * s - sum_of(self.closes.x, last, self.slow) * f, f * s)


@cython.final
@cython.cclass
class Volatility(Block):  # type: ignore[misc]
    """One slot: annualised standard deviation of log returns of bars, weights falling by n / (n + 1) a bar.

    Weights sum to 1 from the first return on; a year is 365.25 days of the time that passed between the bars' closes, so that bars of
    any kind and markets with nights fit. Source: Moskowitz, Ooi, Pedersen (2012), eq. 1 (there n = 60 days); update: West (1979).
    s: 0 sum of weights, 1 mean return, 2 variance, 3 mean seconds of a bar.
    """

    gain: cython.double
    s: cython.double[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, n: int) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.gain = 1.0 / (n + 1.0)
        self.s = arena.doubles(4)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the column."""
        x: BarHistory = self.hist
        i: cython.Py_ssize_t = last_bar(x)
        if bars_pushed(x) < 2:
            return 0
        self.s[0] += self.gain * (1.0 - self.s[0])
        a: cython.double = div(self.gain, self.s[0])
        d: cython.double = x.r[i] - self.s[1]
        self.s[1] += a * d
        self.s[2] = (1.0 - a) * (self.s[2] + a * d * d)
        self.s[3] += a * ((x.t[i] - x.t[i - 1]) * 1e-9 - self.s[3])
        self.pool[self.base] = root(self.s[2] * div(_YEAR_S, self.s[3]))
        return 0
