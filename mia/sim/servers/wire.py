"""What the demo exchange writes: decimal texts with eight digits, market frames, and websocket frames around them.

Its own encoders on purpose: the adapter under test must not share a line with the exchange it talks to.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from mia.domain.instruments import MONEY_SCALE, Instrument

TEXT: Final = 1
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
_CACHE_MAX: Final = 1 << 15
_TIMES: Final = ("E", "T", "O", "W")

encode_json = msgspec.json.encode


def text8(e8: int) -> str:
    """1e-8 units as a decimal with eight digits."""
    if e8 < 0:
        return "-" + text8(-e8)
    return f"{e8 // MONEY_SCALE}.{e8 % MONEY_SCALE:08d}"


class Texts:
    """Ticks and lots of one instrument as the venue's decimal texts; prices are remembered, they repeat."""

    def __init__(self, instrument: Instrument) -> None:
        self.tick_e8 = int(instrument.tick_size * MONEY_SCALE)
        self.lot_e8 = int(instrument.lot_size * MONEY_SCALE)
        self._prices: dict[int, str] = {}

    def price(self, ticks: int) -> str:
        """A price."""
        found = self._prices.get(ticks)
        if found is None:
            if len(self._prices) >= _CACHE_MAX:
                self._prices.clear()
            found = self._prices[ticks] = text8(ticks * self.tick_e8)
        return found

    def size(self, lots: int) -> str:
        """A quantity."""
        e8 = lots * self.lot_e8
        return f"{e8 // MONEY_SCALE}.{e8 % MONEY_SCALE:08d}"

    def levels(self, pairs: Iterable[tuple[int, int]]) -> str:
        """`[["price","size"],...]`."""
        return "[" + ",".join([f'["{self.price(p)}","{self.size(q)}"]' for p, q in pairs]) + "]"


def trade_frame(symbol: str, t: int, number: int, price: str, size: str, is_buyer_maker: bool) -> bytes:
    """`@trade`; t in the connection's time unit."""
    m = "true" if is_buyer_maker else "false"
    return (
        f'{{"e":"trade","E":{t},"s":"{symbol}","t":{number},"p":"{price}","q":"{size}","T":{t},"m":{m},"M":true}}'
    ).encode()  # fmt: skip


def agg_trade_frame(symbol: str, t: int, number: int, price: str, size: str, is_buyer_maker: bool) -> bytes:
    """`@aggTrade`: here each trade is one taker order's at one price, so that they aggregate to themselves."""
    m = "true" if is_buyer_maker else "false"
    return (
        f'{{"e":"aggTrade","E":{t},"s":"{symbol}","a":{number},"p":"{price}","q":"{size}","f":{number},"l":{number},"T":{t},"m":{m},"M":true}}'
    ).encode()


def book_ticker_frame(symbol: str, update_id: int, bid: str, bid_size: str, ask: str, ask_size: str) -> bytes:
    """`@bookTicker`: on spot without event type and time."""
    return f'{{"u":{update_id},"s":"{symbol}","b":"{bid}","B":"{bid_size}","a":"{ask}","A":"{ask_size}"}}'.encode()


def depth_frame(symbol: str, t: int, first: int, last: int, bids: str, asks: str) -> bytes:
    """`@depth`: absolute sizes of the levels that changed in updates first..last."""
    return f'{{"e":"depthUpdate","E":{t},"s":"{symbol}","U":{first},"u":{last},"b":{bids},"a":{asks}}}'.encode()


def partial_depth_frame(last: int, bids: str, asks: str) -> bytes:
    """`@depth<n>`: the best levels, whole."""
    return f'{{"lastUpdateId":{last},"bids":{bids},"asks":{asks}}}'.encode()


def combined(stream: str, payload: bytes) -> bytes:
    """The payload as `/stream` wraps it."""
    return b'{"stream":"' + stream.encode() + b'","data":' + payload + b"}"


def in_unit(event: Mapping[str, Any], is_micro: bool) -> dict[str, Any]:
    """A user event whose times are microseconds, in the unit that the connection asked for."""
    if is_micro:
        return dict(event)
    out = dict(event)
    for key in _TIMES:
        if key in out:
            out[key] //= 1000
    if out["e"] == "outboundAccountPosition":
        out["u"] //= 1000
    return out


def websocket_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One unmasked frame (RFC 6455, server to client)."""
    n = len(payload)
    if n < 126:
        return bytes((0x80 | opcode, n)) + payload
    if n < 65_536:
        return struct.pack(">BBH", 0x80 | opcode, 126, n) + payload
    return struct.pack(">BBQ", 0x80 | opcode, 127, n) + payload
