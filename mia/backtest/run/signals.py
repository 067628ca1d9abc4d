"""Signals of a file: somebody else's wishes, each with the time at which it was known, as the events that carry them into the engine.

A file (.csv, .csv.gz, .parquet, .feather) has `ts` (UTC; a time zone that it states must be UTC) or `ts_ns`, `signal` in [-1, 1], and may
have `instrument` (venue:symbol; without it a signal is for every instrument) and `valid_until` or `valid_until_ns`. Rows are in order of
time. Nothing is repaired: what cannot be trusted is named with its row, counted from 1 without the header.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mia.backtest.readers.frames import file_sha256, first, numbers, polars_module, read_frame
from mia.backtest.readers.times import parsed_times, placed_times, utc
from mia.backtest.run.spec import DataFacts
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import NO_INSTRUMENT, Predicted
from mia.domain.instruments import Instrument
from mia.features.heard import valid_ns

if TYPE_CHECKING:
    import polars as pl

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
SERIES: Final = "signal"  # of mia.features.series.PREDICTIONS
_NS_MIN: Final = 10**17  # 1973 in ns: a smaller number was meant in another unit
_OFFSET: Final = r"([+-]\d{2}):?(\d{2})$"


class SignalFacts(DataFacts, frozen=True, kw_only=True):
    """age_max_ns: how long a signal holds that states no end."""

    age_max_ns: int


class Signals(NamedTuple):
    """Signals in order of time: known, value, until, and the instrument's number (NO_INSTRUMENT: all), [n] each."""

    path: Path
    ts_ns: I64
    value: F64
    until_ns: I64
    instrument: I64
    facts: SignalFacts

    def events(self) -> Iterator[Predicted]:
        """As the engine hears them; the one who steps them gives `seq`."""
        columns = (self.ts_ns.tolist(), self.value.tolist(), self.until_ns.tolist(), self.instrument.tolist())
        for ts, value, until, instrument in zip(*columns, strict=True):
            yield Predicted(0, ts, ts, SERIES, value, 1.0, ts, until, instrument)

    def at(self, close_ns: I64, instrument: int) -> tuple[F64, npt.NDArray[np.bool_]]:
        """(value, does it hold?) of the last signal for the instrument that is known at each of these times."""
        mine = (self.instrument == instrument) | (self.instrument == NO_INSTRUMENT)
        ts, until = self.ts_ns[mine], self.until_ns[mine]
        if not len(ts):
            return np.zeros(len(close_ns)), np.zeros(len(close_ns), np.bool_)
        last = np.searchsorted(ts, close_ns, side="right") - 1
        known = np.maximum(last, 0)
        return self.value[mine][known], (last >= 0) & (close_ns <= until[known])

    def without(self, close_ns: I64, instrument: int) -> int:
        """At how many of these times no signal for the instrument holds."""
        return int(len(close_ns) - np.count_nonzero(self.at(close_ns, instrument)[1]))


def read_signals(path: Path, instruments: Sequence[Instrument], *, age_max_ns: int, tz: str | None = None) -> Signals:
    """The signals of a file for the instruments of a run; DataError names file, row and column, ConfigError what else does not fit.

    age_max_ns: how long one holds that states no end. tz: zone of times that state none; UTC when None.
    """
    frame, _ = read_frame(path)
    if frame.height == 0:
        raise DataError(f"{path}: holds no rows")
    ts_ns = _times(path, frame, "ts", tz)
    if ts_ns is None:
        raise DataError(f"{path}: column 'ts' (or 'ts_ns') is missing; it has {', '.join(frame.columns)}")
    if "signal" not in frame.columns:
        raise DataError(f"{path}: column 'signal' is missing; it has {', '.join(frame.columns)}")
    value = numbers(path, frame, "signal", _rows(frame))
    if (bad := np.abs(value) > 1.0).any():
        row = first(bad)
        raise DataError(f"{path}: row {row + 1} ({utc(ts_ns[row])}): signal is {value[row]:g}: it must lie in -1 .. 1")
    places = _instruments(path, frame, ts_ns, instruments)
    _check_order(path, ts_ns, places)
    until_ns = _until(path, frame, ts_ns, age_max_ns, tz)
    keep = places >= NO_INSTRUMENT
    if not keep.any():
        raise ConfigError(f"{path}: none of its signals is for {_names(instruments)}: name the instrument as in the file with --instrument")
    facts = SignalFacts(
        instrument=_names(instruments), kind="signals", files=(path.name,), sha256=(file_sha256(path),), rows=int(np.count_nonzero(keep)),
        first_ns=int(ts_ns[keep][0]), last_ns=int(ts_ns[keep][-1]), age_max_ns=age_max_ns,
    )  # fmt: skip
    return Signals(path, ts_ns[keep], value[keep], until_ns[keep], places[keep], facts)


