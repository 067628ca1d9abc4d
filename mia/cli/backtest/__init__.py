"""`mia backtest`: what trading would have made. Each verb lives in its own module."""

from __future__ import annotations

import typer

from mia.cli.backtest import strategies

app = typer.Typer(help="What would trading have made, and how sure is that?", rich_markup_mode=None, no_args_is_help=True)
app.add_typer(strategies.app, name="strategies", short_help="The classic strategies; show one with its parameters.")

__all__ = ("app",)
