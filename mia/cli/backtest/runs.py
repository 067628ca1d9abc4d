"""`mia backtest runs`: which runs there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mia.cli.places import JsonOption

if TYPE_CHECKING:
    from mia.backtest.run.find import Listed


def runs(
    folder: Annotated[Path | None, typer.Option("--in", metavar="DIR", help="Where runs lie; else among MIA's data.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs, the one written last first. Its id (or its first digits) names a run to `mia report backtest` and `compare`."""
    from mia.backtest.run.find import listed, runs_home
    from mia.cli.output import print_json, print_note, print_table
    from mia.domain.errors import DataError

    if folder is not None and not folder.is_dir():
        raise DataError(f"--in {folder}: no such folder")
    found = listed(folder)
    if as_json:
        print_json(found)
        return
    if not found:
        print_note(f"no run in {folder or runs_home()}: make one with `mia backtest run`")
        return
    sound = [run for run in found if not run.problem]
    if sound:
        print_table(("run", "written", "equity", "return", "trades", "history", "strategy"), map(_row, sound), right=("return", "trades"))
    for run in found:
        if run.problem:
            print_note(f"{run.folder}: {run.problem}")


def _row(run: Listed) -> tuple[str, ...]:
    total = f"{run.end_equity / run.start_equity - 1.0:.2%}" if run.start_equity > 0.0 else "n/a"
    equity = f"{run.start_equity:,.2f} -> {run.end_equity:,.2f} {run.currency}"
    history = f"{', '.join(run.instruments)} {', '.join(run.bars)}"
    return run.id, run.written.replace("T", " ").rstrip("Z")[:16], equity, total, f"{run.trades:,}", history, run.strategy
