"""The WebSocket API connection, kept for ever: connect, subscribe to user data, change from one connection to the next in good order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec

from mia.domain.errors import FeedLost, Transient
from mia.ports import Link
from mia.venues.binance import link
from mia.venues.binance.orders import Signer
from mia.venues.binance.requests import ApiRefused, Requests
from mia.venues.binance.retry import LinkSays, Retry, woken

_LOG: Final = logging.getLogger(__name__)
_DRAIN_POLL_S: Final = 0.02


class Api(Requests):
    """One logical connection to `ws-api`, over as many real ones as it takes."""

    async def wait_first_up(self) -> None:
        """Until it is up for the first time."""
        await self._first_up.wait()

    def point_at(self, url: str, signer: Signer) -> None:
        """Go on elsewhere; the present connection ends, requests on it have an unknown outcome."""
        self._url, self.signer = url, signer
        if self._connection is not None:
            self._connection.close("the venue moved")
        self._wake.set()

    async def run(self, recover: Callable[[], Awaitable[object]]) -> None:
        """Connect, subscribe to user data, keep, connect again; until cancelled. recover: run before UP after a reconnection."""
        loop = asyncio.get_running_loop()
        self._crash = loop.create_future()
        retry = Retry(self._settings)
        says = LinkSays(self._host, "broker")
        try:
            while True:
                self._wake.clear()
                started = loop.time()
                try:
                    says.retrying("", is_degraded=retry.is_degraded)
                    reason = await self._one_life(recover, says)
                    pause = retry.lost(loop.time() - started)
                except (Transient, ApiRefused) as e:
                    reason, pause = str(e), retry.failed()
                says.retrying(reason, is_degraded=retry.is_degraded)
                await woken(self._wake, max(pause, self.back_off_s()))
                if self._crash.done():
                    self._crash.result()
        finally:
            self._close("shutting down")
            for task in list(self._tasks):
                task.cancel()
            self._crash.cancel()
            self._crash = None
            says.now(Link.DOWN)

    def _close(self, reason: str) -> None:
        self.is_ready = False
        self._usable.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(reason)
            self._lose(connection, reason)

    async def _one_life(self, recover: Callable[[], Awaitable[object]], says: LinkSays) -> str:
        """From a new connection to the end of the last one that followed it in good order; why it ended."""
        self._renew.clear()
        self._connection = await self._open()
        self._usable.set()
        try:
            if self._first_up.is_set():
                await self._while_open(recover)
            self.is_ready = True
            says.now(Link.UP)
            self._first_up.set()
            return await self._keep(recover)
        finally:
            self._close("connection lost")

    async def _open(self) -> link.Connection:
        """Connected, clock measured, user data subscribed."""
        connection = await link.connect(
            self._url,
            partial(self.guard, self._on_text),
            timeout_s=self._settings.connect_timeout_ms / 1000.0,
            ping_after_s=self._settings.ping_after_ms / 1000.0,
        )
        self.counts["connections"] += 1
        try:
            await self._measure_clock(via=connection)
            await self.ask("userDataStream.subscribe.signature", {}, msgspec.Raw, via=connection)
        except BaseException:
            connection.close("set-up failed")
            self._lose(connection, "set-up failed")
            raise
        return connection

    async def _while_open(self, recover: Callable[[], Awaitable[object]]) -> None:
        """Recover, but not longer than the connection lives."""
        assert self._connection is not None
        work = asyncio.ensure_future(recover())
        closed = asyncio.ensure_future(self._connection.wait_closed())
        try:
            await asyncio.wait({work, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise FeedLost(f"while reconciling: {closed.result()}")
            work.result()
        finally:
            work.cancel()
            closed.cancel()

    async def _keep(self, recover: Callable[[], Awaitable[object]]) -> str:
        """Until the connection ends; a venue that shuts down or an old connection is left in good order."""
        while True:
            connection = self._connection
            assert connection is not None
            why = await self._wait(connection)
            if why:
                return why
            self._renew.clear()
            try:
                fresh = await self._open()
            except (Transient, ApiRefused) as e:
                _LOG.warning("venue_handover_failed: %s", e)
                if not connection.is_open:
                    return str(e)
                self.soon(self._renew.set, delay_s=self._settings.retry_unit_ms / 1000.0)
                continue
            self._connection = fresh
            self.counts["handovers"] += 1
            self.spawn(self._drain(connection), "binance-api-drain")
            self.spawn(_awaited(recover), "binance-api-recover")  # a stream that the venue ended early left a hole

    async def _wait(self, connection: link.Connection) -> str:
        """Why the connection ended; "" when another one should take over."""
        assert self._crash is not None
        closed: asyncio.Future[Any] = asyncio.ensure_future(connection.wait_closed())
        renew: asyncio.Future[Any] = asyncio.ensure_future(self._renew.wait())
        try:
            await asyncio.wait({closed, renew, self._crash}, timeout=self._settings.connection_max_s, return_when=asyncio.FIRST_COMPLETED)
            if self._crash.done():
                self._crash.result()
            return str(closed.result()) if closed.done() else ""
        finally:
            closed.cancel()
            renew.cancel()

    async def _drain(self, connection: link.Connection) -> None:
        """Leave an old connection once its requests are answered or timed out."""
        while connection.is_open and any(p.connection is connection for p in self._pending.values()):
            await asyncio.sleep(_DRAIN_POLL_S)
        connection.close("replaced")
        self._lose(connection, "connection replaced")


async def _awaited(work: Callable[[], Awaitable[object]]) -> None:
    await work()
