"""One account on one market of bars, all in integers: what the engine, its risk rules and the bar venue do together, in one loop.

For strategies that decide once a bar on market orders. Each step mirrors the module that it is named after, in the same order and with the
same rounding; tests hold the two to the same fills, marks and verdicts on random markets and settings. The parts, each over the one before
it: `bar_books` (risk state, portfolio, protection), `bar_market` (the venue), `bar_decider` (review, planner, decision) and, here, the loop
and its stretches of bars on which nothing happens. Shares are reduced fractions. A market or an account beyond `money_max` is left to
the engine (`bad` is then 1 + the bar).
"""

from __future__ import annotations

from typing import Any

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.bar_decider import BarDecider
    from cython.cimports.mia.kernels.quiet import QuietRange, cap_lots, whole
else:
    from mia.kernels.bar_decider import BarDecider
    from mia.kernels.quiet import QuietRange, cap_lots, whole

_FLATTEN = cython.declare(cython.longlong, 32)  # mia.kernels.bar_decider.FLATTEN
_LOTS_MAX = cython.declare(cython.longlong, 1 << 40)
_MINUTE_NS = cython.declare(cython.longlong, 60_000_000_000)
_NEVER_NS = cython.declare(cython.longlong, 9_223_372_036_854_775_807)
NEVER_NS = 9_223_372_036_854_775_807


