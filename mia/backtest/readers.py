"""Candle files (.feather, .parquet, .csv, .csv.gz) as bars, checked row by row. What cannot be trusted is named with file, row and column.

Rows are counted from 1, the header not included. Nothing is repaired silently: what was left out or guessed is in `notes`.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import zoneinfo
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from mia.domain.errors import ConfigError, DataError
from mia.domain.instruments import MONEY_SCALE, Instrument
from mia.features.bars import BarSpec
from mia.features.batch import BY_NOTIONAL, bars_from_ohlcv

if TYPE_CHECKING:
    import polars as pl

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
OnDuplicate = Literal["error", "drop"]
SUFFIXES: Final = (".feather", ".parquet", ".csv", ".csv.gz")
_PRICES: Final = ("open", "high", "low", "close")
_OTHER_NAMES: Final = {
    "last": "close", "cum_vol": "volume",
    "cum_dollar": "quote_volume", "quote_asset_volume": "quote_volume", "quotevolume": "quote_volume",
    "cum_ticks": "trades", "count": "trades", "number_of_trades": "trades", "num_trades": "trades", "trade_count": "trades",
}  # fmt: skip
# Columns of times, the first that a file has counts; `date_time` is how files of tick and dollar bars state the end of a bar.
_TIMES: Final = ("ts_ns", "ts_ms", "ts_unix_s", "ts_chicago", "date", "datetime", "date_time", "timestamp", "open_time", "time")
_CLOSES: Final = "date_time"
_FORMATS: Final = (
    "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
)  # fmt: skip
_HEADERLESS: Final = (("ts_ms", "open", "high", "low", "close", "volume"), ("ts_ms", "open", "close", "high", "low", "volume"))
_DECIMALS_MAX: Final = 8
_MEAN_OFF: Final = 1e-6  # how far a mean price may lie outside of its bar, as rounding leaves it
_CUT: Final = 1e-6  # of volume: what its decimals leave out
_OFF_GRID: Final = 1e-3  # of a tick: what float64 leaves of a decimal price is far below, a price between two ticks far above


class Candles(msgspec.Struct, frozen=True, kw_only=True):
    """Bars of one or more files in order of time.

    open_ns, close_ns: int64[n]; ohlcv: float64[n, 5]; trades, notional: float64[n] where every file has them, else None: how many
    trades, and the sum of their price times quantity.
    interval_ns: of time bars, 0 when bars end at irregular times. dropped: rows left out as late or repeated.
    sha256: of the files' bytes, in their order.
    """

    paths: tuple[Path, ...]
    open_ns: I64
    close_ns: I64
    ohlcv: F64
    trades: F64 | None
    notional: F64 | None
    interval_ns: int
    dropped: int
    notes: tuple[str, ...]
    sha256: tuple[str, ...]

    @property
    def name(self) -> str:
        """The files, for messages."""
        return ", ".join(path.name for path in self.paths)


def is_candle_file(path: Path) -> bool:
    """By its name; recordings of raw frames end otherwise."""
    return path.name.endswith(SUFFIXES)


def file_sha256(path: Path) -> str:
    """Of a file's bytes; DataError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as e:
        raise DataError(f"{path}: cannot be read: {e.strerror or e}") from None


def read_bars(path: Path) -> tuple[I64, F64]:
    """(open time ns [n], OHLCV [n, 5]) of a candle file of time bars; times without a zone are UTC. DataError as read_candles."""
    candles = read_candles([path], naive_is_utc=True)
    return candles.open_ns, candles.ohlcv


