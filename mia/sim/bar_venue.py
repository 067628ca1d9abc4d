"""The venue of bar mode: what would have happened to our orders between one bar's close and the next, by stated rules.

Market orders fill at the next bar's open. Stops and takes that the open lies beyond fill at the open: a gap fills at the gap; a limit fills
at its own price.
Within the bar the path is unknown, so the worse one happens: of stop and take in one bar the stop, and an order that came to be within
a bar meets the bar's worst price, but a better one only where the close proves it. Owns our orders, positions and balances; it has no
clock and no randomness. One call of `open_bars`, then `pop` until None (what is sent in between is looked at again), then the bars' end.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from mia.domain.effects import AnyEffect, CancelOrder, QueryOrder, ReplaceOrder, SubmitOrder
from mia.domain.events import (
    BUY,
    SELL,
    CancelRejected,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    ReplaceRejected,
)
from mia.domain.instruments import Instrument
from mia.ports import NEVER_NS
from mia.sim.account import Rates, apply_fill
from mia.sim.desk import TRIGGERED
from mia.sim.state import VenueOrder, VenuePosition, VenueReport


class BarPrices(NamedTuple):
    """One bar of one instrument, in ticks and lots. open_ns: from when on its open could be traded; close_ns: its end."""

    instrument: int
    open_ns: int
    close_ns: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int


class FillNote(NamedTuple):
    """What a fill is to be compared with, in ticks: the mark when it was decided, the market's price when it filled, the price paid."""

    fill_id: str
    client_order_id: str
    ts_ns: int
    instrument: int
    side: int
    lots: int
    mark_ticks: int
    market_ticks: int
    price_ticks: int
    spread_ticks: int  # of the difference of price and market; the rest is impact
    fee_e8: int


class Pricing(Protocol):
    """What a market order pays beyond the market's price."""

    def taker(self, bar: BarPrices, side: int, lots: int, market_ticks: int) -> tuple[int, int]:
        """(price_ticks, spread_ticks): what is paid for lots at market_ticks, and how much of it is half the spread."""
        ...


class HalfSpread:
    """Pays a fixed half spread in ticks and nothing else."""

    def __init__(self, ticks: int) -> None:
        self._ticks = ticks

    def taker(self, bar: BarPrices, side: int, lots: int, market_ticks: int) -> tuple[int, int]:
        """See Pricing."""
        return max(1, market_ticks + side * self._ticks), self._ticks


class _Desk:
    """One instrument."""

    __slots__ = ("bar", "is_open_done", "mark_ticks", "orders", "position", "rates")

    def __init__(self, instrument: int, definition: Instrument) -> None:
        self.rates = Rates(instrument, definition)
        self.position = VenuePosition()
        self.orders: dict[str, _Resting] = {}
        self.bar: BarPrices | None = None
        self.is_open_done = True
        self.mark_ticks = 0  # the last close


class _Resting:
    """An open order, the mark when it was sent, and whether it was there before the bar's own path began."""

    __slots__ = ("mark_ticks", "order", "since_open")

    def __init__(self, order: VenueOrder, mark_ticks: int, since_open: bool) -> None:
        self.order = order
        self.mark_ticks = mark_ticks
        self.since_open = since_open


