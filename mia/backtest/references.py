"""Outside series from files, as rows of EventColumns that arrive when the world could know them. Offline only.

When a value was known, by kind of file: mia.references.publication.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from mia.backtest.readers import file_sha256
from mia.backtest.validation.seal import SealLog
from mia.backtest.validation.seal_match import Reading, names_in
from mia.domain.errors import DataError
from mia.features.columns import F64, I64, REFERENCE, EventColumns
from mia.features.heard import valid_ns
from mia.features.series import REFERENCE_NUMBER, REFERENCES
from mia.references.publication import (
    CHICAGO,
    DAILY_TTL_NS,
    FRED_SERIES,
    FUNDING_TTL_NS,
    LAG_NS,
    MILLISECONDS,
    NEW_YORK,
    YEARS,
    Row,
    bar_ttl_ns,
    cboe_rows,
    fred_rows,
    good_friday,
    is_federal_holiday,
    midnight_ns,
    next_business_day,
    updated_on,
    vix_known_ns,
)

__all__ = (
    "DAILY_TTL_NS", "coverage_gaps", "good_friday", "is_federal_holiday", "next_business_day", "read_reference", "vix_known_ns",
)  # fmt: skip


def read_reference(name: str, path: Path) -> EventColumns:
    """One series as REFERENCE rows, ordered by when each value was known (ts_recv_ns); ts_event_ns is what it describes.

    name: one of mia.features.series.REFERENCES. path: a FRED table (date, series_id, value, last_updated), a CSV as FRED's site
    gives it (observation_date, DGS10), daily VIX (DATE, CLOSE), bars (ts_ms, `date` UTC, ts_chicago, `datetime` New York, or Date
    and Time of Chicago, beside close or Last), or funding (ts_ms, rate). DataError names the file, the column and what is wrong.
    """
    if name not in REFERENCE_NUMBER:
        raise DataError(f"{path}: {name!r} is no reference series; known: {', '.join(REFERENCES)}")
    rows = _read(name, path, _table(path))
    reading = Reading(
        sha256=(file_sha256(path),), names=names_in([name, path.name]), begin_ns=rows.ts_event_ns, end_ns=rows.ts_event_ns + 1
    )
    SealLog().allowed(reading, str(path))
    return rows


def _read(name: str, path: Path, table: pl.DataFrame) -> EventColumns:
    if "series_id" in table.columns:
        return _fred(name, path, table)
    if FRED_SERIES.get(name) in table.columns:
        return _downloaded(name, path, table)
    if "rate" in table.columns:
        return _funding(name, path, table)
    if "DATE" in table.columns:
        return _daily(name, path, table)
    return _bars(name, path, table)


def heard_closes(name: str, close_ns: I64, closes: F64, volumes: F64, interval_ns: int) -> EventColumns:
    """Bars of an instrument that live hears beside the other one, as REFERENCE rows.

    Its last trade lay before the end of the bar, so the close is known just before it: a bar of the other instrument that ends then
    has seen it, as live has. Bars without a trade say nothing new (volume 0, where the file has volumes at all).
    """
    traded = volumes > 0.0 if (volumes > 0.0).any() else np.ones(len(close_ns), dtype=bool)
    known = close_ns[traded] - 1
    return _columns(name, known, known, known + valid_ns(interval_ns), closes[traded])


def coverage_gaps(name: str, columns: EventColumns, first_ns: int, last_ns: int) -> str:
    """A warning when a series does not cover first_ns .. last_ns, "" when it does: outside of it its features are absent."""
    if columns.events == 0:
        return f"{name}: no values: its features are absent"
    begins, ends = int(columns.ts_recv_ns[0]), int(columns.c.max())
    if ends < first_ns:
        return f"{name}: the last value was good until {_stamp(ends)}, before the bars begin on {_stamp(first_ns)}: its features are absent"
    gaps = []
    if begins > first_ns:
        gaps.append(f"begins on {_stamp(begins)}, the bars on {_stamp(first_ns)}")
    if ends < last_ns:
        gaps.append(f"ends on {_stamp(ends)}, the bars on {_stamp(last_ns)}")
    return f"{name}: {' and '.join(gaps)}: its features are absent there" if gaps else ""


def _table(path: Path) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        if path.suffix == ".feather":
            return pl.read_ipc(path)
        table = pl.read_csv(path, infer_schema_length=None)
        return table.rename({name: name.strip() for name in table.columns})
    except (OSError, pl.exceptions.PolarsError) as e:
        raise DataError(f"{path}: cannot be read as a table: {e}") from e


def _column(path: Path, table: pl.DataFrame, name: str) -> pl.Series:
    if name not in table.columns:
        raise DataError(f"{path}: no column {name!r}; it has {', '.join(table.columns)}")
    return table[name]


def _values(path: Path, table: pl.DataFrame, name: str) -> F64:
    """A column of numbers; text is read as numbers, a hole is NaN."""
    column = _column(path, table, name)
    try:
        if column.dtype == pl.String:  # FRED writes a hole as "."
            column = column.str.strip_chars().replace(["", "."], None)
        return column.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)
    except pl.exceptions.PolarsError as e:
        raise DataError(f"{path}: column {name!r} is not numbers: {e}") from e


def _rising(path: Path, name: str, times: I64) -> I64:
    """The times, which must rise strictly."""
    steps = np.diff(times)
    if len(steps) and steps.min() <= 0:
        row = int(np.argmax(steps <= 0)) + 1
        what = "twice the same time" if steps[row - 1] == 0 else "times out of order"
        raise DataError(f"{path}: column {name!r}, row {row}: {what} ({_stamp(int(times[row]))})")
    if not len(times):
        raise DataError(f"{path}: column {name!r} is empty")
    return times


def _columns(name: str, event: I64, known: I64, until: I64, values: F64) -> EventColumns:
    """REFERENCE rows; what is not a finite number is left out."""
    keep = np.isfinite(values)
    event, known, until, values = event[keep], known[keep], until[keep], values[keep]
    zeros = np.zeros(len(event), dtype=np.int64)
    kind, series = zeros + REFERENCE, zeros + REFERENCE_NUMBER[name]
    levels = np.zeros((0, 2), dtype=np.int64)
    return EventColumns._make([kind, known, event, series, known, until, zeros, zeros, zeros, values, zeros.astype(np.float64), levels])


def _stamp(t_ns: int) -> str:
    return datetime.fromtimestamp(t_ns / 1e9, UTC).isoformat(timespec="minutes")


def _rows(name: str, rows: Sequence[Row]) -> EventColumns:
    event, known, until = (np.array([row[k] for row in rows], dtype=np.int64) for k in range(3))
    return _columns(name, event, known, until, np.array([row.value for row in rows], dtype=np.float64))


def _midnight(days: Sequence[date]) -> I64:
    return np.array([midnight_ns(day) for day in days], dtype=np.int64)


def _dates(path: Path, table: pl.DataFrame, name: str) -> list[date]:
    column = _column(path, table, name)
    try:
        kind = "%m/%d/%Y" if column.dtype == pl.String and "/" in str(column.first()) else "%Y-%m-%d"  # Cboe's way, and all others'
        column = column.str.strip_chars().str.to_date(kind) if column.dtype == pl.String else column.cast(pl.Date)
    except pl.exceptions.PolarsError as e:
        raise DataError(f"{path}: column {name!r} is not dates: {e}") from e
    if column.null_count():
        raise DataError(f"{path}: column {name!r} has {column.null_count()} rows without a date")
    days: list[date] = column.to_list()
    if odd := next((day for day in days if day.year not in YEARS), None):
        raise DataError(f"{path}: column {name!r}: {odd} is no date of a series; years from {YEARS[0]} to {YEARS[-1]}")
    return days


def _fred(name: str, path: Path, table: pl.DataFrame) -> EventColumns:
    """A table of one FRED series, as the archive has it."""
    expected = FRED_SERIES.get(name)
    found = _column(path, table, "series_id").unique().to_list()
    if found != [expected]:
        raise DataError(f"{path}: column 'series_id' is {', '.join(map(str, found))}, {name} needs {expected or 'no FRED series'}")
    days, values = _dates(path, table, "date"), _values(path, table, "value")
    _rising(path, "date", _midnight(days))
    stamps = _column(path, table, "last_updated").unique().to_list()
    try:
        updated = updated_on(stamps)
    except (TypeError, ValueError, OverflowError) as e:
        raise DataError(f"{path}: column 'last_updated' is not an ISO 8601 time: {e}") from e
    return _rows(name, fred_rows(name, days, values.tolist(), updated))


def _downloaded(name: str, path: Path, table: pl.DataFrame) -> EventColumns:
    """A CSV as the site of FRED gives it: a column of dates, one named for the series."""
    days, values = _dates(path, table, table.columns[0]), _values(path, table, FRED_SERIES[name])
    _rising(path, table.columns[0], _midnight(days))
    return _rows(name, fred_rows(name, days, values.tolist(), None))


def _daily(name: str, path: Path, table: pl.DataFrame) -> EventColumns:
    """Daily closes of a Cboe index."""
    days = _dates(path, table, "DATE")
    _rising(path, "DATE", _midnight(days))
    return _rows(name, cboe_rows(days, _values(path, table, "CLOSE").tolist()))


def _funding(name: str, path: Path, table: pl.DataFrame) -> EventColumns:
    event = _rising(path, "ts_ms", _milliseconds(path, table))
    return _columns(name, event, event + LAG_NS, event + LAG_NS + FUNDING_TTL_NS, _values(path, table, "rate"))


def _milliseconds(path: Path, table: pl.DataFrame) -> I64:
    values = _values(path, table, "ts_ms")
    if not np.isfinite(values).all():
        raise DataError(f"{path}: column 'ts_ms' has rows without a time")
    if len(odd := values[(values < MILLISECONDS[0]) | (values > MILLISECONDS[-1])]):
        raise DataError(f"{path}: column 'ts_ms': {odd[0]:.0f} is not a time in milliseconds since 1970")
    return values.astype(np.int64) * 1_000_000


def _bars(name: str, path: Path, table: pl.DataFrame) -> EventColumns:
    """Closes of bars that are stamped with their beginning, known at their end."""
    column, event = _opened(path, table)
    _rising(path, column, event)
    price = next((c for c in ("close", "Close", "Last") if c in table.columns), "close")
    values = _values(path, table, price)
    if len(event) < 2:
        raise DataError(f"{path}: column {column!r}: one bar alone does not say how long it is")
    interval = int(np.diff(event).min())
    known = event + interval + LAG_NS
    return _columns(name, event, known, known + bar_ttl_ns(interval), values)


def _opened(path: Path, table: pl.DataFrame) -> tuple[str, I64]:
    """(column, Unix ns) of the beginnings of bars."""
    if "ts_ms" in table.columns:
        return "ts_ms", _milliseconds(path, table)
    for column, tz in (("ts_chicago", CHICAGO), ("datetime", NEW_YORK), ("date", None)):
        if column in table.columns:
            return column, _local(path, column, table[column], tz)
    if "Date" in table.columns and "Time" in table.columns:
        return "Date", _local(path, "Date", table["Date"].str.strip_chars() + " " + table["Time"].str.strip_chars(), CHICAGO)
    raise DataError(f"{path}: no column of times (ts_ms, ts_chicago, datetime, date, or Date and Time); it has {', '.join(table.columns)}")


def _local(path: Path, name: str, column: pl.Series, tz: ZoneInfo | None) -> I64:
    """Wall times of a zone (UTC when None) as Unix ns; of an hour that comes twice the first."""
    try:
        if column.dtype == pl.String:
            kind = next((f for f in ("%m/%d/%Y %H:%M", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M:%S%.f") if _fits(column, f)), None)
            column = column.str.to_datetime(kind, time_unit="ns")
        else:
            column = column.cast(pl.Datetime("ns")) if column.dtype.time_zone is None else column.dt.convert_time_zone("UTC")  # type: ignore[attr-defined]
        if tz is not None:
            column = column.dt.replace_time_zone(tz.key, ambiguous="earliest", non_existent="raise").dt.convert_time_zone("UTC")
        if column.null_count():
            raise DataError(f"{path}: column {name!r} has {column.null_count()} rows without a time")
        return column.dt.epoch("ns").to_numpy().astype(np.int64)
    except pl.exceptions.PolarsError as e:
        raise DataError(f"{path}: column {name!r} is not times: {e}") from e


def _fits(column: pl.Series, kind: str) -> bool:
    return column.head(1).str.to_datetime(kind, strict=False).null_count() == 0
