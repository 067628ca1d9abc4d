"""`mia bench`: the verb; what is measured and how is mia.cli.bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mia.cli.places import JsonOption


def bench(
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder of recordings; else MIA_DATA, else simulated.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Everything at length; minutes instead of 50 s.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how fast and how lean this installation is. Nothing passes or fails; the goals stand beside the figures."""
    from mia.cli.bench import data_folder, measure, text
    from mia.cli.output import print_json

    result = measure(data_folder(data), full=full)
    if as_json:
        print_json(result)
    else:
        print(text(result))
