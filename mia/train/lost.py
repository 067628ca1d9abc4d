"""Inputs that are missing for a while: what a policy sees of its columns and masks then, in training and in its report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mia.features.catalogue import shipped_catalogue
from mia.features.plan import mask_input

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


class Lost:
    """Takes each masked input away on its own, as the live plan shows it: the columns that read it stand at their neutral values.

    The masks of all inputs that such a column reads fall to 0 with it, so that a column of two inputs takes both masks down.
    """

    def __init__(self, columns: Sequence[str], masks: Sequence[str], seed: int, share: float, rows: int, only: str = "") -> None:
        """columns, masks: of the observation's market part and its masks (`has(depth)`). share: the chance of a row to lie in a span
        without an input, of each input for itself; rows: of such a span. only: a mask, the one input that is ever lost.
        """
        features = [shipped_catalogue().by_name.get(name) for name in columns]
        inputs = [f.inputs if f is not None else () for f in features]
        self._neutral = np.array([f.neutral if f is not None else 0.0 for f in features], dtype=np.float32)
        self._falls: list[tuple[I64, I64]] = []
        for mask in masks:
            at = [k for k, read in enumerate(inputs) if mask_input(mask) in read] if only in ("", mask) else []
            down = [m for m, other in enumerate(masks) if any(mask_input(other) in inputs[k] for k in at)]
            self._falls.append((np.array(at, dtype=np.int64), np.array(down, dtype=np.int64)))
        self._rng = np.random.default_rng(seed)
        self._share, self._rows = share, rows

    def take(self, features: F32, masks: F32) -> None:
        """Change features [T, columns] (raw, not scaled) and masks [T, masks] in place."""
        n = len(features)
        for at, down in self._falls:
            block = (np.arange(n) + self._rng.integers(self._rows)) // self._rows
            lost = np.flatnonzero((self._rng.random(n // self._rows + 2) < self._share)[block])
            features[np.ix_(lost, at)] = self._neutral[at]
            masks[np.ix_(lost, down)] = 0.0
