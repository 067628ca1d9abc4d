"""A run's history out of the catalogue: bars of assets, or their events, over the span that a request names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mia.backtest.catalogue import BarReader, event_history, stored_instrument
from mia.backtest.catalogue.events import last_ns
from mia.backtest.catalogue.layout import Asset
from mia.backtest.run.sources import BarHistory, EventHistory
from mia.domain.errors import ConfigError
from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec

if TYPE_CHECKING:
    from mia.backtest.run.prepare import Request

DAY_NS: Final = 86_400_000_000_000
Named = list[tuple[Asset, Instrument]]


def named_assets(request: Request, changed: Callable[[Instrument], Instrument]) -> Named:
    """The assets with their instruments, as `changed` makes them; ConfigError for one that is not stored, or named twice."""
    if request.data or request.instruments:
        raise ConfigError("--assets names what the catalogue holds, --data and --instrument files: give one of them")
    assets = [Asset.parse(text) for text in request.assets]
    if twice := [asset.text for k, asset in enumerate(assets) if asset in assets[:k]]:
        raise ConfigError(f"--assets {twice[0]}: is named twice")
    return [(asset, changed(stored_instrument(asset, request.settings.instruments))) for asset in assets]


def bars_of(request: Request, named: Named, wanted: BarSpec | None) -> list[BarHistory]:
    """Bars of each that make the wanted ones."""
    readers = [BarReader(asset, instrument, wanted, request.from_ns, request.to_ns) for asset, instrument in named]
    from_ns = request.from_ns
    if request.days:
        from_ns = max(from_ns, max(reader.last_ns() for reader in readers) - request.days * DAY_NS)
    return [reader.read(from_ns, request.warm_up, request.sealed) for reader in readers]


def events_of(request: Request, named: Named, bars: BarSpec) -> tuple[EventHistory, int]:
    """(events of all in order of arrival with warm_up of these bars before the span, when the span begins)."""
    from_ns = request.from_ns
    if request.days:
        from_ns = max(from_ns, max(last_ns(asset, request.read, request.to_ns) for asset, _ in named) - request.days * DAY_NS)
    begin_ns = max(0, from_ns - request.warm_up * bars.interval_ns) if bars.interval_ns else 0
    return event_history(named, request.read, begin_ns, request.to_ns, request.sealed), from_ns
