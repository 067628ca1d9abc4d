"""Axes as they are written, their product, and what is refused."""

from __future__ import annotations

import itertools

import pytest

from mia.backtest.grid.space import space_of
from mia.domain.errors import ConfigError
from mia.policy.rules import rule_values


def test_an_axis_has_both_its_ends_and_decimal_steps_do_not_drift() -> None:
    space = space_of("bollinger_atr", ["band_stds=1:2:0.1", "period=10:14:2", "long_only=true,false"])
    assert space.values == ((1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0), (10, 12, 14), (True, False))


def test_the_full_grid_is_every_valid_combination_with_defaults_for_the_rest() -> None:
    space = space_of("ema_cross", ["fast_period=5:20:5", "slow_period=10,20", "size=0.5"])
    wanted = [
        rule_values("ema_cross", {"fast_period": f, "slow_period": s, "size": 0.5})
        for f, s in itertools.product((5, 10, 15, 20), (10, 20))
        if f < s
    ]
    assert [space.config(point) for point in space.full()] == wanted


def test_a_point_is_found_again_by_its_places() -> None:
    space = space_of("ema_cross", ["fast_period=5:20:5", "slow_period=100:300:50"])
    for k, places in enumerate(itertools.product(range(4), range(5))):
        assert space.point(places) == k
        assert space.at(k) == {"fast_period": space.values[0][places[0]], "slow_period": space.values[1][places[1]]}


def test_a_random_draw_is_valid_without_repeats_and_the_same_for_the_same_seed() -> None:
    space = space_of("ema_cross", ["fast_period=5:50", "slow_period=5:50"])
    drawn = space.random(200, 7)
    assert len(set(drawn)) == 200
    assert all(space.at(p)["fast_period"] < space.at(p)["slow_period"] for p in drawn)
    assert drawn == space.random(200, 7)
    assert drawn != space.random(200, 8)


def test_a_random_draw_of_more_than_there_is_gives_what_there_is() -> None:
    space = space_of("ema_cross", ["fast_period=5,10", "slow_period=7,20"])
    assert sorted(space.random(50, 1)) == space.full() == [0, 1, 3]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("fast_period=20:5:5", "bounds reversed: 20 is above 5"),
        ("fast_period=5:20:0", "the step must be above 0"),
        ("fast_period=5:20:-1", "the step must be above 0"),
        ("fast_period=0:20:5", "fast_period must lie in"),
        ("fast_period=5.5", "fast_period must be a whole number"),
        ("fast=5:20:5", "unknown parameter 'fast': use fast_period, slow_period"),
        ("fast_period", "write NAME=A:B:STEP"),
        ("fast_period=a:b:1", "'a' is no number"),
        ("fast_period=nan", "is not finite"),
        ("fast_period=5,5", "names a value twice"),
        ("size=0.1:1", "needs a step"),
        ("long_only=0:1:1", "use true,false"),
        ("fast_period=1:2:0.000001", "more than"),
    ],
)
def test_a_wrong_axis_is_named_with_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as e:
        space_of("ema_cross", [text])
    assert why in str(e.value)


def test_a_grid_without_a_valid_point_or_too_large_is_refused() -> None:
    with pytest.raises(ConfigError, match="none of 1 configurations of ema_cross is valid: fast_period"):
        space_of("ema_cross", ["fast_period=50", "slow_period=20"]).full()
    with pytest.raises(ConfigError, match="more than 1000000"):
        space_of("ema_cross", ["fast_period=1:2000", "slow_period=1:2000"]).full()
