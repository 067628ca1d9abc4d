"""Orders -> signed frames of Binance's WebSocket API (`order.place`), spot and USD-M. Pure: time and keys come in as data.

Signature: HMAC-SHA256 over the parameters sorted by name, `k=v` joined by `&`, apiKey included (WebSocket API, request
security). The text of each value is the same in the signed string and in the JSON, because both are built from it.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal

from mia.domain.effects import SubmitOrder
from mia.domain.instruments import Instrument

RECV_WINDOW_MS: Final = 5000
_SIDES: Final = {1: "BUY", -1: "SELL"}
_SPOT_TYPES: Final = {"market": "MARKET", "limit": "LIMIT", "stop": "STOP_LOSS", "take": "TAKE_PROFIT"}
_USDM_TYPES: Final = {"market": "MARKET", "limit": "LIMIT", "stop": "STOP_MARKET", "take": "TAKE_PROFIT_MARKET"}


def scaled_text(units: int, grid: Decimal) -> str:
    """units x grid as plain decimal text with the grid's digits: 6000000 x 0.01 -> "60000.00"; exact, never an exponent."""
    exponent = grid.as_tuple().exponent
    if not isinstance(exponent, int) or exponent >= 0:
        return str(units * int(grid))
    whole = units * int(grid.scaleb(-exponent))
    digits = str(abs(whole)).rjust(1 - exponent, "0")
    return f"{'-' if whole < 0 else ''}{digits[:exponent]}.{digits[exponent:]}"


class OrderEncoder:
    """Turns SubmitOrder into the bytes that leave, for the instruments of one Binance market."""

    def __init__(self, instruments: Mapping[int, Instrument], market: Literal["spot", "usdm"], api_key: str, secret: bytes) -> None:
        self._instruments: Final = dict(instruments)
        self._is_spot: Final = market == "spot"
        self._api_key: Final = api_key
        self._mac: Final = hmac.new(secret, digestmod="sha256")

    def encode(self, order: SubmitOrder, ts_ms: int) -> bytes:
        """One `order.place` (or USD-M `algoOrder.place`) frame. The request id is the client order id. KeyError for a foreign instrument."""
        definition = self._instruments[order.instrument]
        is_trigger = order.order_type in ("stop", "take")
        params = {"apiKey": self._api_key}
        if is_trigger and not self._is_spot:
            params["algoType"] = "CONDITIONAL"
            params["clientAlgoId"] = order.client_order_id
        else:
            params["newClientOrderId"] = order.client_order_id
            params["newOrderRespType"] = "RESULT"
        if order.order_type == "limit":
            params["price"] = scaled_text(order.price_ticks, definition.tick_size)
        params["quantity"] = scaled_text(order.qty_lots, definition.lot_size)
        params["recvWindow"] = str(RECV_WINDOW_MS)
        if order.reduce_only and not self._is_spot:
            params["reduceOnly"] = "true"
        params["side"] = _SIDES[order.side]
        if is_trigger and self._is_spot:
            params["stopPrice"] = scaled_text(order.stop_ticks, definition.tick_size)
        params["symbol"] = definition.symbol
        params["timestamp"] = str(ts_ms)
        if is_trigger and not self._is_spot:
            params["triggerPrice"] = scaled_text(order.stop_ticks, definition.tick_size)
        if order.order_type == "limit" and not (self._is_spot and order.post_only):
            params["timeInForce"] = "GTX" if order.post_only else "GTC"
        params["type"] = self._type(order)
        return self._frame("algoOrder.place" if is_trigger and not self._is_spot else "order.place", order.client_order_id, params)

    def _type(self, order: SubmitOrder) -> str:
        if not self._is_spot:
            return _USDM_TYPES[order.order_type]
        return "LIMIT_MAKER" if order.post_only and order.order_type == "limit" else _SPOT_TYPES[order.order_type]

    def _frame(self, method: str, request_id: str, params: dict[str, str]) -> bytes:
        ordered = sorted(params.items())
        mac = self._mac.copy()
        mac.update("&".join([f"{k}={v}" for k, v in ordered]).encode())
        # recvWindow and timestamp are JSON numbers, the rest are strings.
        body = ",".join([f'"{k}":{v}' if k in ("recvWindow", "timestamp") else f'"{k}":"{v}"' for k, v in ordered])
        return f'{{"id":"{request_id}","method":"{method}","params":{{{body},"signature":"{mac.hexdigest()}"}}}}'.encode()
