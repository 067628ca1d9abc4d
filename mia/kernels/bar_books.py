"""The account itself: what is held, what the stops of the day and of drawdown say, which orders left, and what protects the position.

The lowest part of `mia.kernels.bar_account`, which says how the parts belong together: here mia.risk.state, mia.execution.portfolio
and mia.execution.protect.
"""

from __future__ import annotations

from array import array
from typing import Any

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.exact import mul_div
else:
    from mia.kernels.exact import mul_div

PARAMETERS = (
    "unit", "derivative", "min_notional", "position_max", "order_max", "notional_max", "exposure_max", "share_num", "share_den",
    "daily_num", "daily_den", "drawdown_num", "drawdown_den", "rate_max", "cool_down", "band_num", "band_den", "stop_long_num",
    "stop_long_den", "stop_short_num", "stop_short_den", "take_long_num", "take_long_den", "take_short_num", "take_short_den",
    "fee_num", "fee_den", "half_spread", "at_close", "money_max", "from_ns",
)  # fmt: skip
FILL_FIELDS = ("bar", "ts_ns", "side", "lots", "price_ticks", "market_mid2", "mark_mid2", "fee_e8", "kind", "order")
ORDER_FIELDS = ("bar", "ts_ns", "side", "lots", "stop_ticks", "reduce_only", "kind")
MARKET_ORDER, STOP_ORDER, TAKE_ORDER, EXIT_ORDER = range(4)
_MARKET = cython.declare(cython.longlong, 0)
_STOP = cython.declare(cython.longlong, 1)
_TAKE = cython.declare(cython.longlong, 2)
_EXIT = cython.declare(cython.longlong, 3)
_DAY_NS = cython.declare(cython.longlong, 86_400_000_000_000)
_HALF = cython.declare(cython.longlong, 1 << 31)


