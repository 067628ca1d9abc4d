"""Features of the touch over time and of what trades did to it: effective and realised spread, impact, flicker, spread rank.

A trade is judged by the mid 5 s after it, so it waits in a ring until that mid is known.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, decay, div, ln_ratio, ratio
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, decay, div, ln_ratio, ratio

SLOTS = (
    "realized_spread_5s", "price_impact_5s", "effective_ratio_1m", "trade_through_share_1m", "microprice_move_1s", "spread_rank_60s",
    "flicker_10s", "touch_age_skew", "ofi_60s",
)  # fmt: skip
_LATER_NS = cython.declare(cython.longlong, 5_000_000_000)  # typed: a literal above 2**31 would be a Python integer
WAITING_MAX = 2048  # trades without their later mid; about 400 a second


@cython.final
@cython.cclass
class TouchBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. Decayed sums stand as of the last quote or trade.

    s: 0 bid, 1 ask, 2 bid lots, 3 ask lots, 4 mid, 5 weight 1 s, 6 microprice 1 s, 7 weight 10 s, 8 spread 10 s, 9 changes of the
    touch 10 s, 10 undone ones 10 s, 11 OFI 60 s, 12 lots of the touch 60 s, 13 weight 60 s, 14 bid and 15 ask before their last
    change; trades over 60 s: 16 lots, 17 lots beyond the touch, 18 lots x effective spread, 19 lots x spread; 20 decay since the
    last trade that waits; known 5 s later: 21 lots, 22 lots x impact, 23 last realised spread; 24 spread 1 s. w: ring of waiting
    trades, 4 numbers each: 2 x side, price, mid, lots; wd: their decay; wt: when they are due. spreads: ring of E(spread) over 1 s
    at the end of 60 seconds. q: 0 last quote ns, 1 quotes, 2 last change of the bid ns, 3 of the ask ns, 4 last trade ns, 5 first
    waiting, 6 waiting, 7 known, 8 spreads ever put into the ring.
    """

    s: cython.double[::1]
    w: cython.double[::1]
    wd: cython.double[::1]
    wt: cython.longlong[::1]
    spreads: cython.double[::1]
    q: cython.longlong[::1]
    waiting_max: cython.Py_ssize_t

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.waiting_max = WAITING_MAX
        self.s = arena.doubles(25)
        self.w = arena.doubles(4 * WAITING_MAX)
        self.wd = arena.doubles(WAITING_MAX)
        self.wt = arena.longs(WAITING_MAX)
        self.spreads = arena.doubles(60)
        self.q = arena.longs(9)

    @cython.cfunc
    def quote(
        self, t_ns: cython.longlong, bid: cython.double, ask: cython.double, bid_lots: cython.double, ask_lots: cython.double
    ) -> cython.longlong:
        """Take one valid quote."""
        if self.q[6] > 0:
            self._settle(t_ns)
        flow: cython.double = 0.0
        if self.q[1] == 0:
            self.q[0] = t_ns
            self.q[2] = t_ns
            self.q[3] = t_ns
        elif t_ns // 1_000_000_000 > self.q[0] // 1_000_000_000:
            self.spreads[self.q[8] % 60] = self.s[24] / self.s[5]
            self.q[8] += 1
        e60: cython.double = decay(t_ns - self.q[0], 60.0)
        e20: cython.double = e60 * e60 * e60
        e10: cython.double = e20 * e20
        e2: cython.double = e10 * e10 * e10 * e10 * e10
        e1: cython.double = e2 * e2
        self.s[9] *= e10
        self.s[10] *= e10
        if self.q[1] > 0:  # Cont, Kukanov, Stoikov (2014), eq. 3
            if bid >= self.s[0]:
                flow += bid_lots
            if bid <= self.s[0]:
                flow -= self.s[2]
            if ask <= self.s[1]:
                flow -= ask_lots
            if ask >= self.s[1]:
                flow += self.s[3]
            if bid != self.s[0]:
                self._change(0, 2, t_ns, bid)
            if ask != self.s[1]:
                self._change(1, 3, t_ns, ask)
        self.q[0] = t_ns
        self.q[1] += 1
        self.s[0] = bid
        self.s[1] = ask
        self.s[2] = bid_lots
        self.s[3] = ask_lots
        self.s[4] = 0.5 * (bid + ask)
        self.s[5] = self.s[5] * e1 + 1.0
        self.s[6] = self.s[6] * e1 + self._microprice()
        self.s[7] = self.s[7] * e10 + 1.0
        self.s[8] = self.s[8] * e10 + (ask - bid)
        self.s[24] = self.s[24] * e1 + (ask - bid)
        self.s[11] = self.s[11] * e60 + flow
        self.s[12] = self.s[12] * e60 + 0.5 * (bid_lots + ask_lots)
        self.s[13] = self.s[13] * e60 + 1.0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _microprice(self) -> cython.double:
        return self.s[4] + 0.5 * (self.s[1] - self.s[0]) * (self.s[2] - self.s[3]) / (self.s[2] + self.s[3])

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _change(self, k: cython.Py_ssize_t, at: cython.Py_ssize_t, t_ns: cython.longlong, price: cython.double) -> cython.longlong:
        """The best price self.s[k], which last changed at q[at], becomes another one."""
        self.s[9] += 1.0
        if price == self.s[14 + k] and t_ns - self.q[at] <= 1_000_000_000:
            self.s[10] += 1.0
        self.s[14 + k] = self.s[k]
        self.q[at] = t_ns
        return 0

    @cython.cfunc
    def trade(self, t_ns: cython.longlong, price: cython.double, qty: cython.double, side: cython.longlong) -> cython.longlong:
        """Take one trade; before the first quote there is nothing to compare it with."""
        if self.q[1] == 0:
            return 0
        if self.q[6] > 0:
            self._settle(t_ns)
        e60: cython.double = decay(t_ns - self.q[4], 60.0)
        self.q[4] = t_ns
        self.s[16] = self.s[16] * e60 + qty
        self.s[17] *= e60
        self.s[18] *= e60
        self.s[19] *= e60
        self.s[20] *= e60
        if price > self.s[1] or price < self.s[0]:
            self.s[17] += qty
        if side == 0:
            return 0
        twice: cython.double = 2.0 * side
        self.s[18] += qty * (twice * (price - self.s[4]))
        self.s[19] += qty * (self.s[1] - self.s[0])
        if self.q[6] == self.waiting_max:
            return 0
        at: cython.Py_ssize_t = self._wrap(self.q[5] + self.q[6])
        self.q[6] += 1
        self.wt[at] = t_ns + _LATER_NS
        self.wd[at] = self.s[20]
        self.s[20] = 1.0
        at *= 4
        self.w[at] = twice
        self.w[at + 1] = price
        self.w[at + 2] = self.s[4]
        self.w[at + 3] = qty
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _wrap(self, k: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """k, at most one round ahead, as a place in the ring."""
        return k if k < self.waiting_max else k - self.waiting_max

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _settle(self, t_ns: cython.longlong) -> cython.longlong:
        """Judge the trades that are due by the mid that stands: that of the last quote before they were due."""
        at: cython.Py_ssize_t
        while self.q[6] > 0 and self.wt[self.q[5]] <= t_ns:
            at = 4 * self.q[5]
            self.s[21] = self.s[21] * self.wd[self.q[5]] + self.w[at + 3]
            self.s[22] = self.s[22] * self.wd[self.q[5]] + self.w[at + 3] * (self.w[at] * (self.s[4] - self.w[at + 2]) / self.w[at + 2])
            self.s[23] = self._realized(self.q[5])
            self.q[5] = self._wrap(self.q[5] + 1)
            self.q[6] -= 1
            self.q[7] += 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _realized(self, k: cython.Py_ssize_t) -> cython.double:
        """Realised spread of one waiting trade by the mid that stands."""
        at: cython.Py_ssize_t = 4 * self._wrap(k)
        return self.w[at] * (self.w[at + 1] - self.s[4]) / self.w[at + 2]

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _due(self, t_ns: cython.longlong) -> cython.Py_ssize_t:
        """How many of the waiting trades are due."""
        low: cython.Py_ssize_t = 0
        high: cython.Py_ssize_t = self.q[6]
        middle: cython.Py_ssize_t
        while low < high:
            middle = (low + high) >> 1
            if self.wt[self._wrap(self.q[5] + middle)] <= t_ns:
                low = middle + 1
            else:
                high = middle
        return low

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        b: cython.Py_ssize_t = self.base
        if self.q[1] == 0:
            return 0
        due: cython.Py_ssize_t = self._due(t_ns)
        self.absent[b] = 1 if self.q[7] + due == 0 else 0
        self.absent[b + 1] = 1 if self.s[21] <= 0.0 else 0
        self.absent[b + 2] = 1 if self.s[19] <= 0.0 else 0
        self.absent[b + 3] = 1 if self.s[16] <= 0.0 else 0
        self.absent[b + 5] = 1 if self.q[8] == 0 else 0
        self.pool[b] = clip(self._realized(self.q[5] + due - 1) if due > 0 else self.s[23], -1.0, 1.0)
        self.pool[b + 1] = ratio(1e4 * self.s[22], self.s[21], 1000.0)
        self.pool[b + 2] = ratio(self.s[18], self.s[19], 200.0)
        self.pool[b + 3] = div(self.s[17], self.s[16])
        self.pool[b + 4] = ratio((self._microprice() - self.s[6] / self.s[5]) * self.s[7], self.s[8], 200.0)
        self.pool[b + 5] = self._rank(self.s[24] / self.s[5])
        self.pool[b + 6] = div(self.s[10], self.s[9])
        bid_age: cython.double = 1.0 * (t_ns - self.q[2])
        ask_age: cython.double = 1.0 * (t_ns - self.q[3])
        self.pool[b + 7] = clip(ln_ratio(1e6 + bid_age, 1e6 + ask_age), -20.0, 20.0)
        self.pool[b + 8] = ratio(self.s[11] * self.s[13], self.s[12], 200.0)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _rank(self, spread: cython.double) -> cython.double:
        """Share of the spreads in the ring that are narrower, equal ones counted half.

        A mean of equal spreads is that spread up to rounding, so what differs by less than 1e-9 of it is equal.
        """
        n: cython.Py_ssize_t = self.q[8] if self.q[8] < 60 else 60
        twice: cython.longlong = 0
        low: cython.double = spread * (1.0 - 1e-9)
        high: cython.double = spread * (1.0 + 1e-9)
        k: cython.Py_ssize_t
        for k in range(n):
            if self.spreads[k] < low:
                twice += 2
            elif self.spreads[k] <= high:
                twice += 1
        return div(0.5 * twice, 1.0 * n)
