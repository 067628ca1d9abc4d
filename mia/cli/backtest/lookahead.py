"""`mia backtest lookahead`: another future after each of several times; what was decided before must stand, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mia.cli.backtest import options as o
from mia.cli.places import JsonOption

if TYPE_CHECKING:
    from mia.backtest.leaks.lookahead import Ahead


@o.history_options()
def lookahead(
    history: o.History,
    strategy: o.Strategy = None,
    policy: o.Policy = None,
    param: o.Param = None,
    duration: o.Duration = o.DURATION_S,
    seed: o.Seed = None,
    cuts: Annotated[int, typer.Option("--cuts", metavar="N", min=1, max=1000, help="How many times, spread over the span.")] = 4,
    poison_seed: Annotated[int, typer.Option("--poison-seed", metavar="N", min=0, help="Of the other futures.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Poison everything after a time and compare decisions, orders and fills up to it. Exit 1 at a difference, with its first.

    Replaced are prices, volumes, books, references, news, predictions, and calendar rows more than a month ahead. When a column of the
    strategy differs, it is named.
    """
    from mia.backtest.leaks.lookahead import lookahead as look
    from mia.backtest.run.prepare import prepare
    from mia.cli.output import print_json

    name, params = o.strategy_of(strategy, policy, param)
    request = history.request(name, params, duration=duration, seed=seed)
    found = look(prepare(request), cuts, poison_seed)
    if as_json:
        print_json(found)
    else:
        _print(found)
    if found.differences:
        raise typer.Exit(1)


def _print(found: Ahead) -> None:
    from mia.backtest.readers import utc
    from mia.cli.output import print_pairs

    compared = f"{found.decisions} runs of decisions, {found.orders} orders, {found.fills} fills, {found.observations} observations"
    verdict = (
        f"LOOKS AHEAD at {len(found.differences)} of {len(found.cuts_ns)} cuts" if found.differences else "knows nothing of the future"
    )
    pairs = [("verdict", verdict), ("compared", compared), ("cuts", ", ".join(utc(cut) for cut in found.cuts_ns))]
    for d in found.differences:
        pairs += [
            ("difference", f"first {d.kind} that another future after {utc(d.cut_ns)} changes: {utc(d.ts_ns)} ({d.ts_ns} ns)"),
            ("  as run", d.whole),
            ("  poisoned", d.poisoned),
        ]
        pairs += [
            ("  column", f"{c.column} (lane {c.lane}) at {utc(c.ts_ns)}: {c.whole:.9g} as run, {c.poisoned:.9g} poisoned")
            for c in d.columns
        ]
        if not d.columns:
            pairs.append(("  column", "none of the strategy's columns differs: it is the strategy itself, or what made its signals"))
    print_pairs(pairs)
