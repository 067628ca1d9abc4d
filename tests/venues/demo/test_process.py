"""The demo exchange as a process: how it starts, ends, dies and goes on; what one seed gives."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

D = Decimal


async def frames(client: Any, n: int) -> list[dict[str, Any]]:
    """n frames of trades and quotes, without their times."""
    stream = await client.stream("/stream?streams=simusdt@trade/simusdt@bookTicker")
    found = []
    while len(found) < n:
        data = (await stream.get())["data"]
        found.append({k: v for k, v in data.items() if k not in ("E", "T")})
    await stream.ws.close()
    return found


def merged(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Both lists from the first frame on that is in both."""
    start = next(f for f in a if f in b)
    a, b = a[a.index(start) :], b[b.index(start) :]
    n = min(len(a), len(b))
    return a[:n], b[:n]


def test_one_seed_gives_the_same_frames_at_any_pace_and_another_seed_gives_others(start: Callable[..., Any]) -> None:
    async def run(speed: float, seed: int, n: int) -> list[dict[str, Any]]:
        process = start("--until-stdin-closes", "--speed", str(speed), seed=seed)
        async with process.client() as client:
            found = await frames(client, n)
        process.end()
        return found

    slow = asyncio.run(run(40.0, 3, 4000))
    fast = asyncio.run(run(120.0, 3, 3000))
    other = asyncio.run(run(120.0, 4, 200))

    a, b = merged(slow, fast)
    assert a
    assert a == b
    assert not any(frame in fast for frame in other)


def test_it_ends_with_its_parents_stdin_and_not_by_ctrl_c(start: Callable[..., Any]) -> None:
    process = start("--until-stdin-closes")
    process.ready()

    process.popen.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.popen.wait(0.5)

    assert process.end() == 0


def test_sigterm_says_goodbye_and_ends_in_order(start: Callable[..., Any]) -> None:
    process = start()

    async def run() -> list[Any]:
        async with process.client() as client:
            raw = await client.stream("/ws/simusdt@kline_1d")
            both = await client.stream("/stream?streams=simusdt@kline_1d")
            api = await client.api()
            process.popen.terminate()
            return [await s.until(lambda m: "serverShutdown" in json.dumps(m)) for s in (raw, both, api)]

    raw, both, api = asyncio.run(run())

    assert raw["e"] == "serverShutdown"
    assert (both["stream"], both["data"]["e"]) == ("!serverShutdown", "serverShutdown")
    assert api["event"]["e"] == "serverShutdown"
    assert process.popen.wait(10) == 0


def test_a_kill_loses_nothing_that_was_said_and_ids_go_on(start: Callable[..., Any], tmp_path: Path) -> None:
    state = tmp_path / "exchange"

    async def before(process: Any) -> dict[str, Any]:
        async with process.client() as client:
            stream = await client.stream("/stream?streams=simusdt@trade/simusdt@bookTicker")
            api = await client.api()
            bought = (await api.order(side="BUY", type="MARKET", quantity="0.01000", newClientOrderId="done"))["result"]
            resting = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "50000.0", "quantity": "0.01000"}
            await api.order(**resting, newClientOrderId="rests")
            trade = (await stream.until(lambda m: m["stream"] == "simusdt@trade"))["data"]
            quote = (await stream.until(lambda m: m["stream"] == "simusdt@bookTicker"))["data"]
            process.popen.kill()
            return {"key": client.key, "bought": bought, "balances": None, "trade": trade, "quote": quote}

    async def after(process: Any, was: dict[str, Any]) -> None:
        async with process.client() as client:
            api = await client.api()
            stream = await client.stream("/stream?streams=simusdt@trade/simusdt@bookTicker")
            trade = (await stream.until(lambda m: m["stream"] == "simusdt@trade"))["data"]
            quote = (await stream.until(lambda m: m["stream"] == "simusdt@bookTicker"))["data"]
            rests = (await api.signed("openOrders.status", symbol="SIMUSDT"))["result"]
            done = (await api.signed("order.status", symbol="SIMUSDT", origClientOrderId="done"))["result"]
            fills = (await api.signed("myTrades", symbol="SIMUSDT"))["result"]
            again = (await api.order(side="SELL", type="MARKET", quantity="0.00900"))["result"]
            past = (await api.ask("trades.aggregate", symbol="SIMUSDT", fromId=was["trade"]["t"], limit=1000))["result"]
            balances = await api.balances()

            spent = D(was["bought"]["cummulativeQuoteQty"])
            assert client.key == was["key"]
            assert trade["t"] > was["trade"]["t"]
            assert trade["T"] > was["trade"]["T"]
            assert quote["u"] >= was["quote"]["u"]
            assert [t["a"] for t in past] == list(range(was["trade"]["t"], was["trade"]["t"] + len(past)))
            assert past[0]["p"] == was["trade"]["p"]
            assert [o["clientOrderId"] for o in rests] == ["rests"]
            assert done["status"] == "FILLED"
            assert [f["id"] for f in fills] == [f["tradeId"] for f in was["bought"]["fills"]]
            assert again["orderId"] > rests[0]["orderId"]
            assert again["fills"][0]["tradeId"] > fills[-1]["id"]
            assert balances["USDT"][1] == D(500)
            assert balances["SIM"][0] == D("0.01") - sum(D(f["commission"]) for f in was["bought"]["fills"]) - D("0.009")
            assert balances["USDT"][0] == D(10_000) - spent - 500 + D(again["cummulativeQuoteQty"]) - sum(
                D(f["commission"]) for f in again["fills"]
            )

    first = start("--state", str(state), "--speed", "20")
    was = asyncio.run(before(first))
    first.popen.wait(10)
    second = start("--state", str(state), "--speed", "20", "--until-stdin-closes")
    asyncio.run(after(second, was))

    assert stat.S_IMODE((state / "credentials.json").stat().st_mode) == 0o600
    assert second.end() == 0


