"""The model of the memory columns: clusters of past situations with what followed them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mia.domain.errors import ConfigError
from mia.features.models import Memory
from mia.train.feature_models.rows import CLIP, MEMORY, FeatureFitSettings, Stretch, columns_of, scaled, scaling


def fit_memory(stretches: Sequence[Stretch], settings: FeatureFitSettings) -> Memory:
    """K-means over situations a horizon apart, each with what a long position would have made in the horizon after it."""
    from sklearn.cluster import KMeans  # type: ignore[import-untyped]  # ships no stubs
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no stubs

    h = settings.horizon_bars
    x = np.concatenate([columns_of(s.rows, MEMORY) for s in stretches])
    center, scale = scaling(x)
    situations, outcomes, ended = [], [], []
    for s in stretches:
        z = scaled(s.rows, MEMORY, center.tolist(), scale.tolist(), CLIP)
        at = np.arange(0, len(s.ts_ns) - h, h)
        situations.append(z[at])
        outcomes.append(np.log(s.close[at + h] / s.close[at]) - settings.cost)
        ended.append(s.ts_ns[at + h])
    z, y, t = np.concatenate(situations), np.concatenate(outcomes), np.concatenate(ended)
    if len(z) < 10 * settings.clusters:
        raise ConfigError(f"feature models: {len(z)} situations for {settings.clusters} clusters: give more bars")
    std = max(float(y.std()), 1e-12)
    with threadpool_limits(1):  # so little work is slower on many threads, and on a busy machine they wait for each other
        found = KMeans(settings.clusters, n_init=4, random_state=settings.seed).fit(z)
    order = np.argsort(-np.bincount(found.labels_, minlength=settings.clusters), kind="stable")
    centers = found.cluster_centers_[order]
    label = np.argsort(order)[found.labels_]
    every = np.concatenate([scaled(s.rows, MEMORY, center.tolist(), scale.tolist(), CLIP) for s in stretches])
    stamps = np.concatenate([s.ts_ns for s in stretches])
    nearest = ((every[:, None, :] - centers[None]) ** 2).sum(axis=2).argmin(axis=1) if len(every) <= 20_000 else None
    if nearest is None:
        nearest = np.concatenate(
            [((part[:, None, :] - centers[None]) ** 2).sum(axis=2).argmin(axis=1) for part in np.array_split(every, 32)]
        )
    groups = range(settings.clusters)
    pick = np.unique(np.linspace(0, len(z) - 1, min(settings.contexts, len(z))).astype(int))
    return Memory(
        columns=list(MEMORY), center=center.tolist(), scale=scale.tolist(), clip=CLIP, centers=centers.tolist(),
        counts=[int((label == k).sum()) for k in groups],
        hits=[int((y[label == k] > 0).sum()) for k in groups],
        mean_returns=[float(y[label == k].mean() / std) if (label == k).any() else 0.0 for k in groups],
        last_ns=[int(stamps[nearest == k].max()) if (nearest == k).any() else 0 for k in groups],
        contexts=z[pick].tolist(), later_returns=(y[pick] / std).tolist(), ended_ns=t[pick].tolist(), return_std=std,
        outcome=f"ln(c[+{h}] / c) - {settings.cost:g}, long",
    )  # fmt: skip
