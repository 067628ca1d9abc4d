"""Outside series from files, as rows of EventColumns that arrive when the world could know them. Offline only.

When a value was known, by kind of file (hours local, daylight saving included):
- FRED dailies (yields, credit spread, VIX3M): 16:30 New York on the next business day (the H.15 is posted at 16:15 and was at FRED
  by 16:20). Dollar index: 16:30 New York on the Monday after the week, or the next business day (H.10). Fed funds: 16:30 New
  York on the first business day after the month. Business days are weekdays but federal holidays.
- VIX dailies: 15:20 Chicago of the same day (the index closes at 15:15); of 10 minutes, candles and minutes of stocks and
  futures: the end of the bar plus 1 s. Funding: its own time stamp plus 1 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from mia.backtest.readers import file_sha256
from mia.backtest.validation.seal import Reading, SealLog, names_in
from mia.domain.errors import DataError
from mia.features.columns import F64, I64, REFERENCE, EventColumns
from mia.features.series import REFERENCE_NUMBER, REFERENCES
from mia.risk.windows import zone

FRED_SERIES: Final = {
    "vix3m": "VXVCLS", "us2y": "DGS2", "us10y": "DGS10", "dollar_index": "DTWEXBGS", "high_yield_spread": "BAMLH0A0HYM2",
    "fed_funds": "FEDFUNDS",
}  # fmt: skip
NEW_YORK: Final[ZoneInfo] = zone("references", "America/New_York")
CHICAGO: Final[ZoneInfo] = zone("references", "America/Chicago")
FRED_HOUR: Final = time(16, 30)
VIX_HOUR: Final = time(15, 20)
LAG_NS: Final = 1_000_000_000  # of what is published as it happens
# A value's time to live: the longest usual wait for the next one, over a long weekend, and some more.
DAILY_TTL_NS: Final = 5 * 86_400 * 10**9
WEEKLY_TTL_NS: Final = 10 * 86_400 * 10**9
MONTHLY_TTL_NS: Final = 45 * 86_400 * 10**9
FUNDING_TTL_NS: Final = 12 * 3600 * 10**9
INTRADAY_TTL_NS: Final = 900 * 10**9  # or 3 bars, when that is longer
# Days on which NYSE was closed beside weekends, federal holidays and Good Friday.
_MOURNING: Final = (date(2004, 6, 11), date(2007, 1, 2), date(2012, 10, 29), date(2012, 10, 30), date(2018, 12, 5), date(2025, 1, 9))
_DAY: Final = timedelta(days=1)


def read_reference(name: str, path: Path) -> EventColumns:
    """One series as REFERENCE rows, ordered by when each value was known (ts_recv_ns); ts_event_ns is what it describes.

    name: one of mia.features.series.REFERENCES. path: a FRED parquet (date, series_id, value, last_updated), daily VIX (DATE,
    CLOSE), bars (ts_ms, `date` UTC, ts_chicago, `datetime` New York, or Date and Time of Chicago, beside close or Last), or
    funding (ts_ms, rate). DataError names the file, the column and what is wrong with it.
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
    if "rate" in table.columns:
        return _funding(name, path, table)
    if "DATE" in table.columns:
        return _daily(name, path, table)
    return _bars(name, path, table)


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


def vix_known_ns(day: date) -> int:
    """When the VIX close of a day is known."""
    return _at(day, VIX_HOUR, CHICAGO)


