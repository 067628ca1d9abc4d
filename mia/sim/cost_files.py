"""Files that a cost model reads: two or three columns of CSV with a header; errors name the file and the row."""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mia.domain.errors import DataError

_ROWS_MAX: Final = 20_000_000


class Series:
    """Values in force from a time on: rates, half spreads."""

    def __init__(self, times_ns: Sequence[int], values: Sequence[float]) -> None:
        """Times rise strictly (checked by `read_columns`)."""
        self.times_ns = times_ns
        self._values = values

    def at(self, ts_ns: int) -> float | None:
        """The last value known at ts_ns; None before the first."""
        i = bisect_right(self.times_ns, ts_ns)
        return self._values[i - 1] if i else None

    def next_ns(self, after_ns: int) -> int | None:
        """The first time after after_ns; None behind the last."""
        i = bisect_right(self.times_ns, after_ns)
        return self.times_ns[i] if i < len(self.times_ns) else None


def read_columns(path: Path, columns: tuple[str, ...]) -> list[tuple[float, ...]]:
    """Rows of finite numbers, the first column rising strictly (a `ts_ns` is read as an exact integer).

    DataError: unreadable, another header, a cell that is no finite number, a first column that does not rise, no rows.
    """
    rows: list[tuple[float, ...]] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = tuple(cell.strip() for cell in next(reader, []))
            if header != columns:
                raise DataError(f"{path}: columns must be {','.join(columns)}, got {','.join(header) or 'none'}")
            for number, cells in enumerate(reader, 2):
                row = _row(cells, columns, f"{path}, row {number}")
                if rows and not (row[0] > rows[-1][0]):
                    raise DataError(f"{path}, row {number}: {columns[0]} {cells[0]} does not rise above {rows[-1][0]:g} of the row before")
                if len(rows) >= _ROWS_MAX:
                    raise DataError(f"{path}: more than {_ROWS_MAX} rows")
                rows.append(row)
    except (OSError, UnicodeError, csv.Error) as e:
        raise DataError(f"{path}: cannot be read: {e}") from e
    if not rows:
        raise DataError(f"{path}: holds no rows below its header")
    return rows


def read_series(path: Path, value: str) -> Series:
    """A file `ts_ns,<value>`."""
    rows = read_columns(path, ("ts_ns", value))
    return Series([int(row[0]) for row in rows], [row[1] for row in rows])


def _row(cells: list[str], columns: tuple[str, ...], where: str) -> tuple[float, ...]:
    if len(cells) != len(columns):
        raise DataError(f"{where}: {len(columns)} cells expected, got {len(cells)}")
    row: list[float] = []
    for name, cell in zip(columns, cells, strict=True):
        try:
            number = int(cell) if name == "ts_ns" else float(cell)
        except ValueError as e:
            raise DataError(f"{where}: {name} is no number: {cell!r}") from e
        if not math.isfinite(number):
            raise DataError(f"{where}: {name} must be finite, got {cell!r}")
        row.append(number)
    return tuple(row)
