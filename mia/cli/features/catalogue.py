"""`mia features list|show|docs|check`: what the catalogue holds."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mia.cli.features.options import Category, app, builtins
from mia.cli.places import JsonOption


@app.command("list", short_help="All features, or those of one category.")
def list_features(category: Category = None, as_json: JsonOption = False) -> None:
    """List features: name, category, inputs, warm-up and formula."""
    from mia.cli.output import print_json
    from mia.features.catalogue import shipped_catalogue

    found = [f for f in shipped_catalogue().features if category is None or f.category == _known_category(category)]
    if as_json:
        print_json(found)
        return
    head = ("name", "category", "inputs", "warm-up")
    rows = [(f.name, f.category, ", ".join(f.inputs), warm_up(f.warm_up)) for f in found]
    widths = [max(len(row[k]) for row in [head, *rows]) + 2 for k in range(4)]
    for row, formula in zip([head, *rows], ["formula", *(f.formula for f in found)], strict=True):
        print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        print(f"    {formula}")
    total = len(shipped_catalogue().features)
    print(f"{len(found)} features{f' of {total}' if category else ''}")


@app.command("show", short_help="Everything about one feature.")
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a feature.")], as_json: JsonOption = False) -> None:
    """Show everything about one feature; an unknown name is answered with the nearest ones."""
    from mia.cli.output import print_json, print_pairs
    from mia.features.blocks import BLOCK_OF
    from mia.features.catalogue import shipped_catalogue

    f = shipped_catalogue().get(name)
    block = BLOCK_OF.get(name)
    if as_json:
        print_json({**builtins(f), "block": block})
        return
    low, high = f.range
    facts = [
        ("name", f.name),
        ("category", f.category),
        ("formula", f.formula),
        ("unit", f.unit),
        ("range", f"{low:g} to {high:g}"),
        ("source", f.source),
        ("inputs", ", ".join(f.inputs)),
        ("series", ", ".join(f.series)),
        ("warm-up", warm_up(f.warm_up)),
        ("missing", f.missing),
        ("neutral", f"{f.neutral:g}"),
        ("computed by", f"{block} block" if block else "nothing yet"),
    ]
    print_pairs([(key, value) for key, value in facts if value])


@app.command("docs", short_help="The page of all features.")
def docs() -> None:
    """Print docs/features.md as Markdown."""
    from mia.cli.docs import features

    print(features.page(), end="")


@app.command("check", short_help="Is the catalogue complete and in step?")
def check(as_json: JsonOption = False) -> None:
    """Check counts, names and code of the catalogue, and that nothing withdrawn is left. Exit 1 when something is not as agreed."""
    from mia.backtest.catalogue_check import checks
    from mia.cli.output import print_json, print_note, print_table

    found = checks()
    failed = [c for c in found if not c.ok]
    if as_json:
        print_json(found)
    else:
        print_table(("check", "result", "detail"), [(c.check, "ok" if c.ok else "fail", c.detail) for c in found])
    if failed:
        print_note(f"{len(failed)} of {len(found)} checks failed")
        raise typer.Exit(1)


def warm_up(w: Any) -> str:
    """Such as "15 bars, 1 quote"; "none"."""
    parts = ((w.bars, "bar"), (w.quotes, "quote"), (w.trades, "trade"), (w.books, "book"), (w.seconds, "s"))
    return ", ".join(f"{n} {word}{'s' * (n != 1 and word != 's')}" for n, word in parts if n) or "none"


def _known_category(category: str) -> str:
    from mia.features.catalogue import shipped_catalogue

    if not shipped_catalogue().category(category):
        from mia.backtest.feature_run import chosen

        chosen(None, category)  # raises with the nearest names
    return category
