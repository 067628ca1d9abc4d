"""`mia features regimes`: recorded history, coloured by regime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mia.cli.features.options import Bars, Family, File, Lot, OnDuplicate, OnDuplicateOption, Tick, Tz, app, data_of
from mia.cli.places import ConfigOption, ExcludeSealed, JsonOption


@app.command("regimes", short_help="A picture of history by regime, and what each regime was like.")
def regimes(
    file: File,
    models: Annotated[str, typer.Option("--models", metavar="FILE|BUNDLE", help="A file of mia-train features, or a bundle.")],
    out: Annotated[Path, typer.Option("--out", metavar="X.html", help="The page to write (.html), or the picture alone (.svg).")],
    bars: Bars = None,
    tick: Tick = None,
    lot: Lot = None,
    tz: Tz = None,
    family: Family = None,
    on_duplicate: OnDuplicateOption = OnDuplicate.error,
    exclude_sealed: ExcludeSealed = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Filter a file forward through a regime model and write a page that needs no network; the table of each regime is printed, too."""
    from mia.backtest.feature_run import open_source
    from mia.backtest.regime_page import page, picture
    from mia.backtest.regimes import regimes as look
    from mia.cli.output import print_json, print_note, print_table
    from mia.domain.errors import DataError

    if out.suffix not in (".html", ".svg"):
        raise typer.BadParameter(f"--out {out}: end it in .html or .svg")
    data = data_of(
        bars=bars, tick=tick, lot=lot, tz=tz, on_duplicate=on_duplicate, config=config, models=models, family=family,
        exclude_sealed=exclude_sealed,
    )  # fmt: skip
    source = open_source([file], data.request)
    found = look(source)
    try:
        out.write_text(page(found) if out.suffix == ".html" else picture(found), encoding="utf-8")
    except OSError as e:
        raise DataError(f"{out}: cannot be written: {e.strerror or e}") from None
    for note in source.notes:
        print_note(note)
    if as_json:
        print_json(
            {"file": str(out), "bars": found.bars, "rows": len(found.ts_ns), "cold": found.cold, "fit": found.fit, "parts": found.parts}
        )
        return
    head = ("regime", "bars", "share", "spells", "dwell", "|r|", "vol", "autocorr", "next vol")
    for part in found.parts:
        print({True: "after the fit", False: "up to the end of the fit", None: "all rows"}[part.is_later])
        rows = [
            (s.label, s.bars, f"{s.share:.1%}", s.spells, _n(s.dwell, 1.0), _n(s.abs_r, 1e4), _n(s.volatility, 1e4),
             _n(s.autocorrelation, 1.0, 3), _n(s.next_volatility, 1e4))
            for s in part.labels
        ]  # fmt: skip
        print_table(head, rows, right=head[1:])
        if (k := part.likelihood) is not None:
            print(f"log likelihood a bar: three states {k.model:.3f}, one state {k.one_state:.3f}, {k.rows} bars")
        print()
    print("dwell in bars; |r|, vol and next vol (of the bar after) in bps a bar; labels filtered forward")
    print(f"{out}: {out.stat().st_size:,} bytes")


def _n(x: float | None, factor: float, digits: int = 2) -> str:
    return "-" if x is None else f"{x * factor:.{digits}f}"