def read_candles(
    paths: Sequence[Path],
    *,
    bars: BarSpec | None = None,
    tz: str | None = None,
    on_duplicate: OnDuplicate = "error",
    naive_is_utc: bool = False,
) -> Candles:
    """The bars of candle files given in order of time.

    A time column: ts_ns, ts_ms, ts_unix_s, date, datetime, timestamp, time, or Date with Time: when a bar begins; date_time: when it
    ends. Then open, high, low, close (or last), volume (or cum_vol). Where the file has them, quote_volume (quote_asset_volume,
    cum_dollar), the sum of price times quantity, and trades (count, number_of_trades, cum_ticks). A CSV without a header: ts_ms and five
    numbers, whose order is the one in which low <= open, close <= high holds everywhere. tz: zone of times that state none, such as
    America/Chicago.
    bars: as which the rows are to be taken; time bars tell it by their most frequent distance. on_duplicate: `drop` leaves out rows
    whose time does not lie after all before them, as live would.
    DataError names file, row and column; ConfigError what is missing on the command line.
    """
    parts = [_read(path, tz, on_duplicate, naive_is_utc) for path in paths]
    if not parts:
        raise DataError("no candle file given")
    for a, b in itertools.pairwise(parts):
        if not a.times[-1] < b.times[0]:
            raise DataError(f"{b.path}: begins at {utc(b.times[0])}, before the end of {a.path} ({utc(a.times[-1])}): give files in order")
        if a.at_close != b.at_close:
            raise DataError(f"{b.path}: its times are of another kind than those of {a.path}: compute them one by one")
    times = np.concatenate([p.times for p in parts])
    trades, notional = _joined([p.trades for p in parts]), _joined([p.notional for p in parts])
    where = ", ".join(str(path) for path in paths)
    interval, notes = 0, [note for p in parts for note in p.notes]
    if notional is None:
        lacking = ", ".join(p.path.name for p in parts if p.notional is None)
        notes.append(
            f"{lacking}: no column quote_volume: a bar's mean price is taken to be (high + low + close) / 3, where live knows that of its "
            f"trades: near to live's values, not equal to them: {', '.join(BY_NOTIONAL)}"
        )
    if parts[0].at_close:
        if bars is None:
            raise ConfigError(f"{where}: bars end at irregular times: say which they are, such as --bars tick:2800 or dollar:70000000")
        close_ns, open_ns = times, np.concatenate([times[:1], times[:-1]])
    else:
        interval = _interval(where, times, bars)
        open_ns, close_ns = times, times + interval
    return Candles(
        paths=tuple(paths),
        open_ns=open_ns,
        close_ns=close_ns,
        ohlcv=np.concatenate([p.ohlcv for p in parts]),
        trades=trades,
        notional=notional,
        interval_ns=interval,
        dropped=sum(p.dropped for p in parts),
        notes=tuple(notes),
        sha256=tuple(file_sha256(path) for path in paths),
    )


def _joined(columns: Sequence[F64 | None]) -> F64 | None:
    """A column of all files; None when one of them has none."""
    there = [column for column in columns if column is not None]
    return np.concatenate(there) if len(there) == len(columns) else None


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """One file; times: of opens or closes."""

    path: Path
    times: I64
    at_close: bool
    ohlcv: F64
    trades: F64 | None
    notional: F64 | None
    dropped: int
    notes: list[str]


def _read(path: Path, tz: str | None, on_duplicate: OnDuplicate, naive_is_utc: bool) -> _Part:
    frame, notes = _frame(path)
    if {"contract", "ms_of_day"} & set(frame.columns):
        raise DataError(
            f"{path}: holds several contracts (contract, ms_of_day): write the bars of one as ts_ms, open, high, low, close, volume"
        )
    if missing := [c for c in (*_PRICES, "volume") if c not in frame.columns]:
        raise DataError(f"{path}: column {missing[0]!r} is missing; it has {', '.join(frame.columns)}")
    if frame.height == 0:
        raise DataError(f"{path}: holds no rows")
    times, column = _times(path, frame, tz, naive_is_utc)
    values = [_numbers(path, frame, name) for name in (*_PRICES, "volume")]
    trades, notional = (_numbers(path, frame, name) if name in frame.columns else None for name in ("trades", "quote_volume"))
    ohlcv = np.stack(values, axis=1)
    _check(path, times, ohlcv)
    _check_traded(path, times, ohlcv, trades, notional)
    keep = _rising(path, times, on_duplicate)
    dropped = int(len(keep) - np.count_nonzero(keep))
    if dropped:
        notes.append(f"{path.name}: {dropped} late or repeated rows left out")
    return _Part(
        path=path,
        times=times[keep],
        at_close=column == _CLOSES,
        ohlcv=ohlcv[keep],
        trades=None if trades is None else trades[keep],
        notional=None if notional is None else notional[keep],
        dropped=dropped,
        notes=notes,
    )


