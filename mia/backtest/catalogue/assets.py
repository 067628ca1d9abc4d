"""What an asset of the catalogue is: its instrument, and the kinds that are stored of it."""

from __future__ import annotations

from collections.abc import Sequence

from mia.backtest.catalogue.layout import Asset, assets, ranges
from mia.backtest.catalogue.months import Meta, read_meta
from mia.domain.errors import ConfigError
from mia.domain.instruments import Instrument


def stored_instrument(asset: Asset, known: Sequence[Instrument]) -> Instrument:
    """Of the settings where they know it, else as it was imported last; ConfigError with what there is when it is not stored."""
    kinds = asset.kinds()
    if not kinds:
        there = ", ".join(found.text for found in assets()) or "nothing yet: mia data import FILE --instrument VENUE:SYMBOL"
        raise ConfigError(f"--assets {asset.text}: is not in the catalogue, which holds {there}")
    for instrument in known:
        if (instrument.venue, instrument.symbol) == asset:
            return instrument
    return max((metas(asset, kind, asset.months(kind)[-1:])[0] for kind in kinds), key=lambda meta: meta.last_ns).instrument


def check_stored(asset: Asset, known: Sequence[Instrument], said: Instrument) -> None:
    """ConfigError when the asset is stored as another instrument than is said now: runs take one, for all of its months."""
    if not asset.kinds() or any((i.venue, i.symbol) == asset for i in known):
        return
    have = stored_instrument(asset, ())
    for name in ("kind", "tick_size", "lot_size", "maker_fee", "taker_fee", "quote_currency"):
        if getattr(have, name) != getattr(said, name):
            raise ConfigError(
                f"--instrument {asset.text}: is stored with {name} {getattr(have, name)}, this says {getattr(said, name)}: give the "
                f"stored one, name the instrument in [[instruments]], where every run then reads it, or remove {asset.folder} first"
            )


def metas(asset: Asset, kind: str, months: Sequence[str]) -> list[Meta]:
    """What the files of these months say of themselves."""
    return [read_meta(asset.month_file(kind, month)) for month in months]


def stored_text(asset: Asset) -> str:
    """What is stored of an asset, for messages."""
    return "; ".join(f"{kind} {ranges(asset.months(kind))}" for kind in asset.kinds())
