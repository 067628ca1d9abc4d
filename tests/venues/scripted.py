"""A small Binance that does what a test tells it to: real sockets, no market, every fault on request."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from mia.domain.events import AnyEvent
from mia.domain.instruments import Instrument, InstrumentId
from mia.ports import Codec, Link
from mia.venues.binance.connect import BinanceSpot, Credentials, Endpoints
from mia.venues.settings import LinkSettings

SECRET = b"canary-secret-never-to-be-seen"
FAST = LinkSettings(
    connect_timeout_ms=1000, request_timeout_ms=150, stale_after_ms=250, ping_after_ms=2000, retry_first_ms=10, retry_unit_ms=10,
    retry_max_ms=40, stable_after_ms=0, quiet_ms=10,
)  # fmt: skip


def instrument(symbol: str = "BTCUSDT") -> Instrument:
    return Instrument(
        venue="demo", symbol=symbol, kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
        lot_size=Decimal("0.00001"), maker_fee=Decimal("0.001"), taker_fee=Decimal("0.001"), min_notional=Decimal(5),
    )  # fmt: skip


class RecordingHost:
    """A core that only listens."""

    def __init__(self) -> None:
        self.reports: list[AnyEvent] = []
        self.links: list[tuple[str, Link, str]] = []
        self.events: list[AnyEvent] = []
        self.on_report: Callable[[AnyEvent], None] | None = None
        self._changed = asyncio.Event()

    def now_ns(self) -> int:
        return time.time_ns()

    def frame(self, codec: Codec, payload: bytes) -> None:
        self.events += codec.decode(payload, time.time_ns(), len(self.events) + 1)
        self._changed.set()

    def report(self, event: AnyEvent) -> None:
        assert event.seq == 0
        assert event.ts_recv_ns == 0
        self.reports.append(event)
        self._changed.set()
        if self.on_report is not None:
            self.on_report(event)

    def link(self, name: str, state: Link, detail: str = "") -> None:
        self.links.append((name, state, detail))
        self._changed.set()

    def of(self, kind: type) -> list[Any]:
        return [e for e in [*self.reports, *self.events] if type(e) is kind]

    def states(self, name: str) -> list[Link]:
        return [state for link, state, _ in self.links if link == name]

    async def until(self, holds: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until it holds; fails when it never does."""
        async with asyncio.timeout(seconds):
            while not holds():
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._changed.wait()


Answer = Callable[[dict[str, Any]], Awaitable[Any] | Any]


class ScriptedVenue:
    """Streams at /stream, requests at /ws-api/v3. `answers[method]` gives the result of a request, or does something else."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answers: dict[str, Answer] = {
            "time": lambda _: {"serverTime": time.time_ns() // 1_000_000},
            "userDataStream.subscribe.signature": lambda _: {"subscriptionId": 0},
            "openOrders.status": lambda _: [],
            "account.status": lambda _: {"balances": []},
        }
        self.api_sockets: list[web.WebSocketResponse] = []
        self.stream_sockets: list[web.WebSocketResponse] = []
        self.stream_queries: list[str] = []
        self.refuses_streams = False
        self._runner: web.AppRunner | None = None
        self.port = 0

    # --- life -----------------------------------------------------------------------------------------------------------
    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_get("/stream", self._stream)
        app.router.add_get("/ws-api/v3", self._api)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        assert self._runner is not None
        for socket in [*self.api_sockets, *self.stream_sockets]:
            self.cut(socket)
        await self._runner.cleanup()
        self.api_sockets.clear()
        self.stream_sockets.clear()

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(stream=f"ws://127.0.0.1:{self.port}", api=f"ws://127.0.0.1:{self.port}/ws-api/v3")

    @staticmethod
    def cut(socket: web.WebSocketResponse) -> None:
        """Drop the connection without a close frame."""
        transport = socket._req.transport if socket._req is not None else None
        if transport is not None:
            transport.abort()

    def cut_api(self) -> None:
        for socket in self.api_sockets:
            self.cut(socket)
        self.api_sockets.clear()

    # --- streams --------------------------------------------------------------------------------------------------------
    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.refuses_streams:
            return web.Response(status=200, text="<html>maintenance</html>", content_type="text/html")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.stream_queries.append(request.query["streams"])
        self.stream_sockets.append(socket)
        async for _ in socket:
            pass
        return socket

    async def publish(self, stream: str, data: dict[str, Any]) -> None:
        for socket in self.stream_sockets:
            with contextlib.suppress(ConnectionError):
                await socket.send_str(msgspec.json.encode({"stream": stream, "data": data}).decode())

    async def quote(self, number: int = 1, symbol: str = "BTCUSDT") -> None:
        data = {"u": number, "s": symbol, "b": "60000.00", "B": "1.00000", "a": "60000.01", "A": "2.00000"}
        await self.publish(f"{symbol.lower()}@bookTicker", data)

    # --- requests -------------------------------------------------------------------------------------------------------
    async def _api(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.api_sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self._on_request(socket, msgspec.json.decode(message.data))
        return socket

    async def _on_request(self, socket: web.WebSocketResponse, request: dict[str, Any]) -> None:
        self.requests.append(request)
        answer = self.answers.get(request["method"])
        result = answer(request) if answer is not None else Refusal(400, -1100, "not scripted")
        if asyncio.iscoroutine(result):
            result = await result
        if result is SILENCE:
            return
        if isinstance(result, Refusal):
            error = {"code": result.code, "msg": result.text, **({"data": result.data} if result.data else {})}
            await self.answer(socket, {"id": request["id"], "status": result.status, "error": error})
        else:
            await self.answer(socket, {"id": request["id"], "status": 200, "result": result})

    async def answer(self, socket: web.WebSocketResponse, frame: Any) -> None:
        with contextlib.suppress(ConnectionError):
            await socket.send_str(frame if isinstance(frame, str) else msgspec.json.encode(frame).decode())

    async def push(self, event: dict[str, Any]) -> None:
        """A user data event on every API connection."""
        for socket in self.api_sockets:
            await self.answer(socket, {"subscriptionId": 0, "event": event})

    def of(self, method: str) -> list[dict[str, Any]]:
        return [r["params"] for r in self.requests if r["method"] == method]


class Refusal:
    """An error answer."""

    def __init__(self, status: int, code: int, text: str, data: dict[str, Any] | None = None) -> None:
        self.status, self.code, self.text, self.data = status, code, text, data


SILENCE = object()


def spot(host: RecordingHost, venue: ScriptedVenue, *, needs_book: tuple[int, ...] = (), settings: LinkSettings = FAST) -> BinanceSpot:
    named = {"BTCUSDT": (InstrumentId(0), instrument())}
    return BinanceSpot("demo", venue.endpoints, named, needs_book, Credentials("KEY", SECRET), host, settings)


@contextlib.asynccontextmanager
async def venue_and_client(
    *, feed: bool = False, needs_book: tuple[int, ...] = (), settings: LinkSettings = FAST
) -> AsyncIterator[tuple[ScriptedVenue, RecordingHost, BinanceSpot]]:
    """A scripted venue, a listening core, and the client between them, connected."""
    venue, host = ScriptedVenue(), RecordingHost()
    await venue.start()
    client = spot(host, venue, needs_book=needs_book, settings=settings)
    tasks = [asyncio.create_task(client.run_api())]
    try:
        async with asyncio.timeout(10):
            await client.wait_api()
        if feed:
            tasks.append(asyncio.create_task(client.run_feed()))
            await host.until(lambda: bool(venue.stream_sockets))
        yield venue, host, client
        assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await venue.stop()
