"""The model of the regime columns: a hidden Markov model by expectation and maximisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from mia.domain.errors import ConfigError
from mia.domain.regime import RegimeParams
from mia.train.feature_models.rows import F64, FeatureFitSettings, columns_of, scaled, scaling

_VAR_MIN: Final = 0.05  # of scaled inputs: no state may be so narrow that one odd bar excludes it
_CHUNK: Final = 250  # rows: EM takes a long series for many short ones, so that a step is one operation on all of them


def fit_hmm(series: Sequence[F64], names: Sequence[str], settings: FeatureFitSettings, warm_bars: int = 60) -> RegimeParams:
    """Baum-Welch from several starts, the likeliest kept, its states put into the order range, trend, defensive.

    Source: Rabiner (1989). The first start comes from quantiles of the two columns that order the states, the others are random.
    """
    rows = [x[-settings.rows_max :] for x in series]
    center, scale = scaling(columns_of(np.concatenate(rows), names))
    chunks = []
    for x in rows:
        z = scaled(x, names, center.tolist(), scale.tolist(), 4.0)
        chunks += [z[k : k + _CHUNK] for k in range(0, len(z) - _CHUNK + 1, _CHUNK)]
    if not chunks:
        raise ConfigError(f"feature models: {max(map(len, rows))} warm bars in a row: the regime model needs {_CHUNK}")
    z = np.stack(chunks)[: max(1, settings.rows_max // _CHUNK)]
    rng = np.random.default_rng(settings.seed)
    best: tuple[float, F64, F64, F64] | None = None
    for start in range(settings.starts):
        fitted = _baum_welch(z, _first_guess(z) if start == 0 else rng.dirichlet(np.full(3, 0.3), z.shape[:2]), settings.iterations)
        if best is None or fitted[0] > best[0]:
            best = fitted
    assert best is not None
    _, mean, var, transition = best
    wild = int(mean[:, 0].argmax())
    calm, trend = sorted((k for k in range(3) if k != wild), key=lambda k: mean[k, 1])
    order = [calm, trend, wild]
    transition = np.maximum(transition[np.ix_(order, order)], 1e-5)
    transition /= transition.sum(axis=1, keepdims=True)
    transition[:, 2] = 1.0 - transition[:, 0] - transition[:, 1]
    params = RegimeParams(
        columns=list(names), center=center.tolist(), scale=scale.tolist(), mean=mean[order].tolist(), var=var[order].tolist(),
        transition=transition.tolist(), clip=4.0, warm_bars=warm_bars,
    )  # fmt: skip
    params.check("regime fit")
    return params


def _first_guess(z: F64) -> F64:
    """Responsibilities by quantiles: the wildest quarter is defensive, of the rest the third with the strongest trend is trend."""
    wild = z[..., 0] > np.quantile(z[..., 0], 0.75)
    strong = z[..., 1] > np.quantile(z[..., 1][~wild], 0.67)
    label = np.where(wild, 2, np.where(strong, 1, 0))
    guess: F64 = np.full((*label.shape, 3), 0.05)
    np.put_along_axis(guess, label[..., None], 0.9, axis=2)
    return guess


def _baum_welch(z: F64, gamma: F64, iterations: int) -> tuple[float, F64, F64, F64]:
    """(log-likelihood per row, mean [3, d], var [3, d], transition [3, 3]) of chunks z [s, t, d] from responsibilities [s, t, 3]."""
    counts = np.ones((3, 3)) + np.einsum("sti,stj->ij", gamma[:, :-1], gamma[:, 1:])
    before = -np.inf
    while True:
        mass = gamma.sum(axis=(0, 1)) + 1e-9
        mean = np.einsum("stk,std->kd", gamma, z) / mass[:, None]
        var = np.maximum(np.einsum("stk,std->kd", gamma, z**2) / mass[:, None] - mean**2, _VAR_MIN)
        transition = counts / counts.sum(axis=1, keepdims=True)
        gamma, counts, loglik = expect(z, mean, var, transition, mass / mass.sum())
        iterations -= 1
        if iterations <= 0 or loglik - before < 1e-5:
            return loglik, mean, var, transition
        before = loglik


def expect(z: F64, mean: F64, var: F64, transition: F64, start: F64) -> tuple[F64, F64, float]:
    """Forward and backward over chunks z [s, t, d]: (P(state) [s, t, 3], expected transitions [3, 3], log-likelihood per row)."""
    log_b = -0.5 * (np.log(2 * np.pi * var).sum(axis=1) + ((z[:, :, None, :] - mean) ** 2 / var).sum(axis=3))
    top = log_b.max(axis=2, keepdims=True)
    b = np.exp(log_b - top)
    steps = z.shape[1]
    alpha, scale = np.empty_like(b), np.empty(b.shape[:2])
    prior = np.broadcast_to(start, b[:, 0].shape)
    for t in range(steps):
        joint = prior * b[:, t]
        scale[:, t] = np.maximum(joint.sum(axis=1), 1e-300)
        alpha[:, t] = joint / scale[:, t, None]
        prior = alpha[:, t] @ transition
    beta = np.ones_like(b)
    for t in range(steps - 2, -1, -1):
        beta[:, t] = (beta[:, t + 1] * b[:, t + 1]) @ transition.T / scale[:, t + 1, None]
    gamma = alpha * beta
    gamma /= np.maximum(gamma.sum(axis=2, keepdims=True), 1e-300)
    later = beta[:, 1:] * b[:, 1:] / scale[:, 1:, None]
    counts = np.einsum("sti,stj->ij", alpha[:, :-1], later) * transition
    return gamma, counts + 1e-6, float((np.log(scale) + top[..., 0]).mean())
