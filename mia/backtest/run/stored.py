"""A run directory as what statistics are computed from: the same columns as the run had in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mia.backtest.run.artifacts import RUN_FILE, RunFiles, polars
from mia.backtest.run.figures import RunColumns, market_of, no_entries, track_of
from mia.backtest.run.gathered import Marks
from mia.backtest.stats.inputs import F64, I64, Trips
from mia.domain.errors import DataError


class StoredRun(NamedTuple):
    """A run read back: its facts, its marks, and what its figures are computed from.

    came_to: of each code, how often the decisions that it ended in: {"dead_band": {"hold": 120}}.
    """

    facts: dict[str, Any]
    marks: Marks
    columns: RunColumns
    came_to: dict[str, dict[str, int]]


def stored(files: RunFiles) -> StoredRun:
    """The columns of a run directory; DataError names what a run of another version lacks."""
    facts = files.facts
    try:
        marks = _marks(files)
        track = track_of(marks, int(facts["span"]["from_ns"]))
        market = market_of(marks, track, int(facts["cash_e8"]))
        came_to: dict[str, dict[str, int]] = {}
        for code, verb, times in files.decisions.select("code", "decision", "times").iter_rows():
            verbs = came_to.setdefault(code, {})
            verbs[verb] = verbs.get(verb, 0) + times
        columns = RunColumns(
            track, _trips(files), market, str(facts["instruments"][0]["family"]), int(facts["seed"]),
            no_entries([str(data["kind"]) for data in facts["data"]]),
        )  # fmt: skip
    except (KeyError, IndexError, TypeError, polars().exceptions.ColumnNotFoundError) as e:
        what = str(e).splitlines()[0]
        raise DataError(f"{files.folder / RUN_FILE}: made by another version, which lacks {what}: run it again") from None
    return StoredRun(facts, marks, columns, came_to)


def _marks(files: RunFiles) -> Marks:
    table = files.equity
    if not len(table):
        raise DataError(f"{files.folder / 'equity.parquet'}: no rows: a run has at least the mark of its start")
    numbers = range(len(files.facts["instruments"]))

    def column(name: str) -> Any:
        return table[name].to_numpy()

    return Marks(
        ts_ns=column("ts_ns"),
        equity_e8=column("equity_e8"),
        cash_e8=column("cash_e8"),
        lots=np.stack([column(f"position_{i}") for i in numbers], axis=1),
        mids2=np.stack([column(f"mid2_{i}") for i in numbers], axis=1),
        exposure=column("exposure"),
        regime=column("regime"),
    )


def _trips(files: RunFiles) -> Trips:
    """In order of their close, as mia.backtest.run.figures.trips_of."""
    pl = polars()
    table = files.trades.sort("closed_ns", maintain_order=True)

    def whole(name: str) -> I64:
        values: I64 = table[name].to_numpy().astype(np.int64)
        return values

    def real(name: str) -> F64:
        values: F64 = table[name].to_numpy().astype(np.float64)
        return values

    def money_e8(name: str) -> I64:
        """Eight places without their point are the integer: exact, which a float of a large sum is not."""
        values: I64 = table[name].cast(pl.String).str.replace(".", "", literal=True).cast(pl.Int64).to_numpy().astype(np.int64)
        return values

    profit_e8 = money_e8("profit")
    return Trips(
        instrument=whole("instrument"),
        side=whole("side").astype(np.int8),
        opened_ns=whole("opened_ns"),
        closed_ns=whole("closed_ns"),
        entry_price=real("entry_price"),
        exit_price=real("exit_price"),
        qty=real("qty"),
        profit_e8=profit_e8,
        cost_e8=money_e8("gross") - profit_e8,
        mae_e8=money_e8("mae"),
        mfe_e8=money_e8("mfe"),
        bars=whole("bars"),
        regime=whole("regime").astype(np.int8),
    )
