"""Market streams of the demo exchange: who subscribed to what, and the frames they get. One encoding serves all alike."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from mia.domain.events import BUY
from mia.features.columns import BOOK_DELTA as DELTA
from mia.features.columns import QUOTE
from mia.sim.servers.klines import INTERVALS, Kline, Series, kline_object
from mia.sim.servers.market import DemoMarket, Row
from mia.sim.servers.trace import Trace
from mia.sim.servers.websocket import WebSocket
from mia.sim.servers.wire import (
    Texts,
    agg_trade_frame,
    book_ticker_frame,
    combined,
    depth_frame,
    encode_json,
    partial_depth_frame,
    text8,
    trade_frame,
    websocket_frame,
)

TICK_US: Final = 100_000
_MESSAGES_PER_S_MAX: Final = 5
_STREAMS_MAX: Final = 1024
_PARTIAL: Final = (5, 10, 20)


class Subscriber:
    """One connection to the market streams."""

    def __init__(self, hub: StreamHub, socket: WebSocket, names: list[str], is_combined: bool, is_micro: bool) -> None:
        self._hub = hub
        self.socket = socket
        self.is_combined = is_combined
        self.is_micro = is_micro
        self.names: dict[str, None] = {}
        self.out: list[bytes] = []
        self._messages: deque[int] = deque(maxlen=_MESSAGES_PER_S_MAX + 1)
        for name in names:
            self.subscribe(name)

    def subscribe(self, name: str) -> None:
        """Hear a stream; a name that does not exist is accepted and silent."""
        if name not in self.names:
            self.names[name] = None
            self._hub.channels.setdefault(name, []).append(self)

    def unsubscribe(self, name: str) -> None:
        """Hear it no more."""
        if name in self.names:
            del self.names[name]
            channel = self._hub.channels[name]
            channel.remove(self)
            if not channel:
                del self._hub.channels[name]

    def _count(self) -> bool:
        """One more incoming message; False when they came too fast and the connection was closed."""
        now = time.monotonic_ns()
        self._messages.append(now)
        if len(self._messages) > _MESSAGES_PER_S_MAX and now - self._messages[0] < 1_000_000_000:
            self.socket.close(1008, "Too many requests")
            return False
        return True

    def on_ping(self) -> None:
        """Pings and pongs count as messages."""
        self._count()

    def on_closed(self) -> None:
        """Forget the connection."""
        for name in list(self.names):
            self.unsubscribe(name)
        self._hub.subscribers.discard(self)

    def on_text(self, payload: bytes, received_ns: int) -> None:
        """SUBSCRIBE and its kin."""
        if not self._count():
            return
        try:
            request = msgspec.json.decode(payload)
        except msgspec.DecodeError as e:
            self._answer({"code": 3, "msg": f"Invalid JSON: {e}"})
            return
        if not isinstance(request, dict):
            self._answer({"code": 2, "msg": "Invalid request: expected an object"})
            return
        number = request.get("id")
        if not (
            number is None or (isinstance(number, int) and not isinstance(number, bool)) or (isinstance(number, str) and len(number) <= 36)
        ):
            self._answer({"code": 2, "msg": "Invalid request: request ID must be an integer, a string of up to 36 characters or null"})
            return
        try:
            self._answer({"result": self._do(request.get("method"), request.get("params", [])), "id": number})
        except ValueError as e:
            self._answer({"code": 2, "msg": f"Invalid request: {e}", "id": number})

    def _do(self, method: object, params: Any) -> object:
        if not isinstance(params, list):
            raise ValueError("invalid type: params must be an array")
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            if not all(isinstance(name, str) for name in params) or not params:
                raise ValueError("params must be stream names")
            if method == "SUBSCRIBE" and len(self.names) + len(params) > _STREAMS_MAX:
                raise ValueError(f"at most {_STREAMS_MAX} streams a connection")
            for name in params:
                self.subscribe(name) if method == "SUBSCRIBE" else self.unsubscribe(name)
            return None
        if method == "LIST_SUBSCRIPTIONS":
            return list(self.names)
        if method == "SET_PROPERTY":
            if len(params) != 2 or params[0] != "combined" or not isinstance(params[1], bool):
                raise ValueError('params must be ["combined", true or false]')
            self.is_combined = params[1]
            return None
        if method == "GET_PROPERTY":
            if params != ["combined"]:
                raise ValueError('params must be ["combined"]')
            return self.is_combined
        raise ValueError(
            f"unknown variant `{method}`, expected one of SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY"
        )

    def _answer(self, answer: dict[str, Any]) -> None:
        self._hub.flush()
        self.socket.send(encode_json(answer))


class _Diff:
    """Levels that changed since the last diff of one speed."""

    def __init__(self) -> None:
        self.levels: dict[int, int] = {}  # bid price, or minus ask price -> lots
        self.first = 0

    def take(self, texts: Texts) -> tuple[str, str]:
        """(bids, asks) as texts; empties it."""
        bids = texts.levels((p, q) for p, q in self.levels.items() if p > 0)
        asks = texts.levels((-p, q) for p, q in self.levels.items() if p < 0)
        self.levels = {}
        return bids, asks


class StreamHub:
    """All subscribers of one symbol's streams."""

    def __init__(self, market: DemoMarket, texts: Texts, symbol: str, unit_e8: int, trace: Trace | None) -> None:
        self._market = market
        self._t = texts
        self._symbol = symbol
        self._unit_e8 = unit_e8
        self._trace = trace
        self.channels: dict[str, list[Subscriber]] = {}
        self.subscribers: set[Subscriber] = set()
        s = symbol.lower()
        self._trade, self._agg, self._ticker = f"{s}@trade", f"{s}@aggTrade", f"{s}@bookTicker"
        self._depth = ((f"{s}@depth@100ms", _Diff()), (f"{s}@depth", _Diff()))
        self._fast, self._slow = self._depth[0][1], self._depth[1][1]
        self._partials = (
            [(f"{s}@depth{n}@100ms", n) for n in _PARTIAL],
            [(f"{s}@depth{n}", n) for n in _PARTIAL],
        )
        self._klines = {name: f"{s}@kline_{name}" for name in INTERVALS}
        self._dirty: dict[Subscriber, None] = {}

    # --- out -------------------------------------------------------------------------------------------------------
    def publish(self, name: str, channel: list[Subscriber], make: Callable[[int], bytes], numbers: str = "") -> None:
        """One frame to a channel; make(unit) encodes for a time unit (microseconds are divided by it)."""
        frames: dict[tuple[bool, bool], bytes] = {}
        for subscriber in channel:
            key = (subscriber.is_combined, subscriber.is_micro)
            frame = frames.get(key)
            if frame is None:
                payload = make(1 if key[1] else 1000)
                frame = frames[key] = websocket_frame(combined(name, payload) if key[0] else payload)
            subscriber.out.append(frame)
            self._dirty[subscriber] = None
        if self._trace is not None:
            self._trace.frame(name, numbers)

    def flush(self) -> None:
        """Write what was published."""
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        now_ns = time.monotonic_ns()
        for subscriber in dirty:
            frames, subscriber.out = subscriber.out, []
            subscriber.socket.write(frames[0] if len(frames) == 1 else b"".join(frames))
        if self._trace is not None:
            self._trace.sent(now_ns)

    # --- what happens ----------------------------------------------------------------------------------------------
    def on_row(self, row: Row) -> None:
        """A row that is in the market's book already."""
        if row.kind == DELTA:
            key = row.b if row.a > 0 else -row.b
            for diff in (self._fast, self._slow):
                if not diff.levels:
                    diff.first = self._market.update_id
                diff.levels[key] = row.c
        elif row.kind == QUOTE:
            channel = self.channels.get(self._ticker)
            if channel:
                t = self._t
                bid, bid_size, ask, ask_size = t.price(row.a), t.size(row.c), t.price(row.b), t.size(row.d)
                update_id = self._market.update_id
                payload = book_ticker_frame(self._symbol, update_id, bid, bid_size, ask, ask_size)
                numbers = f"{update_id} {bid} {bid_size} {ask} {ask_size}" if self._trace is not None else ""
                self.publish(self._ticker, channel, partial(_same, payload), numbers)
        else:
            self._on_trade(row)

    def _on_trade(self, row: Row) -> None:
        for name, encode in ((self._trade, trade_frame), (self._agg, agg_trade_frame)):
            channel = self.channels.get(name)
            if channel:
                fields = (row.time_us, row.d, self._t.price(row.a), self._t.size(row.b), row.c != BUY)
                self.publish(name, channel, partial(self._trade_payload, encode, *fields), str(row.d))

    def _trade_payload(self, encode: Callable[..., bytes], time_us: int, number: int, price: str, size: str, m: bool, unit: int) -> bytes:
        return encode(self._symbol, time_us // unit, number, price, size, m)

    def on_tick(self, time_us: int) -> None:
        """A multiple of 100 ms of the server's clock."""
        is_second = time_us % 1_000_000 == 0
        for i, (name, diff) in enumerate(self._depth):
            if i == 1 and not is_second:
                break
            self._send_diff(name, diff, time_us)
            for top, n in self._partials[i]:
                channel = self.channels.get(top)
                if channel:
                    bids, asks = (self._t.levels(self._market.levels(side, n)) for side in (True, False))
                    payload = partial_depth_frame(self._market.update_id, bids, asks)
                    self.publish(top, channel, partial(_same, payload), str(self._market.update_id))
        if is_second:
            self._market.klines.roll(time_us)
            for series in self._market.klines.series.values():
                if series.name == "1s" or time_us % 2_000_000 == 0:
                    self._send_klines(series, time_us)
            if self._trace is not None:
                self._trace.flush()

    def _send_diff(self, name: str, diff: _Diff, time_us: int) -> None:
        if not diff.levels:
            return
        first, last = diff.first, self._market.update_id
        channel = self.channels.get(name)
        if not channel:
            diff.levels = {}
            return
        bids, asks = diff.take(self._t)
        self.publish(name, channel, lambda unit: depth_frame(self._symbol, time_us // unit, first, last, bids, asks), f"{first} {last}")

    def _send_klines(self, series: Series, time_us: int) -> None:
        ended, series.ended = series.ended, []
        channel = self.channels.get(self._klines[series.name])
        if not channel or not series.rows:
            return
        for k, is_closed in [*((k, True) for k in ended[-100:]), (series.rows[-1], False)]:
            self._send_kline(series, channel, k, is_closed, time_us)

    def _send_kline(self, series: Series, channel: list[Subscriber], k: Kline, is_closed: bool, time_us: int) -> None:
        def make(unit: int) -> bytes:
            body = kline_object(k, series, self._symbol, is_closed, self._t.price, self._t.size, self._money, unit)
            return encode_json({"e": "kline", "E": time_us // unit, "s": self._symbol, "k": body})

        self.publish(self._klines[series.name], channel, make, str(k.open_us))

    def _money(self, value: int) -> str:
        return text8(value * self._unit_e8)

    def shut_down(self, time_us: int) -> None:
        """Tell everybody that the end is near."""
        for subscriber in list(self.subscribers):
            payload = encode_json({"e": "serverShutdown", "E": time_us if subscriber.is_micro else time_us // 1000})
            subscriber.socket.send(combined("!serverShutdown", payload) if subscriber.is_combined else payload)


def _same(payload: bytes, _unit: int) -> bytes:
    """A payload without times."""
    return payload