@cython.cclass
class BarBooks:
    """Its state is readable between calls; shares are `..._num / ..._den`, money 1e-8, `..._mid2` doubled prices in ticks.

    log: int64[m, 10], FILL_FIELDS of each fill; book: int64[k, 7], ORDER_FIELDS of each order, numbered from 1. fills, orders: how many
    there were, also beyond m and k. bad: 0, or 1 + the bar at which a number grew too large for this kernel. protected: lots that stop
    and take stand for, signed as the position; pending: lots of the market order on its way. turnover: notional of all fills.
    plain: products of up to so much and a part of any share fit a word.
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
        shares = [abs(x) for name, x in zip(PARAMETERS, parameters, strict=True) if name.endswith(("_num", "_den"))]
        self.plain = (1 << 62) // max(shares)
        self.value_max = self.money_max // self.unit
        self.cash = cash_e8
        self.lots = 0
        self.cost = 0
        self.equity = 0
        self.mark2 = 0
        self.is_started = 0
        self.peak = 0
        self.level_peak = -1
        self.trip_level = 0
        self.is_tripped = 0
        self.day = -1
        self.day_end = 0
        self.day_start = 0
        self.loss_level = 0
        self.is_daily_loss = 0
        self.cool_until = 0
        self.ring: Any = memoryview(array("q", [-60_000_000_000] * max(1, self.rate_max)))
        self.ring_next = 0
        self.protected = 0
        self.stop = 0
        self.take = 0
        self.stop_order = 0
        self.pending = 0
        self.pending_reduces = 0
        self.pending_mark2 = 0
        self.pending_order = 0
        self.last_fill = 0
        self.trades = 0
        self.fees = 0
        self.turnover = 0.0
        self.log = log
        self.fills = 0
        self.book = orders
        self.orders = 0
        self.bad = 0

    # --- mia.risk.state ---------------------------------------------------------------------------------------------
    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _begin_day(self, ts: cython.longlong, equity: cython.longlong) -> cython.longlong:
        """A UTC day begins with this equity. loss_level: the largest equity that is its loss."""
        self.day = ts // _DAY_NS
        self.day_end = (self.day + 1) * _DAY_NS
        self.day_start = equity
        loss: cython.longlong = 1
        if equity > 0:
            if equity <= self.plain:
                loss = (self.daily_num * equity + self.daily_den - 1) // self.daily_den
            else:
                loss = mul_div(equity, self.daily_num, self.daily_den, self.daily_den - 1)
            if loss < 1:
                loss = 1
        self.loss_level = equity - loss
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def _trip_level(self, peak: cython.longlong) -> cython.longlong:
        """The largest equity that trips the drawdown stop after this peak."""
        if peak <= 0:
            return peak
        if peak <= self.plain:
            return peak - (self.drawdown_num * peak + self.drawdown_den - 1) // self.drawdown_den
        return peak - mul_div(peak, self.drawdown_num, self.drawdown_den, self.drawdown_den - 1)

    @cython.final
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
        self.is_daily_loss = 1 if equity <= self.loss_level else 0
        if equity >= self.peak:
            self.peak = equity
            if equity > 0:
                return 0
        if self.is_tripped == 0:
            if self.level_peak != self.peak:
                self.level_peak = self.peak
                self.trip_level = self._trip_level(self.peak)
            if equity <= self.trip_level:
                self.is_tripped = 1
        return 0

    @cython.final
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
            self.book[self.orders, 3] = lots if lots > 0 else -lots
            self.book[self.orders, 4] = stop
            self.book[self.orders, 5] = reduces
            self.book[self.orders, 6] = kind
        self.orders += 1
        return self.orders

    # --- mia.execution.protect -----------------------------------------------------------------------------------------
    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _level(self, num: cython.longlong, den: cython.longlong, up: cython.bint) -> cython.longlong:
        """Average entry times num / den, to whole ticks; at least 1. Rounded twice to the same side it is as if rounded once."""
        if num <= 0:
            return 1
        top: cython.longlong = self.cost if self.cost > 0 else -self.cost
        bottom: cython.longlong = (self.lots if self.lots > 0 else -self.lots) * self.unit
        if top <= self.plain and bottom <= self.plain:
            top *= num
            bottom *= den
        else:
            top = mul_div(top, num, den, den - 1 if up else 0)
        level: cython.longlong = -(-top // bottom) if up else top // bottom
        return level if level > 1 else 1

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _protect(self, bar: cython.Py_ssize_t, ts: cython.longlong) -> cython.longlong:
        """Bring stop and take in line with the position after a fill."""
        if self.lots == 0:
            self.protected = 0
            self.stop = 0
            self.take = 0
            return 0
        held: cython.longlong = self.lots if self.lots > 0 else -self.lots
        if self.derivative == 0 and held * self.last_fill * self.unit < self.min_notional:
            return 0  # dust: nothing could sell it
        if self.lots > 0:
            self.stop = self._level(self.stop_long_num, self.stop_long_den, True)
            self.take = self._level(self.take_long_num, self.take_long_den, False)
        else:
            self.stop = self._level(self.stop_short_num, self.stop_short_den, False)
            self.take = self._level(self.take_short_num, self.take_short_den, True)
        if self.protected == 0 or (self.protected > 0) != (self.lots > 0):
            self.stop_order = self._note_order(bar, ts, -self.lots, self.stop, 1, _STOP)
            self._note_order(bar, ts, -self.lots, self.take, 1, _TAKE)
        self.protected = self.lots
        return 0

    # --- mia.execution.portfolio ------------------------------------------------------------------------------------------
    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def _part(self, money: cython.longlong, some: cython.longlong, lots: cython.longlong) -> cython.longlong:
        """money * some // lots, of which the product may be too large for a word; some at most lots."""
        if some == lots:
            return money
        if some == 0:
            return 0
        each: cython.longlong = money // lots
        rest: cython.longlong = money - each * lots
        return each * some + (rest * some // lots if lots < _HALF else mul_div(rest, some, lots, 0))

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def _fee(self, value: cython.longlong) -> cython.longlong:
        """Of a fill of this notional, rounded up; below 0: a rebate."""
        if value <= self.plain:
            return -(-value * self.fee_num // self.fee_den)
        if self.fee_num < 0:
            return -mul_div(value, -self.fee_num, self.fee_den, 0)
        return mul_div(value, self.fee_num, self.fee_den, self.fee_den - 1)

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _fill(
        self,
        bar: cython.Py_ssize_t,
        ts: cython.longlong,
        side: cython.longlong,
        lots: cython.longlong,
        market2: cython.longlong,
        kind: cython.longlong,
    ) -> cython.longlong:
        """Book lots at the market's doubled price and the half spread, then what the engine does after a fill, protection apart."""
        is_asked: cython.bint = kind in (_MARKET, _EXIT)
        price: cython.longlong = -(-market2 // 2) + self.half_spread if side > 0 else market2 // 2 - self.half_spread
        if price < 1:
            price = 1
        mark2: cython.longlong = self.pending_mark2 if is_asked else 0  # of a stop or a take nothing was decided then
        notional: cython.longlong = price * lots * self.unit
        fee: cython.longlong = self._fee(notional)
        held: cython.longlong = self.lots if self.lots > 0 else -self.lots
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
        self.turnover += notional
        if self.fills < self.log.shape[0]:
            self.log[self.fills, 0] = bar
            self.log[self.fills, 1] = ts
            self.log[self.fills, 2] = side
            self.log[self.fills, 3] = lots
            self.log[self.fills, 4] = price
            self.log[self.fills, 5] = market2
            self.log[self.fills, 6] = mark2
            self.log[self.fills, 7] = fee
            self.log[self.fills, 8] = kind
            self.log[self.fills, 9] = self.pending_order if is_asked else self.stop_order + kind - 1
        self.fills += 1
        if not is_asked and self.cool_down + ts > self.cool_until:
            self.cool_until = ts + self.cool_down
        return self._update(ts)
