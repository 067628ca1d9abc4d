"""Candle files as `mia data` writes them: ts_ns (open time, UTC) and prices, readable by readers.py, remembered by what they came of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mia.backtest.readers import file_sha256
from mia.backtest.validation.seal import SealLog
from mia.domain.errors import ConfigError, DataError

OUT_SUFFIXES: Final = (".parquet", ".feather", ".csv")


def frames() -> Any:
    """polars; ConfigError when it is not installed."""
    try:
        import polars
    except ImportError:
        raise ConfigError("candle files need polars: pip install 'mia[train]'") from None
    return polars


def check_out(out: Path, sources: Sequence[Path]) -> None:
    """DataError or ConfigError before anything is computed: another ending, no such folder, one of the files read."""
    if out.suffix not in OUT_SUFFIXES:
        raise ConfigError(f"--out {out}: end it in {', '.join(OUT_SUFFIXES)}")
    if not out.absolute().parent.is_dir():
        raise DataError(f"{out.absolute().parent}: no such folder: make it first")
    if any(out.exists() and path.exists() and out.samefile(path) for path in sources):
        raise DataError(f"--out {out}: is one of the files to read")


def write_candles(
    out: Path,
    open_ns: npt.NDArray[np.int64],
    ohlcv: npt.NDArray[np.float64],
    sources: Sequence[str],
    extra: dict[str, Sequence[str]] | None = None,
) -> str:
    """Write the bars whole or not at all, and their sha256. sources: sha256s of what they were made of, which a seal follows.

    extra: further columns of text. DataError when the file cannot be written.
    """
    polars = frames()
    columns: dict[str, Any] = {"ts_ns": open_ns}
    columns |= {name: ohlcv[:, k] for k, name in enumerate(("open", "high", "low", "close", "volume"))}
    table = polars.DataFrame({**columns, **(extra or {})})
    scratch = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        if out.suffix == ".parquet":
            table.write_parquet(scratch, compression="zstd")
        elif out.suffix == ".feather":
            table.write_ipc(scratch)
        else:
            table.write_csv(scratch)
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        sha256 = file_sha256(scratch)
        SealLog().derived(sha256, out.name, sources)  # before the file is there: nobody reads it unknown
        scratch.replace(out)
    except OSError as e:
        raise DataError(f"{out}: cannot be written: {e.strerror or e}") from None
    finally:
        scratch.unlink(missing_ok=True)
    return sha256
