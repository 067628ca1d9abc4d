"""Market streams of the demo exchange: shapes, chains, limits."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

pytestmark = pytest.mark.asyncio
D = Decimal


async def test_combined_and_raw_connections_get_the_same_payload_in_their_own_shape(running: Any) -> None:
    async with running(speed=20.0) as client:
        raw = await client.stream("/ws/simusdt@trade")
        both = await client.stream("/stream?streams=simusdt@trade/simusdt@bookTicker")

        trade = await both.until(lambda m: m["stream"] == "simusdt@trade")
        same = await raw.until(lambda m: m["t"] == trade["data"]["t"])
        ticker = (await both.until(lambda m: m["stream"] == "simusdt@bookTicker"))["data"]

        assert same == trade["data"]
        assert set(same) == {"e", "E", "s", "t", "p", "q", "T", "m", "M"}
        assert set(ticker) == {"u", "s", "b", "B", "a", "A"}  # spot: without e and E
        assert D(ticker["b"]) < D(ticker["a"])
        assert abs(same["T"] - time.time() * 1000) < 5000


async def test_diffs_chain_and_rebuild_the_book_from_a_snapshot(running: Any) -> None:
    async with running(speed=20.0) as client:
        stream = await client.stream("/stream?streams=simusdt@depth@100ms/simusdt@depth20@100ms")
        first = (await stream.until(lambda m: m["stream"].endswith("depth@100ms")))["data"]
        _, snapshot, _ = await client.rest("GET", "depth", "symbol=SIMUSDT&limit=5000")
        sides: list[dict[Decimal, Decimal]] = [{D(p): D(q) for p, q in snapshot[side]} for side in ("bids", "asks")]
        local, last, compared = snapshot["lastUpdateId"], first["u"], 0

        while compared < 5:
            message = await stream.get()
            data = message["data"]
            if "lastUpdateId" in data:
                if data["lastUpdateId"] == local:
                    bids = sorted(sides[0].items(), reverse=True)[:20]
                    assert [(D(p), D(q)) for p, q in data["bids"]] == bids
                    assert [(D(p), D(q)) for p, q in data["asks"]] == sorted(sides[1].items())[:20]
                    compared += 1
                continue
            assert data["U"] == last + 1
            last = data["u"]
            if last > local:
                assert data["U"] <= local + 1
                local = last
                for levels, changes in zip(sides, (data["b"], data["a"]), strict=True):
                    for price, size in changes:
                        levels.pop(D(price), None)
                        if D(size):
                            levels[D(price)] = D(size)


async def test_streams_are_subscribed_listed_and_left(running: Any) -> None:
    async with running() as client:
        stream = await client.stream("/ws")

        async def ask(**request: Any) -> Any:
            await stream.ws.send_json(request)
            return await stream.until(lambda m: "result" in m or "code" in m)

        assert await ask(method="SUBSCRIBE", params=["simusdt@trade", "simusdt@nothing"], id=1) == {"result": None, "id": 1}
        assert await ask(method="LIST_SUBSCRIPTIONS", id="two") == {"result": ["simusdt@trade", "simusdt@nothing"], "id": "two"}
        assert await ask(method="UNSUBSCRIBE", params=["simusdt@trade"], id=None) == {"result": None, "id": None}
        assert await ask(method="SET_PROPERTY", params=["combined", True], id=4) == {"result": None, "id": 4}
        await asyncio.sleep(1.0)  # five messages a second
        assert await ask(method="GET_PROPERTY", params=["combined"], id=5) == {"result": True, "id": 5}
        await stream.ws.send_str("{")
        assert (await stream.get())["code"] == 3
        assert (await ask(method="SUBSCRIBE", params=["x"], id=1.5))["code"] == 2


async def test_too_many_messages_close_the_connection(running: Any) -> None:
    async with running() as client:
        stream = await client.stream("/ws/simusdt@kline_1d")

        for number in range(7):
            await stream.ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
        while (message := await stream.ws.receive()).type is aiohttp.WSMsgType.TEXT:
            pass

        assert (message.data, message.extra) == (1008, "Too many requests")


async def test_a_connection_may_ask_for_microseconds(running: Any) -> None:
    async with running(speed=20.0) as client:
        coarse = await client.stream("/ws/simusdt@trade")
        fine = await client.stream("/ws/simusdt@trade?timeUnit=MICROSECOND")

        trade = await fine.get()
        same = await coarse.until(lambda m: m["t"] == trade["t"])

        assert trade["T"] // 1000 == same["T"]


async def test_the_past_lies_before_the_start_and_joins_the_present_without_a_gap(running: Any) -> None:
    before_ms = time.time() * 1000
    async with running(history_s=60) as client:
        stream = await client.stream("/ws/simusdt@trade")
        api = await client.api()
        live = await stream.get()

        past = (await api.ask("trades.aggregate", symbol="SIMUSDT", startTime=int(before_ms) - 120_000, limit=1000))["result"]
        while past[-1]["a"] < live["t"]:
            past += (await api.ask("trades.aggregate", symbol="SIMUSDT", fromId=past[-1]["a"] + 1, limit=1000))["result"]
        klines = (await api.ask("klines", symbol="SIMUSDT", interval="1s", startTime=int(before_ms) - 50_000, limit=1000))["result"]

        assert [t["a"] for t in past] == list(range(past[0]["a"], past[-1]["a"] + 1))
        assert before_ms - 65_000 < past[0]["T"] < before_ms - 50_000
        assert [t["T"] for t in past] == sorted(t["T"] for t in past)
        assert [k[0] for k in klines] == list(range(klines[0][0], klines[-1][0] + 1, 1000))
        k = next(k for k in klines if k[8] > 1)
        inside = [t for t in past if k[0] <= t["T"] <= k[6]]
        assert (D(k[1]), D(k[4]), D(k[5]), k[8]) == (
            D(inside[0]["p"]), D(inside[-1]["p"]), sum(D(t["q"]) for t in inside), len(inside)
        )  # fmt: skip


async def test_a_closed_candle_is_announced_once_and_equals_the_queried_one(running: Any) -> None:
    async with running(speed=10.0) as client:
        stream = await client.stream("/ws/simusdt@kline_1s")
        api = await client.api()

        first = await stream.until(lambda m: m["k"]["x"])
        second = await stream.until(lambda m: m["k"]["x"])
        rows = (await api.ask("klines", symbol="SIMUSDT", interval="1s", startTime=first["k"]["t"], limit=2))["result"]

        assert second["k"]["t"] == first["k"]["t"] + 1000
        for event, row in zip((first, second), rows, strict=True):
            k = event["k"]
            assert row == [k["t"], k["o"], k["h"], k["l"], k["c"], k["v"], k["T"], k["q"], k["n"], k["V"], k["Q"], "0"]


async def test_who_does_not_read_is_cut_off_and_others_go_on(running: Any) -> None:
    async with running(speed=20.0, buffer_bytes_max=65_536) as client:
        lazy = await client.stream("/ws/simusdt@trade")
        other = await client.stream("/ws/simusdt@trade")
        await lazy.get()
        subscriber = client.server.hub.channels["simusdt@trade"][0]

        for _ in range(400):  # more than any socket buffer takes
            subscriber.socket.write(bytes(1 << 16))

        assert subscriber.socket.is_closed
        assert subscriber not in client.server.hub.channels["simusdt@trade"]
        assert (await other.get())["e"] == "trade"
