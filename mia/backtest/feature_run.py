"""Features of files, chunk by chunk through the plan that live uses: sources, one run over them, and the parquet file of it.

A matrix holds NaN where a column has no value and inf where a kernel gave no number (which a file never takes).
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.calendars import calendar_over
from mia.backtest.forecasts import predict_vix
from mia.backtest.readers import Candles, OnDuplicate, bar_rows, file_sha256, grid_of, is_candle_file, read_candles, utc
from mia.backtest.recordings import open_recording
from mia.backtest.references import coverage_gaps, read_reference
from mia.backtest.validation.seal import Reading, Sealed, SealLog, names_in
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import TIMER_INTERVAL_NS, AnyEvent
from mia.domain.instruments import Instrument, InstrumentId
from mia.features import batch
from mia.features.bars import BarSpec
from mia.features.calendars import UTC_DAYS, Calendar
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import BOOK_DELTA, BOOK_SNAPSHOT, GAP, QUOTE, TIMER, TRADE, EventColumns
from mia.features.columns import from_events as columns_of
from mia.features.models import FeatureModels, Linear, parse_models
from mia.features.plan import build_plan, mask_input, parse_parametric
from mia.features.series import REFERENCES
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.risk.windows import Windows

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Trigger = Literal["bar", "quote"]
Say = Callable[[str], None]
CHUNK: Final = 16_384  # bars, or events: 350 columns of so many rows are 46 MB
_ARENA_BYTES: Final = 256 << 20  # reserved, not used: only what the plan asks for is touched
_BOOK_LEVELS: Final = 4096
_ABSENT: Final = -1e300  # stands where a column has no value; outside of every range, so that a NaN of a kernel shows
_SILENCE_NS_MAX: Final = 86_400_000_000_000
_RECORDING_NS_MAX: Final = 366 * 86_400_000_000_000  # past the beginning of a recording, of which sessions are known
NEVER_HERE: Final = ("account",)  # a file has no account: such columns would read 0, not nothing
_NOT_IN_CANDLES: Final = (*NEVER_HERE, "trades", "quotes", "depth")
_NO_MODELS: Final = ("model", "memory")


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """The models behind columns, by the name and sha256 of what they were read from."""

    name: str
    sha256: str
    models: FeatureModels


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """How files are to be read, as the command line says it; None: what the files say themselves.

    at: decide at bar closes or on quotes, then at least every_ms apart. instruments: of the settings, for recordings.
    references: (name of a series, file). models: behind the regime, latent and memory columns. predictions: (name, file of models).
    sealed: what becomes of rows in a sealed span.
    family: (trade windows, name) whose sessions, events and contracts count, as live takes them from the instrument; None: UTC
    days, and nothing is known of events.
    """

    bars: BarSpec | None = None
    tick: Decimal | None = None
    lot: Decimal | None = None
    tz: str | None = None
    on_duplicate: OnDuplicate = "error"
    at: Trigger = "bar"
    every_ms: int = 0
    references: tuple[tuple[str, Path], ...] = ()
    models: Given | None = None
    predictions: tuple[tuple[str, Path], ...] = ()
    instruments: tuple[tuple[InstrumentId, Instrument], ...] = ()
    family: tuple[Windows, str] | None = None
    sealed: Sealed = "refuse"


class Piece(NamedTuple):
    """What a plan takes at once: bars (close_ns not None) with what entered from outside, or events with everything in them."""

    events: EventColumns
    close_ns: I64 | None = None
    bars: F64 | None = None

    @property
    def size(self) -> int:
        """Bars, or events."""
        return self.events.events if self.close_ns is None else len(self.close_ns)


class Source(msgspec.Struct, kw_only=True):
    """One stretch of history of one instrument. pieces() may be called again and gives the same.

    size: bars or events, 0 while unknown. facts: for the metadata of a file. lacks: inputs that are not in it.
    """

    kind: Literal["candles", "events"]
    name: str
    instrument: Instrument
    bars: BarSpec
    trigger: Trigger
    every_ns: int
    size: int
    lacks: tuple[str, ...]
    facts: dict[str, Any]
    notes: list[str]
    pieces: Callable[[], Iterator[Piece]]
    models: FeatureModels | None = None
    calendar: Calendar = UTC_DAYS


class Run:
    """One plan; it takes pieces in order. All state is in `arena`: a snapshot of it, restored into a new Run, goes on alike."""

    def __init__(self, source: Source, columns: Sequence[str]) -> None:
        """ConfigError for an unknown column."""
        self.arena = Arena(_ARENA_BYTES)
        self.columns = tuple(columns)
        book = Book(self.arena, _BOOK_LEVELS)
        self.plan = build_plan(
            self.columns, source.instrument, source.bars, self.arena, book, source.calendar, neutral=_ABSENT, models=source.models
        )
        self._source = source
        self._not_here = [j for j, name in enumerate(columns) if lacking(name, source.lacks, source.models)]

    def take(self, piece: Piece) -> tuple[I64, F64]:
        """(ts int64[m], matrix float64[m, columns]) of every decision in the piece."""
        if piece.close_ns is not None and piece.bars is not None:
            ts, matrix = batch.compute_bars(self.plan, piece.close_ns, piece.bars, with_cold=True, outside=piece.events)
        else:
            ts, matrix = batch.compute(self.plan, piece.events, self._source.every_ns, self._source.trigger, with_cold=True)
        if self._not_here:
            matrix[:, self._not_here] = _ABSENT
        if not math.isfinite(matrix.sum()):
            matrix[~np.isfinite(matrix)] = math.inf
        np.putmask(matrix, matrix == _ABSENT, math.nan)
        return ts, matrix

    def observe(self, ts_ns: int) -> F64:
        """The columns as of ts_ns, float64[columns], masked as in take."""
        self.plan.observe(ts_ns)
        values = np.array(self.plan.values, dtype=np.float64)
        values[self._not_here] = _ABSENT
        values[~np.isfinite(values)] = math.inf
        values[values == _ABSENT] = math.nan
        return values


def lacking(name: str, lacks: Sequence[str], models: FeatureModels | None = None) -> bool:
    """Does the column, or one that its model reads, read an input that is not there?"""
    feature = shipped_catalogue().by_name.get(name)
    if feature is None:
        return False
    behind = models.behind(name) if models is not None else None
    return any(i in lacks for i in feature.inputs) or any(lacking(column, lacks) for part in behind or () for column in part.columns)


def rows(source: Source, columns: Sequence[str]) -> Iterator[tuple[I64, F64]]:
    """The columns over the whole source, piece by piece."""
    run = Run(source, columns)
    for piece in source.pieces():
        yield run.take(piece)


def table(source: Source, columns: Sequence[str]) -> tuple[I64, F64]:
    """The same at once."""
    parts = list(rows(source, columns))
    if not parts:
        return np.zeros(0, np.int64), np.zeros((0, len(columns)))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def chosen(columns: str | None, category: str | None) -> tuple[str, ...]:
    """Names from `a,b,c` or of a category, else all; ConfigError for an unknown or repeated one."""
    catalogue = shipped_catalogue()
    if columns is not None and category is not None:
        raise ConfigError("--columns and --category: give one of them")
    if category is not None:
        names = catalogue.category(category)
        if not names:
            known = sorted({f.category for f in catalogue.features})
            near = difflib.get_close_matches(category, known, 1) or known
            raise ConfigError(f"unknown category {category!r}; did you mean: {', '.join(near)}")
        return names
    if columns is None:
        return catalogue.names
    wanted = tuple(name.strip() for name in columns.split(",") if name.strip())
    if not wanted:
        raise ConfigError("--columns: no name given")
    if twice := [name for name in wanted if wanted.count(name) > 1]:
        raise ConfigError(f"--columns: {twice[0]!r} is named twice")
    for name in wanted:
        if mask_input(name) is not None:
            raise ConfigError(f"--columns: {name!r}: masks belong to models; a value that is not there is null")
        if parse_parametric(name) is None:
            catalogue.get(name)
    return wanted


# --- sources -------------------------------------------------------------------------------------------------------------


def open_source(paths: Sequence[Path], request: Request) -> Source:
    """Candle files or recordings, in order of time; DataError and ConfigError name the file and what to do."""
    if not paths:
        raise DataError("no file given")
    if missing := [path for path in paths if not path.is_file()]:
        raise DataError(f"{missing[0]}: no such file")
    kinds = {is_candle_file(path) for path in paths}
    if len(kinds) > 1:
        raise DataError("candle files and recordings cannot be computed as one: give one kind")
    if kinds == {True}:
        candles = read_candles(paths, bars=request.bars, tz=request.tz, on_duplicate=request.on_duplicate, sealed=request.sealed)
        return candle_source(candles, request)
    return recording_source(paths, request)


def candle_source(candles: Candles, request: Request) -> Source:
    """Bars of candle files."""
    if request.at != "bar" or request.every_ms:
        raise ConfigError(f"{candles.name}: holds bars and no quotes: leave out --at and --every-ms")
    instrument = grid_of(candles, request.tick, request.lot)
    bars = BarSpec(kind="time", size=Decimal(candles.interval_ns)) if candles.interval_ns else request.bars
    assert bars is not None  # read_candles asks for it
    outside, told = _outside(request, int(candles.close_ns[0]), int(candles.close_ns[-1]))
    guessed = [w for w, given in (("tick", request.tick), ("lot", request.lot)) if given is None]
    notes = list(candles.notes)
    if guessed:
        values = {"tick": instrument.tick_size, "lot": instrument.lot_size}
        notes.append(f"{' and '.join(f'{w} {values[w]:f}' for w in guessed)}, the coarsest that fit the file; --tick and --lot set them")
    notes += [*told, *_of_models(request, bars, candles.close_ns)]
    facts = _facts(candles.paths, candles.sha256, request, instrument, bars)

    def make(start: int, stop: int) -> Callable[[], Iterator[Piece]]:
        def pieces() -> Iterator[Piece]:
            known = 0
            for i in range(start, stop, CHUNK):
                j = min(i + CHUNK, stop)
                until = int(np.searchsorted(outside.ts_recv_ns, candles.close_ns[j - 1], side="left"))
                yield Piece(outside.slice(known, until), candles.close_ns[i:j], bar_rows(candles, instrument, i, j))
                known = until

        return pieces

    n = len(candles.close_ns)
    return Source(
        kind="candles", name=candles.name, instrument=instrument, bars=bars, trigger="bar", every_ns=0, size=n,
        lacks=_lacks(_NOT_IN_CANDLES, request), facts=facts, notes=notes, pieces=make(0, n), models=_models(request),
        calendar=_calendar(request, int(candles.close_ns[0]), int(candles.close_ns[-1])),
    )  # fmt: skip


def recording_source(paths: Sequence[Path], request: Request) -> Source:
    """Recorded frames, decoded as the replay venue does it, with the timers that live would have."""
    feed = open_recording(paths, request.instruments, request.sealed)
    if len(feed.instruments) > 1:
        raise DataError(f"{paths[0]}: holds {', '.join(feed.instruments)}; compute one instrument at a time")
    number, instrument = next(iter(feed.instruments.values()))
    changed = {k: v for k, v in (("tick_size", request.tick), ("lot_size", request.lot)) if v is not None}
    instrument = msgspec.structs.replace(instrument, **changed)
    bars = request.bars or BarSpec.parse("time:1s")
    first_ns = next(iter(feed.frames()), (0, b""))[0]
    outside, told = _outside(request, first_ns, first_ns)
    known = [*told, *_of_models(request, bars)]
    notes = list(known)

    def pieces() -> Iterator[Piece]:
        feed = open_recording(paths, [(number, instrument)], request.sealed)
        codec = feed.codec()
        events: list[AnyEvent] = []
        merge = _Merge(outside)
        for ts_recv_ns, payload in feed.frames():
            events.extend(codec.decode(payload, ts_recv_ns, 0))
            if len(events) >= CHUNK:
                yield Piece(merge.take(columns_of(events, number)))
                events = []
        if events:
            yield Piece(merge.take(columns_of(events, number)))
        notes[:] = [*known, *feed.warnings()]

    facts = _facts(paths, [file_sha256(path) for path in paths], request, instrument, bars)
    return Source(
        kind="events", name=", ".join(path.name for path in paths), instrument=instrument, bars=bars, trigger=request.at,
        every_ns=request.every_ms * 1_000_000, size=0, lacks=_lacks(NEVER_HERE, request), facts=facts, notes=notes, pieces=pieces,
        models=_models(request), calendar=_calendar(request, first_ns, first_ns + _RECORDING_NS_MAX),
    )  # fmt: skip


class _Merge:
    """Puts timers, and what is known from outside, between market events: a market event goes first at equal times."""

    def __init__(self, outside: EventColumns) -> None:
        self._outside = outside
        self._taken = 0
        self._timer = 0  # the last one

    def take(self, market: EventColumns) -> EventColumns:
        """The next events with what is due before the last of them."""
        ts = market.ts_recv_ns
        if not self._timer:
            self._timer = int(ts[0]) // TIMER_INTERVAL_NS * TIMER_INTERVAL_NS
        if int(ts[-1]) - self._timer > _SILENCE_NS_MAX and (gap := int(np.diff(ts, prepend=self._timer).max())) > _SILENCE_NS_MAX:
            raise DataError(f"the recordings leave a gap of {gap / _SILENCE_NS_MAX:.0f} days: compute them one by one")
        timers = np.arange(self._timer + TIMER_INTERVAL_NS, int(ts[-1]), TIMER_INTERVAL_NS, dtype=np.int64)
        self._timer = int(timers[-1]) if len(timers) else self._timer
        until = int(np.searchsorted(self._outside.ts_recv_ns, ts[-1], side="left"))
        parts = [market, _timers(timers), self._outside.slice(self._taken, until)]
        self._taken = max(until, self._taken)
        return _merged(parts, market.levels)


def with_timers(market: EventColumns) -> EventColumns:
    """A whole stretch of market events (one at least) with the timers that live would have between them."""
    return _Merge(batch.NOTHING).take(market)


def _merged(parts: Sequence[EventColumns], levels: I64) -> EventColumns:
    """In order of receive time; at equal times in the order of the parts."""
    whole = [np.concatenate(columns) for columns in zip(*(part[:-1] for part in parts), strict=True)]
    order = np.argsort(whole[1], kind="stable")
    return EventColumns._make([*(column[order] for column in whole), levels])


def _timers(ts: I64) -> EventColumns:
    zeros, none = np.zeros(len(ts), np.int64), np.zeros(len(ts))
    kind = np.full(len(ts), TIMER, np.int64)
    return EventColumns(kind, ts, zeros, zeros, zeros, zeros, zeros, zeros, zeros, none, none, np.zeros((0, 2), np.int64))


def _models(request: Request) -> FeatureModels | None:
    return request.models.models if request.models is not None else None


def _calendar(request: Request, first_ns: int, last_ns: int) -> Calendar:
    """What live would know of the calendar over these days; UTC days when no family was named."""
    if request.family is None:
        return UTC_DAYS
    first, last = (datetime.fromtimestamp(ns // 1_000_000_000, UTC).date() for ns in (first_ns, last_ns))
    week = timedelta(days=7)  # sessions open on local days, and the next one after the last is a fact of the last
    return calendar_over(*request.family, first - week, last + week)


def _lacks(inputs: tuple[str, ...], request: Request) -> tuple[str, ...]:
    return inputs if request.models is not None else (*inputs, *_NO_MODELS)


def _of_models(request: Request, bars: BarSpec, close_ns: I64 | None = None) -> list[str]:
    """What must be known of the models: rows that they were fitted on are no test of them, and other bars are other inputs."""
    if request.models is None:
        return []
    fit = request.models.models.fit
    if fit is None:
        return [f"{request.models.name}: does not say on what rows its models were fitted: no row is known to be later"]
    seen = "earlier rows are" if close_ns is None else f"{int(np.searchsorted(close_ns, fit.last_ns, side='right'))} rows of this data are"
    notes = [f"{request.models.name}: fitted on {fit.source} until {utc(fit.last_ns)} UTC: {seen} no test of its models"]
    if BarSpec.parse(fit.bar) != bars:
        notes.append(f"{request.models.name}: fitted on {fit.bar} bars, these are {bars.text}: what its models say here means little")
    return notes


def _outside(request: Request, first_ns: int, last_ns: int) -> tuple[EventColumns, list[str]]:
    """All reference files and predictions as one stretch, in order of arrival; and which series do not cover first_ns .. last_ns."""
    parts: list[EventColumns] = []
    told = []
    vix: EventColumns | None = None
    for name, path in request.references:
        if name not in REFERENCES:
            near = difflib.get_close_matches(name, REFERENCES, 3) or REFERENCES
            raise ConfigError(f"--reference {name}=...: unknown series; did you mean: {', '.join(near)}")
        parts.append(read_reference(name, path))
        told.append(coverage_gaps(name, parts[-1], first_ns, last_ns))
        vix = parts[-1] if name == "vix" else vix
    for name, path in request.predictions:
        if name != "vix":
            raise ConfigError(f"--predict {name}=...: only vix has a forecast here")
        if vix is None:
            raise ConfigError("--predict vix=...: needs the closes that it reads: add --reference vix=FILE")
        parts.append(predict_vix(vix, _forecast(path), str(path)))
    return _merged(parts, np.zeros((0, 2), np.int64)) if parts else batch.NOTHING, [text for text in told if text]


def _forecast(path: Path) -> Linear:
    try:
        data = path.read_bytes()
    except OSError as e:
        raise DataError(f"{path}: cannot be read: {e.strerror}") from None
    model = parse_models(data, str(path)).predicted_vix
    if model is None:
        raise ConfigError(f"{path}: holds no forecast of VIX: fit one with mia-train features --vix")
    return model


def _facts(paths: Sequence[Path], sha256: Sequence[str], request: Request, instrument: Instrument, bars: BarSpec) -> dict[str, Any]:
    return {
        "source": [{"file": path.name, "sha256": digest} for path, digest in zip(paths, sha256, strict=True)],
        "references": {name: file_sha256(path) for name, path in request.references},
        "predictions": {name: file_sha256(path) for name, path in request.predictions},
        "models": {"name": given.name, "sha256": given.sha256, "fit": given.models.fit} if (given := request.models) is not None else None,
        "bars": bars.text,
        "at": request.at,
        "every_ms": request.every_ms,
        "family": request.family[1] if request.family is not None else None,
        "tick": f"{instrument.tick_size:f}",
        "lot": f"{instrument.lot_size:f}",
    }


def in_memory(source: Source, size_max: int) -> tuple[Source, EventColumns | None]:
    """The first size_max bars or events of it, kept in memory, and the events themselves when it is a recording."""
    if source.kind == "candles":
        kept = list(head(source, size_max).pieces())
        return msgspec.structs.replace(source, size=sum(p.size for p in kept), pieces=lambda: iter(kept)), None
    parts: list[EventColumns] = []
    n = 0
    for piece in source.pieces():
        parts.append(piece.events)
        n += piece.size
        if n >= size_max:
            break
    if not parts:
        raise DataError(f"{source.name}: no event can be read")
    events = joined(parts)
    events = events.slice(0, min(size_max, events.events))
    return of_events(source, events), events


def joined(parts: Sequence[EventColumns]) -> EventColumns:
    """Stretches one after another as one."""
    offsets = np.cumsum([0, *(len(p.levels) for p in parts[:-1])])
    moved = [p._replace(level_offset=p.level_offset + int(o)) for p, o in zip(parts, offsets, strict=True)]
    return EventColumns._make(np.concatenate(columns) for columns in zip(*moved, strict=True))


def of_events(source: Source, events: EventColumns) -> Source:
    """The same source over these events, chunk by chunk."""

    def pieces() -> Iterator[Piece]:
        for i in range(0, events.events, CHUNK):
            yield Piece(events.slice(i, min(i + CHUNK, events.events)))

    return msgspec.structs.replace(source, size=events.events, pieces=pieces)


def head(source: Source, stop: int) -> Source:
    """The source as it would be had it ended after `stop` bars or events: nothing of what came later is in it."""
    make = source.pieces

    def pieces() -> Iterator[Piece]:
        left = stop
        for piece in make():
            if piece.size >= left:
                yield _cut(piece, 0, left)
                return
            yield piece
            left -= piece.size

    return msgspec.structs.replace(source, size=min(stop, source.size) if source.size else stop, pieces=pieces)


def tail(source: Source, start: int, stop: int) -> Source:
    """Only bars or events start .. stop - 1; what entered from outside before them stays, since it was known."""
    make = source.pieces

    def pieces() -> Iterator[Piece]:
        at = 0
        before: list[EventColumns] = []
        for piece in make():
            i, j = max(start - at, 0), min(stop - at, piece.size)
            at += piece.size
            if piece.close_ns is not None and i >= piece.size:
                before.append(piece.events)
                continue
            if i < j:
                cut = _cut(piece, i, j)
                if before:
                    cut = cut._replace(events=joined([*before, cut.events]))
                    before = []
                yield cut
            if at >= stop:
                return

    return msgspec.structs.replace(source, size=stop - start, pieces=pieces)


def _cut(piece: Piece, start: int, stop: int) -> Piece:
    if piece.close_ns is None or piece.bars is None:
        return Piece(piece.events.slice(start, stop))
    if stop <= start:
        return Piece(piece.events.slice(0, 0), piece.close_ns[:0], piece.bars[:0])
    known = int(np.searchsorted(piece.events.ts_recv_ns, piece.close_ns[stop - 1], side="left"))
    return Piece(piece.events.slice(0, known), piece.close_ns[start:stop], piece.bars[start:stop])


def counts(events: EventColumns) -> dict[str, I64]:
    """How many quotes, trades and changes of the book there were up to each event, and its time."""
    book = (events.kind == BOOK_DELTA) | (events.kind == BOOK_SNAPSHOT) | (events.kind == GAP)
    flags = {"quotes": events.kind == QUOTE, "trades": events.kind == TRADE, "books": book}
    return {name: np.cumsum(flag).astype(np.int64) for name, flag in flags.items()} | {"ts": events.ts_recv_ns}


# --- the file ------------------------------------------------------------------------------------------------------------


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What `compute` did. size: bars or events taken; absent: columns without a single value."""

    file: str
    size: int
    rows: int
    columns: int
    first_ns: int
    last_ns: int
    absent: list[str]


