"""What the verbs of `mia features` share: their options, the request made of them, and how values are written."""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from mia.cli.places import ConfigOption, ExcludeSealed
from mia.cli.shared_options import shared_options

if TYPE_CHECKING:
    from mia.backtest.feature_run import Given, Request, Source

app = typer.Typer(help="Features: what they are, columns of files, checks of them.", rich_markup_mode=None, no_args_is_help=True)
_QUIET_S: Final = 3.0  # a shorter run says nothing of its progress
_AGAIN_S: Final = 5.0


class OnDuplicate(enum.StrEnum):
    """What becomes of a row whose time does not lie after all before it."""

    error = "error"
    drop = "drop"


class At(enum.StrEnum):
    """When a row is made."""

    bar = "bar"
    quote = "quote"


Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Candles (.feather, .parquet, .csv[.gz]) or recorded frames, in order.")
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="Candles (.feather, .parquet, .csv[.gz]) or recorded frames.")]
Columns = Annotated[str | None, typer.Option("--columns", metavar="A,B,...", help="Names; else all of the catalogue.")]
Category = Annotated[str | None, typer.Option("--category", metavar="C", help="All of one category.")]
Bars = Annotated[str | None, typer.Option("--bars", metavar="BARS", help="Such as time:1m; candles know theirs, recordings: time:1s.")]
Tick = Annotated[str | None, typer.Option("--tick", metavar="X", help="Price step; else what the file fits.")]
Lot = Annotated[str | None, typer.Option("--lot", metavar="X", help="Size step; else what the file fits.")]
Tz = Annotated[str | None, typer.Option("--tz", metavar="ZONE", help="Of times that state none: America/Chicago, UTC.")]
Family = Annotated[
    str | None, typer.Option("--family", metavar="NAME", help="Whose sessions and events count (trade_windows.toml); else UTC days.")
]
OnDuplicateOption = Annotated[OnDuplicate, typer.Option("--on-duplicate", help="Late or repeated rows: an error, or left out.")]
Every = Annotated[int | None, typer.Option("--every-ms", metavar="N", min=0, help="A row on a quote, N ms or more apart.")]
AtOption = Annotated[At | None, typer.Option("--at", help="A row at each bar close (default), or on each quote.")]
Reference = Annotated[
    list[str] | None, typer.Option("--reference", metavar="NAME=PATH", help="A reference series, such as vix=vix.csv; may be repeated.")
]
Second = Annotated[
    list[str] | None,
    typer.Option("--second", metavar="NAME=WHAT", help="ref, ref2, spot or perp: candles, or a symbol of the recording. May be repeated."),
]
Models = Annotated[
    str | None, typer.Option("--models", metavar="FILE|BUNDLE", help="Models of the regime, latent and memory columns; else none.")
]
Predict = Annotated[
    list[str] | None, typer.Option("--predict", metavar="vix=FILE", help="Forecasts of mia-train features --vix; needs --reference vix=.")
]
Rows = Annotated[int, typer.Option("--rows", metavar="N", min=100, max=10_000_000, help="Look at the first N bars or events.")]


class Data(NamedTuple):
    """What the shared options say: which columns, and how the files are to be read."""

    columns: str | None
    category: str | None
    request: Request