def age_max_ns(interval_ns: int) -> int:
    """How long a signal holds that states no end, unless somebody says otherwise: as long as any series from outside."""
    return valid_ns(interval_ns)


def check_span(signals: Signals, from_ns: int, to_ns: int) -> None:
    """ConfigError when none of them can matter to a run from from_ns (0: its beginning) to to_ns (0: its end)."""
    if (to_ns and signals.ts_ns[0] > to_ns) or (from_ns and signals.until_ns.max() < from_ns):
        raise ConfigError(
            f"{signals.path}: its signals are of {utc(signals.ts_ns[0])} to {utc(signals.ts_ns[-1])}, the run is not "
            f"({utc(from_ns)} to {utc(to_ns) if to_ns else 'its end'}): are the times in UTC, and in the unit that the column says?"
        )


def note_of(signals: Signals, is_flat_without: bool) -> str:
    """What a run says of them."""
    then = "the position goes flat" if is_flat_without else "nothing is decided"
    return (
        f"{signals.path.name}: {len(signals.ts_ns)} signals, each known from its ts on; one without valid_until holds for "
        f"{signals.facts.age_max_ns / 1e9:g} s (--signal-age), after which {then}"
    )


def _names(instruments: Sequence[Instrument]) -> str:
    return ", ".join(f"{i.venue}:{i.symbol}" for i in instruments)


def _times(path: Path, frame: pl.DataFrame, name: str, tz: str | None) -> I64 | None:
    """Unix ns of the column `name` (times) or `name`_ns (whole numbers), 0 where a cell is empty; None without such a column."""
    polars = polars_module()
    if f"{name}_ns" in frame.columns:
        name += "_ns"
        column: Any = frame[name]
        if not column.dtype.is_integer():
            raise DataError(f"{path}: column {name!r} must hold whole nanoseconds since 1970, it holds {column.dtype}")
        values = column.fill_null(0).to_numpy().astype(np.int64)
        if (bad := (values < _NS_MIN) & ~column.is_null().to_numpy()).any():
            row = first(bad)
            raise DataError(f"{path}: row {row + 1}: {name} is {values[row]}: these are no nanoseconds since 1970")
    elif name in frame.columns:
        column = frame[name]
        if column.dtype == polars.String:
            column = _utc_text(path, name, column.str.strip_chars(), _rows(frame))
        elif not isinstance(column.dtype, polars.Datetime):
            raise DataError(f"{path}: column {name!r} must hold times such as 2026-02-17T09:30:00Z, it holds {column.dtype}")
        zone = getattr(column.dtype, "time_zone", None)
        if zone is None:
            empty = column.is_null()
            column = placed_times(path, name, column.fill_null(strategy="zero"), tz or "UTC", _rows(frame))
            column = column.set(empty, None)
        elif zone not in ("UTC", "Etc/UTC", "GMT", "Z"):
            raise DataError(f"{path}: row 1: {name} is in the time zone {zone}, not in UTC: write it in UTC")
        values = column.dt.cast_time_unit("ns").dt.timestamp("ns").fill_null(0).to_numpy().astype(np.int64)
    else:
        return None
    if name.startswith("ts") and column.null_count():
        raise DataError(f"{path}: row {first(column.is_null().to_numpy()) + 1}: {name} is missing")
    found: I64 = values
    return found


