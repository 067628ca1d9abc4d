"""The folder of one search: results in chunk files while it runs, one Parquet file when it is done. What is in it survives a kill."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mia.backtest.grid.cells import Row
from mia.backtest.grid.space import Space
from mia.domain.errors import DataError

RESULTS: Final = "results.parquet"
_FIELDS: Final = 1 + len(Row._fields)


class Store:
    """Rows by chunk: float64[m, 1 + len(Row._fields)], the point first. folder: made when absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise DataError(f"{folder}: cannot be made: {e.strerror}") from None

    def _path(self, number: int) -> Path:
        return self.folder / f"chunk_{number:06d}.npy"

    def read(self, number: int, points: list[int]) -> list[Row] | None:
        """The rows of a chunk that was finished before; None when it was not, or holds other points."""
        try:
            found: npt.NDArray[np.float64] = np.load(self._path(number), allow_pickle=False)
        except (OSError, ValueError):
            return None
        if found.shape != (len(points), _FIELDS) or found[:, 0].tolist() != points:
            return None
        return [Row(*row) for row in found[:, 1:].tolist()]

    def returns(self, number: int, count: int) -> npt.NDArray[np.float64] | None:
        """The daily returns [count, days] that were kept of a chunk, read when they are asked for; None when there are no such."""
        try:
            found: npt.NDArray[np.float64] = np.load(self._returns_path(number), allow_pickle=False, mmap_mode="r" if count else None)
        except (OSError, ValueError):
            return None
        return found if found.ndim == 2 and len(found) == count else None

    def write(self, number: int, points: list[int], rows: list[Row], returns: npt.NDArray[np.float64]) -> None:
        """A finished chunk: on disk, whole or not at all; its returns first, so that a chunk that is there has them."""
        self._save(self._returns_path(number), returns)
        self._save(self._path(number), np.array([[float(point), *row] for point, row in zip(points, rows, strict=True)]))

    def _returns_path(self, number: int) -> Path:
        return self.folder / f"returns_{number:06d}.npy"

    def _save(self, path: Path, table: npt.NDArray[np.float64]) -> None:
        draft = path.with_suffix(f".{os.getpid()}.draft")
        with draft.open("wb") as file:
            np.save(file, table)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def write_text(self, name: str, text: bytes) -> Path:
        """A file beside the results; replaced as a whole."""
        path = self.folder / name
        draft = path.with_suffix(".draft")
        draft.write_bytes(text)
        draft.replace(path)
        return path

    def finish(self, space: Space, found: dict[int, Row]) -> Path:
        """Everything as one table, a row for each configuration in the order of the search: parameters, then the fields of Row."""
        import polars

        configs = [space.config(point) for point in found]
        columns: dict[str, Any] = {name: [(config or {})[name] for config in configs] for name in (configs[0] or {})}
        for k, name in enumerate(Row._fields):
            columns[name] = [row[k] for row in found.values()]
        path = self.folder / RESULTS
        draft = path.with_suffix(".draft")
        polars.DataFrame(columns).write_parquet(draft)
        draft.replace(path)
        return path
