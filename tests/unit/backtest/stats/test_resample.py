"""The stationary bootstrap: seeds, block lengths against the paper, intervals against coverage, and the difference of two tracks."""

from __future__ import annotations

import numpy as np
import pytest

from mia.backtest.stats.resample import (
    Interval,
    block_length,
    compare,
    grouped,
    interval,
    returns_draws,
    sums_draws,
    words,
)  # fmt: skip
from mia.domain.errors import ConfigError, DataError


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
