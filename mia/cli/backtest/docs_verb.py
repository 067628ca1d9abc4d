"""`mia backtest docs`: what each figure of a backtest means, as Markdown; the same page as `mia docs show statistics`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def docs(to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Write it there instead of printing it.")] = None) -> None:
    """Print or write the page on statistics: formula, unit, source, the least each needs."""
    from mia.backtest.stats.docs import page

    if to is None:
        print(page(), end="")
    else:
        to.write_text(page(), encoding="utf-8")
        print(f"wrote: {to}")
