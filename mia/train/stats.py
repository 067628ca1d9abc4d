"""Small statistics for cards: intervals over seeds, calibration and ranking of probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats as scipy_stats  # type: ignore[import-untyped]

F64 = npt.NDArray[np.float64]


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high): Student's interval of the mean over independent seeds; the whole line for fewer than two."""
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2:
        return (float(x.mean()) if len(x) else math.nan, -math.inf, math.inf)
    half = float(scipy_stats.t.ppf(0.5 + level / 2.0, len(x) - 1)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return float(x.mean()), float(x.mean()) - half, float(x.mean()) + half


def brier(probability: F64, outcome: F64) -> float:
    """Mean squared error of a probability; lower is better, base * (1 - base) is the constant's score."""
    return float(np.mean((probability - outcome) ** 2))


def auc(score: F64, outcome: F64) -> float:
    """Chance that a positive outranks a negative (ties half); NaN when one class is missing."""
    positives = int(outcome.sum())
    negatives = len(outcome) - positives
    if positives == 0 or negatives == 0:
        return math.nan
    ranks = scipy_stats.rankdata(score)
    return float((ranks[outcome > 0.5].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))
