"""The regime filter against a plain forward recursion, and its refusals."""

from __future__ import annotations

import math
import random

import msgspec
import pytest

from mia.domain.errors import ConfigError
from mia.kernels.arena import Arena
from mia.regime.filter import UNIFORM, RegimeFilter, RegimeParams, parse_params

INDEX = {"other": 0, "vol": 1, "trend": 2}


def params(**changes: object) -> RegimeParams:
    values: dict[str, object] = {
        "columns": ["vol", "trend"],
        "center": [1.0, 0.0],
        "scale": [0.5, 2.0],
        "mean": [[-0.5, 0.0], [0.0, 1.5], [2.0, 0.5]],
        "var": [[0.5, 0.4], [0.8, 0.9], [1.5, 2.0]],
        "transition": [[0.97, 0.02, 0.01], [0.03, 0.95, 0.02], [0.02, 0.03, 0.95]],
        "clip": 6.0,
        "warm_bars": 3,
    }
    return RegimeParams(**{**values, **changes})  # type: ignore[arg-type]


def forward(p: RegimeParams, rows: list[tuple[float, float]]) -> list[list[float]]:
    """The textbook recursion in log space."""
    logp = [math.log(1 / 3)] * 3
    out = []
    for row in rows:
        z = [max(-p.clip, min(p.clip, (x - c) / s)) for x, c, s in zip(row, p.center, p.scale, strict=True)]
        new = []
        for j in range(3):
            prior = math.log(sum(math.exp(logp[i]) * p.transition[i][j] for i in range(3)))
            emission = sum(
                -0.5 * math.log(2 * math.pi * v) - (x - m) ** 2 / (2 * v) for x, m, v in zip(z, p.mean[j], p.var[j], strict=True)
            )
            new.append(prior + emission)
        norm = math.log(sum(math.exp(v - max(new)) for v in new)) + max(new)
        logp = [v - norm for v in new]
        out.append([math.exp(v) for v in logp])
    return out


def values(row: tuple[float, float]) -> memoryview:
    view = Arena(64).doubles(3)
    view[1], view[2] = row
    return view


def test_probabilities_follow_the_forward_recursion() -> None:
    rng = random.Random(5)
    rows = [(1.0 + rng.gauss(0, 1), rng.gauss(0, 3)) for _ in range(2_000)]
    regime = RegimeFilter(params(warm_bars=0), Arena(4096), INDEX)

    got = []
    for row in rows:
        assert regime.update(values(row))
        got.append(regime.probs)

    for mine, oracle in zip(got, forward(params(), rows), strict=True):
        assert mine == pytest.approx(oracle, abs=1e-12)


def test_probabilities_are_uniform_before_the_filter_is_warm() -> None:
    regime = RegimeFilter(params(), Arena(4096), INDEX)

    seen = []
    for _ in range(4):
        seen.append(regime.probs)
        regime.update(values((5.0, 1.0)))

    assert seen[:3] == [UNIFORM] * 3
    assert seen[3] != UNIFORM
    assert seen[3][2] > 0.9


def test_a_value_that_is_not_finite_changes_nothing() -> None:
    regime = RegimeFilter(params(warm_bars=0), Arena(4096), INDEX)
    regime.update(values((1.2, 0.3)))
    before = regime.probs

    taken = [regime.update(values(row)) for row in ((math.nan, 0.0), (0.0, math.inf), (-math.inf, 0.0))]

    assert taken == [False, False, False]
    assert regime.probs == before


def test_an_extreme_value_does_not_pin_the_filter_for_ever() -> None:
    regime = RegimeFilter(params(warm_bars=0), Arena(4096), INDEX)
    regime.update(values((1e300, 1e300)))
    wild = regime.probs

    for _ in range(60):
        regime.update(values((0.75, 0.0)))

    assert wild[2] > 0.99
    assert regime.probs[0] > 0.9


def test_state_restored_from_a_snapshot_goes_on_with_the_same_bits() -> None:
    arena = Arena(4096)
    regime = RegimeFilter(params(), arena, INDEX)
    for k in range(10):
        regime.update(values((1.0 + 0.1 * k, 0.5)))
    snapshot, probs = arena.snapshot(), regime.probs
    regime.update(values((9.0, 9.0)))
    moved = regime.probs

    arena.restore(snapshot)

    assert regime.probs == probs
    regime.update(values((9.0, 9.0)))
    assert regime.probs == moved


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"mean": [[2.0, 0.0], [0.0, 1.5], [-0.5, 0.5]]}, "order"),
        ({"mean": [[-0.5, 1.5], [0.0, 0.0], [2.0, 0.5]]}, "order"),
        ({"transition": [[0.9, 0.2, 0.0], [0.03, 0.95, 0.02], [0.02, 0.03, 0.95]]}, "transition"),
        ({"var": [[0.0, 0.4], [0.8, 0.9], [1.5, 2.0]]}, "above 0"),
        ({"center": [math.nan, 0.0]}, "finite"),
        ({"columns": ["vol"]}, "columns"),
        ({"var": [[1e-13, 0.4], [0.8, 0.9], [1.5, 2.0]]}, "at least"),
        ({"clip": 101.0}, "at most"),
        ({"mean": [[-0.5, 0.0], [0.0, 1.5], [2000.0, 0.5]]}, "1000"),
        ({"warm_bars": -1}, "warm_bars"),
    ],
)
def test_parameters_that_cannot_be_are_refused_by_name(changes: dict[str, object], word: str) -> None:
    data = msgspec.json.encode(msgspec.structs.asdict(params(**changes)))

    with pytest.raises(ConfigError, match=r"regime\.json") as e:
        parse_params(data, "m/regime.json")

    if "center" not in changes:  # JSON has no NaN: it arrives as null and is refused by type
        assert word in str(e.value)


def test_a_column_that_the_plan_lacks_is_named() -> None:
    with pytest.raises(ConfigError, match="'trend'"):
        RegimeFilter(params(), Arena(4096), {"vol": 0})


def test_an_empty_file_is_no_model() -> None:
    assert parse_params(b"{}", "x") is None
    assert parse_params(b" ", "x") is None
