"""The server's end of one websocket (RFC 6455): frames in and out without a task, a queue or a copy for each message.

aiohttp answers the handshake's HTTP; then this protocol takes the transport over, so that a request is handled in the call that
reads its bytes, and one encoded frame is written to all who subscribed to it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable
from typing import Final, Protocol

from mia.sim.servers.wire import CLOSE, PING, PONG, TEXT, websocket_frame

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MESSAGE_BYTES_MAX: Final = 1 << 20
_CONTINUATION: Final = 0


class Endpoint(Protocol):
    """What sits behind a websocket."""

    def on_text(self, payload: bytes, received_ns: int) -> None:
        """A text message; received_ns: monotonic, when its bytes came."""
        ...

    def on_ping(self) -> None:
        """A ping or pong frame came (it is answered already)."""
        ...

    def on_closed(self) -> None:
        """The connection is gone."""
        ...


def handshake_answer(key: str) -> bytes:
    """The 101 answer to Sec-WebSocket-Key."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest())
    return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"


class WebSocket(asyncio.Protocol):
    """One connection; `endpoint` is told what comes."""

    def __init__(self, transport: asyncio.Transport, buffer_bytes_max: int, on_lost: Callable[[Exception | None], None]) -> None:
        """on_lost: the protocol that had the transport before, which is told of its end."""
        self._transport = transport
        self._buffer_bytes_max = buffer_bytes_max
        self._on_lost = on_lost
        self._buffer = bytearray()
        self._parts = bytearray()  # of a fragmented message
        self.endpoint: Endpoint | None = None
        self.is_closed = False
        self.opened_ns = time.monotonic_ns()
        self.ping_unanswered_ns = 0

    # --- out -------------------------------------------------------------------------------------------------------
    def send(self, payload: bytes) -> None:
        """One text message."""
        self.write(websocket_frame(payload))

    def write(self, frames: bytes) -> None:
        """Encoded frames; a reader that lets too much pile up is cut off."""
        if self.is_closed:
            return
        self._transport.write(frames)
        if self._transport.get_write_buffer_size() > self._buffer_bytes_max:
            self._transport.abort()
            self._closed()

    def ping(self, payload: bytes) -> None:
        """Ask for a sign of life."""
        if not self.ping_unanswered_ns:
            self.ping_unanswered_ns = time.monotonic_ns()
        self.write(websocket_frame(payload, PING))

    def close(self, code: int, reason: str = "") -> None:
        """Say why, and close once that is out."""
        if self.is_closed:
            return
        self.write(websocket_frame(code.to_bytes(2, "big") + reason.encode()[:120], CLOSE))
        self._transport.close()
        self._closed()

    # --- in --------------------------------------------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        """Bytes of the peer."""
        received_ns = time.monotonic_ns()
        buffer = self._buffer
        buffer += data
        while not self.is_closed and len(buffer) >= 2:
            length, head = buffer[1] & 127, 2
            if length == 126:
                length, head = int.from_bytes(buffer[2:4], "big"), 4
            elif length == 127:
                length, head = int.from_bytes(buffer[2:10], "big"), 10
            if len(buffer) < head:
                return
            if not buffer[1] & 128 or buffer[0] & 0x70:
                self.close(1002, "frames of a client are masked and without extensions")
                return
            if length > _MESSAGE_BYTES_MAX:
                self.close(1009, "message too large")
                return
            end = head + 4 + length
            if len(buffer) < end:
                return
            payload = _unmasked(bytes(buffer[head + 4 : end]), bytes(buffer[head : head + 4]))
            first = buffer[0]
            del buffer[:end]
            self._on_frame(first & 15, bool(first & 128), payload, received_ns)

    def _on_frame(self, opcode: int, is_last: bool, payload: bytes, received_ns: int) -> None:
        assert self.endpoint is not None
        if opcode == TEXT and is_last:
            self.endpoint.on_text(payload, received_ns)
        elif opcode == PING:
            self.write(websocket_frame(payload, PONG))
            self.endpoint.on_ping()
        elif opcode == PONG:
            self.ping_unanswered_ns = 0
            self.endpoint.on_ping()
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1000
            self.close(code if code != 1005 else 1000)
        elif opcode in (TEXT, _CONTINUATION):
            self._parts += payload
            if len(self._parts) > _MESSAGE_BYTES_MAX:
                self.close(1009, "message too large")
            elif is_last:
                whole, self._parts = bytes(self._parts), bytearray()
                self.endpoint.on_text(whole, received_ns)
        else:
            self.close(1003, "text only")

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._closed()
        self._on_lost(exc)

    def _closed(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            if self.endpoint is not None:
                self.endpoint.on_closed()


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    n = len(payload)
    pattern = (mask * (n // 4 + 1))[:n]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pattern, "little")).to_bytes(n, "little")
