"""The run directory: what a run writes, byte for byte the same for the same run, and how it is read back.

run.json, equity.parquet, orders.parquet, fills.parquet, decisions.parquet, trades.csv. No clock and no path is in them.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import msgspec
import numpy as np

from mia.backtest.run.gathered import DecisionRow, Gathered, OrderRow
from mia.domain.errors import ConfigError, DataError
from mia.execution.attribution import Moments

if TYPE_CHECKING:
    import polars as pl

    from mia.backtest.run.result import Result

RUN_FILE: Final = "run.json"
TRIP_COLUMNS: Final = (
    "trade_id", "instrument", "side", "opened_ns", "closed_ns", "entry_price", "exit_price", "qty", "profit", "gross", "fees", "spread",
    "slippage", "impact", "funding", "mae", "mfe", "bars", "regime",
)  # fmt: skip
_TRIP_TEXTS: Final = ("trade_id",)
_TRIP_REALS: Final = ("entry_price", "exit_price", "qty")
_TRIP_WHOLES: Final = ("instrument", "side", "opened_ns", "closed_ns", "bars", "regime")


def polars() -> Any:
    """polars; ConfigError when it is not installed."""
    try:
        import polars as module
    except ImportError:
        raise ConfigError("backtests write parquet files with polars: pip install 'mia[train]'") from None
    return module


def check_place(folder: Path) -> None:
    """DataError when a run cannot be written there: asked before it is counted and executed, too."""
    if folder.exists() and not (folder / RUN_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: exists and is no run: name another place with --out")
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise DataError(f"{folder}: cannot be written: no folder to write in at {there}: name another place with --out")


def write(result: Result, folder: Path) -> None:
    """Write the whole directory, or nothing: an older run at the same place is replaced.

    DataError when it cannot be written, or when `folder` holds something that is no run.
    """
    check_place(folder)
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
    g = result.gathered
    m = g.marks
    columns: dict[str, Any] = {"ts_ns": m.ts_ns, "equity_e8": m.equity_e8, "cash_e8": m.cash_e8}
    columns |= {f"position_{i}": np.ascontiguousarray(m.lots[:, i]) for i in range(m.lots.shape[1])}
    columns |= {f"mid2_{i}": np.ascontiguousarray(m.mids2[:, i]) for i in range(m.mids2.shape[1])}
    columns |= {"exposure": m.exposure, "regime": m.regime}
    orders, decisions = _schema(pl, OrderRow), _schema(pl, DecisionRow)
    return {
        "equity": pl.DataFrame(columns),
        "orders": pl.DataFrame(list(g.orders), schema=orders, orient="row"),
        "fills": pl.DataFrame([_fill(g, k) for k in range(len(g.fills))], schema=_fill_schema(pl), orient="row"),
        "decisions": pl.DataFrame(list(g.decisions), schema=decisions, orient="row"),
    }


def _schema(pl: Any, kind: Any) -> dict[str, Any]:
    dtypes = {int: pl.Int64, float: pl.Float64, str: pl.String, bool: pl.Boolean}
    return {name: dtypes[hint] for name, hint in get_type_hints(kind).items()}


def _fill(g: Gathered, k: int) -> tuple[Any, ...]:
    fill, moments = g.fills[k], g.moments.get(g.fills[k].fill_id, Moments())
    return (
        k + 1, g.fill_orders[k], fill.ts_recv_ns, fill.instrument, fill.side, fill.price_ticks, fill.qty_lots, fill.fee_e8, fill.is_maker,
        moments.decision_mid2, moments.arrival_mid2, moments.touch_ticks,
    )  # fmt: skip


def _fill_schema(pl: Any) -> dict[str, Any]:
    whole = ("fill", "order", "ts_ns", "instrument", "side", "price_ticks", "qty_lots", "fee_e8")
    return (
        dict.fromkeys(whole, pl.Int64)
        | {"is_maker": pl.Boolean}
        | dict.fromkeys(("decision_mid2", "arrival_mid2", "touch_ticks"), pl.Int64)
    )


def _trades(result: Result) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(TRIP_COLUMNS)
    for trip in result.trips:
        writer.writerow(trip.row())
    return out.getvalue()


def _trip_schema(pl: Any) -> dict[str, Any]:
    """Stated, not guessed: money stays exact, and a run without a trade has the same columns."""
    plain = dict.fromkeys(_TRIP_TEXTS, pl.String) | dict.fromkeys(_TRIP_REALS, pl.Float64) | dict.fromkeys(_TRIP_WHOLES, pl.Int64)
    return {name: plain.get(name, pl.Decimal(38, 8)) for name in TRIP_COLUMNS}


class RunFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A run read back: its facts and its tables."""

    folder: Path
    facts: dict[str, Any]
    equity: Any  # polars.DataFrame, as the others
    orders: Any
    fills: Any
    decisions: Any
    trades: Any  # money as Decimal with 8 places

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
        trades = pl.read_csv(folder / "trades.csv", schema_overrides=_trip_schema(pl))
    except (OSError, pl.exceptions.PolarsError) as e:
        raise DataError(f"{folder / 'trades.csv'}: cannot be read: {str(e).splitlines()[0]}") from None
    return RunFiles(folder=folder, facts=facts, trades=trades, **tables)
