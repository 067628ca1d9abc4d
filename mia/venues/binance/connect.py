"""Binance spot as the daemon plugs it in: market feed, orders, reconciliation and history over two kept connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from mia.domain.effects import AnyEffect
from mia.domain.errors import Transient, VenueBusy
from mia.domain.events import AnyEvent, Trade
from mia.domain.instruments import Instrument, InstrumentId
from mia.ports import NEVER_NS, Host
from mia.venues.binance.api import Api
from mia.venues.binance.broker import Broker
from mia.venues.binance.codec import BinanceCodec
from mia.venues.binance.facts import Facts
from mia.venues.binance.feed import Feed
from mia.venues.binance.orders import OrderEncoder, Signer
from mia.venues.binance.queries import Queries
from mia.venues.binance.rehearsal import Rehearsal
from mia.venues.binance.requests import ApiRefused
from mia.venues.binance.retry import Retry
from mia.venues.binance.userdata import Listing
from mia.venues.settings import LinkSettings

_LOG: Final = logging.getLogger(__name__)
_SKEW_MS_MAX: Final = 1_000  # the venue refuses what comes from its future by more


class Endpoints(msgspec.Struct, frozen=True):
    """Where the venue is: websocket addresses of the streams (without /stream) and of the WebSocket API."""

    stream: str
    api: str


class Credentials(msgspec.Struct, frozen=True):
    """A key of the account; the secret is in no text that this makes of itself."""

    api_key: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Credentials(api_key={self.api_key[:4]!r}..., secret=hidden)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("api_key", f"{self.api_key[:4]}...")]


class BinanceSpot:
    """One spot account at Binance, or at an exchange that speaks its protocol (`mia.ports.Venue`)."""

    is_simulated = False
    next_due_ns = NEVER_NS
    active = False

    def __init__(
        self,
        venue: str,
        endpoints: Endpoints,
        instruments: Mapping[str, tuple[InstrumentId, Instrument]],
        needs_book: Collection[int],
        credentials: Credentials,
        host: Host,
        settings: LinkSettings,
    ) -> None:
        """instruments: by the venue's symbol. needs_book: ids of those whose depth is read."""
        listings = {int(number): Listing(symbol, number, item) for symbol, (number, item) in instruments.items()}
        self._definitions: Final = {number: listing.definition for number, listing in listings.items()}
        self._venue: Final = venue
        self._rehearsed: Final = (instruments, listings, host, settings)
        self._settings: Final = settings
        self.codec: Final = BinanceCodec(instruments, "spot")
        self._api: Final = Api(endpoints.api, Signer(credentials.api_key, credentials.secret), host, settings, self._on_event)
        self._facts: Final = Facts(listings, host)
        self._queries: Final = Queries(venue, listings, self._api, self._facts, host)
        self._broker: Final = Broker(listings, self._encoder(credentials), self._api, self._facts, self._queries, host)
        self._feed: Final = Feed(venue, endpoints.stream, instruments, needs_book, self.codec, host, settings, self._depth)

    def _encoder(self, credentials: Credentials) -> OrderEncoder:
        return OrderEncoder(self._definitions, "spot", credentials.api_key, credentials.secret)

    def _on_event(self, raw: bytes, name: str) -> None:
        self._broker.on_event(raw, name)

    async def _depth(self, symbol: str, levels: int) -> bytes:
        return await self._api.ask("depth", {"symbol": symbol, "limit": str(levels)}, bytes, is_signed=False)

    def rehearsal(self) -> Rehearsal:
        """What keeps the order path warm; built on the event loop."""
        return Rehearsal(*self._rehearsed)

    # --- connections --------------------------------------------------------------------------------------------------
    def point_at(self, endpoints: Endpoints, credentials: Credentials) -> None:
        """The venue came back elsewhere: both connections move; open requests have an unknown outcome."""
        self._broker.encoder = self._encoder(credentials)
        self._api.point_at(endpoints.api, Signer(credentials.api_key, credentials.secret))
        self._feed.point_at(endpoints.stream)

    async def run_api(self) -> None:
        """Orders and user data: connect, subscribe, keep, connect again, until cancelled."""
        await self._api.run(self._queries.reconcile)

    async def run_feed(self) -> None:
        """Market streams: connect, keep, connect again, until cancelled."""
        await self._feed.run()

    async def wait_api(self) -> None:
        """Until the order connection is up for the first time."""
        await self._api.wait_first_up()

    # --- questions ----------------------------------------------------------------------------------------------------
    async def check_instruments(self) -> None:
        """The venue's grids against ours; ConfigError names the field, ours and theirs. A lost answer is asked for again."""
        await self._patiently(self._queries.check_instruments, "exchangeInfo")

    async def trades_since(self, instrument: int, from_ns: int) -> list[Trade]:
        """Public trades from a moment on, oldest first, for warm-up; a Transient or ApiRefused when the venue does not give them."""
        return await self._queries.trades_since(instrument, from_ns)

    async def reconcile(self) -> None:
        """Open orders, what the engine wishes to know in answer, then balances and positions; all reported to the host.

        Returns when that is done: without a connection it waits, a lost answer is asked for again.
        """
        await self._patiently(self._reconcile, "reconciliation")

    async def _reconcile(self) -> None:
        if not await self._queries.reconcile():
            raise VenueBusy("what the account holds is not known: its orders were busy all the time")

    async def _patiently(self, ask: Callable[[], Awaitable[None]], what: str) -> None:
        """Until it worked: the venue may be away for hours."""
        retry = Retry(self._settings)
        while True:
            try:
                await ask()
                return
            except (Transient, ApiRefused) as e:
                _LOG.warning("%s: %s: %s", self._venue, what, e)
                await asyncio.sleep(retry.failed())

    # --- mia.ports.Venue ------------------------------------------------------------------------------------------------
    def send(self, effects: Sequence[AnyEffect], now_ns: int) -> None:
        """Take the effects that address the venue; never blocks, never sends an order twice."""
        self._broker.send(effects, now_ns)

    def pop(self, until_ns: int, seq: int) -> AnyEvent | None:
        """A real venue reports by itself."""
        return None

    def on_market(self, event: AnyEvent) -> None:
        """A real venue knows its market."""

    def snapshot(self) -> bytes:
        """The venue keeps its own state."""
        return b""

    def restore(self, data: bytes) -> None:
        """Nothing to go on from."""

    # --- for status -----------------------------------------------------------------------------------------------------
    def counters(self) -> dict[str, int]:
        """What happened since the start, by part."""
        counts = {f"feed_{name}": value for name, value in self._feed.counts.items()}
        counts |= {f"api_{name}": value for name, value in self._api.counts.items()}
        counts |= self.codec.counters()
        for part in (self._broker.counts, self._facts.counts, self._queries.counts):
            counts |= part
        counts["api_events"] = self._api.events
        counts["clock_offset_ms"] = self._api.clock_offset_ms
        return counts

    def warnings(self) -> list[str]:
        """One line for each thing that a human should know, with what to do."""
        lines = self.codec.warnings() + self._feed.warnings()
        for asset, amount in sorted(self._facts.other_fee_assets.items()):
            lines.append(
                f"{self._venue}: fees were taken in {asset} ({amount / 1e8:.8f} so far), which profit does not show; "
                "switch the discount off at the venue"
            )
        if abs(self._api.clock_offset_ms) > _SKEW_MS_MAX:
            lines.append(f"{self._venue}: its clock is {self._api.clock_offset_ms} ms ahead of ours; check NTP on this machine")
        for name, text in (("events_malformed", "reports of orders"), ("answers_malformed", "answers to orders")):
            if self._broker.counts[name]:
                lines.append(f"{self._venue}: {self._broker.counts[name]} {text} could not be read; each was asked for again")
        if self._queries.counts["account_not_quiet"]:
            lines.append(
                f"{self._venue}: the account could not be compared {self._queries.counts['account_not_quiet']} times, orders were busy"
            )
        return lines
