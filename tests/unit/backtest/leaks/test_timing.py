"""Shuffled signals do not beat flat, a planted signal is found, and one that lives on one bar is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mia.backtest.leaks.strategies import NOTHING
from mia.backtest.leaks.timing import Outcome, Timing, _Lane, delayed, interval, noted, play, shuffled, timing
from mia.backtest.run.prepare import Prepared, execute
from mia.domain.errors import DataError
from mia.policy.strategy import Target

Make = Callable[..., Prepared]
MOMENTUM = {"lookback": 1, "volatility_period": 20, "target_volatility": 5.0}
TREND = {"fast_period": 5, "slow_period": 20}


def noise(seed: int, n: int = 800, sigma: float = 0.004) -> Any:
    return np.random.default_rng(seed).normal(0.0, sigma, n)


def planted(seed: int, n: int = 800) -> Any:
    """Each return predicts the next one, and no other."""
    e = noise(seed, n)
    return e + 0.004 * np.sign(np.concatenate([[0.0], e[:-1]]))


def trends(seed: int, n: int = 3000) -> Any:
    """Drifts that last 100 bars."""
    return noise(seed, n, 0.001) + 0.0008 * np.repeat(np.where(np.arange(n // 100) % 2, 1.0, -1.0), 100)


def targets(*signals: float) -> list[Target]:
    return [Target(s, 1.0, (s, s, s)) for s in signals]


def test_playing_the_noted_signals_is_the_run_itself(make: Make) -> None:
    prepared = make(noise(1), "ema_cross", TREND)
    original = execute(prepared)

    result, lanes, _ = noted(prepared)
    again = play(prepared, lanes)

    assert list(result.gathered.fills) == list(again.gathered.fills)
    assert (original.gathered.marks.equity_e8 == again.gathered.marks.equity_e8).all()
    assert len(again.gathered.fills) > 50


def test_shuffling_keeps_every_target_and_every_change_of_direction() -> None:
    rng = np.random.default_rng(3)
    original = targets(*np.repeat([0.5, -0.25, 0.75, 0.0, 1.0, -1.0, 0.5, -0.5], [3, 1, 4, 2, 5, 2, 6, 3]))

    orders = [shuffled(original, rng) for _ in range(50)]

    def ways(x: list[Target]) -> int:
        signs = np.sign([t.signal for t in x])
        return int(np.count_nonzero(signs != np.roll(signs, 1)))

    assert all(Counter(t.signal for t in order) == Counter(t.signal for t in original) for order in orders)
    assert max(abs(ways(order) - ways(original)) for order in orders) <= 2  # where the end meets the beginning
    assert len({tuple(t.signal for t in order) for order in orders}) > 40
    assert shuffled([], rng) == []


def test_one_decision_later_is_each_target_at_the_next_question() -> None:
    assert delayed(targets(1, -1, 0.5)) == [NOTHING, *targets(1, -1)]
    assert delayed([]) == []


def test_a_planted_signal_is_found_and_told_to_live_on_one_bar(make: Make) -> None:
    found = timing(make(planted(1), "ts_momentum", MOMENTUM), 20, 1)

    assert found.is_found
    assert found.p_value == pytest.approx(1 / 21)
    assert found.lives_on_one_bar
    assert not found.beats_flat


@pytest.mark.slow
def test_a_slow_signal_is_found_and_does_not_live_on_one_bar(make: Make) -> None:
    found = timing(make(trends(1), "ema_cross", {"fast_period": 10, "slow_period": 40}), 20, 1)

    assert found.is_found
    assert not found.lives_on_one_bar
    assert not found.beats_flat


@pytest.mark.parametrize("seed", [1, 2])
def test_shuffled_signals_on_noise_do_not_beat_flat_and_lose_about_their_fees(make: Make, seed: int) -> None:
    found = timing(make(noise(seed), "ema_cross", TREND), 12, seed)

    assert not found.beats_flat
    assert found.shuffled_low_e8 <= found.shuffled_mean_e8 <= found.shuffled_high_e8
    fees = sum(o.fees_e8 for o in found.shuffled) / 12
    width = found.shuffled_high_e8 - found.shuffled_low_e8
    assert abs(found.shuffled_mean_e8 + fees) < width + 0.2 * fees  # and half a tick a side


@pytest.mark.slow
def test_noise_is_found_no_more_often_than_chance_allows(make: Make) -> None:
    values = [timing(make(noise(100 + seed, 800), "ema_cross", TREND), 9, seed).p_value for seed in range(12)]

    assert np.mean(np.array(values) <= 0.2) <= 0.5  # binomial(12, 0.2): more than 6 is one in 250
    assert max(values) > 0.5


def test_holding_in_a_rising_market_is_no_timing(make: Make) -> None:
    found = timing(make(noise(1, 600, 0.001) + 0.0003, "buy_and_hold"), 2, 1)

    assert found.whole.net_e8 > 0
    assert abs(found.whole.timing_e8) < 0.1 * found.whole.net_e8
    assert not found.is_found
    assert any("fewer than 10" in note for note in found.notes)


def test_shuffled_signals_that_make_money_are_a_leak() -> None:
    one = Outcome(net_e8=10, timing_e8=10, fees_e8=1, fills=2)

    found = Timing(
        whole=one, later=one, shuffled=[one], shuffled_mean_e8=10.0, shuffled_low_e8=1.0, shuffled_high_e8=20.0, p_value=1.0, notes=[]
    )  # fmt: skip

    assert found.beats_flat
    assert not found.is_found


def test_the_interval_of_the_mean_has_its_level() -> None:
    rng = np.random.default_rng(5)
    hits = [low <= 3.0 <= high for low, high in (interval(rng.normal(3.0, 2.0, 40), rng) for _ in range(200))]

    assert 0.88 <= float(np.mean(hits)) <= 0.99


def test_a_strategy_that_asks_for_nothing_has_no_timing(make: Make) -> None:
    with pytest.raises(DataError, match="no position"):
        timing(make(noise(1, 200), "flat"), 2, 1)


def test_signals_before_their_first_time_ask_for_nothing(make: Make) -> None:
    prepared = make(noise(1, 300), "ema_cross", TREND)
    end = int(prepared.bars[0].close_ns[-1])

    result = play(prepared, [_Lane([end + 1], targets(1.0))])

    assert len(result.gathered.fills) == 0
