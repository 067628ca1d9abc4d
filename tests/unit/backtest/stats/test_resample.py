"""The stationary bootstrap: the kernel against plain numpy, block lengths against the paper, intervals against coverage."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mia.backtest.stats.resample import (
    Interval,
    block_length,
    compare,
    grouped,
    interval,
    restart,
    returns_draws,
    sums_draws,
    words,
)  # fmt: skip
from mia.domain.errors import ConfigError, DataError
from mia.kernels import bootstrap as built


def interpreted() -> ModuleType:
    name = "interpreted_bootstrap"
    source = Path(__file__).resolve().parents[4] / "mia" / "kernels" / "bootstrap.py"
    spec = importlib.util.spec_from_file_location(name, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILDS = pytest.mark.parametrize("kernel", [built, interpreted()], ids=["built", "interpreted"])


def plain_figures(r: np.ndarray, target: float) -> list[float]:
    n = len(r)
    s = np.sort(r)
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + r)])
    lost = (1.0 - wealth / np.maximum.accumulate(wealth))[1:]
    d = r - r.mean()
    tail_95, tail_99 = int(np.ceil(n * 0.05 - 1e-9)), int(np.ceil(n * 0.01 - 1e-9))
    return [
        r.mean(), r.std(ddof=1), (d**3).mean() / (d**2).mean() ** 1.5, (d**4).mean() / (d**2).mean() ** 2, np.log1p(r).sum(),
        np.sqrt((np.minimum(r - target, 0.0) ** 2).mean()), (r - target)[r > target].sum(), (target - r)[r < target].sum(),
        lost.max(), np.sqrt((lost**2).mean()), -s[tail_95 - 1], -s[:tail_95].mean(), -s[tail_99 - 1], -s[:tail_99].mean(),
        s[int(np.ceil(n * 0.95 - 1e-9)) - 1], (r > 0.0).mean(),
    ]  # fmt: skip


def measure(kernel: ModuleType, r: np.ndarray, index: np.ndarray, target: float) -> np.ndarray:
    order = np.argsort(r, kind="stable")
    rank = np.empty(len(r), np.int64)
    rank[order] = np.arange(len(r))
    counts, out = np.zeros(len(r), np.int64), np.zeros(kernel.COLUMNS)
    kernel.measure(r, r[order], rank, index, float(r.mean()), target, counts, out)
    assert not counts.any()
    return out


@BUILDS
@pytest.mark.parametrize("n", [2, 19, 20, 100, 101, 400])
def test_figures_of_a_resample_are_those_of_its_rows(kernel: ModuleType, n: int) -> None:
    random = np.random.default_rng(n)
    r = np.round(random.normal(0.001, 0.03, n), 3)  # with ties
    index = random.integers(0, n, n)
    index[:2] = (0, 1)

    found = measure(kernel, r, index, 0.0005)

    assert found == pytest.approx(plain_figures(r[index], 0.0005), rel=1e-9, abs=1e-12)


@BUILDS
def test_wealth_beyond_the_range_of_a_double_keeps_its_ratios(kernel: ModuleType) -> None:
    r = np.concatenate([np.full(500, 9.0), np.full(600, -0.9)])

    found = measure(kernel, r, np.arange(1100), 0.0)

    assert found[kernel.GROWTH] == pytest.approx(500 * np.log(10.0) + 600 * np.log(0.1), rel=1e-9)
    assert found[kernel.DRAWDOWN] == pytest.approx(1.0)
    assert np.isfinite(found).all()


def test_both_builds_give_the_same_bits() -> None:
    random = np.random.default_rng(1)
    r = random.normal(0.0, 0.02, 60)
    order = np.argsort(r)
    rank = np.argsort(order)
    ((_, drawn),) = words(9, 0, 40, 60)
    results = []
    for kernel in (built, interpreted()):
        out, sums = np.zeros((40, kernel.COLUMNS)), np.zeros((40, 2))
        fall, low, streak = np.zeros(40), np.zeros(40), np.zeros(40, np.int64)
        kernel.resample_returns(
            drawn, restart(3.0), r, r[order], rank, float(r.mean()), 0.0, np.zeros(60, np.int64), np.zeros(60, np.int64), out
        )
        kernel.resample_sums(drawn, restart(3.0), np.ascontiguousarray(np.stack([r, r * r], axis=1)), np.zeros(60, np.int64), sums)
        kernel.shuffle_drawdowns(drawn, r.copy(), 1.0, fall, low, streak)
        results.append(b"".join(x.tobytes() for x in (out, sums, fall, low, streak)))

    assert results[0] == results[1]


@BUILDS
def test_blocks_follow_each_other_wrap_and_have_their_mean_length(kernel: ModuleType) -> None:
    n = 50
    index = np.zeros(n, np.int64)
    jumps = rows = 0
    seen = np.zeros(n, np.int64)
    for _, block in words(3, 0, 400, n):
        for sample in range(len(block)):
            kernel.draw(block, sample, restart(5.0), index)
            steps = (np.diff(index) - 1) % n
            jumps += np.count_nonzero(steps)
            rows += n - 1
            seen += np.bincount(index, minlength=n)

    assert jumps / rows == pytest.approx(0.2 * (1 - 1 / n), abs=0.01)
    assert seen == pytest.approx(np.full(n, 400), abs=5 * 60)


def test_same_seed_same_bits_and_another_seed_others() -> None:
    r = np.random.default_rng(2).normal(0.0, 0.01, 300)

    first, again, other = (returns_draws(r, target=0.0, block=4.0, seed=seed, samples=200) for seed in (5, 5, 6))

    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_random_words_do_not_depend_on_how_many_come_at_a_time() -> None:
    n = 700_000  # one sample at a time
    split = np.concatenate([block.ravel() for _, block in words(1, 2, 3, n)])

    assert (split == np.random.Philox(key=[1, 2]).random_raw(3 * n).view(np.int64)).all()


def test_block_length_follows_the_memory_of_the_series() -> None:
    """AR(1) of coefficient a: the optimum is (4 a^2 / (1 - a^2)^2)^(1/3) n^(1/3) up to the factor of the paper's G and D."""
    random = np.random.default_rng(3)
    n = 20_000
    z = random.normal(size=n)
    for i in range(1, n):
        z[i] += 0.5 * z[i - 1]
    # G = 2 a / (1 - a)^2 * s, spectrum = (1 + a) / (1 - a) * s, b = (G / spectrum)^(2/3) n^(1/3)
    exact = (2 * 0.5 / (1 - 0.5) ** 2 / ((1 + 0.5) / (1 - 0.5))) ** (2 / 3) * n ** (1 / 3)

    assert block_length(z) == pytest.approx(exact, rel=0.25)
    assert block_length(random.normal(size=n)) < 5.0


