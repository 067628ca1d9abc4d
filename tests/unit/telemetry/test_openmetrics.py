"""The endpoint over real sockets: what it answers, what it refuses, and that it cannot be kept busy."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mia.domain.errors import Transient
from mia.telemetry.openmetrics import CONNECTIONS_MAX, CONTENT_TYPE, OpenMetricsEndpoint

TEXT = b"# EOF\n"


@contextlib.asynccontextmanager
async def listening(render: Any = lambda: TEXT, address: str = "127.0.0.1", **options: Any) -> AsyncIterator[OpenMetricsEndpoint]:
    up = asyncio.Event()
    endpoint = OpenMetricsEndpoint(address, 0, render, on_listening=lambda url: up.set(), **options)
    task = asyncio.create_task(endpoint.run())
    await up.wait()
    try:
        yield endpoint
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(endpoint: OpenMetricsEndpoint, request: bytes, address: str = "127.0.0.1") -> tuple[int, bytes, bytes]:
    """(status, head, body); status 0 when nothing came back."""
    reader, writer = await asyncio.open_connection(address, endpoint.port)
    try:
        writer.write(request)
        answer = await reader.read()
    except ConnectionError:
        answer = b""
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, head, body


def get(path: str = "/metrics", method: str = "GET", host: str = "127.0.0.1:9477") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: x\r\n\r\n".encode()


def test_get_gives_the_text_and_head_only_its_length() -> None:
    async def scenario() -> None:
        async with listening() as endpoint:
            status, head, body = await ask(endpoint, get())
            assert (status, body) == (200, TEXT)
            assert f"Content-Type: {CONTENT_TYPE}".encode() in head
            assert endpoint.url == f"http://127.0.0.1:{endpoint.port}/metrics"

            status, head, body = await ask(endpoint, get(method="HEAD"))
            assert (status, body) == (200, b"")
            assert f"Content-Length: {len(TEXT)}".encode() in head

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/"), 404),
        (get("/metrics/../etc/passwd"), 404),
        (get(method="POST"), 405),
        (get(method="DELETE"), 405),
        (get(host="evil.example.com"), 403),
        (get(host="127.0.0.1.evil.example.com:9477"), 403),
        (get(host="192.168.0.7:9477"), 403),
        (get(host="LOCALHOST:9477"), 200),
        (get(host="[::1]:9477"), 200),
        (get("/metrics?name[]=mia_state"), 200),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example.com\r\n\r\n", 400),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431),
    ],
)
def test_a_request_gets_the_status_it_deserves(request_: bytes, status: int) -> None:
    async def scenario() -> int:
        async with listening() as endpoint:
            return (await ask(endpoint, request_))[0]

    assert asyncio.run(scenario()) == status


def test_a_client_that_says_nothing_is_let_go_and_others_are_served_meanwhile() -> None:
    async def scenario() -> None:
        async with listening(timeout_s=0.2) as endpoint:
            silent, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
            writer.write(b"GET /met")

            assert (await ask(endpoint, get()))[0] == 200
            assert await silent.read() == b""
            writer.close()

    asyncio.run(scenario())


def test_connections_beyond_the_cap_are_refused_and_free_again_later() -> None:
    async def scenario() -> None:
        async with listening(timeout_s=30.0) as endpoint:
            held = [await asyncio.open_connection("127.0.0.1", endpoint.port) for _ in range(CONNECTIONS_MAX)]
            while len(endpoint._serving) < CONNECTIONS_MAX:
                await asyncio.sleep(0.001)

            assert (await ask(endpoint, get()))[0] == 503
            for _, writer in held:
                writer.close()
            while endpoint._serving:
                await asyncio.sleep(0.001)
            assert (await ask(endpoint, get()))[0] == 200

    asyncio.run(scenario())


def test_many_scrapes_make_the_text_once_per_second() -> None:
    made: list[int] = []
    now_s = 100.0

    def render() -> bytes:
        made.append(1)
        return TEXT

    async def scenario() -> None:
        nonlocal now_s
        async with listening(render, monotonic_s=lambda: now_s) as endpoint:
            for _ in range(5):
                await ask(endpoint, get())
            assert len(made) == 1
            now_s += 1.0
            await ask(endpoint, get())
            assert len(made) == 2

    asyncio.run(scenario())


def test_a_fault_in_the_figures_is_a_500_without_details_and_the_endpoint_lives(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([ValueError("secret detail"), TEXT])

    def render() -> bytes:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def scenario() -> None:
        async with listening(render) as endpoint:
            status, _, body = await ask(endpoint, get())
            assert status == 500
            assert b"secret" not in body
            assert (await ask(endpoint, get()))[0] == 200

    asyncio.run(scenario())
    assert "the metrics could not be made" in caplog.text


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(
            Transient, match=rf"metrics: cannot listen on 127.0.0.1:{port} \(Address already in use\): give another \[metrics\] port"
        ):
            asyncio.run(OpenMetricsEndpoint("127.0.0.1", port, lambda: TEXT).run())


def test_the_port_is_free_after_it_ends() -> None:
    async def scenario() -> int:
        async with listening() as endpoint:
            port = endpoint.port
        assert endpoint.port == 0
        return port

    port = asyncio.run(scenario())
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.1", port)) != 0


def test_ipv6_loopback_works() -> None:
    async def scenario() -> int:
        async with listening(address="::1") as endpoint:
            return (await ask(endpoint, get(host=f"[::1]:{endpoint.port}"), "::1"))[0]

    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return  # a machine without IPv6 has nothing to listen on
    assert asyncio.run(scenario()) == 200
