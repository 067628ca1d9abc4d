"""`mia backtest grid`: many configurations of one strategy on one history, each of them counted."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mia.cli.backtest import options as o
from mia.cli.places import JsonOption

if TYPE_CHECKING:
    from mia.backtest.grid.search import Outcome, Plan, Progress
    from mia.backtest.grid.trust import Trust
    from mia.backtest.grid.validate import Scheme

_LINE_EVERY_S = 10.0
FOLDS, TRAIN_FOLDS, TESTED, EMBARGO = 5, 2, 2, "1d"
_Name = Annotated[str, typer.Option("--strategy", metavar="NAME", help="A classic strategy: mia backtest strategies list.")]
_Axes = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=A:B:STEP", help="An axis, both ends included; NAME=A,B,C lists values; may be repeated."),
]
_Random = Annotated[int | None, typer.Option("--random", metavar="N", min=1, max=1_000_000, help="Only N points, drawn by lot.")]
_Scheme = Annotated[
    str | None,
    typer.Option("--validate", metavar="SCHEME", help="Out of sample: walk_forward (anchored), rolling, purged_k_fold or cpcv."),
]
_Tpe = Annotated[int | None, typer.Option("--tpe", metavar="N", min=1, max=100_000, help="Only N points, chosen by TPE (Optuna).")]


@o.history_options()
def grid(
    history: o.History,
    strategy: _Name,
    param: _Axes = None,
    random: _Random = None,
    tpe: _Tpe = None,
    metric: Annotated[str, typer.Option("--metric", metavar="NAME", help="What is best: sharpe (daily) or net_return.")] = "sharpe",
    best: Annotated[int, typer.Option("--best", metavar="N", min=1, max=10_000, help="Rows of the table.")] = 10,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=0, max=1024, help="Processes; 0: one for each core.")] = 0,
    search_seed: Annotated[int, typer.Option("--search-seed", metavar="N", min=0, help="Of --random and --tpe.")] = 0,
    validate: _Scheme = None,
    folds: Annotated[int, typer.Option("--folds", metavar="N", min=2, max=100, help="Of --validate.")] = FOLDS,
    train_folds: Annotated[
        int, typer.Option("--train-folds", metavar="N", min=1, max=100, help="rolling: chosen on so many.")
    ] = TRAIN_FOLDS,
    tested: Annotated[int, typer.Option("--tested", metavar="N", min=1, max=99, help="cpcv: folds tested at once.")] = TESTED,
    embargo: Annotated[
        str, typer.Option("--embargo", metavar="T", help="Days this near to a test choose nothing: 12h, 1d; 0: none.")
    ] = EMBARGO,
    as_json: JsonOption = False,
) -> None:
    """Evaluate many configurations as live would have traded them; every one enters the trial registry before it is scored.

    A search that was cut off goes on when the same command is given again: nothing is lost, nothing counted twice. Below the table: how
    likely the search is overfitted, whether any configuration beats flat and holding, and with --validate what its choice came to out of
    sample.
    """
    from mia.backtest.grid.search import Plan, Search
    from mia.backtest.grid.space import space_of
    from mia.backtest.grid.trust import judged
    from mia.backtest.run.prepare import prepare
    from mia.backtest.trials import Registry
    from mia.cli.output import print_note
    from mia.store.state_dir import data_home

    if random is not None and tpe is not None:
        raise typer.BadParameter("choose one of --random N and --tpe N")
    if metric not in ("sharpe", "net_return"):
        raise typer.BadParameter(f"--metric {metric}: use sharpe or net_return")
    if not (history.data or history.assets):
        raise typer.BadParameter("a grid needs candles: name them with --data FILE or --assets VENUE:SYMBOL")
    _refuse_idle(validate, folds, train_folds, tested, embargo)
    if search_seed and random is None and tpe is None:
        raise typer.BadParameter("--search-seed: changes nothing on a full grid: it is for --random and --tpe")
    scheme = _scheme(validate, folds, train_folds, tested, embargo)
    space = space_of(strategy, param or [])
    search_kind: Any = "random" if random is not None else "tpe" if tpe is not None else "full"
    chosen: Any = metric
    plan = Plan(space, search_kind, random or tpe or 0, search_seed if search_kind != "full" else 0, chosen)
    first = space.full()[0] if search_kind == "full" else space.random(1, search_seed)[0]
    request = history.request(f"rule:{strategy}", dict(space.config(first) or {}))
    with Registry() as registry:
        search = Search(prepare(request), plan, data_home() / "grids", registry, jobs=jobs)
        if scheme is not None:
            scheme.check(search.days)
        outcome = search.run(_reporter())
        trust = judged(search, outcome, scheme, print_note)
    _show(plan, outcome, trust, best, as_json=as_json)


def _refuse_idle(scheme: str | None, folds: int, train_folds: int, tested: int, embargo: str) -> None:
    from mia.backtest.grid.validate import NAMES

    given: dict[str, tuple[bool, tuple[str, ...]]] = {
        "--folds": (folds != FOLDS, NAMES),
        "--embargo": (embargo != EMBARGO, NAMES),
        "--train-folds": (train_folds != TRAIN_FOLDS, ("rolling",)),
        "--tested": (tested != TESTED, ("cpcv",)),
    }
    for option, (is_given, schemes) in given.items():
        if is_given and scheme not in schemes:
            raise typer.BadParameter(f"{option}: changes nothing without --validate {' or '.join(schemes)}")


def _scheme(name: str | None, folds: int, train_folds: int, tested: int, embargo: str) -> Scheme | None:
    from mia.backtest.grid.validate import NAMES, Scheme

    if name is None:
        return None
    chosen = next((known for known in NAMES if known == name), None)
    if chosen is None:
        raise typer.BadParameter(f"--validate {name}: use one of {', '.join(NAMES)}")
    embargo_ns = 0 if embargo == "0" else o.age_ns("--embargo", embargo)
    return Scheme(name=chosen, folds=folds, train_folds=train_folds, tested=tested, embargo_ns=embargo_ns)


def _reporter() -> Callable[[Progress], None]:
    """Progress on stderr: one line that changes on a terminal, else a line now and then."""
    is_terminal = sys.stderr.isatty()
    last = time.monotonic()

    def report(p: Progress) -> None:
        nonlocal last
        is_end = p.done >= p.total
        if not is_terminal and not is_end and time.monotonic() - last < _LINE_EVERY_S:
            return
        last = time.monotonic()
        left = "" if p.remaining_s is None or is_end else f", {p.remaining_s:.0f} s to go"
        text = f"mia: {p.done} of {p.total} configurations{left}"
        print(f"\r{text}\033[K" if is_terminal else text, end="\n" if is_end or not is_terminal else "", file=sys.stderr, flush=True)

    return report


def _rows(plan: Plan, outcome: Outcome, best: int) -> list[dict[str, Any]]:
    from mia.backtest.grid.search import best_first
    from mia.backtest.stats.periods import YEAR_DAYS

    rows = []
    for point in best_first(outcome.found, plan.metric)[:best]:
        row = outcome.found[point]
        ratio = row.sharpe * YEAR_DAYS**0.5
        rows.append({"params": plan.space.config(point), "sharpe_per_year": ratio, **row._asdict()})
    return rows


def _show(plan: Plan, outcome: Outcome, trust: Trust, best: int, *, as_json: bool) -> None:
    from mia.cli.backtest.trust import facts, notes, pairs, print_validation
    from mia.cli.output import print_json, print_note, print_pairs, print_table

    rows = _rows(plan, outcome, best)
    asked = outcome.asked
    if as_json:
        print_json(
            {
                "id": outcome.id, "folder": str(outcome.folder), "configurations": len(outcome.found), "evaluated_now": outcome.evaluated,
                "trials_on_this_data": asked.trials, "evaluations_on_this_data": asked.evaluations, "deflated_sharpe": outcome.deflated,
                "best": rows, "trust": facts(trust, plan.space),
            }
        )  # fmt: skip
        return
    names = plan.space.names or tuple(rows[0]["params"])
    head = (*names, "net return", "Sharpe a year", "max drawdown", "trades", "turnover a year", "fees")
    table = [
        (
            *(str(r["params"][name]) for name in names), f"{r['net_return']:.2%}", _number(r["sharpe_per_year"], r["periods"]),
            f"{r['max_drawdown']:.2%}", f"{r['trades']:.0f}", f"{r['turnover']:.1f}", f"{r['fees']:,.2f}",
        )
        for r in rows
    ]  # fmt: skip
    print_table(head, table, right=head)
    print()
    found = "n/a" if outcome.deflated is None else f"{outcome.deflated:.4f}"
    print_pairs(
        [
            ("grid", str(outcome.folder)),
            ("configurations", f"{len(outcome.found)}, {outcome.evaluated} of them evaluated now"),
            ("trials on this data", f"{asked.trials} (of all strategies, ever), {asked.evaluations} evaluations"),
            ("deflated Sharpe of the best", f"{found} (probability that it is above the best of so many without skill)"),
            *pairs(trust, plan.space),
        ]
    )
    if trust.validation is not None:
        print()
        print_validation(trust.validation, plan.space)
    for note in notes(trust):
        print_note(note)
    print_note(f"{len(outcome.found)} configurations were tried: the best of many is biased upwards, whatever its own figures say")
    stopped = sum(row.is_stopped for row in outcome.found.values())
    if stopped:
        print_note(
            f"{stopped:.0f} of them met the drawdown stop ([risk] drawdown_max) and opened nothing after it: their flat days are in the "
            "table and in SPA; to judge parameters alone, give a --config with a wider stop"
        )


def _number(ratio: float, days: float) -> str:
    return f"{ratio:.3f}" if ratio == ratio else f"n/a, {days:.0f} days"
