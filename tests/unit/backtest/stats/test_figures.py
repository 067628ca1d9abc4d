"""Figures of trust, exposure and waiting times in a summary, in their units a year, against plain formulas."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from mia.backtest.stats import sharpe
from mia.backtest.stats.inputs import Trials, Trips, no_trips, track_of
from mia.backtest.stats.periods import DAY_NS, UTC_DAYS, Periods
from mia.backtest.stats.resample import block_length, block_of_returns
from mia.backtest.stats.summary import summarize

HOUR_NS = DAY_NS // 24
START = 19_000 * DAY_NS


def returns(n: int = 700) -> np.ndarray:
    z = np.random.default_rng(11).normal(0.0006, 0.01, n + 1)
    r: np.ndarray = z[1:] + 0.4 * z[:-1]
    return r


def test_trust_in_a_sharpe_ratio_is_told_per_year() -> None:
    r = returns()
    track = track_of(START + np.arange(701) * DAY_NS, 1e6 * np.cumprod(np.append(1.0, 1.0 + r)))
    n, q = len(r), 250.0
    ratio = (r.mean() - 0.02 / q) / r.std(ddof=1)
    _, _, g3, g4 = sharpe.moments(r)
    spread = math.sqrt(1.0 - g3 * ratio + (g4 - 1.0) / 4.0 * ratio**2)
    best = math.sqrt(0.3) * sharpe.expected_max_sharpe(20, 1.0)

    found = summarize(track, no_trips(), periods=Periods("day", q), risk_free=0.02, trials=Trials(20, 0.3), samples=100)

    z95 = NormalDist().inv_cdf(0.95)
    expected = {
        "sharpe": ratio * math.sqrt(q),
        "sharpe_error": spread / math.sqrt(n - 1) * math.sqrt(q),
        "probabilistic_sharpe": NormalDist().cdf(ratio * math.sqrt(n - 1) / spread),
        "expected_max_sharpe": best,
        "deflated_sharpe": NormalDist().cdf((ratio - best / math.sqrt(q)) * math.sqrt(n - 1) / spread),
        "minimum_length": 1 + (spread * z95 / ratio) ** 2,
        "sharpe_error_robust": sharpe.robust_error(r, float(r.mean() - 0.02 / q)) * math.sqrt(q),
    }
    assert {name: found.value(name) for name in expected} == pytest.approx(expected, rel=1e-4)
    corrected, plain = found.value("sharpe_lo"), found.value("sharpe")
    assert corrected is not None
    assert plain is not None
    assert corrected / plain == pytest.approx(math.sqrt(1 / (1 + 2 * 0.4 / 1.16)), abs=0.12)  # rho_1 of this moving average is 0.4 / 1.16


def test_the_shortest_track_after_trials_is_longer_by_what_they_explain() -> None:
    r = returns()
    track = track_of(START + np.arange(701) * DAY_NS, 1e6 * np.cumprod(np.append(1.0, 1.0 + r)))
    ratio = float(r.mean() / r.std(ddof=1))
    _, _, g3, g4 = sharpe.moments(r)
    best = sharpe.expected_max_sharpe(5, 0.02) / math.sqrt(365.25)

    found = summarize(track, no_trips(), trials=Trials(5, 0.02), samples=100)

    assert ratio > best
    expected = 1 + (1.0 - g3 * ratio + (g4 - 1.0) / 4.0 * ratio**2) * (NormalDist().inv_cdf(0.95) / (ratio - best)) ** 2
    assert found.value("minimum_length_deflated") == pytest.approx(expected, rel=1e-4)
    hopeless = summarize(track, no_trips(), trials=Trials(1000, 4.0), samples=100)
    assert hopeless.figure("minimum_length_deflated").why.startswith("no length would do")


def test_exposure_is_weighted_by_time_and_turnover_by_equity() -> None:
    ts = START + np.array([0, 6, 24, 48]) * HOUR_NS
    track = track_of(ts, [100.0, 200.0, 400.0, 100.0], [2.0, 0.0, -1.0, 9.0])  # the last exposure holds for no time
    one = np.ones(1)
    trip = Trips(
        np.zeros(1, np.int64), np.ones(1, np.int8), ts[:1], ts[1:2], one * 50.0, one * 60.0, one * 3.0, np.array([10**9]), np.array([0]),
        np.array([0]), np.array([0]), np.array([1]), np.zeros(1, np.int8),
    )  # fmt: skip

    found = summarize(track, trip, samples=100)

    mean_equity = (6 * 100 + 18 * 200 + 24 * 400) / 48
    expected = {
        "time_in_market": 30 / 48, "mean_exposure": (6 * 2 + 24 * 1) / 48, "net_exposure": (6 * 2 - 24 * 1) / 48, "max_exposure": 2.0,
        "turnover": 3 * 110 / mean_equity / (2 / 365.25),
    }  # fmt: skip
    assert {name: found.value(name) for name in expected} == pytest.approx(expected)


def test_the_deepest_drawdown_and_the_longest_wait_are_told_apart() -> None:
    """A wait of five days, then the deepest fall, recovered within two; and a last wait that never ends."""
    equity = [100.0, 99.0, 99.0, 99.0, 99.0, 101.0, 50.0, 102.0, 101.0]

    found = summarize(track_of(START + np.arange(9) * DAY_NS, equity), no_trips(), samples=100)

    assert found.value("longest_drawdown") == 5 * DAY_NS
    assert found.value("drawdown_length") == 2 * DAY_NS
    assert [found.value(f"drawdown_{k}") for k in ("peak", "trough", "end")] == [START + k * DAY_NS for k in (5, 6, 7)]
    never = summarize(track_of(START + np.arange(3) * DAY_NS, [100.0, 50.0, 60.0]), no_trips(), samples=100)
    assert never.figure("drawdown_end").why == "not yet recovered"
    assert never.value("drawdown_length") == 2 * DAY_NS


def test_a_drawdown_begins_where_its_peak_is_left() -> None:
    """Three days on the first peak are no drawdown: the wait is never shorter than the deepest fall's length."""
    found = summarize(track_of(START + np.arange(6) * DAY_NS, [100.0, 100.0, 100.0, 80.0, 90.0, 95.0]), no_trips(), samples=100)

    assert found.value("drawdown_peak") == START + 2 * DAY_NS
    assert found.value("drawdown_length") == found.value("longest_drawdown") == 3 * DAY_NS


