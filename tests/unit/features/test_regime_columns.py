"""The regime block against a plain forward recursion in log space over the columns that it reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.errors import ConfigError
from mia.domain.instruments import Instrument
from mia.domain.regime import UNIFORM, RegimeParams
from mia.features.bars import BarSpec
from mia.features.batch import bars_from_ohlcv, compute_bars
from mia.features.catalogue import shipped_catalogue
from mia.features.models import FeatureModels
from mia.features.plan import Plan, build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.hmm import filter_of
from mia.kernels.regime_block import SLOTS

READS = ["rv_30", "linreg_r2_20", "adx_14"]
START_NS = 1_700_000_000_000_000_000
MINUTE_NS = 60_000_000_000


def params(**changes: object) -> RegimeParams:
    values: dict[str, object] = {
        "columns": READS,
        "center": [0.01, 0.3, 20.0],
        "scale": [0.004, 0.2, 8.0],
        "mean": [[-0.5, -0.4, -0.3], [0.0, 0.9, 0.5], [1.8, 0.1, 0.4]],
        "var": [[0.4, 0.6, 0.8], [0.6, 0.5, 0.9], [1.5, 1.2, 1.1]],
        "transition": [[0.97, 0.02, 0.01], [0.03, 0.95, 0.02], [0.02, 0.05, 0.93]],
        "clip": 4.0,
        "warm_bars": 5,
    }
    return RegimeParams(**{**values, **changes})  # type: ignore[arg-type]


def candles(n: int, seed: int) -> np.ndarray:
    """Bars with calm, trending and violent stretches."""
    rng = np.random.default_rng(seed)
    phase = np.repeat(rng.integers(0, 3, n // 40 + 1), 40)[:n]
    r = rng.normal(0, np.array([0.001, 0.0015, 0.006])[phase]) + np.array([0.0, 0.001, 0.0])[phase]
    c = 50_000.0 * np.exp(np.cumsum(r))
    o = np.concatenate([[50_000.0], c[:-1]])
    h = np.maximum(o, c) * (1 + np.abs(rng.normal(0, 0.0005, n)))
    low = np.minimum(o, c) * (1 - np.abs(rng.normal(0, 0.0005, n)))
    return bars_from_ohlcv(np.rint(o), np.rint(h), np.rint(low), np.rint(c), rng.integers(1, 1000, n).astype(float))


def plan_of(instrument: Instrument, columns: Sequence[str], models: FeatureModels | None) -> tuple[Plan, Arena]:
    arena = Arena(32_000_000)
    return build_plan(columns, instrument, BarSpec.parse("time:1m"), arena, Book(arena, 64), neutral=float("nan"), models=models), arena


def run(instrument: Instrument, columns: Sequence[str], models: FeatureModels | None, bars: np.ndarray, first: int = 0) -> np.ndarray:
    times = START_NS + MINUTE_NS * np.arange(first, first + len(bars))
    return compute_bars(plan_of(instrument, columns, models)[0], times, bars, with_cold=True)[1]


def forward(p: RegimeParams, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Filtered probabilities and predictive log-likelihoods (without -d/2 ln 2 pi) by logsumexp."""
    mean, var, log_a = np.array(p.mean), np.array(p.var), np.log(np.array(p.transition))
    log_p = np.full(3, -np.log(3.0))
    probs, logliks = [], []
    for row in z:
        emission = -0.5 * (np.log(var) + (row - mean) ** 2 / var).sum(axis=1)
        joint = np.logaddexp.reduce(log_p[:, None] + log_a, axis=0) + emission
        logliks.append(np.logaddexp.reduce(joint))
        log_p = joint - logliks[-1]
        probs.append(np.exp(log_p))
    return np.array(probs), np.array(logliks)


