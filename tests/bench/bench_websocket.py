"""What does one frame cost in each websocket client, how late does its callback run after a quiet moment, and how much memory does it take?

Run: python tests/bench/bench_websocket.py. A server process sends bookTicker frames over loopback, back to back and then paced; each
client runs in a fresh process on uvloop. Latency is from the server's send to the client's first line, both on CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

CLIENTS = ("picows", "aiohttp", "websockets")
BURST = 100_000
PACED = 1_500
PACE_S = 0.002
FRAME = b'{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"60000.00","B":"3.78826","a":"60000.01","A":"%020d"}}'

OnText = Callable[[bytes], None]


async def serve() -> None:
    """Send the burst, wait for the client's word, send the paced frames."""
    import picows

    class Peer(picows.WSListener):
        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            if frame.msg_type is picows.WSMsgType.TEXT:
                asyncio.get_running_loop().create_task(self.send(transport, frame.get_payload_as_bytes() == b"burst"))

        async def send(self, transport: picows.WSTransport, is_burst: bool) -> None:
            for number in range(BURST if is_burst else PACED):
                transport.send(picows.WSMsgType.TEXT, FRAME % time.monotonic_ns())
                if not is_burst:
                    await asyncio.sleep(PACE_S)
                elif number % 200 == 0:
                    await asyncio.sleep(0)
                    while transport.underlying_transport.get_write_buffer_size() > 1 << 16:
                        await asyncio.sleep(0.0005)

    server: asyncio.Server = await picows.ws_create_server(lambda _: Peer(), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(600)


def rss_mb() -> float:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096 / 1e6


async def with_picows(url: str, on_text: OnText) -> Callable[[str], Coroutine[Any, Any, None]]:
    from mia.venues.binance import link

    connection = await link.connect(url, on_text, timeout_s=5, ping_after_s=30)

    async def say(word: str) -> None:
        connection.send(word.encode())

    return say


async def with_aiohttp(url: str, on_text: OnText) -> Callable[[str], Coroutine[Any, Any, None]]:
    import aiohttp

    socket = await aiohttp.ClientSession().ws_connect(url, compress=0)

    async def read() -> None:
        async for message in socket:
            on_text(message.data.encode())

    globals()["reader"] = asyncio.create_task(read())
    return socket.send_str


async def with_websockets(url: str, on_text: OnText) -> Callable[[str], Coroutine[Any, Any, None]]:
    import websockets

    socket = await websockets.connect(url, compression=None)

    async def read() -> None:
        async for message in socket:
            on_text(message.encode() if isinstance(message, str) else message)

    globals()["reader"] = asyncio.create_task(read())
    return socket.send


async def measure(name: str, url: str) -> dict[str, float]:
    seen: list[int] = []
    done = asyncio.Event()
    wanted = BURST

    def on_text(payload: bytes) -> None:
        seen.append(time.monotonic_ns() - int(payload[-23:-3]))
        if len(seen) == wanted:
            done.set()

    before = rss_mb()
    say = await globals()[f"with_{name}"](url, on_text)
    memory = rss_mb() - before
    cpu, wall = time.process_time(), time.perf_counter()
    await say("burst")
    await done.wait()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    seen.clear()
    done.clear()
    wanted = PACED
    await say("paced")
    await done.wait()
    seen.sort()
    return {
        "cpu_us_per_frame": cpu / BURST * 1e6,
        "frames_per_s": BURST / wall,
        "paced_p50_us": seen[len(seen) // 2] / 1e3,
        "paced_p99_us": seen[len(seen) * 99 // 100] / 1e3,
        "rss_mb": memory,
    }


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve())
    elif sys.argv[1:]:
        import uvloop

        print(json.dumps(uvloop.run(measure(sys.argv[1], sys.argv[2]))))
    else:
        compare()


def compare() -> None:
    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = f"ws://127.0.0.1:{int(server.stdout.readline())}/"
    machine = platform.processor() or platform.machine()
    print(f"python {platform.python_version()}, {machine}, uvloop, {BURST} frames of {len(FRAME % 0)} bytes")
    try:
        for name in CLIENTS:
            run = subprocess.run([sys.executable, __file__, name, url], capture_output=True, text=True, check=False)
            if run.returncode:
                print(f"{name:12s} not measured: {run.stderr.strip().splitlines()[-1]}")
            else:
                figures = json.loads(run.stdout)
                print(f"{name:12s}" + "  ".join(f"{key} {value:10.2f}" for key, value in figures.items()))
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
