"""The client against the demo exchange in a process of its own: real sockets, real signatures, a market that moves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mia.domain.effects import CancelOrder, QueryOrder, SubmitOrder
from mia.domain.errors import ConfigError
from mia.domain.events import (
    BalanceReported,
    BookDelta,
    BookSnapshot,
    FeedDown,
    FeedGap,
    FeedUp,
    OpenOrdersReported,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    PositionReported,
    Quote,
    Trade,
)
from mia.domain.instruments import Instrument, InstrumentId
from mia.ports import Link
from mia.venues.binance.connect import BinanceSpot, Credentials, Endpoints
from mia.venues.settings import LinkSettings
from tests.venues.scripted import RecordingHost

pytestmark = pytest.mark.asyncio
ROOT = Path(__file__).resolve().parents[2]
ITEM = Instrument(
    venue="demo", symbol="SIMUSDT", kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"), maker_fee=Decimal("0.001"), taker_fee=Decimal("0.001"), min_notional=Decimal(5),
)  # fmt: skip
SETTINGS = LinkSettings(retry_first_ms=50, retry_unit_ms=50, retry_max_ms=200, stable_after_ms=0, quiet_ms=20)


class Exchange:
    """The child process."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.ready: dict[str, Any] = {}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, port: int = 0) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mia.sim.servers.demo", "--until-stdin-closes", "--port", str(port), "--state", str(self.state),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode({"instrument": ITEM}) + b"\n")
        async with asyncio.timeout(30):
            self.ready = msgspec.json.decode(await self._process.stdout.readline())

    async def kill(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    @property
    def port(self) -> int:
        return int(self.ready["stream"].rsplit(":", 1)[1])

    @property
    def places(self) -> tuple[Endpoints, Credentials]:
        ready = self.ready
        return Endpoints(stream=ready["stream"], api=ready["api"]), Credentials(ready["api_key"], ready["secret"].encode())


@contextlib.asynccontextmanager
async def trading(folder: Path) -> AsyncIterator[tuple[Exchange, RecordingHost, BinanceSpot]]:
    exchange, host = Exchange(folder), RecordingHost()
    await exchange.start()
    endpoints, credentials = exchange.places
    client = BinanceSpot("demo", endpoints, {ITEM.symbol: (InstrumentId(0), ITEM)}, (0,), credentials, host, SETTINGS)
    tasks = [asyncio.create_task(client.run_api()), asyncio.create_task(client.run_feed())]
    try:
        async with asyncio.timeout(10):
            await client.wait_api()
        await host.until(lambda: bool(host.of(Quote)))
        yield exchange, host, client
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await exchange.kill()


def order(name: str, host: RecordingHost, *, side: int = 1, lots: int = 1000, resting: bool = False) -> SubmitOrder:
    bid = host.of(Quote)[-1].bid_ticks
    kind, price = ("limit", bid - bid // 50) if resting else ("market", 0)
    return SubmitOrder(name, 0, side, kind, lots, price, 0, False, resting, "entry", 1, "")


async def test_a_day_at_the_exchange(tmp_path: Path) -> None:
    """Market data with a book, instruments, history, an order that fills, one that rests and is canceled, the account in agreement."""
    async with trading(tmp_path) as (_, host, client):
        await client.check_instruments()
        await host.until(lambda: bool(host.of(BookSnapshot)) and bool(host.of(BookDelta)) and bool(host.of(Trade)))
        past = await client.trades_since(0, host.now_ns() - 60_000_000_000)
        assert past
        assert [t.ts_recv_ns for t in past] == sorted(t.ts_recv_ns for t in past)

        await client.reconcile()
        cash_before = host.of(BalanceReported)[-1].cash_e8
        assert host.of(PositionReported)[-1].position_lots == 0

        client.send([order("mia0100010000010", host)], host.now_ns())
        await host.until(lambda: sum(f.qty_lots for f in host.of(OrderFilled)) == 1000)
        client.send([order("mia0100010000020", host, resting=True)], host.now_ns())
        await host.until(lambda: len(host.of(OrderAccepted)) == 2)
        await client.reconcile()
        assert [o.client_order_id for o in host.of(OpenOrdersReported)[-1].orders] == ["mia0100010000020"]

        fills = host.of(OrderFilled)
        base_fees_e8 = sum(f.base_fee_e8 for f in fills)
        paid_e8 = sum(ITEM.notional_e8(f.price_ticks, f.qty_lots) for f in fills)
        coins_e8 = 1000 * 1000 - base_fees_e8
        assert base_fees_e8 > 0
        assert host.of(PositionReported)[-1].position_lots == coins_e8 // 1000
        assert host.of(BalanceReported)[-1].cash_e8 == cash_before - paid_e8

        client.send([CancelOrder("mia0100010000020", 0)], host.now_ns())
        await host.until(lambda: bool(host.of(OrderCanceled)))
        client.send([QueryOrder("mia0100010000020", 0), QueryOrder("mia0100010000010", 0)], host.now_ns())
        await host.until(lambda: client.counters()["resolutions"] >= 2)
        await client.reconcile()

        assert len(host.of(OrderFilled)) == len(fills)
        assert len(host.of(OrderCanceled)) == 1
        assert not host.of(OrderRejected)
        assert not host.of(FeedGap)
        assert client.codec.counters()["corrupt"] == 0
        assert client.counters()["api_malformed"] == 0
        assert client.counters()["events_malformed"] == 0


async def test_an_order_that_the_account_cannot_pay_is_rejected(tmp_path: Path) -> None:
    async with trading(tmp_path) as (_, host, client):
        client.send([order("mia0100010000010", host, lots=100_000_000)], host.now_ns())
        await host.until(lambda: bool(host.of(OrderRejected)))

        assert host.of(OrderRejected)[0].code in ("-2010", "-1013")


async def test_instruments_that_differ_are_refused(tmp_path: Path) -> None:
    async with trading(tmp_path) as (exchange, host, _):
        other = msgspec.structs.replace(ITEM, tick_size=Decimal("0.10"))
        endpoints, credentials = exchange.places
        client = BinanceSpot("demo", endpoints, {ITEM.symbol: (InstrumentId(0), other)}, (), credentials, host, SETTINGS)
        task = asyncio.create_task(client.run_api())
        await client.wait_api()
        with pytest.raises(ConfigError, match=r"tick_size is 0\.10 here"):
            await client.check_instruments()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_killed_exchange_that_comes_back_finds_its_orders_known(tmp_path: Path, elsewhere: bool) -> None:
    async with trading(tmp_path) as (exchange, host, client):
        client.send([order("mia0100010000010", host), order("mia0100010000020", host, resting=True)], host.now_ns())
        await host.until(lambda: sum(f.qty_lots for f in host.of(OrderFilled)) == 1000 and len(host.of(OrderAccepted)) == 2)
        ups = host.states("broker").count(Link.UP)
        fills = len(host.of(OrderFilled))

        await exchange.kill()
        await host.until(lambda: host.states("broker")[-1] is not Link.UP and bool(host.of(FeedDown)))
        client.send([order("mia0100010000030", host)], host.now_ns())
        await host.until(lambda: bool(host.of(OrderRejected)))
        await exchange.start(0 if elsewhere else exchange.port)
        if elsewhere:
            client.point_at(*exchange.places)
        await host.until(lambda: host.states("broker").count(Link.UP) == ups + 1 and len(host.of(FeedUp)) == 2, seconds=30)

        assert host.of(OrderRejected)[0].code == "link_down"
        assert "mia0100010000020" in [o.client_order_id for o in host.of(OpenOrdersReported)[-1].orders]
        assert len(host.of(OrderFilled)) == fills
        assert host.of(PositionReported)[-1].position_lots == (1000 * 1000 - sum(f.base_fee_e8 for f in host.of(OrderFilled))) // 1000
        client.send([CancelOrder("mia0100010000020", 0)], host.now_ns())
        await host.until(lambda: bool(host.of(OrderCanceled)))
