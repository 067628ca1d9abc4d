"""The account's columns in training: the live plan's account kernel, stepped with the same lag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mia.features.bars import BarSpec
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.train.env import F32, AccountState, Tape
from mia.train.ledger import Ledger

SUPPORTED: Final = ("position", "position_age", "last_action")  # what a fit reads unless told otherwise
# Those that need neither bars nor limits can be stepped; what is known of closed trades is of before the decision, as in live.
STEPPED: Final = (*SUPPORTED, "since_last_trade", "last_3_trades_success_rate")


class PlanAccount:
    """Columns of a plan that reads the account alone; they are known before the decision and do not depend on it."""

    def __init__(self, columns: Sequence[str] = SUPPORTED) -> None:
        if unknown := [c for c in columns if c not in STEPPED]:
            raise ValueError(f"account column {unknown[0]!r} cannot be stepped in training: use {', '.join(STEPPED)}")
        self.columns = tuple(columns)
        self._instrument: object = None

    def write(self, tape: Tape, row: int, ledger: Ledger, state: AccountState, out: F32) -> None:
        """The columns at this row, before its decision."""
        if self._instrument is not tape.instrument:
            arena = Arena(1 << 20)
            self._plan = build_plan(self.columns, tape.instrument, BarSpec.parse("time:1s"), arena, Book(arena, 16))
            self._instrument = tape.instrument
        plan = self._plan
        opened = state.opened_ns if ledger.position_lots else 0
        share = min(1.0, max(-1.0, ledger.position_lots / state.cap_lots))
        plan.set_account(share, ledger.entry_ticks, opened, 0.0, 0.0, 0.0, state.last_action, 0.0, 0.0)
        plan.set_record(state.closed_ns, len(state.won), state.won.count(True), -1.0)
        plan.observe(int(tape.ts_ns[row]))
        for k, value in enumerate(plan.values):
            out[k] = value

    def __getstate__(self) -> dict[str, object]:
        """The plan lives in this process only."""
        return {"columns": self.columns, "_instrument": None}
