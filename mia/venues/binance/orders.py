"""Requests -> signed frames of Binance's WebSocket API (`order.place` and all others), spot and USD-M. Pure: time and keys come in.

Signature: HMAC-SHA256 over the parameters sorted by name, `k=v` joined by `&`, apiKey included (WebSocket API, request
security). The text of each value is the same in the signed string and in the JSON, because both are built from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal

from mia.domain.effects import SubmitOrder
from mia.domain.instruments import Instrument

RECV_WINDOW_MS: Final = "5000"
_BLOCK_BYTES: Final = 64  # of SHA-256
# JSON numbers and booleans; every other value is a string.
_BARE: Final = frozenset(("recvWindow", "timestamp", "orderId", "fromId", "startTime", "endTime", "limit", "omitZeroBalances", "symbols"))
_SPOT_TYPES: Final = {"market": "MARKET", "limit": "LIMIT", "stop": "STOP_LOSS", "take": "TAKE_PROFIT"}
_USDM_TYPES: Final = {"market": "MARKET", "limit": "LIMIT", "stop": "STOP_MARKET", "take": "TAKE_PROFIT_MARKET"}


class Grid:
    """Writes multiples of a tick or lot size as plain decimal text: 6000000 x 0.01 -> "60000.00"; exact, never an exponent."""

    __slots__ = ("_digits", "_factor")

    def __init__(self, step: Decimal) -> None:
        exponent = step.as_tuple().exponent
        self._digits: Final = -exponent if isinstance(exponent, int) and exponent < 0 else 0
        self._factor: Final = int(step.scaleb(self._digits))

    def text(self, units: int) -> str:
        """units steps as text with the step's digits."""
        whole = units * self._factor
        if not self._digits:
            return str(whole)
        digits = str(abs(whole)).rjust(1 + self._digits, "0")
        return f"{'-' if whole < 0 else ''}{digits[: -self._digits]}.{digits[-self._digits :]}"


class Signer:
    """Signs requests with one key; keeps hash states, not the secret."""

    def __init__(self, api_key: str, secret: bytes) -> None:
        self.api_key: Final = api_key
        key = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK_BYTES else secret).ljust(_BLOCK_BYTES, b"\0")
        # HMAC (RFC 2104) from two states that already hold the key: 0.7 us a signature, hmac.digest 1.7.
        self._inner: Final = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer: Final = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))

    def frame(self, method: str, request_id: str, params: Sequence[tuple[str, str]]) -> bytes:
        """One signed request. params: sorted by name, apiKey and timestamp among them."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update("&".join([f"{k}={v}" for k, v in params]).encode())
        outer.update(inner.digest())
        return _request(method, request_id, params, f',"signature":"{outer.hexdigest()}"')

    def request(self, method: str, request_id: str, params: Mapping[str, str], ts_ms: int) -> bytes:
        """One signed request with the parameters that every one needs added."""
        every = {**params, "apiKey": self.api_key, "recvWindow": RECV_WINDOW_MS, "timestamp": str(ts_ms)}
        return self.frame(method, request_id, sorted(every.items()))


def public_request(method: str, request_id: str, params: Mapping[str, str]) -> bytes:
    """One request that needs no key."""
    return _request(method, request_id, tuple(params.items()), "")


def _request(method: str, request_id: str, params: Sequence[tuple[str, str]], tail: str) -> bytes:
    body = ",".join([f'"{k}":{v}' if k in _BARE else f'"{k}":"{v}"' for k, v in params])
    return f'{{"id":"{request_id}","method":"{method}","params":{{{body}{tail}}}}}'.encode()


class OrderEncoder:
    """Turns SubmitOrder into the bytes that leave, for the instruments of one Binance market."""

    def __init__(self, instruments: Mapping[int, Instrument], market: Literal["spot", "usdm"], api_key: str, secret: bytes) -> None:
        self._grids: Final = {i: (d.symbol, Grid(d.tick_size), Grid(d.lot_size)) for i, d in instruments.items()}
        self._is_spot: Final = market == "spot"
        self._signer: Final = Signer(api_key, secret)

    def encode(self, order: SubmitOrder, ts_ms: int) -> bytes:
        """One `order.place` (or USD-M `algoOrder.place`) frame; its id is the client order id. KeyError for a foreign instrument."""
        symbol, ticks, lots = self._grids[order.instrument]
        is_algo = not self._is_spot and order.order_type in ("stop", "take")
        # Names in alphabetical order: the signed string is the parameters sorted by name.
        names = [("algoType", "CONDITIONAL")] if is_algo else []
        names.append(("apiKey", self._signer.api_key))
        if is_algo:
            names.append(("clientAlgoId", order.client_order_id))
        else:
            names += (("newClientOrderId", order.client_order_id), ("newOrderRespType", "RESULT"))
        if order.order_type == "limit":
            names.append(("price", ticks.text(order.price_ticks)))
        names += (("quantity", lots.text(order.qty_lots)), ("recvWindow", RECV_WINDOW_MS))
        if order.reduce_only and not self._is_spot:
            names.append(("reduceOnly", "true"))
        names.append(("side", "BUY" if order.side > 0 else "SELL"))
        if self._is_spot and order.order_type in ("stop", "take"):
            names.append(("stopPrice", ticks.text(order.stop_ticks)))
        names.append(("symbol", symbol))
        if order.order_type == "limit" and not (self._is_spot and order.post_only):
            names.append(("timeInForce", "GTX" if order.post_only else "GTC"))
        names.append(("timestamp", str(ts_ms)))
        if is_algo:
            names.append(("triggerPrice", ticks.text(order.stop_ticks)))
        names.append(("type", self._type(order)))
        return self._signer.frame("algoOrder.place" if is_algo else "order.place", order.client_order_id, names)

    def _type(self, order: SubmitOrder) -> str:
        if not self._is_spot:
            return _USDM_TYPES[order.order_type]
        return "LIMIT_MAKER" if order.post_only and order.order_type == "limit" else _SPOT_TYPES[order.order_type]
