"""The market feed: one combined stream of what is needed, from the socket to the core in one call.

Owns the connection of the streams, its silence, and when a book needs a new snapshot. Reading frames is codec.py's work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

from mia.domain.errors import MiaError, Transient
from mia.domain.events import FeedDown, FeedStale, FeedUp
from mia.domain.instruments import Instrument, InstrumentId
from mia.ports import Host, Link
from mia.venues.binance import link
from mia.venues.binance.codec import BinanceCodec
from mia.venues.binance.retry import LinkSays, Retry, woken
from mia.venues.settings import LinkSettings

_LOG: Final = logging.getLogger(__name__)
_HEAD_BYTES: Final = 96  # of a frame, in which its stream is named
_WATCH_PARTS: Final = 10  # looks per stale_after_ms
_NOTICE_BYTES_MAX: Final = 120  # a shutdown notice is shorter
_SILENT: Final = "no frame came for too long"
_SNAPSHOT_AGAIN_S: Final = (0.25, 0.5, 1.0, 2.0, 5.0)

FetchDepth = Callable[[str, int], Awaitable[bytes]]
Named = Mapping[str, tuple[InstrumentId, Instrument]]


class Feed:
    """Market streams of one venue, kept for ever."""

    def __init__(
        self,
        venue: str,
        url: str,
        instruments: Named,
        needs_book: Collection[int],
        codec: BinanceCodec,
        host: Host,
        settings: LinkSettings,
        fetch_depth: FetchDepth,
    ) -> None:
        """fetch_depth: the venue's answer to a depth request for (symbol, levels), as raw JSON."""
        self._venue: Final = venue
        self._url = url
        self._codec: Final = codec
        self._host: Final = host
        self._settings: Final = settings
        self._fetch_depth: Final = fetch_depth
        books = [symbol for symbol, (number, _) in instruments.items() if number in needs_book]
        # A snapshot names no symbol: with several instruments each book has a codec of its own.
        self._book_codecs: Final = {s: codec if len(instruments) == 1 else BinanceCodec({s: instruments[s]}, codec.market) for s in books}
        self._depth_marks: Final = [(f'"{s.lower()}@depth'.encode(), s) for s in books]
        names = [f"{s.lower()}@{kind}" for s in instruments for kind in ("bookTicker", "trade")]
        self._streams: Final[Sequence[str]] = names + [f"{s.lower()}@depth@100ms" for s in books]
        self._wanted: set[str] = set()  # symbols whose book needs a snapshot
        self._fetching: Final[dict[str, asyncio.Task[None]]] = {}
        self._connection: link.Connection | None = None
        self._wake: Final = asyncio.Event()
        self._crash: asyncio.Future[None] | None = None
        self._told = ""  # what the core heard last: up, stale or down
        self._delivers = False  # the present connection has brought a frame
        self._must_renew = False
        self.counts: Final[dict[str, int]] = dict.fromkeys(
            ("frames", "connections", "handovers", "stale", "lost", "snapshots_asked", "snapshots_failed"), 0
        )

    def warnings(self) -> list[str]:
        """What the codecs of single books have to say; the common codec speaks for itself."""
        return [line for codec in self._book_codecs.values() if codec is not self._codec for line in codec.warnings()]

    def point_at(self, url: str) -> None:
        """Go on elsewhere; the present connection ends."""
        self._url = url
        if self._connection is not None:
            self._connection.close("the venue moved")
        self._wake.set()

    # --- frames: the hot path -------------------------------------------------------------------------------------------
    def _on_frame(self, payload: bytes) -> None:
        self.counts["frames"] += 1
        if len(payload) < _NOTICE_BYTES_MAX and b'"serverShutdown"' in payload:
            self._must_renew = True
            return
        if not self._delivers:
            self._delivers = True
            self._tell("up")
        if self._depth_marks:
            head = payload[:_HEAD_BYTES]
            for mark, symbol in self._depth_marks:
                if mark in head:
                    self._on_depth(symbol, payload)
                    return
        self._host.frame(self._codec, payload)

    def _on_depth(self, symbol: str, payload: bytes) -> None:
        codec = self._book_codecs[symbol]
        self._host.frame(codec, payload)
        if (symbol in self._wanted or not codec.is_book_live(symbol)) and symbol not in self._fetching:
            self._wanted.add(symbol)
            task = asyncio.get_running_loop().create_task(self._snapshot(symbol, codec), name=f"binance-depth-{symbol}")
            self._fetching[symbol] = task
            task.add_done_callback(partial(self._fetched, symbol))

    def _guarded(self, connection_frames: Callable[[bytes], None], payload: bytes) -> None:
        """A fault in the core ends the feed with its own name."""
        try:
            connection_frames(payload)
        except Exception as e:
            if self._crash is None:
                raise
            if not self._crash.done():
                self._crash.set_exception(e)

    def _tell(self, state: str, reason: str = "") -> None:
        """Report a change of the feed: up, stale or down."""
        if state == self._told or (state != "up" and not self._told):
            return  # nothing came yet: there is nothing that could be lost
        self._told = state
        if state == "up":
            self._host.report(FeedUp(0, 0, 0, self._venue))
        elif state == "stale":
            self.counts["stale"] += 1
            self._host.report(FeedStale(0, 0, 0, self._venue, self._settings.stale_after_ms))
        else:
            self.counts["lost"] += 1
            self._host.report(FeedDown(0, 0, 0, self._venue, reason))

    # --- books ----------------------------------------------------------------------------------------------------------
    async def _snapshot(self, symbol: str, codec: BinanceCodec) -> None:
        """Ask for depth until a snapshot fits the updates that were kept."""
        attempt = 0
        while True:
            before = codec.counters()["snapshots"]
            self.counts["snapshots_asked"] += 1
            try:
                payload = await self._fetch_depth(symbol, self._settings.depth_levels)
                self._host.frame(codec, payload)
            except (Transient, MiaError) as e:
                self.counts["snapshots_failed"] += 1
                _LOG.warning("depth_failed: %s: %s", symbol, e)
                if not isinstance(e, Transient):
                    raise
            if codec.counters()["snapshots"] > before:
                self._wanted.discard(symbol)
                return
            await asyncio.sleep(_SNAPSHOT_AGAIN_S[min(attempt, len(_SNAPSHOT_AGAIN_S) - 1)])
            attempt += 1

    def _fetched(self, symbol: str, task: asyncio.Task[Any]) -> None:
        self._fetching.pop(symbol, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and self._crash is not None and not self._crash.done():
            self._crash.set_exception(error)

    # --- keeping the connection -------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Connect, keep, connect again; until cancelled."""
        loop = asyncio.get_running_loop()
        self._crash = loop.create_future()
        retry, says = Retry(self._settings), LinkSays(self._host, "feed")
        try:
            while True:
                self._wake.clear()
                says.retrying("", is_degraded=retry.is_degraded)
                started = loop.time()
                try:
                    reason = await self._one_life(says)
                    pause = retry.lost(loop.time() - started)
                    self._tell("stale" if reason is _SILENT else "down", reason)
                except Transient as e:
                    reason, pause = str(e), retry.failed()
                    self._tell("down", reason)
                if self._crash.done():
                    self._crash.result()
                says.retrying(reason, is_degraded=retry.is_degraded)
                await woken(self._wake, pause)
        finally:
            if self._connection is not None:
                self._connection.close("shutting down")
            for task in list(self._fetching.values()):
                task.cancel()
            self._crash.cancel()
            self._crash = None
            says.now(Link.DOWN)

    async def _connect(self, on_text: Callable[[bytes], None]) -> link.Connection:
        url = f"{self._url.rstrip('/')}/stream?streams={'/'.join(self._streams)}"
        settings = self._settings
        connection = await link.connect(
            url,
            partial(self._guarded, on_text),
            timeout_s=settings.connect_timeout_ms / 1000.0,
            ping_after_s=settings.ping_after_ms / 1000.0,
        )
        self.counts["connections"] += 1
        return connection

    async def _one_life(self, says: LinkSays) -> str:
        """From a new connection to the end of the last one that followed it in good order; why it ended."""
        loop = asyncio.get_running_loop()
        self._delivers = self._must_renew = False
        self._wanted = set(self._book_codecs)  # what was missed meanwhile is unknown
        self._connection = await self._connect(self._on_frame)
        born = loop.time()
        try:
            while True:
                why = await self._watch(self._connection, born, says)
                if why:
                    return why
                if await self._hand_over():
                    born = loop.time()
        finally:
            self._connection.close("replaced")

    async def _watch(self, connection: link.Connection, born_s: float, says: LinkSays) -> str:
        """Why the connection is of no use any more; "" when another one should take over in good order."""
        loop = asyncio.get_running_loop()
        part_s = self._settings.stale_after_ms / 1000.0 / _WATCH_PARTS
        assert self._crash is not None
        closed: asyncio.Future[Any] = asyncio.ensure_future(connection.wait_closed())
        frames, silent_parts = self.counts["frames"], 0
        try:
            while True:
                await asyncio.wait({closed, self._crash}, timeout=part_s, return_when=asyncio.FIRST_COMPLETED)
                if self._crash.done():
                    self._crash.result()
                if closed.done():
                    return str(closed.result())
                if self._delivers:
                    says.now(Link.UP)
                silent_parts = silent_parts + 1 if frames == self.counts["frames"] else 0
                frames = self.counts["frames"]
                if silent_parts >= _WATCH_PARTS:
                    return _SILENT  # asking again on it brings nothing back (ccxt issue 22662): it is left
                if self._must_renew or loop.time() - born_s > self._settings.connection_max_s:
                    self._must_renew = False
                    return ""
        finally:
            closed.cancel()

    async def _hand_over(self) -> bool:
        """Open a second connection, and leave the first one when the second delivers."""
        delivers = asyncio.Event()
        settings = self._settings
        old = self._connection
        assert old is not None
        takes_over = False

        def on_text(payload: bytes) -> None:
            nonlocal takes_over
            if not takes_over:
                takes_over = True
                old.close("replaced")
                delivers.set()
            self._on_frame(payload)

        try:
            fresh = await self._connect(on_text)
        except Transient as e:
            _LOG.warning("feed_handover_failed: %s", e)
            await asyncio.sleep(settings.retry_unit_ms / 1000.0)
            self._must_renew = old.is_open
            return False
        try:
            async with asyncio.timeout(settings.stale_after_ms / 1000.0):
                await delivers.wait()
        except TimeoutError:
            fresh.close("silent")
            self._must_renew = old.is_open
            return False
        self._connection = fresh
        self.counts["handovers"] += 1
        return True
