"""Every operation of the demo exchange once, by its WebSocket API name; REST and the WebSocket API are two ways to call it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from mia.domain.events import BUY
from mia.sim.servers.errors import ApiError, missing
from mia.sim.servers.exchange import Exchange
from mia.sim.servers.klines import INTERVALS, Kline
from mia.sim.servers.limits import Limits
from mia.sim.servers.market import PublicTrade
from mia.sim.servers.new_orders import AMENDS_MAX, read_lots, read_order, read_symbol, symbol_info
from mia.sim.servers.orders import DemoOrder
from mia.sim.servers.params import Params
from mia.sim.servers.wire import text8

_DAY_US: Final = 86_400_000_000


class Call(NamedTuple):
    """One request: its parameters, the server's time, and what divides microseconds for the caller (1000: milliseconds)."""

    params: Params
    now_us: int
    unit: int


class Operation(NamedTuple):
    """What a name does. weight: of the request, or what tells it; an order's is 0 when it succeeds."""

    run: Callable[[Call], Any]
    weight: int | Callable[[Params], int]
    is_signed: bool = False
    is_order: bool = False


class Operations:
    """The operations of one exchange."""

    def __init__(self, exchange: Exchange, limits: Limits) -> None:
        self._x = exchange
        self._limits = limits
        signed, order = {"is_signed": True}, {"is_signed": True, "is_order": True}
        self.table: Final[dict[str, Operation]] = {
            "ping": Operation(lambda _: {}, 1),
            "time": Operation(lambda c: {"serverTime": c.now_us // c.unit}, 1),
            "exchangeInfo": Operation(self._exchange_info, 20),
            "depth": Operation(self._depth, _depth_weight),
            "trades.recent": Operation(self._trades, 25),
            "trades.historical": Operation(self._trades, 25),
            "trades.aggregate": Operation(self._agg_trades, 4),
            "klines": Operation(self._klines, 2),
            "ticker.book": Operation(self._book_ticker, 2),
            "ticker.price": Operation(self._price, 2),
            "ticker.24hr": Operation(self._day, 2),
            "order.place": Operation(self._place, 1, **order),
            "order.test": Operation(self._test, 1, **order),
            "order.cancel": Operation(self._cancel, 1, **order),
            "order.cancelReplace": Operation(self._cancel_replace, 1, **order),
            "order.amend.keepPriority": Operation(self._amend, 4, **signed),
            "order.status": Operation(self._status, 4, **signed),
            "openOrders.status": Operation(self._open_orders, lambda p: 6 if p.has("symbol") else 80, **signed),
            "openOrders.cancelAll": Operation(self._cancel_all, 1, **order),
            "allOrders": Operation(self._all_orders, 20, **signed),
            "myTrades": Operation(self._my_trades, lambda p: 5 if p.has("orderId") else 20, **signed),
            "account.status": Operation(self._account, 20, **signed),
            "account.commission": Operation(self._commission, 20, **signed),
            "account.rateLimits.orders": Operation(self._order_limits, 40, **signed),
        }

    # --- market data -----------------------------------------------------------------------------------------------
    def _exchange_info(self, c: Call) -> dict[str, Any]:
        if c.params.has("symbol"):
            read_symbol(self._x, c.params)
        return {
            "timezone": "UTC",
            "serverTime": c.now_us // c.unit,
            "rateLimits": self._limits.definitions(),
            "exchangeFilters": [],
            "symbols": [symbol_info(self._x)],
        }

    def _depth(self, c: Call) -> dict[str, Any]:
        read_symbol(self._x, c.params)
        limit = c.params.limit(100, 5000)
        t, market = self._x.texts, self._x.market
        sides = [[[t.price(p), t.size(q)] for p, q in market.levels(is_bid, limit)] for is_bid in (True, False)]
        return {"lastUpdateId": market.update_id, "bids": sides[0], "asks": sides[1]}

    def _trades(self, c: Call) -> list[dict[str, Any]]:
        read_symbol(self._x, c.params)
        limit, first = c.params.limit(500, 1000), c.params.integer("fromId")
        market = self._x.market
        trades = market.trades_from(first, limit) if first is not None else market.trades_between(None, None, limit)
        return [
            {
                **self._trade(trade),
                "id": trade.number,
                "quoteQty": text8(trade.price_ticks * trade.qty_lots * self._x.unit_e8),
                "time": trade.time_us // c.unit,
                "isBuyerMaker": trade.aggressor != BUY,
                "isBestMatch": True,
            }
            for trade in trades
        ]

    def _trade(self, trade: PublicTrade) -> dict[str, Any]:
        return {"price": self._x.texts.price(trade.price_ticks), "qty": self._x.texts.size(trade.qty_lots)}

    def _agg_trades(self, c: Call) -> list[dict[str, Any]]:
        read_symbol(self._x, c.params)
        first, limit = c.params.integer("fromId"), c.params.limit(500, 1000)
        start, end = self._span(c)
        market, t = self._x.market, self._x.texts
        trades = market.trades_from(first, limit) if first is not None else market.trades_between(start, end, limit)
        return [
            {
                "a": trade.number, "p": t.price(trade.price_ticks), "q": t.size(trade.qty_lots), "f": trade.number, "l": trade.number,
                "T": trade.time_us // c.unit, "m": trade.aggressor != BUY, "M": True,
            }
            for trade in trades
        ]  # fmt: skip

    @staticmethod
    def _span(c: Call) -> tuple[int | None, int | None]:
        """startTime and endTime in microseconds; an end takes in its whole millisecond."""
        start, end = c.params.integer("startTime"), c.params.integer("endTime")
        if start is not None and end is not None and end < start:
            raise ApiError(-1127, "End time is before start time.")
        return (
            start if start is None or start >= 10**14 else start * 1000,
            end if end is None or end >= 10**14 else end * 1000 + 999,
        )

    def _klines(self, c: Call) -> list[list[Any]]:
        read_symbol(self._x, c.params)
        name = c.params.text("interval")
        if name not in INTERVALS:
            raise ApiError(-1120, "Invalid interval.")
        self._x.market.klines.roll(c.now_us)
        start, end = self._span(c)
        return [self._kline(k, INTERVALS[name], c.unit) for k in self._x.market.klines.query(name, start, end, c.params.limit(500, 1000))]

    def _kline(self, k: Kline, us: int, unit: int) -> list[Any]:
        t, money = self._x.texts, self._money
        return [
            k.open_us // unit, t.price(k.open), t.price(k.high), t.price(k.low), t.price(k.close), t.size(k.lots),
            (k.open_us + us) // unit - 1, money(k.value), k.trades, t.size(k.taker_lots), money(k.taker_value), "0",
        ]  # fmt: skip

    def _money(self, value: int) -> str:
        return text8(value * self._x.unit_e8)

    def _one_or_all(self, c: Call, row: dict[str, Any]) -> Any:
        """Tickers answer with an object for one symbol and with a list else."""
        if c.params.has("symbol"):
            read_symbol(self._x, c.params)
            return row
        return [row]

    def _book_ticker(self, c: Call) -> Any:
        bid, ask, bid_lots, ask_lots = self._x.market.touch()
        t = self._x.texts
        row = {
            "symbol": self._x.symbol, "bidPrice": t.price(bid), "bidQty": t.size(bid_lots), "askPrice": t.price(ask),
            "askQty": t.size(ask_lots),
        }  # fmt: skip
        return self._one_or_all(c, row)

    def _price(self, c: Call) -> Any:
        return self._one_or_all(c, {"symbol": self._x.symbol, "price": self._x.texts.price(self._last().price_ticks)})

    def _last(self) -> PublicTrade:
        trades = self._x.market.trades
        return trades[-1] if trades else PublicTrade(0, self._x.market.touch()[0], 0, 0, 0)

    def _day(self, c: Call) -> Any:
        t, market = self._x.texts, self._x.market
        market.klines.roll(c.now_us)
        rows = market.klines.query("1m", c.now_us - _DAY_US, None, 1440)
        last = self._last()
        first_price = rows[0].open if rows else last.price_ticks
        lots, value = sum(k.lots for k in rows), sum(k.value for k in rows)
        change = (last.price_ticks - first_price) * t.tick_e8
        bid, ask, bid_lots, ask_lots = market.touch()
        row = {
            "symbol": self._x.symbol, "priceChange": text8(change),
            "priceChangePercent": f"{100 * (last.price_ticks / first_price - 1):.3f}",
            "weightedAvgPrice": t.price(value // lots if lots else last.price_ticks), "prevClosePrice": t.price(first_price),
            "lastPrice": t.price(last.price_ticks), "lastQty": t.size(last.qty_lots), "bidPrice": t.price(bid), "bidQty": t.size(bid_lots),
            "askPrice": t.price(ask), "askQty": t.size(ask_lots), "openPrice": t.price(first_price),
            "highPrice": t.price(max((k.high for k in rows), default=last.price_ticks)),
            "lowPrice": t.price(min((k.low for k in rows), default=last.price_ticks)), "volume": t.size(lots),
            "quoteVolume": self._money(value),
            "openTime": (c.now_us - _DAY_US) // c.unit, "closeTime": c.now_us // c.unit, "firstId": rows[0].first_id if rows else -1,
            "lastId": last.number, "count": sum(k.trades for k in rows),
        }  # fmt: skip
        return self._one_or_all(c, row)

    # --- orders ----------------------------------------------------------------------------------------------------
    def _place(self, c: Call) -> dict[str, Any]:
        order = read_order(self._x, c.params, c.now_us)
        return self._placed(order, c)

    def _placed(self, order: DemoOrder, c: Call) -> dict[str, Any]:
        self._limits.count_order(c.now_us)
        fills = self._x.place(order, c.now_us)
        answer = c.params.text("newOrderRespType", "FULL" if order.type in ("MARKET", "LIMIT") else "ACK")
        if answer == "FULL":
            return self._x.speak.full(order, fills, c.unit)
        return self._x.speak.result(order, c.unit) if answer == "RESULT" else self._x.speak.ack(order, c.unit)

    def _test(self, c: Call) -> dict[str, Any]:
        wants_rates = c.params.flag("computeCommissionRates")
        self._x.check(read_order(self._x, c.params, c.now_us))
        if not wants_rates:
            return {}
        rates = self._rates()
        return {"standardCommissionForOrder": rates, "specialCommissionForOrder": _NO_RATES, "taxCommissionForOrder": _NO_RATES}

    def _named(self, p: Params, code: int, text: str, id_name: str = "orderId", client_name: str = "origClientOrderId") -> DemoOrder:
        """The order that a request means."""
        order_id, client_id = p.integer(id_name), p.client_id(client_name)
        if order_id is None and client_id is None:
            raise ApiError(-1102, f"Param '{client_name}' or '{id_name}' must be sent, but both were empty/null!")
        order = self._x.find(order_id, client_id)
        if order is None:
            raise ApiError(code, text)
        return order

    def _open_named(self, p: Params, id_name: str = "orderId", client_name: str = "origClientOrderId") -> DemoOrder:
        order = self._named(p, -2011, "Unknown order sent.", id_name, client_name)
        if not order.is_open:
            raise ApiError(-2011, "Unknown order sent.")
        want = p.text("cancelRestrictions", "")
        if want not in ("", "ONLY_NEW", "ONLY_PARTIALLY_FILLED"):
            raise ApiError(-1130, "Data sent for parameter 'cancelRestrictions' is not valid.")
        if want and want.removeprefix("ONLY_") != order.wire_status:
            raise ApiError(-2011, "Order was not canceled due to cancel restrictions.")
        return order

    def _cancel(self, c: Call) -> dict[str, Any]:
        p = c.params
        read_symbol(self._x, p)
        order = self._open_named(p)
        cancel_id = p.client_id("newClientOrderId") or secrets.token_hex(11)
        p.refuse_unread()
        self._x.cancel(order, cancel_id, c.now_us)
        return self._x.speak.canceled(order, cancel_id, c.unit)

    def _cancel_all(self, c: Call) -> list[dict[str, Any]]:
        read_symbol(self._x, c.params)
        orders = list(self._x.open.values())
        if not orders:
            raise ApiError(-2011, "Unknown order sent.")
        reports = []
        for order in orders:
            cancel_id = secrets.token_hex(11)
            self._x.cancel(order, cancel_id, c.now_us)
            reports.append(self._x.speak.canceled(order, cancel_id, c.unit))
        return reports

    def _cancel_replace(self, c: Call) -> dict[str, Any]:
        p = c.params
        mode = p.choice("cancelReplaceMode", ("STOP_ON_FAILURE", "ALLOW_FAILURE"), -1130, "cancelReplaceMode")
        over_limit = p.text("orderRateLimitExceededMode", "DO_NOTHING")
        cancel_id = p.client_id("cancelNewClientOrderId") or secrets.token_hex(11)
        for name in ("cancelOrderId", "cancelOrigClientOrderId", "cancelRestrictions"):
            p.has(name)
        order = read_order(self._x, p, c.now_us)
        if over_limit != "CANCEL_ONLY":
            self._limits.count_order(c.now_us)
            self._limits.order_filled(c.now_us)  # looked only; placing counts
        canceled: dict[str, Any]
        try:
            old = self._open_named(p, "cancelOrderId", "cancelOrigClientOrderId")
            self._x.cancel(old, cancel_id, c.now_us)
            canceled, is_canceled = self._x.speak.canceled(old, cancel_id, c.unit), True
        except ApiError as e:
            canceled, is_canceled = e.body(), False
        if not is_canceled and mode == "STOP_ON_FAILURE":
            data = {"cancelResult": "FAILURE", "newOrderResult": "NOT_ATTEMPTED", "cancelResponse": canceled, "newOrderResponse": None}
            raise ApiError(-2022, "Order cancel-replace failed.", 400, data)
        try:
            placed, is_placed = self._placed(order, c), True
        except ApiError as e:
            placed, is_placed = e.body(), False
        words = ("FAILURE", "SUCCESS")
        data = {
            "cancelResult": words[is_canceled], "newOrderResult": words[is_placed], "cancelResponse": canceled, "newOrderResponse": placed
        }  # fmt: skip
        if is_canceled and is_placed:
            return data
        if is_canceled or is_placed:
            raise ApiError(-2021, "Order cancel-replace partially failed.", 409, data)
        raise ApiError(-2022, "Order cancel-replace failed.", 400, data)

    def _amend(self, c: Call) -> dict[str, Any]:
        p = c.params
        read_symbol(self._x, p)
        order = self._open_named(p)
        lots = read_lots(self._x, p, "newQty")
        new_id = p.client_id("newClientOrderId") or secrets.token_hex(11)
        p.refuse_unread()
        if not (order.filled_lots < lots < order.qty_lots):
            raise ApiError(-2038, "The requested action would change no state; rejecting.")
        if order.amends >= AMENDS_MAX:
            raise ApiError(-2038, "Filter failure: MAX_NUM_ORDER_AMENDS")
        self._x.amend(order, lots, new_id, c.now_us)
        row = self._x.speak.queried(order, c.unit)
        keys = ("symbol", "orderId", "orderListId", "price", "timeInForce", "type", "side", "workingTime", "selfTradePreventionMode")
        amended = {k: row[k] for k in keys} | {
            "origClientOrderId": p.text("origClientOrderId", new_id), "clientOrderId": new_id, "qty": row["origQty"],
            "executedQty": row["executedQty"], "preventedQty": text8(0), "quoteOrderQty": row["origQuoteOrderQty"],
            "cumulativeQuoteQty": row["cummulativeQuoteQty"], "status": row["status"],
        }  # fmt: skip
        return {"transactTime": c.now_us // c.unit, "executionId": self._x.last_execution, "amendedOrder": amended}

    # --- queries ---------------------------------------------------------------------------------------------------
    def _status(self, c: Call) -> dict[str, Any]:
        read_symbol(self._x, c.params)
        return self._x.speak.queried(self._named(c.params, -2013, "Order does not exist."), c.unit)

    def _open_orders(self, c: Call) -> list[dict[str, Any]]:
        if c.params.has("symbol"):
            read_symbol(self._x, c.params)
        return [self._x.speak.queried(o, c.unit) for o in sorted(self._x.open.values(), key=lambda o: o.order_id)]

    def _all_orders(self, c: Call) -> list[dict[str, Any]]:
        read_symbol(self._x, c.params)
        first, limit = c.params.integer("orderId"), c.params.limit(500, 1000)
        start, end = self._within_a_day(c)
        rows = [
            o for o in self._x.orders.values()
            if (first is None or o.order_id >= first) and (start is None or o.time_us >= start) and (end is None or o.time_us <= end)
        ]  # fmt: skip
        rows = rows[:limit] if first is not None or start is not None else rows[-limit:]
        return [self._x.speak.queried(o, c.unit) for o in rows]

    def _my_trades(self, c: Call) -> list[dict[str, Any]]:
        p = c.params
        read_symbol(self._x, p)
        order_id, first, limit = p.integer("orderId"), p.integer("fromId"), p.limit(500, 1000)
        start, end = self._within_a_day(c)
        rows = [
            f for f in self._x.fills
            if (order_id is None or f.order_id == order_id) and (first is None or f.trade_id >= first)
            and (start is None or f.time_us >= start) and (end is None or f.time_us <= end)
        ]  # fmt: skip
        rows = rows[:limit] if first is not None or start is not None else rows[-limit:]
        return [self._x.speak.my_trade(f, c.unit) for f in rows]

    def _within_a_day(self, c: Call) -> tuple[int | None, int | None]:
        start, end = self._span(c)
        if start is not None and end is not None and end - start > _DAY_US + 999:
            raise ApiError(-1127, "More than 24 hours between startTime and endTime.")
        return start, end

    def _account(self, c: Call) -> dict[str, Any]:
        omits = c.params.flag("omitZeroBalances")
        maker, taker = (text8(int(fee * 10**8)) for fee in (self._x.instrument.maker_fee, self._x.instrument.taker_fee))
        rows = [
            {"asset": asset, "free": text8(b.free), "locked": text8(b.locked)}
            for asset, b in self._x.balances()
            if not (omits and b.free == 0 == b.locked)
        ]
        return {
            "makerCommission": int(self._x.instrument.maker_fee * 10_000), "takerCommission": int(self._x.instrument.taker_fee * 10_000),
            "buyerCommission": 0, "sellerCommission": 0,
            "commissionRates": {"maker": maker, "taker": taker, "buyer": text8(0), "seller": text8(0)},
            "canTrade": True, "canWithdraw": False, "canDeposit": False, "brokered": False, "requireSelfTradePrevention": False,
            "preventSor": False, "updateTime": self._x.update_us // c.unit, "accountType": "SPOT", "balances": rows,
            "permissions": ["SPOT"], "uid": 1,
        }  # fmt: skip

    def _rates(self) -> dict[str, str]:
        return {
            "maker": text8(int(self._x.instrument.maker_fee * 10**8)), "taker": text8(int(self._x.instrument.taker_fee * 10**8)),
            "buyer": text8(0), "seller": text8(0),
        }  # fmt: skip

    def _commission(self, c: Call) -> dict[str, Any]:
        read_symbol(self._x, c.params)
        return {
            "symbol": self._x.symbol, "standardCommission": self._rates(), "specialCommission": _NO_RATES, "taxCommission": _NO_RATES,
            "discount": {"enabledForAccount": False, "enabledForSymbol": False, "discountAsset": "BNB", "discount": text8(0)},
        }  # fmt: skip

    def _order_limits(self, c: Call) -> list[dict[str, Any]]:
        return self._limits.rows(c.now_us, with_orders=True)[:2]


_NO_RATES: Final = {"maker": text8(0), "taker": text8(0), "buyer": text8(0), "seller": text8(0)}


def _depth_weight(p: Params) -> int:
    limit = p.limit(100, 5000)
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250


def weight_of(operation: Operation, params: Params) -> int:
    """Request weight of a call."""
    return operation.weight if isinstance(operation.weight, int) else operation.weight(params)


def known(table: dict[str, Operation], name: str) -> Operation:
    """The operation of a WebSocket API method (`v3/` in front is allowed)."""
    try:
        return table[name.removeprefix("v3/")]
    except KeyError:
        raise missing("method") if not name else ApiError(-1020, f"Method {name} is not supported by the demo exchange.") from None
