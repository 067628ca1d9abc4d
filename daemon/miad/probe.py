"""How long the stages of a decision take, sampled beside the decisions, on the row of the last one.

The engine has no clock (determinism), so a decision is timed as a whole from outside. To tell its stages apart the shell calls them
once more while the loop is idle, each between two looks at the clock, with what the lane's last decision read: the inference,
the gate, the window review, the risk review, the plan of orders. Nothing is decided: the answers are dropped, order ids come from a
counter of our own, and trading state is only read. The figures are of warm code and leave out features and the journal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from mia.domain.orders import Approved
from mia.engine.engine import Engine
from mia.engine.lane import Lane
from mia.execution.planner import plan
from mia.risk.review import gate_code, review

EVALUATE: Final = "inference.evaluate"
GATE: Final = "trade_probability.gate"
WINDOW: Final = "trade_window_filter.state"
REVIEW: Final = "risk.review"
PLAN: Final = "trade_executor.plan"
Record = Callable[[str, int, bool], None]


class StageProbe:
    """Times one lane at each turn, the lanes in rotation."""

    def __init__(self, engine: Engine, record: Record, *, every_s: float = 1.0, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        """record(operation, ns, success): such as OperationTracker.record."""
        self._engine: Final = engine
        self._record: Final = record
        self._every_s: Final = every_s
        self._clock_ns: Final = clock_ns
        self._turn = 0

    async def run(self) -> None:
        """Probe at every interval until canceled."""
        while True:
            await asyncio.sleep(self._every_s)
            self.probe()

    def probe(self) -> None:
        """Time the next lane; nothing before its first decision."""
        lanes = self._engine.lanes
        if not lanes:
            return
        lane = lanes[self._turn % len(lanes)]
        self._turn += 1
        if lane.question.ts_ns:
            self._stages(lane)

    def _stages(self, lane: Lane) -> None:
        engine, clock_ns, record = self._engine, self._clock_ns, self._record
        state, q, market = engine.state, lane.question, lane.market

        began = clock_ns()
        target = lane.strategy.evaluate(lane.obs, lane.state.regime_probs)
        ended = clock_ns()
        record(EVALUATE, ended - began, True)

        began = clock_ns()
        gate_code(target.signal, target.alpha, lane.alpha_min)
        ended = clock_ns()
        record(GATE, ended - began, True)

        began = clock_ns()
        engine.config.windows.state(q.ts_ns, market.definition.family)
        ended = clock_ns()
        record(WINDOW, ended - began, True)

        began = clock_ns()
        verdict = review(q, state.risk)
        ended = clock_ns()
        record(REVIEW, ended - began, True)

        if isinstance(verdict, Approved) and state.mid2[market.index] > 0:
            ids = msgspec.structs.replace(state.ids)
            ids.begin(0)
            began = clock_ns()
            plan(
                verdict, q.position_lots, lane.cap, q.bid_ticks, q.ask_ticks, market.terms, engine.config.execution, state.table, ids
            )  # fmt: skip
            ended = clock_ns()
            record(PLAN, ended - began, True)