def data_options(*, on_quotes: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb the options on columns and files, which it takes as `data`. on_quotes: with those that make rows on quotes."""
    return shared_options(data_of, "data", left_out=() if on_quotes else ("every_ms", "at"))


def data_of(
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
    second: Second = None,
    models: Models = None,
    predict: Predict = None,
    exclude_sealed: ExcludeSealed = False,
    config: ConfigOption = None,
) -> Data:
    """The options as one value; a wrong one is named."""
    from mia.assemble import calendar_files, numbered
    from mia.backtest.feature_run import Request
    from mia.features.bars import BarSpec
    from mia.risk.windows import load_windows
    from mia.settings import load_settings

    if every_ms is not None and at is At.bar:
        raise typer.BadParameter("--every-ms makes rows on quotes: leave --at bar out")
    request = Request(
        bars=BarSpec.parse(bars) if bars else None,
        tick=_step("--tick", tick),
        lot=_step("--lot", lot),
        tz=tz,
        on_duplicate="drop" if on_duplicate is OnDuplicate.drop else "error",
        at="quote" if at is At.quote or every_ms is not None else "bar",
        every_ms=every_ms or 0,
        references=_named("--reference", reference, "vix=vix_daily.csv"),
        seconds=tuple((name, str(what)) for name, what in _named("--second", second, "ref=ETHUSDT")),
        models=models_of(models) if models else None,
        predictions=_named("--predict", predict, "vix=models.json"),
        instruments=tuple(numbered(load_settings(config).settings)),
        family=(load_windows(*calendar_files()), family) if family else None,
        sealed="exclude" if exclude_sealed else "refuse",
    )
    return Data(columns, category, request)


def models_of(text: str) -> Given:
    """The models in a file of `mia-train features` (.json), or those of a bundle, regime included; ConfigError when it holds none."""
    from mia.assemble import model_folders
    from mia.backtest.feature_run import Given
    from mia.domain.errors import ConfigError
    from mia.engine.lane import models_of as models_of_bundle
    from mia.features.catalogue import shipped_catalogue
    from mia.features.models import parse_models
    from mia.policy.bundle import load_bundle
    from mia.policy.manifest import sha256

    path = Path(text)
    if path.suffix == ".json":
        try:
            data = path.read_bytes()
        except OSError as e:
            raise ConfigError(f"--models {text}: cannot be read: {e.strerror}") from None
        return Given(name=path.name, sha256=sha256(data), models=parse_models(data, text))
    bundle = load_bundle(text, catalogue_sha256=shipped_catalogue().hash, folders=model_folders())
    models = models_of_bundle(bundle, f"model {text}")
    if models is None:
        raise ConfigError(f"--models {text}: this bundle has no models behind columns")
    return Given(name=f"model {bundle.name}", sha256=bundle.sha256, models=models)


def _named(option: str, texts: Sequence[str] | None, example: str) -> tuple[tuple[str, Path], ...]:
    """NAME=PATH, each."""
    found = []
    for text in texts or ():
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise typer.BadParameter(f"{option} {text!r}: write NAME=PATH, such as {example}")
        found.append((name, Path(path)))
    return tuple(found)


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


def pieces_of(path: Path, data: Data) -> tuple[tuple[str, ...], Any, str]:
    """Names, rows and bars of a parquet file of compute, or computed from candles or a recording."""
    from mia.backtest.feature_file import read_features
    from mia.backtest.feature_run import chosen, open_source, rows
    from mia.cli.output import print_note
    from mia.domain.errors import ConfigError, DataError

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    names = chosen(data.columns, data.category)
    made = read_features(path)
    if made is None:
        source = open_source([path], data.request)
        for note in source.notes:
            print_note(note)
        return names, rows(source, names), source.bars.text
    if data.columns is None and data.category is None:
        names = made.columns
    if missing := [n for n in names if n not in made.columns]:
        raise ConfigError(f"{path}: column {missing[0]!r} is not in it; it has {len(made.columns)}: compute it again")
    at = [made.columns.index(n) for n in names]
    return names, ((ts, matrix[:, at]) for ts, matrix in made.rows()), str(made.facts["bars"])


class Progress:
    """A line on stderr now and then, once a run is long; on a terminal it is written over."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + _QUIET_S

    def __call__(self, text: str) -> None:
        """Say it, unless something was said just before."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _AGAIN_S
        print(f"mia: {self._what}: {text}", file=sys.stderr, flush=True)


def builtins(value: Any) -> Any:
    """A struct as dicts and lists."""
    import msgspec

    return msgspec.to_builtins(value)


def what(source: Source) -> str:
    """What a source counts in."""
    return "bars" if source.kind == "candles" else "events"


def utc_text(ns: int) -> str:
    """Such as 2024-03-01 00:00:00."""
    from mia.backtest.readers import utc

    return utc(ns)


def share(x: float) -> str:
    """Percent; what is not all never shows as 100."""
    return f"{x:.0%}" if x in (0.0, 1.0) or 0.01 <= x <= 0.99 else ("<1%" if x < 0.5 else ">99%")