def _rows(frame: pl.DataFrame) -> I64:
    """Their numbers in the file, from 1."""
    return np.arange(1, frame.height + 1)


def _utc_text(path: Path, name: str, column: pl.Series, rows: I64) -> pl.Series:
    """Text as times; an offset that is not zero is refused: who writes local times in one row may forget it in another."""
    polars = polars_module()
    text = column.replace("", None)
    hours = text.str.extract_groups(rf"T?\d\d:\d\d.*?{_OFFSET}").struct.unnest()
    off = (hours["1"].cast(polars.Int64, strict=False).fill_null(0) != 0) | (hours["2"].cast(polars.Int64, strict=False).fill_null(0) != 0)
    if off.any():
        row = first(off.to_numpy())
        raise DataError(f"{path}: row {row + 1}: {name} {column[row]!r} is not in UTC: write it in UTC")
    filled = text.drop_nulls()
    if not len(filled):
        return text.cast(polars.Datetime("ns"))
    # Parsed with the first filled cell in front, whose form all others must have; row numbers stay those of the file.
    stand_in = text.fill_null(filled[0])
    parsed = parsed_times(path, name, stand_in, rows)
    return parsed.set(text.is_null(), None) if text.null_count() else parsed


def _until(path: Path, frame: pl.DataFrame, ts_ns: I64, age_max: int, tz: str | None) -> I64:
    stated = _times(path, frame, "valid_until", tz)
    if stated is None:
        return ts_ns + age_max
    if (bad := (stated != 0) & (stated < ts_ns)).any():
        row = first(bad)
        raise DataError(f"{path}: row {row + 1} ({utc(ts_ns[row])}): valid_until ({utc(stated[row])}) is before ts: the signal never holds")
    return np.where(stated != 0, stated, ts_ns + age_max)


def _instruments(path: Path, frame: pl.DataFrame, ts_ns: I64, instruments: Sequence[Instrument]) -> I64:
    """Number of each row's instrument; below NO_INSTRUMENT for one that the run does not have."""
    if "instrument" not in frame.columns:
        return np.full(len(ts_ns), NO_INSTRUMENT, np.int64)
    column = frame["instrument"].cast(polars_module().String).str.strip_chars()
    known = {f"{i.venue}:{i.symbol}": k for k, i in enumerate(instruments)}
    others: dict[str, int] = {}
    found = np.zeros(len(ts_ns), np.int64)
    for row, name in enumerate(column.to_list()):
        if not name or name.count(":") != 1:
            raise DataError(f"{path}: row {row + 1} ({utc(ts_ns[row])}): instrument is {name!r}: write venue:symbol")
        found[row] = known[name] if name in known else others.setdefault(name, NO_INSTRUMENT - 1 - len(others))
    return found


def _check_order(path: Path, ts_ns: I64, instrument: I64) -> None:
    """Times never fall, and rise for each instrument."""
    if (bad := np.diff(ts_ns) < 0).any():
        row = first(bad) + 1
        raise DataError(
            f"{path}: row {row + 1} ({utc(ts_ns[row])}): ts is earlier than that of row {row} ({utc(ts_ns[row - 1])}): sort the rows by ts"
        )
    order = np.lexsort((ts_ns, instrument))  # stable: rows of one instrument stay in order
    same = (np.diff(ts_ns[order]) == 0) & (np.diff(instrument[order]) == 0)
    if same.any():
        k = first(same)
        row, other = int(order[k + 1]), int(order[k])
        raise DataError(f"{path}: row {row + 1} ({utc(ts_ns[row])}): repeats the time of row {other + 1}: which signal is meant?")