@pytest.mark.slow
def test_a_killed_market_goes_on_as_if_it_had_never_stopped(start: Callable[..., Any], tmp_path: Path) -> None:
    async def killed(process: Any) -> list[dict[str, Any]]:
        async with process.client() as client:
            found = await frames(client, 800)
            process.popen.kill()
            return found

    async def never_stopped(process: Any, first: int, last: int) -> list[dict[str, Any]]:
        """Its trades first .. last, from its own past: how late we connect to a market that runs at 120 x does not matter."""
        async with process.client() as client:
            stream = await client.stream("/ws/simusdt@trade")
            await stream.until(lambda m: m.get("t", 0) >= last)
            api = await client.api()
            found: list[dict[str, Any]] = []
            while first + len(found) <= last:
                found += (await api.ask("trades.aggregate", symbol="SIMUSDT", fromId=first + len(found), limit=1000))["result"]
            return found[: last - first + 1]

    broken: list[dict[str, Any]] = []
    for _ in range(3):
        process = start("--state", str(tmp_path / "s"), "--speed", "120", seed=9)
        broken += asyncio.run(killed(process))
        process.popen.wait(10)
    trades = {f["t"]: (f["p"], f["q"], f["m"]) for f in broken if "t" in f}
    updates = [f["u"] for f in broken if "u" in f]
    whole = asyncio.run(never_stopped(start("--until-stdin-closes", "--speed", "120", seed=9), min(trades), max(trades)))

    assert len(trades) == sum("t" in f for f in broken)  # no id twice
    assert list(trades) == sorted(trades)
    assert updates == sorted(updates)
    known = {f["a"]: (f["p"], f["q"], f["m"]) for f in whole}
    assert trades == {t: known[t] for t in trades}


def test_a_port_that_is_taken_is_one_line_and_exit_1(start: Callable[..., Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        process = start("--port", str(port))
        out, err = process.popen.communicate(timeout=20)

    assert process.popen.returncode == 1
    assert out == b""
    assert f"127.0.0.1:{port}" in err.decode()
    assert len(err.decode().splitlines()) == 1


def test_it_listens_on_loopback_only_and_refuses_another_address(start: Callable[..., Any]) -> None:
    asked = start(demo={"host": "0.0.0.0"})
    _, err = asked.popen.communicate(timeout=20)

    process = start("--until-stdin-closes")
    ready = process.ready()
    port = int(ready["rest"].rsplit(":", 1)[1])
    listening = [
        line.split()[1] for name in ("tcp", "tcp6") for line in Path(f"/proc/{ready['pid']}/net/{name}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    ]  # fmt: skip

    assert asked.popen.returncode == 4
    assert "host must be 127.0.0.1" in err.decode()
    assert listening == [f"0100007F:{port:04X}"]


def test_one_state_directory_is_for_one_exchange_and_one_market(start: Callable[..., Any], tmp_path: Path) -> None:
    first = start("--state", str(tmp_path), "--until-stdin-closes")
    first.ready()

    second = start("--state", str(tmp_path))
    _, in_use = second.popen.communicate(timeout=20)
    first.end()
    other = start("--state", str(tmp_path), seed=77)
    _, other_market = other.popen.communicate(timeout=20)

    assert (second.popen.returncode, other.popen.returncode) == (1, 1)
    assert "another demo exchange uses this directory" in in_use.decode()
    assert "use another --state" in other_market.decode()


def test_a_torn_last_record_is_dropped(start: Callable[..., Any], tmp_path: Path) -> None:
    async def buy(process: Any) -> None:
        async with process.client() as client:
            await (await client.api()).order(side="BUY", type="MARKET", quantity="0.01000")

    async def balances(process: Any) -> Any:
        async with process.client() as client:
            return await (await client.api()).balances()

    first = start("--state", str(tmp_path))
    asyncio.run(buy(first))
    first.popen.kill()
    first.popen.wait(10)
    log = tmp_path / "account.log"
    with log.open("ab") as file:
        file.write(log.read_bytes()[: log.stat().st_size // 2])

    second = start("--state", str(tmp_path))

    assert asyncio.run(balances(second))["SIM"][0] == D("0.009995")


def test_the_trace_names_frames_and_orders(start: Callable[..., Any], tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    async def run(process: Any) -> dict[str, Any]:
        async with process.client() as client:
            stream = await client.stream("/ws/simusdt@bookTicker")
            api = await client.api()
            quote: dict[str, Any] = await stream.get()
            await api.order(side="BUY", type="MARKET", quantity="0.01000", newClientOrderId="timed")
            return quote

    process = start("--trace", str(trace), "--until-stdin-closes")
    quote = asyncio.run(run(process))
    process.end()

    lines = [line.split() for line in trace.read_text().splitlines()]
    assert ["simusdt@bookTicker", str(quote["u"]), *(quote[k] for k in "bBaA")] in [line[2:] for line in lines if line[0] == "F"]
    assert [line[2:] for line in lines if line[0] == "O"] == [["timed", "SIMUSDT"]]
    times = [int(line[1]) for line in lines]
    assert all(0 < t < os.times().elapsed * 1e9 + 1e18 for t in times)
    assert times == sorted(times)
