"""`mia backtest ensemble fit`: weights of several strategies, fitted on earlier windows only, as one file that miad runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mia.cli.backtest import options as o
from mia.cli.places import JsonOption
from mia.cli.shared_options import SpacedCommand

if TYPE_CHECKING:
    from mia.backtest.ensemble.members import Member

app = typer.Typer(help="Several strategies as one target.", rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def ensemble() -> None:
    """Several strategies as one target."""


@app.command("fit", cls=SpacedCommand, short_help="Weights from earlier windows, and what they came to on later ones.")
@o.history_options()
def fit(
    history: o.History,
    member: Annotated[
        list[str],
        typer.Option("--member", metavar="NAME", help="rule:NAME[,PARAM=VALUE]..., or a model by name or path; repeat it for each."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The ensemble (.json), for --policy ensemble:FILE and for a lane.")],
    method: Annotated[
        str, typer.Option("--method", metavar="M", help="equal, inverse_volatility, min_variance or likelihood.")
    ] = "min_variance",
    windows: Annotated[int, typer.Option("--windows", metavar="N", min=2, max=1000, help="Of equal length; the first only teaches.")] = 6,
    lookback: Annotated[int, typer.Option("--lookback", metavar="N", min=0, max=1000, help="Fit on N windows before; 0: on all.")] = 0,
    forgetting: Annotated[float, typer.Option("--forgetting", metavar="F", help="A bar, of the likelihood's weights.")] = 0.999,
    as_json: JsonOption = False,
) -> None:
    """Run each member alone, fit weights for each window on earlier windows, and report what the ensemble came to on later ones.

    The file gets weights fitted on all windows: they have no figures out of sample of their own.
    """
    from mia.backtest.ensemble.counting import counted_fit
    from mia.backtest.ensemble.making import check_out, facts, file_of, traded, write_file
    from mia.backtest.ensemble.members import run_members
    from mia.cli.output import print_json

    check_out(out)
    members = [member_of(text) for text in member]
    request = history.request("", {})
    track = run_members(request, members)
    found, tried = counted_fit(track, method, windows, lookback, forgetting)
    by_engine = traded(request, track, found.windows, method)
    told = facts(track, found, method, lookback, forgetting, by_engine)
    write_file(file_of(track, found.last[method], out.stem, method, told), out)
    notes = [*track.notes, *notes_of(told, tried)]
    if as_json:
        print_json({"file": str(out), **told, "notes": notes})
        return
    _print(out, list(track.names), told, notes)


def member_of(text: str) -> Member:
    """`rule:ema_cross,fast_period=10` or a model's name."""
    from mia.backtest.ensemble.members import Member

    strategy, *params = text.split(",")
    if not strategy:
        raise typer.BadParameter(f"--member {text!r}: write rule:NAME,PARAM=VALUE or the name of a model")
    if params and not strategy.startswith("rule:"):
        raise typer.BadParameter(f"--member {text}: parameters belong to rules; a model brings its own")
    return Member(strategy, o.strategy_of(strategy.removeprefix("rule:"), None, params)[1] if params else {})


def notes_of(told: dict[str, Any], tried: int) -> list[str]:
    """What a reader must know of the figures."""
    return [
        "members run alone and without the drawdown stop; blends are of their accounts side by side, brought to their weights at each bar "
        "without cost; `traded` is the ensemble itself through the engine, every window begun flat, with all costs and stops",
        f"the file holds the last weights ({told['method']}), fitted on everything up to {told['out_of_sample']['to']} UTC: no figure here "
        "is theirs; whoever chooses a method by these figures has looked at them",
        f"{tried} ensembles were tried on this data so far, the four of this fit included (`mia backtest trials`)",
    ]


def _print(out: Path, names: list[str], told: dict[str, Any], notes: list[str]) -> None:
    from mia.cli.output import print_note, print_pairs, print_table

    sample, method = told["out_of_sample"], told["method"]
    print_pairs([("ensemble", str(out)), ("method", method), ("out of sample", f"{sample['from']} to {sample['to']} UTC")])
    print()
    rows = [(f"{k}", *_row(sample["members"][name]), name) for k, name in enumerate(names, 1)]
    rows += [(name, *_row(f), "blend") for name, f in sample["blends"].items()]
    rows.append(("traded", *_row(sample["traded"]), f"{method}, through the engine"))
    print_table(("", "return", "volatility", "Sharpe", "drawdown", ""), rows)
    print()
    numbers = [str(k) for k in range(1, len(names) + 1)]
    weights = [(w["from"], *(f"{x:.3f}" for x in w["weights"][method])) for w in told["windows"]]
    weights.append(("the file", *(f"{x:.3f}" for x in told["last_weights"][method])))
    print_table(("weights from", *numbers), weights)
    print()
    table = [(numbers[i], *("n/a" if x is None else f"{x:.2f}" for x in row)) for i, row in enumerate(sample["correlation"])]
    print_table(("correlation", *numbers), table)
    if len(names) > 1:
        print()
        whole = sample["blends"][method]
        left = [(numbers[k], *_added(whole, sample["without"][name]), name) for k, name in enumerate(names)]
        print_table(("added by", "return", "volatility", "Sharpe", "drawdown", ""), left)
    for note in notes:
        print_note(note)


def _row(f: dict[str, Any]) -> tuple[str, ...]:
    sharpe = "n/a" if f["sharpe"] is None else f"{f['sharpe']:.2f}"
    return f"{f['total']:.2%}", f"{f['volatility']:.2%}", sharpe, f"{f['drawdown']:.2%}"


def _added(whole: dict[str, Any], without: dict[str, Any]) -> tuple[str, ...]:
    """The blend less the blend without the member."""
    sharpe = "n/a" if whole["sharpe"] is None or without["sharpe"] is None else f"{whole['sharpe'] - without['sharpe']:+.2f}"
    rest = {name: f"{whole[name] - without[name]:+.2%}" for name in ("total", "volatility", "drawdown")}
    return rest["total"], rest["volatility"], sharpe, rest["drawdown"]
