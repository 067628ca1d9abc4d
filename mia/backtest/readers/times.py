"""Columns of times as Unix ns: numbers, text and zones. What may be read in two ways is an error."""

from __future__ import annotations

import zoneinfo
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mia.backtest.readers.frames import F64, I64, TIMES, first, polars_module
from mia.domain.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

_FORMATS: Final = (
    "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
)  # fmt: skip


def times_of(path: Path, frame: pl.DataFrame, tz: str | None, naive_is_utc: bool, rows: I64) -> tuple[I64, str]:
    """Unix ns and the column they came from."""
    polars = polars_module()
    name = next((c for c in TIMES if c in frame.columns), None)
    if name is None:
        raise DataError(f"{path}: a time column is missing: ts_ms, date, datetime or date_time (it has {', '.join(frame.columns)})")
    column: pl.Series = frame[name]
    if column.null_count():
        raise DataError(f"{path}: row {rows[first(column.is_null().to_numpy())]}: {name} is missing")
    if column.dtype.is_numeric():
        return _epoch(path, name, column, rows), name
    if name == "date" and "time" in frame.columns and column.dtype == polars.String:
        column = column.str.strip_chars() + " " + frame["time"].cast(polars.String).str.strip_chars()
        if column.null_count():
            raise DataError(f"{path}: row {rows[first(column.is_null().to_numpy())]}: time is missing")
    if column.dtype == polars.String:
        column = parsed_times(path, name, column.str.strip_chars(), rows)
    elif column.dtype == polars.Date:
        column = column.cast(polars.Datetime("ns"))
    elif not isinstance(column.dtype, polars.Datetime):
        raise DataError(f"{path}: column {name!r} holds no times but {column.dtype}")
    if getattr(column.dtype, "time_zone", None) is None:
        zone = tz or ("America/Chicago" if name == "ts_chicago" else None) or ("UTC" if naive_is_utc else None)
        column = placed_times(path, name, column, zone, rows)
    return column.dt.cast_time_unit("ns").dt.timestamp("ns").to_numpy().astype(np.int64), name


def _epoch(path: Path, name: str, column: pl.Series, rows: I64) -> I64:
    """Numbers since 1970: the unit is in the name, or else in the size (s below 1e11, ms below 1e14, us below 1e17)."""
    values: F64 = column.cast(polars_module().Float64).to_numpy()
    if not np.isfinite(values).all():
        raise DataError(f"{path}: row {rows[first(~np.isfinite(values))]}: {name} is not a finite number")
    largest = float(np.abs(values).max())
    unit = {"ts_ns": 1, "ts_ms": 1_000_000, "ts_unix_s": 1_000_000_000}.get(name)
    if unit is None:
        unit = next((u for limit, u in ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000)) if largest < limit), 1)
    if not largest * unit < 9.2e18:
        raise DataError(f"{path}: row {rows[first(np.abs(values) == largest)]}: {name} lies beyond the year 2262")
    if column.dtype.is_integer():
        return column.to_numpy().astype(np.int64) * unit
    return np.rint(values * unit).astype(np.int64)


def parsed_times(path: Path, name: str, column: pl.Series, rows: I64) -> pl.Series:
    """Text as times, by the first format that reads the first cell."""
    for form in _FORMATS:
        if column[:1].str.to_datetime(form, strict=False, time_unit="ns").null_count() == 0:
            parsed = column.str.to_datetime(form, strict=False, time_unit="ns")
            if parsed.null_count():
                row = first(parsed.is_null().to_numpy())
                raise DataError(
                    f"{path}: row {rows[row]}: {name} {column[row]!r} is not a time of the form of row {rows[0]} ({column[0]!r})"
                )
            return parsed
    raise DataError(f"{path}: row {rows[0]}: {name} {column[0]!r} is not a time such as 2026-02-17 09:30:00")


def placed_times(path: Path, name: str, column: pl.Series, tz: str | None, rows: I64) -> pl.Series:
    """Local times in their zone; one that happens twice or never there is an error, not a guess."""
    if tz is None:
        raise ConfigError(f"{path}: {name} states no time zone: name it with --tz, such as --tz UTC or America/Chicago")
    try:
        zoneinfo.ZoneInfo(tz)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"--tz {tz!r}: no such time zone; use a name such as UTC, America/New_York or America/Chicago") from None
    placed: pl.Series = column.dt.replace_time_zone(tz, ambiguous="null", non_existent="null")
    if placed.null_count():
        row = first(placed.is_null().to_numpy())
        raise DataError(f"{path}: row {rows[row]}: {name} {column[row]} is twice or never in {tz} (clocks change): give the times in UTC")
    return placed


def with_day_times(path: Path, frame: pl.DataFrame) -> pl.DataFrame:
    """`date` and `ms_of_day` as one column of times."""
    polars = polars_module()
    if not {"date", "ms_of_day"} <= set(frame.columns):
        return frame
    days = frame["date"].cast(polars.String).str.strptime(polars.Datetime("ms"), "%Y%m%d", strict=False)
    ms = frame["ms_of_day"].cast(polars.Int64, strict=False)
    bad = (days.is_null() | ms.is_null() | (ms < 0) | (ms >= 86_400_000)).fill_null(True).to_numpy()
    if bad.any():
        row = first(bad)
        raise DataError(f"{path}: row {row + 1}: date {frame['date'][row]!r} with ms_of_day {frame['ms_of_day'][row]!r} is no time")
    times = (days.dt.timestamp("ms") + ms).cast(polars.Datetime("ms")).alias("date")
    return frame.drop("date", "ms_of_day").with_columns(times)


def utc(ns: int | np.int64) -> str:
    """A time for people, to the second."""
    return str(np.datetime64(int(ns), "ns").astype("datetime64[s]")).replace("T", " ")