def _polars() -> Any:
    try:
        import polars
    except ImportError:
        raise ConfigError("candle files need polars: pip install 'mia[train]'") from None
    return polars


def _frame(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """The file with names in lower case, other spellings of a name replaced."""
    polars = _polars()
    if not is_candle_file(path):
        raise DataError(f"{path}: use {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    notes: list[str] = []
    try:
        if path.name.endswith((".csv", ".csv.gz")):
            if _is_headerless(path):
                frame = polars.read_csv(path, has_header=False, infer_schema_length=None)
                frame = _named(path, frame, notes)
            else:
                frame = polars.read_csv(path, infer_schema_length=None)
        else:
            frame = polars.read_parquet(path) if path.suffix == ".parquet" else polars.read_ipc(path)
    except (OSError, EOFError, polars.exceptions.PolarsError) as e:
        raise DataError(f"{path}: cannot be read: {(str(e) or type(e).__name__).splitlines()[0]}") from None
    names = [name.strip().lower() for name in frame.columns]
    names = [_OTHER_NAMES.get(name, name) if _OTHER_NAMES.get(name, name) not in names else name for name in names]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: column {twice!r} is there twice")
    frame.columns = names
    return frame, notes


def _is_headerless(path: Path) -> bool:
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", errors="replace") as file:
        cells = file.readline().strip().split(",")
    return all(_is_number(cell) for cell in cells)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _named(path: Path, frame: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """Names for a file without a header: the one order that its numbers allow."""
    polars = _polars()
    if frame.width != 6 or not all(dtype.is_numeric() for dtype in frame.dtypes):
        raise DataError(f"{path}: has no header and not six columns of numbers (ts_ms, four prices, volume): add a header")
    fits = []
    for names in _HEADERLESS:
        named = frame.rename(dict(zip(frame.columns, names, strict=True)))
        low, high = polars.col("low"), polars.col("high")
        body = (polars.min_horizontal("open", "close"), polars.max_horizontal("open", "close"))
        if named.select(((low <= body[0]) & (body[1] <= high)).all()).item():
            fits.append(named)
    if len(fits) != 1:
        word = "either" if fits else "neither"
        raise DataError(
            f"{path}: has no header, and its prices fit {word} order (open, high, low, close or open, close, high, low): add a header"
        )
    notes.append(f"{path.name}: no header: taken as {', '.join(fits[0].columns)}, the one order that its prices allow")
    return fits[0]


def _times(path: Path, frame: pl.DataFrame, tz: str | None, naive_is_utc: bool) -> tuple[I64, str]:
    """Unix ns and the column they came from."""
    polars = _polars()
    name: str | None = next((c for c in _TIMES if c in frame.columns), None)
    if name is None and frame.columns[0] == "" and not frame.to_series(0).dtype.is_numeric():
        name = ""  # the index, as pandas writes it
    if name is None:
        raise DataError(f"{path}: a time column is missing: ts_ms, date, datetime or date_time (it has {', '.join(frame.columns)})")
    column: pl.Series = frame[name]
    if column.null_count():
        raise DataError(f"{path}: row {_first(column.is_null().to_numpy()) + 1}: {name} is missing")
    if column.dtype.is_numeric():
        return _epoch(path, name, column.cast(polars.Float64).to_numpy(), column), name
    if name == "date" and "time" in frame.columns and column.dtype == polars.String:
        column = column.str.strip_chars() + " " + frame["time"].cast(polars.String).str.strip_chars()
        if column.null_count():
            raise DataError(f"{path}: row {_first(column.is_null().to_numpy()) + 1}: time is missing")
    if column.dtype == polars.String:
        column = _parsed(path, name, column.str.strip_chars())
    elif column.dtype == polars.Date:
        column = column.cast(polars.Datetime("ns"))
    elif not isinstance(column.dtype, polars.Datetime):
        raise DataError(f"{path}: column {name!r} holds no times but {column.dtype}")
    if getattr(column.dtype, "time_zone", None) is None:
        column = _placed(
            path, name, column, tz or ("America/Chicago" if name == "ts_chicago" else None) or ("UTC" if naive_is_utc else None)
        )
    return column.dt.cast_time_unit("ns").dt.timestamp("ns").to_numpy().astype(np.int64), name


def _epoch(path: Path, name: str, values: F64, column: pl.Series) -> I64:
    """Numbers since 1970: the unit is in the name, or else in the size (s below 1e11, ms below 1e14, us below 1e17)."""
    if not np.isfinite(values).all():
        raise DataError(f"{path}: row {_first(~np.isfinite(values)) + 1}: {name} is not a finite number")
    largest = float(np.abs(values).max())
    unit = {"ts_ns": 1, "ts_ms": 1_000_000, "ts_unix_s": 1_000_000_000}.get(name)
    if unit is None:
        unit = next((u for limit, u in ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000)) if largest < limit), 1)
    if not largest * unit < 9.2e18:
        raise DataError(f"{path}: row {_first(np.abs(values) == largest) + 1}: {name} lies beyond the year 2262")
    if column.dtype.is_integer():
        return column.to_numpy().astype(np.int64) * unit
    return np.rint(values * unit).astype(np.int64)


def _parsed(path: Path, name: str, column: pl.Series) -> pl.Series:
    """Text as times, by the first format that reads the first cell."""
    for form in _FORMATS:
        if column[:1].str.to_datetime(form, strict=False, time_unit="ns").null_count() == 0:
            parsed = column.str.to_datetime(form, strict=False, time_unit="ns")
            if parsed.null_count():
                row = _first(parsed.is_null().to_numpy())
                raise DataError(f"{path}: row {row + 1}: {name} {column[row]!r} is not a time of the form of row 1 ({column[0]!r})")
            return parsed
    raise DataError(f"{path}: row 1: {name} {column[0]!r} is not a time such as 2026-02-17 09:30:00")


def _placed(path: Path, name: str, column: pl.Series, tz: str | None) -> pl.Series:
    """Local times in their zone; one that happens twice or never there is an error, not a guess."""
    if tz is None:
        raise ConfigError(f"{path}: {name} states no time zone: name it with --tz, such as --tz UTC or America/Chicago")
    try:
        zoneinfo.ZoneInfo(tz)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"--tz {tz!r}: no such time zone; use a name such as UTC, America/New_York or America/Chicago") from None
    placed: pl.Series = column.dt.replace_time_zone(tz, ambiguous="null", non_existent="null")
    if placed.null_count():
        row = _first(placed.is_null().to_numpy())
        raise DataError(f"{path}: row {row + 1}: {name} {column[row]} is twice or never in {tz} (clocks change): give the times in UTC")
    return placed


