"""`mia features compute`: columns of files, as parquet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mia.cli.features.options import (
    AtOption,
    Bars,
    Category,
    Columns,
    Every,
    Family,
    Files,
    Lot,
    Models,
    OnDuplicate,
    OnDuplicateOption,
    Predict,
    Progress,
    Reference,
    Tick,
    Tz,
    app,
    builtins,
    request_of,
    utc_text,
    what,
)
from mia.cli.places import ConfigOption, ExcludeSealed, JsonOption

_NAMES_MAX = 12  # of columns without a value that are told in the text

if TYPE_CHECKING:
    from mia.backtest.feature_run import Source


@app.command("compute", short_help="Columns of candles or recordings, as parquet.")
def compute(
    files: Files,
    out: Annotated[Path, typer.Option("--out", metavar="X.parquet", help="The file to write; replaced whole.")],
    columns: Columns = None,
    category: Category = None,
    bars: Bars = None,
    every_ms: Every = None,
    at: AtOption = None,
    tick: Tick = None,
    lot: Lot = None,
    tz: Tz = None,
    family: Family = None,
    on_duplicate: OnDuplicateOption = OnDuplicate.error,
    reference: Reference = None,
    models: Models = None,
    predict: Predict = None,
    exclude_sealed: ExcludeSealed = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute features as live does and write ts_ns and one column each, null where there is no value."""
    from mia.assemble import versions
    from mia.backtest.feature_run import chosen, open_source, write_parquet
    from mia.cli.output import print_json, print_note, print_pairs
    from mia.domain.errors import DataError

    if out.suffix != ".parquet":
        raise typer.BadParameter(f"--out {out}: end it in .parquet")
    if not out.absolute().parent.is_dir():
        raise DataError(f"{out.absolute().parent}: no such folder: make it first")
    if any(out.exists() and path.exists() and out.samefile(path) for path in files):
        raise DataError(f"--out {out}: is one of the files to read")
    names = chosen(columns, category)
    started = time.perf_counter()
    request = request_of(
        bars, every_ms, at, tick, lot, tz, on_duplicate, reference, config, models, predict, family, exclude_sealed=exclude_sealed
    )
    source = open_source(files, request)
    done = write_parquet(source, names, out, versions(), Progress(out.name))
    seconds = time.perf_counter() - started
    for note in source.notes:
        print_note(note)
    if as_json:
        print_json({**builtins(done), "seconds": seconds, **source.facts, "notes": source.notes})
        return
    facts = [
        ("file", f"{done.file}, {done.rows} rows, {done.columns} columns"),
        ("span", f"{utc_text(done.first_ns)} to {utc_text(done.last_ns)} UTC"),
        ("bars", f"{source.bars.text}, {_when(source)}"),
        ("time", f"{seconds:.1f} s, {done.size / seconds:,.0f} {what(source)} a second, reading and writing included"),
    ]
    if done.absent:
        facts.append(("no value", _why_absent(done.absent, source)))
    print_pairs(facts)


def _why_absent(absent: Sequence[str], source: Source) -> str:
    """Columns without a value, by what the file does not hold."""
    from mia.backtest.feature_run import lacking

    missing = {name: [i for i in source.lacks if lacking(name, (i,), source.models)] for name in absent}
    parts = [f"{len(absent)} columns, --json names them"]
    reads = [(sum(inputs[:1] == [wanted] for inputs in missing.values()), wanted) for wanted in source.lacks]
    if n := sum(count for count, wanted in reads if wanted in ("model", "memory")):
        parts.append(f"need --models ({n})")
    if lacks := [f"{wanted} ({n})" for n, wanted in reads if n and wanted not in ("model", "memory")]:
        parts.append(f"{'candles' if source.kind == 'candles' else 'recordings'} hold no {', '.join(lacks)}")
    if others := [name for name, inputs in missing.items() if not inputs]:
        more = f" and {len(others) - _NAMES_MAX} more" if len(others) > _NAMES_MAX else ""
        parts.append(f"never warm, or an input is missing: {', '.join(others[:_NAMES_MAX])}{more}")
    return "; ".join(parts)


def _when(source: Source) -> str:
    if source.trigger == "bar":
        return "a row at each close"
    return f"a row on a quote every {source.every_ns / 1e6:g} ms" if source.every_ns else "a row on each quote"
