"""The market feed on real sockets: what is subscribed, silence, loss, handover, books."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from mia.domain.events import BookDelta, BookSnapshot, FeedDown, FeedGap, FeedStale, FeedUp, Quote
from mia.domain.instruments import InstrumentId
from mia.ports import Link
from mia.venues.binance.connect import BinanceSpot, Credentials
from mia.venues.settings import LinkSettings
from tests.venues.scripted import FAST, SECRET, RecordingHost, ScriptedVenue, instrument, spot, venue_and_client

pytestmark = pytest.mark.asyncio
CALM = msgspec.structs.replace(FAST, stale_after_ms=5000)


def diff(first: int, last: int) -> dict[str, Any]:
    return {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": first, "u": last, "b": [["59999.00", "1.00000"]], "a": []}


def snapshot(last: int) -> dict[str, Any]:
    return {"lastUpdateId": last, "bids": [["60000.00", "1.00000"]], "asks": [["60000.01", "1.00000"]]}


async def test_only_what_is_needed_is_subscribed() -> None:
    async with venue_and_client(feed=True) as (venue, _, _):
        assert venue.stream_queries == ["btcusdt@bookTicker/btcusdt@trade"]


async def test_a_book_is_subscribed_only_for_those_who_read_it() -> None:
    async with venue_and_client(feed=True, needs_book=(0,)) as (venue, _, _):
        assert venue.stream_queries == ["btcusdt@bookTicker/btcusdt@trade/btcusdt@depth@100ms"]


async def test_the_feed_is_up_with_its_first_frame_and_not_before() -> None:
    async with venue_and_client(feed=True, settings=CALM) as (venue, host, _):
        assert not host.of(FeedUp)

        await venue.quote()
        await host.until(lambda: bool(host.of(Quote)) and Link.UP in host.states("feed"))

        assert len(host.of(FeedUp)) == 1


async def test_a_lost_feed_is_down_once_and_up_again_by_itself() -> None:
    async with venue_and_client(feed=True, settings=CALM) as (venue, host, _):
        await venue.quote()
        await host.until(lambda: bool(host.of(Quote)))

        venue.cut(venue.stream_sockets.pop())
        await host.until(lambda: bool(host.of(FeedDown)) and bool(venue.stream_sockets))
        await venue.quote(2)
        await host.until(lambda: len(host.of(FeedUp)) == 2)

        assert len(host.of(FeedDown)) == 1


async def test_a_silent_feed_is_stale_and_connected_anew_though_it_answers_pings() -> None:
    async with venue_and_client(feed=True) as (venue, host, _):
        await venue.quote()
        await host.until(lambda: bool(host.of(FeedStale)) and len(venue.stream_sockets) >= 2)

        await venue.quote(2)
        await host.until(lambda: len(host.of(FeedUp)) == 2)

        assert host.of(FeedStale)[0].age_ms == FAST.stale_after_ms


async def test_a_venue_that_shuts_down_is_left_without_a_moment_of_loss() -> None:
    async with venue_and_client(feed=True, settings=CALM) as (venue, host, client):
        await venue.quote()
        await host.until(lambda: bool(host.of(Quote)))

        await venue.publish("!serverShutdown", {"e": "serverShutdown", "E": 1})
        await host.until(lambda: len(venue.stream_sockets) == 2)
        await venue.quote(2)
        await host.until(lambda: client.counters()["feed_handovers"] == 1)
        await host.until(lambda: venue.stream_sockets[0].closed)

        assert not host.of(FeedDown)
        assert len(host.of(FeedUp)) == 1


async def test_an_old_connection_is_replaced_before_the_venue_ends_it() -> None:
    settings = msgspec.structs.replace(CALM, connection_max_s=1.0)
    async with venue_and_client(feed=True, settings=settings) as (venue, host, client):
        number = 0
        while client.counters()["feed_handovers"] == 0:
            number += 1
            await venue.quote(number)
            await asyncio.sleep(0.05)

        assert not host.of(FeedDown)


async def test_three_failed_attempts_are_told_once_and_it_goes_on_trying() -> None:
    venue, host = ScriptedVenue(), RecordingHost()
    venue.refuses_streams = True
    await venue.start()
    task = asyncio.create_task(spot(host, venue).run_feed())
    try:
        await host.until(lambda: Link.DEGRADED in host.states("feed"))
        await asyncio.sleep(0.2)
        venue.refuses_streams = False
        await host.until(lambda: bool(venue.stream_sockets))
        await venue.quote()
        await host.until(lambda: Link.UP in host.states("feed"))

        assert host.states("feed").count(Link.DEGRADED) == 1
        assert not host.of(FeedDown)  # nothing had come that could be lost
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await venue.stop()


async def handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}", "", "")
    writer.write("\r\n".join(lines).encode())


async def frame_of_client(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """(opcode, payload) of one short masked frame."""
    first, second = await reader.readexactly(2)
    mask, body = await reader.readexactly(4), await reader.readexactly(second & 0x7F)
    return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))


async def test_pings_of_the_venue_are_answered_with_their_payload() -> None:
    frames: list[tuple[int, bytes]] = []

    async def venue_that_pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handshake(reader, writer)
        writer.write(b"\x89\x051790x")
        frames.append(await frame_of_client(reader))

    async with raw_venue(venue_that_pings, CALM) as host:
        await host.until(lambda: bool(frames))

    assert frames == [(0xA, b"1790x")]


async def test_a_connection_that_answers_no_ping_is_left_though_tcp_stands() -> None:
    connections, pings = 0, 0

    async def half_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, pings
        connections += 1
        await handshake(reader, writer)
        opcode, _ = await frame_of_client(reader)
        pings += opcode == 0x9
        await asyncio.sleep(5)

    async with raw_venue(half_open, msgspec.structs.replace(CALM, ping_after_ms=50)) as host:
        await host.until(lambda: connections >= 2)

    assert pings >= 1


@contextlib.asynccontextmanager
async def raw_venue(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], settings: LinkSettings
) -> AsyncIterator[RecordingHost]:
    """A feed that is connected to bytes of our own making."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    venue, host = ScriptedVenue(), RecordingHost()
    venue.port = server.sockets[0].getsockname()[1]
    task = asyncio.create_task(spot(host, venue, settings=settings).run_feed())
    try:
        yield host
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.close()


