"""One websocket connection, over picows: text frames go straight from the socket to a callback, without a task or a queue between.

The only module that knows the library (docs/adr/0008). Who connects again, and when, is decided by the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import picows

from mia.domain.errors import ConfigError, FeedLost

_FRAME_BYTES_MAX: Final = 16 << 20  # the largest answer is a depth snapshot of 5,000 levels a side, under 1 MB


class Connection(picows.WSListener):
    """An open connection; `reason` says why it ended."""

    def __init__(self, on_text: Callable[[bytes], None]) -> None:
        super().__init__()
        self._on_text = on_text
        self._transport: picows.WSTransport | None = None
        self._parts: list[bytes] = []
        self._is_writable = True
        self.is_open = False
        self.reason = ""

    # --- for the owner ------------------------------------------------------------------------------------------------
    @property
    def can_send(self) -> bool:
        """Open, and the socket takes what is written: nothing would wait in a buffer and leave late."""
        return self.is_open and self._is_writable

    def send(self, payload: bytes) -> None:
        """Write one text frame; returns at once. On a closed connection nothing leaves."""
        if self.is_open and self._transport is not None:
            self._transport.send(picows.WSMsgType.TEXT, payload)

    def close(self, reason: str) -> None:
        """End it; frames that still arrive are not handed on."""
        if not self.is_open or self._transport is None:
            return
        self.is_open = False
        self.reason = self.reason or reason
        self._on_text = _ignore
        self._transport.send_close(picows.WSCloseCode.OK)
        self._transport.disconnect(graceful=False)

    async def wait_closed(self) -> str:
        """Wait for its end; the reason in words. What the callback raised is raised here."""
        assert self._transport is not None
        try:
            await asyncio.shield(self._transport.wait_disconnected())
        except picows.WSError as e:
            self.reason = self.reason or f"protocol error: {e}"
        return self.reason or "connection lost"

    # --- for picows ---------------------------------------------------------------------------------------------------
    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """The handshake is done."""
        self._transport = transport
        self.is_open = True

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """One frame. Pings are answered by the library, with their payload."""
        kind = frame.msg_type
        if kind is picows.WSMsgType.TEXT or kind is picows.WSMsgType.BINARY:
            if frame.fin:
                self._on_text(frame.get_payload_as_bytes())
            else:
                self._parts = [frame.get_payload_as_bytes()]
        elif kind is picows.WSMsgType.CONTINUATION:
            self._parts.append(frame.get_payload_as_bytes())
            if sum(map(len, self._parts)) > _FRAME_BYTES_MAX:
                self.close("a message was too long")
            elif frame.fin:
                whole, self._parts = b"".join(self._parts), []
                self._on_text(whole)
        elif kind is picows.WSMsgType.CLOSE:
            self.is_open = False
            text = frame.get_close_message()
            words = text.decode("utf-8", "replace")[:100] if text else ""
            code = frame.get_close_code()
            self.reason = self.reason or f"closed by the venue: {getattr(code, 'value', code)} {words}".rstrip()
            transport.send_close(picows.WSCloseCode.OK)
            transport.disconnect(graceful=False)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """The socket is gone."""
        self.is_open = False

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_writable = True


async def connect(url: str, on_text: Callable[[bytes], None], *, timeout_s: float, ping_after_s: float) -> Connection:
    """Open a connection; FeedLost when there is none within timeout_s, ConfigError for a URL that is none.

    A connection that is silent for ping_after_s is pinged, and closed when no pong comes for as long again.
    """
    where = url.split("?", 1)[0]
    if not url.startswith(("ws://", "wss://")):
        raise ConfigError(f"{where}: a websocket address starts with ws:// or wss://")
    try:
        async with asyncio.timeout(timeout_s):
            _, connection = await picows.ws_connect(
                lambda: Connection(on_text),
                url,
                websocket_handshake_timeout=timeout_s,
                logger_name="mia",
                enable_auto_ping=True,
                auto_ping_idle_timeout=ping_after_s,
                auto_ping_reply_timeout=ping_after_s,
                max_frame_size=_FRAME_BYTES_MAX,
                max_redirects=0,
            )
    except TimeoutError as e:
        raise FeedLost(f"{where}: no connection within {timeout_s:g} s") from e
    except (OSError, picows.WSError) as e:
        raise FeedLost(f"{where}: cannot connect ({_words(e)})") from e
    except ValueError as e:
        raise ConfigError(f"{where}: not a websocket address ({e})") from e
    assert isinstance(connection, Connection)
    return connection


def _words(e: Exception) -> str:
    """The first line of an error, short: a refused handshake carries the whole answer."""
    return (str(e).splitlines() or [""])[0][:120] or type(e).__name__


def _ignore(payload: bytes) -> None:
    pass
