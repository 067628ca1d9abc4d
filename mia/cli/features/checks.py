"""`mia features lookahead|recursive|profile`: what may be wrong with columns on data."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mia.cli.features.options import Data, File, Progress, Rows, app, builtins, data_options, pieces_of, share, utc_text, what
from mia.cli.places import JsonOption

if TYPE_CHECKING:
    from mia.backtest.feature_checks import Memory


@app.command("lookahead", short_help="Does a column know the future?")
@data_options()
def lookahead(
    data: Data,
    file: File,
    points: Annotated[int, typer.Option("--points", metavar="N", min=1, max=1000, help="Places at which the data is cut.")] = 8,
    rows: Rows = 50_000,
    as_json: JsonOption = False,
) -> None:
    """Compute again on data cut at N places and compare every value bit for bit. Exit 1 when one differs."""
    from mia.backtest import feature_checks
    from mia.backtest.feature_run import chosen, in_memory, open_source
    from mia.cli.output import print_json, print_note, print_table

    names = chosen(data.columns, data.category)
    source = open_source([file], data.request)
    source, _ = in_memory(source, rows)
    found = feature_checks.lookahead(source, names, points)
    if as_json:
        print_json(found)
    elif found.leaks:
        head = ("column", "cut at", "rows", "first row", "time (UTC)", "whole", "cut")
        print_table(
            head,
            [(k.column, k.cut, k.rows, k.row + 1, utc_text(k.ts_ns), _value(k.whole), _value(k.cut_value)) for k in found.leaks],
            right=("cut at", "rows", "first row", "whole", "cut"),
        )
    else:
        spoke = found.columns - len(found.silent)
        print(f"no column knows the future: {spoke} columns, {found.size} {what(source)} cut at {len(found.cuts)} places,")
        print(f"{found.compared} rows compared bit for bit")
    if found.silent and not as_json:
        print_note(
            f"nothing is known of {len(found.silent)} columns without a value (no input, or too little data): {', '.join(found.silent)}"
        )
    if found.leaks:
        leaking = sorted({k.column for k in found.leaks})
        print_note(f"{file}: {len(leaking)} columns change when the data behind them is cut: {', '.join(leaking[:5])}")
        raise typer.Exit(1)


@app.command("recursive", short_help="How long does the beginning matter?")
@data_options(on_quotes=False)
def recursive(
    data: Data,
    file: File,
    points: Annotated[int, typer.Option("--points", metavar="N", min=1, max=100, help="Ends at which values are compared.")] = 3,
    rows: Rows = 20_000,
    as_json: JsonOption = False,
) -> None:
    """Start the data 1, 2, 4, ... warm-ups before an end and tell how far values lie from those over all data, in spreads of the column."""
    from mia.backtest import feature_checks
    from mia.backtest.feature_run import chosen, in_memory, open_source
    from mia.cli.output import print_json, print_note, print_table

    names = chosen(data.columns, data.category)
    source = open_source([file], data.request)
    source, events = in_memory(source, rows)
    found, silent = feature_checks.recursive(source, events, names, points)
    if as_json:
        print_json({"columns": found, "no_value": silent, "settled_below": feature_checks.SETTLED})
        return
    factors = sorted({k for m in found for k in m.differences})
    moving = [m for m in found if m.settles != 1]
    if moving:
        table = [(m.column, *(_small(m.differences.get(k)) for k in factors), _settled(m)) for m in moving]
        head = ("column", *(f"{k}x" for k in factors), "settles")
        print_table(head, table, right=head[1:])
    print(f"{len(found) - len(moving)} columns are exact after one warm-up, {len(moving)} are not (above: largest difference in")
    print(f"spreads of the column by multiples of the warm-up; settled below {feature_checks.SETTLED:g})")
    words = [_settled(m) for m in found]
    if never := [m.column for m, word in zip(found, words, strict=True) if word == "never"]:
        print_note(f"never settle, even after {max(factors)} warm-ups: {', '.join(never)}")
    if short := sum(word.startswith(">") for word in words):
        print_note(f"{short} columns (marked >) have not settled where this data begins: a longer file, or more --rows, would tell")
    if silent:
        print_note(f"no value to compare (no input, or too little data): {', '.join(silent)}")


@app.command("profile", short_help="What the values look like.")
@data_options()
def profile(
    data: Data,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Candles, recorded frames, or a parquet file of compute.")],
    as_json: JsonOption = False,
) -> None:
    """Tell of each column how often it is there, its values, and what is wrong with them: constant, twins, out of range, not finite."""
    from mia.backtest.feature_checks import Profile
    from mia.cli.output import print_json, print_table

    names, pieces, _ = pieces_of(file, data)
    seen = Profile(names)
    progress = Progress(file.name)
    for _, matrix in pieces:
        seen.add(matrix)
        progress(f"{seen.rows} rows")
    report = seen.report()
    if as_json:
        print_json({"rows": seen.rows, "columns": [{**builtins(p), "problems": p.problems} for p in report]})
        return
    head = ("column", "there", "min", "max", "mean", "std", "edge")
    there = [p for p in report if p.present]
    print_table(
        head,
        [(p.column, share(p.present), *map(_short, (p.min, p.max, p.mean, p.std)), share(p.edge)) for p in there],
        right=head[1:],
    )
    wrong = [(p.column, "; ".join(p.problems)) for p in there if p.problems]
    if wrong:
        print()
        print_table(("column", "problem"), wrong)
    absent = [p.column for p in report if not p.present]
    print(f"\n{seen.rows} rows, {len(report)} columns: {len(wrong)} with a problem, {len(absent)} never there")
    if absent:
        print(textwrap.fill(f"never there: {', '.join(absent)}", 80))
    print("there: share of rows with a value; edge: of values at an end of the range")


def _value(x: float | None) -> str:
    return "-" if x is None else f"{x:.8g}"


def _short(x: float | None) -> str:
    """At most 8 characters."""
    if x is None:
        return "-"
    text = f"{x:.4g}"
    return text if len(text) <= 8 else f"{x:.1e}"


def _settled(m: Memory) -> str:
    """The multiple of the warm-up; "never" when the largest was tried, else beyond which the data does not reach."""
    from mia.backtest.feature_checks import FACTORS

    if m.settles:
        return f"{m.settles}x"
    tried = max((k for k, d in m.differences.items() if d is not None), default=0)
    return "never" if tried == FACTORS[-1] else f">{tried}x"


def _small(x: float | None) -> str:
    if x is None:
        return "-"
    return "0" if x == 0.0 else f"{x:.0e}"
