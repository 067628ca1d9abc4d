"""Volatility of trade prices: realised variance from trade to trade, cleared of the bounce between bid and ask, and its jumps."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, bars_pushed, last_bar
    from cython.cimports.mia.kernels.num import clip, decay, div, ratio, root
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, bars_pushed, last_bar
    from mia.kernels.num import clip, decay, div, ratio, root

SLOTS = ("trade_vol_20", "trade_noise_20", "trade_jump_share_20", "trade_vol_burst_10s")

BARS = 20
USUAL = 100  # trades of the mean that a jump is measured by
_OLD_NS = cython.declare(cython.longlong, 3_000_000_000_000)  # after 50 time constants, 1 less the decay is 1


@cython.final
@cython.cclass
class TradeVolBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    open_bar and the 20 rows of bars hold sums over the trades of a bar: 0 squared change of price since the trade before, 1 since
    the fifth before, 2 trades, 3 jumps; whole numbers, in ticks. s: 0 usual squared change, 1 and 2 squared changes decayed over
    10 s and 60 s, as of the last trade. q: 0 trades, 1 last trade ns, 2 first trade ns, 3 bars closed since then, at most 20.
    """

    prices: cython.double[::1]
    open_bar: cython.double[::1]
    bars: cython.double[::1]
    s: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.prices = arena.doubles(8)  # of the last trades
        self.open_bar = arena.doubles(4)
        self.bars = arena.doubles(4 * BARS)
        self.s = arena.doubles(3)
        self.q = arena.longs(4)

    @cython.cfunc
    def trade(self, t_ns: cython.longlong, price: cython.double, qty: cython.double, side: cython.longlong) -> cython.longlong:
        """Take one trade."""
        m: cython.longlong = self.q[0]
        step: cython.double = 0.0
        five: cython.double
        k: cython.longlong = m if m < 100 else 100
        if m == 0:
            self.q[1] = t_ns
            self.q[2] = t_ns
        else:
            step = price - self.prices[(m + 7) & 7]
            step *= step
            if m >= 100 and step > 16.0 * self.s[0]:
                self.open_bar[3] += 1.0
            self.s[0] += (step - self.s[0]) / k
        if m >= 5:
            five = price - self.prices[(m + 3) & 7]
            self.open_bar[0] += step
            self.open_bar[1] += five * five
        e60: cython.double = decay(t_ns - self.q[1], 60.0)
        e20: cython.double = e60 * e60 * e60
        self.s[1] = self.s[1] * (e20 * e20) + step
        self.s[2] = self.s[2] * e60 + step
        self.open_bar[2] += 1.0
        self.prices[m & 7] = price
        self.q[0] = m + 1
        self.q[1] = t_ns
        return 0

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of its trades and those of the 19 bars before it."""
        b: cython.Py_ssize_t = self.base
        row: cython.Py_ssize_t = (bars_pushed(self.hist) - 1) % 20 * 4
        k: cython.Py_ssize_t
        for k in range(4):
            self.bars[row + k] = self.open_bar[k]
            self.open_bar[k] = 0.0
        steps: cython.double = 0.0
        fives: cython.double = 0.0
        trades: cython.double = 0.0
        jumps: cython.double = 0.0
        steps_odd: cython.double = 0.0
        fives_odd: cython.double = 0.0
        trades_odd: cython.double = 0.0
        jumps_odd: cython.double = 0.0
        for k in range(0, 80, 8):
            steps += self.bars[k]
            fives += self.bars[k + 1]
            trades += self.bars[k + 2]
            jumps += self.bars[k + 3]
            steps_odd += self.bars[k + 4]
            fives_odd += self.bars[k + 5]
            trades_odd += self.bars[k + 6]
            jumps_odd += self.bars[k + 7]
        steps += steps_odd
        fives += fives_odd
        trades += trades_odd
        jumps += jumps_odd
        # Five steps hold five times the variance of one, but the bounce at their two ends only once.
        self.pool[b] = clip(div(root(0.25 * (fives - steps) / 20.0), self.hist.c[last_bar(self.hist)]), 0.0, 1.0)
        self.pool[b + 1] = clip(1.0 - fives / (5.0 * steps), -4.0, 1.0) if steps > 0.0 else 0.0
        self.pool[b + 2] = div(jumps, trades)
        if self.q[0] > 0 and self.q[3] < 20:
            self.q[3] += 1
        # A past of bars alone (a history file) counts as bars seen, but says nothing of trades.
        for k in range(3):
            self.absent[b + k] = 1 if self.q[3] < 20 else 0
        return 0

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the feature that changes between bars; both means corrected for their short past."""
        if self.q[0] == 0:
            return 0
        e60: cython.double = decay(t_ns - self.q[1], 60.0)
        e20: cython.double = e60 * e60 * e60
        old60: cython.double = decay(t_ns - self.q[2], 60.0) if t_ns - self.q[2] < _OLD_NS else 0.0
        old20: cython.double = old60 * old60 * old60
        fast: cython.double = div(self.s[1] * (e20 * e20), 10.0 * (1.0 - old20 * old20))
        slow: cython.double = div(self.s[2] * e60, 60.0 * (1.0 - old60))
        self.pool[self.base + 3] = ratio(root(fast), root(slow), 3.0)
        return 0
