"""Intervals of a fit's figures: against the theory of independent returns, and paired where figures are differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mia.backtest.ensemble.fit import Series
from mia.backtest.ensemble.intervals import Band, band_of, bands_of
from mia.backtest.stats.resample import Interval

BARS, YEARS = 4_000, 2.0


def noise(seed: int, k: int = 2, bars: int = BARS) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0002, 0.01, (bars, k))


def series(returns: np.ndarray) -> Series:
    """Members, one blend of equal weights, and the blend without each."""
    k = returns.shape[1]
    left = tuple(np.delete(returns, j, axis=1).mean(axis=1) for j in range(k))
    return Series(returns, {"equal": returns.mean(axis=1)}, left)


def ends(found: Interval | None) -> tuple[float, float]:
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def test_intervals_of_independent_returns_are_those_of_the_normal_distribution() -> None:
    returns = noise(1)[:, 0]
    a_year = BARS / YEARS

    band = band_of(returns, YEARS, 4_000)

    sharpe = returns.mean() / returns.std(ddof=1)
    error = math.sqrt((1 + sharpe**2 / 2) / BARS)  # Lo (2002), eq. 10
    assert ends(band.sharpe) == pytest.approx([(sharpe + z * error) * math.sqrt(a_year) for z in (-1.96, 1.96)], abs=0.12)
    deviation = returns.std(ddof=1) * math.sqrt(a_year)
    assert ends(band.volatility) == pytest.approx([deviation * (1 + z / math.sqrt(2 * BARS)) for z in (-1.96, 1.96)], rel=0.006)
    logs = np.log1p(returns)
    total = [math.expm1(logs.sum() + z * logs.std() * math.sqrt(BARS)) for z in (-1.96, 1.96)]
    assert ends(band.total) == pytest.approx(total, rel=0.08)


def test_the_interval_of_a_correlation_is_that_of_fisher() -> None:
    first, second = noise(2).T
    together = np.stack([first, 0.6 * first + 0.8 * second], axis=1)

    bands = bands_of(series(together), "equal", YEARS, 4_000)

    z = math.atanh(np.corrcoef(together.T)[0, 1])
    assert ends(bands.correlation[0][1]) == pytest.approx([math.tanh(z + u / math.sqrt(BARS - 3)) for u in (-1.96, 1.96)], abs=0.006)
    assert bands.correlation[1][0] == bands.correlation[0][1]
    assert bands.correlation[0][0] is None


def test_what_a_member_adds_is_resampled_with_the_same_rows_for_both_blends() -> None:
    returns = np.repeat(noise(3, k=1), 2, axis=1)  # two members that are the same: leaving one out changes nothing

    bands = bands_of(series(returns), "equal", YEARS, 500)

    assert bands.added == (Band(*[Interval(0.0, 0.0)] * 3),) * 2
    low, high = ends(bands.blends["equal"].sharpe)
    assert high - low > 1.0


def test_returns_that_follow_each_other_widen_the_interval() -> None:
    plain = noise(4)[:, 0]
    sticky = np.convolve(plain, np.ones(20) / math.sqrt(20), mode="same")

    narrow, wide = (ends(band_of(r, YEARS, 1_000).total) for r in (plain, sticky))

    assert math.log1p(wide[1]) - math.log1p(wide[0]) > 2.5 * (math.log1p(narrow[1]) - math.log1p(narrow[0]))


def test_a_member_that_did_not_move_has_no_sharpe_ratio_and_no_correlation() -> None:
    returns = noise(5)
    returns[:, 1] = 0.0

    bands = bands_of(series(returns), "equal", YEARS, 200)

    assert bands.members[1] == Band(Interval(0.0, 0.0), Interval(0.0, 0.0), None)
    assert bands.correlation[0][1] is None


def test_more_bars_than_4096_are_resampled_in_groups_and_give_the_same_intervals() -> None:
    returns = noise(6, bars=20_000)

    whole = bands_of(series(returns), "equal", YEARS, 2_000)

    r = returns[:, 0]
    error = 1 / math.sqrt(len(r))
    assert ends(whole.members[0].sharpe) == pytest.approx(
        [(r.mean() / r.std(ddof=1) + z * error) * math.sqrt(len(r) / YEARS) for z in (-1.96, 1.96)], abs=0.15
    )
    assert whole.block >= 5.0


def test_the_same_fit_has_the_same_intervals() -> None:
    assert bands_of(series(noise(7)), "equal", YEARS, 100) == bands_of(series(noise(7)), "equal", YEARS, 100)
