"""One month's file: its rows, what it says of itself, and how it is written whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from mia.backtest.catalogue.layout import bars_of, key_of, root
from mia.backtest.readers import file_sha256
from mia.backtest.readers.frames import polars_module
from mia.backtest.validation.seal import SealLog
from mia.domain.errors import DataError
from mia.domain.instruments import Instrument

if TYPE_CHECKING:
    import polars as pl

FORMAT: Final = 1
_META: Final = "mia"
_GROUP_ROWS: Final = 1 << 17
_PARTIAL: Final = ".partial"


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one import read: files (name -> sha256), and the first and the last time in them, beyond the month too."""

    files: dict[str, str]
    first_ns: int
    last_ns: int


class Meta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a month's file says of itself. sha256: of its rows, column by column; gaps: holes in bars, or in depth's sequence."""

    format: int = FORMAT
    instrument: Instrument
    kind: str
    rows: int
    first_ns: int
    last_ns: int
    gaps: int
    sha256: str
    sources: tuple[Source, ...]

    def files(self) -> dict[str, str]:
        """sha256 -> name of each file that it was made of."""
        return {sha256: name for source in self.sources for name, sha256 in source.files.items()}


class RowsDigest:
    """sha256 of rows, column by column: however they are cut into files and pieces, equal rows have an equal one."""

    def __init__(self) -> None:
        self._columns: dict[str, Any] = {}

    def add(self, columns: Mapping[str, Any]) -> None:
        """Further rows: numpy arrays, or lists of bytes, by the name of their column."""
        for name, values in columns.items():
            hasher = self._columns.setdefault(name, hashlib.sha256())
            if isinstance(values, np.ndarray):
                hasher.update(np.ascontiguousarray(values).tobytes())
                continue
            for value in values:
                hasher.update(len(value).to_bytes(8, "little"))
                hasher.update(value)

    def add_frame(self, frame: pl.DataFrame) -> None:
        """Further rows; a number that is not known counts as -1."""
        polars = polars_module()
        self.add(
            {
                name: (column.to_list() if column.dtype == polars.Binary else column.fill_null(-1).to_numpy())
                for name, column in zip(frame.columns, frame.get_columns(), strict=True)
            }
        )

    def hex(self) -> str:
        """Of all rows so far."""
        whole = hashlib.sha256()
        for name in sorted(self._columns):
            whole.update(f"{name} {self._columns[name].hexdigest()}\n".encode())
        return whole.hexdigest()


def read_meta(path: Path) -> Meta:
    """What the file says of itself; DataError when it is none of the catalogue's, damaged, or of a newer version."""
    polars = polars_module()
    try:
        text = polars.read_parquet_metadata(path).get(_META)
    except (OSError, polars.exceptions.PolarsError) as e:
        raise _damaged(path, e) from None
    if text is None:
        raise DataError(f"{path}: was not written by `mia data import`: take it out of the catalogue")
    found = msgspec.json.decode(text)
    if found.get("format") != FORMAT:
        raise DataError(f"{path}: format {found.get('format')}, this version knows {FORMAT}: use the one that wrote it")
    try:
        return msgspec.convert(found, Meta, strict=False)
    except msgspec.ValidationError as e:
        raise _damaged(path, e) from None


def read_rows(path: Path) -> pl.DataFrame:
    """All rows of a month; DataError when the file is damaged."""
    polars = polars_module()
    try:
        frame: pl.DataFrame = polars.read_parquet(path, glob=False)
    except (OSError, polars.exceptions.PolarsError) as e:
        raise _damaged(path, e) from None
    return frame


def scanned(paths: Sequence[Path], columns: Sequence[str], key: str, span: tuple[int, int]) -> pl.DataFrame:
    """Only these columns of the rows whose key lies in [from, to] of several months, in order; DataError when a file is damaged."""
    polars = polars_module()
    inside = (polars.col(key) >= span[0]) & (polars.col(key) <= span[1])
    try:
        frame: pl.DataFrame = polars.scan_parquet(list(paths), glob=False).filter(inside).select(columns).collect()
    except (OSError, polars.exceptions.PolarsError) as e:
        raise _damaged(next((path for path in paths if not _is_whole(path)), paths[0].parent), e) from None
    return frame


def _is_whole(path: Path) -> bool:
    try:
        polars_module().read_parquet(path, glob=False)
    except (OSError, polars_module().exceptions.PolarsError):
        return False
    return True


def _damaged(path: Path, error: Exception) -> DataError:
    what = (str(error) or type(error).__name__).splitlines()[0]
    advice = "remove it and import it again" if path.suffix else "mia data catalogue names the file"
    return DataError(f"{path}: cannot be read ({''.join(c if c.isprintable() else '?' for c in what)}): {advice}")


def described(kind: str, instrument: Instrument, frame: pl.DataFrame, sources: Sequence[Source]) -> Meta:
    """What a month of these rows says of itself."""
    digest = RowsDigest()
    digest.add_frame(frame)
    keys = frame[key_of(kind)].to_numpy()
    return Meta(
        instrument=instrument, kind=kind, rows=frame.height, first_ns=int(keys[0]), last_ns=int(keys[-1]), gaps=_gaps(kind, frame),
        sha256=digest.hex(), sources=tuple(sources),
    )  # fmt: skip


def _gaps(kind: str, frame: pl.DataFrame) -> int:
    bars = bars_of(kind)
    if bars is not None and bars.interval_ns:
        return int((np.diff(frame["ts_ns"].to_numpy()) > bars.interval_ns).sum())
    return int((frame["what"] == 2).sum()) if kind == "depth" else 0


@contextmanager
def importing() -> Iterator[None]:
    """While it is held no other process imports; what a killed one left half written is removed."""
    try:
        root().mkdir(parents=True, exist_ok=True)
        with (root() / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for path in root().glob(f"*/*/*/.*{_PARTIAL}"):
                path.unlink(missing_ok=True)
            yield
    except OSError as e:
        raise DataError(f"{e.filename or root()}: cannot be written ({e.strerror or e}): check rights and disk") from None


def write_months(months: Sequence[tuple[Path, pl.DataFrame, Meta]]) -> None:
    """Write files of one month: all of them beside their places first, then each into it in one step; on disk when it returns."""
    for path, frame, meta in months:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = _scratch(path)
        text = msgspec.json.encode(meta, order="deterministic").decode()
        frame.write_parquet(scratch, compression="zstd", row_group_size=_GROUP_ROWS, metadata={_META: text})
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        if bars_of(meta.kind) is not None:  # such a file is a candle file, too: a seal on what it was made of holds for it
            SealLog().derived(file_sha256(scratch), path.name, sorted(meta.files()))
    for path, _, _ in months:
        _scratch(path).replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}{_PARTIAL}")
