"""GET /metrics on loopback: the few lines of HTTP/1.1 that a scraper needs, on the daemon's own loop.

What is in the text is the caller's business. A scrape costs the loop a millisecond or two, so the text is made at most once a second,
however many ask. A web page in a browser of this machine cannot read it: a Host that is not ours is refused (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from mia.domain.errors import Transient

CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PATH: Final = "/metrics"
HEAD_BYTES_MAX: Final = 8192
CONNECTIONS_MAX: Final = 8
TIMEOUT_S: Final = 5.0
CACHE_S: Final = 1.0
_SWALLOW_S: Final = 0.1
_SWALLOW_READS: Final = 8

_log = logging.getLogger("mia.telemetry.openmetrics")


class OpenMetricsEndpoint:
    """One listening socket. `run` is the task; it ends when canceled."""

    def __init__(
        self,
        address: str,
        port: int,
        render: Callable[[], bytes],
        *,
        on_listening: Callable[[str], None] = lambda url: None,
        timeout_s: float = TIMEOUT_S,
        cache_s: float = CACHE_S,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """address: loopback; port 0: any free one. render: the OpenMetrics text. on_listening: is told the URL."""
        self._address: Final = address
        self._asked_port: Final = port
        self._render: Final = render
        self._on_listening: Final = on_listening
        self._timeout_s: Final = timeout_s
        self._cache_s: Final = cache_s
        self._monotonic_s: Final = monotonic_s
        self._hosts: Final = frozenset(("localhost", "127.0.0.1", "[::1]", _bracketed(address)))
        self._serving: Final[set[asyncio.Task[None] | None]] = set()
        self._body = b""
        self._made_s = float("-inf")
        self.port = 0  # in use; 0 while it does not listen

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{_bracketed(self._address)}:{self.port}{PATH}"

    async def run(self) -> None:
        """Listen and answer until canceled; Transient when the port cannot be had."""
        try:
            server = await asyncio.start_server(self._serve, self._address, self._asked_port, limit=HEAD_BYTES_MAX, backlog=CONNECTIONS_MAX)
        except OSError as e:
            raise Transient(
                f"metrics: cannot listen on {_bracketed(self._address)}:{self._asked_port} ({os.strerror(e.errno) if e.errno else e}): "
                "give another [metrics] port, or set [metrics] endpoint = false"
            ) from e
        try:
            self.port = server.sockets[0].getsockname()[1]
            self._on_listening(self.url)
            await asyncio.get_running_loop().create_future()
        finally:
            self.port = 0
            server.close()
            for task in filter(None, self._serving):
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._serving.add(task)
        try:
            async with asyncio.timeout(self._timeout_s):
                writer.write(await self._answer(reader))
                await writer.drain()
        except (TimeoutError, OSError):
            pass  # too slow, or gone
        except asyncio.CancelledError:
            pass  # the endpoint ends; Python 3.11 would log a canceled connection as an error
        finally:
            self._serving.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        """The whole response to the one request of a connection."""
        if len(self._serving) > CONNECTIONS_MAX:
            await _swallow(reader)
            return _response(HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            await _swallow(reader)
            return _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except asyncio.IncompleteReadError:
            return b""
        status, is_head = self._judge(head)
        if status is not HTTPStatus.OK:
            return _response(status, is_head=is_head)
        try:
            body = self._text()
        except Exception:  # the edge: a fault in the figures must not end the endpoint
            _log.exception("the metrics could not be made")
            return _response(HTTPStatus.INTERNAL_SERVER_ERROR, is_head=is_head)
        return _response(HTTPStatus.OK, body, CONTENT_TYPE, is_head=is_head)

    def _judge(self, head: bytes) -> tuple[HTTPStatus, bool]:
        """(OK or why not, whether it is a HEAD request)."""
        first, *lines = head.decode("latin-1").split("\r\n")
        parts = first.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            return HTTPStatus.BAD_REQUEST, False
        method, target, _ = parts
        is_head = method == "HEAD"
        hosts = [value.strip().lower() for name, _, value in (line.partition(":") for line in lines) if name.lower() == "host"]
        if len(hosts) != 1:
            return HTTPStatus.BAD_REQUEST, is_head
        if _without_port(hosts[0]) not in self._hosts:
            return HTTPStatus.FORBIDDEN, is_head
        if target.partition("?")[0] != PATH:
            return HTTPStatus.NOT_FOUND, is_head
        if method not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, is_head
        return HTTPStatus.OK, is_head

    def _text(self) -> bytes:
        now_s = self._monotonic_s()
        if now_s - self._made_s >= self._cache_s:
            self._body, self._made_s = self._render(), now_s
        return self._body


async def _swallow(reader: asyncio.StreamReader) -> None:
    """Read what is there, a little of it: closing with bytes unread would reset the connection and lose our answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SWALLOW_S):
            for _ in range(_SWALLOW_READS):
                if not await reader.read(HEAD_BYTES_MAX):
                    return


def _response(
    status: HTTPStatus, body: bytes | None = None, content_type: str = "text/plain; charset=utf-8", *, is_head: bool = False
) -> bytes:
    if body is None:
        body = f"{status.value} {status.phrase}; the metrics are at GET {PATH}\n".encode()
    allow = "Allow: GET, HEAD\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"{allow}Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() if is_head else head.encode() + body


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _without_port(host: str) -> str:
    """`127.0.0.1` of `127.0.0.1:9477`, `[::1]` of `[::1]:9477`."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
