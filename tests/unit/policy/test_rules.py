"""Rules do what their names say, and wrong settings are one clear line."""

from __future__ import annotations

from array import array

import pytest

from mia.domain.errors import ConfigError
from mia.policy.rules import make_rule

PROBS = (0.2, 0.3, 0.5)


def obs(*values: float) -> memoryview:
    return memoryview(array("f", values))


def test_flat_wants_nothing_and_buy_and_hold_always_the_same() -> None:
    assert make_rule("flat").evaluate(obs(), PROBS).signal == 0.0
    target = make_rule("buy_and_hold", {"size": 0.5}).evaluate(obs(), PROBS)
    assert (target.signal, target.alpha, target.actions) == (0.5, 1.0, (0.5, 0.5, 0.5))


def test_ema_cross_follows_the_sign_of_fast_minus_slow() -> None:
    rule = make_rule("ema_cross", {"fast": 5, "slow": 30, "size": 0.75})

    assert rule.columns == ("ema(5)", "ema(30)")
    assert [rule.evaluate(obs(f, 100.0), PROBS).signal for f in (101.0, 99.0, 100.0)] == [0.75, -0.75, 0.0]


def test_ema_cross_long_only_is_flat_below() -> None:
    assert make_rule("ema_cross", {"long_only": True}).evaluate(obs(1.0, 2.0), PROBS).signal == 0.0


def test_a_rule_carries_the_constants_of_its_lane() -> None:
    rule = make_rule("ema_cross", trigger="quote", min_interval_ms=250, bar="time:1m")

    assert (rule.trigger, rule.min_interval_ns, rule.bar, rule.alpha_min, rule.regime) == ("quote", 250_000_000, "time:1m", 0.0, b"")
    assert len(rule.lo) == len(rule.hi) == 2


def test_parameters_are_part_of_the_hash() -> None:
    rules = [make_rule("ema_cross", {"fast": f}) for f in (5, 6, 5)]

    assert rules[0].sha256 == rules[2].sha256 != rules[1].sha256


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("magic", {}, "unknown"),
        ("flat", {"size": 1.0}, "'size'"),
        ("ema_cross", {"fast": 50, "slow": 20}, "below slow"),
        ("ema_cross", {"fast": 2.5}, "whole number"),
        ("ema_cross", {"fast": True}, "whole number"),
        ("ema_cross", {"fast": 0}, "fast"),
        ("ema_cross", {"long_only": 1}, "true or false"),
        ("buy_and_hold", {"size": float("nan")}, "size"),
        ("buy_and_hold", {"size": 2}, "size"),
        ("buy_and_hold", {"size": "big"}, "size"),
    ],
)
def test_wrong_settings_are_named(name: str, params: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match="rule") as e:
        make_rule(name, params)

    assert words in str(e.value)


def test_an_unknown_trigger_is_named() -> None:
    with pytest.raises(ConfigError, match="whim"):
        make_rule("flat", trigger="whim")  # type: ignore[arg-type]