class BarVenue:
    """The simulated `mia.ports.Venue` of markets that are known by their bars."""

    is_simulated: Final = True
    active: Final = True

    def __init__(self, instruments: Mapping[int, Instrument], pricing: Pricing, *, at_close: bool = False) -> None:
        """at_close: market orders fill at the close that they were decided on (as vectorised backtests do), not at the next open."""
        self._desks = {i: _Desk(i, instruments[i]) for i in sorted(instruments)}
        self._pricing = pricing
        self._at_close = at_close
        self._reports: list[tuple[int, int, VenueReport]] = []
        self._number = self._orders = self._fills = 0
        self._now_ns = 0
        self._is_inside = False  # between the open and the close of a bar
        self.notes: list[FillNote] = []

    @property
    def next_due_ns(self) -> int:
        """Of the next report that is ready."""
        return self._reports[0][0] if self._reports else NEVER_NS

    # --- orders -----------------------------------------------------------------------------------------------------
    def send(self, effects: Sequence[AnyEffect], now_ns: int) -> None:
        """Take requests. They are with the venue at once, and a market order waits for the next open."""
        for effect in effects:
            kind = type(effect)
            if kind is SubmitOrder:
                self._submit(effect, now_ns)  # type: ignore[arg-type]
            elif kind is CancelOrder:
                self._cancel(effect, now_ns)  # type: ignore[arg-type]
            elif kind is ReplaceOrder:
                self._replace(effect, now_ns)  # type: ignore[arg-type]
            elif kind is QueryOrder:
                self._query(effect, now_ns)  # type: ignore[arg-type]

    def _submit(self, r: SubmitOrder, now_ns: int) -> None:
        desk = self._desks[r.instrument]
        self._orders += 1
        order = VenueOrder(
            r.client_order_id, f"B{self._orders}", r.instrument, r.side, str(r.order_type), r.qty_lots, r.price_ticks, r.stop_ticks,
            r.reduce_only, r.post_only, r.group,
        )  # fmt: skip
        if r.qty_lots <= 0:
            self._report(now_ns, OrderRejected, r.client_order_id, "bad_qty", f"{r.qty_lots} lots")
            return
        self._report(now_ns, OrderAccepted, r.client_order_id, order.venue_order_id)
        desk.orders[r.client_order_id] = _Resting(order, desk.mark_ticks, not self._is_inside)
        if self._at_close and order.order_type == "market" and not self._is_inside and desk.bar is not None:
            self._take(desk, desk.orders[r.client_order_id], desk.bar, desk.bar.close_ticks, now_ns)

    def _cancel(self, r: CancelOrder, now_ns: int) -> None:
        if self._desks[r.instrument].orders.pop(r.client_order_id, None) is None:
            self._report(now_ns, CancelRejected, r.client_order_id, "unknown_order")
        else:
            self._report(now_ns, OrderCanceled, r.client_order_id, "requested")

    def _replace(self, r: ReplaceOrder, now_ns: int) -> None:
        resting = self._desks[r.instrument].orders.get(r.client_order_id)
        if resting is None:
            self._report(now_ns, ReplaceRejected, r.client_order_id, "unknown_order")
            return
        order = resting.order
        order.qty_lots = r.qty_lots or order.qty_lots
        order.price_ticks = r.price_ticks or order.price_ticks
        order.stop_ticks = r.stop_ticks or order.stop_ticks
        self._report(now_ns, OrderReplaced, order.client_order_id, order.price_ticks, order.stop_ticks, order.qty_lots)

    def _query(self, r: QueryOrder, now_ns: int) -> None:
        resting = self._desks[r.instrument].orders.get(r.client_order_id)
        if resting is not None:
            self._report(now_ns, OrderAccepted, r.client_order_id, resting.order.venue_order_id)

    # --- bars -------------------------------------------------------------------------------------------------------
    def open_bars(self, bars: Iterable[BarPrices]) -> None:
        """Bars that end at one time begin: the market opens at their opens."""
        for bar in bars:
            desk = self._desks[bar.instrument]
            desk.bar = bar
            desk.is_open_done = False
        self._is_inside = False

    def close_bars(self) -> None:
        """The bars are over: their closes are the marks of what is decided next."""
        for desk in self._desks.values():
            if desk.bar is not None:
                desk.mark_ticks = desk.bar.close_ticks
        self._is_inside = False

    def pop(self, until_ns: int, seq: int) -> VenueReport | None:
        """The next report at or before until_ns as event number seq; None when nothing more happens in these bars."""
        while True:
            if self._reports:
                if self._reports[0][0] > until_ns:
                    return None
                return msgspec.structs.replace(heapq.heappop(self._reports)[2], seq=seq)
            if not self._go_on():
                return None

    def _go_on(self) -> bool:
        """Look at the orders once more; False when nothing happens to any of them."""
        for desk in self._desks.values():
            if desk.orders and desk.bar is not None and not desk.is_open_done:
                desk.is_open_done = True
                if self._at_open(desk, desk.bar):
                    return True
        self._is_inside = True
        return any(desk.orders and desk.bar is not None and self._within(desk, desk.bar) for desk in self._desks.values())

    def _at_open(self, desk: _Desk, bar: BarPrices) -> bool:
        """Market orders, and everything that the open lies beyond."""
        before = self._number
        for resting in list(desk.orders.values()):
            order = resting.order
            if order.client_order_id not in desk.orders:
                continue  # its group was done
            if order.order_type == "market" or (order.order_type in TRIGGERED and _is_beyond(order, bar.open_ticks)):
                self._take(desk, resting, bar, bar.open_ticks, bar.open_ns)
            elif order.order_type == "limit" and _is_beyond(order, bar.open_ticks):
                self._make(desk, resting, order.price_ticks, bar.open_ns)  # it stood there: no gift
        return self._number > before

    def _within(self, desk: _Desk, bar: BarPrices) -> bool:
        """The first order that the bar's path reaches, stops before all others."""
        ts = max(bar.close_ns - 1, bar.open_ns)  # nobody knows when; known by the close
        for kind in ("stop", "limit", "take"):
            for resting in list(desk.orders.values()):
                order = resting.order
                if order.order_type != kind:
                    continue
                if kind == "stop":
                    worst = bar.high_ticks if order.side == BUY else bar.low_ticks
                    if _is_beyond(order, worst):
                        is_all_beyond = _is_beyond(order, bar.low_ticks if order.side == BUY else bar.high_ticks)
                        self._take(desk, resting, bar, bar.close_ticks if is_all_beyond else order.stop_ticks, ts)
                        return True
                    continue
                best = bar.low_ticks if order.side == BUY else bar.high_ticks
                if not _is_beyond(order, best if resting.since_open else bar.close_ticks):
                    continue
                if kind == "take":
                    self._take(desk, resting, bar, order.stop_ticks, ts)
                else:
                    self._make(desk, resting, order.price_ticks, ts)
                return True
        return False

    # --- fills ------------------------------------------------------------------------------------------------------
    def _take(self, desk: _Desk, resting: _Resting, bar: BarPrices, market_ticks: int, now_ns: int) -> None:
        order = resting.order
        lots = self._allowed(desk, order)
        if lots <= 0:
            self._expire(desk, order, now_ns)
            return
        price, spread = self._pricing.taker(bar, order.side, lots, market_ticks)
        self._fill(desk, resting, lots, market_ticks, price, spread, False, now_ns)

    def _make(self, desk: _Desk, resting: _Resting, price_ticks: int, now_ns: int) -> None:
        lots = self._allowed(desk, resting.order)
        if lots <= 0:
            self._expire(desk, resting.order, now_ns)
            return
        self._fill(desk, resting, lots, price_ticks, price_ticks, 0, True, now_ns)

    @staticmethod
    def _allowed(desk: _Desk, order: VenueOrder) -> int:
        """Never past flat where the order only reduces, or where there is nothing to be short of."""
        if order.reduce_only or (order.side == SELL and not desk.rates.terms.is_derivative):
            return min(order.open_lots, max(0, -order.side * desk.position.lots))
        return order.open_lots

    def _fill(
        self, desk: _Desk, resting: _Resting, lots: int, market_ticks: int, price_ticks: int, spread_ticks: int, is_maker: bool, now_ns: int
    ) -> None:
        order, rates = resting.order, desk.rates
        fee = rates.fee_e8(rates.value_e8(price_ticks, lots), is_maker)
        apply_fill(desk.position, rates, order.side, price_ticks, lots)
        order.filled_lots += lots
        self._fills += 1
        fill_id = f"F{self._fills}"
        fields = (order.client_order_id, fill_id, order.instrument, order.side, price_ticks, lots, fee, is_maker)
        self._report(now_ns, OrderFilled, *fields)
        mark = resting.mark_ticks or market_ticks
        if order.order_type != "market":
            mark = market_ticks  # nothing was decided: the order stood there
        note = (order.instrument, order.side, lots, mark, market_ticks, price_ticks, spread_ticks, fee)
        self.notes.append(FillNote(fill_id, order.client_order_id, now_ns, *note))
        if order.open_lots > 0:
            self._expire(desk, order, now_ns)
        desk.orders.pop(order.client_order_id, None)
        if order.group:
            for other in [o.order for o in desk.orders.values() if o.order.group == order.group]:
                del desk.orders[other.client_order_id]
                self._report(now_ns, OrderCanceled, other.client_order_id, "group")

    def _expire(self, desk: _Desk, order: VenueOrder, now_ns: int) -> None:
        desk.orders.pop(order.client_order_id, None)
        self._report(now_ns, OrderExpired, order.client_order_id, "reduce_only" if order.reduce_only else "insufficient_balance")

    def _report(self, now_ns: int, make: Any, *fields: object) -> None:
        self._number += 1
        if now_ns < self._now_ns:
            now_ns = self._now_ns
        self._now_ns = now_ns
        heapq.heappush(self._reports, (now_ns, self._number, make(0, now_ns, now_ns, *fields)))


def _is_beyond(order: VenueOrder, price_ticks: int) -> bool:
    """Would a market at this price fill (limit) or trigger (stop, take) the order?"""
    level = order.price_ticks if order.order_type == "limit" else order.stop_ticks
    is_from_below = (order.side == BUY) == (order.order_type == "stop")  # a buy stop, a sell limit, a sell take
    return price_ticks >= level if is_from_below else price_ticks <= level
