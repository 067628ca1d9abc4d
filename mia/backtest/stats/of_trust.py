"""Statistics of how far the Sharpe ratio can be trusted: errors, autocorrelation, and the trials that came before it."""

from __future__ import annotations

import math
from typing import Final

from mia.backtest.stats import sharpe
from mia.backtest.stats.of_returns import NO_VARIANCE
from mia.backtest.stats.registry import Statistic
from mia.backtest.stats.sheet import Sheet

_GROUP: Final = "trust"
_UNCOUNTED: Final = "trials not counted"
_NO_SPREAD: Final = "too few of the trials have a Sharpe ratio"
_PSR: Final = "Bailey and Lopez de Prado (2012), The Sharpe ratio efficient frontier"
_DSR: Final = "Bailey and Lopez de Prado (2014), The deflated Sharpe ratio"


def _error(s: Sheet) -> float | str:
    if not s.moments[1] > 0.0:
        return NO_VARIANCE
    return sharpe.mertens_error(s.sharpe, s.n, s.moments[2], s.moments[3]) * math.sqrt(s.periods.per_year)


def _robust_error(s: Sheet) -> float | str:
    if not s.moments[1] > 0.0:
        return NO_VARIANCE
    return sharpe.robust_error(s.r, s.moments[0] - s.target) * math.sqrt(s.periods.per_year)


def _lo(s: Sheet) -> float | str:
    if not s.moments[1] > 0.0:
        return NO_VARIANCE
    factor = sharpe.lo_factor(s.r, s.periods.per_year)
    return s.sharpe * factor if factor is not None else "autocorrelations leave no variance a year"


def _probabilistic(s: Sheet) -> float | str:
    return sharpe.probabilistic_sharpe(s.sharpe, 0.0, s.n, s.moments[2], s.moments[3]) if s.moments[1] > 0.0 else NO_VARIANCE


def _expected(s: Sheet) -> float | str:
    if s.trials is None:
        return _UNCOUNTED
    return _NO_SPREAD if s.trials.variance is None else sharpe.expected_max_sharpe(s.trials.count, s.trials.variance)


def _deflated(s: Sheet) -> float | str:
    if s.trials is None:
        return _UNCOUNTED
    if not s.moments[1] > 0.0:
        return NO_VARIANCE
    if s.trials.variance is None:
        return _NO_SPREAD
    return sharpe.deflated_sharpe(s.sharpe, s.n, s.moments[2], s.moments[3], s.trials.count, s.trials.variance / s.periods.per_year)


def _minimum(s: Sheet, target_a_year: float) -> float | str:
    if not s.moments[1] > 0.0:
        return NO_VARIANCE
    found = sharpe.minimum_length(s.sharpe, target_a_year / math.sqrt(s.periods.per_year), s.moments[2], s.moments[3])
    return found if found is not None else "no length would do: the Sharpe ratio is not above it"


def _minimum_deflated(s: Sheet) -> float | str:
    expected = _expected(s)
    return expected if isinstance(expected, str) else _minimum(s, expected)


STATISTICS: Final[tuple[Statistic, ...]] = (
    Statistic(
        name="trials", title="Trials counted", group=_GROUP, unit="count", formula="configurations evaluated on this data and family",
        source="the trial registry", counts="mark", minimum=1, compute=lambda s: s.trials.count if s.trials is not None else _UNCOUNTED,
        solvent=False,
        is_headline=True,
    ),
    Statistic(
        name="deflated_sharpe", title="Deflated Sharpe", group=_GROUP, unit="probability",
        formula="probabilistic_sharpe against expected_max_sharpe in place of 0", source=_DSR, counts="period", minimum=30,
        compute=_deflated,
        is_headline=True,
    ),
    Statistic(
        name="probabilistic_sharpe", title="Probabilistic Sharpe", group=_GROUP, unit="probability",
        formula="N((SR - 0) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1) / 4 SR^2)), SR a period, g3 skew, g4 kurtosis", source=_PSR,
        counts="period",
        minimum=30, compute=_probabilistic, is_headline=True,
    ),
    Statistic(
        name="expected_max_sharpe", title="Best Sharpe to expect of such trials without skill", group=_GROUP, unit="a year",
        formula="sqrt(V) ((1 - g) z(1 - 1/N) + g z(1 - 1/(N e))), N trials with variance V a year, g = 0.5772", source=_DSR,
        counts="mark", minimum=1,
        compute=_expected, solvent=False,
    ),
    Statistic(
        name="minimum_length", title="Shortest track that would show a Sharpe above 0", group=_GROUP, unit="periods",
        formula="1 + (1 - g3 SR + (g4 - 1) / 4 SR^2) (z(0.95) / SR)^2", source=_PSR, counts="period", minimum=30,
        compute=lambda s: _minimum(s, 0.0),
        is_headline=True,
    ),
    Statistic(
        name="minimum_length_deflated", title="Shortest track that would show it after the trials", group=_GROUP, unit="periods",
        formula="the same with SR - expected_max_sharpe in the divisor", source=_PSR, counts="period", minimum=30,
        compute=_minimum_deflated,
    ),
    Statistic(
        name="sharpe_error", title="Standard error of Sharpe", group=_GROUP, unit="a year",
        formula="sqrt((1 - g3 SR + (g4 - 1) / 4 SR^2) / (n - 1)) sqrt(P)",
        source="Mertens (2002), Comments on variance of the IID estimator in Lo",
        counts="period", minimum=30, compute=_error,
    ),
    Statistic(
        name="sharpe_error_robust", title="The same with autocorrelation", group=_GROUP, unit="a year",
        formula="Newey-West error of z - SR / 2 (z^2 - 1), z = (r - m) / s, floor(4 (n / 100)^(2/9)) lags, times sqrt(P)",
        source="Lo (2002), The statistics of Sharpe ratios", counts="period", minimum=30, compute=_robust_error,
    ),
    Statistic(
        name="sharpe_lo", title="Sharpe corrected for autocorrelation", group=_GROUP, unit="a year",
        formula="SR P / sqrt(P + 2 sum_k (P - k) rho_k), k up to floor(4 (n / 100)^(2/9))",
        source="Lo (2002), The statistics of Sharpe ratios, eq. 20",
        counts="period", minimum=60, compute=_lo, is_headline=True,
    ),
)  # fmt: skip
