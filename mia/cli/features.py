"""`mia features`: what the catalogue holds, columns of files, and checks of them."""

from __future__ import annotations

import enum
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mia.cli.places import ConfigOption, JsonOption

if TYPE_CHECKING:
    from mia.backtest.distribution import Shift
    from mia.backtest.feature_checks import Memory
    from mia.backtest.feature_run import Request, Source

app = typer.Typer(help="Features: what they are, columns of files, checks of them.", rich_markup_mode=None, no_args_is_help=True)
_QUIET_S: Final = 3.0  # a shorter run says nothing of its progress
_AGAIN_S: Final = 5.0
_DRIFT_ROWS: Final = 50_000
_DATA: Final = (".feather", ".parquet", ".csv", ".gz", ".zst")


class OnDuplicate(enum.StrEnum):
    """What becomes of a row whose time does not lie after all before it."""

    error = "error"
    drop = "drop"


class At(enum.StrEnum):
    """When a row is made."""

    bar = "bar"
    quote = "quote"


_Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Candles (.feather, .parquet, .csv[.gz]) or recorded frames, in order.")
]
_File = Annotated[Path, typer.Argument(metavar="FILE", help="Candles (.feather, .parquet, .csv[.gz]) or recorded frames.")]
_Columns = Annotated[str | None, typer.Option("--columns", metavar="A,B,...", help="Names; else all of the catalogue.")]
_Category = Annotated[str | None, typer.Option("--category", metavar="C", help="All of one category.")]
_Bars = Annotated[str | None, typer.Option("--bars", metavar="BARS", help="Such as time:1m; candles know theirs, recordings: time:1s.")]
_Tick = Annotated[str | None, typer.Option("--tick", metavar="X", help="Price step; else what the file fits.")]
_Lot = Annotated[str | None, typer.Option("--lot", metavar="X", help="Size step; else what the file fits.")]
_Tz = Annotated[str | None, typer.Option("--tz", metavar="ZONE", help="Of times that state none: America/Chicago, UTC.")]
_OnDuplicate = Annotated[OnDuplicate, typer.Option("--on-duplicate", help="Late or repeated rows: an error, or left out.")]
_Every = Annotated[int | None, typer.Option("--every-ms", metavar="N", min=0, help="A row on a quote, N ms or more apart.")]
_At = Annotated[At | None, typer.Option("--at", help="A row at each bar close (default), or on each quote.")]
_Reference = Annotated[
    list[str] | None, typer.Option("--reference", metavar="NAME=PATH", help="A reference series, such as vix=vix.csv; may be repeated.")
]
_Rows = Annotated[int, typer.Option("--rows", metavar="N", min=100, max=10_000_000, help="Look at the first N bars or events.")]


# --- what the catalogue holds ---------------------------------------------------------------------------------------------


@app.command("list", short_help="All features, or those of one category.")
def list_features(category: _Category = None, as_json: JsonOption = False) -> None:
    """List features: name, category, inputs, warm-up and formula."""
    from mia.cli.output import print_json
    from mia.features.catalogue import shipped_catalogue

    found = [f for f in shipped_catalogue().features if category is None or f.category == _known_category(category)]
    if as_json:
        print_json(found)
        return
    head = ("name", "category", "inputs", "warm-up")
    rows = [(f.name, f.category, ", ".join(f.inputs), warm_up(f.warm_up)) for f in found]
    widths = [max(len(row[k]) for row in [head, *rows]) + 2 for k in range(4)]
    for row, formula in zip([head, *rows], ["formula", *(f.formula for f in found)], strict=True):
        print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        print(f"    {formula}")
    total = len(shipped_catalogue().features)
    print(f"{len(found)} features{f' of {total}' if category else ''}")


@app.command("show", short_help="Everything about one feature.")
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a feature.")], as_json: JsonOption = False) -> None:
    """Show everything about one feature; an unknown name is answered with the nearest ones."""
    from mia.cli.output import print_json, print_pairs
    from mia.features.blocks import BLOCK_OF
    from mia.features.catalogue import shipped_catalogue

    f = shipped_catalogue().get(name)
    block = BLOCK_OF.get(name)
    if as_json:
        print_json({**_builtins(f), "block": block})
        return
    low, high = f.range
    facts = [
        ("name", f.name),
        ("category", f.category),
        ("formula", f.formula),
        ("unit", f.unit),
        ("range", f"{low:g} to {high:g}"),
        ("source", f.source),
        ("inputs", ", ".join(f.inputs)),
        ("series", ", ".join(f.series)),
        ("warm-up", warm_up(f.warm_up)),
        ("missing", f.missing),
        ("neutral", f"{f.neutral:g}"),
        ("computed by", f"{block} block" if block else "nothing yet"),
    ]
    print_pairs([(key, value) for key, value in facts if value])