@pytest.mark.parametrize("x", [np.zeros(100), np.full(100, 3.0), np.ones(1), np.zeros(0), np.arange(8.0)])
def test_block_length_without_spread_or_rows_is_one(x: np.ndarray) -> None:
    assert block_length(x) == 1.0


def test_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(8)
    hits = 0
    for k in range(200):
        x = random.normal(0.3, 1.0, (120, 1))
        found = interval(sums_draws(x, block=1.0, seed=k, samples=400)[:, 0] / 120, 0.9)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.3 <= found.high

    assert 0.83 <= hits / 200 <= 0.95


def test_interval_says_where_it_has_no_bound_and_where_it_means_nothing() -> None:
    assert interval(np.array([1.0] * 90 + [np.inf] * 10)) == Interval(1.0, None)
    assert interval(np.array([np.nan] * 5 + [1.0] * 95)) is None


def test_groups_keep_every_sum() -> None:
    rows = np.random.default_rng(1).normal(size=(10_001, 3))

    found = grouped(rows)

    assert len(found) <= 4096
    assert found.sum(axis=0) == pytest.approx(rows.sum(axis=0))
    assert grouped(rows[:4096]) is not None
    assert len(grouped(rows[:4096])) == 4096


def test_a_better_track_is_told_from_its_twin_and_equal_ones_are_not() -> None:
    random = np.random.default_rng(12)
    market = random.normal(0.0, 0.02, 900)
    a, b = market + random.normal(0.002, 0.005, 900), market + random.normal(0.0, 0.005, 900)

    told = {d.name: d for d in compare(a, b, per_year=365.25, samples=1000)}
    same = {d.name: d for d in compare(a, a, per_year=365.25, samples=200)}

    assert told["sharpe"].p_value is not None
    assert told["sharpe"].p_value < 0.01
    assert told["sharpe"].difference == pytest.approx((a.mean() / a.std(ddof=1) - b.mean() / b.std(ddof=1)) * np.sqrt(365.25))
    assert same["sharpe"].difference == 0.0
    assert same["sharpe"].p_value == 1.0


def test_equal_tracks_differ_as_often_as_the_level_says() -> None:
    random = np.random.default_rng(13)
    p = []
    for k in range(150):
        market = random.normal(0.0, 0.02, 250)
        a, b = market + random.normal(0.0, 0.01, 250), market + random.normal(0.0, 0.01, 250)
        p.append(next(d.p_value for d in compare(a, b, per_year=365.25, samples=200, seed=k, block=1.0) if d.name == "sharpe"))

    assert np.mean(np.array(p) <= 0.1) < 0.18


def test_bad_input_is_refused_with_its_row() -> None:
    with pytest.raises(DataError, match="returns: row 1: nan"):
        returns_draws(np.array([0.1, np.nan]), target=0.0, block=1.0, seed=0, samples=100)
    with pytest.raises(DataError, match="row 1: -1"):
        returns_draws(np.array([0.1, -1.0]), target=0.0, block=1.0, seed=0, samples=100)
    with pytest.raises(DataError, match="same ones"):
        compare(np.zeros(3), np.zeros(4), per_year=1.0)
    with pytest.raises(ConfigError, match="seed"):
        returns_draws(np.array([0.1, 0.2]), target=0.0, block=1.0, seed=-1, samples=100)
