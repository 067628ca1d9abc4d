"""Trading at the demo exchange: its process, our connections to it, and what happens when it comes back elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from mia.domain.errors import DataError
from mia.engine.engine import Engine
from mia.ports import Link
from mia.settings import Settings
from mia.telemetry.log import register_secret
from mia.venues.binance.connect import BinanceSpot, Credentials, Endpoints
from miad.child import Exchange
from miad.host import EventHost

VENUE: Final = "demo"
_LINK: Final = "exchange"


class _Ready(msgspec.Struct, frozen=True):
    """The ready line, as far as we read it."""

    stream: str
    api: str
    api_key: str
    secret: str


class DemoVenue:
    """`start` gives the venue for the core; the exchange's life is the `watch` task."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        state_dir: Path,
        host: EventHost,
        on_link: Callable[[str, Link, str], None],
        trace: Path | None = None,
    ) -> None:
        """trace: the exchange notes frames and orders there."""
        definition = engine.config.instruments[0]
        self._settings: Final = settings
        self._engine: Final = engine
        self._host: Final = host
        self._on_link: Final = on_link
        self._venue: BinanceSpot | None = None
        wishes = msgspec.to_builtins({"sim": settings.sim, "instrument": definition, "demo": settings.demo})
        self.exchange: Final = Exchange(state_dir / "demo", wishes, self._up, self._down, trace)

    async def start(self) -> BinanceSpot:
        """Start the exchange and build the connections to it; DataError when it does not come up."""
        self._on_link(_LINK, Link.CONNECTING, "")
        endpoints, credentials = _places(await self.exchange.start())
        self._on_link(_LINK, Link.UP, f"pid {self.exchange.pid}")
        engine = self._engine
        venue = self._venue = BinanceSpot(
            VENUE,
            endpoints,
            {m.definition.symbol: (m.terms.instrument, m.definition) for m in engine.markets},  # type: ignore[misc]
            [m.index for m in engine.markets if m.reads_book],
            credentials,
            self._host,
            self._settings.link,
        )
        return venue

    def _up(self, ready: dict[str, Any]) -> None:
        """It came back, on other ports and with another key."""
        self._on_link(_LINK, Link.UP, f"pid {self.exchange.pid}")
        if self._venue is not None:
            self._venue.point_at(*_places(ready))

    def _down(self, why: str) -> None:
        self._on_link(_LINK, Link.CONNECTING, why)


def _places(ready: dict[str, Any]) -> tuple[Endpoints, Credentials]:
    try:
        found = msgspec.convert(ready, _Ready)
    except msgspec.ValidationError as e:
        raise DataError(f"the demo exchange's ready line is not what we know ({e}): are both of one version?") from e
    register_secret(found.secret)
    register_secret(found.api_key)
    return Endpoints(found.stream, found.api), Credentials(found.api_key, found.secret.encode())
