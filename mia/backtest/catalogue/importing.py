"""Files into the catalogue: candles, recordings of frames, funding rates. A month at a time, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from mia.backtest.catalogue.layout import EVENTS, FUNDING, Asset, bars_kind, end_ns, key_of, month_of, month_text, months_of
from mia.backtest.catalogue.merging import ROW, merged
from mia.backtest.catalogue.months import Source, described, importing, write_months
from mia.backtest.catalogue.rows import kind_of, row_of, schema
from mia.backtest.readers import Candles, OnDuplicate, bar_rows, file_sha256, is_candle_file, read_candles
from mia.backtest.readers.frames import PRICES, polars_module
from mia.backtest.recordings import RecordedHistory, open_recording
from mia.backtest.validation.seal import Sealed, SealLog
from mia.backtest.validation.seal_match import Reading, names_in
from mia.domain.errors import ConfigError, DataError
from mia.domain.instruments import Instrument, InstrumentId
from mia.features.bars import BarSpec
from mia.sim.cost_files import read_columns

if TYPE_CHECKING:
    import polars as pl

KINDS: Final = ("bars", *EVENTS, FUNDING)
_PIECE: Final = 100_000
_ORDINAL_SHIFT: Final = 16  # a frame holds fewer events than 2^16: the codec keeps 5,000 updates at most


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one month: `added` rows; 0 and not `is_new`: all of it was there."""

    kind: str
    month: str
    rows: int
    added: int
    is_new: bool


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did."""

    instrument: str
    files: tuple[str, ...]
    months: tuple[Stored, ...]
    notes: tuple[str, ...]

    @property
    def is_new(self) -> bool:
        """Anything changed."""
        return any(month.is_new for month in self.months)


class How(NamedTuple):
    """How files are to be read. kinds: only these; empty: all that they hold."""

    kinds: tuple[str, ...] = ()
    bars: BarSpec | None = None
    tz: str | None = None
    on_duplicate: OnDuplicate = "error"
    sealed: Sealed = "refuse"


def import_files(paths: Sequence[Path], instrument: Instrument, how: How) -> Imported:
    """Import files of one instrument; the same again changes nothing. All candles, all recordings (as one, in order) or all funding.

    ConfigError for what does not fit together; DataError for files of no use, and rows that contradict what is stored, by row and month;
    SealedError for sealed rows.
    """
    polars_module()
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    kinds = {_holds(path, how) for path in paths}
    if len(kinds) != 1:
        raise ConfigError(f"the files hold {' and '.join(sorted(kinds)) or 'nothing'}: import one kind at a time")
    (held,) = kinds
    if how.kinds and not all(kind == held or (held == "frames" and kind in EVENTS) for kind in how.kinds):
        raise ConfigError(f"--kind {', '.join(how.kinds)}: the files hold {held}")
    if how.bars is not None and held != "bars":
        raise ConfigError(f"--timeframe {how.bars.text}: goes with candles, the files hold {held}")
    reader = {"bars": _candles, "frames": _recording, FUNDING: _funding}[held]
    with importing():
        months, notes = reader(paths, instrument, how)
    return Imported(
        instrument=f"{instrument.venue}:{instrument.symbol}", files=tuple(path.name for path in paths), months=tuple(months),
        notes=tuple(notes),
    )  # fmt: skip


def _holds(path: Path, how: How) -> str:
    if not is_candle_file(path):
        return "frames"
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", errors="replace") as file:
            if [cell.strip() for cell in file.readline().split(",")] == ["ts_ns", "rate"]:
                return FUNDING
    return FUNDING if FUNDING in how.kinds else "bars"


# --- what is stored of a month ---------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """New rows of one kind and month, with where they come from."""

    kind: str
    month: str
    rows: Any  # polars.DataFrame with the column ROW
    source: Source


def _store(parts: Sequence[_Part], instrument: Instrument) -> list[Stored]:
    """Merge all, then write all: a contradiction leaves every one as it was."""
    asset, found, files = Asset(instrument.venue, instrument.symbol), [], []
    for part in parts:
        path = asset.month_file(part.kind, part.month)
        new = merged(path, part.kind, instrument, part.rows, part.source)
        if new.is_new:
            files.append((path, new.frame, described(part.kind, instrument, new.frame, new.sources)))
        found.append(Stored(kind=part.kind, month=part.month, rows=new.frame.height, added=new.added, is_new=new.is_new))
    write_months(files)
    return found


def _by_month(kind: str, rows: pl.DataFrame, source: Source) -> Iterator[_Part]:
    numbers = months_of(rows[key_of(kind)].to_numpy())
    edges = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1, append=numbers[-1] + 1))
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield _Part(kind, month_text(int(numbers[start])), rows.slice(start, stop - start), source)


# --- candles ---------------------------------------------------------------------------------------------------------------


def _candles(paths: Sequence[Path], instrument: Instrument, how: How) -> tuple[list[Stored], list[str]]:
    stored: list[Stored] = []
    notes: list[str] = []
    for path in paths:
        candles = read_candles([path], bars=how.bars, tz=how.tz, on_duplicate=how.on_duplicate, sealed=how.sealed)
        bar_rows(candles, instrument, 0, len(candles.open_ns))  # a price between two ticks is refused
        bars = BarSpec.parse(f"time:{candles.interval_ns // 1_000_000}ms") if candles.interval_ns else how.bars
        assert bars is not None  # read_candles asks for it
        kind = bars_kind(bars)
        source = Source(files={path.name: candles.sha256[0]}, first_ns=int(candles.open_ns[0]), last_ns=int(candles.close_ns[-1]))
        stored += _store(list(_by_month(kind, _bar_frame(kind, candles), source)), instrument)
        notes += [note for note in candles.notes if "quote_volume" not in note]
    return stored, notes


def _bar_frame(kind: str, candles: Candles) -> pl.DataFrame:
    polars = polars_module()
    unknown = polars.repeat(None, len(candles.open_ns), dtype=polars.Float64, eager=True)
    columns: dict[str, Any] = {key_of(kind): candles.open_ns if candles.interval_ns else candles.close_ns}
    columns |= {name: np.ascontiguousarray(candles.ohlcv[:, k]) for k, name in enumerate((*PRICES, "volume"))}
    columns |= {"trades": unknown if candles.trades is None else candles.trades}
    columns |= {"quote_volume": unknown if candles.notional is None else candles.notional, ROW: candles.rows}
    frame: pl.DataFrame = polars.DataFrame(columns)
    return frame


# --- funding ---------------------------------------------------------------------------------------------------------------


def _funding(paths: Sequence[Path], instrument: Instrument, how: How) -> tuple[list[Stored], list[str]]:
    polars = polars_module()
    if instrument.kind != "perpetual":
        raise ConfigError(f"{instrument.venue}:{instrument.symbol} is a {instrument.kind}: only perpetuals have funding")
    stored: list[Stored] = []
    notes: list[str] = []
    for path in paths:
        rows = read_columns(path, ("ts_ns", "rate"))
        sha256 = file_sha256(path)
        begin_ns = np.array([ts for ts, _ in rows], dtype=np.int64)
        reading = Reading(sha256=(sha256,), names=names_in([instrument.symbol, path.name]), begin_ns=begin_ns, end_ns=begin_ns + 1)
        keep, told = SealLog().allowed(reading, path.name, how.sealed)
        notes += told
        kept = range(len(rows)) if keep is None else np.flatnonzero(keep).tolist()
        times = [int(begin_ns[k]) for k in kept]
        frame = polars.DataFrame({"ts_ns": times, "rate": [rows[k][1] for k in kept], ROW: [k + 1 for k in kept]})
        source = Source(files={path.name: sha256}, first_ns=times[0], last_ns=times[-1])
        stored += _store(list(_by_month(FUNDING, frame, source)), instrument)
    return stored, notes


# --- recordings ------------------------------------------------------------------------------------------------------------


def _recording(paths: Sequence[Path], instrument: Instrument, how: How) -> tuple[list[Stored], list[str]]:
    feed = open_recording(paths, [(InstrumentId(0), instrument)], how.sealed)
    first_ns = last_ns = 0
    for ts, _ in feed.frames():  # a pass over the frames alone: what is sealed is known before anything is stored
        first_ns, last_ns = first_ns or ts, ts
    if not first_ns:
        raise DataError(f"{paths[0]}: holds no frame that may be read")
    source = Source(files={path.name: sha for path, sha in zip(paths, feed.sha256, strict=True)}, first_ns=first_ns, last_ns=last_ns)
    kinds = how.kinds or EVENTS
    stored = [month for parts in _decoded(feed, kinds, source) for month in _store(parts, instrument)]
    if not stored:
        raise DataError(f"{paths[0]}: no {' or '.join(kinds)} of {instrument.symbol} in it")
    lacking = [kind for kind in kinds if kind not in {month.kind for month in stored}]
    return stored, [*feed.warnings(), *(f"no {kind} of {instrument.symbol} in these files" for kind in lacking)]


class _Rows:
    """Rows of one kind until they are stored: tuples, and pieces of them as tables."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._rows: list[tuple[Any, ...]] = []
        self._tables: list[pl.DataFrame] = []

    def add(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        if len(self._rows) >= _PIECE:
            self._pack()

    def take(self) -> pl.DataFrame | None:
        """All so far, which are forgotten then."""
        self._pack()
        tables, self._tables = self._tables, []
        return polars_module().concat(tables) if tables else None

    def _pack(self) -> None:
        if self._rows:
            polars = polars_module()
            columns = {**schema(self._kind), ROW: polars.Int64}
            self._tables.append(polars.DataFrame(self._rows, schema=columns, orient="row"))
            self._rows = []


def _decoded(feed: RecordedHistory, kinds: Sequence[str], source: Source) -> Iterator[list[_Part]]:
    """What each month holds, decoded as the daemon decodes it; a row's number is that of the event in the recording."""
    held = {kind: _Rows(kind) for kind in kinds}
    codec = feed.codec()
    month, until_ns = "", 0
    last_ts, ordinal, row = -1, 0, 0
    for ts, payload in feed.frames():
        if ts >= until_ns:
            if month:
                yield _parts(held, month, source)
            month = month_of(ts)
            until_ns = end_ns(month)
        ordinal = ordinal + 1 if ts == last_ts else 0
        last_ts = ts
        for place, event in enumerate(codec.decode(payload, ts, 0)):
            row += 1
            kind = kind_of(event)
            if kind in held:
                held[kind].add((*row_of(event, (ordinal << _ORDINAL_SHIFT) + place), row))
    yield _parts(held, month, source)


def _parts(held: dict[str, _Rows], month: str, source: Source) -> list[_Part]:
    tables = ((kind, rows.take()) for kind, rows in held.items())
    return [_Part(kind, month, table, source) for kind, table in tables if table is not None]
