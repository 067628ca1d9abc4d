"""A finished run in memory, checked to the last 1e-8: what it came to, ready for statistics, files and reports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from mia.assemble import versions
from mia.backtest.readers import utc
from mia.backtest.run.gathered import Gathered
from mia.backtest.run.spec import FORMAT, RunSpec
from mia.backtest.run.trips import Excursions, Trip
from mia.commit import git_commit
from mia.domain.codes import Code
from mia.domain.errors import FailStop
from mia.domain.events import OrderFilled
from mia.domain.sizing import Terms
from mia.execution.attribution import Attribution, Moments, Parts


class Result(msgspec.Struct, kw_only=True):
    """What a run came to."""

    spec: RunSpec
    id: str
    strategies: tuple[tuple[str, str], ...]  # name, sha256
    gathered: Gathered
    trips: list[Trip]
    parts: Parts
    notes: list[str]

    def facts(self) -> dict[str, Any]:
        """For run.json."""
        equity = self.gathered.marks.equity_e8
        return {
            "format": FORMAT,
            "id": self.id,
            "strategies": [{"name": name, "sha256": sha256} for name, sha256 in self.strategies],
            "versions": versions(),
            "git_commit": git_commit(),
            **self.spec.facts(),
            "counters": self.gathered.counters,
            "attribution_e8": {**msgspec.to_builtins(self.parts), "net_e8": self.parts.net_e8},
            "start_equity_e8": int(equity[0]),
            "end_equity_e8": int(equity[-1]),
            "notes": self.notes,
        }


def result_of(
    spec: RunSpec, strategies: tuple[tuple[str, str], ...], gathered: Gathered, excursions: Excursions, notes: list[str]
) -> Result:
    """FailStop when the money does not add up to the last 1e-8: such a run is worth nothing."""
    attribution = Attribution([Terms.of(i, instrument) for i, instrument in enumerate(spec.instruments)])
    for event in gathered.money:
        if isinstance(event, OrderFilled):
            attribution.fill(event, gathered.moments.get(event.fill_id, Moments()))
        else:
            attribution.flow(event)
    parts = attribution.parts(gathered.end_mids2)
    equity = gathered.marks.equity_e8
    change_e8 = int(equity[-1] - equity[0])
    if parts.net_e8 != change_e8:
        raise FailStop(f"the run's costs add up to {parts.net_e8 / 1e8:.8f}, its equity changed by {change_e8 / 1e8:.8f}")
    trips = [
        Trip.of(record, trip.parts, spec.instruments[record.instrument], excursions)
        for record, trip in zip(gathered.trades, attribution.take_closed(), strict=True)
    ]
    if gathered.counters["alerts"].get("drawdown_stop"):
        refused = [row.first_ns for row in gathered.decisions if row.code == "drawdown_stop"]
        when = f" ({utc(refused[0])})" if refused else ""
        notes = [*notes, f"the drawdown stop tripped{when}: nothing was opened after it, as live, where only the operator resets it"]
    below = np.flatnonzero(equity <= 0)
    if len(below):
        at = datetime.fromtimestamp(int(gathered.marks.ts_ns[below[0]]) // 1_000_000_000, UTC)
        lowest = int(equity.min()) / 1e8
        notes = [*notes, f"equity was gone at {at:%Y-%m-%d %H:%M:%S} UTC, {lowest:.2f} at the lowest: nothing can be opened on it"]
    notes = [*notes, *_undecided(gathered.counters)]
    return Result(spec=spec, id=spec.id(strategies), strategies=strategies, gathered=gathered, trips=trips, parts=parts, notes=notes)


def is_undecided(counters: Mapping[str, Any]) -> bool:
    """Did the strategy never see all that it reads?"""
    blind = sum(counters["codes"].get(str(code), 0) for code in (Code.WARM_UP, Code.FEATURE_MISSING))
    idle = counters["codes"].get(str(Code.TRADING_DISABLED), 0)  # before the span
    return bool(blind) and blind + idle >= counters["decisions"]


def _undecided(counters: dict[str, Any]) -> list[str]:
    """A run in which the strategy never saw all that it reads says so: no trade is then no result."""
    if not is_undecided(counters):
        return []
    blind = {str(code): counters["codes"].get(code, 0) for code in (Code.WARM_UP, Code.FEATURE_MISSING)}
    told = ", ".join(f"{code} {n}" for code, n in blind.items() if n)
    return [
        f"nothing was ever decided: what the strategy reads was missing each time ({told}): the history or --warm-up is too short for it, "
        "or its parameters ask for less than a bar"
    ]
