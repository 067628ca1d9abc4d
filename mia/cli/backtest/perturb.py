"""`mia backtest perturb`: a run again on bars that might have been."""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from mia.cli.backtest import options as o
from mia.cli.places import JsonOption

if TYPE_CHECKING:
    from mia.backtest.perturb import Perturbed, Spread

_LINE_EVERY_S = 10.0
NOISE = 0.1


class By(enum.StrEnum):
    """How bars are perturbed."""

    noise = "noise"
    blocks = "blocks"


@o.history_options()
def perturb(
    history: o.History,
    strategy: o.Strategy = None,
    policy: o.Policy = None,
    signals: o.Signals = None,
    param: o.Param = None,
    signal_age: o.SignalAge = None,
    draws: Annotated[int, typer.Option("--draws", metavar="N", min=20, max=100_000, help="Sets of perturbed bars.")] = 200,
    by: Annotated[By, typer.Option("--by", help="noise: each price moved a little; blocks: blocks of bars in random places.")] = By.noise,
    noise: Annotated[float, typer.Option("--noise", metavar="SHARE", help="Deviation of noise, of the bars' median range.")] = NOISE,
    noise_ticks: Annotated[float | None, typer.Option("--noise-ticks", metavar="N", help="The same in ticks, in place of --noise.")] = None,
    block: Annotated[float | None, typer.Option("--block", metavar="BARS", help="Mean length of blocks; else from the data.")] = None,
    perturb_seed: Annotated[int, typer.Option("--perturb-seed", metavar="N", min=0, help="Of the other bars.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Run the same strategy on many sets of perturbed bars, and say where the real run lies among them.

    Noise: a result that lives off exact prices is gone. Blocks: markets with the same bars in another order, so that what is left is what
    any such market gives. The run itself is counted as a trial; the others choose nothing and are none.
    """
    from mia.assemble import calendar_files
    from mia.backtest.perturb import perturb as run_again
    from mia.backtest.run.counting import counted_run
    from mia.backtest.run.prepare import prepare
    from mia.cli.output import print_json
    from mia.risk.windows import load_windows

    if not (history.data or history.assets):
        raise typer.BadParameter("bars are perturbed: name candles with --data FILE or --assets VENUE:SYMBOL")
    if by is By.blocks and (noise != NOISE or noise_ticks is not None):
        raise typer.BadParameter("--noise and --noise-ticks: change nothing with --by blocks")
    if by is By.noise and block is not None:
        raise typer.BadParameter("--block: changes nothing without --by blocks")
    if noise != NOISE and noise_ticks is not None:
        raise typer.BadParameter("--noise and --noise-ticks: each says how much: leave one of them out")
    name, params = o.strategy_of(strategy, policy, param, signals)
    prepared = prepare(history.request(name, params, signals=signals, signal_age=signal_age))
    counted = counted_run(prepared, load_windows(*calendar_files()))
    found = run_again(
        prepared, method=by.value, draws=draws, share=noise, ticks=noise_ticks, block=block, seed=perturb_seed, tick=_reporter(draws)
    )
    if as_json:
        print_json({"run": counted.result.id, "trials": counted.tried._asdict(), "words": found.words, **_plain(found)})
        return
    _print(found, counted.result.spec.currency)


def _plain(found: Perturbed) -> dict[str, object]:
    import msgspec

    plain: dict[str, object] = msgspec.to_builtins(found)
    return plain


def _reporter(draws: int) -> Callable[[int], None]:
    """A line on stderr now and then."""
    last = time.monotonic()

    def report(done: int) -> None:
        nonlocal last
        if done < draws and time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            print(f"mia: {done} of {draws} draws", file=sys.stderr, flush=True)

    return report


def _print(found: Perturbed, currency: str) -> None:
    from mia.cli.output import print_note, print_pairs, print_table

    head = ("figure", "run", "5 %", "median", "95 %", "draws at or above the run")
    print_table(head, [_row(figure) for figure in found.figures], right=head[1:])
    print()
    what = (
        f"every price times exp(noise), its deviation {' and '.join(f'{size:.4%}' for size in found.sizes)}"
        if found.method == "noise"
        else f"blocks of {found.sizes[0]:.1f} bars on average in random places; what depends on the calendar is lost"
    )
    print_pairs([("bars", f"{what}; {found.draws:,} draws, seed {found.seed}"), ("verdict", found.words)])
    print_note(f"money in {currency}; the perturbed runs choose nothing and are no trials, the run itself is counted")


def _row(figure: Spread) -> tuple[str, ...]:
    from mia.backtest.stats.registry import value_text

    cells = ["n/a" if x is None else value_text(x, figure.unit) for x in (figure.real, figure.low, figure.median, figure.high)]
    return figure.title, *cells, f"n/a, {figure.why}" if figure.at_least is None else f"{figure.at_least:.1%}"
