"""A finished run in memory: columns of what the collector gathered, ready for statistics, files and reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mia.assemble import versions
from mia.backtest.run.collect import Collector
from mia.backtest.run.spec import FORMAT, RunSpec
from mia.backtest.run.trips import Excursions, Trip
from mia.domain.errors import FailStop
from mia.domain.events import OrderFilled
from mia.engine.engine import Engine
from mia.execution.attribution import Attribution, Moments, Parts

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
    trips: list[Trip]
    parts: Parts
    collected: Collector
    counters: dict[str, Any]
    notes: list[str]

    def facts(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "format": FORMAT,
            "id": self.id,
            "strategies": [{"name": name, "sha256": sha256} for name, sha256 in self.strategies],
            "versions": versions(),
            **self.spec.facts(),
            "counters": self.counters,
            "attribution_e8": {**msgspec.to_builtins(self.parts), "net_e8": self.parts.net_e8},
            "start_equity_e8": int(self.equity.equity_e8[0]),
            "end_equity_e8": int(self.equity.equity_e8[-1]),
            "notes": self.notes,
        }


def result_of(
    spec: RunSpec, engine: Engine, collected: Collector, moments: Mapping[str, Moments], excursions: Excursions, notes: list[str]
) -> Result:
    """Columns of what was collected. moments: by fill id, the prices behind it; excursions: what a round trip went through.

    FailStop when the money does not add up to the last 1e-8: such a run is worth nothing.
    """
    strategies = tuple((lane.strategy.name, lane.strategy.sha256) for lane in engine.lanes)
    counters = engine.state.counters
    attribution = Attribution([market.terms for market in engine.markets])
    for event in collected.money:
        if isinstance(event, OrderFilled):
            attribution.fill(event, moments.get(event.fill_id, Moments()))
        else:
            attribution.flow(event)
    parts = attribution.parts(engine.state.marks2)
    equity = _equity(collected, len(engine.markets))
    change_e8 = int(equity.equity_e8[-1] - equity.equity_e8[0])
    if parts.net_e8 != change_e8:
        raise FailStop(f"the run's costs add up to {parts.net_e8 / 1e8:.8f}, its equity changed by {change_e8 / 1e8:.8f}")
    closed = attribution.take_closed()
    trips = [
        Trip.of(record, trip.parts, engine.markets[record.instrument].definition, excursions)
        for record, trip in zip(collected.trades, closed, strict=True)
    ]
    return Result(
        spec=spec,
        id=spec.id(strategies),
        strategies=strategies,
        equity=equity,
        trips=trips,
        parts=parts,
        collected=collected,
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