def write_parquet(source: Source, columns: Sequence[str], out: Path, versions: dict[str, str], say: Say) -> Written:
    """ts_ns and one float64 column per feature (null where absent), and metadata under the key `mia`; whole or not at all.

    say: hears how far it is. DataError when no row came out, when a kernel gave no number, or when the file cannot be written.
    """
    pa, pq = arrow()
    facts = {**source.facts, "catalogue_sha256": shipped_catalogue().hash, "versions": versions}
    schema = pa.schema([("ts_ns", pa.int64()), *((name, pa.float64()) for name in columns)]).with_metadata(
        {"mia": msgspec.json.encode(facts).decode()}
    )
    scratch = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    seen = np.zeros(len(columns), np.int64)
    size = n = first = last = 0
    try:
        with pq.ParquetWriter(scratch, schema, compression="zstd", use_dictionary=False) as writer:
            run = Run(source, columns)
            for piece in source.pieces():
                ts, matrix = run.take(piece)
                size += piece.size
                if np.isinf(matrix).any():
                    row, j = np.argwhere(np.isinf(matrix))[0]
                    raise DataError(f"{source.name}: {columns[j]} at {utc(ts[row])} is no finite number: a fault of its kernel")
                seen += np.count_nonzero(~np.isnan(matrix), axis=0)
                if len(ts):
                    data = [pa.array(ts), *(pa.array(np.ascontiguousarray(matrix[:, j]), from_pandas=True) for j in range(len(columns)))]
                    writer.write_table(pa.Table.from_arrays(data, schema=schema))
                    first, last = first or int(ts[0]), int(ts[-1])
                n += len(ts)
                say(f"{size} of {source.size} bars" if source.size else f"{size} events, {n} rows")
        if not n:
            raise DataError(f"{source.name}: no decision falls into it: use smaller --bars, or --at quote")
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(out)
    except OSError as e:
        raise DataError(f"{out}: cannot be written: {e.strerror or e}") from None
    finally:
        scratch.unlink(missing_ok=True)
    absent = [name for name, count in zip(columns, seen, strict=True) if not count]
    return Written(file=str(out), size=size, rows=n, columns=len(columns), first_ns=first, last_ns=last, absent=absent)


