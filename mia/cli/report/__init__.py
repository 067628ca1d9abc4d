"""`mia report`: pages to read in a browser. Each verb has a module of its own."""

from __future__ import annotations

import typer

from mia.cli.report import backtest

app = typer.Typer(
    help="Pages to read in a browser: one file each, nothing loaded from anywhere.", rich_markup_mode=None, no_args_is_help=True
)
app.command("backtest", short_help="A run: did it make money after costs, and how sure is that?")(backtest.report_backtest)


@app.callback()
def _group() -> None:
    """Keeps a single verb a verb."""


__all__ = ("app",)