def oracle(p: RegimeParams, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Every column at every row of inputs, each of which the filter took."""
    z = np.clip((inputs - np.array(p.center)) / np.array(p.scale), -p.clip, p.clip)
    probs, ll = forward(p, z)
    a, mean, var = np.array(p.transition), np.array(p.mean)[:, 0], np.array(p.var)[:, 0]
    out = dict(zip(("p_range", "p_trend", "p_defensive"), probs.T, strict=True))
    safe = np.where(probs > 0, probs, 1.0)
    out["regime_entropy"] = -(probs * np.log(safe)).sum(axis=1) / np.log(3)
    out["p_switch"] = 1 - probs @ np.diag(a)
    label, age, ages = -1, 0, []
    for row in probs:
        if label >= 0 and row[label] >= 0.4:
            age += 1
        else:
            label, age = (int(row.argmax()), 0) if row.max() > 0.6 else (-1, 0)
        ages.append(np.log(1 + age))
    out["regime_age"] = np.array(ages)
    out["expected_dwell"] = np.minimum(1, np.log(1 / (1 - np.diag(a)[probs.argmax(axis=1)])) / np.log(1000))
    m = v = 0.0
    scores = []
    for n, x in enumerate(ll, 1):
        scores.append(np.clip((x - m) / np.sqrt(v), -10, 10) if v > 0 else 0.0)
        w = 1 / min(n, 100)
        d = x - m
        m += w * d
        v = (1 - w) * (v + w * d * d)
    out["loglik_z"] = np.array(scores)
    out["loglik_z"][:20] = np.nan
    out["dp_trend_10"] = np.concatenate([np.full(10, np.nan), probs[10:, 1] - probs[:-10, 1]])
    mix = probs @ mean
    out["vol_state"] = np.clip((z[:, 0] - mix) / np.sqrt(probs @ (var + mean**2) - mix**2), -10, 10)
    for column in out.values():
        column[: max(p.warm_bars - 1, 0)] = np.nan
    return out


def test_columns_match_their_formulas_from_the_first_warm_bar(instrument: Instrument) -> None:
    bars = candles(600, 3)

    got = run(instrument, (*READS, *SLOTS), FeatureModels(regime=params()), bars)

    inputs = got[:, :3]
    first = 30  # rv_30 waits for 31 bars, adx_14 and linreg_r2_20 for fewer
    assert np.isnan(got[:first, 3:]).all()
    expected = oracle(params(), inputs[first:])
    for k, name in enumerate(SLOTS):
        assert got[first:, 3 + k] == pytest.approx(expected[name], rel=1e-9, abs=1e-9, nan_ok=True), name
        assert np.nanstd(got[first:, 3 + k]) > 0.0, name


def test_columns_lie_within_their_ranges_and_no_two_are_one(instrument: Instrument) -> None:
    got = run(instrument, SLOTS, FeatureModels(regime=params()), candles(3000, 8))[60:]

    assert np.isfinite(got).all()
    for name, column in zip(SLOTS, got.T, strict=True):
        low, high = shipped_catalogue().get(name).range
        assert low <= column.min() <= column.max() <= high, name
    correlation = np.corrcoef(got.T) - np.eye(len(SLOTS))
    assert np.abs(correlation).max() < 0.999


def test_the_kernel_survives_what_underflows_in_plain_space() -> None:
    p = params(var=[[1e-6] * 3, [1e-6] * 3, [2e-6] * 3], clip=50.0)
    rng = np.random.default_rng(2)
    rows = rng.normal(0, 1, (400, 3)) * np.array([0.1, 5.0, 200.0]) + np.array(p.center)
    arena = Arena(1 << 14)
    hmm = filter_of(p, arena, {name: k for k, name in enumerate(READS)})
    values = arena.doubles(3)

    got = []
    for row in rows.tolist():
        values[0], values[1], values[2] = row
        assert hmm.step(values)
        got.append([*hmm.state(), hmm.loglik()])

    z = np.clip((rows - np.array(p.center)) / np.array(p.scale), -p.clip, p.clip)
    probs, logliks = forward(p, z)
    assert (np.exp(logliks) == 0.0).all()  # in plain space there would be nothing to divide by
    # A prior below 1e-12 is held there, which can only matter where all evidence is that small, too.
    assert np.array(got)[:, :3] == pytest.approx(probs, abs=1e-9)
    assert np.array(got)[:, 3] == pytest.approx(logliks, rel=1e-9)


@pytest.mark.parametrize("models", [None, FeatureModels()])
def test_without_a_model_columns_are_absent_and_the_plan_says_a_third_each(models: FeatureModels | None, instrument: Instrument) -> None:
    plan, _ = plan_of(instrument, SLOTS, models)

    _, got = compute_bars(plan, START_NS + MINUTE_NS * np.arange(100), candles(100, 1), with_cold=True)

    assert np.isnan(got).all()
    assert plan.first_cold() == 0
    assert plan.regime_probs() == UNIFORM


def test_a_bar_whose_input_is_absent_is_no_step_of_the_filter(instrument: Instrument) -> None:
    models = FeatureModels(regime=params(columns=["rv_30", "linreg_r2_20", "bar_toxicity_30"], center=[0.01, 0.3, 0.5]))
    bars = candles(400, 6)  # no aggressors: flow has no value
    bars[100:200, 5] = bars[100:200, 4]
    plan, _ = plan_of(instrument, (*SLOTS, "bar_toxicity_30"), models)

    _, matrix = compute_bars(plan, START_NS + MINUTE_NS * np.arange(400), bars, with_cold=True)

    flow = np.isfinite(matrix[:, -1])
    assert flow[105:200].all()
    assert not flow[:100].any()
    assert not flow[-1]
    assert np.isnan(matrix[~flow, :3]).all()
    assert np.isfinite(matrix[106:200, :3]).all()
    last = np.flatnonzero(flow)[-1]
    assert plan.regime_probs() == tuple(matrix[last, :3])


def test_a_plan_with_a_model_filters_though_no_column_asks_for_it(instrument: Instrument) -> None:
    plan, _ = plan_of(instrument, ["ret_1"], FeatureModels(regime=params()))
    bars = candles(200, 4)

    compute_bars(plan, START_NS + MINUTE_NS * np.arange(200), bars)

    assert plan.regime_probs() == tuple(run(instrument, SLOTS[:3], FeatureModels(regime=params()), bars)[-1])


def test_state_survives_a_snapshot_and_what_is_later_changes_nothing(instrument: Instrument) -> None:
    bars, times = candles(300, 5), START_NS + MINUTE_NS * np.arange(300)
    whole = run(instrument, SLOTS, FeatureModels(regime=params()), bars)
    first, arena = plan_of(instrument, SLOTS, FeatureModels(regime=params()))
    _, head = compute_bars(first, times[:170], bars[:170], with_cold=True)
    second, other = plan_of(instrument, SLOTS, FeatureModels(regime=params()))
    other.restore(arena.snapshot())

    _, tail = compute_bars(second, times[170:], bars[170:], with_cold=True)

    assert np.concatenate([head, tail]).tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"columns": ["rv_30", "linreg_r2_20", "spread_ticks"]}, "spread_ticks"),
        ({"columns": ["rv_30", "linreg_r2_20", "p_trend"]}, "p_trend"),
        ({"columns": ["rv_30", "rv_30", "adx_14"]}, "different"),
        ({"columns": ["rv_30", "linreg_r2_20", "moon"]}, "moon"),
        ({"var": [[0.0, 0.6, 0.8], [0.6, 0.5, 0.9], [1.5, 1.2, 1.1]]}, "above 0"),
    ],
)
def test_a_model_that_cannot_be_is_refused_when_the_plan_is_built(changes: dict[str, object], word: str, instrument: Instrument) -> None:
    with pytest.raises(ConfigError, match=word):
        plan_of(instrument, SLOTS, FeatureModels(regime=params(**changes)))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=4, max_size=4), min_size=1, max_size=8),
    st.integers(0, 200),
)
def test_wild_bars_leave_finite_columns_in_range(rows: list[list[float]], at: int) -> None:
    instrument = _instrument()
    bars = candles(260, 6)
    bars[40 + at : 40 + at + len(rows), :4] = np.array(rows)[: max(0, 260 - 40 - at)]

    got = run(instrument, SLOTS, FeatureModels(regime=params()), bars)

    for name, column in zip(SLOTS, got.T, strict=True):
        low, high = shipped_catalogue().get(name).range
        there = column[~np.isnan(column)]
        assert ((there >= low) & (there <= high)).all(), name


def _instrument() -> Instrument:
    from mia.train.settings import perpetual

    return perpetual()


def test_after_a_pause_the_filter_begins_again_from_its_start(instrument: Instrument) -> None:
    columns = [*SLOTS, *READS]
    bars = candles(400, 5)
    times = START_NS + MINUTE_NS * np.arange(len(bars))
    plan, _ = plan_of(instrument, columns, FeatureModels(regime=params()))
    compute_bars(plan, times[:200], bars[:200], with_cold=True)
    before = plan.regime_probs()

    plan.cool()
    at_once = plan.regime_probs()
    plan.observe(int(times[199]))
    shown = [plan.is_there(j) for j in range(len(SLOTS))]
    _, matrix = compute_bars(plan, times[200:], bars[200:], with_cold=True)

    assert before != UNIFORM
    assert at_once == UNIFORM
    assert not any(shown)
    warm = max(shipped_catalogue().get(c).warm_up.bars for c in SLOTS)
    rows = slice(warm, None)
    # By the recursion from a third each over the inputs from the first bar after the pause on.
    again = run(instrument, READS, None, bars)[200:]
    wanted = oracle(params(), again)
    for j, name in enumerate(SLOTS):
        assert np.allclose(matrix[rows, j], wanted[name][rows], rtol=1e-6, atol=1e-9, equal_nan=True), name
