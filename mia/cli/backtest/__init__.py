"""`mia backtest`: strategies on history. Each verb has a module of its own."""

from __future__ import annotations

import typer

from mia.cli.backtest import grid, run, strategies

app = typer.Typer(help="Strategies on history, and how far to trust the numbers.", rich_markup_mode=None, no_args_is_help=True)
app.command("run", short_help="A strategy or a policy on history, with every cost.")(run.run)
app.command("grid", short_help="Many configurations of one strategy, each of them counted.")(grid.grid)
app.add_typer(strategies.app, name="strategies", short_help="The classic strategies; show one with its parameters.")

__all__ = ("app",)
