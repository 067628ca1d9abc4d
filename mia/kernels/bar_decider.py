"""How the account decides: mia.risk.review, mia.execution.planner and the frame of mia.engine.decide, at a bar's close.

A part of `mia.kernels.bar_account`, over `mia.kernels.bar_market`.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.bar_market import BarMarket
    from cython.cimports.mia.kernels.exact import mul_div
else:
    from mia.kernels.bar_market import BarMarket
    from mia.kernels.exact import mul_div

CODES = (
    "ok", "trading_disabled", "warm_up", "outside_session", "blackout_window", "macro_event", "calendar_expired", "daily_loss",
    "drawdown_stop", "cool_down", "order_rate", "position_max", "equity_share", "order_lots_max", "order_notional_max", "exposure_max",
    "spot_no_short", "dead_band", "min_notional", "below_lot", "session_exit",
)  # fmt: skip
VERBS = ("hold", "refused", "buy", "sell", "reduce", "flat")
FLATTEN = 32  # added to the code of a window that wants positions closed
_FLATTEN = cython.declare(cython.longlong, 32)
_SESSION_EXIT = cython.declare(cython.longlong, 20)
_MINUTE_NS = cython.declare(cython.longlong, 60_000_000_000)
_HALF = cython.declare(cython.longlong, 1 << 31)
_LOTS_MAX = cython.declare(cython.longlong, 1 << 40)  # of a position or a cap
_TOO_MUCH = cython.declare(cython.longlong, 1 << 62)


@cython.cclass
class BarDecider(BarMarket):  # type: ignore[misc]
    """See `mia.kernels.bar_account.BarAccount`."""

    def __init__(self, parameters: memoryview, cash_e8: int, log: object, orders: object) -> None:
        BarMarket.__init__(self, parameters, cash_e8, log, orders)
        self.share_lots = 0

    # --- mia.risk.review ------------------------------------------------------------------------------------------------------
    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _refusal(
        self, ts: cython.longlong, target: cython.longlong, enabled: cython.bint, cold: cython.bint, window: cython.longlong
    ) -> cython.longlong:
        """Number of the code that forbids to open; 0: none."""
        limit: cython.longlong = self.rate_max
        if not enabled:
            return 1
        if cold:
            return 2
        if window != 0:
            return window % _FLATTEN
        if self.is_daily_loss != 0:
            return 7
        if self.is_tripped != 0:
            return 8
        if ts < self.cool_until:
            return 9
        if limit > 0 and not ts - self.ring[self.ring_next] >= _MINUTE_NS:
            return 10
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _review(
        self, ts: cython.longlong, target: cython.longlong, enabled: cython.bint, cold: cython.bint, window: cython.longlong
    ) -> cython.longlong:
        """The approved target into state 13 as it stands; returns its code, or -1 - code when it is refused."""
        position: cython.longlong = self.lots
        code: cython.longlong = 0
        if target < 0 and self.derivative == 0:
            target = 0
            code = 16
        self.pending = target
        if 0 <= target <= position or position <= target <= 0:
            return code
        refused: cython.longlong = self._refusal(ts, target, enabled, cold, window)
        if refused != 0:
            if (target > 0) != (position > 0) and position != 0 and target != 0:
                self.pending = 0
                return refused
            return -1 - refused
        sign: cython.longlong = 1 if target > 0 else -1
        size: cython.longlong = sign * target
        held: cython.longlong = sign * position
        reserved: cython.longlong = 0
        if held < 0 and self.protected != 0:
            reserved = -held  # stop and take may flatten first
        value2: cython.longlong = self.mark2 * self.unit
        reach: cython.longlong = size + reserved
        if (
            reach <= self.position_max
            and size - held <= self.order_max
            and (size - held) * value2 <= 2 * self.notional_max
            and reach * value2 <= 2 * self.exposure_max
            and reach <= self.share_lots
        ):
            return 0
        floor: cython.longlong = held if held > 0 else 0
        code = 0
        cap: cython.longlong
        k: cython.longlong
        for k in range(5):
            if k == 0:
                cap = self.position_max
            elif k == 1:
                cap = self.share_lots
            elif k == 2:
                cap = held + self.order_max
            elif k == 3:
                cap = held + 2 * self.notional_max // value2
            else:
                cap = 2 * self.exposure_max // value2
            if k != 2 and k != 3:
                floor = held if held > 0 else 0
                if floor > cap:
                    floor = cap
                cap = cap - reserved if cap - reserved > floor else floor
            if not size <= cap:
                size = cap
                if code == 0:
                    code = 11 + k
        if size < 0:
            size = 0
        self.pending = sign * size
        return code

    # --- mia.execution.planner ---------------------------------------------------------------------------------------------------
    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _order(
        self, bar: cython.Py_ssize_t, ts: cython.longlong, target: cython.longlong, code: cython.longlong, cap: cython.longlong
    ) -> cython.longlong:
        """The pending order that leads to an approved target; returns verb * 64 + code."""
        position: cython.longlong = self.lots
        self.pending = 0
        change: cython.longlong = target - position
        if change == 0:
            if code == 0 and cap == 0 and position == 0:
                code = 19
            return code
        if target != 0 and self._is_small(abs(change), cap):
            return code if code != 0 else 17
        is_flip: cython.bint = (target > 0) != (position > 0) and target != 0 and position != 0
        mid2: cython.longlong = self.mark2
        if not is_flip and abs(target) < abs(position):
            if self.derivative == 0 and self.min_notional != 0:
                if mid2 * abs(target) * self.unit < 2 * self.min_notional:
                    target = 0
                if mid2 * abs(target - position) * self.unit < 2 * self.min_notional:
                    return 18
            if self.derivative == 0:
                self.protected = 0  # on spot the resting stop and take hold the coins: canceled first
            self.pending_reduces = 1
        else:
            if mid2 * abs(change) * self.unit < 2 * self.min_notional:
                return 18
            self.pending_reduces = 0
        self.pending = target - position
        self.pending_mark2 = mid2
        self.pending_order = self._note_order(bar, ts, self.pending, 0, self.pending_reduces, 0)
        if target == 0:
            return 5 * 64 + code
        if 0 < target < position or position < target < 0:
            return 4 * 64 + code
        return (2 if target > position else 3) * 64 + code

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _is_small(self, change: cython.longlong, cap: cython.longlong) -> cython.bint:
        """Is a change of so many lots within the dead band?"""
        if change < _HALF and cap < _HALF:
            return change * self.band_den < self.band_num * cap
        return change < mul_div(cap, self.band_num, self.band_den, self.band_den - 1)

    # --- mia.engine.decide -------------------------------------------------------------------------------------------------------
    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def _share_lots(self) -> cython.longlong:
        """Lots that the share of equity buys at the mark; -1 when a product of it would not fit a word."""
        if self.equity <= 0:
            return 0
        value2: cython.longlong = self.mark2 * self.unit
        money2: cython.longlong = 2 * self.equity
        if money2 <= self.plain and value2 <= self.plain:
            return money2 * self.share_num // (value2 * self.share_den)
        money2 = mul_div(money2, self.share_num, self.share_den, 0)
        return money2 // value2 if money2 < _TOO_MUCH else -1

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _decide(
        self, bar: cython.Py_ssize_t, ts: cython.longlong, signal: cython.double, enabled: cython.bint, window: cython.longlong
    ) -> cython.longlong:
        """One decision at a bar's close; returns verb * 64 + code. A signal that is NaN: a column is not warm."""
        self._update(ts)
        cap: cython.longlong = self._share_lots()
        if cap < 0:
            self.bad = 1 + bar
            return 0
        self.share_lots = cap
        if cap > self.position_max:
            cap = self.position_max
        if cap > _LOTS_MAX:
            self.bad = 1 + bar
            return 0
        code: cython.longlong
        if window >= _FLATTEN and self.lots != 0:  # a reduction, which nothing refuses
            return self._order(bar, ts, 0, _SESSION_EXIT, cap)
        if signal != signal:
            code = self._review(ts, self.lots + 1, enabled, True, window)
            self.pending = 0
            return 64 + (-1 - code if code < 0 else 2)
        wanted: cython.double = signal * cap
        target: cython.longlong = cython.cast(cython.longlong, wanted) if cython.compiled else int(wanted)
        code = self._review(ts, target, enabled, False, window)
        if code < 0:
            self.pending = 0
            return 64 + (-1 - code)
        return self._order(bar, ts, self.pending, code, cap)
