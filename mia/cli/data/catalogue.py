"""`mia data catalogue`."""

from __future__ import annotations

from mia.cli.data.options import app, utc_text
from mia.cli.places import JsonOption


@app.command("catalogue", short_help="What is in the catalogue: spans, rows, gaps, sizes.")
def catalogue(as_json: JsonOption = False) -> None:
    """List what `mia data import` stored, by instrument and kind, for `mia backtest run --assets`."""
    from mia.backtest.catalogue.layout import ranges, root
    from mia.backtest.catalogue.listing import entries
    from mia.cli.output import print_json, print_note, print_table, size

    found = entries()
    if as_json:
        print_json({"folder": str(root()), "entries": found})
        return
    if not found:
        print_note(f"{root()}: nothing there: mia data import FILE --instrument VENUE:SYMBOL")
        return
    head = ("instrument", "kind", "first UTC", "last UTC", "rows", "gaps", "size", "sha256")
    rows = [(e.instrument, e.kind, utc_text(e.first_ns), utc_text(e.last_ns), e.rows, e.gaps, size(e.bytes), e.sha256[:12]) for e in found]
    print_table(head, rows, right=("rows", "gaps", "size"))
    for e in found:
        if e.missing:
            print_note(f"{e.instrument} {e.kind}: no {ranges(list(e.missing))}")
