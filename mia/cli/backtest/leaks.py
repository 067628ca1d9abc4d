"""`mia backtest leaks`: what a result owes to one bar of timing, whether shuffled signals make money, and what the data gives away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mia.cli.backtest import options as o
from mia.cli.places import JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mia.backtest.leaks.tables import Finding
    from mia.backtest.leaks.timing import Outcome, Timing
    from mia.backtest.validation.seal import Sealed


@o.history_options()
def leaks(
    history: o.History,
    strategy: o.Strategy = None,
    policy: o.Policy = None,
    param: o.Param = None,
    duration: o.Duration = o.DURATION_S,
    seed: o.Seed = None,
    tables: Annotated[
        list[Path] | None, typer.Option("--table", metavar="FILE", help="Features, signals or a series to look through; may be repeated.")
    ] = None,
    shuffles: Annotated[int, typer.Option("--shuffles", metavar="N", min=2, max=10_000, help="Runs with shuffled signals.")] = 40,
    shuffle_seed: Annotated[int, typer.Option("--shuffle-seed", metavar="N", min=0, help="Of the shuffles.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Run the same signals one decision later and shuffled, and look through the data for columns and rows that know the future.

    Exit 1 when shuffled signals beat flat after costs or the data knows the future. Without a strategy only data is looked through. A
    result that needs more than 5 % luck, or lives on one bar of timing, is told.
    """
    from mia.assemble import calendar_files
    from mia.backtest.leaks.timing import timing
    from mia.backtest.run.counting import counted_run
    from mia.backtest.run.prepare import prepare
    from mia.cli.output import print_json
    from mia.risk.windows import load_windows

    findings = _findings(history, tables or ())
    found = None
    if strategy is not None or policy is not None:
        name, params = o.strategy_of(strategy, policy, param)
        request = history.request(name, params, duration=duration, seed=seed)
        prepared = prepare(request)
        counted_run(prepared, load_windows(*calendar_files()))  # its result is told below: a trial like any other
        found = timing(prepared, shuffles, shuffle_seed)
    elif not (history.data or history.assets or tables):
        raise typer.BadParameter("name a strategy to run, or data to look through with --data, --assets or --table")
    is_leak = bool(findings) or (found is not None and found.beats_flat)
    if as_json:
        verdicts = None if found is None else {name: getattr(found, name) for name in ("beats_flat", "is_found", "lives_on_one_bar")}
        print_json({"timing": found, "verdicts": verdicts, "findings": findings})
    else:
        _print(found, findings)
    if is_leak:
        raise typer.Exit(1)


def _findings(history: o.History, tables: Sequence[Path]) -> list[Finding]:
    from mia.assemble import calendar_files
    from mia.backtest.leaks.tables import calendar_findings, candle_findings, table_findings
    from mia.backtest.readers import is_candle_file, read_candles

    sealed: Sealed = "exclude" if history.exclude_sealed else "refuse"
    found = calendar_findings(calendar_files()[1])
    for path in history.data or ():
        if is_candle_file(path):
            candles = read_candles([path], tz=history.tz, on_duplicate=history.on_duplicate.value, naive_is_utc=True, sealed=sealed)
            found += candle_findings(candles)
    found += [f for candles in history.stored_candles() for f in candle_findings(candles)]
    for path in tables:
        found += calendar_findings(path) if path.name == "macro_events.csv" else table_findings(path)
    return found


def _print(found: Timing | None, findings: Sequence[Finding]) -> None:
    from mia.cli.output import print_note, print_pairs, print_table

    if found is not None:
        w, later, n = found.whole, found.later, len(found.shuffled)
        head = ("signals", "net", "of it timing", "fees", "fills")
        rows = [(name, *_cells(o_)) for name, o_ in (("as they are", w), ("one decision later", later))]
        mean = [sum(getattr(s, field) for s in found.shuffled) / n for field in ("net_e8", "timing_e8", "fees_e8", "fills")]
        rows.append((f"shuffled, mean of {n}", *(_money(x) for x in mean[:3]), f"{mean[3]:.0f}"))
        print_table(head, rows, right=head[1:])
        print()
        low, high = _money(found.shuffled_low_e8), _money(found.shuffled_high_e8)
        flat = "BEAT FLAT after costs: something leaks, or is not charged" if found.beats_flat else "do not beat flat after costs"
        chance = (
            "better than chance" if found.is_found else "not told from chance" if w.timing_e8 > 0 else "it loses to its costs or the market"
        )
        later_word = "LIVES ON ONE BAR: most of it is gone one decision later" if found.lives_on_one_bar else "does not hang on one bar"
        print_pairs(
            [
                ("shuffled signals", f"{flat}; timing {low} to {high} (95 % interval of the mean)"),
                ("the signal", f"{chance}: p = {found.p_value:.3f} (share of shuffled runs at least as good)"),
                ("one bar later", later_word if w.timing_e8 > 0 else "n/a, there is no profit of timing to lose"),
            ]
        )
    if findings:
        if found is not None:
            print()
        print_table(("file", "column", "row", "what"), [(f.file, f.column, f.row or "all", f.what) for f in findings])
    elif found is None:
        print("nothing found in the data and the calendar")
    for note in found.notes if found is not None else ():
        print_note(note)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    return _money(outcome.net_e8), _money(outcome.timing_e8), _money(outcome.fees_e8), str(outcome.fills)


def _money(value_e8: float) -> str:
    return f"{value_e8 / 1e8:+,.2f}"
