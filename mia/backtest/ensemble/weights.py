"""Weights of strategies from their own past: numbers from arrays, nothing of runs or files.

Weights are at least 0 and add up to 1: a member is never traded against, since its costs would not turn into gains. A member that did not
move in the past that is given (it never traded) says nothing of its risk and gets 0; when none moved, all get the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mia.domain.errors import ConfigError

F64 = npt.NDArray[np.float64]
FORGETTING: Final = 0.999  # a bar
_WARM: Final = 20  # bars that only say how much the market moves
_TINY: Final = 1e-300


class Past(NamedTuple):
    """returns: float64[n, k], of each member's equity, bar by bar; wanted: float64[n, k, m], the position in each instrument that each
    member wanted when the bar began, notional over equity; market: float64[n, m], return of each instrument over the bar, NaN where it
    had none."""

    returns: F64
    wanted: F64
    market: F64

    def rows(self, first: int, stop: int) -> Past:
        """Of these bars."""
        return Past(self.returns[first:stop], self.wanted[first:stop], self.market[first:stop])

    def only(self, members: list[int]) -> Past:
        """Of these members."""
        return Past(self.returns[:, members], self.wanted[:, members], self.market)


def equal(past: Past, forgetting: float) -> F64:
    """1 / k each: hard to beat (DeMiguel, Garlappi, Uppal 2009)."""
    k = past.returns.shape[1]
    return np.full(k, 1.0 / k)


def inverse_volatility(past: Past, forgetting: float) -> F64:
    """In proportion to 1 / standard deviation of returns."""

    def of(returns: F64) -> F64:
        found: F64 = 1.0 / returns.std(axis=0)
        return found

    return _of_moving(past, of)


def min_variance(past: Past, forgetting: float) -> F64:
    """Least variance under the covariance shrunk towards a multiple of the identity.

    Source: Ledoit, Wolf (2004), J. Multivariate Analysis 88(2), by scikit-learn. min w' S w over w >= 0 with sum 1 is the solution of
    min w' S w / 2 - 1' w over w >= 0, scaled to sum 1 (their Karush-Kuhn-Tucker conditions are the same), which is a problem of
    non-negative least squares.
    """
    try:
        from scipy.optimize import nnls  # type: ignore[import-untyped]
        from sklearn.covariance import ledoit_wolf  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("the shrunk covariance needs scikit-learn: pip install 'mia[train]'") from None

    def of(returns: F64) -> F64:
        scale = float(returns.std())  # of a size for which solvers' tolerances are made; weights do not depend on it
        covariance, _ = ledoit_wolf(returns / scale)
        factor = np.linalg.cholesky(covariance)
        found: F64 = nnls(factor.T, np.linalg.solve(factor, np.ones(returns.shape[1])))[0]
        return found

    return _of_moving(past, of)


def likelihood(past: Past, forgetting: float) -> F64:
    """How well each member's wanted positions foretold the market's next returns: posterior probabilities of the members' models.

    Model k: return = b_k wanted_k + noise, b_k and the noise's variance updated bar by bar with forgetting, the probability p_k
    multiplied by the density that the model gave to the return before it was seen, after p_k was raised to the power `forgetting`.
    Each instrument has a b_k and a variance of its own; the noises of instruments are taken as independent. One that had no bar is
    left out.
    Source: Raftery, Karny, Ettler (2010), Technometrics 52(1), eqs. 7-9 and 15-16 (there the variance is recursive too, eq. 10).
    """
    n, k, m = past.wanted.shape
    if n <= _WARM:
        return equal(past, forgetting)
    known = ~np.isnan(past.market)
    market = np.where(known, past.market, 0.0)
    seen = np.maximum(known[:_WARM].sum(axis=0), 1)
    variance = np.tile(np.maximum((market[:_WARM] ** 2).sum(axis=0) / seen, _TINY), (k, 1))
    slope, spread = np.zeros((k, m)), variance.copy()  # b_k: nothing is believed of a member before it has shown something
    log_p = np.zeros(k)
    has_gaps = not bool(known.all())
    for t in range(_WARM, n):
        x = past.wanted[t]
        wider = spread / forgetting
        error = market[t] - slope * x
        total = variance + wider * x * x
        surprise = np.log(2.0 * np.pi * total) + error * error / total
        gain = wider * x / total
        calmer = np.maximum(forgetting * variance + (1.0 - forgetting) * (error * error), _TINY)
        before = slope, spread, variance
        slope, spread, variance = slope + gain * error, wider - gain * x * wider, calmer
        if has_gaps:
            traded = known[t : t + 1]
            surprise = np.where(traded, surprise, 0.0)
            slope, spread, variance = (
                np.where(traded, new, old) for new, old in zip((slope, spread, variance), before, strict=True)
            )  # fmt: skip
        log_p = forgetting * log_p - 0.5 * surprise.sum(axis=1)
        log_p -= log_p.max()
    weights: F64 = np.exp(log_p)
    return weights


METHODS: Final[Mapping[str, Callable[[Past, float], F64]]] = {
    "equal": equal,
    "inverse_volatility": inverse_volatility,
    "min_variance": min_variance,
    "likelihood": likelihood,
}


def fitted(method: str, past: Past, forgetting: float = FORGETTING) -> F64:
    """float64[k]: the weights of `method`, which add up to 1."""
    weights = METHODS[method](past, forgetting)
    found: F64 = weights / weights.sum()
    return found


def _of_moving(past: Past, of: Callable[[F64], F64]) -> F64:
    """`of` the members that moved, 0 for the others."""
    moved = past.returns.std(axis=0) > 0.0 if len(past.returns) > 1 else np.zeros(past.returns.shape[1], np.bool_)
    if not moved.any():
        return equal(past, 1.0)
    weights = np.zeros(len(moved))
    found = of(past.returns[:, moved])
    weights[moved] = found / found.sum()
    return weights
