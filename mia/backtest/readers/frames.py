"""Candle files as tables: by their names and headers, columns as numbers. Rows are counted from 1, the header not included."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mia.domain.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
SUFFIXES: Final = (".feather", ".parquet", ".csv", ".csv.gz")
PRICES: Final = ("open", "high", "low", "close")
# Columns of times, the first that a file has counts; `date_time` is how files of tick and dollar bars state the end of a bar.
TIMES: Final = ("ts_ns", "ts_ms", "ts_unix_s", "ts_chicago", "date", "datetime", "date_time", "timestamp", "open_time", "time")
_OTHER_NAMES: Final = {
    "last": "close", "cum_vol": "volume",
    "cum_dollar": "quote_volume", "quote_asset_volume": "quote_volume", "quotevolume": "quote_volume",
    "cum_ticks": "trades", "count": "trades", "number_of_trades": "trades", "num_trades": "trades", "trade_count": "trades",
}  # fmt: skip
_HEADERLESS: Final = (("ts_ms", "open", "high", "low", "close", "volume"), ("ts_ms", "open", "close", "high", "low", "volume"))
_SYMBOLS_MAX: Final = 100


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


def polars_module() -> Any:
    """polars; ConfigError when it is not installed."""
    try:
        import polars
    except ImportError:
        raise ConfigError("candle files need polars: pip install 'mia[train]'") from None
    return polars


def read_frame(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """The file with names in lower case, other spellings of a name replaced."""
    polars = polars_module()
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
    if "" in names and not set(TIMES) & set(names) and frame.dtypes[names.index("")] == polars.String:
        names[names.index("")] = "date"  # an index that pandas wrote
        notes.append(f"{path.name}: the column without a name is taken for the times")
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
    polars = polars_module()
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


def numbers(path: Path, frame: pl.DataFrame, name: str, rows: I64) -> F64:
    """A column as finite float64."""
    polars = polars_module()
    column: pl.Series = frame[name]
    if column.dtype == polars.String:
        column = column.str.strip_chars()
    values: F64 = column.cast(polars.Float64, strict=False).fill_null(float("nan")).to_numpy()
    good = np.isfinite(values)
    if not good.all():
        row = first(~good)
        cell = "is empty" if column[row] is None else f"is {column[row]!r}, not a finite number"
        raise DataError(f"{path}: row {rows[row]}: {name} {cell}")
    return values


def symbols_of(frame: pl.DataFrame) -> list[str]:
    """What a column of instruments holds, when it is one that a person could read."""
    found = [frame[name].unique().to_list() for name in ("symbol", "ticker", "instrument", "front") if name in frame.columns]
    return [str(value) for values in found if len(values) <= _SYMBOLS_MAX for value in values if value is not None]


def first(flags: Any) -> int:
    """The index of the first that is true; one is."""
    return int(np.flatnonzero(flags)[0])