def is_federal_holiday(day: date) -> bool:
    """Is it a holiday of the US government, observed on the Friday before a Saturday and on the Monday after a Sunday?"""
    for year in (day.year, day.year + 1):
        fixed = [date(year, 1, 1), date(year, 7, 4), date(year, 11, 11), date(year, 12, 25)]
        if year >= 2021:
            fixed.append(date(year, 6, 19))
        if any(d + _DAY * {5: -1, 6: 1}.get(d.weekday(), 0) == day for d in fixed):
            return True
    mondays = ((1, 3), (2, 3), (9, 1), (10, 2))  # King, Washington, Labor, Columbus: month and which Monday
    if day.weekday() == 0:
        return (day.month, (day.day + 6) // 7) in mondays or (day.month == 5 and day.day > 24)
    return day.month == 11 and day.weekday() == 3 and 22 <= day.day <= 28


def next_business_day(day: date) -> date:
    """The first weekday after day that is no federal holiday."""
    day += _DAY
    while day.weekday() >= 5 or is_federal_holiday(day):
        day += _DAY
    return day


def good_friday(year: int) -> date:
    """Two days before Easter of the Gregorian calendar. Source: Meeus (1991), the anonymous algorithm."""
    a, (b, c) = year % 19, divmod(year, 100)
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    rest = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    month, day = divmod(h + rest - 7 * ((a + 11 * h + 22 * rest) // 451) + 114, 31)
    return date(year, month, day + 1) - 2 * _DAY


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
        if column.dtype == pl.String:
            column = column.str.strip_chars()
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


def _at(day: date, hour: time, tz: ZoneInfo) -> int:
    return int(datetime.combine(day, hour, tz).timestamp()) * 1_000_000_000


def _midnight(days: Sequence[date]) -> I64:
    return np.array([_at(day, time(0), ZoneInfo("UTC")) for day in days], dtype=np.int64)


def _dates(path: Path, table: pl.DataFrame, name: str) -> list[date]:
    column = _column(path, table, name)
    try:
        column = column.str.strip_chars().str.to_date("%Y-%m-%d") if column.dtype == pl.String else column.cast(pl.Date)
    except pl.exceptions.PolarsError as e:
        raise DataError(f"{path}: column {name!r} is not dates: {e}") from e
    if column.null_count():
        raise DataError(f"{path}: column {name!r} has {column.null_count()} rows without a date")
    days: list[date] = column.to_list()
    return days


def _monday_after(day: date) -> date:
    """When the dollar index of the day's week is published: the first business day from the next Monday on."""
    return next_business_day(day + _DAY * (6 - day.weekday()))


def _month_after(day: date) -> date:
    """The first business day of the month after the day's."""
    return next_business_day((day.replace(day=1) + timedelta(days=31)).replace(day=1) - _DAY)


def _fred(name: str, path: Path, table: pl.DataFrame) -> EventColumns:
    """Rows of a file that was filled forward on business days, without the filling.

    Not observations: rows that were published after last_updated (by its date in New York), a value repeated on a federal
    holiday, Good Friday or a day of mourning, and in a monthly series all rows but those of a first of the month (a month
    whose first is on a weekend is not in such a file: its rows carry the month before).
    """
    expected = FRED_SERIES.get(name)
    found = _column(path, table, "series_id").unique().to_list()
    if found != [expected]:
        raise DataError(f"{path}: column 'series_id' is {', '.join(map(str, found))}, {name} needs {expected or 'no FRED series'}")
    days, values = _dates(path, table, "date"), _values(path, table, "value")
    _rising(path, "date", _midnight(days))
    updated = _updated(path, table)
    published: Callable[[date], date] = next_business_day
    ttl = DAILY_TTL_NS
    if name == "dollar_index":
        published, ttl = _monday_after, WEEKLY_TTL_NS
    elif name == "fed_funds":
        published, ttl = _month_after, MONTHLY_TTL_NS
    rows = []
    for i, day in enumerate(days):
        is_filled = i > 0 and values[i] == values[i - 1] and _is_day_off(day)
        if name == "fed_funds":
            is_filled = day.day != 1
        known = published(day)
        if not is_filled and known <= updated:
            rows.append((day, _at(known, FRED_HOUR, NEW_YORK), values[i]))
    known_ns = np.array([row[1] for row in rows], dtype=np.int64)
    return _columns(
        name, _midnight([row[0] for row in rows]), known_ns, known_ns + ttl, np.array([row[2] for row in rows], dtype=np.float64)
    )


def _updated(path: Path, table: pl.DataFrame) -> date:
    """The date in New York of last_updated."""
    stamps = _column(path, table, "last_updated").unique().to_list()
    try:
        return max(datetime.fromisoformat(stamp) for stamp in stamps).astimezone(NEW_YORK).date()
    except (TypeError, ValueError) as e:
        raise DataError(f"{path}: column 'last_updated' is not an ISO 8601 time: {e}") from e


def _is_day_off(day: date) -> bool:
    return day.weekday() >= 5 or is_federal_holiday(day) or day == good_friday(day.year) or day in _MOURNING


def _daily(name: str, path: Path, table: pl.DataFrame) -> EventColumns:
    """Daily closes of a Cboe index."""
    days = _dates(path, table, "DATE")
    event = _rising(path, "DATE", _midnight(days))
    known = np.array([vix_known_ns(day) for day in days], dtype=np.int64)
    return _columns(name, event, known, known + DAILY_TTL_NS, _values(path, table, "CLOSE"))


def _funding(name: str, path: Path, table: pl.DataFrame) -> EventColumns:
    event = _rising(path, "ts_ms", _milliseconds(path, table))
    return _columns(name, event, event + LAG_NS, event + LAG_NS + FUNDING_TTL_NS, _values(path, table, "rate"))


def _milliseconds(path: Path, table: pl.DataFrame) -> I64:
    values = _values(path, table, "ts_ms")
    if not np.isfinite(values).all():
        raise DataError(f"{path}: column 'ts_ms' has rows without a time")
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
    return _columns(name, event, known, known + max(INTRADAY_TTL_NS, 3 * interval), values)


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
