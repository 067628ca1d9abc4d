"""The run directory: what a run writes, byte for byte the same for the same run, and how it is read back.

run.json, equity.parquet, orders.parquet, fills.parquet, decisions.parquet, trades.csv. No clock and no path is in them.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from mia.domain.effects import RecordDecision, SubmitOrder
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import OrderFilled

if TYPE_CHECKING:
    import polars as pl

    from mia.backtest.run.result import Result

RUN_FILE: Final = "run.json"
TRIP_COLUMNS: Final = (
    "trade_id", "instrument", "side", "opened_ns", "closed_ns", "entry_price", "exit_price", "qty", "profit", "gross", "fees", "spread",
    "slippage", "impact", "funding", "mae", "mfe", "bars", "regime",
)  # fmt: skip


def polars() -> Any:
    """polars; ConfigError when it is not installed."""
    try:
        import polars as module
    except ImportError:
        raise ConfigError("backtests write parquet files with polars: pip install 'mia[train]'") from None
    return module


def write(result: Result, folder: Path) -> None:
    """Write the whole directory, or nothing: an older run at the same place is replaced.

    DataError when it cannot be written, or when `folder` holds something that is no run.
    """
    if folder.exists() and not (folder / RUN_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: exists and is no run: name another place with --out")
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        scratch.mkdir(parents=True)
        facts = msgspec.json.encode(result.facts(), enc_hook=str, order="deterministic")
        (scratch / RUN_FILE).write_bytes(msgspec.json.format(facts, indent=1) + b"\n")
        for name, frame in _frames(result).items():
            frame.write_parquet(scratch / f"{name}.parquet", compression="zstd", compression_level=1, statistics=False)
        (scratch / "trades.csv").write_text(_trades(result), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        scratch.replace(folder)
    except OSError as e:
        raise DataError(f"{folder}: cannot be written: {e.strerror or e}") from None
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(scratch)


def _frames(result: Result) -> dict[str, pl.DataFrame]:
    pl = polars()
    equity = result.equity
    columns: dict[str, Any] = {"ts_ns": equity.ts_ns, "equity_e8": equity.equity_e8, "cash_e8": equity.cash_e8}
    columns |= {f"position_{i}": np.ascontiguousarray(equity.lots[:, i]) for i in range(equity.lots.shape[1])}
    columns |= {"exposure": equity.exposure, "regime": equity.regime}
    collected = result.collected
    orders = _columns([order for _, order in collected.orders], SubmitOrder, {"ts_ns": [ts for ts, _ in collected.orders]})
    return {
        "equity": pl.DataFrame(columns),
        "orders": pl.DataFrame(orders[0], schema=orders[1]),
        "fills": _frame(collected.fills, OrderFilled),
        "decisions": _frame(collected.decisions, RecordDecision),
    }


def _frame(rows: Sequence[Any], kind: type) -> pl.DataFrame:
    columns, schema = _columns(rows, kind, {})
    frame: pl.DataFrame = polars().DataFrame(columns, schema=schema)
    return frame


def _columns(rows: Sequence[Any], kind: type, before: dict[str, list[Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One column per field; tuples of numbers become one column per place, tuples of text one text."""
    pl = polars()
    columns: dict[str, Any] = dict(before)
    schema: dict[str, Any] = dict.fromkeys(before, pl.Int64)
    dtypes = {int: pl.Int64, float: pl.Float64, str: pl.String, bool: pl.Boolean}
    hints = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for name, hint in hints.items():
        values = [getattr(row, name) for row in rows]
        if hint in dtypes:
            columns[name], schema[name] = values, dtypes[hint]
        elif name == "order_ids":
            columns[name], schema[name] = [" ".join(value) for value in values], pl.String
        else:
            for k in range(3):
                columns[f"{name}_{k}"], schema[f"{name}_{k}"] = [value[k] for value in values], pl.Float64
    return columns, schema


def _trades(result: Result) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(TRIP_COLUMNS)
    for trip in result.trips:
        writer.writerow(trip.row())
    return out.getvalue()


class RunFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A run read back: its facts and its tables."""

    folder: Path
    facts: dict[str, Any]
    equity: Any  # polars.DataFrame, as the others
    orders: Any
    fills: Any
    decisions: Any
    trades: Any

    @property
    def id(self) -> str:
        """Of the run."""
        return str(self.facts["id"])


def read(folder: Path) -> RunFiles:
    """A run directory; DataError names what is missing or broken."""
    pl = polars()
    try:
        facts = msgspec.json.decode((folder / RUN_FILE).read_bytes(), type=dict[str, Any])
    except OSError as e:
        raise DataError(f"{folder}: no run: {RUN_FILE} cannot be read ({e.strerror})") from None
    except msgspec.MsgspecError as e:
        raise DataError(f"{folder / RUN_FILE}: is no run: {e}") from None
    tables = {}
    for name in ("equity", "orders", "fills", "decisions"):
        try:
            tables[name] = pl.read_parquet(folder / f"{name}.parquet")
        except (OSError, pl.exceptions.PolarsError) as e:
            raise DataError(f"{folder / name}.parquet: cannot be read: {str(e).splitlines()[0]}") from None
    try:
        trades = pl.read_csv(folder / "trades.csv", infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as e:
        raise DataError(f"{folder / 'trades.csv'}: cannot be read: {str(e).splitlines()[0]}") from None
    return RunFiles(folder=folder, facts=facts, trades=trades, **tables)
