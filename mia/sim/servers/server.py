"""The demo exchange on one event loop: market, account and connections, driven by a timer that waits for the next row."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from mia.domain.instruments import Instrument
from mia.sim.servers.errors import ApiError
from mia.sim.servers.exchange import Exchange
from mia.sim.servers.limits import Limits
from mia.sim.servers.market import DemoMarket
from mia.sim.servers.operations import Call, Operation, Operations, weight_of
from mia.sim.servers.params import Params
from mia.sim.servers.rest import add_routes
from mia.sim.servers.security import Guard
from mia.sim.servers.state_files import StateDir, fresh_credentials
from mia.sim.servers.streams import TICK_US, StreamHub, Subscriber
from mia.sim.servers.trace import Trace
from mia.sim.servers.websocket import WebSocket, handshake_answer
from mia.sim.servers.ws_api import ApiConnection
from mia.sim.settings import DemoSettings, SimMarketSettings

_PING_S: Final = 20.0
_PONG_NS_MAX: Final = 60_000_000_000
_LIFE_NS: Final = 86_400_000_000_000
_ROWS_AT_ONCE: Final = 2_000
_BEHIND_US_MAX: Final = 30_000_000
_HANDSHAKE_WEIGHT: Final = 2


class DemoServer:
    """One exchange with one symbol and one account."""

    def __init__(
        self, sim: SimMarketSettings, instrument: Instrument, demo: DemoSettings, state: Path | None = None, trace: Path | None = None
    ) -> None:
        """state: directory to go on from and to survive in; None keeps nothing. Raises what StateDir and DemoMarket raise."""
        self._start_us = time.time_ns() // 1000
        self._start_ns = time.monotonic_ns()
        self._demo = demo
        files = StateDir(state) if state is not None else None
        self.credentials = files.credentials if files is not None else fresh_credentials()
        self.guard = Guard(self.credentials)
        self.limits = Limits(demo.weight_per_minute, demo.orders_per_10s, demo.orders_per_day)
        self.market = DemoMarket(sim, instrument, demo, self.now_us(), files)
        self.exchange = Exchange(self.market, instrument, demo, self.limits, files.account if files is not None else None)
        self.operations = Operations(self.exchange, self.limits)
        self.trace = Trace(trace) if trace is not None else None
        self.hub = StreamHub(self.market, self.exchange.texts, instrument.symbol, instrument.unit_e8, self.trace)
        self.api_connections: set[ApiConnection] = set()
        self._next_tick_us = (self.market.due_us // TICK_US + 1) * TICK_US
        self._timer: asyncio.TimerHandle | None = None
        self._pinger: asyncio.TimerHandle | None = None
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.failure: Exception | None = None
        self.has_failed = asyncio.Event()

    # --- time ------------------------------------------------------------------------------------------------------
    def now_us(self) -> int:
        """The wall clock as it was at the start, plus what has elapsed: it never steps."""
        return self._start_us + (time.monotonic_ns() - self._start_ns) // 1000

    @staticmethod
    def monotonic_ns() -> int:
        """What traces are stamped with."""
        return time.monotonic_ns()

    # --- life ------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Listen on loopback and let the market run; OSError when the port is taken."""
        app = web.Application()
        app.router.add_get("/ws-api/v3", self._open_api)
        app.router.add_get("/ws", self._open_stream)
        app.router.add_get("/ws/{names:.+}", self._open_stream)
        app.router.add_get("/stream", self._open_stream)
        add_routes(app, self)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._demo.host, self._demo.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._on_timer()
        self._pinger = asyncio.get_running_loop().call_later(_PING_S, self._ping_all)

    async def stop(self) -> None:
        """Say that it ends, close every connection, write the rest."""
        for handle in (self._timer, self._pinger):
            if handle is not None:
                handle.cancel()
        if self.failure is None:
            self.pump()
        self.hub.shut_down(self.now_us())
        for connection in list(self.api_connections):
            connection.shut_down()
        for socket in [s.socket for s in self.hub.subscribers] + [c.socket for c in self.api_connections]:
            socket.close(1001, "server shutdown")
        if self._runner is not None:
            await self._runner.cleanup()
        if self.trace is not None:
            self.trace.flush()

    # --- the market goes on ----------------------------------------------------------------------------------------
    def pump(self) -> None:
        """Let everything happen that is due, write it down, send it."""
        market, hub, exchange = self.market, self.hub, self.exchange
        now = self.now_us()
        if now - market.due_us > _BEHIND_US_MAX:  # the process was stopped: the market was, too
            market.pause_until(now)
            self._next_tick_us = max(self._next_tick_us, now // TICK_US * TICK_US)
        for _ in range(_ROWS_AT_ONCE):
            if market.due_us < self._next_tick_us:
                if market.due_us > now:
                    break
                row = market.take()
                exchange.on_row(row)
                hub.on_row(row)
            else:
                if self._next_tick_us > now:
                    break
                hub.on_tick(self._next_tick_us)
                self._next_tick_us += TICK_US
        market.keep_position()
        exchange.commit()
        hub.flush()
        self.send_events()

    def _on_timer(self) -> None:
        try:
            self.pump()
        except Exception as e:  # a market that stands still in silence would be worse than none
            self.failure = e
            self.has_failed.set()
            return
        due = min(self.market.due_us, self._next_tick_us)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, (due - self.now_us()) / 1e6), self._on_timer)

    def commit(self) -> None:
        """What requests changed is on disk."""
        self.exchange.commit()

    def send_events(self) -> None:
        """User events to those who subscribed."""
        if self.exchange.events:
            for event in self.exchange.take_events():
                for connection in list(self.api_connections):
                    connection.send_event(event)

    def _ping_all(self) -> None:
        now = time.monotonic_ns()
        payload = str(self.now_us() // 1000).encode()
        for socket in [s.socket for s in self.hub.subscribers] + [c.socket for c in self.api_connections]:
            if socket.ping_unanswered_ns and now - socket.ping_unanswered_ns > _PONG_NS_MAX:
                socket.close(1008, "Pong timeout")
            elif now - socket.opened_ns > _LIFE_NS:
                socket.close(1000, "24 hours are over")
            else:
                socket.ping(payload)
        self._pinger = asyncio.get_running_loop().call_later(_PING_S, self._ping_all)

    # --- requests --------------------------------------------------------------------------------------------------
    def authorize(self, api_key: Any, payload: str, signature: Any, params: Mapping[str, Any]) -> None:
        """ApiError unless the request may touch the account."""
        self.guard.check_key(api_key)
        self.guard.check_time(params, time.time_ns() // 1000)
        self.guard.check_signature(payload, signature)

    def call(self, operation: Operation, values: Mapping[str, Any], unit: int) -> Any:
        """Run one operation; its weight counts unless it is an order request that succeeded."""
        params = Params(values)
        now_us = self.now_us()
        weight = weight_of(operation, params)
        self.limits.spend(weight, now_us)
        result = operation.run(Call(params, now_us, unit))
        if operation.is_order:
            self.limits.weight.add(-weight, now_us)
        return result

    # --- connections -----------------------------------------------------------------------------------------------
    async def _open_api(self, request: web.Request) -> web.StreamResponse:
        try:
            self.limits.spend(_HANDSHAKE_WEIGHT, self.now_us())
        except ApiError as e:
            return web.json_response(e.body(), status=e.status)

        def attach(socket: WebSocket) -> None:
            shows = request.query.get("returnRateLimits", "true").lower() != "false"
            connection = ApiConnection(self, socket, _is_micro(request), shows)
            socket.endpoint = connection
            self.api_connections.add(connection)

        return await self._upgrade(request, attach)

    async def _open_stream(self, request: web.Request) -> web.StreamResponse:
        is_combined = request.path == "/stream"
        text = request.query.get("streams", "") if is_combined else request.match_info.get("names", "")

        def attach(socket: WebSocket) -> None:
            names = [name for name in text.split("/") if name]
            subscriber = Subscriber(self.hub, socket, names, is_combined, _is_micro(request))
            socket.endpoint = subscriber
            self.hub.subscribers.add(subscriber)

        return await self._upgrade(request, attach)

    async def _upgrade(self, request: web.Request, attach: Any) -> web.StreamResponse:
        """Answer the handshake and hand the transport over; returns when the connection is gone."""
        key = request.headers.get("Sec-WebSocket-Key")
        transport, http = request.transport, request.protocol
        if key is None or request.headers.get("Upgrade", "").lower() != "websocket" or transport is None:
            return web.Response(status=400, text="a websocket handshake is needed here")
        is_gone = asyncio.get_running_loop().create_future()

        def lost(error: Exception | None) -> None:
            http.connection_lost(error)
            if not is_gone.done():
                is_gone.set_result(None)

        socket = WebSocket(transport, self._demo.buffer_bytes_max, lost)
        transport.write(handshake_answer(key))
        transport.set_protocol(socket)
        attach(socket)
        await is_gone
        return web.Response()


def _is_micro(request: web.Request) -> bool:
    return request.query.get("timeUnit", "").upper() == "MICROSECOND"
