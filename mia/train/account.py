"""The account's columns in training: the live plan's account kernel, stepped with the same lag.

What is exact and what is not, beside live: the kernel, the risk state and the lag of one decision are those of live. A fill happens at
the next row's touch and time (live: some milliseconds after the decision). Equity is marked at rows (live: at timers and fills, too),
so a peak between two rows is not seen. The cap is that of the episode's first row (live: of equity and price at each decision).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from mia.features.bars import BarSpec
from mia.features.plan import Plan, build_plan
from mia.kernels.account_block import SLOTS
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.train.env import F32, AccountState, Row, Tape
from mia.train.ledger import Ledger

LEFT_OUT: Final = {
    "policy_dispersion": "the three policies are trained apart: what the other two would want is not known then",
    "last_alpha": "the trade probability is fitted after the policies",
    "model_drift_score": "it measures the live feed against the training data: in training there is nothing to measure",
}
SUPPORTED: Final = tuple(name for name in SLOTS if name not in LEFT_OUT)  # what a fit reads unless told otherwise
# In units of ATR up to 50: a tenth of it, so that the clip of the observation at 5 cuts nothing off. The others are shares.
INV_STD: Final = {"unrealised_r": 0.1, "mae_r": 0.1, "mfe_r": 0.1}


class PlanAccount:
    """Columns of a plan that reads the account alone; they are known before the decision and do not depend on it."""

    def __init__(self, columns: Sequence[str] = SUPPORTED) -> None:
        """ValueError for a column that cannot be stepped in training."""
        if unknown := [c for c in columns if c not in SUPPORTED]:
            why = LEFT_OUT.get(unknown[0], f"use {', '.join(SUPPORTED)}")
            raise ValueError(f"account column {unknown[0]!r} cannot be stepped in training: {why}")
        self.columns = tuple(columns)
        self._plan: Plan | None = None

    def fresh(self) -> PlanAccount:
        """The same columns for an account of its own."""
        return PlanAccount(self.columns)

    def begin(self, tape: Tape, row: Row) -> None:
        """A flat account at this row, whatever was before."""
        if self._plan is None:
            arena = Arena(1 << 20)
            self._plan = build_plan(self.columns, tape.instrument, BarSpec.parse("time:1s"), arena, Book(arena, 16))
            self._take = self._plan.take_market
            self._values = np.asarray(self._plan.values)
        self._plan.cool()
        self._plan.set_account(0.0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        self._bars = 0
        self.move(row)

    def move(self, row: Row) -> None:
        """The market went on to this row, the next one; the account is still as it was last written."""
        ts_ns, bid, ask, low, high, atr, bars = row
        self._take(ts_ns, low, high, (bid + ask) * 0.5, bars - self._bars, atr)
        self._bars = bars

    def recall(self, row: Row, low: float, high: float, bars: int) -> None:
        """The open position saw these mids (in ticks) and bars before this row."""
        self._take(row.ts_ns, low, high, row.mid_ticks, bars, row.atr_ticks)

    def write(self, row: Row, ledger: Ledger, state: AccountState, out: F32) -> None:
        """The columns at this row, before its decision."""
        risk, lots, won, ts = state.risk, ledger.position_lots, state.won, row.ts_ns
        share = min(1.0, max(-1.0, lots / state.cap_lots))
        opened = state.opened_ns if lots else 0
        score = state.overtrade_score(ts)
        plan = self._plan
        assert plan is not None
        plan.set_account(share, ledger.entry_ticks, opened, risk.drawdown_ratio, risk.day_pnl_ratio, score, state.last_action, 0.0, 0.0)
        plan.set_record(state.closed_ns, len(won), won.count(True), -1.0)
        plan.observe(ts)
        out[:] = self._values

    def __getstate__(self) -> dict[str, object]:
        """The plan lives in this process only."""
        return {"columns": self.columns, "_plan": None}
