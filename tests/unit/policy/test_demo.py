"""The model that ships: it loads, fits this version, is warm within a minute, and its regime filter works."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pytest

from mia.features.catalogue import shipped_catalogue
from mia.features.plan import KNOWN_COLUMNS
from mia.kernels.arena import Arena
from mia.policy.bundle import Bundle, find_bundle, load_bundle
from mia.regime.filter import RegimeFilter, parse_params


@pytest.fixture(scope="module")
def demo() -> Bundle:
    return load_bundle("demo", catalogue_sha256=shipped_catalogue().hash, family="crypto", trigger="quote", known_columns=KNOWN_COLUMNS)


def test_the_demo_decides_on_quotes_ten_times_a_second_on_one_second_bars(demo: Bundle) -> None:
    assert (demo.min_interval_ns, demo.bar) == (100_000_000, "time:1s")
    assert 0.0 < demo.alpha_min < 0.7


def test_its_columns_are_warm_within_a_minute_of_trades_and_ten_seconds_of_quotes(demo: Bundle) -> None:
    catalogue = shipped_catalogue()
    params = parse_params(demo.regime, "demo")
    assert params is not None

    names = [*demo.manifest.features, *params.columns]

    assert set(catalogue.warm_within(60.0, 1.0)).issuperset(names)
    assert max(f.warm_up.seconds for f in map(catalogue.get, names) if {"quotes", "depth"} & set(f.inputs)) <= 10
    assert params.warm_bars <= 60


def test_it_reads_150_columns_and_knows_what_to_do_without_the_book(demo: Bundle) -> None:
    assert len(demo.manifest.features) == 150
    assert demo.manifest.masks == ["has(depth)"]
    assert demo.columns[-1] == "has(depth)"
    ranked = [line.split(",")[0] for line in (find_bundle("demo") / "feature_importance.csv").read_text().splitlines()[1:]]
    assert set(ranked[:100]) <= set(demo.manifest.features)


def test_it_carries_three_nets_of_128_by_128() -> None:
    model = onnx.load_model_from_string((find_bundle("demo") / "policy.onnx").read_bytes())

    squares = [t for t in model.graph.initializer if list(t.dims) == [128, 128]]
    assert len(squares) == 3


def test_it_wants_different_things_in_different_markets(demo: Bundle) -> None:
    golden = msgspec.json.decode((find_bundle("demo") / "golden.json").read_bytes())
    obs, probs = np.array(golden["obs"], np.float32), np.array(golden["regime_probs"], np.float32)

    action, actions, alpha = demo.evaluate_rows(obs, probs)

    assert action.min() < -0.25
    assert action.max() > 0.25
    assert ((alpha >= 0.0) & (alpha <= 1.0)).all()
    assert np.abs((actions * probs).sum(axis=1) - action[:, 0]).max() < 1e-6


def test_its_bounds_hold_its_golden_inputs(demo: Bundle) -> None:
    golden = msgspec.json.decode((find_bundle("demo") / "golden.json").read_bytes())
    obs = np.array(golden["obs"])

    assert (obs >= np.array(demo.lo)).all()
    assert (obs <= np.array(demo.hi)).all()


def test_wild_and_calm_bars_move_its_regime_apart(demo: Bundle) -> None:
    params = parse_params(demo.regime, "demo")
    assert params is not None
    seen = []
    for state in range(3):
        regime = RegimeFilter(params, Arena(1 << 14), {c: k for k, c in enumerate(params.columns)})
        row = Arena(256).doubles(len(params.columns))
        for k, (center, scale, mean) in enumerate(zip(params.center, params.scale, params.mean[state], strict=True)):
            row[k] = center + scale * mean
        for _ in range(120):
            regime.update(row)
        seen.append(regime.probs)

    assert [p.index(max(p)) for p in seen] == [0, 1, 2]


def test_one_at_a_time_and_in_a_batch_it_gives_the_same_bits(demo: Bundle) -> None:
    rng = np.random.default_rng(3)
    obs = rng.normal(scale=3.0, size=(64, len(demo.columns))).astype(np.float32)
    probs = rng.dirichlet([1.0, 1.0, 1.0], size=64).astype(np.float32)

    action, actions, alpha = demo.evaluate_rows(obs, probs)

    for _ in range(16):
        single = [demo.evaluate(memoryview(o), tuple(map(float, p))) for o, p in zip(obs, probs, strict=True)]
        assert [t.signal for t in single] == action[:, 0].tolist()
        assert [list(t.actions) for t in single] == actions.tolist()
        assert [t.alpha for t in single] == alpha[:, 0].tolist()
