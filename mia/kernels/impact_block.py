"""Trades one after another and against the quotes before them: memory of signs, bounce, cost and response of the mid."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, decay, div, root
    from cython.cimports.mia.kernels.tick_rule import tick_sign
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, decay, div, root
    from mia.kernels.tick_rule import tick_sign

SLOTS = (
    "sign_autocorr_100", "sign_memory_10_100", "roll_spread_100", "effective_spread_10s", "trade_through_share_10s", "response_10_100",
)  # fmt: skip


@cython.final
@cython.cclass
class ImpactBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. A mean over trades is plain up to 100, then weighs the newest 1/100.

    s: 0 bid, 1 ask, 2 last price, 3 tick sign, 4 last price change, means over trades: 5 of products of successive changes,
    6 of successive signs, 7 of signs 10 apart, 8 of the response; sums of trades with a quote, 10 s: 9 lots, 10 lots x spread
    paid, 11 lots beyond the touch. q: 0 last trade ns, 1 trades, 2 signed trades, 3 responses.
    """

    s: cython.double[::1]
    q: cython.longlong[::1]
    signs: cython.double[::1]
    mids: cython.double[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.s = arena.doubles(12)
        self.q = arena.longs(4)
        self.signs = arena.doubles(10)  # of the last 10 signed trades, and the mid before each (0.0: no quote yet)
        self.mids = arena.doubles(10)

    @cython.cfunc
    def quote(
        self, t_ns: cython.longlong, bid: cython.double, ask: cython.double, bid_lots: cython.double, ask_lots: cython.double
    ) -> cython.longlong:
        """Take one valid quote."""
        self.s[0] = bid
        self.s[1] = ask
        return 0

    @cython.cfunc
    def trade(self, t_ns: cython.longlong, price: cython.double, qty: cython.double, side: cython.longlong) -> cython.longlong:
        """Take one trade."""
        change: cython.double = price - self.s[2] if self.q[1] > 0 else 0.0
        if self.q[1] > 1:  # the third trade makes the first product of changes
            self.s[5] += (change * self.s[4] - self.s[5]) * self._weight(self.q[1] - 1)
        self.s[3] = tick_sign(price, self.s[2], self.s[3])
        self.s[4] = change
        self.s[2] = price
        mid: cython.double = 0.5 * (self.s[0] + self.s[1])
        if mid > 0.0:
            self._cost(t_ns, price, qty, side, mid)
        self.q[0] = t_ns
        self.q[1] += 1
        sign: cython.double = self.s[3] if side == 0 else 1.0 * side
        if sign != 0.0:
            self._sign(sign, mid)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _weight(self, count: cython.longlong) -> cython.double:
        """Of value number count in a mean over trades."""
        return 1.0 / count if count < 100 else 0.01

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _cost(
        self, t_ns: cython.longlong, price: cython.double, qty: cython.double, side: cython.longlong, mid: cython.double
    ) -> cython.longlong:
        """What the aggressor paid beyond the mid, and whether the trade went through the touch."""
        e10: cython.double = decay(t_ns - self.q[0], 10.0)
        paid: cython.double = price - mid
        if side < 0 or (side == 0 and paid < 0.0):  # of unknown aggressors, those above the mid are buyers
            paid = -paid
        self.s[9] = self.s[9] * e10 + qty
        self.s[10] = self.s[10] * e10 + qty * (2.0 * paid / mid)
        self.s[11] = self.s[11] * e10 + (qty if price > self.s[1] or price < self.s[0] else 0.0)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _sign(self, sign: cython.double, mid: cython.double) -> cython.longlong:
        """Take the sign of a trade and the mid before it."""
        count: cython.longlong = self.q[2]
        j: cython.Py_ssize_t = count % 10
        before: cython.double = self.mids[j]
        if count > 0:
            self.s[6] += (sign * self.signs[(j + 9) % 10] - self.s[6]) * self._weight(count)
        if count >= 10:
            self.s[7] += (sign * self.signs[j] - self.s[7]) * self._weight(count - 9)
            if before > 0.0 and mid > 0.0:
                self.q[3] += 1
                self.s[8] += (self.signs[j] * (mid - before) / before - self.s[8]) * self._weight(self.q[3])
        self.signs[j] = sign
        self.mids[j] = mid
        self.q[2] = count + 1
        return 0

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        b: cython.Py_ssize_t = self.base
        if self.q[1] == 0 and self.absent[b] != 0:  # no trade yet, and the marks stand
            return 0
        unsigned: cython.longlong = 1 if self.q[2] < 11 else 0
        unquoted: cython.longlong = 1 if self.s[9] <= 0.0 else 0
        bounce: cython.double = 20000.0 * div(root(-self.s[5]) - root(self.s[5]), self.s[2])
        self.pool[b] = clip(self.s[6], -1.0, 1.0)
        self.pool[b + 1] = clip(self.s[7], -1.0, 1.0)
        self.pool[b + 2] = clip(bounce, -1000.0, 1000.0)
        self.pool[b + 3] = clip(10000.0 * div(self.s[10], self.s[9]), -1000.0, 1000.0)
        self.pool[b + 4] = clip(div(self.s[11], self.s[9]), 0.0, 1.0)
        self.pool[b + 5] = clip(10000.0 * self.s[8], -1000.0, 1000.0)
        self.absent[b] = unsigned
        self.absent[b + 1] = unsigned
        self.absent[b + 3] = unquoted
        self.absent[b + 4] = unquoted
        self.absent[b + 5] = 1 if self.q[3] == 0 else 0
        return 0