@cython.final
@cython.cclass
class BarAccount(BarDecider):  # type: ignore[misc]
    """See `mia.kernels.bar_books.BarBooks` for what it is made from and what can be read of it."""

    def __init__(self, parameters: memoryview, cash_e8: int, log: Any, orders: Any) -> None:
        BarDecider.__init__(self, parameters, cash_e8, log, orders)
        self.range = QuietRange()
        self.price_low = 0
        self.price_high = 0
        self.until_ns = 0
        self.opening = 0
        self.lots_price_max = 0
        self.bar_low = 1
        self.bar_high = 0
        self.floor = 0
        self.roof = 0

    # --- bars on which nothing happens --------------------------------------------------------------------------------------------
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _find_quiet(self, ts: cython.longlong, signal: cython.double, window: cython.longlong) -> cython.bint:
        """Is the decision at this close certain to be a hold, and which closes from here on are then as certain?

        They end at a close outside price_low .. price_high, a time from until_ns on, another signal or window, and where a stop, a
        take, the daily loss or the drawdown strikes. opening: the code that refuses a larger position meanwhile.
        """
        if self.pending != 0 or self.is_started == 0 or self.day_start <= 0 or self.peak <= 0 or (window >= _FLATTEN and self.lots != 0):
            return False
        enabled: cython.bint = ts > self.from_ns
        cold: cython.bint = signal != signal
        self.opening = self._refusal(ts, 1, enabled, cold, window)
        self.price_low = 1
        self.price_high = self.value_max
        self.until_ns = _NEVER_NS if enabled else self.from_ns + 1
        if ts < self.cool_until < self.until_ns:
            self.until_ns = self.cool_until
        if self.rate_max > 0:
            full: cython.longlong = self.ring[self.ring_next] + _MINUTE_NS
            if ts < full < self.until_ns:
                self.until_ns = full
        self.bar_low = 1
        self.bar_high = self.value_max
        if self.lots != 0:
            self.lots_price_max = self.value_max // abs(self.lots)
            self.bar_high = self.lots_price_max
        if self.protected > 0:
            self.bar_low = self.stop + 1
            self.bar_high = self.take - 1 if self.take - 1 < self.bar_high else self.bar_high
        elif self.protected < 0:
            self.bar_low = self.take + 1
            self.bar_high = self.stop - 1 if self.stop - 1 < self.bar_high else self.bar_high
        if cold:
            return True
        if self.lots == 0:
            if signal == 0.0 or self.opening != 0 or (signal < 0.0 and self.derivative == 0):
                return True
            self.price_low = self.range.too_dear(
                self.cash, signal if signal > 0.0 else -signal, self.value_max, self.unit, self.share_num, self.share_den, self.position_max
            )
            return self.price_low > 0
        if not signal * self.lots > 0.0:
            return False
        base: cython.longlong = self.cash - (self.cost if self.derivative != 0 else 0)
        if not self.range.find(
            base, self.lots, self.lots_price_max, signal if signal > 0.0 else -signal, self.opening != 0,
            self.unit, self.share_num, self.share_den, self.position_max, self.band_num, self.band_den, self.order_max,
            self.notional_max, self.exposure_max,
        ):  # fmt: skip
            return False
        self.price_low = self.range.low
        self.price_high = self.range.high
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _quiet_verdict(self, signal: cython.double, equity: cython.longlong, price: cython.longlong) -> cython.longlong:
        """verb * 64 + code of a hold that _find_quiet is certain of."""
        if signal != signal:
            return 64 + (2 if self.lots < 0 else self.opening)
        cap: cython.longlong = 0
        if equity > self.plain or price * self.unit > self.plain:
            cap = cap_lots(equity, price, self.unit, self.share_num, self.share_den, self.position_max)
        elif equity > 0:
            cap = equity * self.share_num // (price * self.unit * self.share_den)
            if cap > self.position_max:
                cap = self.position_max
        target: cython.longlong = whole(signal * cap)
        if self.lots == 0 and target < 0 and self.derivative == 0:
            return 16
        if target == self.lots:
            return 19 if cap == 0 and target == 0 else 0
        if abs(target) > abs(self.lots) and self.opening != 0:
            return 64 + self.opening
        return 17

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _is_on(self, ts: cython.longlong, high: cython.longlong, low: cython.longlong, close: cython.longlong) -> cython.bint:
        """Does a stretch without events reach over this bar, whatever its equity does?"""
        return ts < self.until_ns and self.bar_low <= low and high <= self.bar_high and self.price_low <= close and close <= self.price_high

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _set_levels(self, peak: cython.longlong) -> cython.longlong:
        """Equity at floor or below strikes drawdown or daily loss, equity above roof ends a day's loss."""
        self.floor = -_NEVER_NS
        self.roof = _NEVER_NS
        if self.is_tripped == 0:
            if peak <= self.plain:
                self.floor = peak - (self.drawdown_num * peak + self.drawdown_den - 1) // self.drawdown_den
            else:
                self.floor = self._trip_level(peak)
        if self.is_daily_loss != 0:
            self.roof = self.loss_level
        elif self.loss_level > self.floor:
            self.floor = self.loss_level
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _step(
        self,
        j: cython.Py_ssize_t,
        open_ns: cython.longlong,
        close_ns: cython.longlong,
        opened: cython.longlong,
        high: cython.longlong,
        low: cython.longlong,
        close: cython.longlong,
        signal: cython.double,
        window: cython.longlong,
        leave_ns: cython.longlong,
    ) -> cython.longlong:
        """One bar in full; returns the verdict at its close, or -1 with `bad` set."""
        at_most: cython.double = 1.0 * abs(self.lots) + abs(self.pending)
        if (
            low < 1
            or high > self.value_max
            or abs(self.cash) > self.money_max
            or abs(self.cost) > self.money_max
            or at_most > _LOTS_MAX
            or at_most * high > self.value_max
        ):
            self.bad = 1 + j
            return -1
        if self.pending != 0 or self.protected != 0 or leave_ns < close_ns:
            self._open(j, open_ns, opened)
            if leave_ns < close_ns and self.lots != 0:
                if self.protected != 0:
                    self._stopped(j, leave_ns, high, low, close)
                if self.lots != 0:
                    self._leave(j, leave_ns, open_ns, close_ns, opened, close)
            if self.protected != 0:
                self._within(j, close_ns - 1 if close_ns - 1 > open_ns else open_ns, high, low, close)
        self.mark2 = 2 * close
        verdict: cython.longlong = self._decide(j, close_ns, signal, close_ns > self.from_ns, window)
        if self.at_close != 0 and self.pending != 0:
            self._market(j, close_ns, close)
        return verdict

    def run(
        self,
        open_ns: cython.longlong[::1],
        close_ns: cython.longlong[::1],
        prices: cython.longlong[:, ::1],
        signals: cython.double[::1],
        windows: cython.longlong[::1],
        leaves: cython.longlong[::1],
        turns: cython.longlong[::1],
        start: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        equity: cython.longlong[::1],
        cash: cython.longlong[::1],
        lots: cython.longlong[::1],
        verdicts: cython.longlong[::1],
    ) -> int:
        """Bars start .. stop - 1. prices: open, high, low, close in ticks, int64[n, 4]; signals: NaN where no decision can be made.

        windows: number of the code that forbids openings at each close, 0 for none, and FLATTEN more where positions are to be closed.
        leaves: when, from each bar's open to before its close, such a window is first seen, NEVER_NS where it is not. turns: for each bar
        the first one after it that closes on another UTC day or under another window, or within which one is seen; n when there is none.
        Times must rise, and a bar's high and low hold its open and close.
        Into equity, cash and lots (each of length n, or 0 to leave it out) goes the mark after each bar, into verdicts verb * 64 + code
        (VERBS, CODES). Returns the bars done: fewer than asked when `bad` was set.
        """
        j: cython.Py_ssize_t = start
        k: cython.Py_ssize_t
        first: cython.Py_ssize_t
        end: cython.Py_ssize_t
        verdict: cython.longlong
        with_equity: cython.bint = equity.shape[0] > 0
        with_more: cython.bint = cash.shape[0] > 0 or lots.shape[0] > 0 or verdicts.shape[0] > 0
        signal: cython.double
        cold: cython.bint
        bar_high: cython.longlong
        bar_low: cython.longlong
        price: cython.longlong
        price_low: cython.longlong
        price_high: cython.longlong
        base: cython.longlong
        slope: cython.longlong
        mark: cython.longlong
        now: cython.longlong
        peak: cython.longlong
        floor: cython.longlong
        roof: cython.longlong
        while j < stop:
            signal = signals[j]
            if abs(self.cash) <= self.money_max and self._find_quiet(close_ns[j], signal, windows[j]):
                first = j
                cold = signal != signal
                price_low = self.price_low
                price_high = self.price_high
                bar_high = self.bar_high
                bar_low = self.bar_low
                base = self.cash - (self.cost if self.derivative != 0 and self.lots != 0 else 0)
                slope = self.lots * self.unit
                now = self.equity  # type: ignore[has-type]
                peak = self.peak  # type: ignore[has-type]
                while (
                    j < stop
                    and windows[j] == windows[first]
                    and (leaves[j] >= close_ns[j] or self.lots == 0)
                    and self._is_on(close_ns[j], prices[j, 1], prices[j, 2], prices[j, 3])
                ):
                    if signals[j] != signal and not (cold and signals[j] != signals[j]):
                        break
                    if close_ns[j] >= self.day_end:  # nothing fills on this bar: a full step that had to look at it would do no other
                        self._begin_day(close_ns[j], now)
                        if now <= 0:
                            break
                    self._set_levels(peak)
                    floor = self.floor
                    roof = self.roof
                    end = turns[j] if turns[j] < stop else stop
                    if close_ns[end - 1] >= self.until_ns:
                        k = j
                        while close_ns[k] < self.until_ns:
                            k += 1
                        end = k
                    while j < end:
                        if signals[j] != signal and not (cold and signals[j] != signals[j]):
                            break
                        price = prices[j, 3]
                        if prices[j, 1] > bar_high or prices[j, 2] < bar_low or price < price_low or price > price_high:
                            break
                        mark = base + price * slope
                        if mark >= peak:
                            peak = mark
                            self._set_levels(peak)
                            floor = self.floor
                        elif mark <= floor:
                            break
                        if mark > roof:
                            break
                        now = mark
                        if with_equity:
                            equity[j] = now
                        j += 1
                    if j < end:
                        break
                if j > first:
                    self.equity = now
                    self.mark2 = 2 * prices[j - 1, 3]
                    self.peak = peak
                    if with_more:
                        for k in range(first, j):
                            if cash.shape[0] > 0:
                                cash[k] = self.cash
                            if lots.shape[0] > 0:
                                lots[k] = self.lots
                            if verdicts.shape[0] > 0:
                                verdicts[k] = self._quiet_verdict(signal, base + prices[k, 3] * slope, prices[k, 3])
                    if j >= stop:
                        break
            verdict = self._step(
                j, open_ns[j], close_ns[j], prices[j, 0], prices[j, 1], prices[j, 2], prices[j, 3], signals[j], windows[j], leaves[j]
            )
            if self.bad != 0:
                return j - start
            if with_equity:
                equity[j] = self.equity
            if cash.shape[0] > 0:
                cash[j] = self.cash
            if lots.shape[0] > 0:
                lots[j] = self.lots
            if verdicts.shape[0] > 0:
                verdicts[j] = verdict
            j += 1
        return stop - start
