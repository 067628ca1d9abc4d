"""The hidden Markov model: sums over all paths, and states that made the data."""

from __future__ import annotations

import numpy as np
import pytest

from mia.train.feature_models.regime import expect, fit_hmm
from mia.train.feature_models.rows import READ, REGIME_OF_CANDLES, FeatureFitSettings


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
