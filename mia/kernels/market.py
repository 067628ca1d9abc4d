"""An order-driven market: a real book of levels, moved only by orders, cancels and trades that a hidden state drives.

A semi-Markov phase (0 calm, 1 trending, 2 violent) sets drift and volatility of a latent price. Informed takers know it, makers
learn it with a lag, the rest trades in runs; so the mid follows the latent price through the book, and flow and queues lead it.
Rows out are (kind, ts_ns, a, b, c, d): quote (0) bid, ask, bid lots, ask lots; trade (1) price, lots, aggressor, number;
delta (3) side (+1 bid, -1 ask), price, new lots of the level, 0. All changing state lives in the arena.
Ideas: Glosten & Milgrom (1985) for the two kinds of takers, Cont, Stoikov & Talreja (2010) for arrivals and cancels by level.
"""

from __future__ import annotations

from collections.abc import Sequence

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.libc.math import exp, floor, sqrt
    from cython.cimports.mia.kernels.rng import Rng
else:
    from math import exp, floor, sqrt

    from mia.kernels.rng import Rng

PHASE_FIELDS = ("sigma_bps", "steps_per_s", "drift_bps_min", "drift_bps_max", "dwell_s_min", "dwell_s_max", "taker_share", "jumps_per_s")
LEVELS_PER_SIDE = 64
STEP_ROWS_MAX = 48  # more than any single step can emit
_SWEEP_LEVELS_MAX = 16

# self.k: 0 phase, 1 now_ns, 2 phase end ns, 3 sign of the last uninformed taker, 4 bids, 5 asks, 6..9 last quote, 10 trades, 11 to-next ns
# self.x: 0 latent price, 1 makers' estimate, 2 log volatility, 3 drift in bps/s (signed)


