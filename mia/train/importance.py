"""Which columns matter: mean |SHAP| of the trade-probability head, each fold explained by a head that never saw it.

The head predicts whether a trade pays after costs, so its attributions speak of profit; an actor's would speak of its own habit.
Attributions are expected gradients (Erion et al. 2021, Nature Machine Intelligence 3): the gradient at a random point between
a row and a random background row, times their difference, averaged; a sampled form of SHAP values that needs one network pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from mia.train.alpha import dataset, fit_alpha
from mia.train.env import F32, Tape
from mia.train.graph import Layer
from mia.train.observation import Ranked

F64 = npt.NDArray[np.float64]
_ROWS: Final = 512  # explained per fold
_DRAWS: Final = 64  # background rows per explained row


def expected_gradients(layers: Sequence[Layer], rows: F32, background: F32, draws: int, seed: int) -> F64:
    """Attributions [N, outputs, n] of the head's logits to the inputs of each row, averaged over draws of the background [M, n]."""
    generator = torch.Generator().manual_seed(seed)
    w1, b1, w2, _ = (torch.from_numpy(np.ascontiguousarray(a)) for layer in layers for a in (layer.weight, layer.bias))
    x, reference = torch.from_numpy(rows), torch.from_numpy(background)
    total = torch.zeros(len(x), w2.shape[1], x.shape[1])
    for _ in range(draws):
        base = reference[torch.randint(len(reference), (len(x),), generator=generator)]
        share = torch.rand((len(x), 1), generator=generator)
        active = ((base + share * (x - base)) @ w1 + b1 > 0.0).to(x.dtype)  # [N, hidden]: the gradient of a ReLU
        gradient = torch.einsum("nh,ih,ho->noi", active, w1, w2)
        total += gradient * (x - base)[:, None, :]
    found: F64 = (total / draws).numpy().astype(np.float64)
    return found


def rank_columns(tapes: Sequence[Tape], horizon_s: float, seed: int, folds: int = 4, epochs: int = 6) -> list[Ranked]:
    """Every market column of the tapes, best first. ValueError with fewer tapes than folds."""
    if len(tapes) < folds or folds < 2 or len(tapes) - len(tapes) // folds < 3:
        raise ValueError(f"a ranking needs two folds, and three tapes outside of each, got {folds} folds and {len(tapes)} tapes")
    columns = tapes[0].columns
    values = np.zeros((folds, len(columns)))
    for fold in range(folds):
        held = [t for k, t in enumerate(tapes) if k % folds == fold]
        rest = [t for k, t in enumerate(tapes) if k % folds != fold]
        layers, _ = fit_alpha(rest[1:], rest[:1], horizon_s, seed + fold, epochs=epochs)
        x, _ = dataset(held, horizon_s)
        background, _ = dataset(rest, horizon_s)
        rng = np.random.default_rng(seed + fold)
        picked = x[rng.choice(len(x), min(_ROWS, len(x)), replace=False)]
        found = expected_gradients(layers, picked, background, _DRAWS, seed + fold)
        values[fold] = np.abs(found).mean(axis=(0, 1))[: len(columns)]
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
    ranks = values.argsort(axis=1)[:, ::-1].argsort(axis=1)
    stability = np.clip(1.0 - ranks.std(axis=0) / max(1.0, (len(columns) - 1) / 2.0), 0.0, 1.0)
    order = np.argsort(-mean, kind="stable")
    return [Ranked(columns[k], float(mean[k]), float(spread[k]), folds, float(stability[k])) for k in order]
