"""Orders and fills at the demo exchange, and the objects in which the venue speaks of them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mia.domain.events import BUY
from mia.sim.servers.wire import Texts, text8
from mia.sim.state import VenueOrder

STP: Final = "EXPIRE_MAKER"
_STATUS: Final = {"filled": "FILLED", "canceled": "CANCELED", "expired": "EXPIRED", "rejected": "REJECTED"}


class DemoOrder(VenueOrder, array_like=True, kw_only=True):
    """One order: what the desk watches (VenueOrder) and what the venue says about it. Times are microseconds."""

    order_id: int
    type: str  # as sent: LIMIT, STOP_LOSS_LIMIT, ...
    time_in_force: str
    time_us: int
    update_us: int
    working_us: int = 0  # 0: a stop that waits
    quote_e8: int = 0  # executed, in quote currency
    quote_order_e8: int = 0  # of a MARKET order by quote quantity
    locked_e8: int = 0  # what it still holds of the balance: quote for a buy, base for a sell
    amends: int = 0

    @property
    def wire_status(self) -> str:
        """NEW, PARTIALLY_FILLED, FILLED, CANCELED, EXPIRED."""
        if self.status == "open":
            return "PARTIALLY_FILLED" if self.filled_lots else "NEW"
        return _STATUS[self.status]

    @property
    def is_open(self) -> bool:
        """It may still fill."""
        return self.status == "open"

    @property
    def waits(self) -> bool:
        """A stop or take that has not triggered."""
        return self.order_type in ("stop", "take")


class Fill(msgspec.Struct, array_like=True, frozen=True):
    """One execution of the account."""

    trade_id: int
    order_id: int
    side: int
    price_ticks: int
    qty_lots: int
    commission_e8: int
    commission_asset: str
    time_us: int
    is_maker: bool


class Speaker:
    """Turns orders and fills into the venue's objects; `unit` divides microseconds (1000: milliseconds)."""

    def __init__(self, symbol: str, texts: Texts, unit_e8: int) -> None:
        self._symbol = symbol
        self._t = texts
        self._unit_e8 = unit_e8

    def _head(self, o: DemoOrder, unit: int, client_id: str = "") -> dict[str, Any]:
        return {
            "symbol": self._symbol,
            "orderId": o.order_id,
            "orderListId": -1,
            "clientOrderId": client_id or o.client_order_id,
            "transactTime": o.update_us // unit,
        }

    def _body(self, o: DemoOrder) -> dict[str, Any]:
        t = self._t
        body = {
            "price": t.price(o.price_ticks),
            "origQty": t.size(o.qty_lots),
            "executedQty": t.size(o.filled_lots),
            "origQuoteOrderQty": text8(o.quote_order_e8),
            "cummulativeQuoteQty": text8(o.quote_e8),
            "status": o.wire_status,
            "timeInForce": o.time_in_force,
            "type": o.type,
            "side": "BUY" if o.side == BUY else "SELL",
        }
        if o.stop_ticks:
            body["stopPrice"] = t.price(o.stop_ticks)
        return body

    def ack(self, o: DemoOrder, unit: int) -> dict[str, Any]:
        """newOrderRespType ACK."""
        return self._head(o, unit)

    def result(self, o: DemoOrder, unit: int) -> dict[str, Any]:
        """newOrderRespType RESULT."""
        out = {**self._head(o, unit), **self._body(o)}
        if o.working_us:
            out["workingTime"] = o.working_us // unit
        out["selfTradePreventionMode"] = STP
        return out

    def full(self, o: DemoOrder, fills: list[Fill], unit: int) -> dict[str, Any]:
        """newOrderRespType FULL."""
        rows = [
            {
                "price": self._t.price(f.price_ticks),
                "qty": self._t.size(f.qty_lots),
                "commission": text8(f.commission_e8),
                "commissionAsset": f.commission_asset,
                "tradeId": f.trade_id,
            }
            for f in fills
        ]
        return {**self.result(o, unit), "fills": rows}

    def canceled(self, o: DemoOrder, cancel_id: str, unit: int) -> dict[str, Any]:
        """The answer to a cancel: clientOrderId is the cancel's own, origClientOrderId the order's."""
        head = self._head(o, unit, cancel_id)
        return {
            "symbol": head.pop("symbol"),
            "origClientOrderId": o.client_order_id,
            **head,
            **self._body(o),
            "selfTradePreventionMode": STP,
        }

    def queried(self, o: DemoOrder, unit: int) -> dict[str, Any]:
        """One order of order.status, openOrders, allOrders."""
        out = self._head(o, unit)
        del out["transactTime"]
        out |= self._body(o)
        out |= {
            "stopPrice": self._t.price(o.stop_ticks),
            "icebergQty": text8(0),
            "time": o.time_us // unit,
            "updateTime": o.update_us // unit,
            "isWorking": not o.waits,
            "workingTime": o.working_us // unit if o.working_us else -1,
            "selfTradePreventionMode": STP,
        }
        return out

    def my_trade(self, f: Fill, unit: int) -> dict[str, Any]:
        """One row of myTrades."""
        return {
            "symbol": self._symbol,
            "id": f.trade_id,
            "orderId": f.order_id,
            "orderListId": -1,
            "price": self._t.price(f.price_ticks),
            "qty": self._t.size(f.qty_lots),
            "quoteQty": text8(f.price_ticks * f.qty_lots * self._unit_e8),
            "commission": text8(f.commission_e8),
            "commissionAsset": f.commission_asset,
            "time": f.time_us // unit,
            "isBuyer": f.side == BUY,
            "isMaker": f.is_maker,
            "isBestMatch": True,
        }

    def execution_report(
        self, o: DemoOrder, kind: str, execution_id: int, fill: Fill | None = None, request_id: str = "", reason: str = ""
    ) -> dict[str, Any]:
        """A user event. On CANCELED and REPLACED `c` is the request's id and `C` the order's; times in microseconds."""
        t = self._t
        value = fill.price_ticks * fill.qty_lots * self._unit_e8 if fill else 0
        report: dict[str, Any] = {
            "e": "executionReport",
            "E": o.update_us,
            "s": self._symbol,
            "c": request_id or o.client_order_id,
            "S": "BUY" if o.side == BUY else "SELL",
            "o": o.type,
            "f": o.time_in_force,
            "q": t.size(o.qty_lots),
            "p": t.price(o.price_ticks),
            "P": t.price(o.stop_ticks),
            "F": text8(0),
            "g": -1,
            "C": o.client_order_id if request_id else "",
            "x": kind,
            "X": o.wire_status,
            "r": "NONE",
            "i": o.order_id,
            "l": t.size(fill.qty_lots) if fill else text8(0),
            "z": t.size(o.filled_lots),
            "L": t.price(fill.price_ticks) if fill else text8(0),
            "n": text8(fill.commission_e8) if fill else "0",
            "N": fill.commission_asset if fill else None,
            "T": o.update_us,
            "t": fill.trade_id if fill else -1,
            "I": execution_id,
            "w": o.is_open and not o.waits and o.type != "MARKET",
            "m": fill.is_maker if fill else False,
            "M": fill is not None,
            "O": o.time_us,
            "Z": text8(o.quote_e8),
            "Y": text8(value),
            "Q": text8(o.quote_order_e8),
            "V": STP,
        }
        if o.working_us:
            report["W"] = o.working_us
        if reason:
            report["eR"] = reason
        return report
