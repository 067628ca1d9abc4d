"""What data gives away by itself: columns normalised over the whole span or shifted from the future, values stamped before they were
published, calendar rows made with hindsight, candles stamped with their close. Each finding names file, column and row.

Rows are counted from 1, the header not included, as the candle readers do.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.readers import Candles, utc
from mia.domain.errors import DataError
from mia.references.publication import FRED_SERIES, fred_rows, updated_on
from mia.risk.windows import utc_ns

if TYPE_CHECKING:
    import polars as pl

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_TIMES: Final = ("ts_ns", "ts_ms", "ts_unix_s", "ts", "date", "datetime", "timestamp", "time", "observation_date", "start_time")
_KNOWN: Final = ("known_at_ns", "known_at", "published_at", "published", "release_date", "realtime_start")
_ROWS_MIN: Final = 50
_ZERO: Final = 1e-6  # how near a mean of 0, a deviation of 1, an end of 0 or 1 lies to be no accident
_MOVES_AS: Final = 0.9  # |correlation| with the return that follows, above which no honest column lies
_DAY_NS: Final = 86_400 * 10**9
_GAPS_MIN: Final = 3


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that knows the future. row: the first, from 1; 0: the column as a whole."""

    file: str
    column: str
    row: int
    what: str


# --- columns of a table ---------------------------------------------------------------------------------------------------


def normalised(name: str, columns: Sequence[str], matrix: F64) -> list[Finding]:
    """Columns whose mean is 0 and deviation 1, or whose ends are 0 and 1, over all rows at once: no row could know that at its time.

    matrix: float64[n, columns]; a row with NaN is left out of its column. A column that is constant, or of two values, says nothing.
    """
    found = []
    for j, column in enumerate(columns):
        there = np.flatnonzero(np.isfinite(matrix[:, j]))
        x = matrix[there, j]
        if len(x) < _ROWS_MIN or len(np.unique(x)) < 10:
            continue
        row, what = _standardised(there, x) or _stretched(there, x) or (0, "")
        if what:
            found.append(Finding(file=name, column=column, row=row, what=f"{what} of the whole span, future included"))
    return found


def _standardised(rows: I64, x: F64) -> tuple[int, str] | None:
    for ddof, word in ((0, "population"), (1, "sample")):
        if abs(float(x.mean())) < _ZERO and abs(float(x.std(ddof=ddof)) - 1.0) < _ZERO:
            return int(rows[0]) + 1, f"mean 0 and {word} deviation 1 over all {len(x)} rows: scaled with the mean and deviation"
    return None


def _stretched(rows: I64, x: F64) -> tuple[int, str] | None:
    low, high = int(x.argmin()), int(x.argmax())
    least, most = float(x[low]), float(x[high])
    is_unit = abs(most - 1.0) < _ZERO and min(abs(least), abs(least + 1.0)) < _ZERO
    if not is_unit or np.count_nonzero(x == least) > 1 or np.count_nonzero(x == most) > 1:
        return None
    at = f"rows {rows[low] + 1} and {rows[high] + 1}"
    return int(rows[max(low, high)]) + 1, f"reaches {least:g} and {most:g} once each ({at}): scaled with both ends"


def foreseeing(name: str, columns: Sequence[str], matrix: F64, close: F64) -> list[Finding]:
    """Columns that move as the return after their row does (log return to the next row's close): shifted, or made with hindsight.

    close: float64[n], known at the row's time.
    """
    ahead = np.diff(np.log(close))
    found = []
    for j, column in enumerate(columns):
        x = matrix[:-1, j]
        ok = np.isfinite(x) & np.isfinite(ahead)
        if np.count_nonzero(ok) < _ROWS_MIN or x[ok].std() == 0.0 or ahead[ok].std() == 0.0:
            continue
        r = float(np.corrcoef(x[ok], ahead[ok])[0, 1])
        if abs(r) > _MOVES_AS:
            what = f"correlation {r:+.3f} with the return that follows its row: it is the next row's, shifted by -1"
            found.append(Finding(file=name, column=column, row=int(np.flatnonzero(ok)[0]) + 1, what=what))
    return found


