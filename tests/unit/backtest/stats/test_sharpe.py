"""What a Sharpe ratio is worth, against published examples and plain formulas; and the figures of backtesting.py on its own data."""

from __future__ import annotations

import csv
import itertools
import math
import statistics
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from mia.backtest.stats import sharpe
from mia.backtest.stats.conventions import backtesting_py
from mia.backtest.stats.periods import DAY_NS
from mia.domain.errors import DataError


@pytest.mark.parametrize(("trials", "expected"), [(100, 0.9004), (46, 0.9505)])
def test_deflated_sharpe_of_the_published_example(trials: int, expected: float) -> None:
    """Bailey and Lopez de Prado (2014): SR 2.5 a year, 1,250 days, skew -3, kurtosis 10, variance of the trials 1/2 a year."""
    found = sharpe.deflated_sharpe(2.5 / math.sqrt(250), 1250, -3.0, 10.0, trials, 0.5 / 250)

    assert round(found, 4) == expected


def test_expected_max_sharpe_is_near_the_mean_maximum_of_normal_draws() -> None:
    random = np.random.default_rng(4)

    simulated = random.normal(0.0, 0.3, (20_000, 50)).max(axis=1).mean()

    assert sharpe.expected_max_sharpe(50, 0.09) == pytest.approx(simulated, rel=0.02)  # the formula is a limit for many trials


def test_one_trial_deflates_nothing() -> None:
    assert sharpe.expected_max_sharpe(1, 0.5) == 0.0
    assert sharpe.deflated_sharpe(0.1, 500, -0.5, 5.0, 1, 0.5) == sharpe.probabilistic_sharpe(0.1, 0.0, 500, -0.5, 5.0)


def test_a_track_of_the_minimum_length_reaches_its_level() -> None:
    n = sharpe.minimum_length(0.08, 0.02, -1.0, 6.0, 0.95)

    assert n is not None
    error = math.sqrt((1 + 1.0 * 0.08 + 5.0 / 4 * 0.08**2) / (n - 1))
    assert NormalDist().cdf(0.06 / error) == pytest.approx(0.95, abs=1e-9)
    assert sharpe.minimum_length(0.02, 0.02, 0.0, 3.0) is None


def test_errors_agree_with_the_spread_of_many_samples() -> None:
    """The deviation of ratios over many samples: independent skewed returns (Mertens), and autocorrelated ones (robust)."""
    random = np.random.default_rng(5)
    skewed = random.exponential(1.0, (3000, 400)) - 0.8
    ratios = skewed.mean(axis=1) / skewed.std(axis=1, ddof=1)
    errors = [sharpe.mertens_error(m / d, 400, g3, g4) for m, d, g3, g4 in map(sharpe.moments, skewed[:300])]
    z = random.normal(0.05, 1.0, (2000, 600))
    for i in range(1, 600):
        z[:, i] += 0.4 * z[:, i - 1]
    dependent = z.mean(axis=1) / z.std(axis=1, ddof=1)
    robust = [sharpe.robust_error(r, float(r.mean())) for r in z[:300]]
    naive = [sharpe.mertens_error(float(r.mean() / r.std()), 600, 0.0, 3.0) for r in z[:300]]

    assert np.mean(errors) == pytest.approx(ratios.std(), rel=0.06)
    assert np.mean(robust) == pytest.approx(dependent.std(), rel=0.12)
    assert np.mean(naive) < 0.75 * dependent.std()


def test_lo_factor_of_a_moving_average_is_that_of_summed_returns() -> None:
    """The ratio of sums of q autocorrelated returns, simulated, over the ratio of one: Lo's factor, not sqrt(q)."""
    random = np.random.default_rng(6)
    z = random.normal(0.0, 1.0, 600_001)
    r = 0.05 + z[1:] + 0.5 * z[:-1]
    sums = r.reshape(-1, 12).sum(axis=1)
    simulated = (sums.mean() / sums.std()) / (r.mean() / r.std())

    found = sharpe.lo_factor(r[:20_000], 12.0)

    assert found == pytest.approx(simulated, rel=0.05)
    assert found is not None
    assert found < 0.9 * math.sqrt(12.0)


def test_returns_without_spread_have_no_moments() -> None:
    assert sharpe.moments(np.full(50, 0.001)) == (pytest.approx(0.001), 0.0, 0.0, 0.0)


@pytest.mark.data
def test_the_sma_cross_of_backtesting_py_has_its_figures(market_data: Path) -> None:
    """SmaCross(10, 30) on its GOOG bars: 66 trades, final equity 51,422.99, Sharpe 0.5806, max drawdown -47.980 %.

    Its rules: whole units for all equity at the next open, always long or short, the last trade closed at the last open.
    """
    with (market_data / "oracle" / "backtestingpy_GOOG.csv").open() as file:
        read = list(csv.DictReader(file))
    rows = [(float(row["Open"]), float(row["Close"])) for row in read]
    ends = np.array([next(iter(row.values())) for row in read], "datetime64[D]").astype(np.int64) * DAY_NS + DAY_NS
    closes = [c for _, c in rows]
    equity, cash, units, entry, wanted, trades = [], 10_000.0, 0, 0.0, 0, 0
    for i, (o, c) in enumerate(rows):
        if wanted:
            cash += units * (o - entry)
            trades += units != 0
            units, entry, wanted = wanted * int(cash // o), o, 0
        equity.append(cash + units * (c - entry))
        if i >= 30:
            fast = [sum(closes[k - 9 : k + 1]) / 10 for k in (i - 1, i)]
            slow = [sum(closes[k - 29 : k + 1]) / 30 for k in (i - 1, i)]
            wanted = 1 if fast[0] < slow[0] and fast[1] > slow[1] else -1 if fast[0] > slow[0] and fast[1] < slow[1] else 0
    equity[-1] = cash + units * (rows[-1][0] - entry)

    found = backtesting_py(ends, np.array(equity))

    assert trades + 1 == 66
    assert round(found.final_equity, 2) == 51_422.99
    assert round(found.sharpe, 4) == 0.5806
    assert round(found.max_drawdown * 100, 3) == -47.980


def test_the_convention_of_others_refuses_equity_at_zero() -> None:
    with pytest.raises(DataError, match="row 2"):
        backtesting_py(np.arange(1, 5) * DAY_NS, np.array([1.0, 2.0, 0.0, 1.0]))


def test_the_convention_of_others_takes_days_from_shorter_bars_and_the_year_from_weekends() -> None:
    """Against the library's formulas written out: resampled to days, 365 of them a year where bars close at weekends."""
    random = np.random.default_rng(6)
    hours = np.arange(1, 24 * 60 + 1) * DAY_NS // 24
    equity = 1e4 * np.exp(np.cumsum(random.normal(0.0001, 0.003, len(hours))))

    found = backtesting_py(hours, equity)

    daily = equity[23::24]
    changes = [b / a - 1.0 for a, b in itertools.pairwise(daily.tolist())]
    mean = math.exp(math.fsum(math.log1p(c) for c in changes) / len(changes)) - 1.0
    variance = statistics.variance(changes)
    annual = (1.0 + mean) ** 365 - 1.0
    volatility = math.sqrt((variance + (1.0 + mean) ** 2) ** 365 - (1.0 + mean) ** 730)
    assert found.annual_return == pytest.approx(annual)
    assert found.annual_volatility == pytest.approx(volatility)
    assert found.sharpe == pytest.approx(annual / volatility)
    assert found.max_drawdown == pytest.approx(min(e / max(equity[: k + 1]) - 1.0 for k, e in enumerate(equity.tolist())))
