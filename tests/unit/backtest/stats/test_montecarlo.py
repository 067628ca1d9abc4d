"""What chance alone would have done: orders of trades, random entries, perturbed bars."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mia.backtest.stats.inputs import Trips
from mia.backtest.stats.montecarlo import Bars, RandomEntries, TradeOrder, noisy_bars, random_entries, resampled_bars, trade_order
from mia.domain.errors import ConfigError, DataError


def trips(profit: list[float]) -> Trips:
    m = len(profit)
    e8 = np.rint(np.array(profit) * 1e8).astype(np.int64)
    at, one = np.arange(m, dtype=np.int64), np.ones(m)
    return Trips(
        at * 0, np.ones(m, np.int8), at, at + 1, one, one, one, e8, at * 0, np.minimum(e8, 0), np.maximum(e8, 0), at, np.zeros(m, np.int8)
    )


def bars(n: int, seed: int = 1) -> Bars:
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.01, n)))
    opened = np.concatenate([[100.0], close[:-1]]) * np.exp(random.normal(0.0, 0.001, n))
    high = np.maximum(opened, close) * (1 + random.random(n) * 0.005)
    low = np.minimum(opened, close) * (1 - random.random(n) * 0.005)
    return Bars(np.arange(n, dtype=np.int64), opened, high, low, close, random.random(n), np.arange(n))


def test_falls_over_random_orders_are_those_over_all_orders() -> None:
    """Ten trades, of which only two differ from the rest, so that all orders can be listed."""
    profit = [-10.0, -10.0] + [1.0] * 8
    falls = []
    for first, second in itertools.combinations(range(10), 2):
        curve = np.concatenate([[100.0], 100.0 + np.cumsum([-10.0 if k in (first, second) else 1.0 for k in range(10)])])
        falls.append((np.maximum.accumulate(curve) - curve).max())

    found = trade_order(trips(profit), 100.0, samples=20_000)

    assert isinstance(found, TradeOrder)
    assert found.fall == 20.0
    assert found.share_deeper == pytest.approx(np.mean(np.array(falls) >= 20.0), abs=0.015)
    assert found.fall_median == np.quantile(falls, 0.5, method="inverted_cdf")
    assert found.loss_streak_95 == 2
    assert found.share_ruined == 0.0


def test_orders_that_lose_all_are_counted() -> None:
    found = trade_order(trips([-30.0] * 5 + [40.0] * 5), 100.0, samples=2000)

    assert isinstance(found, TradeOrder)
    assert 0.01 < found.share_ruined < 0.5


def test_few_trades_have_no_order() -> None:
    assert trade_order(trips([1.0] * 7), 100.0) == "7 trades"
    assert trade_order(trips([]), 100.0) == "0 trades"


def test_entries_that_know_the_future_are_told_from_chance() -> None:
    ln = np.log(bars(2000).close)
    opened = np.arange(0, 1900, 20)
    closed = opened + 10
    side = np.sign(ln[closed] - ln[opened]).astype(np.int8)

    found = random_entries(np.exp(ln), side, opened, closed, samples=500)

    assert isinstance(found, RandomEntries)
    assert found.p_value == 1 / 501
    assert found.observed == pytest.approx(np.abs(ln[closed] - ln[opened]).mean())


def test_random_entries_reject_as_often_as_their_level_on_a_rule_without_skill() -> None:
    close = bars(600).close
    p = []
    for k in range(200):
        random = np.random.default_rng([k, 1])
        opened = np.sort(random.choice(np.arange(0, 590, 10), 30, replace=False))
        found = random_entries(close, np.ones(30, np.int8), opened, opened + random.integers(1, 10, 30), seed=k, samples=99)
        assert isinstance(found, RandomEntries)
        assert not found.is_overlapping
        p.append(found.p_value)

    assert 0.03 <= np.mean(np.array(p) <= 0.1) <= 0.18


def test_being_always_in_the_market_has_nothing_random_about_it() -> None:
    close = bars(101).close
    opened = np.arange(0, 100, 10)

    found = random_entries(close, np.ones(10, np.int8), opened, opened + 10, samples=50)

    assert isinstance(found, RandomEntries)
    assert found.deviation == pytest.approx(0.0, abs=1e-12)


def test_overlapping_trades_are_placed_one_by_one() -> None:
    opened = np.arange(20)

    found = random_entries(bars(100).close, np.ones(20, np.int8), opened, opened + 30, samples=200)

    assert isinstance(found, RandomEntries)
    assert found.is_overlapping


def test_trades_outside_of_the_prices_are_named() -> None:
    with pytest.raises(DataError, match="row 3"):
        random_entries(bars(50).close, np.ones(10, np.int8), np.arange(10), np.array([5] * 3 + [50] + [20] * 6))
    with pytest.raises(DataError, match="price: row 2"):
        random_entries(np.array([1.0, 2.0, 0.0]), np.ones(1, np.int8), np.zeros(1, np.int64), np.ones(1, np.int64))


@pytest.mark.parametrize("perturb", [noisy_bars, resampled_bars])
def test_perturbed_bars_are_bars_seeded_and_different(perturb) -> None:
    real = bars(500)

    first, again, other = perturb(real, seed=4), perturb(real, seed=4), perturb(real, seed=4, number=1)

    assert (first.low <= np.minimum(first.open, first.close)).all()
    assert (first.high >= np.maximum(first.open, first.close)).all()
    assert (first.low > 0.0).all()
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first.close != other.close).mean() > 0.9


def test_noise_is_as_large_as_asked_and_resampled_returns_are_real_ones() -> None:
    real = bars(5000)

    noisy = noisy_bars(real, share=0.5)
    resampled = resampled_bars(real, block=10.0)

    assert np.log(noisy.close / real.close).std() == pytest.approx(0.5 * np.median(np.log(real.high / real.low)), rel=0.05)
    assert resampled.open[0] == pytest.approx(real.open[0])
    inside = np.log(resampled.close / resampled.open)
    assert np.isin(np.round(inside, 9), np.round(np.log(real.close / real.open), 9)).all()
    assert np.isin(np.round(np.log(resampled.open[1:] / resampled.close[:-1]), 9),
                   np.round(np.append(np.log(real.open[1:] / real.close[:-1]), 0.0), 9)).all()  # fmt: skip


def test_bad_bars_and_shares_are_refused() -> None:
    real = bars(10)
    with pytest.raises(DataError, match="row 4"):
        noisy_bars(real._replace(low=np.where(np.arange(10) == 4, 1e6, real.low)))
    with pytest.raises(ConfigError, match="share"):
        noisy_bars(real, share=0.0)


def test_many_trades_are_looked_at_evenly_and_placed_less_often_so_that_the_time_is_bounded() -> None:
    n = 60_000
    close = np.exp(np.cumsum(np.random.default_rng(8).normal(0.0, 0.001, n)))
    opened = np.arange(0, n - 2, 2)

    found = random_entries(close, np.ones(len(opened), np.int8), opened, opened + 1)

    assert isinstance(found, RandomEntries)
    assert (found.trades, found.of_trades, found.samples) == (10_000, len(opened), 200)
    assert "10,000 of 29,999 sides and holding times" in found.words


def test_words_follow_the_p_value() -> None:
    close = np.exp(np.cumsum(np.where(np.arange(400) % 20 < 10, 0.01, -0.01)))
    opened = np.arange(0, 380, 20)

    good = random_entries(close, np.ones(19, np.int8), opened, opened + 9, samples=300)
    bad = random_entries(close, -np.ones(19, np.int8), opened, opened + 9, samples=300)

    assert isinstance(good, RandomEntries)
    assert isinstance(bad, RandomEntries)
    assert good.words.startswith(f"the entries were better than chance: p = {1 / 301:.4f}")
    assert bad.words.startswith("that the entries were better than chance is not shown: p = 1.0000")
