"""Random orders against a market that runs, and kill -9 again and again: money adds up, nothing said is forgotten."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

D = Decimal
LIVES = 8
MANY = {"orders_per_10s": 10**6, "orders_per_day": 10**6, "weight_per_minute": 10**8}


class Heard:
    """What the user's stream said, over all lives."""

    def __init__(self) -> None:
        self.fills: dict[int, tuple[str, str, str]] = {}
        self.over: set[int] = set()

    def event(self, e: dict[str, Any]) -> None:
        if e.get("x") == "TRADE":
            assert e["t"] not in self.fills
            self.fills[e["t"]] = (e["l"], e["L"], e["n"])
        if e.get("X") in ("FILLED", "CANCELED", "EXPIRED"):
            self.over.add(e["i"])


async def random_request(api: Any, rng: random.Random) -> None:
    """One order, cancel or amend near the touch."""
    ticker = (await api.ask("ticker.book", symbol="SIMUSDT"))["result"]
    side = rng.choice(("BUY", "SELL"))
    sign = 1 if side == "BUY" else -1
    near, far = (D(ticker[k]) for k in (("bidPrice", "askPrice") if side == "BUY" else ("askPrice", "bidPrice")))
    offset = D(rng.randint(0, 60)) / 10
    order = {"symbol": "SIMUSDT", "side": side, "quantity": f"{rng.randint(10, 2000) / 100_000:.5f}"}
    kinds: tuple[dict[str, str], ...] = (
        {"type": "MARKET"},
        {"type": "LIMIT", "timeInForce": "GTC", "price": str(near - sign * offset)},
        {"type": "LIMIT", "timeInForce": "IOC", "price": str(far)},
        {"type": "LIMIT_MAKER", "price": str(near - sign * offset)},
        {"type": "STOP_LOSS", "stopPrice": str(far + sign * (offset + 1))},
        {
            "type": "TAKE_PROFIT_LIMIT", "timeInForce": "GTC", "price": str(near - sign * (offset + 1)),
            "stopPrice": str(near - sign * (offset + 1)),
        },
    )  # fmt: skip
    choice = rng.randrange(len(kinds) + 2)
    if choice < len(kinds):
        await api.signed("order.place", **order, **kinds[choice])
    elif choice == len(kinds):
        await api.signed("openOrders.cancelAll", symbol="SIMUSDT")
    else:
        found = (await api.signed("openOrders.status"))["result"]
        if found:
            await api.signed("order.amend.keepPriority", symbol="SIMUSDT", orderId=rng.choice(found)["orderId"], newQty="0.00010")


async def account_adds_up(api: Any, heard: Heard) -> bool:
    """Balances are what the fills make them, locks what the open orders promise, heard fills are known; False: it moved meanwhile."""
    before = (await api.signed("allOrders", symbol="SIMUSDT", limit=1))["result"]
    fills: list[dict[str, Any]] = []
    while page := (await api.signed("myTrades", symbol="SIMUSDT", fromId=len(fills) + 1, limit=1000))["result"]:
        fills += page
    balances = await api.balances()
    still = (await api.signed("openOrders.status"))["result"]
    more = (await api.signed("myTrades", symbol="SIMUSDT", fromId=len(fills) + 1))["result"]
    if more or balances != await api.balances() or before != (await api.signed("allOrders", symbol="SIMUSDT", limit=1))["result"]:
        return False
    assert [f["id"] for f in fills] == list(range(1, len(fills) + 1))
    for number, said in heard.fills.items():
        assert said == tuple(fills[number - 1][k] for k in ("qty", "price", "commission"))
    quote, base = D(10_000), D(0)
    for f in fills:
        sign = 1 if f["isBuyer"] else -1
        base += sign * D(f["qty"]) - (D(f["commission"]) if f["isBuyer"] else 0)
        quote -= sign * D(f["quoteQty"]) + (0 if f["isBuyer"] else D(f["commission"]))
    rest = [(o["side"], D(o["origQty"]) - D(o["executedQty"]), D(o["price"]) or D(o["stopPrice"])) for o in still]
    assert (sum(balances["SIM"]), sum(balances["USDT"])) == (base, quote)
    assert balances["USDT"][1] == sum(size * price for side, size, price in rest if side == "BUY")
    assert balances["SIM"][1] == sum(size for side, size, _ in rest if side == "SELL")
    assert not heard.over & {o["orderId"] for o in still}
    return True


@pytest.mark.slow
def test_kills_under_random_orders_lose_and_invent_nothing(start: Callable[..., Any], tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng, heard = random.Random(seed), Heard()

    async def live(process: Any) -> None:
        async with process.client() as client:
            api = await client.api(user_data=True)
            while not await account_adds_up(api, heard):
                pass
            for _ in range(rng.randint(20, 300)):
                await random_request(api, rng)
            process.popen.kill()
            while api.events or not api.ws.closed:
                for event in api.events:
                    heard.event(event)
                api.events = []
                try:
                    message = await api.get()
                except AssertionError:  # the connection is gone
                    break
                if "event" in message:
                    heard.event(message["event"])

    for _ in range(LIVES):
        process = start("--state", str(tmp_path), "--speed", "20", demo=MANY)
        asyncio.run(live(process))
        process.popen.wait(20)

    assert len(heard.fills) > LIVES
