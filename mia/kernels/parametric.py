"""Columns with a length of the caller's choice, for rules: ema(20), sma(50), rsi(14), ... Prices in ticks, never in a policy."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, bars_pushed, last_bar
    from cython.cimports.mia.kernels.num import div
    from cython.cimports.mia.kernels.roll import Ema, Extreme, Wilder, Window
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, bars_pushed, last_bar
    from mia.kernels.num import div
    from mia.kernels.roll import Ema, Extreme, Wilder, Window

KINDS = ("close", "mid", "ema", "sma", "std", "rsi", "atr", "highest", "lowest")


@cython.cclass
class Parametric(Block):  # type: ignore[misc]
    """One slot: the column KINDS[kind] of length n, over closed bars (mid: as of the last quote)."""

    kind: cython.Py_ssize_t
    ema: Ema
    window: Window
    extreme: Extreme
    first: Wilder
    second: Wilder

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, kind: int, n: int) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.kind = kind
        self.ema = Ema(arena, 2.0 / (n + 1.0))
        self.window = Window(arena, n if kind in (3, 4) else 1)
        self.extreme = Extreme(arena, n if kind in (7, 8) else 1, -1 if kind == 8 else 1)
        self.first = Wilder(arena, n)
        self.second = Wilder(arena, n)

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
