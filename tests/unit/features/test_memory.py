"""The memory block against numpy: nearest cluster, shrunk outcomes, nearest contexts that had ended."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.errors import ConfigError
from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.batch import bars_from_ohlcv, compute_bars
from mia.features.catalogue import shipped_catalogue
from mia.features.models import FeatureModels, Fit, Memory
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.memory_block import SLOTS

READS = ["ret_5", "rsi_14", "efficiency_20", "range_ratio_20"]
WARM = 20  # efficiency_20 waits for 21 bars
START_NS = 1_700_000_000_000_000_000
STEP_NS = 3_600_000_000_000
DAY_NS = 86_400_000_000_000


def memory(seed: int = 1, k: int = 4, m: int = 60, **changes: object) -> Memory:
    rng = np.random.default_rng(seed)
    counts = [0, 7, 400, 20_000, 3, 9][:k]
    values: dict[str, object] = {
        "columns": READS,
        "center": [0.0, 50.0, 0.3, 1.0],
        "scale": [0.004, 12.0, 0.2, 0.4],
        "clip": 4.0,
        "centers": rng.normal(0, 1, (k, 4)).tolist(),
        "counts": counts,
        "hits": [int(n * 0.4) for n in counts],
        "mean_returns": rng.normal(0, 2, k).tolist(),
        "last_ns": [0, START_NS - 3 * DAY_NS, START_NS - 400 * DAY_NS, START_NS - 5, 0, 0][:k],
        "contexts": rng.normal(0, 1, (m, 4)).tolist(),
        "later_returns": rng.normal(0, 1, m).tolist(),
        "ended_ns": [START_NS - 1] * m,
        "return_std": 0.01,
        "outcome": "ln(c[+20] / c) - 0.001",
    }
    return Memory(**{**values, **changes})  # type: ignore[arg-type]


def candles(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    c = 50_000.0 * np.exp(np.cumsum(rng.standard_t(4, n) * 0.002))
    o = np.concatenate([[50_000.0], c[:-1]])
    h, low = np.maximum(o, c) * (1 + rng.exponential(0.001, n)), np.minimum(o, c) * (1 - rng.exponential(0.001, n))
    return bars_from_ohlcv(np.rint(o), np.rint(h), np.rint(low), np.rint(c), rng.integers(1, 99, n).astype(float))


def run(instrument: Instrument, models: FeatureModels | None, bars: np.ndarray) -> dict[str, np.ndarray]:
    arena = Arena(32_000_000)
    spec = BarSpec.parse("time:1h")
    plan = build_plan([*READS, *SLOTS], instrument, spec, arena, Book(arena, 64), neutral=float("nan"), models=models)
    _, matrix = compute_bars(plan, START_NS + STEP_NS * np.arange(len(bars)), bars, with_cold=True)
    return dict(zip(plan.columns, matrix.T, strict=True))


def oracle(x: Memory, rows: np.ndarray, times: np.ndarray) -> dict[str, list[float]]:
    out: dict[str, list[float]] = {name: [] for name in SLOTS}
    last, here, before = list(x.last_ns), -1, 0
    for row, t in zip(rows, times.tolist(), strict=True):
        z = np.clip((row - np.array(x.center)) / np.array(x.scale), -x.clip, x.clip)
        d = np.linalg.norm(np.array(x.centers) - z, axis=1)
        near, (d1, d2) = int(d.argmin()), np.sort(d)[:2]
        n = x.counts[near]
        if near != here:
            here, before = near, last[near]
        last[near] = t
        out["cluster_distance"].append(min(d1 / 2.0, 20))
        out["cluster_margin"].append((d2 - d1) / d2)
        out["cluster_ret"].append(float(np.clip(x.mean_returns[near] * n / (n + 20), -10, 10)))
        out["cluster_hit"].append((1 + x.hits[near]) / (2 + n))
        out["cluster_n"].append(min(1.0, np.log(1 + n) / np.log(10_001)))
        out["days_since_cluster"].append(min(1.0, np.log(1 + (t - before) / DAY_NS) / np.log(366)) if before else 1.0)
        ended = np.array(x.ended_ns) <= t
        if ended.sum() < 20:
            out["pattern_replay_score"].append(np.nan)
            continue
        far = np.linalg.norm(np.array(x.contexts)[ended] - z, axis=1)
        order = np.argsort(far, kind="stable")[:20]
        out["pattern_replay_score"].append(float(np.clip(np.array(x.later_returns)[ended][order].mean(), -10, 10)))
    return out


def test_columns_match_numpy_at_every_bar(instrument: Instrument) -> None:
    got = run(instrument, FeatureModels(memory=memory()), candles(400, 2))

    rows = np.stack([got[c] for c in READS], axis=1)[WARM:]
    expected = oracle(memory(), rows, START_NS + STEP_NS * np.arange(WARM, 400))
    for name in SLOTS:
        assert np.isnan(got[name][:WARM]).all(), name
        assert got[name][WARM:] == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name
        assert got[name][WARM:].std() > 0.0, name
        low, high = shipped_catalogue().get(name).range
        assert low <= got[name][WARM:].min() <= got[name][WARM:].max() <= high


def test_a_context_counts_only_once_it_has_ended(instrument: Instrument) -> None:
    ended = [START_NS + STEP_NS * (20 + 3 * k) for k in range(60)]

    got = run(instrument, FeatureModels(memory=memory(ended_ns=ended)), candles(300, 3))

    rows = np.stack([got[c] for c in READS], axis=1)[WARM:]
    expected = oracle(memory(ended_ns=ended), rows, START_NS + STEP_NS * np.arange(WARM, 300))
    score = got["pattern_replay_score"]
    assert np.flatnonzero(~np.isnan(score))[0] == 20 + 3 * 19
    assert score[WARM:] == pytest.approx(expected["pattern_replay_score"], rel=1e-9, nan_ok=True)
    assert not np.isnan(got["cluster_ret"][WARM:]).any()


def test_without_contexts_or_a_memory_the_columns_are_absent(instrument: Instrument) -> None:
    few = run(instrument, FeatureModels(memory=memory(contexts=[], later_returns=[], ended_ns=[])), candles(60, 4))
    none = run(instrument, None, candles(60, 4))

    assert np.isnan(few["pattern_replay_score"]).all()
    assert not np.isnan(few["cluster_n"][WARM:]).any()
    assert all(np.isnan(none[name]).all() for name in SLOTS)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"k": 1}, r"memory\.centers"),
        ({"m": 257}, r"memory\.contexts"),
        ({"hits": [1, 3, 160, 8000]}, r"memory\.hits"),
        ({"counts": [0, 7, 400, -1]}, r"memory\.counts"),
        ({"ended_ns": [1]}, r"memory\.ended_ns"),
        ({"return_std": 0.0}, "return_std"),
        ({"mean_returns": [0.0, 0.0, float("nan"), 0.0]}, r"memory\.mean_returns"),
    ],
)
def test_a_memory_that_cannot_be_is_refused_with_its_key(changes: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        FeatureModels(memory=memory(**changes)).check("m.json")  # type: ignore[arg-type]


def test_a_memory_of_what_came_after_its_fit_is_refused() -> None:
    fit = Fit(source="s", bar="time:1h", first_ns=0, last_ns=START_NS - 10, rows=5, seed=1)

    with pytest.raises(ConfigError, match="ended_ns"):
        FeatureModels(fit=fit, memory=memory()).check("m.json")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=4, max_size=4), min_size=1, max_size=6),
    st.integers(0, 80),
)
def test_wild_bars_leave_finite_columns_in_range(rows: list[list[float]], at: int) -> None:
    from mia.train.settings import perpetual

    bars = candles(120, 8)
    bars[25 + at : 25 + at + len(rows), :4] = np.array(rows)

    got = run(perpetual(), FeatureModels(memory=memory(k=6, m=256)), bars)

    for name in SLOTS:
        low, high = shipped_catalogue().get(name).range
        there = got[name][~np.isnan(got[name])]
        assert ((there >= low) & (there <= high)).all(), name
