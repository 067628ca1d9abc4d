"""The models of the latent columns: principal components, an autoencoder, and a distance from the usual."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mia.features.models import Autoencoder, Distance, Projection
from mia.train.feature_models.rows import CLIP, F64, FeatureFitSettings, columns_of, scaling


def fit_projection(rows: F64, names: Sequence[str]) -> Projection:
    """The first three principal components, each of variance 1; the largest weight of each is positive."""
    x = columns_of(rows, names)
    center, scale = scaling(x)
    z = np.clip((x - center) / scale, -CLIP, CLIP)
    _, _, axes = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    weights = axes[:3] * np.sign(axes[np.arange(3), np.abs(axes[:3]).argmax(axis=1)])[:, None]
    weights = weights / np.maximum((z @ weights.T).std(axis=0), 1e-6)[:, None]
    return Projection(columns=list(names), center=center.tolist(), scale=scale.tolist(), clip=CLIP, weights=weights.tolist())


def fit_autoencoder(rows: F64, names: Sequence[str], settings: FeatureFitSettings) -> Autoencoder:
    """d -> hidden tanh -> 3 -> d by full-batch Adam; the code is turned onto its own principal axes, largest first, variance 1."""
    import torch

    torch.set_num_threads(1)  # the matrices are small: more threads wait for each other, ten times longer on a shared machine
    x = columns_of(rows[-settings.rows_max :], names)
    center, scale = scaling(x)
    z = np.clip((x - center) / scale, -CLIP, CLIP)
    generator = torch.Generator().manual_seed(settings.seed)
    d, h = len(names), settings.hidden
    shapes = ((h, d), (h,), (3, h), (3,), (d, 3), (d,))
    weights = [torch.randn(shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5 * (len(shape) > 1) for shape in shapes]
    for w in weights:
        w.requires_grad_(True)
    data = torch.from_numpy(z)
    optimiser = torch.optim.Adam(weights, lr=0.01)
    for _ in range(settings.steps):
        w1, b1, w2, b2, w3, b3 = weights
        code = torch.tanh(data @ w1.T + b1) @ w2.T + b2
        loss = ((code @ w3.T + b3 - data) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    a1, c1, a2, c2, a3, c3 = (w.detach().numpy() for w in weights)
    code_rows = np.tanh(z @ a1.T + c1) @ a2.T + c2
    mean = code_rows.mean(axis=0)
    _, _, axes = np.linalg.svd(code_rows - mean, full_matrices=False)
    axes = axes * np.sign(axes[np.arange(3), np.abs(axes).argmax(axis=1)])[:, None]
    spread = np.maximum(((code_rows - mean) @ axes.T).std(axis=0), 1e-6)
    turn = axes / spread[:, None]
    a2, c2 = turn @ a2, turn @ (c2 - mean)
    a3, c3 = a3 @ axes.T * spread, c3 + a3 @ mean
    error = (((np.tanh(z @ a1.T + c1) @ a2.T + c2) @ a3.T + c3 - z) ** 2).mean(axis=1)
    return Autoencoder(
        columns=list(names), center=center.tolist(), scale=scale.tolist(), clip=CLIP, w1=a1.tolist(), b1=c1.tolist(), w2=a2.tolist(),
        b2=c2.tolist(), w3=a3.tolist(), b3=c3.tolist(), error_p99=max(float(np.quantile(error, 0.99)), 1e-9),
    )  # fmt: skip


def fit_distance(rows: F64, names: Sequence[str]) -> Distance:
    """The inverse Cholesky factor of the covariance of scaled inputs, a thousandth of the mean variance added to its diagonal."""
    x = columns_of(rows, names)
    center, scale = scaling(x)
    z = np.clip((x - center) / scale, -CLIP, CLIP)
    covariance = z.T @ z / len(z)
    covariance += np.eye(len(names)) * 1e-3 * np.trace(covariance) / len(names)
    whiten = np.tril(np.linalg.inv(np.linalg.cholesky(covariance)))
    return Distance(columns=list(names), center=center.tolist(), scale=scale.tolist(), clip=CLIP, whiten=whiten.tolist())
