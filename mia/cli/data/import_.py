"""`mia data import`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mia.cli.backtest import options as o
from mia.cli.data.options import Tz, app, say
from mia.cli.places import ConfigOption, ExcludeSealed, JsonOption

if TYPE_CHECKING:
    from mia.domain.instruments import Instrument
    from mia.settings import Settings


class DataKind(enum.StrEnum):
    """What is stored of an instrument."""

    bars = "bars"
    trades = "trades"
    quotes = "quotes"
    depth = "depth"
    funding = "funding"


@app.command("import", short_help="Candles, recordings or funding into the catalogue.")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Candles, recorded frames, or funding (ts_ns,rate), in order.")],
    instrument: Annotated[str, typer.Option("--instrument", metavar="VENUE:SYMBOL", help="What the files are of.")],
    kind: Annotated[
        list[DataKind] | None, typer.Option("--kind", help="Only this; may be repeated. None: all that the files hold.")
    ] = None,
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", metavar="T", help="Of the bars, when the files do not tell: tick:2800; else checked.")
    ] = None,
    contract: Annotated[
        o.Kind | None,
        typer.Option(
            "--contract", help="Of an instrument that [[instruments]] lacks, with --tick, --lot and --fee; else as others of its venue."
        ),
    ] = None,
    tick: o.Tick = None,
    lot: o.Lot = None,
    fee: o.Fee = None,
    tz: Tz = None,
    on_duplicate: o.OnDuplicateOption = o.OnDuplicate.error,
    exclude_sealed: ExcludeSealed = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store files in the catalogue, a file a month. The same again changes nothing; rows that contradict what is stored are refused."""
    from mia.backtest.catalogue.assets import check_stored
    from mia.backtest.catalogue.importing import How, import_files
    from mia.backtest.catalogue.layout import Asset
    from mia.cli.output import print_json, print_table
    from mia.features.bars import BarSpec
    from mia.settings import load_settings

    asset = Asset.parse(instrument, "--instrument")
    settings = load_settings(config).settings
    definition = _definition(settings, asset.text, contract, tick, lot, fee)
    check_stored(asset, settings.instruments, definition)
    how = How(
        kinds=tuple(k.value for k in kind or ()),
        bars=BarSpec.parse(o.bars_text(timeframe)) if timeframe else None,
        tz=tz,
        on_duplicate=on_duplicate.value,
        sealed="exclude" if exclude_sealed else "refuse",
    )
    done = import_files(files, definition, how)
    if as_json:
        print_json({**{name: getattr(done, name) for name in done.__struct_fields__}, "is_new": done.is_new})
        return
    rows = [(m.kind, m.month, m.rows, m.added, "" if m.is_new else "was there already") for m in done.months]
    print_table(("kind", "month", "rows", "added", ""), rows, right=("rows", "added"))
    say(done.notes)
    d = definition
    print(f"{asset.text}: {d.kind}, tick {d.tick_size:f}, lot {d.lot_size:f}, fees {d.maker_fee:f} and {d.taker_fee:f} of notional")
    if not done.is_new:
        print(f"{asset.text}: nothing to add: all of it is in the catalogue")


def _definition(settings: Settings, name: str, contract: o.Kind | None, tick: str | None, lot: str | None, fee: str | None) -> Instrument:
    """Of the settings, which options may repeat but not change; else made of the options."""

    from mia.domain.errors import ConfigError
    from mia.domain.instruments import Instrument

    grid = {"tick_size": o.decimal("--tick", tick), "lot_size": o.decimal("--lot", lot)}
    share = o.decimal("--fee", fee)
    stated = {k: v for k, v in (*grid.items(), ("maker_fee", share), ("taker_fee", share)) if v is not None}
    for known in settings.instruments:
        if f"{known.venue}:{known.symbol}" == name:
            said = {**stated, **({"kind": contract.value} if contract is not None else {})}
            if other := [k for k, v in said.items() if getattr(known, k) != v]:
                have, want = getattr(known, other[0]), said[other[0]]
                raise ConfigError(
                    f"--instrument {name}: [[instruments]] has {other[0]} {have}, not {want}: change it there, where runs read it"
                )
            return known
    if len(stated) < 4:
        names = ", ".join(f"{i.venue}:{i.symbol}" for i in settings.instruments)
        raise ConfigError(
            f"--instrument {name}: is not among [[instruments]] ({names}): add it there, or state its --tick, --lot and --fee (share of "
            "notional), and --contract"
        )
    venue, _, symbol = name.partition(":")
    there = {known.kind for known in settings.instruments if known.venue == venue}
    kind = contract.value if contract is not None else there.pop() if len(there) == 1 else "perpetual"
    return Instrument(
        venue=venue, symbol=symbol, kind=kind, family="crypto", quote_currency=settings.paper.currency,
        tick_size=stated["tick_size"], lot_size=stated["lot_size"], maker_fee=stated["maker_fee"], taker_fee=stated["taker_fee"],
    )  # fmt: skip
