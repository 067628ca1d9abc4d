"""Projections, autoencoder and distance against plain versions."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from mia.train.feature_models.latent import fit_autoencoder, fit_distance, fit_projection
from mia.train.feature_models.rows import PRICE, VOL, Stretch, scaled
from tests.unit.train.feature_models.conftest import QUICK


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
