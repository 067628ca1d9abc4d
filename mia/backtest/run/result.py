"""A finished run in memory: columns of what the collector gathered, ready for statistics, files and reports."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.run.collect import Collector
from mia.backtest.run.spec import RunSpec
from mia.engine.engine import Engine
from mia.sim.bar_venue import FillNote

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]


class Equity(NamedTuple):
    """Marks of the account: int64[n] each, lots int64[n, instruments], exposure float64[n], regime int8[n] (-1 unknown)."""

    ts_ns: I64
    equity_e8: I64
    cash_e8: I64
    lots: I64
    exposure: F64
    regime: I8


class Result(msgspec.Struct, kw_only=True):
    """What a run came to."""

    spec: RunSpec
    id: str
    strategies: tuple[tuple[str, str], ...]  # name, sha256
    equity: Equity
    collected: Collector
    fill_notes: list[FillNote]
    counters: dict[str, Any]
    notes: list[str]


def result_of(spec: RunSpec, engine: Engine, collected: Collector, fill_notes: list[FillNote], notes: list[str]) -> Result:
    """Columns of what was collected."""
    strategies = tuple((lane.strategy.name, lane.strategy.sha256) for lane in engine.lanes)
    counters = engine.state.counters
    return Result(
        spec=spec,
        id=spec.id(strategies),
        strategies=strategies,
        equity=_equity(collected, len(engine.markets)),
        collected=collected,
        fill_notes=fill_notes,
        counters={
            "market_events": counters.market_events,
            "decisions": counters.decisions,
            "orders": counters.orders,
            "fills": counters.fills,
            "trades": counters.trades,
            "verbs": dict(sorted(counters.verbs.items())),
            "codes": dict(sorted((str(code), n) for code, n in counters.codes.items())),
            "alerts": dict(sorted(collected.alerts.items())),
        },
        notes=notes,
    )


def _equity(collected: Collector, instruments: int) -> Equity:
    marks = collected.marks
    table = np.array([mark[:4] for mark in marks], dtype=np.int64).reshape(len(marks), 4)
    lots = np.array([mark[4] for mark in marks], dtype=np.int64).reshape(len(marks), instruments)
    equity = table[:, 1].astype(np.float64)
    exposure = np.divide(table[:, 3].astype(np.float64), equity, out=np.zeros(len(marks)), where=equity > 0.0)
    return Equity(table[:, 0], table[:, 1], table[:, 2], lots, exposure, np.array([mark[5] for mark in marks], dtype=np.int8))
