"""The demo exchange over real sockets: in this process for what it answers, in its own for how it lives and dies."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mia.domain.instruments import Instrument
from mia.sim.servers.server import DemoServer
from mia.sim.settings import DemoSettings, SimMarketSettings

ROOT = Path(__file__).resolve().parents[3]
SYMBOL = "SIMUSDT"
INSTRUMENT = Instrument(
    venue="demo", symbol=SYMBOL, kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.10"),
    lot_size=Decimal("0.00001"), maker_fee=Decimal("0.0002"), taker_fee=Decimal("0.0005"), min_notional=Decimal(5),
)  # fmt: skip
WAIT_S = 20.0


def hex_hmac(secret: str, payload: str) -> str:
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


class Socket:
    """A websocket that speaks JSON."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def get(self) -> Any:
        message = await asyncio.wait_for(self.ws.receive(), WAIT_S)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return json.loads(message.data)

    async def until(self, wanted: Callable[[Any], bool]) -> Any:
        """The first message that is wanted; others are dropped."""
        while True:
            message = await self.get()
            if wanted(message):
                return message


class Api(Socket):
    """One connection to the WebSocket API; events that come meanwhile are kept."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, client: Client) -> None:
        super().__init__(ws)
        self.client = client
        self.events: list[dict[str, Any]] = []

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        await self.ws.send_json({"id": method, "method": method, "params": params})
        while True:
            message = await self.get()
            if "event" not in message:
                return message
            self.events.append(message["event"])

    async def signed(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.ask(method, **self.client.sign(params))

    async def order(self, **params: Any) -> dict[str, Any]:
        """order.place with the symbol filled in."""
        return await self.signed("order.place", symbol=SYMBOL, **params)

    async def event(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event, kept or to come, that is wanted."""
        while True:
            for i, event in enumerate(self.events):
                if wanted(event):
                    del self.events[: i + 1]
                    return event
            self.events = [(await self.get())["event"]]

    async def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        answer = await self.signed("account.status")
        return {b["asset"]: (Decimal(b["free"]), Decimal(b["locked"])) for b in answer["result"]["balances"]}


class Client:
    """Speaks to one exchange."""

    def __init__(self, session: aiohttp.ClientSession, rest: str, stream: str, api: str, key: str, secret: str) -> None:
        self.session, self.rest_at, self.stream_at, self.api_at, self.key, self.secret = session, rest, stream, api, key, secret

    def sign(self, params: dict[str, Any]) -> dict[str, Any]:
        full = {"timestamp": int(time.time() * 1000), "recvWindow": 5000, **params, "apiKey": self.key}
        return {**full, "signature": hex_hmac(self.secret, "&".join(f"{k}={full[k]}" for k in sorted(full)))}

    async def api(self, query: str = "", user_data: bool = False) -> Api:
        connection = Api(await self.session.ws_connect(self.api_at + query), self)
        if user_data:
            assert (await connection.signed("userDataStream.subscribe.signature"))["status"] == 200
        return connection

    async def stream(self, path: str) -> Socket:
        return Socket(await self.session.ws_connect(self.stream_at + path))

    async def rest(self, method: str, path: str, query: str = "", signed: bool = False, body: str = "") -> tuple[int, Any, Any]:
        """(status, JSON, headers)."""
        from yarl import URL

        headers = {}
        if signed:
            query += ("&" if query else "") + f"timestamp={int(time.time() * 1000)}"
            query += "&signature=" + hex_hmac(self.secret, query + body)
            headers["X-MBX-APIKEY"] = self.key
        url = URL(f"{self.rest_at}/api/v3/{path}" + (f"?{query}" if query else ""), encoded=True)
        async with self.session.request(method, url, headers=headers, data=body or None) as answer:
            return answer.status, await answer.json(), answer.headers


Running = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def running() -> Running:
    """`async with running(speed=5.0) as client`: an exchange in this process."""

    @asynccontextmanager
    async def run(seed: int = 1, state: Path | None = None, **demo: Any) -> AsyncIterator[Client]:
        settings = DemoSettings(**{"history_s": 20, **demo})
        server = DemoServer(SimMarketSettings(seed=seed), INSTRUMENT, settings, state)
        await server.start()
        at = f"127.0.0.1:{server.port}"
        keys = server.credentials
        try:
            async with aiohttp.ClientSession() as session:
                client = Client(session, f"http://{at}", f"ws://{at}", f"ws://{at}/ws-api/v3", keys.api_key, keys.secret)
                client.server = server  # type: ignore[attr-defined]
                yield client
        finally:
            await server.stop()

    return run


class Process:
    """The exchange as `python -m mia.sim.servers.demo`."""

    def __init__(self, *arguments: str, demo: dict[str, Any] | None = None, seed: int = 1) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "daemon")])}
        command = [sys.executable, "-m", "mia.sim.servers.demo", *arguments]
        pipe = subprocess.PIPE
        self.popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=ROOT)
        instrument = {
            "venue": "demo", "symbol": SYMBOL, "kind": "spot", "family": "crypto", "quote_currency": "USDT", "tick_size": "0.10",
            "lot_size": "0.00001", "maker_fee": "0.0002", "taker_fee": "0.0005", "min_notional": "5",
        }  # fmt: skip
        line = json.dumps({"instrument": instrument, "demo": {"history_s": 20, "seed": seed, **(demo or {})}})
        self.write(line.encode() + b"\n")

    def write(self, data: bytes) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(data)
        self.popen.stdin.flush()

    def ready(self) -> dict[str, Any]:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, self.popen.communicate()[1].decode()
        return json.loads(line)  # type: ignore[no-any-return]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        r = await asyncio.to_thread(self.ready)
        async with aiohttp.ClientSession() as session:
            yield Client(session, r["rest"], r["stream"], r["api"], r["api_key"], r["secret"])

    def end(self) -> int:
        """Close its stdin and wait; also after it was killed."""
        if self.popen.stdin is not None:
            self.popen.stdin.close()
        return self.popen.wait(WAIT_S)


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts exchanges in processes of their own; what is left of them is killed at the end."""
    started: list[Process] = []

    def run(*arguments: str, **settings: Any) -> Process:
        started.append(Process(*arguments, **settings))
        return started[-1]

    yield run
    for process in started:
        process.popen.kill()
        process.popen.wait()
        for pipe in (process.popen.stdin, process.popen.stdout, process.popen.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