@cython.cclass
class MarketKernel:
    """The market's state and its step. Prices in ticks, sizes in lots, time in ns; bps are of the latent price."""

    def __init__(
        self,
        arena: Arena,
        seed: int,
        start_ticks: int,
        order_units: float,
        phases: Sequence[Sequence[float]],
        transitions: Sequence[Sequence[float]],
        shape: Sequence[float],
    ) -> None:
        """order_units: ticks x lots of a typical order (its notional on the grid); phases: 3 rows of PHASE_FIELDS.

        transitions: 3 rows of weights, diagonal 0; shape: placement_bps, gap_bps, maker_lag_s, vol_of_vol, vol_tau_s, jump_bps,
        momentum, persistence (see SimMarketSettings, which checks ranges).
        """
        self.rng = Rng(arena, seed)
        self.table = arena.doubles(48)
        self.x = arena.doubles(8)
        self.k = arena.longs(16)
        self.width = LEVELS_PER_SIDE
        self.keys = arena.longs(2 * LEVELS_PER_SIDE)
        self.lots = arena.longs(2 * LEVELS_PER_SIDE)
        self.anchor_ticks = start_ticks
        self.order_units = order_units
        self.placement_bps, self.gap_bps, self.maker_lag_s, self.vol_of_vol = shape[0], shape[1], shape[2], shape[3]
        self.vol_tau_s, self.jump_bps, self.momentum, self.persistence = shape[4], shape[5], shape[6], shape[7]
        for i in range(3):
            for j in range(8):
                self.table[8 * i + j] = phases[i][j]
            total = 0.0
            for j in range(3):
                total += transitions[i][j]
                self.table[24 + 3 * i + j] = total
        self.rows = 0
        self.x[0] = start_ticks
        self.x[1] = start_ticks
        self.k[3] = 1
        self._fill_book(start_ticks)
        self._enter(0)

    def _fill_book(self, start_ticks: int) -> None:
        """A first book of 24 levels a side, one typical order each, spaced by the placement scale."""
        gap = max(1, int(self.placement_bps * 1e-4 * start_ticks))
        for side in range(2):
            for i in range(24):
                distance = 1 + (23 - i) * gap
                at = side * LEVELS_PER_SIDE + i
                self.keys[at] = (start_ticks - distance) if side == 0 else -(start_ticks + distance)
                self.lots[at] = max(1, int(self.order_units / start_ticks))
            self.k[4 + side] = 24

    @cython.ccall
    def bind(
        self,
        kind: cython.longlong[::1],
        ts: cython.longlong[::1],
        a: cython.longlong[::1],
        b: cython.longlong[::1],
        c: cython.longlong[::1],
        d: cython.longlong[::1],
        phase: cython.longlong[::1],
    ) -> cython.void:
        """Where rows go: seven int64 arrays of one length, at least STEP_ROWS_MAX."""
        self.o_kind = kind
        self.o_ts = ts
        self.o_a = a
        self.o_b = b
        self.o_c = c
        self.o_d = d
        self.o_phase = phase

    @cython.ccall
    def run(self, rows_max: cython.Py_ssize_t, until_ns: cython.longlong) -> cython.Py_ssize_t:
        """Step until the next step could overflow rows_max (or the bound arrays) or would pass until_ns; returns rows written."""
        dt_ns: cython.longlong
        at: cython.Py_ssize_t
        self.rows = 0
        if rows_max > len(self.o_kind):
            rows_max = len(self.o_kind)
        while self.rows + 48 <= rows_max:
            dt_ns = self.k[11]
            if dt_ns == 0:  # drawn once and kept, so that where a run stops does not change what follows
                at = 8 * self.k[0] + 1
                dt_ns = 1 + cython.cast(cython.longlong, 1e9 * self.rng.exponential() / max(self.table[at], 1e-3))
                self.k[11] = dt_ns
            if self.k[1] + dt_ns > until_ns:
                break
            self.k[11] = 0
            self.k[1] += dt_ns
            self._step(1e-9 * dt_ns)
        return self.rows

    @cython.ccall
    def rebase(self, now_ns: cython.longlong) -> cython.void:
        """Move the market's clock to now_ns; durations go on."""
        self.k[2] += now_ns - self.k[1]
        self.k[1] = now_ns

    @cython.ccall
    def level_count(self, is_ask: cython.bint) -> cython.Py_ssize_t:
        """Levels on a side."""
        return self.k[5] if is_ask else self.k[4]

    @cython.ccall
    def level_ticks(self, is_ask: cython.bint, i: cython.Py_ssize_t) -> cython.longlong:
        """Price of the i-th level, best first."""
        if is_ask:
            return -self.keys[self.width + self.k[5] - 1 - i]
        return self.keys[self.k[4] - 1 - i]

    @cython.ccall
    def level_lots(self, is_ask: cython.bint, i: cython.Py_ssize_t) -> cython.longlong:
        """Size of the i-th level, best first."""
        if is_ask:
            return self.lots[self.width + self.k[5] - 1 - i]
        return self.lots[self.k[4] - 1 - i]

    @cython.ccall
    def now_ns(self) -> cython.longlong:
        """Time of the last step."""
        return self.k[1]

    @cython.ccall
    def phase(self) -> cython.longlong:
        """The hidden phase: 0 calm, 1 trending, 2 violent."""
        return self.k[0]

    @cython.ccall
    def latent_ticks(self) -> cython.double:
        """The hidden price; for labels and tests, never part of an event."""
        return self.x[0]

    # --- rows ---------------------------------------------------------------------------------------------------
    @cython.cfunc
    def _emit(self, kind: cython.longlong, a: cython.longlong, b: cython.longlong, c: cython.longlong, d: cython.longlong) -> cython.void:
        n: cython.Py_ssize_t = self.rows
        self.o_kind[n] = kind
        self.o_ts[n] = self.k[1]
        self.o_a[n] = a
        self.o_b[n] = b
        self.o_c[n] = c
        self.o_d[n] = d
        self.o_phase[n] = self.k[0]
        self.rows = n + 1

    @cython.cfunc
    def _emit_level(self, side: cython.Py_ssize_t, key: cython.longlong, lots: cython.longlong) -> cython.void:
        if side == 0:
            self._emit(3, 1, key, lots, 0)
        else:
            self._emit(3, -1, -key, lots, 0)

    @cython.cfunc
    def _emit_quote(self) -> cython.void:
        """One quote row if the touch is not what the last one said."""
        i: cython.Py_ssize_t = self.k[4] - 1
        j: cython.Py_ssize_t = self.width + self.k[5] - 1
        bid: cython.longlong = self.keys[i]
        ask: cython.longlong = -self.keys[j]
        if self.k[6] != bid or self.k[7] != ask or self.k[8] != self.lots[i] or self.k[9] != self.lots[j]:
            self.k[6] = bid
            self.k[7] = ask
            self.k[8] = self.lots[i]
            self.k[9] = self.lots[j]
            self._emit(0, bid, ask, self.k[8], self.k[9])

    # --- the book: keys ascend to the best at the end; a bid's key is its price, an ask's its negative ------------
    @cython.cfunc
    def _add(self, side: cython.Py_ssize_t, key: cython.longlong, lots: cython.longlong) -> cython.void:
        base: cython.Py_ssize_t = side * self.width
        n: cython.Py_ssize_t = self.k[4 + side]
        i: cython.Py_ssize_t = n
        j: cython.Py_ssize_t
        while i > 0 and self.keys[base + i - 1] > key:
            i -= 1
        if i > 0 and self.keys[base + i - 1] == key:
            self.lots[base + i - 1] += lots
            self._emit_level(side, key, self.lots[base + i - 1])
            return
        if n == self.width:  # full: the worst level leaves, unless the new one is worse still
            if i == 0:
                return
            self._emit_level(side, self.keys[base], 0)
            for j in range(i - 1):
                self.keys[base + j] = self.keys[base + j + 1]
                self.lots[base + j] = self.lots[base + j + 1]
            i -= 1
        else:
            for j in range(n, i, -1):
                self.keys[base + j] = self.keys[base + j - 1]
                self.lots[base + j] = self.lots[base + j - 1]
            self.k[4 + side] = n + 1
        self.keys[base + i] = key
        self.lots[base + i] = lots
        self._emit_level(side, key, lots)

    @cython.cfunc
    def _remove(self, side: cython.Py_ssize_t, i: cython.Py_ssize_t) -> cython.void:
        """Take out the level at position i of the side's array (0 is the worst) and say so."""
        base: cython.Py_ssize_t = side * self.width
        j: cython.Py_ssize_t
        key: cython.longlong = self.keys[base + i]
        for j in range(i, self.k[4 + side] - 1):
            self.keys[base + j] = self.keys[base + j + 1]
            self.lots[base + j] = self.lots[base + j + 1]
        self.k[4 + side] -= 1
        self._emit_level(side, key, 0)

    # --- hidden state ---------------------------------------------------------------------------------------------
    @cython.cfunc
    def _enter(self, phase: cython.Py_ssize_t) -> cython.void:
        """Begin a phase: its length and, with drift, its direction, which leans back towards the start price."""
        row: cython.Py_ssize_t = 8 * phase
        u: cython.double = self.rng.uniform()
        dwell: cython.double = self.table[row + 4] + (self.table[row + 5] - self.table[row + 4]) * u
        self.k[0] = phase
        self.k[2] = self.k[1] + cython.cast(cython.longlong, 1e9 * dwell)
        self.x[3] = self.table[row + 2] + (self.table[row + 3] - self.table[row + 2]) * self.rng.uniform()
        lean: cython.double = 2.0 * (1.0 - self.x[0] / self.anchor_ticks) if self.anchor_ticks > 0.0 else 0.0
        lean = min(max(lean, -0.45), 0.45)
        if self.rng.uniform() > 0.5 + lean:
            self.x[3] = -self.x[3]

    @cython.cfunc
    def _next_phase(self) -> cython.void:
        row: cython.Py_ssize_t = 24 + 3 * self.k[0]
        u: cython.double = self.rng.uniform() * self.table[row + 2]
        if u < self.table[row]:
            self._enter(0)
        elif u < self.table[row + 1]:
            self._enter(1)
        else:
            self._enter(2)

    @cython.cfunc
    def _advance_latent(self, dt: cython.double) -> cython.void:
        """Latent price: drift, stochastic volatility (log OU), rare jumps; makers follow it with a lag."""
        row: cython.Py_ssize_t = 8 * self.k[0]
        root: cython.double = sqrt(dt)
        h: cython.double = self.x[2]
        h = h - h * min(dt / self.vol_tau_s, 1.0) + self.vol_of_vol * root * self.rng.normal()
        h = min(max(h, -1.5), 1.5)
        self.x[2] = h
        move: cython.double = self.x[3] * dt + self.table[row] * exp(h) * root * self.rng.normal()
        if self.rng.uniform() < self.table[row + 7] * dt:
            jump: cython.double = self.jump_bps * (0.5 + self.rng.exponential())
            move += jump if self.rng.uniform() < 0.5 else -jump
        move = min(max(move, -200.0), 200.0)
        self.x[0] = max(self.x[0] * (1.0 + 1e-4 * move), 100.0)
        self.x[1] += (self.x[0] - self.x[1]) * (dt / (dt + self.maker_lag_s))

    # --- what arrives ----------------------------------------------------------------------------------------------
    @cython.cfunc
    def _step(self, dt: cython.double) -> cython.void:
        """One arrival: a taker, a cancel or a limit order; then the quote if it changed."""
        if self.k[1] >= self.k[2]:
            self._next_phase()
        self._advance_latent(dt)
        mid: cython.double = 0.5 * (self.keys[self.k[4] - 1] - self.keys[self.width + self.k[5] - 1])
        gap: cython.double = 1e4 * (self.x[0] - mid) / self.x[0]
        tilt: cython.double = gap / (self.gap_bps + abs(gap))
        takers: cython.double = self.table[8 * self.k[0] + 6] * (0.4 + 1.2 * abs(tilt))
        u: cython.double = self.rng.uniform()
        spread: cython.longlong = -self.keys[self.width + self.k[5] - 1] - self.keys[self.k[4] - 1]
        if spread > 3 and spread > 1e-4 * self.placement_bps * self.x[0] and self.rng.uniform() < 0.6:
            if self.x[1] > mid:  # makers close a wide spread first, on the side they believe in
                self._place(0, 0.5)
            else:
                self._place(1, 0.5)
        elif self.k[4] < 12:
            self._place(0, 0.0)
        elif self.k[5] < 12:
            self._place(1, 0.0)
        elif u < takers:
            self._take(gap)
        elif u < takers + 0.45 * (1.0 - takers):
            self._cancel(tilt)
        else:
            if self.rng.uniform() < 0.5 + 0.35 * tilt:
                self._place(0, tilt)
            else:
                self._place(1, -tilt)
        self._emit_quote()

    @cython.cfunc
    def _size(self, scale: cython.double) -> cython.longlong:
        """Lots of one order: heavy-tailed, mean scale x the typical order."""
        e: cython.double = self.rng.exponential()
        return 1 + cython.cast(cython.longlong, min(0.5 * scale * e * e * self.order_units / self.x[0], 1e12))

    @cython.cfunc
    def _take(self, gap: cython.double) -> cython.void:
        """A market order: informed ones sweep part of the way to the latent price, the rest comes in runs of one sign."""
        sign: cython.longlong = 1 if gap > 0.0 else -1
        reach: cython.double = abs(gap)
        if self.rng.uniform() < 0.8 * reach / (reach + 2.0 * self.gap_bps):
            share: cython.double = 1e-4 * gap * self.x[0] * self.rng.uniform()
            limit: cython.double = floor(0.5 * (self.keys[self.k[4] - 1] - self.keys[self.width + self.k[5] - 1]) + share)
            if sign > 0:
                self._sweep(1, -cython.cast(cython.longlong, limit), self._size(12.0))
            else:
                self._sweep(0, cython.cast(cython.longlong, limit) + 1, self._size(12.0))
            return
        if self.rng.uniform() > self.persistence:
            sign = 1 if self.rng.uniform() < 0.5 else -1
            if self.x[3] != 0.0 and self.rng.uniform() < self.momentum:
                sign = 1 if self.x[3] > 0.0 else -1
            self.k[3] = sign
        sign = self.k[3]
        self._sweep(1 if sign > 0 else 0, -4611686018427387904, self._size(0.7))

    @cython.cfunc
    def _sweep(self, side: cython.Py_ssize_t, limit_key: cython.longlong, qty: cython.longlong) -> cython.void:
        """Eat the resting side down to limit_key or until qty is gone; one trade row and one delta row a level."""
        base: cython.Py_ssize_t = side * self.width
        i: cython.Py_ssize_t
        eaten: cython.longlong
        key: cython.longlong
        levels: cython.Py_ssize_t = 0
        while qty > 0 and self.k[4 + side] > 8 and levels < 16:
            i = self.k[4 + side] - 1
            key = self.keys[base + i]
            if key < limit_key:
                return
            eaten = min(qty, self.lots[base + i])
            qty -= eaten
            levels += 1
            self.k[10] += 1
            if side == 0:
                self._emit(1, key, eaten, -1, self.k[10])
            else:
                self._emit(1, -key, eaten, 1, self.k[10])
            if eaten == self.lots[base + i]:
                self._remove(side, i)
            else:
                self.lots[base + i] -= eaten
                self._emit_level(side, key, self.lots[base + i])

    @cython.cfunc
    def _place(self, side: cython.Py_ssize_t, favour: cython.double) -> cython.void:
        """A limit order: narrows a wide spread up to the makers' estimate, joins the touch, or rests behind it.

        favour in (-1, 1): how much the latent price speaks for this side; makers quote larger and closer when it does.
        """
        scale: cython.double = 1.0 + 0.9 * favour
        best: cython.longlong = self.keys[side * self.width + self.k[4 + side] - 1]
        other: cython.longlong = -self.keys[(1 - side) * self.width + self.k[5 - side] - 1]  # the far touch in this side's keys
        key: cython.longlong
        u: cython.double = self.rng.uniform()
        if other - best > 1 and u < 0.8:
            key = cython.cast(cython.longlong, floor(self.x[1])) if side == 0 else -cython.cast(cython.longlong, floor(self.x[1])) - 1
            key = min(key, other - 1)
            if key > best:
                self._add(side, key, self._size(3.0 * scale))
                return
        if u > 0.7 - 0.4 * favour and self.k[4 + side] >= 12:
            self._add(side, best, self._size(scale))
            return
        behind: cython.double = 3.0 * max(1.5, 1e-4 * self.placement_bps * self.x[0]) * (1.0 / sqrt(self.rng.uniform()) - 1.0)
        self._add(side, best - 1 - cython.cast(cython.longlong, min(behind, 2e-3 * self.x[0])), self._size(1.0))

    @cython.cfunc
    def _cancel(self, tilt: cython.double) -> cython.void:
        """Half or all of a level near the touch; makers flee the side that the latent price runs towards."""
        side: cython.Py_ssize_t = 1 if self.rng.uniform() < 0.5 + 0.4 * tilt else 0
        n: cython.Py_ssize_t = self.k[4 + side]
        at: cython.Py_ssize_t = side * self.width + n - 1
        depth: cython.Py_ssize_t = 0
        pulled: cython.Py_ssize_t = 0
        if self.rng.uniform() < 0.7:  # levels on the wrong side of the makers' estimate go first, several at once
            while pulled < 6 and n > 12:
                if side == 0 and not (self.keys[at] > self.x[1]):
                    break
                if side == 1 and not (self.keys[at] > -self.x[1]):
                    break
                self._remove(side, n - 1)
                n -= 1
                at -= 1
                pulled += 1
        if pulled > 0:
            return
        depth = self.rng.geometric(0.12)
        if depth > n - 1:
            depth = self.rng.below(n)
        lots: cython.longlong = self.lots[at - depth]
        if n <= 12 or (self.rng.uniform() < 0.4 and lots > 1):
            if lots > 1:
                self.lots[at - depth] = lots - lots // 2
                self._emit_level(side, self.keys[at - depth], lots - lots // 2)
            return
        self._remove(side, n - 1 - depth)
