"""Features of the touch: spread, size imbalance, order-flow imbalance, and where the mid came from."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, atr_of, last_bar
    from cython.cimports.mia.kernels.num import clip, decay, div, ln1p_pos, ln_ratio, ratio, root
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, atr_of, last_bar
    from mia.kernels.num import clip, decay, div, ln1p_pos, ln_ratio, ratio, root

SLOTS = (
    "spread_ticks", "spread_ratio_10s", "microprice_dev", "queue_imb_1", "queue_imb_1s", "ofi_score", "ofi_10s",
    "mid_gap_1s", "mid_gap_10s", "mid_vol_10s", "quote_rate_1s", "depth_ratio_bid", "depth_ratio_ask",
    "mid_direction_5s", "mid_move_age", "mid_close_gap",
)  # fmt: skip

_OLD_NS = cython.declare(cython.longlong, 500_000_000_000)  # after 50 time constants, 1 less the decay is 1


@cython.final
@cython.cclass
class QuoteBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. Decayed sums stand as of the last quote.

    s: 0 bid, 1 ask, 2 bid lots, 3 ask lots, 4 weight 1 s, 5 weight 10 s, 6 mid 1 s, 7 mid 10 s, 8 spread 10 s,
    9 imbalance 1 s, 10 bid lots 10 s, 11 ask lots 10 s, 12 OFI 1 s, 13 OFI 10 s, 14 squared moves 10 s, 15 signs 5 s,
    16 moves 5 s. q: 0 last quote ns, 1 first quote ns, 2 ns of the last move of the mid.
    """

    s: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.s = arena.doubles(17)
        self.q = arena.longs(3)

    @cython.cfunc
    def quote(
        self, t_ns: cython.longlong, bid: cython.double, ask: cython.double, bid_lots: cython.double, ask_lots: cython.double
    ) -> cython.longlong:
        """Take one valid quote."""
        mid: cython.double = 0.5 * (bid + ask)
        flow: cython.double = 0.0
        move: cython.double = 0.0
        if self.q[1] == 0:
            self.q[0] = t_ns
            self.q[1] = t_ns
            self.q[2] = t_ns
        else:  # Cont, Kukanov, Stoikov (2014), eq. 3
            if bid >= self.s[0]:
                flow += bid_lots
            if bid <= self.s[0]:
                flow -= self.s[2]
            if ask <= self.s[1]:
                flow -= ask_lots
            if ask >= self.s[1]:
                flow += self.s[3]
            move = mid - 0.5 * (self.s[0] + self.s[1])
        e10: cython.double = decay(t_ns - self.q[0], 10.0)
        e5: cython.double = e10 * e10
        e2: cython.double = e5 * e5 * e10
        e1: cython.double = e2 * e2
        self.q[0] = t_ns
        self.s[0] = bid
        self.s[1] = ask
        self.s[2] = bid_lots
        self.s[3] = ask_lots
        self.s[4] = self.s[4] * e1 + 1.0
        self.s[5] = self.s[5] * e10 + 1.0
        self.s[6] = self.s[6] * e1 + mid
        self.s[7] = self.s[7] * e10 + mid
        self.s[8] = self.s[8] * e10 + (ask - bid)
        self.s[9] = self.s[9] * e1 + (bid_lots - ask_lots) / (bid_lots + ask_lots)
        self.s[10] = self.s[10] * e10 + bid_lots
        self.s[11] = self.s[11] * e10 + ask_lots
        self.s[12] = self.s[12] * e1 + flow
        self.s[13] = self.s[13] * e10 + flow
        self.s[14] = self.s[14] * e10 + move * move
        self.s[15] *= e5
        self.s[16] *= e5
        if move != 0.0:
            self.s[15] += 1.0 if move > 0.0 else -1.0
            self.s[16] += 1.0
            self.q[2] = t_ns
        return 0

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        if self.q[1] == 0:
            return 0
        b: cython.Py_ssize_t = self.base
        atr: cython.double = atr_of(self.hist)
        spread: cython.double = self.s[1] - self.s[0]
        imbalance: cython.double = (self.s[2] - self.s[3]) / (self.s[2] + self.s[3])
        depth: cython.double = 0.5 * (self.s[10] + self.s[11]) / self.s[5]
        self.pool[b] = clip(spread, 0.0, 1000.0)
        self.pool[b + 1] = ratio(spread * self.s[5], self.s[8], 50.0)
        self.pool[b + 2] = clip(0.5 * spread * imbalance, -1000.0, 1000.0)  # (b qa + a qb) / (qa + qb) - mid
        self.pool[b + 3] = imbalance
        self.pool[b + 4] = self.s[9] / self.s[4]
        self.pool[b + 5] = ratio(self.s[12], depth, 50.0)
        self.pool[b + 6] = ratio(self.s[13], depth, 50.0)
        self.pool[b + 7] = ratio(mid - self.s[6] / self.s[4], atr, 20.0)
        self.pool[b + 8] = ratio(mid - self.s[7] / self.s[5], atr, 20.0)
        self.pool[b + 9] = ratio(root(self.s[14]), atr, 50.0)
        self.pool[b + 10] = self._rate()
        self.pool[b + 11] = clip(ln_ratio(self.s[2] * self.s[5], self.s[10]), -10.0, 10.0)
        self.pool[b + 12] = clip(ln_ratio(self.s[3] * self.s[5], self.s[11]), -10.0, 10.0)
        self.pool[b + 13] = self.s[15] / (1.0 + self.s[16])
        self.pool[b + 14] = ln1p_pos((t_ns - self.q[2]) * 1e-9)
        self.pool[b + 15] = ratio(mid - self.hist.c[last_bar(self.hist)], atr, 20.0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _rate(self) -> cython.double:
        """z of the quote count decayed over 1 s against the rate over 10 s, corrected for their short past."""
        age: cython.longlong = self.q[0] - self.q[1]
        e10: cython.double = decay(age, 10.0) if age < _OLD_NS else 0.0
        e5: cython.double = e10 * e10
        e2: cython.double = e5 * e5 * e10
        slow: cython.double = div(self.s[5], 10.0 * (1.0 - e10))
        fast: cython.double = div(self.s[4], 1.0 - e2 * e2)
        return ratio(fast - slow, root(0.5 * slow), 20.0)
