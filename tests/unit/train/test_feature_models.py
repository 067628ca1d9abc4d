"""The offline fits against plain versions: known answers on made-up data, no look ahead, the same seed the same bytes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from mia.backtest.forecasts import vix_inputs
from mia.domain.errors import ConfigError
from mia.features.bars import BarSpec
from mia.features.batch import bars_from_ohlcv, compute_bars
from mia.features.models import FeatureModels, is_readable, parse_models
from mia.features.plan import build_plan
from mia.kernels import latent_block, memory_block, regime_block
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.train.feature_models import (
    PRICE,
    READ,
    REGIME_OF_CANDLES,
    VOL,
    FeatureFitSettings,
    Stretch,
    expect,
    fit_autoencoder,
    fit_distance,
    fit_hmm,
    fit_memory,
    fit_models,
    fit_projection,
    fit_vix,
    from_bars,
    read_vix,
    scaled,
    walk_forward,
)
from mia.train.main import app
from mia.train.settings import perpetual

QUICK = FeatureFitSettings(steps=60, starts=2, iterations=12, clusters=4, contexts=40)
START_NS = 1_700_000_000_000_000_000
MINUTE_NS = 60_000_000_000


def candles(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    phase = np.repeat(rng.integers(0, 3, n // 60 + 1), 60)[:n]
    r = rng.normal(0, np.array([0.001, 0.0012, 0.006])[phase]) + np.array([0.0, 0.001, 0.0])[phase]
    c = 50_000.0 * np.exp(np.cumsum(r - r.mean()))
    o = np.concatenate([[50_000.0], c[:-1]])
    h, low = np.maximum(o, c) * (1 + rng.exponential(0.0005, n)), np.minimum(o, c) * (1 - rng.exponential(0.0005, n))
    return bars_from_ohlcv(np.rint(o), np.rint(h), np.rint(low), np.rint(c), rng.integers(1, 1000, n).astype(float))


def stretch(n: int = 3_000, seed: int = 1) -> Stretch:
    times = START_NS + MINUTE_NS * np.arange(n)
    return from_bars("made up", perpetual(), BarSpec.parse("time:1m"), times, candles(n, seed))


@pytest.fixture(scope="module")
def made_up() -> Stretch:
    return stretch()


def test_every_column_that_a_fit_reads_may_be_read_by_a_model() -> None:
    assert all(is_readable(name) for name in READ)


def test_components_are_those_of_the_covariance_and_have_variance_one(made_up: Stretch) -> None:
    p = fit_projection(made_up.rows, PRICE)

    z = scaled(made_up.rows, PRICE, p.center, p.scale, p.clip)
    values, vectors = np.linalg.eigh(np.cov(z.T))
    for k in range(3):
        w = np.array(p.weights[k])
        assert abs(w @ vectors[:, -1 - k]) / np.linalg.norm(w) == pytest.approx(1.0, abs=1e-6)
        assert w[np.abs(w).argmax()] > 0
    assert values[-1] > values[0]
    y = z @ np.array(p.weights).T
    assert np.cov(y.T) == pytest.approx(np.eye(3) * len(y) / (len(y) - 1), abs=1e-6)


def test_the_code_of_the_autoencoder_is_standardised_and_gives_back_more_than_its_mean(made_up: Stretch) -> None:
    a = fit_autoencoder(made_up.rows, VOL, msgspec.structs.replace(QUICK, steps=200))

    z = scaled(made_up.rows, VOL, a.center, a.scale, a.clip)
    code = np.tanh(z @ np.array(a.w1).T + a.b1) @ np.array(a.w2).T + a.b2
    error = ((code @ np.array(a.w3).T + a.b3 - z) ** 2).mean(axis=1)
    assert code.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-6)
    assert np.cov(code.T, ddof=0) == pytest.approx(np.eye(3), abs=1e-5)
    assert np.mean(error > a.error_p99) == pytest.approx(0.01, abs=0.002)
    assert error.mean() < 0.5 * z.var(axis=0).mean()


def test_the_distance_is_that_of_the_shrunk_covariance(made_up: Stretch) -> None:
    d = fit_distance(made_up.rows, PRICE[:5])

    z = scaled(made_up.rows, PRICE[:5], d.center, d.scale, d.clip)
    s = z.T @ z / len(z)
    s += np.eye(5) * 1e-3 * np.trace(s) / 5
    plain = np.einsum("ni,ij,nj->n", z, np.linalg.inv(s), z)
    assert ((z @ np.array(d.whiten).T) ** 2).sum(axis=1) == pytest.approx(plain, rel=1e-9)


def test_forward_and_backward_match_the_sum_over_all_paths() -> None:
    rng = np.random.default_rng(4)
    z, mean, var = rng.normal(0, 1, (2, 5, 2)), rng.normal(0, 1, (3, 2)), rng.uniform(0.5, 2, (3, 2))
    a, start = rng.dirichlet(np.ones(3), 3), np.array([0.5, 0.3, 0.2])

    gamma, counts, loglik = expect(z, mean, var, a, start)

    b = np.exp(-0.5 * (np.log(2 * np.pi * var).sum(1) + ((z[:, :, None] - mean) ** 2 / var).sum(3)))
    total, plain_gamma, plain_counts = 0.0, np.zeros((2, 5, 3)), np.zeros((3, 3))
    for s in range(2):
        weights = {}
        for path in np.ndindex(3, 3, 3, 3, 3):
            w = start[path[0]] * b[s, 0, path[0]]
            for t in range(1, 5):
                w *= a[path[t - 1], path[t]] * b[s, t, path[t]]
            weights[path] = w
        whole = sum(weights.values())
        total += np.log(whole)
        for path, w in weights.items():
            for t in range(5):
                plain_gamma[s, t, path[t]] += w / whole
            for t in range(4):
                plain_counts[path[t], path[t + 1]] += w / whole
    assert gamma == pytest.approx(plain_gamma, abs=1e-12)
    assert counts == pytest.approx(plain_counts, abs=1e-5)
    assert loglik == pytest.approx(total / 10)


def test_em_finds_states_that_made_the_data_in_the_order_of_the_labels() -> None:
    rng = np.random.default_rng(3)
    a = np.array([[0.98, 0.01, 0.01], [0.02, 0.97, 0.01], [0.02, 0.02, 0.96]])
    means = np.array([[0.0, 0.0, 0.0], [0.3, 4.0, 1.0], [5.0, 1.0, 2.0]])
    state, states = 0, []
    for _ in range(8_000):
        state = int(rng.choice(3, p=a[state]))
        states.append(state)
    rows = np.zeros((8_000, len(READ)))
    where = [READ.index(c) for c in REGIME_OF_CANDLES]
    rows[:, where] = means[states] + rng.normal(0, 0.7, (8_000, 3))

    p = fit_hmm([rows], REGIME_OF_CANDLES, FeatureFitSettings())
    again = fit_hmm([rows], REGIME_OF_CANDLES, FeatureFitSettings(seed=77))

    found = np.array(p.mean) * p.scale + p.center
    assert found == pytest.approx(means, abs=0.1)
    assert np.diag(p.transition) == pytest.approx(np.diag(a), abs=0.01)
    assert np.array(again.mean) == pytest.approx(np.array(p.mean), abs=0.01)  # another seed, the same labels


def test_clusters_hold_what_followed_each_situation(made_up: Stretch) -> None:
    m = fit_memory([made_up], QUICK)

    z = scaled(made_up.rows, m.columns, m.center, m.scale, m.clip)
    at = np.arange(0, len(z) - 20, 20)
    y = np.log(made_up.close[at + 20] / made_up.close[at]) - QUICK.cost
    near = ((z[:, None] - np.array(m.centers)) ** 2).sum(2).argmin(1)
    assert m.return_std == pytest.approx(y.std())
    for k in range(4):
        mine = near[at] == k
        assert m.counts[k] == mine.sum()
        assert m.hits[k] == (y[mine] > 0).sum()
        assert m.mean_returns[k] == pytest.approx(y[mine].mean() / y.std())
        assert m.last_ns[k] == made_up.ts_ns[near == k].max()
    assert max(m.ended_ns) <= made_up.ts_ns[-1]
    assert len(m.contexts) == 40


def test_nothing_after_the_fitted_rows_changes_a_model(made_up: Stretch) -> None:
    other = stretch(seed=2)
    changed = Stretch(
        name="made up",
        ts_ns=made_up.ts_ns,
        close=np.concatenate([made_up.close[:1500], other.close[1500:]]),
        rows=np.concatenate([made_up.rows[:1500], other.rows[1500:]]),
    )

    folds = [(m.encode(), first, stop) for m, first, stop in walk_forward(made_up, QUICK, 2, "time:1m")]
    others = [(m.encode(), first, stop) for m, first, stop in walk_forward(changed, QUICK, 2, "time:1m")]

    assert len(folds) == 1
    data, first, stop = folds[0]
    models = parse_models(data, "fold")
    assert (first, stop) == (len(made_up.ts_ns) // 2, len(made_up.ts_ns))
    assert models.fit is not None
    assert models.fit.last_ns == made_up.ts_ns[first - 1]
    assert others[0][0] == data


def test_what_is_fitted_makes_columns_that_live_within_their_ranges(made_up: Stretch) -> None:
    models = fit_models([made_up.cut(0, 1800)], QUICK, "made up", "time:1m")
    arena = Arena(32_000_000)
    names = (*regime_block.SLOTS, *latent_block.SLOTS, *memory_block.SLOTS)
    plan = build_plan(names, perpetual(), BarSpec.parse("time:1m"), arena, Book(arena, 64), neutral=float("nan"), models=models)

    _, matrix = compute_bars(plan, START_NS + MINUTE_NS * np.arange(3_000), candles(3_000, 1), with_cold=True)

    later = matrix[2_000:]
    absent = {name for name, column in zip(names, later.T, strict=True) if np.isnan(column).any()}
    assert absent == {"pca_flow_1", "pca_flow_2", "pca_flow_3"}  # candles know no flow
    moving = [name for name, column in zip(names, later.T, strict=True) if name not in absent and column.std() > 0]
    assert len(moving) == len(names) - 3
    known = later[:, [k for k, name in enumerate(names) if name not in absent]]
    correlation = np.corrcoef(known.T) - np.eye(known.shape[1])
    assert np.abs(correlation).max() < 0.9999


def test_too_few_bars_are_refused(made_up: Stretch) -> None:
    with pytest.raises(ConfigError, match="1000"):
        fit_models([made_up.cut(0, 900)], QUICK, "x", "time:1m")


def test_the_inputs_of_the_vix_forecast_are_known_at_the_close() -> None:
    rng = np.random.default_rng(1)
    days = np.cumsum(rng.choice([1, 1, 1, 1, 3], 60)) + 10_000
    close = np.exp(3 + np.cumsum(rng.normal(0, 0.05, 60)))

    x = vix_inputs(days, close, np.append(days[1:], days[-1] + 3))

    ln = np.log(close)
    for t in range(22, 60):
        after = int(days[t + 1]) if t < 59 else int(days[-1]) + 3
        weekday = [float((after + 3) % 7 == k) for k in range(4)]
        assert x[t] == pytest.approx([ln[t], ln[t - 4 : t + 1].mean(), ln[t - 21 : t + 1].mean(), *weekday, after - int(days[t])])


def test_the_errors_of_the_vix_forecast_are_out_of_sample() -> None:
    rng = np.random.default_rng(6)
    days = 10_000 + np.arange(1_000)
    ln = np.zeros(1_000)
    for t in range(1, 1_000):
        ln[t] = 0.9 * ln[t - 1] + rng.normal(0, 0.1)
    close = 20 * np.exp(ln)

    fitted = fit_vix(days, close, first=500, every=50)

    x, y = vix_inputs(days, close, days + 1)[22:-1], np.log(close[23:])
    har = []
    for k in range(500, len(y), 50):
        a = np.column_stack([np.ones(k), x[:k, :3]])
        w = np.linalg.lstsq(a, y[:k], rcond=None)[0]
        har += (np.column_stack([np.ones(len(y[k : k + 50])), x[k : k + 50, :3]]) @ w).tolist()
    assert fitted.errors["days"] == len(y) - 500
    assert fitted.errors["rmse_ln_har"] == pytest.approx(np.sqrt(np.mean((np.array(har) - y[500:]) ** 2)), rel=1e-6)
    assert fitted.errors["rmse_last_value"] == pytest.approx(np.sqrt(np.mean((close[522:-1] - close[523:]) ** 2)))
    assert fitted.errors["rmse_har"] < fitted.errors["rmse_last_value"]


@pytest.mark.data
def test_the_vix_forecast_beats_the_last_value_and_har_on_36_years(market_data: Path) -> None:
    errors = fit_vix(*read_vix(market_data / "vix_daily_1990_2026.csv")).errors

    assert errors["days"] > 7_000
    assert errors["rmse_model"] < errors["rmse_har"] < errors["rmse_last_value"]
    assert errors["rmse_ln_model"] < errors["rmse_ln_har"] < errors["rmse_ln_last_value"]


def test_the_command_writes_models_that_load_and_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    rows = candles(4_000, 5)
    lines = ["ts_ms,open,high,low,close,volume"]
    lines += [f"{1_700_000_000_000 + 60_000 * k},{o},{h},{low},{c},{v}" for k, (o, h, low, c, v) in enumerate(rows[:, :5].tolist())]
    (tmp_path / "bars.csv").write_text("\n".join(lines))

    outputs = []
    for name in ("a.json", "b.json"):
        done = CliRunner().invoke(app, ["features", "--out", str(tmp_path / name), "--bars", str(tmp_path / "bars.csv"), "--seed", "3"])
        assert done.exit_code == 0, done.output
        outputs.append((tmp_path / name).read_bytes())

    assert outputs[0] == outputs[1]
    models = parse_models(outputs[0], "a.json")
    assert isinstance(models, FeatureModels)
    assert models.fit is not None
    assert models.fit.seed == 3
    assert models.fit.bar == "time:60s"


@pytest.mark.data
def test_the_forecast_of_vix_sees_no_close_from_after_the_bars_of_the_fit(tmp_path: Path, market_data: Path) -> None:
    rows = candles(4_000, 5)
    lines = ["ts_ms,open,high,low,close,volume"]
    lines += [f"{1_700_000_000_000 + 60_000 * k},{o},{h},{low},{c},{v}" for k, (o, h, low, c, v) in enumerate(rows[:, :5].tolist())]
    (tmp_path / "bars.csv").write_text("\n".join(lines))
    vix = market_data / "vix_daily_1990_2026.csv"

    done = CliRunner().invoke(app, ["features", "--out", str(tmp_path / "m.json"), "--bars", str(tmp_path / "bars.csv"), "--vix", str(vix)])

    assert done.exit_code == 0, done.output
    models = parse_models((tmp_path / "m.json").read_bytes(), "m.json")
    assert models.fit is not None
    assert models.predicted_vix is not None
    day_ns = 86_400 * 10**9
    assert models.fit.last_ns - 5 * day_ns < models.predicted_vix.last_ns <= models.fit.last_ns
    assert 0.5 < models.predicted_vix.errors["share_nearer"] < 1.0
