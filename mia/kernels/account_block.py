"""Features of our own account: what the position is worth, how long it is held, what the last decision said."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, atr_of
    from cython.cimports.mia.kernels.num import clip, ln1p_pos, ratio
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, atr_of
    from mia.kernels.num import clip, ln1p_pos, ratio

SLOTS = (
    "position", "unrealised_r", "bars_in_position", "position_age", "drawdown_ratio", "day_pnl_ratio",
    "trades_60m_ratio", "mae_r", "mfe_r", "last_action", "policy_dispersion", "last_alpha", "model_drift_score",
    "since_last_trade", "last_3_trades_success_rate",
)  # fmt: skip


@cython.cclass
class AccountBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    s: 0 position, 1 entry ticks, 2 drawdown, 3 day P&L, 4 trades, 5 last action, 6 dispersion, 7 last alpha,
    8 worst and 9 best excursion in ticks since the position was opened, 10 drift (below 0: not known). q: 0 opened ns, 1 bars since,
    2 when the last trade closed, 3 trades closed (3 at most) and 4 those of them that won.
    """

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.s = arena.doubles(11)
        self.s[10] = -1.0
        self.q = arena.longs(5)

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def set(
        self,
        position: cython.double,
        entry_ticks: cython.double,
        opened_ns: cython.longlong,
        drawdown_ratio: cython.double,
        day_pnl_ratio: cython.double,
        trades_60m_ratio: cython.double,
        last_action: cython.double,
        policy_dispersion: cython.double,
        last_alpha: cython.double,
    ) -> cython.longlong:
        """Take the account as it stands; a new opened_ns starts the excursions and the bar count anew."""
        self.s[0] = position
        self.s[1] = entry_ticks
        self.s[2] = drawdown_ratio
        self.s[3] = day_pnl_ratio
        self.s[4] = trades_60m_ratio
        self.s[5] = last_action
        self.s[6] = policy_dispersion
        self.s[7] = last_alpha
        if opened_ns != self.q[0]:
            self.q[0] = opened_ns
            self.q[1] = 0
            self.s[8] = 0.0
            self.s[9] = 0.0
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def set_record(
        self, closed_ns: cython.longlong, closed: cython.longlong, won: cython.longlong, drift: cython.double
    ) -> cython.longlong:
        """Take what our closed trades say, and how far the model's inputs have drifted; see PlanCore.set_record."""
        self.q[2] = closed_ns
        self.q[3] = 0 if closed < 0 else (closed if closed < 3 else 3)
        self.q[4] = 0 if won < 0 else (won if won < self.q[3] else self.q[3])
        self.s[10] = drift if drift >= 0.0 else -1.0  # a NaN is not known either
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _gain(self, mid: cython.double) -> cython.double:
        """Ticks won (+) or lost (-) per lot at mid; 0.0 when flat."""
        if self.q[0] == 0 or mid <= 0.0:
            return 0.0
        if self.s[0] > 0.0:
            return mid - self.s[1]
        if self.s[0] < 0.0:
            return self.s[1] - mid
        return 0.0

    @cython.cfunc
    def quote(
        self, t_ns: cython.longlong, bid: cython.double, ask: cython.double, bid_lots: cython.double, ask_lots: cython.double
    ) -> cython.longlong:
        """Take one valid quote."""
        if self.q[0] != 0:
            self._excursion(0.5 * (bid + ask))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _excursion(self, mid: cython.double) -> cython.longlong:
        gain: cython.double = self._gain(mid)
        if gain < self.s[8]:
            self.s[8] = gain
        if gain > self.s[9]:
            self.s[9] = gain
        return 0

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """Count the bars of the open position."""
        if self.q[0] != 0:
            self.q[1] += 1
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def passed(self, low: cython.double, high: cython.double, bars: cython.longlong) -> cython.longlong:
        """Take in short what quote() and bar() would have heard: the lowest and highest mid since, and the bars that closed."""
        if self.q[0] != 0:
            self._excursion(low)
            self._excursion(high)
            self.q[1] += bars
        return 0

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        b: cython.Py_ssize_t = self.base
        atr: cython.double = atr_of(self.hist)
        self.pool[b] = clip(self.s[0], -1.0, 1.0)
        self.pool[b + 1] = 0.0
        self.pool[b + 2] = 0.0
        self.pool[b + 3] = 0.0
        self.pool[b + 4] = clip(self.s[2], 0.0, 10.0)
        self.pool[b + 5] = clip(self.s[3], -10.0, 100.0)
        self.pool[b + 6] = clip(self.s[4], 0.0, 1.0)
        self.pool[b + 7] = 0.0
        self.pool[b + 8] = 0.0
        self.pool[b + 9] = clip(self.s[5], -1.0, 1.0)
        self.pool[b + 10] = clip(self.s[6], 0.0, 1.0)
        self.pool[b + 11] = clip(self.s[7], 0.0, 1.0)
        self.pool[b + 12] = clip(self.s[10], 0.0, 10.0)
        self.absent[b + 12] = 1 if self.s[10] < 0.0 else 0
        self.pool[b + 13] = 1.0
        if self.q[3] > 0:
            self.pool[b + 13] = clip(ln1p_pos((t_ns - self.q[2]) * 1e-9) / 11.36675, 0.0, 1.0)
        self.pool[b + 14] = (self.q[4] + 0.5 * (3 - self.q[3])) / 3.0
        if self.q[0] != 0:
            self._excursion(mid)
            self.pool[b + 1] = ratio(self._gain(mid), atr, 50.0)
            self.pool[b + 2] = clip(self.q[1] / 240.0, 0.0, 1.0)
            self.pool[b + 3] = clip(ln1p_pos((t_ns - self.q[0]) * 1e-9) / 11.36675, 0.0, 1.0)  # ln(1 + 86,400 s)
            self.pool[b + 7] = ratio(self.s[8], atr, 50.0)
            self.pool[b + 8] = ratio(self.s[9], atr, 50.0)
        return 0
