"""One account on one market of bars, all in integers: what the engine, its risk rules and the bar venue do together, in one loop.

For strategies that decide once a bar on market orders. Each step mirrors the module that it is named after (mia.risk.review,
mia.execution.planner, portfolio, protect, mia.risk.state, mia.sim.bar_venue), in the same order and with the same rounding; tests hold the
two to the same fills, marks and verdicts on random markets and settings. Shares are reduced fractions, so that products stay
below 2^63; a market or an account beyond `money_max` is left to the engine (`bad` is then 1 + the bar).
"""

from __future__ import annotations

from array import array
from typing import Any

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.quiet import QuietRange, cap_lots, whole
else:
    from mia.kernels.quiet import QuietRange, cap_lots, whole

CODES = (
    "ok", "trading_disabled", "warm_up", "outside_session", "blackout_window", "macro_event", "calendar_expired", "daily_loss",
    "drawdown_stop", "cool_down", "order_rate", "position_max", "equity_share", "order_lots_max", "order_notional_max", "exposure_max",
    "spot_no_short", "dead_band", "min_notional", "below_lot",
)  # fmt: skip
VERBS = ("hold", "refused", "buy", "sell", "reduce", "flat")
PARAMETERS = (
    "unit", "derivative", "min_notional", "position_max", "order_max", "notional_max", "exposure_max", "share_num", "share_den",
    "daily_num", "daily_den", "drawdown_num", "drawdown_den", "rate_max", "cool_down", "band_num", "band_den", "stop_long_num",
    "stop_long_den", "stop_short_num", "stop_short_den", "take_long_num", "take_long_den", "take_short_num", "take_short_den",
    "fee_num", "fee_den", "half_spread", "at_close", "money_max", "from_ns",
)  # fmt: skip
FILL_FIELDS = ("bar", "ts_ns", "side", "lots", "price_ticks", "market_ticks", "mark_ticks", "fee_e8", "kind", "order")
ORDER_FIELDS = ("bar", "ts_ns", "side", "lots", "stop_ticks", "reduce_only", "kind")
MARKET_ORDER, STOP_ORDER, TAKE_ORDER = range(3)
_DAY_NS = cython.declare(cython.longlong, 86_400_000_000_000)
_MINUTE_NS = cython.declare(cython.longlong, 60_000_000_000)
_LOTS_MAX = cython.declare(cython.longlong, 1 << 31)  # of a position or a cap: products of lots and a fraction's parts stay below 2^63
_NEVER_NS = cython.declare(cython.longlong, 9_223_372_036_854_775_807)