def known_before(name: str, columns: Sequence[str], times_ns: I64, known_ns: I64, column: str) -> list[Finding]:
    """The first row whose value was known before what it describes."""
    early = np.flatnonzero(known_ns < times_ns)
    if not len(early):
        return []
    row = int(early[0])
    what = f"known at {utc(known_ns[row])}, before the time that it describes, {utc(times_ns[row])} ({len(early)} rows of {len(times_ns)})"
    return [Finding(file=name, column=column, row=row + 1, what=what)]


def table_findings(path: Path) -> list[Finding]:
    """All checks on a table of columns with times (.csv, .parquet, .feather); DataError when it cannot be read or has no time column."""
    frame = _frame(path)
    time = next((c for c in _TIMES if c in frame.columns), None)
    if time is None:
        raise DataError(f"{path}: no time column: {', '.join(_TIMES)} (it has {', '.join(frame.columns)})")
    times = _ns(path, frame, time)
    known = next((c for c in _KNOWN if c in frame.columns), None)
    found = known_before(path.name, frame.columns, times, _ns(path, frame, known), known) if known is not None else []
    fred = _fred(path, frame)
    if fred is not None:
        return found + fred
    names = [c for c in frame.columns if c not in (time, known) and frame[c].dtype.is_numeric()]
    matrix = np.stack([frame[c].cast(float).fill_null(float("nan")).to_numpy() for c in names], axis=1) if names else np.zeros((0, 0))
    found += normalised(path.name, names, matrix)
    if "close" in names and len(matrix) > 1 and (matrix[:, names.index("close")] > 0).all():
        found += foreseeing(path.name, names, matrix, matrix[:, names.index("close")])
    return found


def _fred(path: Path, frame: pl.DataFrame) -> list[Finding] | None:
    """Rows of a FRED table that its last_updated or known column could not know yet; None: it is no such table."""
    if "series_id" not in frame.columns or "date" not in frame.columns:
        return None
    series = str(frame["series_id"][0])
    name = next((ours for ours, theirs in FRED_SERIES.items() if theirs == series), None)
    if name is None:
        return []
    days = [date.fromisoformat(str(text)[:10]) for text in frame["date"].to_list()]
    published = {row.event_ns: row.known_ns for row in fred_rows(name, days, [float(i) for i in range(len(days))], None)}
    found: list[Finding] = []
    known = next((c for c in _KNOWN if c in frame.columns), None)
    stamps = _ns(path, frame, known) if known is not None else None
    updated = updated_on(sorted({str(s) for s in frame["last_updated"].to_list()})) if "last_updated" in frame.columns else None
    for row, day in enumerate(days):
        at = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9
        due = published.get(at)
        if due is None:
            continue
        if stamps is not None and known is not None and int(stamps[row]) < due:
            what = f"the value of {day} is stamped as known at {utc(stamps[row])}; {series} publishes it at {utc(due)}"
            found.append(Finding(file=path.name, column=known, row=row + 1, what=what))
            break
        if updated is not None and datetime.fromtimestamp(due / 1e9, UTC).date() > updated:
            what = f"the value of {day} stands in a file of {updated}; {series} publishes it at {utc(due)}: it was filled in, not published"
            found.append(Finding(file=path.name, column="date", row=row + 1, what=what))
            break
    return found


# --- calendar -------------------------------------------------------------------------------------------------------------


