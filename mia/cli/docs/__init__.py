"""`mia docs`: the pages that are generated from the code, so that they cannot tell another story."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from mia.cli.places import JsonOption
from mia.domain.errors import DataError

app = typer.Typer(help="Pages generated from the code: read one, or bring docs/ up to date.", rich_markup_mode=None, no_args_is_help=True)
_CHECKOUT: Final = Path(__file__).resolve().parents[3] / "docs"


def pages() -> dict[str, Callable[[], str]]:
    """Name of each generated page, and what makes it."""
    from mia.backtest.stats import docs as statistics
    from mia.cli.docs import codes, configuration, features, files, strategies

    return {
        "configuration": configuration.page,
        "features": features.page,
        "files": files.page,
        "refusal_codes": codes.page,
        "statistics": statistics.page,
        "strategies": strategies.page,
    }


@app.command("build", short_help="Write the generated pages.")
def build(
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Where; else docs/ of the checkout.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a page is not up to date.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Generate every page; says which changed."""
    from mia.cli.output import print_json

    folder = to or _CHECKOUT
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder: name one with --to")
    changed = []
    for name, make in pages().items():
        path = folder / f"{name}.md"
        text = make()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            changed.append(str(path))
            if not check:
                path.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"changed": changed, "written": not check})
    else:
        print("\n".join(f"{'out of date' if check else 'wrote'}: {path}" for path in changed) or "every page is up to date")
    if check and changed:
        raise typer.Exit(1)


@app.command("show", short_help="Print one page.")
def show(
    name: Annotated[str, typer.Argument(metavar="PAGE", help="configuration, features, files, refusal_codes, statistics or strategies.")],
) -> None:
    """Print a page as Markdown."""
    known = pages()
    if name not in known:
        raise typer.BadParameter(f"{name!r}: choose one of {', '.join(known)}")
    print(known[name](), end="")
