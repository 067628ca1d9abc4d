"""How fitted models do on the rows that they saw and on later ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mia.features.models import FeatureModels, Memory
from mia.train.feature_models.regime import expect
from mia.train.feature_models.rows import Stretch, scaled


def report(models: FeatureModels, seen: Sequence[Stretch], unseen: Sequence[Stretch]) -> list[str]:
    """How the models do on rows that they were fitted on and on later ones, in lines to print."""
    lines = []
    for title, part in (("fitted on", seen), ("later", unseen)):
        if not part:
            continue
        rows = np.concatenate([s.rows for s in part])
        texts = [f"{title}: {len(rows)} rows"]
        if (p := models.regime) is not None:
            z = scaled(rows, p.columns, p.center, p.scale, p.clip)
            start = np.full(3, 1 / 3)
            gamma, _, loglik = expect(z[None], np.array(p.mean), np.array(p.var), np.array(p.transition), start)
            texts.append(f"regime log-likelihood {loglik:.3f}, shares {np.round(gamma.mean(axis=(0, 1)), 2).tolist()}")
        latent = models.latent
        if latent is not None:
            for name, pca in (("pca_flow", latent.pca_flow), ("pca_price", latent.pca_price)):
                if pca is not None:
                    z = scaled(rows, pca.columns, pca.center, pca.scale, pca.clip)
                    z = z - z.mean(axis=0)
                    axes = np.linalg.qr(np.array(pca.weights).T)[0]
                    texts.append(f"{name} explains {(z @ axes).var(axis=0).sum() / z.var(axis=0).sum():.2f} of the variance")
            if (a := latent.ae_vol) is not None:
                z = scaled(rows, a.columns, a.center, a.scale, a.clip)
                code = np.tanh(z @ np.array(a.w1).T + a.b1) @ np.array(a.w2).T + a.b2
                error = ((code @ np.array(a.w3).T + a.b3 - z) ** 2).mean(axis=1)
                texts.append(f"autoencoder error {error.mean() / z.var(axis=0).mean():.2f} of the variance")
                texts.append(f"novelty above 1 in {(error > a.error_p99).mean():.1%}")
        if (m := models.memory) is not None:
            texts.append(f"memory: {_memory_line(m, part)}")
        lines.append("; ".join(texts))
    return lines


def _memory_line(m: Memory, part: Sequence[Stretch]) -> str:
    """Correlation of what the clusters promise with what followed."""
    horizon = int(m.outcome.split("+")[1].split("]")[0])
    promised, followed = [], []
    for s in part:
        at = np.arange(0, len(s.ts_ns) - horizon, horizon)
        z = scaled(s.rows[at], m.columns, m.center, m.scale, m.clip)
        near = ((z[:, None, :] - np.array(m.centers)) ** 2).sum(axis=2).argmin(axis=1)
        n = np.array(m.counts)
        promised.append((np.array(m.mean_returns) * n / (n + 20.0))[near])
        followed.append(np.log(s.close[at + horizon] / s.close[at]))
    a, b = np.concatenate(promised), np.concatenate(followed)
    if len(a) < 30 or a.std() == 0.0 or b.std() == 0.0:
        return "too few outcomes"
    return f"correlation of cluster_ret with {len(a)} outcomes {np.corrcoef(a, b)[0, 1]:+.3f}"
