"""The account of the demo exchange and its matching: balances, open orders and fills against the simulated market.

Uses the simulated venue's desk and liquidity (queue places, what we took, triggers); unlike mia.sim.venue it answers at once,
locks balances and charges buys in the base, as the spot exchange does. Nothing of it is said before `commit` wrote it down.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mia.domain.errors import DataError
from mia.domain.events import BUY, SELL
from mia.domain.instruments import MONEY_SCALE, Instrument
from mia.features.columns import BOOK_DELTA as DELTA
from mia.features.columns import TRADE
from mia.sim.account import Rates
from mia.sim.desk import Desk, is_triggered
from mia.sim.liquidity import Liquidity
from mia.sim.servers.errors import new_order_rejected
from mia.sim.servers.limits import Limits
from mia.sim.servers.market import DemoMarket, Row
from mia.sim.servers.orders import DemoOrder, Fill, Speaker
from mia.sim.servers.state_files import RecordFile
from mia.sim.servers.wire import Texts, text8
from mia.sim.settings import DemoSettings
from mia.sim.state import InstrumentState, LastQuote, VenuePosition

_REWRITE_BYTES: Final = 8_000_000
_FILLS_KEPT: Final = 10_000
_BALANCE: Final = "Account has insufficient balance for requested action."


class Balance(msgspec.Struct, array_like=True):
    """One asset, in 1e-8."""

    free: int = 0
    locked: int = 0


class _Change(msgspec.Struct, array_like=True):
    """One record: what a step changed."""

    orders: list[DemoOrder]
    fills: list[Fill]
    base: Balance
    quote: Balance
    counters: tuple[int, int, int]


class Exchange:
    """One account on one symbol. Every method returns at once; times are microseconds of the server's clock."""

    def __init__(self, market: DemoMarket, instrument: Instrument, demo: DemoSettings, limits: Limits, log: RecordFile | None) -> None:
        self.market = market
        self.instrument = instrument
        self.symbol = instrument.symbol
        self.quote_asset = instrument.quote_currency
        self.base_asset = instrument.symbol.removesuffix(instrument.quote_currency) or instrument.symbol
        self.texts = Texts(instrument)
        self.unit_e8 = instrument.unit_e8
        self.lot_e8 = self.texts.lot_e8
        self.speak = Speaker(self.symbol, self.texts, self.unit_e8)
        self.base = Balance(int(demo.base_balance * MONEY_SCALE))
        self.quote = Balance(int(demo.quote_balance * MONEY_SCALE))
        self.orders: dict[int, DemoOrder] = {}  # all that are known, oldest first
        self.open: dict[int, DemoOrder] = {}  # in time priority
        self.fills: list[Fill] = []
        self.events: list[dict[str, Any]] = []  # for the user's streams, since they were last taken
        self.update_us = 0
        self._limits = limits
        self._kept = demo.closed_orders_kept
        self._log = log
        self._last_order = self._last_fill = self._last_execution = 0
        self._changed: dict[int, DemoOrder] = {}
        self._new_fills: list[Fill] = []
        self._moved = False
        rates = Rates(0, instrument)
        self._maker = instrument.maker_fee.as_integer_ratio()
        self._taker = instrument.taker_fee.as_integer_ratio()
        liquidity = Liquidity(market.book, InstrumentState(VenuePosition(), LastQuote(), {}), demo.slip_ticks)
        self.desk = Desk(0, rates, liquidity)
        self._load()

    # --- durability ------------------------------------------------------------------------------------------------
    def commit(self) -> None:
        """Write down what changed; only then may it be said."""
        if not (self._changed or self._new_fills or self._moved):
            return
        if self._moved:
            self.events.append(self._position_event())
        if self._log is not None:
            record = _Change(list(self._changed.values()), self._new_fills, self.base, self.quote, self._counters())
            self._log.append(msgspec.msgpack.encode(record))
            if self._log.size > _REWRITE_BYTES:
                self._rewrite()
        self._changed = {}
        self._new_fills = []
        self._moved = False

    def _counters(self) -> tuple[int, int, int]:
        return self._last_order, self._last_fill, self._last_execution

    def _rewrite(self) -> None:
        assert self._log is not None
        whole = _Change(list(self.orders.values()), self.fills, self.base, self.quote, self._counters())
        self._log.rewrite([msgspec.msgpack.encode(whole)])

    def _load(self) -> None:
        if self._log is None:
            return
        decoder = msgspec.msgpack.Decoder(_Change)
        records = self._log.read(is_precious=True)
        for record in records:
            try:
                change = decoder.decode(record)
            except msgspec.MsgspecError as e:
                raise DataError(f"the state directory's account is of another version: use another --state ({e})") from e
            for order in change.orders:
                self.orders[order.order_id] = order
            self.fills += change.fills
            self.base, self.quote = change.base, change.quote
            self._last_order, self._last_fill, self._last_execution = change.counters
        self.open = {o.order_id: o for o in sorted(self.orders.values(), key=lambda o: o.working_us or o.time_us) if o.is_open}
        self._forget()
        self.desk.refresh(self.open.values())
        if records:
            self._rewrite()

    def _forget(self) -> None:
        """Drop the oldest closed orders and fills beyond what is kept."""
        excess = len(self.orders) - len(self.open) - self._kept
        if excess > self._kept // 4:
            for order_id in [i for i, o in self.orders.items() if not o.is_open][:excess]:
                del self.orders[order_id]
        if len(self.fills) > 2 * _FILLS_KEPT:
            del self.fills[:_FILLS_KEPT]

    # --- reading ---------------------------------------------------------------------------------------------------
    def find(self, order_id: int | None, client_id: str | None) -> DemoOrder | None:
        """By id, and by the client's id when given: the newest that has it."""
        if order_id is not None:
            order = self.orders.get(order_id)
            return order if order is None or client_id is None or order.client_order_id == client_id else None
        for orders in (self.open, self.orders):
            for order in reversed(orders.values()):
                if order.client_order_id == client_id:
                    return order
        return None

    @property
    def last_execution(self) -> int:
        """Id of the newest execution report."""
        return self._last_execution

    def take_events(self) -> list[dict[str, Any]]:
        """User events since the last call, oldest first."""
        events, self.events = self.events, []
        return events

    def balances(self) -> list[tuple[str, Balance]]:
        """(asset, balance), base first."""
        return [(self.base_asset, self.base), (self.quote_asset, self.quote)]

    def _position_event(self) -> dict[str, Any]:
        rows = [{"a": asset, "f": text8(b.free), "l": text8(b.locked)} for asset, b in self.balances()]
        return {"e": "outboundAccountPosition", "E": self.update_us, "u": self.update_us, "B": rows}

    # --- new orders ------------------------------------------------------------------------------------------------
    def check(self, order: DemoOrder) -> None:
        """Whether the matching engine would take it; ApiError -2010 when not. Changes nothing."""
        if any(o.client_order_id == order.client_order_id for o in self.open.values()):
            raise new_order_rejected("Duplicate order sent.")
        bid, ask = self.desk.liquidity.touch()
        if order.waits and self._would_trigger(order, bid, ask):
            raise new_order_rejected("Stop price would trigger immediately.")
        if order.type == "LIMIT_MAKER" and self._crosses(order, bid, ask):
            raise new_order_rejected("Order would immediately match and take.")
        balance = self.quote if order.side == BUY else self.base
        if self._need_e8(order) > balance.free:
            raise new_order_rejected(_BALANCE)

    def place(self, order: DemoOrder, now_us: int) -> list[Fill]:
        """Take a new order (its order_id is set here); returns what it filled at once. ApiError -2010 when refused."""
        self.check(order)
        self._last_order += 1
        order.order_id = self._last_order
        order.time_us = order.update_us = now_us
        order.venue_order_id = str(order.order_id)
        if not order.waits:
            order.working_us = now_us
        self.orders[order.order_id] = self.open[order.order_id] = order
        if order.order_type != "market":
            self._lock(order, self._need_e8(order))
        self._report(order, "NEW", now_us)
        n = len(self._new_fills)
        if not order.waits:
            self._work(order, now_us)
        self.desk.refresh(self.open.values())
        self._forget()
        return self._new_fills[n:]

    def _need_e8(self, order: DemoOrder) -> int:
        """What the order locks or, at market, spends."""
        if order.side == BUY and order.order_type == "market":
            return sum(p * q for p, q in self._plan(order)) * self.unit_e8
        return self._promised_e8(order)

    def _promised_e8(self, order: DemoOrder) -> int:
        """What the open rest of an order locks: base for a sell, quote at its price or trigger for a buy."""
        if order.side == SELL:
            return order.open_lots * self.lot_e8
        return (order.price_ticks or order.stop_ticks) * order.open_lots * self.unit_e8

    def _plan(self, order: DemoOrder) -> list[tuple[int, int]]:
        return self.desk.liquidity.plan(order.side, order.open_lots, order.price_ticks if order.order_type == "limit" else 0)

    def lots_for_quote(self, side: int, quote_e8: int) -> int:
        """Lots that a market order gets for an amount of quote currency."""
        lots = 0
        for price, available in self.desk.liquidity.plan(side, 1 << 40, 0):
            part = min(available, quote_e8 // (price * self.unit_e8))
            lots += part
            quote_e8 -= part * price * self.unit_e8
            if part < available:
                break
        return lots

    @staticmethod
    def _crosses(order: DemoOrder, bid: int, ask: int) -> bool:
        return (0 < ask <= order.price_ticks) if order.side == BUY else bid >= order.price_ticks

    @staticmethod
    def _would_trigger(order: DemoOrder, bid: int, ask: int) -> bool:
        return is_triggered(order, bid, ask)

    def _work(self, order: DemoOrder, now_us: int) -> None:
        """An order that arrives at the book: take, then rest or end by its time in force."""
        plan = self._plan(order)
        if order.time_in_force == "FOK" and order.type != "MARKET" and sum(q for _, q in plan) < order.open_lots:
            self._end(order, "expired", now_us, reason="UNFILLED_FOK_ORDER_EXPIRED")
            return
        for price, lots in plan:
            part = min(lots, order.open_lots)
            self.desk.liquidity.take(order.side, price, part)
            self._fill(order, price, part, False, now_us)
        if not order.is_open:
            return
        if order.order_type == "market":
            self._end(order, "expired", now_us, reason="INSUFFICIENT_LIQUIDITY")
        elif order.time_in_force == "IOC":
            self._end(order, "expired", now_us, reason="UNFILLED_IOC_QUANTITY_EXPIRED")
        else:
            order.ahead_lots = self.desk.liquidity.ahead(order.side == BUY, order.price_ticks)

    # --- fills -----------------------------------------------------------------------------------------------------
    def _fill(self, order: DemoOrder, price: int, lots: int, is_maker: bool, now_us: int) -> None:
        value_e8 = price * lots * self.unit_e8
        size_e8 = lots * self.lot_e8
        num, den = self._maker if is_maker else self._taker
        order.filled_lots += lots
        if order.side == BUY:
            commission = -(-size_e8 * num // den)
            self._pay(order, self.quote, value_e8, order.price_ticks * lots * self.unit_e8)
            self.base.free += size_e8 - commission
        else:
            commission = -(-value_e8 * num // den)
            self._pay(order, self.base, size_e8, size_e8)
            self.quote.free += value_e8 - commission
        self._last_fill += 1
        asset = self.base_asset if order.side == BUY else self.quote_asset
        fill = Fill(self._last_fill, order.order_id, order.side, price, lots, commission, asset, now_us, is_maker)
        self.fills.append(fill)
        self._new_fills.append(fill)
        order.quote_e8 += value_e8
        self._moved = True
        if order.open_lots == 0:
            order.status = "filled"
            self._unlock(order)
            self.open.pop(order.order_id, None)
            self._limits.order_filled(now_us)
        self._report(order, "TRADE", now_us, fill=fill)

    def _pay(self, order: DemoOrder, balance: Balance, amount_e8: int, promised_e8: int) -> None:
        """Take amount_e8: what the order promised for these lots comes out of its lock, the difference goes back."""
        released = min(order.locked_e8, promised_e8)
        order.locked_e8 -= released
        balance.locked -= released
        balance.free += released - amount_e8

    def _lock(self, order: DemoOrder, amount_e8: int) -> None:
        balance = self.quote if order.side == BUY else self.base
        balance.free -= amount_e8
        balance.locked += amount_e8
        order.locked_e8 += amount_e8
        self._moved = True

    def _unlock(self, order: DemoOrder, keep_e8: int = 0) -> None:
        balance = self.quote if order.side == BUY else self.base
        rest = order.locked_e8 - keep_e8
        if rest:
            balance.locked -= rest
            balance.free += rest
            order.locked_e8 = keep_e8
            self._moved = True

    # --- ends and changes ------------------------------------------------------------------------------------------
    def cancel(self, order: DemoOrder, cancel_id: str, now_us: int) -> None:
        """End an open order on request."""
        self._end(order, "canceled", now_us, request_id=cancel_id)
        self.desk.refresh(self.open.values())

    def amend(self, order: DemoOrder, qty_lots: int, new_id: str, now_us: int) -> None:
        """Make an open order smaller; it keeps its place."""
        before_e8 = self._promised_e8(order)
        order.qty_lots = qty_lots
        self._unlock(order, order.locked_e8 - before_e8 + self._promised_e8(order))
        order.amends += 1
        self._report(order, "REPLACED", now_us, request_id=new_id)
        order.client_order_id = new_id

    def _end(self, order: DemoOrder, status: str, now_us: int, request_id: str = "", reason: str = "") -> None:
        order.status, order.reason = status, reason
        self._unlock(order)
        self.open.pop(order.order_id, None)
        self._report(order, "CANCELED" if status == "canceled" else "EXPIRED", now_us, request_id=request_id, reason=reason)

    def _report(self, order: DemoOrder, kind: str, now_us: int, fill: Fill | None = None, request_id: str = "", reason: str = "") -> None:
        order.update_us = self.update_us = now_us
        self._changed[order.order_id] = order
        self._last_execution += 1
        self.events.append(self.speak.execution_report(order, kind, self._last_execution, fill, request_id, reason))

    # --- market ----------------------------------------------------------------------------------------------------
    def on_row(self, row: Row) -> None:
        """The market moved; the row is in the book already."""
        desk = self.desk
        if not desk.orders:
            return
        if row.kind == DELTA:
            if desk.has_limits:
                self._shrink_queues()
            bid, ask = desk.liquidity.touch()
            if desk.concerned_by_touch(bid, ask):
                self._on_touch(bid, ask, row.time_us)
        elif row.kind == TRADE and desk.concerned_by_trade(row.a):
            self._on_trade(row.a, row.b, row.c, row.time_us)

    def _shrink_queues(self) -> None:
        """Nobody can be ahead of us who is not displayed."""
        liquidity = self.desk.liquidity
        for order in self.open.values():
            if order.ahead_lots and order.order_type == "limit":
                displayed = liquidity.displayed(order.side == BUY, order.price_ticks)
                if displayed is not None and displayed < order.ahead_lots:
                    order.ahead_lots = displayed

    def _on_touch(self, bid: int, ask: int, now_us: int) -> None:
        for order in list(self.open.values()):
            if order.waits:
                if is_triggered(order, bid, ask):
                    self._trigger(order, now_us)
            elif self._crosses(order, bid, ask):
                facing = ask if order.side == BUY else bid
                if not self.desk.liquidity.is_exhausted(order.side != BUY, facing):
                    self._fill(order, order.price_ticks, order.open_lots, True, now_us)
        self.desk.refresh(self.open.values())

    def _on_trade(self, price: int, lots: int, aggressor: int, now_us: int) -> None:
        ours = 0  # lots of this trade that were really ours
        for order in list(self.open.values()):
            if order.waits:
                if is_triggered(order, price, price):
                    self._trigger(order, now_us)
            elif price == order.price_ticks and aggressor != order.side:
                passed = min(order.ahead_lots, lots - ours)
                order.ahead_lots -= passed
                part = min(lots - ours - passed, order.open_lots)
                if part > 0:
                    ours += part
                    self._fill(order, price, part, True, now_us)
            elif price != order.price_ticks and (price < order.price_ticks) == (order.side == BUY):  # traded through us
                self._fill(order, order.price_ticks, order.open_lots, True, now_us)
        self.desk.refresh(self.open.values())

    def _trigger(self, order: DemoOrder, now_us: int) -> None:
        """A stop or take enters the book, as a market or a limit order."""
        order.working_us = now_us
        if order.type.endswith("_LIMIT"):
            order.order_type = "limit"
            self._report(order, "NEW", now_us)
        else:
            order.order_type = "market"
            self._unlock(order)
            if self._need_e8(order) > (self.quote if order.side == BUY else self.base).free:
                self._end(order, "expired", now_us, reason="REJECTED")
                return
        self._work(order, now_us)
