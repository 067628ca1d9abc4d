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
    duration: o.Duration = o.DURATION_S,
    seed: o.Seed = None,
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", min=0, max=100_000, help="Resamples behind each interval; 0: none.")
    ] = 1_000,
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
    request = history.request("", {}, duration=duration, seed=seed)
    track = run_members(request, members)
    found, tried = counted_fit(track, method, windows, lookback, forgetting)
    by_engine = traded(request, track, found.windows, method)
    told = facts(track, found, method, lookback, forgetting, by_engine, samples)
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
    bars = f"{sample['from']} to {sample['to']} UTC, {sample['bars']} bars"
    print_pairs([("ensemble", str(out)), ("of", ", ".join(told["instruments"])), ("method", method), ("out of sample", bars)])
    print()
    head = ("", "return", "95 %", "volatility", "Sharpe", "95 %", "drawdown", "")
    rows = [(f"{k}", *_row(sample["members"][name]), name) for k, name in enumerate(names, 1)]
    rows += [(name, *_row(f), "blend") for name, f in sample["blends"].items()]
    rows.append(("traded", *_row(sample["traded"]), f"{method}, through the engine"))
    print_table(head, rows)
    print()
    numbers = [str(k) for k in range(1, len(names) + 1)]
    weights = [(w["from"], *(f"{x:.3f}" for x in w["weights"][method])) for w in told["windows"]]
    weights.append(("the file", *(f"{x:.3f}" for x in told["last_weights"][method])))
    print_table(("weights from", *numbers), weights)
    print()
    print_table(("correlation", *numbers), [(numbers[i], *_correlations(sample, i)) for i in range(len(names))])
    if len(names) > 1:
        print()
        print_table(("added by", *head[1:]), [(numbers[k], *_row(sample["added"][name], "+"), name) for k, name in enumerate(names)])
    for note in notes:
        print_note(note)


def _row(f: dict[str, Any], sign: str = "") -> tuple[str, ...]:
    """sign: `+` for a difference of figures."""
    sharpe = "n/a" if f["sharpe"] is None else f"{f['sharpe']:{sign}.2f}"
    share = f"{sign}.2%"
    between = f["interval"] or {}
    return (
        f"{f['total']:{share}}", _span(between.get("total"), share), f"{f['volatility']:{share}}", sharpe,
        _span(between.get("sharpe"), f"{sign}.2f"), f"{f['drawdown']:{share}}",
    )  # fmt: skip


def _correlations(sample: dict[str, Any], i: int) -> list[str]:
    spans = sample["correlation_interval"]
    cells = []
    for j, value in enumerate(sample["correlation"][i]):
        span = _span(spans[i][j], ".2f") if spans else ""
        cells.append("n/a" if value is None else f"{value:.2f} ({span})" if span else f"{value:.2f}")
    return cells


def _span(between: dict[str, float | None] | None, form: str) -> str:
    if between is None:
        return ""
    low, high = (("n/a" if between[end] is None else format(between[end], form)) for end in ("low", "high"))
    return f"{low} .. {high}"