async def test_a_book_starts_with_a_snapshot_that_fits_its_updates() -> None:
    async with venue_and_client(feed=True, needs_book=(0,), settings=CALM) as (venue, host, _):
        answers = iter([snapshot(5), snapshot(12)])  # the first ends before the updates begin
        venue.answers["depth"] = lambda _: next(answers)

        await venue.publish("btcusdt@depth@100ms", diff(10, 12))
        await venue.publish("btcusdt@depth@100ms", diff(13, 15))
        await host.until(lambda: bool(host.of(BookDelta)))

        assert len(host.of(BookSnapshot)) == 1
        assert len(host.of(BookDelta)) == 1
        assert venue.of("depth")[0] == {"symbol": "BTCUSDT", "limit": 1000}


async def test_a_gap_brings_a_new_snapshot() -> None:
    async with venue_and_client(feed=True, needs_book=(0,), settings=CALM) as (venue, host, _):
        last = 12
        venue.answers["depth"] = lambda _: snapshot(last)
        await venue.publish("btcusdt@depth@100ms", diff(10, 12))
        await host.until(lambda: len(host.of(BookSnapshot)) == 1)

        last = 25
        await venue.publish("btcusdt@depth@100ms", diff(20, 25))
        await host.until(lambda: len(host.of(BookSnapshot)) == 2)

        assert len(host.of(FeedGap)) == 1


async def test_after_a_loss_the_book_is_given_anew_even_when_no_update_was_missed() -> None:
    async with venue_and_client(feed=True, needs_book=(0,), settings=CALM) as (venue, host, _):
        venue.answers["depth"] = lambda _: snapshot(12)
        await venue.publish("btcusdt@depth@100ms", diff(10, 12))
        await host.until(lambda: len(host.of(BookSnapshot)) == 1)

        venue.cut(venue.stream_sockets.pop())
        await host.until(lambda: bool(venue.stream_sockets))
        venue.answers["depth"] = lambda _: snapshot(13)
        await venue.publish("btcusdt@depth@100ms", diff(13, 13))
        await host.until(lambda: len(host.of(BookSnapshot)) == 2)

        assert not host.of(FeedGap)


async def test_bytes_that_are_no_frame_are_counted_and_the_feed_goes_on() -> None:
    async with venue_and_client(feed=True, settings=CALM) as (venue, host, client):
        for payload in ("<html>", "{", '{"stream":"x","data":NaN}', "[1e999]"):
            await venue.stream_sockets[0].send_str(payload)
        await venue.quote()
        await host.until(lambda: bool(host.of(Quote)))

        assert client.codec.counters()["corrupt"] == 4


async def test_with_several_instruments_each_book_takes_its_own_snapshot() -> None:
    venue, host = ScriptedVenue(), RecordingHost()
    await venue.start()
    venue.answers["depth"] = lambda request: snapshot(12 if request["params"]["symbol"] == "BTCUSDT" else 112)
    named = {"BTCUSDT": (InstrumentId(0), instrument()), "ETHUSDT": (InstrumentId(1), instrument("ETHUSDT"))}
    client = BinanceSpot("demo", venue.endpoints, named, (0, 1), Credentials("KEY", SECRET), host, CALM)
    tasks = [asyncio.create_task(client.run_api()), asyncio.create_task(client.run_feed())]
    try:
        await host.until(lambda: bool(venue.stream_sockets))
        await venue.publish("btcusdt@depth@100ms", diff(10, 12))
        await venue.publish("ethusdt@depth@100ms", diff(110, 112) | {"s": "ETHUSDT"})
        await venue.quote(1, "ETHUSDT")
        await host.until(lambda: len(host.of(BookSnapshot)) == 2 and bool(host.of(Quote)))

        assert sorted(e.instrument for e in host.of(BookSnapshot)) == [0, 1]
        assert host.of(Quote)[0].instrument == 1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await venue.stop()
