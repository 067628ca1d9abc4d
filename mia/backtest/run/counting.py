"""What a run enters into the trial registry: the configuration that it tries, before it is tried, and what came out."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mia.assemble import load_strategy
from mia.backtest.run.prepare import Prepared, execute
from mia.backtest.run.result import Result
from mia.backtest.run.spec import RunSpec
from mia.backtest.trials import By, Count, DataRef, Registry, Score, Trial, digest
from mia.backtest.validation.seal import SealLog
from mia.policy.rules.base import Rule

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_DAY_NS: Final = 86_400_000_000_000
_YEAR_DAYS: Final = 365.25
_NO_COSTS: Final = ("lanes", "data", "span")  # of a run's facts: the trial has these for itself


class Counted(NamedTuple):
    """A run with how often its family was tried on its data, this time included."""

    result: Result
    trial: Trial
    tried: Count


def counted_run(prepared: Prepared, by: By = "user", *, compiled: bool = True) -> Counted:
    """Count the trial, execute it, store its score. DataError before anything is evaluated when the registry cannot be written."""
    trial = trial_of(prepared.spec)
    with Registry() as registry:
        with registry.counted(trial, by) as scores:
            result = execute(prepared, compiled=compiled)
            scores.append(score_of(result))
        data = sorted(SealLog().related(ref.sha256 for ref in trial.data))
        return Counted(result, trial, registry.count(trial.family, data))


def trial_of(spec: RunSpec) -> Trial:
    """family: the strategy without its parameters. params: all of them, defaults too, with the bars; of a model its sha256.

    costs_sha256: of instruments, fills, account, limits and execution, and of how many rows there were, sealed ones left out.
    """
    lane = spec.lanes[0]  # all lanes are of one strategy
    strategy = load_strategy(lane, spec.instruments[0].family)
    family, params = strategy.name, dict[str, Any](sha256=strategy.sha256)
    if isinstance(strategy, Rule):
        family, params = strategy.spec.name, {**strategy.values, "bars": strategy.bar}
    first_ns = max(spec.from_ns, min(facts.first_ns for facts in spec.data))
    last_ns = max(facts.last_ns for facts in spec.data)
    costs = {name: value for name, value in spec.facts().items() if name not in _NO_COSTS}
    costs["rows"] = [facts.rows for facts in spec.data]
    return Trial(family=family, params=params, data=_data(spec), first_ns=first_ns, last_ns=last_ns, costs_sha256=digest(costs))


def _data(spec: RunSpec) -> tuple[DataRef, ...]:
    """Files by their bytes; a simulated market by what makes it."""
    found: list[DataRef] = []
    for facts in spec.data:
        if facts.kind == "simulated":
            market = msgspec.structs.replace(spec.settings.sim, seed=spec.seed)
            made = digest([facts.instrument, facts.first_ns, facts.last_ns, market])
            found.append(DataRef(f"{facts.instrument} {', '.join(facts.files)}", made))
        found += [DataRef(name, sha256) for name, sha256 in zip(facts.files, facts.sha256, strict=False)]
    return tuple(dict.fromkeys(found))


def score_of(result: Result) -> Score:
    """The Sharpe ratio a year, and the moments, of the daily returns of equity from where the run may trade."""
    marks = result.gathered.marks
    returns, years = daily_returns(marks.ts_ns, marks.equity_e8, result.spec.from_ns)
    n = len(returns)
    spread = float(returns.std(ddof=1)) if n > 1 else 0.0
    if not spread > 0.0:
        return Score(metric="sharpe", value=None, periods=n, periods_per_year=n / years if years > 0.0 else None)
    z = (returns - returns.mean()) / returns.std()
    sharpe, a_year = float(returns.mean()) / spread, n / years
    return Score(
        metric="sharpe", value=sharpe * a_year**0.5, sharpe=sharpe, periods=n, periods_per_year=a_year,
        skew=float((z**3).mean()), kurtosis=float((z**4).mean()),
    )  # fmt: skip


def daily_returns(ts_ns: I64, equity_e8: I64, from_ns: int = 0) -> tuple[F64, float]:
    """(simple returns between the last marks of UTC days that have any, years that they span).

    The first return begins at the last mark before from_ns, or at the first of all. The first and the last day may be parts of
    days. After equity came to nothing there is no further return.
    """
    first = max(int(np.searchsorted(ts_ns, from_ns, side="left")) - 1, 0)
    ts, equity = ts_ns[first:], equity_e8[first:].astype(np.float64)
    days = (ts[1:] - 1) // _DAY_NS  # a mark at midnight ends the day before
    ends = np.append(0, np.flatnonzero(np.diff(days, append=days[-1:] + 1)) + 1) if len(days) else np.zeros(1, np.int64)
    values = equity[ends]
    if (lost := np.flatnonzero(values <= 0.0)).size:
        ends, values = ends[: lost[0] + 1], values[: lost[0] + 1]
    if len(values) < 2 or values[0] <= 0.0:
        return np.zeros(0), 0.0
    returns: F64 = values[1:] / values[:-1] - 1.0
    return returns, (int(ts[ends[-1]]) - int(ts[0])) / _DAY_NS / _YEAR_DAYS
