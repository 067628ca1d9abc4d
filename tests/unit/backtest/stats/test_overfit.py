"""Overfitting and superior predictive ability: their levels on noise, their power on a planted edge, and plain re-computations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mia.backtest.stats.overfit import overfit, superior
from mia.domain.errors import ConfigError, DataError


def noise(seed: int, n: int, k: int) -> np.ndarray:
    return np.random.default_rng([seed, 8]).normal(0.0, 0.01, (n, k))


def rejected(sets: int) -> float:
    """Share of noise data sets in which SPA finds something at level 5 %."""
    return float(np.mean([superior(noise(k, 250, 10), seed=k, samples=500).p_value <= 0.05 for k in range(sets)]))


def test_spa_rejects_noise_about_as_often_as_its_level() -> None:
    assert 0.01 <= rejected(150) <= 0.10


@pytest.mark.slow
def test_spa_rejects_five_percent_of_a_thousand_noise_data_sets() -> None:
    assert 0.035 <= rejected(1000) <= 0.065


def test_spa_finds_a_planted_edge_and_its_column() -> None:
    better = noise(1, 500, 30)
    better[:, 17] += 0.003

    found = superior(better, seed=1)

    assert found.p_value < 0.01
    assert found.best == 17


def test_poor_configurations_do_not_hide_an_edge_from_the_consistent_p_value() -> None:
    """Hansen's reason for the test: very bad models raise only the upper p-value."""
    better = noise(2, 400, 20)
    better[:, 0] += 0.0011
    better[:, 1:] -= 0.004

    found = superior(better, seed=2)

    assert found.lower <= found.p_value <= found.upper
    assert found.p_value < 0.5 * found.upper


def test_spa_equals_a_plain_computation_without_blocks() -> None:
    better = noise(3, 80, 4) + np.array([0.002, 0.0, -0.001, 0.001])
    n, samples = len(better), 2000
    error = better.std(axis=0)
    scores = np.sqrt(n) * better.mean(axis=0) / error
    random = np.random.default_rng(0)
    centre = np.where(scores >= -np.sqrt(2 * np.log(np.log(n))), better.mean(axis=0), 0.0)
    drawn = np.array([better[random.integers(0, n, n)].mean(axis=0) for _ in range(samples)])
    expected = (np.maximum((np.sqrt(n) * (drawn - centre) / error).max(axis=1), 0.0) >= scores.max()).mean()

    found = superior(better, block=1.0, samples=samples)

    assert found.statistic == pytest.approx(scores.max())
    assert found.p_value == pytest.approx(expected, abs=0.045)


def test_the_spread_of_resampled_means_is_what_spa_divides_by() -> None:
    """w^2 by its formula equals n times the variance of many resampled means, with blocks."""
    from mia.backtest.stats.overfit import _variance
    from mia.backtest.stats.resample import sums_draws

    z = noise(4, 300, 2)
    z[1:] += 0.5 * z[:-1]
    centred = z - z.mean(axis=0)

    drawn = sums_draws(centred, block=6.0, seed=1, samples=20_000) / 300

    assert _variance(centred, 6.0) == pytest.approx(300 * drawn.var(axis=0), rel=0.04)


def test_a_configuration_that_never_differs_is_left_out_and_counted() -> None:
    better = noise(5, 100, 3)
    better[:, 1] = 0.0

    found = superior(better)

    assert (found.configurations, found.skipped) == (2, 1)
    with pytest.raises(DataError, match="ever differs"):
        superior(np.zeros((100, 2)))


def test_pbo_is_near_one_half_on_noise() -> None:
    found = [overfit(noise(k, 320, 30), blocks=10).probability for k in range(60)]

    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_pbo_is_near_zero_on_a_planted_edge() -> None:
    returns = noise(6, 960, 30)
    returns[:, 4] += 0.003

    found = overfit(returns)

    assert found.probability < 0.01
    assert found.loss < 0.01
    assert found.combinations == 12_870


def test_pbo_equals_a_plain_computation() -> None:
    returns = noise(7, 64, 5)
    blocks = np.split(returns, 4)
    logits = []
    for half in itertools.combinations(range(4), 2):
        inside = np.concatenate([blocks[k] for k in half])
        outside = np.concatenate([blocks[k] for k in range(4) if k not in half])
        best = int((inside.mean(axis=0) / inside.std(axis=0)).argmax())
        ratios = outside.mean(axis=0) / outside.std(axis=0)
        rank = 1 + sorted(ratios).index(ratios[best])
        logits.append(np.log(rank / 6 / (1 - rank / 6)))

    assert overfit(returns, blocks=4).probability == np.mean(np.array(logits) <= 0.0)


def test_configurations_without_spread_rank_in_the_middle() -> None:
    found = overfit(np.zeros((64, 3)), blocks=4)

    assert found.probability == 1.0  # the best is no better than the middle
    assert found.slope is None


def test_bad_tables_are_refused_by_name() -> None:
    holed = noise(1, 64, 3)
    holed[5, 2] = np.nan
    with pytest.raises(DataError, match="row 5, column 2"):
        overfit(holed)
    with pytest.raises(DataError, match="at least 2"):
        overfit(noise(1, 64, 1))
    with pytest.raises(DataError, match="too few"):
        overfit(noise(1, 20, 3))
    with pytest.raises(ConfigError, match="blocks"):
        overfit(noise(1, 64, 3), blocks=5)
    with pytest.raises(DataError, match="at least 10"):
        superior(noise(1, 9, 3))
