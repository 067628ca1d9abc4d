"""Bars from trades: time, tick, volume and dollar bars, one open bar at a time; the closed bar goes to its reader.

Time bars are cut on receive time at multiples of the interval and closed by the first event or Timer at or past the
boundary. A late trade goes to the open bar and is counted. No bar exists before the first trade. Prices are ticks, sizes
lots, notional ticks x lots, held as doubles (exact below 2^53).
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

KINDS = ("time", "tick", "volume", "dollar")
FILL_BARS_MAX = 1000  # bars without a trade that one call may close; a longer silence skips the rest and counts them


@cython.cclass
class BarBuilder:
    """One open bar. `bar` and `closed` hold open, high, low, close, volume, buy, sell, notional, trades, buys, sells.

    state: is_open, start_ns, end_ns, late, skipped, closed count.
    """

    def __init__(self, arena: Arena, kind: int, size: float, fill: bool) -> None:
        """kind: index into KINDS; size: ns, trades, lots or ticks x lots, above 0; fill: close time bars without trades."""
        if kind < 0 or kind >= len(KINDS):
            raise ValueError(f"bar kind must be 0 to {len(KINDS) - 1}, got {kind}")
        if not (0 < size < 4e18):
            raise ValueError(f"bar size must be above 0 and finite, got {size}")
        self.kind = kind
        self.size = size
        self.interval_ns = int(size) if kind == 0 else 1
        self.fill = fill
        self.fill_max = FILL_BARS_MAX
        self.bar = arena.doubles(11)
        self.closed = arena.doubles(11)
        self.state = arena.longs(6)

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def due(self, ts_ns: cython.longlong) -> cython.longlong:
        """How many bars `close` must be called for before anything at ts_ns counts; at most FILL_BARS_MAX + 1.

        Finish with `settle(ts_ns)` when the answer is not 0.
        """
        if self.kind != 0 or self.state[0] == 0 or ts_ns < self.state[2]:
            return 0
        empty: cython.longlong = (ts_ns - self.state[2]) // self.interval_ns  # whole intervals after the open one
        if not self.fill:
            return 1
        if empty > self.fill_max:
            self.state[4] += empty - self.fill_max
            empty = self.fill_max
        return empty + 1

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def close(self) -> cython.longlong:
        """Move the open bar to `closed` and open the next at its close; returns 1, or 0 when it is empty and not filled."""
        i: cython.Py_ssize_t
        price: cython.double = self.bar[3]
        has_trades: cython.bint = self.bar[8] > 0.0
        if has_trades or self.fill:
            for i in range(11):
                self.closed[i] = self.bar[i]
            self.state[5] += 1
        for i in range(4):
            self.bar[i] = price
        for i in range(4, 11):
            self.bar[i] = 0.0
        if has_trades or self.fill:
            return 1
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def settle(self, ts_ns: cython.longlong) -> cython.longlong:
        """Put the open time bar on the interval of ts_ns; returns its start."""
        self.state[1] = ts_ns // self.interval_ns * self.interval_ns
        self.state[2] = self.state[1] + self.interval_ns
        return self.state[1]

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def add(self, ts_ns: cython.longlong, price: cython.double, qty: cython.double, side: cython.longlong) -> cython.longlong:
        """Add one trade to the open bar (call `due` first); returns 1 when a tick, volume or dollar bar is now full.

        The trade that fills a bar belongs to it whole: bars overshoot rather than split a trade.
        """
        if self.state[0] == 0:
            self.state[0] = 1
            self.settle(ts_ns)
        elif self.kind == 0 and ts_ns < self.state[1]:
            self.state[3] += 1
        if self.bar[8] == 0.0:
            self.bar[0] = price
            self.bar[1] = price
            self.bar[2] = price
        elif price > self.bar[1]:
            self.bar[1] = price
        elif price < self.bar[2]:
            self.bar[2] = price
        self.bar[3] = price
        self.bar[4] += qty
        self.bar[7] += price * qty
        self.bar[8] += 1.0
        if side > 0:
            self.bar[5] += qty
            self.bar[9] += 1.0
        elif side < 0:
            self.bar[6] += qty
            self.bar[10] += 1.0
        if self.kind == 0:
            return 0
        if self.kind == 1:
            return 1 if self.bar[8] >= self.size else 0
        if self.kind == 2:
            return 1 if self.bar[4] >= self.size else 0
        return 1 if self.bar[7] >= self.size else 0

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def end_ns(self) -> cython.longlong:
        """When the open time bar ends; 0 before the first trade."""
        return self.state[2]

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def late_count(self) -> cython.longlong:
        """Trades received before the start of the bar they were added to."""
        return self.state[3]

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def skipped_count(self) -> cython.longlong:
        """Empty bars that were not made because a silence was longer than FILL_BARS_MAX intervals."""
        return self.state[4]

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def closed_count(self) -> cython.longlong:
        """Bars closed so far."""
        return self.state[5]
