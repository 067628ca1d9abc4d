"""What a result owes to its timing: the same signals one decision later, and the same signals in another order, many times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.leaks.strategies import NOTHING, Asked, Noted, Played, engine_with
from mia.backtest.run.prepare import Prepared, execute
from mia.backtest.run.result import Result
from mia.domain.errors import DataError
from mia.domain.sizing import Terms
from mia.policy.strategy import Strategy, Target

F64 = npt.NDArray[np.float64]
_CHANGES_MIN: Final = 10  # of direction; below it there is little to shuffle
_DRAWS: Final = 4000
_CONFIDENCE: Final = 0.95


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run, e8 of the account currency. timing_e8: net less what its mean position would have made of the market's move."""

    net_e8: int
    timing_e8: int
    fees_e8: int
    fills: int


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """The run, its signals one decision later, and shuffled.

    shuffled_low_e8, shuffled_high_e8: 95 % bootstrap interval of the mean of the shuffled runs' timing, costs included. p_value: share of
    shuffled runs (and the run itself) whose timing is at least the run's: with signals that know nothing it is uniform.
    """

    whole: Outcome
    later: Outcome
    shuffled: list[Outcome]
    shuffled_mean_e8: float
    shuffled_low_e8: float
    shuffled_high_e8: float
    p_value: float
    notes: list[str]

    @property
    def beats_flat(self) -> bool:
        """Whether shuffled signals make money after costs, which they cannot: something leaks or is not charged."""
        return self.shuffled_low_e8 > 0.0

    @property
    def is_found(self) -> bool:
        """Whether the run's timing is better than chance, at 5 %, and pays its costs."""
        return self.p_value <= 0.05 and self.whole.timing_e8 > 0

    @property
    def lives_on_one_bar(self) -> bool:
        """Whether the profit of the timing is gone, or most of it, when the signals come one decision later."""
        return self.whole.timing_e8 > 0 and 2 * self.later.timing_e8 < self.whole.timing_e8


class _Lane(NamedTuple):
    times: list[int]
    targets: list[Target]


def timing(prepared: Prepared, seeds: int, seed: int, tick: Callable[[], None] = lambda: None) -> Timing:
    """Run as it is, one decision later, and shuffled `seeds` times. tick: called after each run.

    Shuffled are stretches of one direction among those of their direction, from a place drawn at random: as many changes of
    direction, as long in each, at other times. DataError when the strategy never asks for a position.
    """
    whole, lanes, first_mids2 = noted(prepared)
    if not any(t.signal for lane in lanes for t in lane.targets):
        raise DataError("the strategy asks for no position in this span: there is no timing to judge")
    tick()
    later = outcome(play(prepared, [_Lane(lane.times, delayed(lane.targets)) for lane in lanes]), first_mids2)
    tick()
    rng = np.random.default_rng(seed)
    others = []
    for _ in range(seeds):
        others.append(outcome(play(prepared, [_Lane(lane.times, shuffled(lane.targets, rng)) for lane in lanes]), first_mids2))
        tick()
    base = outcome(whole, first_mids2)
    values = np.array([o.timing_e8 for o in others], dtype=np.float64)
    low, high = interval(values, rng)
    at_least = 1 + int(np.count_nonzero(values >= base.timing_e8))
    notes = list(whole.notes)
    if any(len(_stretches(lane.targets)) < _CHANGES_MIN for lane in lanes):
        notes.append(f"fewer than {_CHANGES_MIN} changes of direction: there is little that could be shuffled, and the p value says little")
    return Timing(
        whole=base, later=later, shuffled=others, shuffled_mean_e8=float(values.mean()), shuffled_low_e8=low, shuffled_high_e8=high,
        p_value=at_least / (1 + len(others)), notes=notes,
    )  # fmt: skip


def noted(prepared: Prepared) -> tuple[Result, list[_Lane], tuple[int, ...]]:
    """(the run on the event engine, what each lane said and when, doubled marks of all instruments at the first question)."""
    kept: list[Noted] = []

    def wrap(_: int, strategy: Strategy) -> Strategy:
        around: Any = Noted(strategy)
        kept.append(around)
        return around  # type: ignore[no-any-return]

    result = execute(prepared, compiled=False, make=lambda spec: engine_with(spec, wrap))
    lanes = [_Lane([a.ts_ns for a in lane.asked], [_clean(a) for a in lane.asked]) for lane in kept]
    return result, lanes, next((lane.first_mids2 for lane in kept if lane.first_mids2), ())


def play(prepared: Prepared, lanes: Sequence[_Lane]) -> Result:
    """The run with other signals."""

    def wrap(i: int, strategy: Strategy) -> Strategy:
        around: Any = Played(strategy, lanes[i].times, lanes[i].targets)
        return around  # type: ignore[no-any-return]

    return execute(prepared, compiled=False, make=lambda spec: engine_with(spec, wrap))


def outcome(result: Result, first_mids2: Sequence[int]) -> Outcome:
    """What a run made, and what of it was timing."""
    marks = result.gathered.marks
    net = int(marks.equity_e8[-1] - marks.equity_e8[0])
    drift = 0.0
    for i, (instrument, first, last) in enumerate(zip(result.spec.instruments, first_mids2, result.gathered.end_mids2, strict=False)):
        if first and last:
            drift += float(marks.lots[:, i].mean()) * (last - first) / 2.0 * Terms.of(i, instrument).unit_e8
    return Outcome(net_e8=net, timing_e8=net - round(drift), fees_e8=result.parts.fees_e8, fills=len(result.gathered.fills))


def delayed(targets: Sequence[Target]) -> list[Target]:
    """Each target at the next question."""
    return [NOTHING, *targets[:-1]] if targets else []


def shuffled(targets: Sequence[Target], rng: np.random.Generator) -> list[Target]:
    """The same targets: turned round to a place drawn at random, then stretches of one direction dealt anew among their direction."""
    n = len(targets)
    if not n:
        return []
    start = int(rng.integers(n))
    turned = [*targets[start:], *targets[:start]]
    stretches = _stretches(turned)
    pools: dict[int, list[list[Target]]] = {}
    for way, members in stretches:
        pools.setdefault(way, []).append(members)
    for way in sorted(pools):
        order = rng.permutation(len(pools[way]))
        pools[way] = [pools[way][i] for i in order]
    return [target for way, _ in stretches for target in pools[way].pop()]


def _stretches(targets: Sequence[Target]) -> list[tuple[int, list[Target]]]:
    out: list[tuple[int, list[Target]]] = []
    for target in targets:
        way = 1 if target.signal > 0.0 else -1 if target.signal < 0.0 else 0
        if out and out[-1][0] == way:
            out[-1][1].append(target)
        else:
            out.append((way, [target]))
    return out


def interval(values: F64, rng: np.random.Generator) -> tuple[float, float]:
    """Bootstrap interval of the mean (percentiles; Efron and Tibshirani 1993, section 13.3)."""
    means = values[rng.integers(len(values), size=(_DRAWS, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return float(low), float(high)


def _clean(asked: Asked) -> Target:
    """What cannot be played again (a target that is no number) asks for nothing."""
    target = asked.target
    return target if target.signal == target.signal else NOTHING