@cython.final
@cython.cclass
class BarAccount:
    """Its state is readable between calls; shares are `..._num / ..._den`, money 1e-8.

    log: int64[m, 10], FILL_FIELDS of each fill; book: int64[k, 7], ORDER_FIELDS of each order, numbered from 1. fills, orders: how many
    there were, also beyond m and k. bad: 0, or 1 + the bar at which a number grew too large for this kernel. protected: lots that stop
    and take stand for, signed as the position; pending: lots of the market order on its way. turnover: notional of all fills.
    """

    def __init__(self, parameters: memoryview, cash_e8: int, log: Any, orders: Any) -> None:
        """parameters: int64, in the order of PARAMETERS; ValueError when they are too few or a share has no denominator."""
        if len(parameters) != len(PARAMETERS):
            raise ValueError(f"bar account: needs {len(PARAMETERS)} parameters, got {len(parameters)}")
        (
            self.unit,
            self.derivative,
            self.min_notional,
            self.position_max,
            self.order_max,
            self.notional_max,
            self.exposure_max,
            self.share_num,
            self.share_den,
            self.daily_num,
            self.daily_den,
            self.drawdown_num,
            self.drawdown_den,
            self.rate_max,
            self.cool_down,
            self.band_num,
            self.band_den,
            self.stop_long_num,
            self.stop_long_den,
            self.stop_short_num,
            self.stop_short_den,
            self.take_long_num,
            self.take_long_den,
            self.take_short_num,
            self.take_short_den,
            self.fee_num,
            self.fee_den,
            self.half_spread,
            self.at_close,
            self.money_max,
            self.from_ns,
        ) = parameters
        if min(self.unit, self.share_den, self.daily_den, self.drawdown_den, self.band_den, self.fee_den) <= 0:
            raise ValueError("bar account: a unit or a denominator is not above 0")
        self.lots = 0
        self.cost = 0
        self.equity = 0
        self.peak = 0
        self.day_start = 0
        self.is_daily_loss = 0
        self.is_tripped = 0
        self.cool_until = 0
        self.protected = 0
        self.stop = 0
        self.take = 0
        self.pending = 0
        self.pending_reduces = 0
        self.mark2 = 0
        self.is_started = 0
        self.ring_next = 0
        self.last_fill = 0
        self.trades = 0
        self.fees = 0
        self.pending_mark = 0
        self.pending_order = 0
        self.stop_order = 0
        self.cash = cash_e8
        self.day = -1
        self.ring: Any = memoryview(array("q", [-60_000_000_000] * max(1, self.rate_max)))
        self.log = log
        self.book = orders
        self.fills = 0
        self.orders = 0
        self.bad = 0
        self.turnover = 0.0
        self.range = QuietRange()
        self.price_low = 0
        self.price_high = 0
        self.until_ns = 0
        self.opening = 0
        self.value_max = self.money_max // self.unit
        self.day_end = 0
        self.loss_level = 0
        self.lots_price_max = 0
        self.bar_low = 1
        self.bar_high = 0
        self.floor = 0
        self.roof = 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _abs(self, x: cython.longlong) -> cython.longlong:
        return -x if x < 0 else x

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _part(self, money: cython.longlong, some: cython.longlong, lots: cython.longlong) -> cython.longlong:
        """money * some // lots, of which the product may be too large for a word."""
        each: cython.longlong = money // lots
        return each * some + (money - each * lots) * some // lots

    # --- mia.risk.state ---------------------------------------------------------------------------------------------
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _begin_day(self, ts: cython.longlong, equity: cython.longlong) -> cython.longlong:
        """A UTC day begins with this equity. loss_level: the largest equity that is its loss; of one that begins above 0."""
        self.day = ts // _DAY_NS
        self.day_end = (self.day + 1) * _DAY_NS
        self.day_start = equity
        if equity > 0:
            loss: cython.longlong = (self.daily_num * equity + self.daily_den - 1) // self.daily_den
            self.loss_level = equity - (loss if loss > 1 else 1)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _update(self, ts: cython.longlong) -> cython.longlong:
        """Mark the account at the last mark and let the stops see it."""
        equity: cython.longlong = self.cash
        if self.lots != 0:
            equity = 2 * self.cash + self.mark2 * self.lots * self.unit
            if self.derivative != 0:
                equity -= 2 * self.cost
            equity = equity >> 1  # rounds down, also below 0
        if self.is_started == 0:
            self.is_started = 1
            self.peak = equity
            self._begin_day(ts, equity)
        elif ts >= self.day_end:
            self._begin_day(ts, self.equity)
        self.equity = equity
        loss: cython.longlong = self.day_start - equity
        self.is_daily_loss = 1 if loss > 0 and not loss * self.daily_den < self.daily_num * self.day_start else 0
        if equity >= self.peak:
            self.peak = equity
            if equity > 0:
                return equity
        if self.is_tripped == 0 and not (self.peak - equity) * self.drawdown_den < self.drawdown_num * self.peak:
            self.is_tripped = 1
        return equity

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _note_order(
        self, bar: cython.Py_ssize_t, ts: cython.longlong, lots: cython.longlong, stop: cython.longlong, reduces: cython.longlong,
        kind: cython.longlong,
    ) -> cython.longlong:  # fmt: skip
        """An order of signed lots leaves; returns its number."""
        self.ring[self.ring_next] = ts
        self.ring_next = self.ring_next + 1 if self.ring_next + 1 < self.ring.shape[0] else 0
        if self.orders < self.book.shape[0]:
            self.book[self.orders, 0] = bar
            self.book[self.orders, 1] = ts
            self.book[self.orders, 2] = 1 if lots > 0 else -1
            self.book[self.orders, 3] = self._abs(lots)
            self.book[self.orders, 4] = stop
            self.book[self.orders, 5] = reduces
            self.book[self.orders, 6] = kind
        self.orders += 1
        return self.orders

    # --- mia.execution.protect -----------------------------------------------------------------------------------------
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _level(self, num: cython.longlong, den: cython.longlong, up: cython.bint) -> cython.longlong:
        """Average entry times num / den, to whole ticks; at least 1."""
        top: cython.longlong = self._abs(self.cost) * num
        bottom: cython.longlong = self._abs(self.lots) * self.unit * den
        level: cython.longlong = -(-top // bottom) if up else top // bottom
        return level if level > 1 else 1

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _protect(self, bar: cython.Py_ssize_t, ts: cython.longlong) -> cython.longlong:
        """Bring stop and take in line with the position after a fill."""
        if self.lots == 0:
            self.protected = 0
            self.stop = 0
            self.take = 0
            return 0
        if self.derivative == 0 and self._abs(self.lots) * self.last_fill * self.unit < self.min_notional:
            return 0  # dust: nothing could sell it
        if self.lots > 0:
            self.stop = self._level(self.stop_long_num, self.stop_long_den, True)
            self.take = self._level(self.take_long_num, self.take_long_den, False)
        else:
            self.stop = self._level(self.stop_short_num, self.stop_short_den, False)
            self.take = self._level(self.take_short_num, self.take_short_den, True)
        if self.protected == 0 or (self.protected > 0) != (self.lots > 0):
            self.stop_order = self._note_order(bar, ts, -self.lots, self.stop, 1, 1)
            self._note_order(bar, ts, -self.lots, self.take, 1, 2)
        self.protected = self.lots
        return 0

    # --- mia.execution.portfolio ------------------------------------------------------------------------------------------
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _fill(
        self,
        bar: cython.Py_ssize_t,
        ts: cython.longlong,
        side: cython.longlong,
        lots: cython.longlong,
        market: cython.longlong,
        kind: cython.longlong,
    ) -> cython.longlong:
        """Book lots at the market's price and the half spread, then what the engine does after a fill, protection apart."""
        price: cython.longlong = market + side * self.half_spread
        if price < 1:
            price = 1
        mark: cython.longlong = self.pending_mark if kind == 0 and self.pending_mark > 0 else market
        fee: cython.longlong = -(-price * lots * self.unit * self.fee_num // self.fee_den)
        held: cython.longlong = self._abs(self.lots)
        closing: cython.longlong = 0
        if self.lots * side < 0:
            closing = lots if lots < held else held
        opening: cython.longlong = lots - closing
        closing_fee: cython.longlong = self._part(fee, closing, lots)
        value: cython.longlong
        part: cython.longlong
        self.last_fill = price
        if closing > 0:
            value = side * price * closing * self.unit
            part = -side * self._part(-side * self.cost, closing, held)
            self.lots += side * closing
            self.cost -= part
            self.cash -= closing_fee + value + (part if self.derivative != 0 else 0)
            if self.lots == 0:
                self.trades += 1
        if opening > 0:
            value = side * price * opening * self.unit
            self.lots += side * opening
            self.cost += value
            self.cash -= fee - closing_fee + (0 if self.derivative != 0 else value)
        self.fees += fee
        self.turnover += price * lots * self.unit
        if self.fills < self.log.shape[0]:
            self.log[self.fills, 0] = bar
            self.log[self.fills, 1] = ts
            self.log[self.fills, 2] = side
            self.log[self.fills, 3] = lots
            self.log[self.fills, 4] = price
            self.log[self.fills, 5] = market
            self.log[self.fills, 6] = mark
            self.log[self.fills, 7] = fee
            self.log[self.fills, 8] = kind
            self.log[self.fills, 9] = self.pending_order if kind == 0 else self.stop_order + kind - 1
        self.fills += 1
        if kind != 0 and self.cool_down + ts > self.cool_until:
            self.cool_until = ts + self.cool_down
        self._update(ts)
        return 0

    # --- mia.sim.bar_venue -------------------------------------------------------------------------------------------------
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _beyond(self, is_stop: cython.bint, price: cython.longlong) -> cython.longlong:
        """Would a market at this price trigger the stop, or the take?"""
        if (self.protected < 0) == is_stop:  # a short's stop and a long's take wait above
            return 1 if price >= (self.stop if is_stop else self.take) else 0
        return 1 if price <= (self.stop if is_stop else self.take) else 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _protected(self, bar: cython.Py_ssize_t, ts: cython.longlong, is_stop: cython.bint, market: cython.longlong) -> cython.longlong:
        """The stop or the take fills, and its twin goes."""
        lots: cython.longlong = self._abs(self.lots)
        side: cython.longlong = -1 if self.protected > 0 else 1
        self.protected = 0
        self._fill(bar, ts, side, lots, market, 1 if is_stop else 2)
        self._protect(bar, ts)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _open(self, bar: cython.Py_ssize_t, ts: cython.longlong, price: cython.longlong) -> cython.longlong:
        """Everything that the open lies beyond, then the market order."""
        if self.protected != 0:
            if self._beyond(True, price):
                self._protected(bar, ts, True, price)
            elif self._beyond(False, price):
                self._protected(bar, ts, False, price)
        if self.pending != 0:
            self._market(bar, ts, price)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _market(self, bar: cython.Py_ssize_t, ts: cython.longlong, price: cython.longlong) -> cython.longlong:
        """The market order fills, never past flat where it only reduces or where there is nothing to be short of."""
        side: cython.longlong = 1 if self.pending > 0 else -1
        lots: cython.longlong = self._abs(self.pending)
        reducible: cython.longlong = -side * self.lots
        if (self.pending_reduces != 0 or (side < 0 and self.derivative == 0)) and lots > reducible:
            lots = reducible
        self.pending = 0
        if lots > 0:
            self._fill(bar, ts, side, lots, price, 0)
            self._protect(bar, ts)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _within(
        self, bar: cython.Py_ssize_t, ts: cython.longlong, high: cython.longlong, low: cython.longlong, close: cython.longlong
    ) -> cython.longlong:
        """The stop before the take, at its level."""
        is_short: cython.bint = self.protected < 0
        if self._beyond(True, high if is_short else low):
            self._protected(bar, ts, True, close if self._beyond(True, low if is_short else high) else self.stop)
        elif self._beyond(False, low if is_short else high):
            self._protected(bar, ts, False, self.take)
        return 0

    # --- mia.risk.review ------------------------------------------------------------------------------------------------------
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
            return window
        if self.is_daily_loss != 0:
            return 7
        if self.is_tripped != 0:
            return 8
        if ts < self.cool_until:
            return 9
        if limit > 0 and not ts - self.ring[self.ring_next] >= _MINUTE_NS:
            return 10
        return 0

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
        equity: cython.longlong = self.equity
        if (
            reach <= self.position_max
            and size - held <= self.order_max
            and (size - held) * value2 <= 2 * self.notional_max
            and reach * value2 <= 2 * self.exposure_max
            and reach * value2 * self.share_den <= 2 * equity * self.share_num
        ):
            return 0
        if equity < 0:
            equity = 0
        floor: cython.longlong = held if held > 0 else 0
        code = 0
        cap: cython.longlong
        k: cython.longlong
        for k in range(5):
            if k == 0:
                cap = self.position_max
            elif k == 1:
                cap = 2 * equity * self.share_num // (value2 * self.share_den)
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
        if target != 0 and self._abs(change) * self.band_den < self.band_num * cap:
            return code if code != 0 else 17
        is_flip: cython.bint = (target > 0) != (position > 0) and target != 0 and position != 0
        mid2: cython.longlong = self.mark2
        if not is_flip and self._abs(target) < self._abs(position):
            if self.derivative == 0 and self.min_notional != 0:
                if mid2 * self._abs(target) * self.unit < 2 * self.min_notional:
                    target = 0
                if mid2 * self._abs(target - position) * self.unit < 2 * self.min_notional:
                    return 18
            if self.derivative == 0:
                self.protected = 0  # on spot the resting stop and take hold the coins: canceled first
            self.pending_reduces = 1
        else:
            if mid2 * self._abs(change) * self.unit < 2 * self.min_notional:
                return 18
            self.pending_reduces = 0
        self.pending = target - position
        self.pending_mark = mid2 >> 1
        self.pending_order = self._note_order(bar, ts, self.pending, 0, self.pending_reduces, 0)
        if target == 0:
            return 5 * 64 + code
        if 0 < target < position or position < target < 0:
            return 4 * 64 + code
        return (2 if target > position else 3) * 64 + code

    # --- mia.engine.decide -------------------------------------------------------------------------------------------------------
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _decide(
        self, bar: cython.Py_ssize_t, ts: cython.longlong, signal: cython.double, enabled: cython.bint, window: cython.longlong
    ) -> cython.longlong:
        """One decision at a bar's close; returns verb * 64 + code. A signal that is NaN: a column is not warm."""
        equity: cython.longlong = self._update(ts)
        cap: cython.longlong = 0
        if equity > 0:
            cap = 2 * equity * self.share_num // (self.mark2 * self.unit * self.share_den)
            if cap > self.position_max:
                cap = self.position_max
            if cap > _LOTS_MAX:
                self.bad = 1 + bar
                return 0
        code: cython.longlong
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

    # --- bars on which nothing happens --------------------------------------------------------------------------------------------
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _find_quiet(self, ts: cython.longlong, signal: cython.double, window: cython.longlong) -> cython.bint:
        """Is the decision at this close certain to be a hold, and which closes from here on are then as certain?

        They end at a close outside price_low .. price_high, a time from until_ns on, another signal or window, and where a stop, a
        take, the daily loss or the drawdown strikes. opening: the code that refuses a larger position meanwhile.
        """
        if self.pending != 0 or self.is_started == 0 or self.day_start <= 0 or self.peak <= 0:
            return False
        enabled: cython.bint = ts > self.from_ns
        cold: cython.bint = signal != signal
        self.opening = self._refusal(ts, 1, enabled, cold, window)
        self.price_low = 1
        self.price_high = self.money_max
        self.until_ns = _NEVER_NS if enabled else self.from_ns + 1
        if ts < self.cool_until < self.until_ns:
            self.until_ns = self.cool_until
        if self.rate_max > 0:
            full: cython.longlong = self.ring[self.ring_next] + _MINUTE_NS
            if ts < full < self.until_ns:
                self.until_ns = full
        self.bar_low = 1
        self.bar_high = self.money_max
        if self.lots != 0:
            self.lots_price_max = self.value_max // self._abs(self.lots)
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
                self.cash, signal if signal > 0.0 else -signal, self.money_max, self.unit, self.share_num, self.share_den, self.position_max
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
        cap: cython.longlong = cap_lots(equity, price, self.unit, self.share_num, self.share_den, self.position_max)
        target: cython.longlong = whole(signal * cap)
        if self.lots == 0 and target < 0 and self.derivative == 0:
            return 16
        if target == self.lots:
            return 19 if cap == 0 and target == 0 else 0
        if self._abs(target) > self._abs(self.lots) and self.opening != 0:
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
            self.floor = peak - (self.drawdown_num * peak + self.drawdown_den - 1) // self.drawdown_den
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
    ) -> cython.longlong:
        """One bar in full; returns the verdict at its close, or -1 with `bad` set."""
        held: cython.longlong = self._abs(self.lots)
        if low < 1 or high > self.money_max or self._abs(self.cash) > self.money_max or held > _LOTS_MAX or held * high > self.value_max:
            self.bad = 1 + j
            return -1
        if self.pending != 0 or self.protected != 0:
            self._open(j, open_ns, opened)
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
        turns: cython.longlong[::1],
        start: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        equity: cython.longlong[::1],
        cash: cython.longlong[::1],
        lots: cython.longlong[::1],
        verdicts: cython.longlong[::1],
    ) -> int:
        """Bars start .. stop - 1. prices: open, high, low, close in ticks, int64[n, 4]; signals: NaN where no decision can be made.

        windows: number of the code that forbids openings at each close, 0 for none. turns: for each bar the first one after it that closes
        on another UTC day or under another window, n when there is none. Times must rise, and a bar's high and low hold its open and close.
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
            if self._abs(self.cash) <= self.money_max and self._find_quiet(close_ns[j], signal, windows[j]):
                first = j
                cold = signal != signal
                price_low = self.price_low
                price_high = self.price_high
                bar_high = self.bar_high
                bar_low = self.bar_low
                base = self.cash - (self.cost if self.derivative != 0 and self.lots != 0 else 0)
                slope = self.lots * self.unit
                now = self.equity
                peak = self.peak
                while j < stop and windows[j] == windows[first] and self._is_on(close_ns[j], prices[j, 1], prices[j, 2], prices[j, 3]):
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
            verdict = self._step(j, open_ns[j], close_ns[j], prices[j, 0], prices[j, 1], prices[j, 2], prices[j, 3], signals[j], windows[j])
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