def _numbers(path: Path, frame: pl.DataFrame, name: str) -> F64:
    """A column as finite float64."""
    polars = _polars()
    column: pl.Series = frame[name]
    if column.dtype == polars.String:
        column = column.str.strip_chars()
    values: F64 = column.cast(polars.Float64, strict=False).fill_null(float("nan")).to_numpy().astype(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        row = _first(bad)
        cell = "is empty" if column[row] is None else f"is {column[row]!r}, not a finite number"
        raise DataError(f"{path}: row {row + 1}: {name} {cell}")
    return values


def _check(path: Path, times: I64, ohlcv: F64) -> None:
    """Prices above 0, low <= open, close <= high, no negative volume."""
    for k, name in enumerate(_PRICES):
        bad = ohlcv[:, k] <= 0.0
        if bad.any():
            row = _first(bad)
            raise DataError(f"{path}: row {row + 1} ({utc(times[row])}): {name} is {ohlcv[row, k]:g}: prices must be above 0")
    if (bad := ohlcv[:, 4] < 0.0).any():
        row = _first(bad)
        raise DataError(f"{path}: row {row + 1} ({utc(times[row])}): volume is {ohlcv[row, 4]:g}: it must not be negative")
    opens, highs, lows, closes = ohlcv[:, :4].T
    for name, values, bad in (
        ("high", highs, highs < np.maximum(np.maximum(opens, closes), lows)),
        ("low", lows, lows > np.minimum(opens, closes)),
    ):
        if bad.any():
            row = _first(bad)
            o, h, low, c = ohlcv[row, :4]
            raise DataError(
                f"{path}: row {row + 1} ({utc(times[row])}): {name} {values[row]:g} does not hold open {o:g}, high {h:g}, low {low:g}, "
                f"close {c:g}: are the columns in another order?"
            )


def _check_traded(path: Path, times: I64, ohlcv: F64, trades: F64 | None, notional: F64 | None) -> None:
    """No negative count, and a mean price of the trades, quote_volume / volume, between low and high."""
    if trades is not None and (bad := trades < 0.0).any():
        row = _first(bad)
        raise DataError(f"{path}: row {row + 1} ({utc(times[row])}): trades is {trades[row]:g}: it must not be negative")
    if notional is None:
        return
    low, high, volume = ohlcv[:, 2], ohlcv[:, 1], ohlcv[:, 4]
    bad = (notional < low * volume * (1.0 - _MEAN_OFF)) | (notional > high * volume * (1.0 + _MEAN_OFF))
    # A volume is cut to the decimals of its file, which of a tiny one is much.
    bad &= np.abs(notional - np.clip(notional, low * volume, high * volume)) > _CUT * high
    if bad.any():
        row = _first(bad)
        mean = f"a mean price of {notional[row] / volume[row]:.10g}, outside" if volume[row] > 0.0 else "without volume"
        raise DataError(
            f"{path}: row {row + 1} ({utc(times[row])}): quote_volume is {notional[row]:g}: {mean} of "
            f"low {low[row]:g} .. high {high[row]:g}; it is the sum of price times volume, in the units of both"
        )


def _rising(path: Path, times: I64, on_duplicate: OnDuplicate) -> npt.NDArray[np.bool_]:
    """Which rows lie after all before them."""
    keep = np.ones(len(times), dtype=np.bool_)
    keep[1:] = times[1:] > np.maximum.accumulate(times)[:-1]
    if on_duplicate == "error" and not keep.all():
        row = _first(~keep)
        word = "repeats the time of" if times[row] == times[row - 1] else "is earlier than"
        raise DataError(
            f"{path}: row {row + 1} ({utc(times[row])}) {word} row {row} ({utc(times[row - 1])}): times must rise; "
            "--on-duplicate drop leaves such rows out"
        )
    return keep


def _interval(where: str, times: I64, bars: BarSpec | None) -> int:
    """Of time bars, in ns: the most frequent distance of two rows, and no two rows closer."""
    if bars is not None and bars.kind != "time":
        raise ConfigError(f"{where}: holds time bars, not {bars.text}: leave --bars out")
    given = bars.interval_ns if bars is not None else 0
    if len(times) < 2:
        if not given:
            raise ConfigError(f"{where}: a single row does not tell its interval: name it with --bars time:1m")
        return given
    steps = np.diff(times)
    distances, counts = np.unique(steps, return_counts=True)
    interval = int(distances[counts.argmax()])
    if given and interval != given:
        spec = BarSpec(kind="time", size=Decimal(interval))
        raise ConfigError(f"{where}: holds {spec.text} bars, --bars says {bars.text if bars else ''}: leave --bars out")
    if (bad := steps < interval).any():
        row = _first(bad) + 1
        raise DataError(
            f"{where}: row {row + 1} ({utc(times[row])}): begins {steps[row - 1] / 1e9:g} s after row {row}, "
            f"whose bar lasts {interval / 1e9:g} s"
        )
    return interval


def _first(flags: Any) -> int:
    return int(np.flatnonzero(flags)[0])


def utc(ns: int | np.int64) -> str:
    """A time for people, to the second."""
    return str(np.datetime64(int(ns), "ns").astype("datetime64[s]")).replace("T", " ")


def grid_of(candles: Candles, tick: Decimal | None = None, lot: Decimal | None = None) -> Instrument:
    """What the bars are of, with the given tick and lot, or the coarsest tick that all prices lie on and a lot that fits.

    The lot is the coarsest power of ten that all volumes are multiples of, or 1e-8. DataError when prices lie on no grid of 8 decimals.
    """
    if tick is None:
        tick = _grid(candles.ohlcv[:, :4])
        if tick is None:
            raise DataError(f"{candles.name}: prices lie on no grid of up to {_DECIMALS_MAX} decimals: name it with --tick")
    if lot is None:
        fits = next((k for k in range(_DECIMALS_MAX) if _is_whole(candles.ohlcv[:, 4] * 10.0**k)), _DECIMALS_MAX)
        lot = Decimal(1).scaleb(-fits)
    money = Decimal(1)  # no bar is worth money here; an instrument wants tick x lot x multiplier to be countable in 1e-8
    while tick > 0 and lot > 0 and (unit := tick * lot * money * MONEY_SCALE) != unit.to_integral_value():
        money *= 10
    return Instrument(
        venue="file", symbol=candles.paths[0].name, kind="spot", family="file", quote_currency="quote", tick_size=tick, lot_size=lot,
        maker_fee=Decimal(0), taker_fee=Decimal(0), multiplier=money,
    )  # fmt: skip


def _is_whole(values: F64) -> bool:
    return bool((np.abs(values - np.rint(values)) <= 1e-6 + 4e-16 * np.abs(values)).all())


def _grid(prices: F64) -> Decimal | None:
    """The coarsest step that all prices are multiples of."""
    for k in range(_DECIMALS_MAX + 1):
        scaled = prices * 10.0**k
        if float(scaled.max()) < 2.0**53 and _is_whole(scaled):
            return Decimal(int(np.gcd.reduce(np.rint(scaled).astype(np.int64), axis=None))).scaleb(-k)
    return None


def bar_rows(candles: Candles, instrument: Instrument, start: int, stop: int) -> F64:
    """Rows start .. stop - 1 as float64[m, 11] for compute_bars, in whole ticks and lots as live bars are.

    DataError for a price between two ticks. A volume above 0 is at least one lot.
    """
    ohlcv = candles.ohlcv[start:stop]
    scaled = ohlcv[:, :4] / float(instrument.tick_size)
    ticks = np.rint(scaled)
    off = np.abs(scaled - ticks) > _OFF_GRID + 4e-16 * scaled
    if off.any():
        row, k = np.argwhere(off)[0]
        raise DataError(
            f"{candles.name}: row {start + row + 1} ({utc(candles.open_ns[start + row])}): {_PRICES[k]} {ohlcv[row, k]:.10g} "
            f"is no multiple of the tick {instrument.tick_size}: give the right --tick"
        )
    lots = np.maximum(np.rint(ohlcv[:, 4] / float(instrument.lot_size)), ohlcv[:, 4] > 0.0)
    rows = bars_from_ohlcv(ticks[:, 0], ticks[:, 1], ticks[:, 2], ticks[:, 3], lots)
    if candles.trades is not None:
        rows[:, 8] = candles.trades[start:stop]
    if candles.notional is not None:
        # At the mean price that the file states, of the lots that it was rounded to; within the bar, as a mean is.
        volume = ohlcv[:, 4]
        mean = np.divide(candles.notional[start:stop], volume, out=np.zeros_like(volume), where=volume > 0.0)
        rows[:, 7] = lots * np.clip(mean / float(instrument.tick_size), ticks[:, 2], ticks[:, 1])
    return rows
