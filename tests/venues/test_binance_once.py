"""Promise P1 on the wire: whatever fails, an order leaves at most once, and in the end everybody knows what became of it.

Seeded schedules: a venue that takes orders and answers, loses, delays, repeats or contradicts as its random numbers say; a driver
that asks as the engine does. The seed of a schedule that fails is in the test's message.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest

from mia.domain.effects import CancelOrder, QueryOrder, SubmitOrder
from mia.domain.events import (
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    RequestTimedOut,
)
from mia.venues.binance import queries
from tests.venues.scripted import FAST, SILENCE, RecordingHost, Refusal, ScriptedVenue, spot

pytestmark = pytest.mark.asyncio
HURRIED = msgspec.structs.replace(FAST, request_timeout_ms=60, stale_after_ms=60_000, connect_timeout_ms=5000)
ORDERS = 4
LOTS = 1000
AT_ONCE = 25
ENDS = (OrderRejected, OrderCanceled, OrderExpired)


class Ledger:
    """What the venue truly did with each order."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.trades: list[dict[str, Any]] = []

    def take(self, name: str, filled: bool) -> dict[str, Any]:
        number = len(self.orders) + 1
        order = {
            "symbol": "BTCUSDT", "orderId": number, "clientOrderId": name, "transactTime": number, "price": "60000.00",
            "origQty": "0.01000", "executedQty": "0.00000", "status": "NEW", "type": "LIMIT", "side": "BUY",
        }  # fmt: skip
        self.orders[name] = order
        if filled:
            self.fill(order)
        return order

    def fill(self, order: dict[str, Any]) -> None:
        order |= {"status": "FILLED", "executedQty": "0.01000"}
        self.trades.append({
            "id": 1000 + len(self.trades), "orderId": order["orderId"], "price": "60000.00", "qty": "0.01000", "commission": "0.6",
            "commissionAsset": "USDT", "time": 1, "isBuyer": True, "isMaker": False,
        })  # fmt: skip

    def events_of(self, name: str) -> list[dict[str, Any]]:
        order = self.orders[name]
        base = {
            "e": "executionReport", "s": "BTCUSDT", "c": name, "S": "BUY", "q": order["origQty"], "p": "60000.00", "x": "NEW", "X": "NEW",
            "i": order["orderId"], "z": "0.00000", "T": 1,
        }  # fmt: skip
        events = [base]
        for trade in self.trades:
            if trade["orderId"] == order["orderId"]:
                more = {"x": "TRADE", "X": "FILLED", "l": trade["qty"], "z": trade["qty"], "L": trade["price"], "t": trade["id"], "n": "0"}
                events.append(base | more)
        if order["status"] == "CANCELED":
            events.append(base | {"x": "CANCELED", "X": "CANCELED", "c": "cxl", "C": name})
        return events