def arrow() -> tuple[Any, Any]:
    """pyarrow and its parquet part; ConfigError when they are not installed."""
    try:
        import pyarrow  # type: ignore[import-untyped]  # ships no stubs
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("parquet files need pyarrow: pip install 'mia[train]'") from None
    return pyarrow, pyarrow.parquet


class FeatureFile(NamedTuple):
    """A parquet file of compute: its columns, metadata, and rows piece by piece (as a Run gives them)."""

    columns: tuple[str, ...]
    facts: dict[str, Any]
    rows: Callable[[], Iterator[tuple[I64, F64]]]


def read_features(path: Path) -> FeatureFile | None:
    """The file when compute wrote it, else None; DataError when it is not readable."""
    if path.suffix != ".parquet":
        return None
    pa, pq = arrow()
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
    except (OSError, pa.ArrowException) as e:
        raise DataError(f"{path}: cannot be read: {str(e).splitlines()[0]}") from None
    raw = (schema.metadata or {}).get(b"mia")
    if raw is None or "ts_ns" not in schema.names:
        return None
    columns = tuple(name for name in schema.names if name != "ts_ns")
    facts = msgspec.json.decode(raw)
    _check_sealed(path, facts, pq)

    def pieces() -> Iterator[tuple[I64, F64]]:
        with pq.ParquetFile(path) as file:
            for part in file.iter_batches(batch_size=CHUNK):
                matrix = np.empty((part.num_rows, len(columns)))
                for j, name in enumerate(columns):
                    column = part.column(name)
                    values = column.to_numpy(zero_copy_only=False)
                    present = np.asarray(column.is_valid())
                    matrix[:, j] = np.where(present & ~np.isfinite(values), math.inf, values)
                yield part.column("ts_ns").to_numpy(), matrix

    return FeatureFile(columns, facts, pieces)


def _check_sealed(path: Path, facts: dict[str, Any], pq: Any) -> None:
    """Rows computed from a file before it was sealed are of the holdout, too. A row tells of what came before its time."""
    ts = pq.read_table(path, columns=["ts_ns"]).column("ts_ns").to_numpy()
    sources = facts.get("source", [])
    reading = Reading(
        sha256=(file_sha256(path), *(s["sha256"] for s in sources)), names=names_in([path.name, *(s["file"] for s in sources)]),
        begin_ns=ts - 1, end_ns=ts,
    )  # fmt: skip
    SealLog().allowed(reading, str(path))
