"""`mia backtest compare`: runs side by side, and whether what sets them apart is more than chance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mia.cli.places import JsonOption

_WHY_MAX: Final = 24

if TYPE_CHECKING:
    from mia.backtest.compare import Compared, Comparison, Pair
    from mia.backtest.stats.overfit import Superior
    from mia.backtest.stats.registry import Figure, Unit


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders, or the first digits of ids: mia backtest runs.")],
    samples: Annotated[int, typer.Option("--samples", metavar="N", min=100, max=100_000, help="Resamples behind each interval.")] = 10_000,
    anyway: Annotated[bool, typer.Option("--anyway", help="Test runs on different data or at different costs, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Put runs side by side and test the first against each other one on the span that both cover (paired stationary bootstrap).

    Runs on different data or at different costs are not tested: the difference would not be that of the strategies.
    """
    from mia.assemble import calendar_files
    from mia.backtest.compare import compare_runs
    from mia.backtest.run.artifacts import read
    from mia.backtest.run.counting import trials_of
    from mia.backtest.run.find import find_run
    from mia.backtest.run.stored import stored
    from mia.cli.output import print_json
    from mia.risk.windows import load_windows

    found = [stored(read(find_run(name))) for name in runs]
    result = compare_runs(
        found, load_windows(*calendar_files()), trials=[trials_of(run.facts) for run in found], samples=samples, is_forced=anyway
    )
    if as_json:
        print_json(result)
        return
    _print(result)


def _print(result: Comparison) -> None:
    from mia.cli.output import print_note, print_table

    print_table(("run", "strategy"), [(run.id, run.strategy) for run in result.runs])
    print()
    ids = [run.id for run in result.runs]
    print_table(("", *ids), _rows(result.runs), right=ids)
    for pair in result.pairs:
        print()
        _print_pair(pair, result.level)
    if result.better_than_first is not None and result.better_than_flat is not None:
        print()
        print(f"Hansen's test (SPA), none of the others is better than {ids[0]}: {_p(result.better_than_first, ids[1:])}")
        print(f"Hansen's test (SPA), none of all is better than flat: {_p(result.better_than_flat, ids)}")
    elif len(ids) > 2:
        print_note(f"Hansen's test (SPA) of all: n/a, {result.why}")


def _rows(runs: list[Compared]) -> Iterator[tuple[str, ...]]:
    from mia.backtest.stats.registry import interval_text, utc
    from mia.backtest.stats.summary import headline

    yield "from", *(utc(run.summary.first_ns) for run in runs)
    yield "to", *(utc(run.summary.last_ns) for run in runs)
    yield "periods", *(f"{run.summary.periods:,} {run.summary.period}s" for run in runs)
    for k, figure in enumerate(headline(runs[0].summary)):
        mine = [headline(run.summary)[k] for run in runs]
        yield figure.title, *(_cell(shown) for shown in mine)
        if figure.name in ("return", "sharpe"):
            yield f"  {runs[0].summary.level:.0%} interval", *(interval_text(shown) for shown in mine)
    for name in dict.fromkeys(name for run in runs for name in run.attribution):
        values = [run.attribution.get(name, 0.0) for run in runs]
        if any(values) or name in ("gross", "net"):
            yield f"money: {name}", *(f"{value:,.2f} {run.currency}" for value, run in zip(values, runs, strict=True))


def _cell(shown: Figure) -> str:
    """A reason too long for a column is in the run's own table."""
    from mia.backtest.stats.registry import text

    return "n/a" if len(shown.why) > _WHY_MAX else text(shown)


def _print_pair(pair: Pair, level: float) -> None:
    from mia.backtest.stats.registry import utc, value_text
    from mia.cli.output import print_note, print_table

    for differing in pair.differing:
        print_note(f"{pair.a} and {pair.b}: {differing.text}")
    if pair.refused:
        print(f"{pair.a} - {pair.b}: not tested: {pair.refused}")
        return
    print(f"{pair.a} - {pair.b}, {utc(pair.first_ns)} to {utc(pair.last_ns)}, {pair.periods:,} {pair.period}s in common")
    rows = []
    for f in pair.figures:
        unit: Unit = "share a year" if f.unit == "share a year" else "share" if f.unit == "share" else "ratio"
        found = f.interval
        between = "" if found is None else " .. ".join("unbounded" if x is None else value_text(x, unit) for x in (found.low, found.high))
        p = "n/a" if f.p_value is None else f"{f.p_value:.4f}"
        rows.append((f.name, value_text(f.a, unit), value_text(f.b, unit), value_text(f.difference, unit), p, between))
    print_table(("figure", pair.a, pair.b, "difference", "p", f"{level:.0%} interval"), rows, right=(pair.a, pair.b, "difference", "p"))


def _p(found: Superior, ids: list[str]) -> str:
    return f"p = {found.p_value:.4f} (best: {ids[found.best]}; {found.samples:,} resamples, blocks of {found.block:.1f})"
