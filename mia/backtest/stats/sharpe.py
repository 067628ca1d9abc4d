"""What a Sharpe ratio is worth: its standard errors, its correction for autocorrelation, and what is left of it after many trials.

Ratios here are per period unless said otherwise; kurtosis is 3 for a normal distribution.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

from mia.backtest.stats.inputs import F64

_NORMAL: Final = NormalDist()
_EULER: Final = 0.5772156649015329


def moments(r: F64) -> tuple[float, float, float, float]:
    """Mean, deviation (n - 1), skew and kurtosis of r [n]; deviation, skew and kurtosis are 0.0 when r has no spread."""
    n = len(r)
    mean = float(r.mean())
    d = r - mean
    m2 = float((d * d).mean())
    if n < 2 or not m2 > 1e-24 * mean * mean or m2 * m2 == 0.0:
        return mean, 0.0, 0.0, 0.0
    return mean, math.sqrt(m2 * n / (n - 1)), float((d**3).mean()) / m2**1.5, float((d**4).mean()) / (m2 * m2)


def mertens_error(sharpe: float, n: int, skew: float, kurtosis: float) -> float:
    """Standard error for independent returns of any distribution: sqrt((1 - g3 SR + (g4 - 1) / 4 SR^2) / (n - 1)) (Mertens 2002)."""
    return math.sqrt(max(1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe, 0.0) / (n - 1))


def bandwidth(n: int) -> int:
    """Lags of a Bartlett window: floor(4 (n / 100)^(2/9)) (Newey & West 1994), below n."""
    return min(int(4.0 * (n / 100.0) ** (2.0 / 9.0)), n - 1)


def robust_error(r: F64, excess: float) -> float:
    """Standard error of excess / deviation for autocorrelated returns (Lo 2002, GMM): Newey-West on the influence of each row."""
    _, deviation, _, _ = moments(r)
    n, sharpe = len(r), excess / deviation
    z = (r - r.mean()) / deviation
    influence = z - 0.5 * sharpe * (z * z - 1.0)
    influence = influence - influence.mean()
    lags = bandwidth(n)
    total = float(influence @ influence)
    for k in range(1, lags + 1):
        total += 2.0 * (1.0 - k / (lags + 1.0)) * float(influence[k:] @ influence[:-k])
    return math.sqrt(max(total, 0.0)) / n


def lo_factor(r: F64, periods: float) -> float | None:
    """What a ratio per period is multiplied with for one of `periods` of them: q / sqrt(q + 2 sum_k (q - k) rho_k) (Lo 2002, eq. 20).

    Autocorrelations beyond `bandwidth(n)` lags are taken as 0: their noise would be all that hundreds of lags add. None: no root.
    """
    d = r - r.mean()
    variance = float(d @ d)
    total = periods
    for k in range(1, min(bandwidth(len(r)), math.ceil(periods) - 1) + 1):
        total += 2.0 * (periods - k) * float(d[k:] @ d[:-k]) / variance
    return periods / math.sqrt(total) if total > 0.0 else None


def probabilistic_sharpe(sharpe: float, target: float, n: int, skew: float, kurtosis: float) -> float:
    """Probability that the true ratio is above `target` (Bailey & Lopez de Prado 2012); skew and kurtosis of the n returns."""
    error = mertens_error(sharpe, n, skew, kurtosis)
    if error == 0.0:
        return 0.5 if sharpe == target else float(sharpe > target)
    return _NORMAL.cdf((sharpe - target) / error)


def expected_max_sharpe(trials: int, variance: float) -> float:
    """The best ratio to expect of so many trials without skill, whose ratios have this variance (Bailey & Lopez de Prado 2014).

    sqrt(V) ((1 - g) z(1 - 1/N) + g z(1 - 1/(N e))), g: Euler's constant; 0.0 for one trial.
    """
    if trials <= 1 or variance <= 0.0:
        return 0.0
    high, higher = _NORMAL.inv_cdf(1.0 - 1.0 / trials), _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - _EULER) * high + _EULER * higher)


def deflated_sharpe(sharpe: float, n: int, skew: float, kurtosis: float, trials: int, variance: float) -> float:
    """probabilistic_sharpe against the best of `trials` without skill; variance of the trials' ratios, per period as all else."""
    return probabilistic_sharpe(sharpe, expected_max_sharpe(trials, variance), n, skew, kurtosis)


def minimum_length(sharpe: float, target: float, skew: float, kurtosis: float, level: float = 0.95) -> float | None:
    """Periods that a track needs before its ratio is above `target` at this level (Bailey & Lopez de Prado 2012); None: never."""
    if sharpe <= target:
        return None
    z = _NORMAL.inv_cdf(level) / (sharpe - target)
    return 1.0 + max(1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe, 0.0) * z * z