def calendar_findings(path: Path) -> list[Finding]:
    """Rows of macro_events.csv that could not be known as they stand; DataError when the file cannot be read.

    A row that ends before what it announces; one whose impact differs from the others of its type (an impact set once the market had
    moved); with a column known_at: one that was known only after it began, so that a run would heed it too early.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: cannot be read: {e}") from None
    found: list[Finding] = []
    impacts: dict[str, dict[str, list[int]]] = {}
    for number, row in enumerate(rows, 1):
        start = utc_ns(f"{path}: row {number}: start_time", row.get("start_time") or "")
        until = utc_ns(f"{path}: row {number}: valid_until", row.get("valid_until") or "")
        if until < start:
            what = f"ends at {row['valid_until']}, before the event that it announces, {row['start_time']}"
            found.append(Finding(file=path.name, column="valid_until", row=number, what=what))
        known = next((c for c in _KNOWN if row.get(c)), None)
        if known is not None and utc_ns(f"{path}: row {number}: {known}", row[known]) > start:
            what = f"was known at {row[known]}, after it began at {row['start_time']}: nobody could act on it before"
            found.append(Finding(file=path.name, column=known, row=number, what=what))
        impacts.setdefault(str(row.get("type")), {}).setdefault(str(row.get("impact")), []).append(number)
    for kind, values in impacts.items():
        if len(values) > 1:
            usual = max(values, key=lambda value: len(values[value]))
            odd = min(number for value, numbers in values.items() if value != usual for number in numbers)
            impact = rows[odd - 1]["impact"]
            what = (
                f"{kind} has impact {impact} here and {usual} in {len(values[usual])} rows: an impact by what the market did is hindsight"
            )
            found.append(Finding(file=path.name, column="impact", row=odd, what=what))
    return sorted(found, key=lambda f: (f.row, f.column))


# --- candles --------------------------------------------------------------------------------------------------------------


def candle_findings(candles: Candles) -> list[Finding]:
    """Whether time bars are stamped with their close instead of their open, by the file's own sessions and days.

    A session that opens at a full half hour has its first bar stamped there, and its last bar one interval before the end. Stamped with
    closes it is the other way round: the first one interval after a full half hour, the last one at it. Where the market never
    closes, the file's own ends tell: from one interval after midnight to midnight.
    """
    interval = candles.interval_ns
    round_ns = 1800 * 10**9
    if not interval or interval >= round_ns or round_ns % interval:
        return []
    stamps = candles.open_ns
    gaps = np.flatnonzero(np.diff(stamps) > 4 * interval)
    firsts, lasts = np.concatenate([[0], gaps + 1]), np.concatenate([gaps, [len(stamps) - 1]])
    if len(gaps) >= _GAPS_MIN:
        begins, ends = stamps[firsts[1:]] % round_ns, stamps[lasts[:-1]] % round_ns
        is_closed = float(np.mean(begins == interval)) > 0.8 and float(np.mean(ends == 0)) > 0.5
        row = int(firsts[1])
        where = f"sessions begin {interval / 1e9:g} s after a full half hour and end at one, as in row {row + 1} ({utc(stamps[row])})"
    else:
        is_closed = int(stamps[0]) % _DAY_NS == interval and int(stamps[-1]) % _DAY_NS == 0 and len(stamps) > 1
        row = 0
        where = f"the file goes from {utc(stamps[0])} to {utc(stamps[-1])}: whole days, when the times are those of closes"
    if not is_closed:
        return []
    what = f"{where}: the times look like closes and are read as opens: each bar would be known {interval / 1e9:g} s too late"
    return [Finding(file=candles.name, column="time", row=row + 1, what=what)]


# --- reading --------------------------------------------------------------------------------------------------------------


def _frame(path: Path) -> Any:
    try:
        import polars
    except ImportError:
        raise DataError(f"{path}: tables need polars: pip install 'mia[train]'") from None
    try:
        if path.suffix == ".parquet":
            return polars.read_parquet(path)
        return polars.read_ipc(path) if path.suffix == ".feather" else polars.read_csv(path, infer_schema_length=None)
    except (OSError, polars.exceptions.PolarsError) as e:
        raise DataError(f"{path}: cannot be read as a table: {(str(e) or type(e).__name__).splitlines()[0]}") from None


def _ns(path: Path, frame: Any, column: str) -> I64:
    """A column of times as Unix ns: numbers by their name or size, dates, ISO 8601 texts (UTC when they state nothing else)."""
    values = frame[column]
    if values.null_count():
        raise DataError(f"{path}: row {int(np.flatnonzero(values.is_null().to_numpy())[0]) + 1}: {column} is missing")
    if values.dtype.is_numeric():
        x: F64 = values.to_numpy().astype(np.float64)
        largest = float(np.abs(x).max())
        unit = next((u for limit, u in ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3)) if largest < limit), 1)
        whole: I64 = values.to_numpy().astype(np.int64) * unit if values.dtype.is_integer() else np.rint(x * unit).astype(np.int64)
        return whole
    out = np.zeros(len(values), np.int64)
    for i, value in enumerate(values.to_list()):
        out[i] = _moment(path, column, i, value)
    return out


def _moment(path: Path, column: str, row: int, value: object) -> int:
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise DataError(f"{path}: row {row + 1}: {column} {value!r} is not a time such as 2026-02-17T09:30:00Z") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return math.floor(at.timestamp()) * 10**9
