"""`mia data roll`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mia.cli.data.options import Out, Tz, app, say, utc_text
from mia.cli.places import ExcludeSealed, JsonOption, instant

if TYPE_CHECKING:
    from mia.backtest.readers import Candles
    from mia.backtest.validation.seal import Sealed


class Method(enum.StrEnum):
    """What becomes of prices before a roll."""

    back = "back"
    ratio = "ratio"
    none = "none"


@app.command("roll", short_help="One series out of futures contracts.")
def roll(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="One with a column `contract`, or one a contract, in order.")],
    method: Annotated[Method, typer.Option("--method", help="Prices before a roll: moved by its gap, scaled, or left as they are.")],
    out: Out,
    at: Annotated[
        list[str] | None, typer.Option("--at", metavar="DATE", help="When to roll, UTC; one for each; else by daily volume.")
    ] = None,
    tz: Tz = None,
    exclude_sealed: ExcludeSealed = False,
    as_json: JsonOption = False,
) -> None:
    """Join contracts into one series, and name each roll with the gap that it has; a column `front` says which contract a bar is of."""
    from mia.backtest.data.resample import interval_text
    from mia.backtest.data.rolls import roll as join
    from mia.backtest.data.writing import check_out, write_candles
    from mia.cli.output import print_json, print_pairs, print_table

    check_out(out, files)
    contracts = _contracts(files, tz, "exclude" if exclude_sealed else "refuse")
    made = join(contracts, method.value, [instant("--at", text) for text in at or ()])
    sources = sorted({sha256 for candles in contracts.values() for sha256 in candles.sha256})
    sha256 = write_candles(out, made.open_ns, made.ohlcv, sources, {"front": made.front})
    if as_json:
        facts = {"file": str(out), "sha256": sha256, "bars": len(made.open_ns), "method": method.value}
        print_json({**facts, "rolls": made.rolls, "notes": made.notes, "source_sha256": sources})
        return
    say(made.notes)
    print_pairs(
        [
            ("file", f"{out}, {len(made.open_ns)} bars of {interval_text(made.interval_ns)}, {method.value}"),
            ("span", f"{utc_text(int(made.open_ns[0]))} to {utc_text(int(made.open_ns[-1]))} UTC"),
        ]
    )
    if made.rolls:
        head = ("roll UTC", "from", "to", "old close", "new close", "gap", "%", "rows", "bar of both")
        rows = [
            (utc_text(r.ts_ns), r.old, r.new, f"{r.old_close:g}", f"{r.new_close:g}", f"{r.gap:+g}", f"{r.gap_percent:+.3f}",
             f"{r.row_old}, {r.row_new}", utc_text(r.common_ns))
            for r in made.rolls
        ]  # fmt: skip
        print_table(head, rows, right=head[3:7])


def _contracts(files: list[Path], tz: str | None, sealed: Sealed) -> dict[str, Candles]:
    """By name, in order of expiry: of one file by what the names say, of several in the order given."""
    from mia.backtest.data.rolls import in_order
    from mia.backtest.readers import read_candles, read_contracts
    from mia.domain.errors import ConfigError

    if len(files) == 1:
        found = read_contracts(files[0], tz=tz, sealed=sealed)
        return {name: found[name] for name in in_order(list(found))}
    names = [path.name.split(".")[0] for path in files]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two files are called {twice[0]}: a contract is named by its file")
    return {name: read_candles([path], tz=tz, sealed=sealed) for name, path in zip(names, files, strict=True)}