@app.command("docs", short_help="The page of all features.")
def docs() -> None:
    """Print docs/features.md as Markdown."""
    from mia.cli.docs import features

    print(features.page(), end="")


@app.command("check", short_help="Is the catalogue complete and in step?")
def check(as_json: JsonOption = False) -> None:
    """Check counts, names and code of the catalogue, and that nothing withdrawn is left. Exit 1 when something is not as agreed."""
    from mia.backtest.catalogue_check import checks
    from mia.cli.output import print_json, print_note, print_table

    found = checks()
    failed = [c for c in found if not c.ok]
    if as_json:
        print_json(found)
    else:
        print_table(("check", "result", "detail"), [(c.check, "ok" if c.ok else "fail", c.detail) for c in found])
    if failed:
        print_note(f"{len(failed)} of {len(found)} checks failed")
        raise typer.Exit(1)


def warm_up(w: Any) -> str:
    """Such as "15 bars, 1 quote"; "none"."""
    parts = ((w.bars, "bar"), (w.quotes, "quote"), (w.trades, "trade"), (w.books, "book"), (w.seconds, "s"))
    return ", ".join(f"{n} {word}{'s' * (n != 1 and word != 's')}" for n, word in parts if n) or "none"


def _known_category(category: str) -> str:
    from mia.features.catalogue import shipped_catalogue

    if not shipped_catalogue().category(category):
        from mia.backtest.feature_run import chosen

        chosen(None, category)  # raises with the nearest names
    return category


def _builtins(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)


# --- columns of files -----------------------------------------------------------------------------------------------------


