"""Runs side by side: what they differ in besides their strategies, and whether the difference of their figures is more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np

from mia.backtest.run.figures import periods_for, summary_from
from mia.backtest.run.find import strategy_name
from mia.backtest.run.stored import StoredRun
from mia.backtest.stats.inputs import Track, Trials
from mia.backtest.stats.overfit import Superior, superior
from mia.backtest.stats.periods import Periods, common_returns
from mia.backtest.stats.registry import PERIODS_MIN, counted, utc
from mia.backtest.stats.resample import LEVEL, SAMPLES, Difference, compare
from mia.backtest.stats.summary import Summary
from mia.domain.errors import ConfigError, DataError
from mia.execution.attribution import Parts
from mia.risk.windows import Windows

Kind = Literal["data", "costs", "currency", "span", "bars", "cash", "other"]
_REFUSING: Final = ("data", "costs", "currency")  # such a difference is not one of the strategies
# Of run.json: what a strategy may be free in, or what follows from it; whatever else is there decides what trading costs.
_NOT_COSTS: Final = frozenset({
    "format", "id", "strategies", "versions", "lanes", "instruments", "data", "span", "seed", "cash_e8", "currency", "risk", "execution",
    "calendar", "counters", "attribution_e8", "start_equity_e8", "end_equity_e8", "notes", "git_commit",
})  # fmt: skip
_SAID: Final = ("risk", "execution", "calendar", "versions", "seed", "git_commit")
_SHOWN_MAX: Final = 6  # differences of one kind


class Differing(msgspec.Struct, frozen=True):
    """One thing in which two runs differ besides what they traded by."""

    kind: Kind
    text: str


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One run among others. attribution: money in units, as run.json has it."""

    id: str
    strategy: str
    currency: str
    summary: Summary
    attribution: dict[str, float]


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """The first run against another. refused: why nothing was tested, else empty; first_ns, last_ns: of the common span."""

    a: str
    b: str
    differing: list[Differing]
    refused: str
    first_ns: int
    last_ns: int
    period: str
    periods: int
    figures: list[Difference]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. better_than_first, better_than_flat: tests that none of the others (none of all) is; None, and why, below three runs."""

    runs: list[Compared]
    pairs: list[Pair]
    level: float
    samples: int
    better_than_first: Superior | None
    better_than_flat: Superior | None
    why: str


class Tested(NamedTuple):
    """Two tracks on the periods that both cover, or why they were not tested."""

    refused: str
    first_ns: int
    last_ns: int
    period: str
    periods: int
    figures: list[Difference]

    def figure(self, name: str) -> Difference | None:
        """One of the figures; None when nothing was tested."""
        return next((found for found in self.figures if found.name == name), None)


def compare_runs(
    runs: Sequence[StoredRun],
    windows: Windows,
    *,
    trials: Sequence[Trials | None] = (),
    samples: int = SAMPLES,
    level: float = LEVEL,
    is_forced: bool = False,
) -> Comparison:
    """The runs beside each other; the first is tested against each other one. ConfigError for fewer than two.

    trials: of each run, or none. is_forced: test across different data and costs, too. Seeded by the first run's seed.
    """
    if len(runs) < 2:
        raise ConfigError("compare: needs two runs at least")
    ids = [str(run.facts["id"]) for run in runs]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ConfigError(f"compare: run {', '.join(twice)} is named twice")
    tried = trials or [None] * len(runs)
    compared = [_compared(run, windows, t, samples) for run, t in zip(runs, tried, strict=True)]
    pairs = [_pair(runs[0], other, windows, samples, level, is_forced) for other in runs[1:]]
    against_first, against_flat, why = _superior(runs, pairs, windows, samples)
    return Comparison(
        runs=compared, pairs=pairs, level=level, samples=samples, better_than_first=against_first, better_than_flat=against_flat, why=why
    )


def _compared(run: StoredRun, windows: Windows, trials: Trials | None, samples: int) -> Compared:
    return Compared(
        id=str(run.facts["id"]),
        strategy=strategy_name(run.facts),
        currency=str(run.facts["currency"]),
        summary=summary_from(run.columns, windows, trials=trials, samples=samples, has_groups=False),
        attribution={name: value / 1e8 for name, value in parts_of(run.facts["attribution_e8"]).items()},
    )


def parts_of(attribution_e8: Mapping[str, int]) -> dict[str, int]:
    """Where the money went, e8, in the order in which it is told: gross, what was taken from it, net. One unknown here comes before it."""
    parts = {name.removesuffix("_e8"): int(value) for name, value in attribution_e8.items()}
    known = [name.removesuffix("_e8") for name in Parts.__struct_fields__]
    order = [*(name for name in known if name in parts), *(name for name in parts if name not in known and name != "net"), "net"]
    return {name: parts[name] for name in order}


def _pair(a: StoredRun, b: StoredRun, windows: Windows, samples: int, level: float, is_forced: bool) -> Pair:
    differing = differences(a.facts, b.facts)
    reasons = [d.text for d in differing if d.kind in _REFUSING]
    refused = f"{'; '.join(reasons)}: the difference would not be that of the strategies" if reasons and not is_forced else ""
    found = Tested(refused, 0, 0, "", 0, [])
    if not refused:
        found = paired(a.columns.track, b.columns.track, windows, a.columns.family, seed=a.columns.seed, samples=samples, level=level)
    return Pair(
        a=str(a.facts["id"]), b=str(b.facts["id"]), differing=differing, refused=found.refused, first_ns=found.first_ns,
        last_ns=found.last_ns, period=found.period, periods=found.periods, figures=found.figures,
    )  # fmt: skip


def paired(
    a: Track, b: Track, windows: Windows, family: str, *, seed: int = 0, samples: int = SAMPLES, level: float = LEVEL
) -> Tested:  # fmt: skip
    """a - b by the paired stationary bootstrap on the span that both cover; never on less than 20 periods and marks, nor past a ruin."""
    first_ns, last_ns = common_span([a, b])
    if first_ns >= last_ns:
        return Tested("they share no time", first_ns, last_ns, "", 0, [])
    periods = _periods(first_ns, last_ns, windows, family)
    marks = min(int(np.count_nonzero((t.ts_ns >= first_ns) & (t.ts_ns <= last_ns))) for t in (a, b))
    if marks < PERIODS_MIN:
        return Tested(f"{counted(marks, 'mark')} in common, {PERIODS_MIN} are needed", first_ns, last_ns, periods.noun, 0, [])
    try:
        r_a, r_b = common_returns([a, b], periods)
        if len(r_a) < PERIODS_MIN:
            return Tested(f"{counted(len(r_a), periods.noun)} in common, {PERIODS_MIN} are needed", first_ns, last_ns, periods.noun, 0, [])
        figures = compare(r_a, r_b, per_year=periods.per_year, seed=seed, samples=samples, level=level)
    except DataError as e:
        return Tested(str(e), first_ns, last_ns, periods.noun, 0, [])
    return Tested("", first_ns, last_ns, periods.noun, len(r_a), figures)


def common_span(tracks: Sequence[Track]) -> tuple[int, int]:
    """(last start, first end)."""
    return max(int(t.ts_ns[0]) for t in tracks), min(int(t.ts_ns[-1]) for t in tracks)


def _periods(first_ns: int, last_ns: int, windows: Windows, family: str) -> Periods:
    return periods_for(np.array([first_ns, last_ns], dtype=np.int64), windows, family)


def _superior(
    runs: Sequence[StoredRun], pairs: Sequence[Pair], windows: Windows, samples: int
) -> tuple[Superior | None, Superior | None, str]:
    if len(runs) < 3:
        return None, None, "needs three runs"
    if any(pair.refused for pair in pairs):
        return None, None, "not every run can be tested against the first"
    tracks = [run.columns.track for run in runs]
    first_ns, last_ns = common_span(tracks)
    seed = runs[0].columns.seed
    try:
        if first_ns >= last_ns:
            raise DataError("the runs share no time")
        r = np.stack(common_returns(tracks, _periods(first_ns, last_ns, windows, runs[0].columns.family)), axis=1)
        return superior(r[:, 1:] - r[:, :1], seed=seed, samples=samples), superior(r, seed=seed, samples=samples), ""
    except DataError as e:
        return None, None, str(e)


# --- what two runs differ in ---------------------------------------------------------------------------------------------


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Differing]:
    """What two runs (facts of run.json) differ in, besides strategies and what came of them; the grave ones first."""
    found: list[Differing] = []
    data_a, data_b = ({(d["instrument"], *(d["sha256"] or d["files"])) for d in facts["data"]} for facts in (a, b))
    if data_a != data_b:
        found.append(Differing("data", f"data differ ({_data(a)}; {_data(b)})"))
    if a["currency"] != b["currency"]:
        found.append(Differing("currency", f"currencies differ ({a['currency']}, {b['currency']})"))
    costs = [key for key in sorted(a.keys() | b.keys()) if key not in _NOT_COSTS]
    found += [Differing("costs", f"costs differ ({text})") for text in _changes(_part(a, costs), _part(b, costs))]
    found += [Differing("costs", f"instruments differ ({text})") for text in _changes(*_common_instruments(a, b))]
    bars_a, bars_b = ({str(d["bars"] or d["kind"]) for d in facts["data"]} for facts in (a, b))
    if bars_a != bars_b:
        found.append(Differing("bars", f"bars differ ({', '.join(sorted(bars_a))}; {', '.join(sorted(bars_b))})"))
    span_a, span_b = _span(a), _span(b)
    if span_a != span_b:
        found.append(Differing("span", f"spans differ ({_span_text(span_a)}; {_span_text(span_b)})"))
    if a["cash_e8"] != b["cash_e8"]:
        found.append(Differing("cash", f"cash at the start differs ({a['cash_e8'] / 1e8:,.2f}, {b['cash_e8'] / 1e8:,.2f})"))
    return found + [Differing("other", text) for text in _changes(_part(a, _SAID), _part(b, _SAID))]


def _part(facts: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: facts[key] for key in keys if key in facts}


def _common_instruments(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    named = [{f"{i['venue']}:{i['symbol']}": i for i in facts["instruments"]} for facts in (a, b)]
    both = sorted(named[0].keys() & named[1].keys())
    return {name: named[0][name] for name in both}, {name: named[1][name] for name in both}


def flattened(value: Any, name: str = "") -> dict[str, str]:
    """Nested tables and lists as "a.b" -> text, in their order."""
    if isinstance(value, Mapping) and value:
        return {k: v for key, part in value.items() for k, v in flattened(part, f"{name}.{key}" if name else str(key)).items()}
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (Mapping, list, tuple)):
        return {k: v for i, part in enumerate(value) for k, v in flattened(part, f"{name}[{i}]").items()}
    if isinstance(value, (list, tuple)):
        return {name: ", ".join(map(str, value)) or "none"}
    if isinstance(value, bool):
        return {name: "yes" if value else "no"}
    return {name: "none" if value is None or value == {} else str(value)}


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    flat_a, flat_b = flattened(a), flattened(b)
    keys = [key for key in dict.fromkeys([*flat_a, *flat_b]) if key and flat_a.get(key) != flat_b.get(key)]
    found = [f"{key} {flat_a.get(key, 'not there')}, {flat_b.get(key, 'not there')}" for key in keys]
    return found[:_SHOWN_MAX] + ([f"and {len(found) - _SHOWN_MAX} more"] if len(found) > _SHOWN_MAX else [])


def _data(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{d['instrument']} {' '.join(d['files'])} {' '.join(s[:8] for s in d['sha256'])}".strip() for d in facts["data"])


def _span(facts: Mapping[str, Any]) -> tuple[int, int]:
    """What could be traded: a warm-up before it is not."""
    first, last = min(d["first_ns"] for d in facts["data"]), max(d["last_ns"] for d in facts["data"])
    return max(first, facts["span"]["from_ns"]), last


def _span_text(span: tuple[int, int]) -> str:
    return f"{utc(span[0])} to {utc(span[1])}" if span[1] else f"from {utc(span[0])}"
