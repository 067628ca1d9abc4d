"""The latent block against numpy: projections, autoencoder, Mahalanobis distance, and what is absent when."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.errors import ConfigError
from mia.domain.events import AnyEvent, Event, NewsScored, Predicted, Reference
from mia.domain.instruments import Instrument
from mia.domain.regime import RegimeParams
from mia.features.bars import BarSpec
from mia.features.batch import compute_bars
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import from_events
from mia.features.models import Autoencoder, Distance, FeatureModels, Latent, Memory, Projection, is_readable, parse_models
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.latent_block import SLOTS
from mia.kernels.memory_block import SLOTS as MEMORY_SLOTS
from mia.kernels.news_block import SLOTS as NEWS_SLOTS
from mia.kernels.regime_block import SLOTS as REGIME_SLOTS

ROOT = Path(__file__).resolve().parents[3]

FLOW = ["delta_ratio", "trade_imbalance_20", "count_imbalance", "bar_toxicity_30"]
PRICE = ["ret_5", "ret_20", "rsi_14", "ema_gap_10_20", "dist_high_60"]
VOL = ["rv_30", "parkinson_20", "vol_ratio_5_30", "jump_share_30", "atr_14"]
WARM = 60  # dist_high_60


def scaled(columns: list[str], seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    unit = {"rsi_14": 15.0, "ema_gap_10_20": 1.0, "vol_ratio_5_30": 0.4, "jump_share_30": 0.2, "bar_toxicity_30": 0.1}
    scale = [unit.get(c, 0.3 if c in FLOW else 0.004) for c in columns]
    center = [s * x for s, x in zip(scale, rng.normal(0, 0.3, len(columns)).tolist(), strict=True)]
    return {"columns": columns, "center": center, "scale": scale, "clip": 5.0}


def latent(**changes: object) -> Latent:
    rng = np.random.default_rng(9)

    def matrix(n: int, d: int) -> list[list[float]]:
        return rng.normal(0, 0.6, (n, d)).tolist()

    parts: dict[str, object] = {
        "pca_flow": Projection(**scaled(FLOW, 1), weights=matrix(3, 4)),  # type: ignore[arg-type]
        "pca_price": Projection(**scaled(PRICE, 2), weights=matrix(3, 5)),  # type: ignore[arg-type]
        "ae_vol": Autoencoder(
            **scaled(VOL, 3), w1=matrix(6, 5), b1=matrix(1, 6)[0], w2=matrix(3, 6), b2=matrix(1, 3)[0], w3=matrix(5, 3),  # type: ignore[arg-type]
            b3=matrix(1, 5)[0], error_p99=2.5,
        ),
        "stress": Distance(**scaled([*PRICE, *VOL], 4), whiten=np.tril(matrix(10, 10)).tolist()),  # type: ignore[arg-type]
    }  # fmt: skip
    return Latent(**{**parts, **changes})  # type: ignore[arg-type]


def bars_with_flow(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    c = 50_000.0 * np.exp(np.cumsum(rng.standard_t(4, n) * 0.001))
    o = np.concatenate([[50_000.0], c[:-1]])
    bars = np.zeros((n, 11))
    bars[:, 0], bars[:, 3] = np.rint(o), np.rint(c)
    bars[:, 1] = np.rint(np.maximum(o, c) * (1 + rng.exponential(0.0004, n)))
    bars[:, 2] = np.rint(np.minimum(o, c) * (1 - rng.exponential(0.0004, n)))
    bars[:, 9], bars[:, 10] = rng.integers(0, 60, n), rng.integers(1, 60, n)
    bars[:, 5], bars[:, 6] = bars[:, 9] * rng.integers(1, 9, n), bars[:, 10] * rng.integers(1, 9, n)
    bars[:, 4], bars[:, 8] = bars[:, 5] + bars[:, 6], bars[:, 9] + bars[:, 10]
    bars[:, 7] = bars[:, 4] * bars[:, 3]
    return bars


def run(instrument: Instrument, columns: Sequence[str], models: FeatureModels | None, bars: np.ndarray) -> np.ndarray:
    arena = Arena(32_000_000)
    spec = BarSpec.parse("time:1m")
    plan = build_plan(columns, instrument, spec, arena, Book(arena, 64), neutral=float("nan"), models=models)
    return compute_bars(plan, 1_700_000_000_000_000_000 + 60_000_000_000 * np.arange(len(bars)), bars, with_cold=True)[1]


def z_of(model: Projection | Autoencoder | Distance, rows: dict[str, np.ndarray]) -> np.ndarray:
    x = np.stack([rows[c] for c in model.columns], axis=1)
    return np.clip((x - np.array(model.center)) / np.array(model.scale), -model.clip, model.clip)


def oracle(model: Latent, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    flow, price, ae, distance = model.pca_flow, model.pca_price, model.ae_vol, model.stress
    assert flow is not None
    assert price is not None
    assert ae is not None
    assert distance is not None
    out = {}
    for name, part in (("flow", flow), ("price", price)):
        for k in range(3):
            out[f"pca_{name}_{k + 1}"] = np.clip(z_of(part, rows) @ np.array(part.weights[k]), -10, 10)
    z = z_of(ae, rows)
    code = np.tanh(z @ np.array(ae.w1).T + ae.b1) @ np.array(ae.w2).T + ae.b2
    for k in range(3):
        out[f"ae_vol_{k + 1}"] = np.clip(code[:, k], -10, 10)
    error = ((code @ np.array(ae.w3).T + ae.b3 - z) ** 2).mean(axis=1)
    out["novelty"] = np.minimum(error / ae.error_p99, 10)
    nine = np.stack([out[name] for name in SLOTS[:9]], axis=1)
    out["latent_shift"] = np.full(len(nine), np.nan)
    out["latent_shift"][20:] = np.linalg.norm(nine[20:] - nine[:-20], axis=1)
    white = z_of(distance, rows) @ np.array(distance.whiten).T
    out["stress"] = np.clip(np.linalg.norm(white, axis=1) / np.sqrt(len(distance.columns)), 0, 20)
    return out


def test_columns_match_numpy_at_every_bar(instrument: Instrument) -> None:
    reads = list(dict.fromkeys([*FLOW, *PRICE, *VOL]))

    got = run(instrument, [*reads, *SLOTS], FeatureModels(latent=latent()), bars_with_flow(400, 4))

    rows = {name: got[WARM:, k] for k, name in enumerate(reads)}
    expected = oracle(latent(), rows)
    for k, name in enumerate(SLOTS, len(reads)):
        first = WARM + 20 if name == "latent_shift" else WARM
        assert got[first:, k] == pytest.approx(expected[name][first - WARM :], rel=1e-9, abs=1e-9), name
        assert got[first:, k].std() > 0.0, name
        low, high = shipped_catalogue().get(name).range
        assert low <= np.nanmin(got[:, k]) <= np.nanmax(got[:, k]) <= high, name


def test_each_model_waits_for_its_own_inputs(instrument: Instrument) -> None:
    got = run(instrument, SLOTS, FeatureModels(latent=latent()), bars_with_flow(200, 5))

    first = {name: int(np.flatnonzero(~np.isnan(column))[0]) for name, column in zip(SLOTS, got.T, strict=True)}
    assert first["pca_flow_1"] == 29  # bar_toxicity_30
    assert first["pca_price_1"] == first["stress"] == 59  # dist_high_60
    assert first["ae_vol_1"] == first["novelty"] == 31  # jump_share_30
    assert first["latent_shift"] == 79


def test_a_model_that_is_not_there_leaves_its_own_columns_absent(instrument: Instrument) -> None:
    bars = bars_with_flow(150, 6)

    got = run(instrument, SLOTS, FeatureModels(latent=latent(pca_flow=None, stress=None)), bars)
    none = run(instrument, SLOTS, None, bars)

    there = dict(zip(SLOTS, ~np.isnan(got[-1]), strict=True))
    assert not any(there[f"pca_flow_{k}"] for k in (1, 2, 3))
    assert not there["stress"]
    assert there["pca_price_1"]
    assert there["ae_vol_3"]
    assert there["latent_shift"]  # of the latents that have a model
    assert np.isnan(none).all()


def test_the_inputs_need_not_be_asked_for_and_give_the_same_bits(instrument: Instrument) -> None:
    bars = bars_with_flow(150, 7)
    reads = [*FLOW, *PRICE, *VOL]

    alone = run(instrument, SLOTS, FeatureModels(latent=latent()), bars)
    beside = run(instrument, [*SLOTS, *reversed(reads), "ema(5)"], FeatureModels(latent=latent()), bars)

    assert alone.tobytes() == np.ascontiguousarray(beside[:, : len(SLOTS)]).tobytes()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=11, max_size=11), min_size=1, max_size=6),
    st.integers(0, 60),
)
def test_wild_bars_leave_finite_columns_in_range(rows: list[list[float]], at: int) -> None:
    from mia.train.settings import perpetual

    bars = bars_with_flow(150, 8)
    bars[70 + at : 70 + at + len(rows)] = np.array(rows)

    got = run(perpetual(), SLOTS, FeatureModels(latent=latent()), bars)

    for name, column in zip(SLOTS, got.T, strict=True):
        low, high = shipped_catalogue().get(name).range
        there = column[~np.isnan(column)]
        assert ((there >= low) & (there <= high)).all(), name


def test_models_survive_their_json_and_a_wrong_number_is_named_with_its_key() -> None:
    models = FeatureModels(latent=latent())
    data = models.encode()

    assert parse_models(data, "m.json") == models
    assert parse_models(data, "m.json").encode() == data
    for path, value, word in (
        (("latent", "ae_vol", "error_p99"), 0.0, r"m\.json: latent\.ae_vol\.error_p99"),
        (("latent", "pca_flow", "weights"), [[1.0] * 4] * 2, r"latent\.pca_flow\.weights: 3 rows"),
        (("latent", "pca_price", "scale"), [0.0] * 5, r"latent\.pca_price\.scale"),
        (("latent", "ae_vol", "w1"), [[1e300] * 5] * 6, r"latent\.ae_vol\.w1\[0\]"),
        (("latent", "stress", "whiten"), [[1.0] * 10] * 10, "triangular"),
        (("format",), 2, "format"),
        (("latents",), {}, "latents"),
    ):
        raw = msgspec.json.decode(data)
        inner = raw
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        with pytest.raises(ConfigError, match=word):
            parse_models(msgspec.json.encode(raw), "m.json")


_INTERPRETED = """
import pickle, sys
from mia.features.bars import BarSpec
from mia.features.batch import compute_bars
from mia.features.columns import EventColumns
from mia.features.models import parse_models
from mia.features.plan import build_plan
from mia.kernels import latent_block
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.train.settings import perpetual
columns, data, times, bars, outside = pickle.load(sys.stdin.buffer)
arena = Arena(32_000_000)
plan = build_plan(columns, perpetual(), BarSpec.parse("time:1m"), arena, Book(arena, 64), models=parse_models(data, "m"))
_, matrix = compute_bars(plan, times, bars, with_cold=True, outside=EventColumns._make(outside))
pickle.dump((latent_block.__file__, matrix, arena.snapshot()), sys.stdout.buffer)
"""


def test_both_builds_give_the_same_bits_with_models_news_and_predictions() -> None:
    rng = np.random.default_rng(2)
    n = 260
    times = 1_700_000_000_000_000_000 + 60_000_000_000 * np.arange(n)
    events: list[AnyEvent] = []
    for k, t in enumerate(times.tolist()):
        t += 7_000_000_001
        events.append(NewsScored(k, t, t, ("news", "social")[k % 2], "x", rng.uniform(-1, 1), rng.random(), t - k * 10**9, t))
        name = ("vix", "short", "medium", "long")[k % 4]
        events.append(Predicted(k, t, t, name, 20.0 if name == "vix" else rng.random(), rng.random(), t + k % 3 * 10**9, t + 10**12))
        events.append(Reference(k, t, t, "vix", rng.uniform(10, 30), t, t + 10**12))
    regime = RegimeParams(
        columns=["rv_30", "linreg_r2_20"], center=[0.005, 0.3], scale=[0.003, 0.2], mean=[[-1, 0], [0, 1], [1, 0]], var=[[1, 1]] * 3,
        transition=[[0.9, 0.06, 0.04]] * 3, clip=4.0, warm_bars=3,
    )  # fmt: skip
    memory = Memory(
        columns=PRICE[:3], center=[0.0, 0.0, 50.0], scale=[0.004, 0.01, 12.0], clip=4.0, centers=rng.normal(0, 1, (5, 3)).tolist(),
        counts=[9] * 5, hits=[4] * 5, mean_returns=[0.5, -1.0, 2.0, 0.1, -3.0], last_ns=[1_699_000_000_000_000_000] * 5,
        contexts=rng.normal(0, 1, (47, 3)).tolist(), later_returns=rng.normal(0, 1, 47).tolist(),
        ended_ns=(times[0] + rng.integers(0, 10**13, 47)).tolist(), return_std=0.01, outcome="o",
    )  # fmt: skip
    models = FeatureModels(regime=regime, latent=latent(), memory=memory)
    columns = [*SLOTS, *REGIME_SLOTS, *MEMORY_SLOTS, *NEWS_SLOTS]
    job = pickle.dumps((columns, models.encode(), times, bars_with_flow(n, 3), tuple(from_events(events))))

    results = []
    for mode in ("compiled", "interpreted"):
        env = dict(os.environ, MIA_KERNELS=mode, PYTHONPATH=str(ROOT))
        done = subprocess.run([sys.executable, "-c", _INTERPRETED], input=job, capture_output=True, env=env, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr.decode()
        results.append(pickle.loads(done.stdout))

    assert results[1][0].endswith(".py")
    assert results[0][1].tobytes() == results[1][1].tobytes()
    assert results[0][2] == results[1][2]
    assert (np.abs(results[0][1]).max(axis=0) > 0).all()


def test_what_a_model_may_read_does_not_move_between_bars(market: list[Event], bench: Callable[..., Any]) -> None:
    names = [name for name in shipped_catalogue().names if is_readable(name)]
    b = bench(names)
    before: list[float] | None = None
    compared = 0
    for e in market:
        closed = b.feed(e)
        row = b.row(e.ts_recv_ns)
        if closed == 0 and before is not None and b.plan.bar_count() > 0:
            assert row == before
            compared += 1
        before = row

    assert len(names) > 40
    assert compared > 1000