class Faulty:
    """One schedule: the venue's faults and what the driver asks for, all from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.venue, self.host, self.ledger = ScriptedVenue(), RecordingHost(), Ledger()
        self.venue.answers |= {
            "order.place": self.place, "order.cancel": self.cancel, "order.status": self.status, "openOrders.status": self.open_orders,
            "myTrades": self.own_trades,
        }  # fmt: skip
        self.host.on_report = self.on_report
        self.background: set[asyncio.Task[None]] = set()

    def later(self, seconds: float, work: Any) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            await work

        task = asyncio.create_task(wait())
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    def on_report(self, event: Any) -> None:
        if type(event) is RequestTimedOut:
            self.client.send([QueryOrder(event.client_order_id, 0)], self.host.now_ns())

    # --- the venue ----------------------------------------------------------------------------------------------------------
    async def tell(self, name: str) -> None:
        """Events, some of them lost, some repeated."""
        for event in self.ledger.events_of(name):
            for _ in range(self.random.choice((0, 1, 1, 1, 2))):
                await self.venue.push(event)

    async def arrive_late(self, name: str, filled: bool) -> None:
        self.ledger.take(name, filled)
        await self.tell(name)

    async def place(self, request: dict[str, Any]) -> Any:
        name, roll = request["params"]["newClientOrderId"], self.random
        filled = roll.random() < 0.5
        fault = roll.choice(("none", "lost", "late_arrival", "no_answer", "cut", "cut_before", "unknown", "unknown_not_taken", "refused",
                             "slow", "garbage"))  # fmt: skip
        if fault == "refused":
            return Refusal(400, -2010, "Account has insufficient balance for requested action.")
        if fault in ("lost", "unknown_not_taken"):
            return SILENCE if fault == "lost" else Refusal(500, -1007, "Timeout")
        if fault == "cut_before":
            self.venue.cut_api()
            return SILENCE
        if fault == "late_arrival":
            self.later(roll.uniform(0.0, 0.2), self.arrive_late(name, filled))
            return SILENCE
        order = dict(self.ledger.take(name, filled))
        if roll.random() < 0.5:
            await self.tell(name)
        else:
            self.later(roll.uniform(0.0, 0.1), self.tell(name))
        if fault == "cut":
            self.venue.cut_api()
        elif fault == "slow":
            await asyncio.sleep(roll.uniform(0.03, 0.12))
        elif fault == "garbage":
            return "<html>"
        elif fault == "unknown":
            return Refusal(400, -1006, "An unexpected response was received")
        return SILENCE if fault in ("no_answer", "cut") else order

    async def cancel(self, request: dict[str, Any]) -> Any:
        order = self.ledger.orders.get(request["params"]["origClientOrderId"])
        fault = self.random.choice(("none", "none", "lost", "no_answer", "cut"))
        if fault == "lost":
            return SILENCE
        if order is None or order["status"] != "NEW":
            return Refusal(400, -2011, "Unknown order sent.")
        order["status"] = "CANCELED"
        if fault == "cut":
            self.venue.cut_api()
        await self.tell(order["clientOrderId"])
        return SILENCE if fault != "none" else order | {"clientOrderId": request["params"]["newClientOrderId"]}

    def status(self, request: dict[str, Any]) -> Any:
        params, roll = request["params"], self.random.random()
        if roll < 0.1:
            return SILENCE
        if "orderId" in params:
            return next(o for o in self.ledger.orders.values() if o["orderId"] == params["orderId"])
        return self.ledger.orders.get(params["origClientOrderId"], Refusal(400, -2013, "Order does not exist."))

    def open_orders(self, _: dict[str, Any]) -> Any:
        return [o for o in self.ledger.orders.values() if o["status"] == "NEW"]

    def own_trades(self, request: dict[str, Any]) -> Any:
        wanted = request["params"].get("orderId")
        return [t for t in self.ledger.trades if wanted is None or t["orderId"] == wanted]

    # --- the driver ---------------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        await self.venue.start()
        self.client = spot(self.host, self.venue, settings=HURRIED)
        task = asyncio.create_task(self.client.run_api())
        try:
            await self.client.wait_api()
            names = [f"mia010001000{i:03}0" for i in range(ORDERS)]
            for name in names:
                order = SubmitOrder(name, 0, 1, "limit", LOTS, 6_000_000, 0, False, False, "entry", 1, "")
                for _ in range(self.random.choice((1, 1, 2))):
                    self.client.send([order], self.host.now_ns())
                await asyncio.sleep(self.random.uniform(0.0, 0.05))
                if self.random.random() < 0.4:
                    self.client.send([CancelOrder(name, 0)], self.host.now_ns())
                    await asyncio.sleep(self.random.uniform(0.0, 0.05))
            await self.settle(names)
            self.judge(names)
            assert not task.done()
        finally:
            task.cancel()
            for work in list(self.background):
                work.cancel()
            await asyncio.gather(task, *self.background, return_exceptions=True)
            await self.venue.stop()

    async def settle(self, names: list[str]) -> None:
        """The engine asks for orders that stay open, until nothing is in question any more."""
        async with asyncio.timeout(20):
            while self.background or not all(self.is_known(name) for name in names):
                for name in names:
                    if not self.is_known(name):
                        self.client.send([QueryOrder(name, 0)], self.host.now_ns())
                await asyncio.sleep(0.05)

    def is_known(self, name: str) -> bool:
        """The core heard what the venue truly has of the order."""
        truth = self.ledger.orders.get(name)
        heard = [e for e in self.host.reports if getattr(e, "client_order_id", "") == name]
        if truth is None:
            return any(type(e) is OrderRejected for e in heard)
        if truth["status"] == "FILLED":
            return any(type(e) is OrderFilled for e in heard)
        return any(type(e) is (OrderAccepted if truth["status"] == "NEW" else OrderCanceled) for e in heard)

    def judge(self, names: list[str]) -> None:
        sent = Counter(p["newClientOrderId"] for p in self.venue.of("order.place"))
        assert all(count <= 1 for count in sent.values()), f"sent more than once: {sent}"
        fills = [(e.client_order_id, e.fill_id) for e in self.host.reports if type(e) is OrderFilled]
        assert len(fills) == len(set(fills)) == len(self.ledger.trades), "fills were lost or doubled"
        for name in names:
            ends = [type(e) for e in self.host.reports if type(e) in ENDS and e.client_order_id == name]
            assert len(ends) <= 1, f"{name} ended more than once: {ends}"
            if name in self.ledger.orders:
                assert OrderRejected not in ends, f"{name} is at the venue and was called absent"


async def schedules(seeds: range) -> None:
    gate = asyncio.Semaphore(AT_ONCE)
    failed: list[str] = []

    async def one(seed: int) -> None:
        async with gate:
            try:
                await Faulty(seed).run()
            except (AssertionError, TimeoutError) as e:
                failed.append(f"seed {seed}: {type(e).__name__} {e}")

    await asyncio.gather(*(one(seed) for seed in seeds))
    assert not failed, "\n".join(failed[:5])


@pytest.fixture(autouse=True)
def quick_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "ARRIVAL_MAX_MS", 1_000)
    monkeypatch.setattr(queries, "ASK_AGAIN_S", (0.03, 0.1, 0.2))


async def test_no_order_leaves_twice_and_none_is_lost_in_200_schedules_of_faults() -> None:
    await schedules(range(200))


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_no_order_leaves_twice_and_none_is_lost_in_many_schedules_of_faults() -> None:
    """600, or as many as `make sim` asks for: 10,000 from a seed of its own."""
    first = 1_000_000 * (1 + int(os.environ.get("MIA_SEED") or 0))
    await schedules(range(first, first + int(os.environ.get("MIA_SCHEDULES") or 600)))
