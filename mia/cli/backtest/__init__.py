"""`mia backtest`: strategies on history. Each verb has a module of its own."""

from __future__ import annotations

import typer

from mia.cli.backtest import compare, ensemble, grid, leaks, lookahead, perturb, reconcile, run, runs, seal, strategies, trials
from mia.cli.shared_options import SpacedCommand

app = typer.Typer(help="Strategies on history, and how far to trust the numbers.", rich_markup_mode=None, no_args_is_help=True)
app.command("run", cls=SpacedCommand, short_help="A strategy or a policy on history, with every cost.")(run.run)
app.command("runs", short_help="Which runs there are, newest first.")(runs.runs)
app.command("compare", short_help="Runs side by side; is the difference more than chance?")(compare.compare)
app.command("lookahead", cls=SpacedCommand, short_help="Does it know the future? Poison it, and see.")(lookahead.lookahead)
app.command("leaks", cls=SpacedCommand, short_help="One bar later, shuffled signals, data that knows the future.")(leaks.leaks)
app.command("perturb", cls=SpacedCommand, short_help="Again on bars that might have been: does it live off exact prices?")(perturb.perturb)
app.command("reconcile", short_help="A traded period against its backtest, difference by difference.")(reconcile.reconcile)
app.command("grid", cls=SpacedCommand, short_help="Many configurations of one strategy, each of them counted.")(grid.grid)
app.add_typer(strategies.app, name="strategies", short_help="The classic strategies; show one with its parameters.")
app.add_typer(ensemble.app, name="ensemble", short_help="Several strategies as one target: fit their weights.")
app.add_typer(trials.app, name="trials", short_help="Every configuration that was ever scored.")
app.command("seal", short_help="Make a span of history unreadable: the holdout.")(seal.seal)
app.command("unseal", short_help="Open a sealed span, once and for all: logged, counted, told in every report.")(seal.unseal)
app.command("seals", short_help="What is sealed, and what was opened why.")(seal.seals)

__all__ = ("app",)