@app.command("compute", short_help="Columns of candles or recordings, as parquet.")
def compute(
    files: _Files,
    out: Annotated[Path, typer.Option("--out", metavar="X.parquet", help="The file to write; replaced whole.")],
    columns: _Columns = None,
    category: _Category = None,
    bars: _Bars = None,
    every_ms: _Every = None,
    at: _At = None,
    tick: _Tick = None,
    lot: _Lot = None,
    tz: _Tz = None,
    on_duplicate: _OnDuplicate = OnDuplicate.error,
    reference: _Reference = None,
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
    source = open_source(files, _request(bars, every_ms, at, tick, lot, tz, on_duplicate, reference, config))
    done = write_parquet(source, names, out, versions(), _Progress(out.name))
    seconds = time.perf_counter() - started
    for note in source.notes:
        print_note(note)
    if as_json:
        print_json({**_builtins(done), "seconds": seconds, **source.facts, "notes": source.notes})
        return
    facts = [
        ("file", f"{done.file}, {done.rows} rows, {done.columns} columns"),
        ("span", f"{_utc(done.first_ns)} to {_utc(done.last_ns)} UTC"),
        ("bars", f"{source.bars.text}, {_when(source)}"),
        ("time", f"{seconds:.1f} s, {done.size / seconds:,.0f} {_what(source)} a second, reading and writing included"),
    ]
    if done.absent:
        facts.append(("no value", _why_absent(done.absent, source)))
    print_pairs(facts)


@app.command("lookahead", short_help="Does a column know the future?")
def lookahead(
    file: _File,
    points: Annotated[int, typer.Option("--points", metavar="N", min=1, max=1000, help="Places at which the data is cut.")] = 8,
    columns: _Columns = None,
    category: _Category = None,
    rows: _Rows = 50_000,
    bars: _Bars = None,
    every_ms: _Every = None,
    at: _At = None,
    tick: _Tick = None,
    lot: _Lot = None,
    tz: _Tz = None,
    on_duplicate: _OnDuplicate = OnDuplicate.error,
    reference: _Reference = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute again on data cut at N places and compare every value bit for bit. Exit 1 when one differs."""
    from mia.backtest import feature_checks
    from mia.backtest.feature_run import chosen, in_memory, open_source
    from mia.cli.output import print_json, print_note, print_table

    names = chosen(columns, category)
    source = open_source([file], _request(bars, every_ms, at, tick, lot, tz, on_duplicate, reference, config))
    source, _ = in_memory(source, rows)
    found = feature_checks.lookahead(source, names, points)
    if as_json:
        print_json(found)
    elif found.leaks:
        head = ("column", "cut at", "rows", "first row", "time (UTC)", "whole", "cut")
        print_table(
            head,
            [(k.column, k.cut, k.rows, k.row + 1, _utc(k.ts_ns), _value(k.whole), _value(k.cut_value)) for k in found.leaks],
            right=("cut at", "rows", "first row", "whole", "cut"),
        )
    else:
        print(f"no column knows the future: {found.columns} columns, {found.size} {_what(source)} cut at {len(found.cuts)} places,")
        print(f"{found.compared} rows compared bit for bit")
    if found.leaks:
        leaking = sorted({k.column for k in found.leaks})
        print_note(f"{file}: {len(leaking)} columns change when the data behind them is cut: {', '.join(leaking[:5])}")
        raise typer.Exit(1)


@app.command("recursive", short_help="How long does the beginning matter?")
def recursive(
    file: _File,
    points: Annotated[int, typer.Option("--points", metavar="N", min=1, max=100, help="Ends at which values are compared.")] = 3,
    columns: _Columns = None,
    category: _Category = None,
    rows: _Rows = 20_000,
    bars: _Bars = None,
    tick: _Tick = None,
    lot: _Lot = None,
    tz: _Tz = None,
    on_duplicate: _OnDuplicate = OnDuplicate.error,
    reference: _Reference = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start the data 1, 2, 4, ... warm-ups before an end and tell how far values lie from those over all data, in spreads of the column."""
    from mia.backtest import feature_checks
    from mia.backtest.feature_run import chosen, in_memory, open_source
    from mia.cli.output import print_json, print_note, print_table

    names = chosen(columns, category)
    source = open_source([file], _request(bars, None, None, tick, lot, tz, on_duplicate, reference, config))
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
def profile(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Candles, recorded frames, or a parquet file of compute.")],
    columns: _Columns = None,
    category: _Category = None,
    bars: _Bars = None,
    every_ms: _Every = None,
    at: _At = None,
    tick: _Tick = None,
    lot: _Lot = None,
    tz: _Tz = None,
    on_duplicate: _OnDuplicate = OnDuplicate.error,
    reference: _Reference = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell of each column how often it is there, its values, and what is wrong with them: constant, twins, out of range, not finite."""
    from mia.backtest.feature_checks import Profile
    from mia.cli.output import print_json, print_table

    names, pieces, _ = _pieces(file, columns, category, _request(bars, every_ms, at, tick, lot, tz, on_duplicate, reference, config))
    seen = Profile(names)
    progress = _Progress(file.name)
    for _, matrix in pieces:
        seen.add(matrix)
        progress(f"{seen.rows} rows")
    report = seen.report()
    if as_json:
        print_json({"rows": seen.rows, "columns": [{**_builtins(p), "problems": p.problems} for p in report]})
        return
    head = ("column", "there", "min", "max", "mean", "std", "edge")
    there = [p for p in report if p.present]
    print_table(
        head,
        [(p.column, _share(p.present), *map(_short, (p.min, p.max, p.mean, p.std)), _share(p.edge)) for p in there],
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


@app.command("drift", short_help="How far data lies from training, or from other data.")
def drift(
    a: Annotated[str, typer.Argument(metavar="MODEL|DATA", help="A bundle by name or path, or a data file.")],
    b: Annotated[Path, typer.Argument(metavar="DATA", help="Candles, recorded frames, or a parquet file of compute.")],
    columns: _Columns = None,
    category: _Category = None,
    bars: _Bars = None,
    every_ms: _Every = None,
    at: _At = None,
    tick: _Tick = None,
    lot: _Lot = None,
    tz: _Tz = None,
    on_duplicate: _OnDuplicate = OnDuplicate.error,
    reference: _Reference = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the values of columns: PSI (above 0.25: a major shift) and the Kolmogorov-Smirnov distance, the largest first."""
    from mia.cli.output import print_json, print_note, print_table

    request = _request(bars, every_ms, at, tick, lot, tz, on_duplicate, reference, config)
    is_data = Path(a).is_file() or a.endswith(_DATA)
    found = _against_data(Path(a), b, columns, category, request) if is_data else _against_model(a, b, columns, category, request)
    found.sort(key=lambda s: (s.psi is None, -(s.psi or 0.0), s.column))
    if as_json:
        print_json(found)
        return
    known = [s for s in found if s.psi is not None]
    head = ("column", "PSI", "KS", "there before", "there now", "shift")
    print_table(
        head,
        [(s.column, f"{s.psi:.3f}", f"{s.ks:.3f}", _share(s.present_a), _share(s.present_b), _shift_word(s.psi or 0.0)) for s in known],
        right=head[1:5],
    )
    major = sum((s.psi or 0.0) > 0.25 for s in known)
    print(f"{len(known)} columns compared, {major} shifted by more than 0.25")
    if silent := [s.column for s in found if s.psi is None]:
        print_note(f"no value on one side: {', '.join(silent)}")


def _against_data(a: Path, b: Path, columns: str | None, category: str | None, request: Request) -> list[Shift]:
    from mia.backtest.distribution import shift_between

    (names_a, pieces_a, bars_a), (names_b, pieces_b, bars_b) = (_pieces(path, columns, category, request) for path in (a, b))
    _same_bars(a.name, bars_a, b.name, bars_b)
    first, second = _sampled(a.name, pieces_a), _sampled(b.name, pieces_b)
    both = [n for n in names_a if n in names_b]
    return [shift_between(n, first[:, names_a.index(n)], second[:, names_b.index(n)]) for n in both]


def _against_model(model: str, data: Path, columns: str | None, category: str | None, request: Request) -> list[Shift]:
    import msgspec

    from mia.assemble import model_folders
    from mia.backtest.distribution import read_distribution, shift
    from mia.backtest.feature_run import chosen
    from mia.backtest.readers import is_candle_file
    from mia.cli.output import print_note
    from mia.domain.errors import ConfigError
    from mia.features.bars import BarSpec
    from mia.features.catalogue import shipped_catalogue
    from mia.policy.bundle import find_bundle
    from mia.policy.manifest import parse_manifest

    folder = find_bundle(model, model_folders())
    then = read_distribution(folder)
    manifest = parse_manifest((folder / "manifest.toml").read_bytes(), f"model {folder / 'manifest.toml'}")
    wanted = chosen(columns, category)
    names = [n for n in then.columns if n in wanted]
    if not names:
        raise ConfigError(f"model {manifest.name}: none of these columns is in its {len(then.columns)}")
    if then.catalogue_sha256 != shipped_catalogue().hash:
        print_note(f"model {manifest.name} was fitted on another feature catalogue: a formula may have changed since")
    if not is_candle_file(data):  # a recording is looked at as the model would look at it
        request = msgspec.structs.replace(request, bars=request.bars or BarSpec.parse(manifest.bar))
        if manifest.trigger == "quote" and not request.every_ms:
            request = msgspec.structs.replace(request, at="quote", every_ms=manifest.min_interval_ms)
    found, pieces, bars = _pieces(data, ",".join(names), None, request)
    _same_bars(f"model {manifest.name}", then.bars, data.name, bars)
    matrix = _sampled(data.name, pieces)
    return [shift(n, then.columns[n], matrix[:, found.index(n)]) for n in names]


def _same_bars(a: str, bars_a: str, b: str, bars_b: str) -> None:
    from mia.cli.output import print_note

    if bars_a != bars_b:
        print_note(f"{a} has {bars_a} bars, {b} {bars_b}: part of the shift is that of the bars")


def _sampled(name: str, pieces: Any) -> Any:
    """At most 2 x _DRIFT_ROWS rows, evenly spread."""
    from mia.backtest.feature_checks import Sample

    sample, progress, n = Sample(_DRIFT_ROWS), _Progress(name), 0
    for _, matrix in pieces:
        sample.add(matrix)
        n += len(matrix)
        progress(f"{n} rows")
    return sample.matrix


def _pieces(path: Path, columns: str | None, category: str | None, request: Request) -> tuple[tuple[str, ...], Any, str]:
    """Names, rows and bars of a parquet file of compute, or computed from candles or a recording."""
    from mia.backtest.feature_run import chosen, open_source, read_features, rows
    from mia.cli.output import print_note
    from mia.domain.errors import ConfigError, DataError

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    names = chosen(columns, category)
    made = read_features(path)
    if made is None:
        source = open_source([path], request)
        for note in source.notes:
            print_note(note)
        return names, rows(source, names), source.bars.text
    if columns is None and category is None:
        names = made.columns
    if missing := [n for n in names if n not in made.columns]:
        raise ConfigError(f"{path}: column {missing[0]!r} is not in it; it has {len(made.columns)}: compute it again")
    at = [made.columns.index(n) for n in names]
    return names, ((ts, matrix[:, at]) for ts, matrix in made.rows()), str(made.facts["bars"])


def _request(
    bars: str | None,
    every_ms: int | None,
    at: At | None,
    tick: str | None,
    lot: str | None,
    tz: str | None,
    on_duplicate: OnDuplicate,
    reference: Sequence[str] | None,
    config: Path | None,
) -> Request:
    """The options as one value; a wrong one is named."""
    from mia.assemble import numbered
    from mia.backtest.feature_run import Request
    from mia.features.bars import BarSpec
    from mia.settings import load_settings

    if every_ms is not None and at is At.bar:
        raise typer.BadParameter("--every-ms makes rows on quotes: leave --at bar out")
    references = []
    for text in reference or ():
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise typer.BadParameter(f"--reference {text!r}: write NAME=PATH, such as vix=vix_daily.csv")
        references.append((name, Path(path)))
    return Request(
        bars=BarSpec.parse(bars) if bars else None,
        tick=_step("--tick", tick),
        lot=_step("--lot", lot),
        tz=tz,
        on_duplicate="drop" if on_duplicate is OnDuplicate.drop else "error",
        at="quote" if at is At.quote or every_ms is not None else "bar",
        every_ms=every_ms or 0,
        references=tuple(references),
        instruments=tuple(numbered(load_settings(config).settings)),
    )


def _step(option: str, text: str | None) -> Any:
    from decimal import Decimal, InvalidOperation

    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(0)
    if not (value.is_finite() and value > 0):
        raise typer.BadParameter(f"{option} {text!r}: give a number above 0, such as 0.01")
    return value


class _Progress:
    """A line on stderr now and then, once a run is long; on a terminal it is written over."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + _QUIET_S

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _AGAIN_S
        print(f"mia: {self._what}: {text}", file=sys.stderr, flush=True)


def _why_absent(absent: Sequence[str], source: Source) -> str:
    """Columns without a value, by what the file does not hold."""
    from mia.backtest.feature_run import lacking

    missing = {name: [i for i in source.lacks if lacking(name, (i,))] for name in absent}
    parts = [f"{len(absent)} columns, --json names them"]
    reads = [(sum(inputs[:1] == [wanted] for inputs in missing.values()), wanted) for wanted in source.lacks]
    if lacks := [f"{wanted} ({n})" for n, wanted in reads if n]:
        parts.append(f"{'candles' if source.kind == 'candles' else 'recordings'} hold no {', '.join(lacks)}")
    if others := [name for name, inputs in missing.items() if not inputs]:
        parts.append(f"never warm, or an input is missing: {', '.join(others)}")
    return "; ".join(parts)


def _what(source: Source) -> str:
    return "bars" if source.kind == "candles" else "events"


def _when(source: Source) -> str:
    if source.trigger == "bar":
        return "a row at each close"
    return f"a row on a quote every {source.every_ns / 1e6:g} ms" if source.every_ns else "a row on each quote"


def _utc(ns: int) -> str:
    from mia.backtest.readers import utc

    return utc(ns)


def _share(x: float) -> str:
    """Percent; what is not all never shows as 100."""
    return f"{x:.0%}" if x in (0.0, 1.0) or 0.01 <= x <= 0.99 else ("<1%" if x < 0.5 else ">99%")


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


def _shift_word(psi: float) -> str:
    """Siddiqi's classes."""
    return "major" if psi > 0.25 else "moderate" if psi > 0.1 else ""