def test_trials_without_a_ratio_are_counted_and_deflate_nothing() -> None:
    track = track_of(START + np.arange(701) * DAY_NS, 1e6 * np.cumprod(np.append(1.0, 1.0 + returns())))

    found = summarize(track, no_trips(), trials=Trials(2, None), samples=100)

    assert found.value("trials") == 2
    assert found.figure("deflated_sharpe").why == "too few of the trials have a Sharpe ratio"
    assert not any("not counted" in note for note in found.notes)


def test_groups_pay_their_share_of_the_risk_free_rate() -> None:
    """Half of the time, half of the rate: the hour-long group of a day earns 1/24 of a day's rate."""
    r = np.random.default_rng(2).normal(0.0003, 0.002, 24 * 100)
    track = track_of(START + np.arange(len(r) + 1) * HOUR_NS, 1e6 * np.cumprod(np.append(1.0, 1.0 + r)))

    row = summarize(track, no_trips(), risk_free=0.5, samples=100).by_hour.rows[3]

    mine = r[3::24]
    found = next(f.value for f in row.figures if f.name == "sharpe")
    assert found == pytest.approx((mine.mean() - 0.5 / 365.25 / 24) / mine.std(ddof=1) * math.sqrt(UTC_DAYS.per_year), rel=1e-3)


def test_clusters_of_volatility_lengthen_the_blocks() -> None:
    random = np.random.default_rng(9)
    level = np.zeros(3000)
    for i in range(1, 3000):
        level[i] = 0.95 * level[i - 1] + random.normal(0.0, 0.3)
    r = random.normal(size=3000) * np.exp(level)

    assert block_of_returns(r) == pytest.approx(block_length((r - r.mean()) ** 2))
    assert block_of_returns(r) > 2.0 * block_length(r)
