"""The last bars as columns side by side, with what nearly every bar feature needs: log return, true range, ATR.

Mirrored rings of CAPACITY bars: the last n values of a column end at index `last`. Beside them the close time of each bar and the
session that the newest belongs to. All state is in the arena.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.num import ln_ratio
    from cython.cimports.mia.kernels.session import SessionClock
else:
    from mia.kernels.num import ln_ratio
    from mia.kernels.session import SessionClock

CAPACITY = 256  # bars, a power of two; the longest window of any bar feature must be shorter
ATR_LENGTH = 14


@cython.cclass
class BarHistory:
    """o, h, l, c; v, sv: volume and signed; notional; n, sn: trades and signed count; r: log return; tr: true range; t: close ns.

    session: of the newest bar, which belongs to the session of its last nanosecond. `scale`: Wilder's ATR.
    """

    def __init__(self, arena: Arena, session: SessionClock) -> None:
        self.session = session
        self.size = CAPACITY
        self.atr_length = ATR_LENGTH
        self.o = arena.doubles(2 * CAPACITY)
        self.h = arena.doubles(2 * CAPACITY)
        self.l = arena.doubles(2 * CAPACITY)
        self.c = arena.doubles(2 * CAPACITY)
        self.v = arena.doubles(2 * CAPACITY)
        self.sv = arena.doubles(2 * CAPACITY)
        self.notional = arena.doubles(2 * CAPACITY)
        self.n = arena.doubles(2 * CAPACITY)
        self.sn = arena.doubles(2 * CAPACITY)
        self.r = arena.doubles(2 * CAPACITY)
        self.tr = arena.doubles(2 * CAPACITY)
        self.t = arena.longs(2 * CAPACITY)
        self.scale = arena.doubles(1)  # ATR
        self.state = arena.longs(1)  # bars ever pushed

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def push(self, bar: cython.double[::1], close_ns: cython.longlong) -> cython.longlong:
        """Take one closed bar (layout of BarBuilder.closed) and when it closed; returns the count of bars."""
        count: cython.longlong = self.state[0]
        j: cython.Py_ssize_t = count & (self.size - 1)
        previous: cython.double = self.c[j + self.size - 1] if count > 0 else bar[3]
        tr: cython.double = bar[1] - bar[2]
        if bar[1] - previous > tr:
            tr = bar[1] - previous
        if previous - bar[2] > tr:
            tr = previous - bar[2]
        r: cython.double = ln_ratio(bar[3], previous)
        k: cython.longlong
        if count > 0:  # the first bar has no previous close: no true range
            k = count if count < self.atr_length else self.atr_length
            self.scale[0] += (tr - self.scale[0]) / k
        self.o[j] = bar[0]
        self.h[j] = bar[1]
        self.l[j] = bar[2]
        self.c[j] = bar[3]
        self.v[j] = bar[4]
        self.sv[j] = bar[5] - bar[6]
        self.notional[j] = bar[7]
        self.n[j] = bar[8]
        self.sn[j] = bar[9] - bar[10]
        self.r[j] = r
        self.tr[j] = tr
        self.t[j] = close_ns
        m: cython.Py_ssize_t = j + self.size  # the mirror
        self.o[m] = bar[0]
        self.h[m] = bar[1]
        self.l[m] = bar[2]
        self.c[m] = bar[3]
        self.v[m] = bar[4]
        self.sv[m] = bar[5] - bar[6]
        self.notional[m] = bar[7]
        self.n[m] = bar[8]
        self.sn[m] = bar[9] - bar[10]
        self.r[m] = r
        self.tr[m] = tr
        self.t[m] = close_ns
        self.session.advance(close_ns - 1)
        self.state[0] = count + 1
        return count + 1


if not cython.compiled:  # compiled, they are the inline functions of history.pxd; change both

    def last_bar(x: BarHistory) -> cython.Py_ssize_t:
        """Index of the newest bar in every column; at least CAPACITY - 1 values lie before it."""
        return ((x.state[0] + x.size - 1) & (x.size - 1)) + x.size

    def bars_pushed(x: BarHistory) -> cython.longlong:
        """Bars ever pushed."""
        return x.state[0]

    def atr_of(x: BarHistory) -> cython.double:
        """Average true range in ticks (Wilder, 14); a running mean while fewer true ranges are known."""
        return x.scale[0]
