"""What a run enters into the trial registry: the configuration that it tries, before it is tried, and what came out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from mia.assemble import load_strategy
from mia.backtest.run.figures import periods_for, track_of
from mia.backtest.run.prepare import Prepared, execute
from mia.backtest.run.result import Result
from mia.backtest.run.spec import RunSpec
from mia.backtest.stats.inputs import Trials, no_trips
from mia.backtest.stats.sheet import Sheet
from mia.backtest.trials import By, Count, DataRef, Registry, Score, Trial, digest
from mia.backtest.validation.seal import SealLog, seal_notes
from mia.backtest.validation.seal_match import span_reading
from mia.policy.rules.base import Rule
from mia.risk.windows import Windows
from mia.store.state_dir import data_home

_NO_COSTS: Final = ("lanes", "data", "span")  # of a run's facts: the trial has these for itself


class Counted(NamedTuple):
    """A run with how often its family was tried on its data, this time included."""

    result: Result
    trial: Trial
    tried: Count


def counted_run(prepared: Prepared, windows: Windows, by: By = "user", *, compiled: bool = True) -> Counted:
    """Count the trial, execute it, store its score. DataError before anything is evaluated when the registry cannot be written."""
    trial = trial_of(prepared.spec)
    with Registry() as registry:
        with registry.counted(trial, by) as scores:
            result = execute(prepared, compiled=compiled)
            del prepared  # the history: whoever gave it away has that memory for the figures
            scores.append(score_of(result, windows))
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
    market = [facts for facts in spec.data if facts.kind != "signals"]
    if len(market) < len(spec.data):  # signals are what is tried, not what it is tried on
        params["signals"] = [facts.sha256 for facts in spec.data if facts.kind == "signals"]
    first_ns = max(spec.from_ns, min(facts.first_ns for facts in market))
    last_ns = max(facts.last_ns for facts in market)
    costs = {name: value for name, value in spec.facts().items() if name not in _NO_COSTS}
    costs["rows"] = [facts.rows for facts in spec.data]
    return Trial(family=family, params=params, data=_data(spec), first_ns=first_ns, last_ns=last_ns, costs_sha256=digest(costs))


def _data(spec: RunSpec) -> tuple[DataRef, ...]:
    """Files by their bytes; a simulated market by what makes it."""
    found: list[DataRef] = []
    for facts in spec.data:
        if facts.kind == "signals":
            continue
        if facts.kind == "simulated":
            market = msgspec.structs.replace(spec.settings.sim, seed=spec.seed)
            made = digest([facts.instrument, facts.first_ns, facts.last_ns, market])
            found.append(DataRef(f"{facts.instrument} {', '.join(facts.files)}", made))
        found += [DataRef(name, sha256) for name, sha256 in zip(facts.files, facts.sha256, strict=False)]
    return tuple(dict.fromkeys(found))


def score_of(result: Result, windows: Windows) -> Score:
    """The Sharpe ratio a year, and the moments, of the returns that the summary of a run measures: days, of a short span hours or less."""
    track = track_of(result.gathered.marks, result.spec.from_ns)
    periods = periods_for(track.ts_ns, windows, result.spec.instruments[0].family)
    sheet = Sheet(track, no_trips(), periods)
    if sheet.n < 2 or not sheet.moments[1] > 0.0:
        return Score(metric="sharpe", value=None, periods=sheet.n, periods_per_year=periods.per_year)
    _, _, skew, kurtosis = sheet.moments
    return Score(
        metric="sharpe", value=sheet.sharpe * math.sqrt(periods.per_year), sharpe=sheet.sharpe, periods=sheet.n,
        periods_per_year=periods.per_year, skew=skew, kurtosis=kurtosis,
    )  # fmt: skip


def deflating(count: Count) -> Trials:
    """What the deflated Sharpe ratio reads."""
    return Trials(count.trials, 0.0 if count.variance_per_year is None and count.trials == 1 else count.variance_per_year)


def recounted(done: Sequence[Counted]) -> list[Counted]:
    """Runs that were asked for at once, each with the trials of all of them: whoever reads one table has the others before him."""
    with Registry() as registry:
        log = SealLog()
        data = [sorted(log.related(ref.sha256 for ref in counted.trial.data)) for counted in done]
        return [c._replace(tried=registry.count(c.trial.family, related)) for c, related in zip(done, data, strict=True)]


def tried_of(facts: Mapping[str, Any]) -> Count | None:
    """How often the family of a stored run (facts of run.json) was tried on its data until now; None where no registry knows it.

    A simulated market is known by its name, its seed and its span.
    """
    if not (data_home() / "trials.db").is_file():  # a page makes no registry
        return None
    family = str(facts["strategies"][0]["name"]).partition("(")[0]
    files = {digest for data in facts["data"] for digest in data["sha256"]}
    with Registry() as registry:
        related = SealLog().related(files) if files else _made(registry, family, facts)
        found = registry.count(family, sorted(related)) if related else None
    return found if found is not None and found.trials else None


def trials_of(facts: Mapping[str, Any]) -> Trials | None:
    """The same as the deflated Sharpe ratio reads it."""
    found = tried_of(facts)
    return deflating(found) if found is not None else None


def _made(registry: Registry, family: str, facts: Mapping[str, Any]) -> set[str]:
    names = {f"{data['instrument']} {', '.join(data['files'])}" for data in facts["data"]}
    first_ns = max(int(facts["span"]["from_ns"]), min(int(data["first_ns"]) for data in facts["data"]))
    last_ns = max(int(data["last_ns"]) for data in facts["data"])
    rows = [row for row in registry.trials(family, span=(first_ns, last_ns)) if (row.first_ns, row.last_ns) == (first_ns, last_ns)]
    return {ref.sha256 for row in rows for ref in row.data if ref.name in names}


def seals_of(facts: Mapping[str, Any]) -> list[str]:
    """What a report on a stored run has to say of holdouts on its data, as they stand now."""
    notes: list[str] = []
    for data in facts["data"]:
        files = dict(zip(data["sha256"], data["files"], strict=False))
        if files:
            notes += seal_notes(span_reading(files, int(data["first_ns"]), int(data["last_ns"])))
    return list(dict.fromkeys(notes))
