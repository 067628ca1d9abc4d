"""A CSV file of one slow series: its last rows, checked, with the time from which each was known. Standard library only.

The daemon reads it in its slow lane, so what is read is bounded: the header and the last TAIL_BYTES.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from mia.domain.errors import DataError
from mia.references.publication import (
    FRED_SERIES,
    FUNDING_TTL_NS,
    LAG_NS,
    MILLISECONDS,
    YEARS,
    Row,
    bar_ttl_ns,
    cboe_rows,
    fred_rows,
    updated_on,
)

TAIL_BYTES: Final = 1 << 16  # over a thousand daily rows
ROWS_MAX: Final = 400  # the longest window of the catalogue is 252 values
_HOLES: Final = ("", ".", "NA", "nan", "NaN")
Table = dict[str, list[str]]


def read_rows(name: str, path: Path, *, is_settled: bool = True, is_whole: bool = False) -> list[Row]:
    """The last ROWS_MAX observations of a series in a file (is_whole: all), ordered by when they were known.

    DataError says what is wrong and where.

    Columns by kind: FRED (observation_date or DATE, and the name of the series, or date, series_id, value, last_updated), daily VIX
    (DATE, CLOSE), funding (ts_ms, rate), bars (ts_ms of the beginning, close). is_settled: nobody is writing, so a last line
    without its end counts; else it is left for the next look.
    """
    table = _tail(path, is_settled=is_settled, is_whole=is_whole)
    fred = FRED_SERIES.get(name)
    if "series_id" in table:
        rows = _fred_table(name, path, table)
    elif fred is not None and fred in table:
        dates = next((c for c in ("observation_date", "DATE", "date") if c in table), "observation_date")
        days = _days(path, table, dates)
        rows = fred_rows(name, days, _numbers(path, table, fred), None)
    elif fred is not None:
        raise DataError(f"{path}: no column {fred!r} or 'series_id', which {name} needs; it has {', '.join(table)}")
    elif "rate" in table:
        times = _times(path, table)
        rows = [Row(t, t + LAG_NS, t + LAG_NS + FUNDING_TTL_NS, x) for t, x in zip(times, _numbers(path, table, "rate"), strict=True)]
    elif "DATE" in table:
        rows = cboe_rows(_days(path, table, "DATE"), _numbers(path, table, "CLOSE"))
    else:
        rows = _bars(path, table)
    found = [row for row in rows if math.isfinite(row.value)]
    return found if is_whole else found[-ROWS_MAX:]


def _tail(path: Path, *, is_settled: bool, is_whole: bool) -> Table:
    """Column -> texts of the last rows; every row has as many fields as the header."""
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is no plain file")  # opening a pipe waits for whoever writes it
        with path.open("rb") as file:
            head = file.readline(4096)
            start = len(head) if is_whole else max(file.seek(0, 2) - TAIL_BYTES, len(head))
            file.seek(start)
            data = file.read() if is_whole else file.read(TAIL_BYTES)
    except OSError as e:
        raise DataError(f"{path}: cannot be read: {e.strerror}") from None
    if start > len(head):
        data = data.partition(b"\n")[2]
    whole, end, rest = data.rpartition(b"\n")
    if is_settled:
        whole += end + rest
    try:
        names = [name.strip() for name in next(csv.reader([head.decode("utf-8-sig")]), [])]
        lines = [line for line in whole.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text in UTF-8") from None
    if len(names) < 2 or len(set(names)) != len(names):
        raise DataError(f"{path}: line 1 must name two columns or more, each once; it is {head.decode(errors='replace').strip()!r}")
    table: Table = {name: [] for name in names}
    for line, fields in _records(path, lines):
        if len(fields) != len(names):
            raise DataError(f"{path}: the row {line!r} has {len(fields)} fields, the header {len(names)}")
        for name, text in zip(names, fields, strict=True):
            table[name].append(text.strip())
    if not table[names[0]]:
        raise DataError(f"{path}: holds no rows")
    return table


def _records(path: Path, lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    try:
        for line in lines:
            yield line, next(csv.reader([line], strict=True))
    except csv.Error as e:
        raise DataError(f"{path}: not CSV: {e}") from None


def _column(path: Path, table: Table, name: str) -> list[str]:
    if name not in table:
        raise DataError(f"{path}: no column {name!r}; it has {', '.join(table)}")
    return table[name]


def _numbers(path: Path, table: Table, name: str) -> list[float]:
    """NaN stands for a hole."""
    found = []
    for text in _column(path, table, name):
        try:
            value = math.nan if text in _HOLES else float(text)
        except ValueError:
            raise DataError(f"{path}: column {name!r}: {text!r} is not a number") from None
        found.append(value)
    return found


def _days(path: Path, table: Table, name: str) -> list[date]:
    days = [_day(path, name, text) for text in _column(path, table, name)]
    _rising(path, name, days, table[name])
    return days


def _day(path: Path, name: str, text: str) -> date:
    for read in _DATES:
        try:
            day = read(text)
        except ValueError:
            continue
        if day.year in YEARS:
            return day
    raise DataError(f"{path}: column {name!r}: {text!r} is not a date; write 2026-01-31")


# As FRED and our own archive write it, and as Cboe does.
_DATES: Final[tuple[Callable[[str], date], ...]] = (
    lambda text: date.fromisoformat(text[:10]),
    lambda text: datetime.strptime(text, "%m/%d/%Y").date(),  # a day has no zone
)


def _times(path: Path, table: Table) -> list[int]:
    """ts_ms as Unix ns."""
    texts = _column(path, table, "ts_ms")
    bad = next((t for t in texts if not (t.isascii() and t.isdigit() and len(t) <= 13 and int(t) in MILLISECONDS)), None)
    if bad is not None:
        raise DataError(f"{path}: column 'ts_ms': {bad[:32]!r} is not a time in milliseconds since 1970")
    times = [int(text) * 1_000_000 for text in texts]
    _rising(path, "ts_ms", times, texts)
    return times


def _rising(path: Path, name: str, times: Sequence[date] | Sequence[int], texts: Sequence[str]) -> None:
    for i, (before, after) in enumerate(pairwise(times)):
        if not before < after:  # type: ignore[operator]
            raise DataError(f"{path}: column {name!r}: {texts[i + 1]} stands behind {texts[i]}; times must rise")


def _fred_table(name: str, path: Path, table: Table) -> list[Row]:
    expected = FRED_SERIES.get(name)
    if (found := sorted(set(table["series_id"]))) != [expected]:
        raise DataError(f"{path}: column 'series_id' is {', '.join(found)}, {name} needs {expected or 'no FRED series'}")
    try:
        updated = updated_on(sorted(set(_column(path, table, "last_updated"))))
    except (TypeError, ValueError, OverflowError) as e:
        raise DataError(f"{path}: column 'last_updated' is not an ISO 8601 time: {e}") from None
    return fred_rows(name, _days(path, table, "date"), _numbers(path, table, "value"), updated)


def _bars(path: Path, table: Table) -> list[Row]:
    """Closes of bars that are stamped with their beginning, known at their end."""
    times = _times(path, table)
    close = next((c for c in ("close", "Close", "Last") if c in table), "close")
    values = _numbers(path, table, close)
    if len(times) < 2:
        raise DataError(f"{path}: column 'ts_ms': one bar alone does not say how long it is")
    interval = min(after - before for before, after in pairwise(times))
    known = [t + interval + LAG_NS for t in times]
    return [Row(t, k, k + bar_ttl_ns(interval), x) for t, k, x in zip(times, known, values, strict=True)]
