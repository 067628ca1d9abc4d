"""The parquet file of columns: written whole or not at all, and read piece by piece."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest import feature_sources
from mia.backtest.feature_run import Run
from mia.backtest.feature_sources import Source
from mia.backtest.readers import file_sha256, utc
from mia.backtest.validation.seal import SealLog
from mia.backtest.validation.seal_match import Reading, names_in
from mia.domain.errors import ConfigError, DataError
from mia.features.catalogue import shipped_catalogue

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

Say = Callable[[str], None]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What `compute` did. size: bars or events taken; absent: columns without a single value."""

    file: str
    size: int
    rows: int
    columns: int
    first_ns: int
    last_ns: int
    absent: list[str]


def write_parquet(source: Source, columns: Sequence[str], out: Path, versions: dict[str, str], say: Say) -> Written:
    """ts_ns and one float64 column per feature (null where absent), and metadata under the key `mia`; whole or not at all.

    say: hears how far it is. DataError when no row came out, when a kernel gave no number, or when the file cannot be written.
    """
    pa, pq = arrow()
    facts = {**source.facts, "catalogue_sha256": shipped_catalogue().hash, "versions": versions}
    schema = pa.schema([("ts_ns", pa.int64()), *((name, pa.float64()) for name in columns)]).with_metadata(
        {"mia": msgspec.json.encode(facts).decode()}
    )
    scratch = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    seen = np.zeros(len(columns), np.int64)
    size = n = first = last = 0
    try:
        with pq.ParquetWriter(scratch, schema, compression="zstd", use_dictionary=False) as writer:
            run = Run(source, columns)
            for piece in source.pieces():
                ts, matrix = run.take(piece)
                size += piece.size
                if np.isinf(matrix).any():
                    row, j = np.argwhere(np.isinf(matrix))[0]
                    raise DataError(f"{source.name}: {columns[j]} at {utc(ts[row])} is no finite number: a fault of its kernel")
                seen += np.count_nonzero(~np.isnan(matrix), axis=0)
                if len(ts):
                    data = [pa.array(ts), *(pa.array(np.ascontiguousarray(matrix[:, j]), from_pandas=True) for j in range(len(columns)))]
                    writer.write_table(pa.Table.from_arrays(data, schema=schema))
                    first, last = first or int(ts[0]), int(ts[-1])
                n += len(ts)
                say(f"{size} of {source.size} bars" if source.size else f"{size} events, {n} rows")
        if not n:
            raise DataError(f"{source.name}: no decision falls into it: use smaller --bars, or --at quote")
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(out)
    except OSError as e:
        raise DataError(f"{out}: cannot be written: {e.strerror or e}") from None
    finally:
        scratch.unlink(missing_ok=True)
    absent = [name for name, count in zip(columns, seen, strict=True) if not count]
    return Written(file=str(out), size=size, rows=n, columns=len(columns), first_ns=first, last_ns=last, absent=absent)


def arrow() -> tuple[Any, Any]:
    """pyarrow and its parquet part; ConfigError when they are not installed."""
    try:
        import pyarrow  # type: ignore[import-untyped]  # ships no stubs
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("parquet files need pyarrow: pip install 'mia[train]'") from None
    return pyarrow, pyarrow.parquet


class FeatureFile(NamedTuple):
    """A parquet file of compute: its columns, metadata, and rows piece by piece (as a Run gives them)."""

    columns: tuple[str, ...]
    facts: dict[str, Any]
    rows: Callable[[], Iterator[tuple[I64, F64]]]


def read_features(path: Path) -> FeatureFile | None:
    """The file when compute wrote it, else None; DataError when it is not readable."""
    if path.suffix != ".parquet":
        return None
    pa, pq = arrow()
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
    except (OSError, pa.ArrowException) as e:
        raise DataError(f"{path}: cannot be read: {str(e).splitlines()[0]}") from None
    raw = (schema.metadata or {}).get(b"mia")
    if raw is None or "ts_ns" not in schema.names:
        return None
    columns = tuple(name for name in schema.names if name != "ts_ns")
    facts = msgspec.json.decode(raw)
    _check_sealed(path, facts, pq)

    def pieces() -> Iterator[tuple[I64, F64]]:
        with pq.ParquetFile(path) as file:
            for part in file.iter_batches(batch_size=feature_sources.CHUNK):
                matrix = np.empty((part.num_rows, len(columns)))
                for j, name in enumerate(columns):
                    column = part.column(name)
                    values = column.to_numpy(zero_copy_only=False)
                    present = np.asarray(column.is_valid())
                    matrix[:, j] = np.where(present & ~np.isfinite(values), math.inf, values)
                yield part.column("ts_ns").to_numpy(), matrix

    return FeatureFile(columns, facts, pieces)


def _check_sealed(path: Path, facts: dict[str, Any], pq: Any) -> None:
    """Rows computed from a file before it was sealed are of the holdout, too. A row tells of what came before its time."""
    ts = pq.read_table(path, columns=["ts_ns"]).column("ts_ns").to_numpy()
    sources = facts.get("source", [])
    beside = {**facts.get("references", {}), **facts.get("seconds", {})}  # what a series was read from: a sha256, or a symbol
    reading = Reading(
        sha256=(file_sha256(path), *(s["sha256"] for s in sources), *beside.values()),
        names=names_in([path.name, *(s["file"] for s in sources), *beside, *beside.values()]),
        begin_ns=ts - 1,
        end_ns=ts,
    )
    SealLog().allowed(reading, str(path))
