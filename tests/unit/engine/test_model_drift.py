"""How far a model's inputs drifted from training: measured at decisions, told to the next one, alerted once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from mia.domain.effects import RaiseAlert
from mia.domain.errors import ConfigError
from mia.features.distribution import Distribution, Spread
from mia.kernels.arena import Arena
from mia.kernels.drift import DriftMeter

Make = Callable[..., Any]
BLOCK = 50


def psi(values: Sequence[float], edges: Sequence[float], shares: Sequence[float]) -> float:
    """In plain words: shares of the bins [.., e0), [e0, e1), .., [en, ..), none below 1e-4."""
    total = 0.0
    for low, high, p in zip([-math.inf, *edges], [*edges, math.inf], shares, strict=True):
        p, q = max(p, 1e-4), max(sum(low <= v < high for v in values) / len(values), 1e-4)
        total += (q - p) * math.log(q / p)
    return total


def drift_file(edges: Sequence[float], shares: Sequence[float], column: str = "microprice_gap", **other: Any) -> bytes:
    spread = Spread(edges=list(edges), shares=list(shares), present=1.0)
    made = Distribution(format=1, catalogue_sha256="", bars="time:1s", rows=1, columns={column: spread})
    return msgspec.json.encode(msgspec.structs.replace(made, **other))


@pytest.fixture
def watched(rig: Make, says: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A rig whose lane reads the mid and watches it with small blocks: in training half of the mids lay below 100 ticks."""

    def make(columns: tuple[str, ...] = ("mid",), edges: Sequence[float] = (100.0,), shares: Sequence[float] = (0.5, 0.5)) -> Any:
        strategy = says(columns)
        strategy.drift = drift_file(edges, shares, "mid")
        monkeypatch.setattr("mia.engine.lane.DriftMeter", lambda *args: DriftMeter(*args, BLOCK))
        return rig(strategy)

    return make


def mids(r: Any, *values: int) -> list[str]:
    """Decide at each mid (in ticks); the texts of the drift alerts that came of it."""
    effects = [effect for mid in values for effect in r.quote(mid - 1, mid + 1)]
    return [e.text for e in effects if isinstance(e, RaiseAlert) and e.code == "model_drift"]


def drift_of(r: Any) -> float:
    return float(r.engine.state.lanes[0].model_drift)


def test_the_index_is_that_of_the_last_full_block_and_of_what_came_since(watched: Make) -> None:
    edges, shares = (90.0, 100.0, 101.0), (0.2, 0.3, 0.1, 0.4)
    r = watched(edges=edges, shares=shares)
    seen = np.random.default_rng(3).integers(80, 120, 4 * BLOCK + 7).tolist()

    mids(r, *seen)

    assert drift_of(r) == pytest.approx(psi(seen[-(BLOCK + 7) :], edges, shares), rel=1e-12)


def test_nothing_is_known_before_the_first_block_is_full(watched: Make) -> None:
    r = watched()

    mids(r, *[99] * (BLOCK - 1))
    before = drift_of(r)
    mids(r, 99)

    assert before == -1.0
    assert drift_of(r) == pytest.approx(psi([99] * BLOCK, (100.0,), (0.5, 0.5)))


def test_the_column_of_the_account_says_it_one_decision_later(watched: Make) -> None:
    r = watched(("mid", "model_drift_score"))
    plan = r.engine.lanes[0].plan

    mids(r, *[99] * BLOCK)
    is_there_at_once = plan.is_there(1)
    known = drift_of(r)
    mids(r, 101)

    assert not is_there_at_once
    assert plan.values[1] == known > 0.25


def test_an_alert_comes_once_and_again_only_after_the_inputs_were_those_of_training(watched: Make) -> None:
    r = watched()

    first = mids(r, *[99] * BLOCK)
    still = mids(r, *[99] * 3 * BLOCK)
    calm = mids(r, *[99, 101] * BLOCK * 2)
    is_calm = drift_of(r) < 0.1
    again = mids(r, *[99] * BLOCK * 2)

    assert len(first) == 1
    assert "mid is not spread as in training any more" in first[0]
    assert (still, calm, is_calm) == ([], [], True)
    assert len(again) == 1


def test_a_restored_engine_counts_on(watched: Make) -> None:
    one, other = watched(), watched()
    mids(one, *[99] * (BLOCK + 3))

    other.engine.restore(*one.engine.snapshot())
    other.now, other.seq = one.now, one.seq
    for r in (one, other):
        mids(r, *[101] * 20)

    assert drift_of(one) == drift_of(other) == pytest.approx(psi([99] * (BLOCK + 3) + [101] * 20, (100.0,), (0.5, 0.5)))


def test_values_that_are_not_there_are_not_counted(watched: Make, rig: Make, says: Make) -> None:
    strategy = says(("mid", "depth_imb_5", "has(depth)"))
    strategy.drift = drift_file((0.5,), (0.5, 0.5), "depth_imb_5")
    r = rig(strategy)
    r.quote()  # no book: the column shows its neutral value, 0

    meter = DriftMeter(Arena(1 << 16), r.engine.lanes[0].plan, [1], [[0.5]], [[0.5, 0.5]], 1)
    meter.count()

    assert meter.score() == -1.0


def test_the_first_of_several_columns_with_the_largest_index_is_named(rig: Make, says: Make) -> None:
    r = rig(says(("mid", "close")))
    plan = r.engine.lanes[0].plan
    meter = DriftMeter(Arena(1 << 16), plan, [0, 0, 0], [[1e4], [1e6], [1e6]], [[0.5, 0.5], [0.9, 0.1], [0.5, 0.5]], 4)

    for _ in range(4):
        r.quote()
        meter.count()

    assert meter.worst() == 0  # of two equal ones
    assert meter.score() == pytest.approx(psi([1e4] * 4, (1e4,), (0.5, 0.5)))


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b"{", "truncated"),
        (drift_file((1.0,), (0.5, 0.5), "rsi_14"), "'rsi_14' is not read by the model"),
        (drift_file((1.0,), (0.5, 0.6), "mid"), "mid: edges must rise"),
        (drift_file((2.0, 1.0), (0.5, 0.2, 0.3), "mid"), "mid: edges must rise"),
        (drift_file((1.0,), (1.0,), "mid"), "mid: edges must rise"),
        (drift_file((1.0,), (0.5, 0.5), "mid", format=2), "format 2 is not 1"),
        (drift_file((1.0,), (0.5, 0.5), "mid", columns={}), "name at least one"),
    ],
)
def test_a_file_that_does_not_fit_the_model_is_refused(data: bytes, wrong: str, rig: Make, says: Make) -> None:
    strategy = says(("mid",))
    strategy.drift = data

    with pytest.raises(ConfigError, match=f"lane 0 .*drift.json: .*{wrong}"):
        rig(strategy)


def test_the_shipped_meter_waits_for_thousands_of_decisions(rig: Make, says: Make) -> None:
    strategy = says(("mid",))
    strategy.drift = drift_file((100.0,), (0.5, 0.5), "mid")
    r = rig(strategy)

    mids(r, *[99] * 4_999)
    before = drift_of(r)
    mids(r, 99)

    assert (before, drift_of(r) > 0.25) == (-1.0, True)
