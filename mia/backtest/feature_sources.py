"""Where history comes from: candle files and recordings, as pieces that a plan takes, with what is known from outside."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.calendars import calendar_over
from mia.backtest.feature_merge import Merge, merged
from mia.backtest.forecasts import predict_vix
from mia.backtest.readers import Candles, OnDuplicate, bar_rows, file_sha256, grid_of, is_candle_file, read_candles, utc
from mia.backtest.recordings import RecordedHistory, open_recording
from mia.backtest.references import coverage_gaps, heard_closes, read_reference
from mia.backtest.validation.seal import Sealed
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import AnyEvent, Reference, Trade
from mia.domain.instruments import Instrument, InstrumentId
from mia.features import batch
from mia.features.bars import BarSpec
from mia.features.calendars import UTC_DAYS, Calendar
from mia.features.columns import EventColumns
from mia.features.columns import from_events as columns_of
from mia.features.heard import PRICES, valid_ns
from mia.features.models import FeatureModels, Linear, parse_models
from mia.features.series import REFERENCES
from mia.risk.windows import Windows

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

Trigger = Literal["bar", "quote"]
CHUNK: Final = 8_192  # bars, or events: 350 columns of so many rows are 23 MB, which the allocator keeps for the next piece (up to 32)
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
    references: (name of a series, file). seconds: (ref, ref2, spot or perp, another instrument that live hears beside this one: a
    candle file, or its symbol in the same recording). models: behind the regime, latent and memory columns. predictions: (name,
    file of models).
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
    seconds: tuple[tuple[str, str], ...] = ()
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
    outside, told = outside_of(request, int(candles.close_ns[0]), int(candles.close_ns[-1]), _second_files(request))
    guessed = [w for w, given in (("tick", request.tick), ("lot", request.lot)) if given is None]
    notes = list(candles.notes)
    if guessed:
        values = {"tick": instrument.tick_size, "lot": instrument.lot_size}
        notes.append(f"{' and '.join(f'{w} {values[w]:f}' for w in guessed)}, the coarsest that fit the file; --tick and --lot set them")
    calendar = _calendar(request, int(candles.close_ns[0]), int(candles.close_ns[-1]))
    notes += [*told, *_of_calendar(calendar, int(candles.close_ns[0])), *_of_models(request, bars, candles.close_ns)]
    facts = _facts(candles.paths, candles.sha256, request, instrument, bars, symbols=False)

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
        calendar=calendar,
    )  # fmt: skip


def recording_source(paths: Sequence[Path], request: Request) -> Source:
    """Recorded frames, decoded as the replay venue does it, with the timers that live would have."""
    feed = open_recording(paths, request.instruments, request.sealed)
    heard = _heard(paths[0], feed, request)
    own = [symbol for symbol in feed.instruments if symbol not in heard]
    if len(own) != 1:
        raise DataError(
            f"{paths[0]}: holds {', '.join(feed.instruments)}; compute one instrument at a time: name the others, as --second ref=SYMBOL"
        )
    number, instrument = feed.instruments[own[0]]
    second = [feed.instruments[symbol] for symbol in heard]
    others = {int(feed.instruments[symbol][0]): (names, feed.instruments[symbol][1]) for symbol, names in heard.items()}
    changed = {k: v for k, v in (("tick_size", request.tick), ("lot_size", request.lot)) if v is not None}
    instrument = msgspec.structs.replace(instrument, **changed)
    bars = request.bars or BarSpec.parse("time:1s")
    first_ns = next(iter(feed.frames()), (0, b""))[0]
    outside, told = outside_of(request, first_ns, first_ns)
    calendar = _calendar(request, first_ns, first_ns + _RECORDING_NS_MAX)
    known = [*told, *_of_calendar(calendar, first_ns), *_of_models(request, bars)]
    notes = list(known)

    def pieces() -> Iterator[Piece]:
        feed = open_recording(paths, [(number, instrument), *second], request.sealed)
        codec = feed.codec()
        events: list[AnyEvent] = []
        valid_for_ns = valid_ns(bars.interval_ns)
        merge = Merge(outside)
        for ts_recv_ns, payload in feed.frames():
            decoded = codec.decode(payload, ts_recv_ns, 0)
            events.extend(with_heard(decoded, others, valid_for_ns) if others else decoded)
            if len(events) >= CHUNK:
                yield Piece(merge.take(columns_of(events, number)))
                events = []
        if events:
            yield Piece(merge.take(columns_of(events, number)))
        notes[:] = [*known, *feed.warnings()]

    facts = _facts(paths, [file_sha256(path) for path in paths], request, instrument, bars, symbols=True)
    return Source(
        kind="events", name=", ".join(path.name for path in paths), instrument=instrument, bars=bars, trigger=request.at,
        every_ns=request.every_ms * 1_000_000, size=0, lacks=_lacks(NEVER_HERE, request), facts=facts, notes=notes, pieces=pieces,
        models=_models(request), calendar=calendar,
    )  # fmt: skip


def _heard(path: Path, feed: RecordedHistory, request: Request) -> dict[str, list[str]]:
    """Symbol of a second instrument in the recording -> the series that it is."""
    _check_seconds(request)
    found: dict[str, list[str]] = {}
    for name, symbol in request.seconds:
        if symbol not in feed.instruments:
            raise ConfigError(f"--second {name}={symbol}: {path} holds {', '.join(feed.instruments)} (of the [[instruments]])")
        found.setdefault(symbol, []).append(name)
    return found


def with_heard(events: Iterable[AnyEvent], others: Mapping[int, tuple[list[str], Instrument]], valid_for_ns: int) -> Iterator[AnyEvent]:
    """The events, and behind each trade of a second instrument what the engine makes of it."""
    for e in events:
        yield e
        if isinstance(e, Trade) and e.instrument in others and e.price_ticks > 0 and e.qty_lots > 0:
            names, instrument = others[e.instrument]
            price, ts = e.price_ticks * float(instrument.tick_size), e.ts_recv_ns
            for name in sorted(names):
                yield Reference(e.seq, ts, ts, name, price, ts, ts + valid_for_ns)


def _models(request: Request) -> FeatureModels | None:
    return request.models.models if request.models is not None else None


def _calendar(request: Request, first_ns: int, last_ns: int) -> Calendar:
    """What live would know of the calendar over these days; UTC days when no family was named."""
    if request.family is None:
        return UTC_DAYS
    first, last = (datetime.fromtimestamp(ns // 1_000_000_000, UTC).date() for ns in (first_ns, last_ns))
    week = timedelta(days=7)  # sessions open on local days, and the next one after the last is a fact of the last
    return calendar_over(*request.family, first - week, last + week)


def _of_calendar(calendar: Calendar, first_ns: int) -> list[str]:
    """Before the first listed event the columns of what comes say that nothing is near, where nobody listed what was."""
    if not calendar.event_ns or calendar.event_ns[0] <= first_ns:
        return []
    return [
        f"calendar: the list of events begins on {utc(calendar.event_ns[0])} UTC, the data on {utc(first_ns)}: until then "
        "minutes_to_event and next_event_impact say that no event is near, which nobody knows"
    ]


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


def _check_seconds(request: Request) -> None:
    for name, what in request.seconds:
        if name not in PRICES:
            raise ConfigError(f"--second {name}={what}: is no price of an instrument: use {', '.join(PRICES)}")
        if any(name == other for other, _ in request.references):
            raise ConfigError(f"--second {name}={what}: --reference {name} is given, too: keep one")


def _second_files(request: Request) -> list[tuple[str, EventColumns]]:
    """The candles of second instruments."""
    _check_seconds(request)
    found = []
    for name, what in request.seconds:
        made = read_candles([Path(what)], bars=request.bars, tz=request.tz, on_duplicate=request.on_duplicate, sealed=request.sealed)
        found.append((name, heard_closes(name, made.close_ns, made.ohlcv[:, 3], made.ohlcv[:, 4], made.interval_ns)))
    return found


def outside_of(
    request: Request, first_ns: int, last_ns: int, seconds: Sequence[tuple[str, EventColumns]] = ()
) -> tuple[EventColumns, list[str]]:
    """All reference files and predictions as one stretch, in order of arrival; and which series do not cover first_ns .. last_ns."""
    parts = [columns for _, columns in seconds]
    told = [coverage_gaps(name, columns, first_ns, last_ns) for name, columns in seconds]
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
    return merged(parts, np.zeros((0, 2), np.int64)) if parts else batch.NOTHING, [text for text in told if text]


def _forecast(path: Path) -> Linear:
    try:
        data = path.read_bytes()
    except OSError as e:
        raise DataError(f"{path}: cannot be read: {e.strerror}") from None
    model = parse_models(data, str(path)).predicted_vix
    if model is None:
        raise ConfigError(f"{path}: holds no forecast of VIX: fit one with mia-train features --vix")
    return model


def _facts(
    paths: Sequence[Path], sha256: Sequence[str], request: Request, instrument: Instrument, bars: BarSpec, *, symbols: bool
) -> dict[str, Any]:
    return {
        "source": [{"file": path.name, "sha256": digest} for path, digest in zip(paths, sha256, strict=True)],
        "references": {name: file_sha256(path) for name, path in request.references},
        "seconds": {name: what if symbols else file_sha256(Path(what)) for name, what in request.seconds},
        "predictions": {name: file_sha256(path) for name, path in request.predictions},
        "models": {"name": given.name, "sha256": given.sha256, "fit": given.models.fit} if (given := request.models) is not None else None,
        "bars": bars.text,
        "at": request.at,
        "every_ms": request.every_ms,
        "family": request.family[1] if request.family is not None else None,
        "tick": f"{instrument.tick_size:f}",
        "lot": f"{instrument.lot_size:f}",
    }
