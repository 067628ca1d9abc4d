"""What the page shows of a run, computed once: its figures, the prices it traded at, its baselines, the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mia.backtest.compare import Tested, common_span, differences, paired
from mia.backtest.report.verdict import Answer, answers
from mia.backtest.run.figures import SAMPLES, summary_from
from mia.backtest.run.find import strategy_name
from mia.backtest.run.result import is_undecided
from mia.backtest.run.stored import StoredRun
from mia.backtest.stats.inputs import F64, I64, Track, Trials
from mia.backtest.stats.summary import Summary
from mia.domain.errors import DataError
from mia.risk.windows import Windows


class Rival(NamedTuple):
    """A baseline: its account over time, its return as a share on the common span beside the run's, the test of the difference, and what
    else differs."""

    name: str
    track: Track
    total: float
    run_total: float
    test: Tested
    differs: tuple[str, ...]


class Prices(NamedTuple):
    """Of one instrument, where there was one: in its own price, not in ticks."""

    name: str
    ts_ns: I64
    price: F64


class View(NamedTuple):
    """All that the page prints. rivals: holding the first instrument (when it had a price), then the runs that were named."""

    facts: dict[str, Any]
    run: StoredRun
    summary: Summary
    prices: list[Prices]
    rivals: list[Rival]
    answers: list[Answer]
    notes: list[str]  # of the run and of holdouts on its data

    @property
    def name(self) -> str:
        """Of the strategy."""
        return strategy_name(self.facts)


def view_of(
    run: StoredRun,
    windows: Windows,
    *,
    against: Sequence[StoredRun] = (),
    trials: Trials | None = None,
    seals: Sequence[str] = (),
    samples: int = SAMPLES,
) -> View:
    """A run beside its baselines; DataError when one of `against` shares no time with it. Same run and seed, same view.

    seals: what is known of holdouts on the run's data.
    """
    columns = run.columns
    summary = summary_from(columns, windows, trials=trials, samples=samples)
    rivals = []
    if columns.market is not None:
        name = f"buy and hold {_instrument(run.facts, 0)}"
        rivals.append(_rival(name, run, columns.market, windows, samples, ()))
    for other in against:
        if other.facts["id"] == run.facts["id"]:
            raise DataError(f"--against {other.facts['id']}: is the run itself")
        first, last = common_span([columns.track, other.columns.track])
        name = f"{strategy_name(other.facts)} (run {other.facts['id']})"
        if first >= last:
            raise DataError(f"--against {other.facts['id']}: shares no time with run {run.facts['id']}")
        differs = tuple(d.text for d in differences(run.facts, other.facts))
        rivals.append(_rival(name, run, other.columns.track, windows, samples, differs))
    net_e8 = int(columns.track.equity_e8[-1]) - int(columns.track.equity_e8[0])
    judged = [(r.name, r.run_total, r.total, r.test) for r in rivals]
    found = answers(
        summary, net_e8 / 1e8, str(run.facts["currency"]), judged, is_undecided=is_undecided(run.facts["counters"])
    )  # fmt: skip
    return View(run.facts, run, summary, _prices(run), rivals, found, list(dict.fromkeys([*seals, *run.facts["notes"]])))


def _rival(name: str, run: StoredRun, track: Track, windows: Windows, samples: int, differs: tuple[str, ...]) -> Rival:
    own = run.columns.track
    span = common_span([own, track])
    test = paired(own, track, windows, run.columns.family, seed=run.columns.seed, samples=max(samples, 1_000))
    return Rival(name, track, _total(track, *span), _total(own, *span), test, differs)


def _total(track: Track, first_ns: int, last_ns: int) -> float:
    """Return from the last mark at or before first_ns to that of last_ns, as a share."""
    first, last = (max(int(np.searchsorted(track.ts_ns, at, side="right")) - 1, 0) for at in (first_ns, last_ns))
    start = float(track.equity_e8[first])
    return float(track.equity_e8[last]) / start - 1.0 if start > 0.0 else float("nan")


def _instrument(facts: dict[str, Any], number: int) -> str:
    found = facts["instruments"][number]
    return f"{found['venue']}:{found['symbol']}"


def _prices(run: StoredRun) -> list[Prices]:
    found = []
    for i in range(run.marks.mids2.shape[1]):
        mids2 = run.marks.mids2[:, i]
        known = np.flatnonzero(mids2 > 0)
        price: F64 = mids2[known].astype(np.float64) * (float(run.facts["instruments"][i]["tick_size"]) / 2.0)
        found.append(Prices(_instrument(run.facts, i), run.marks.ts_ns[known], price))
    return found
