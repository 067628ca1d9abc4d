"""A rule carries what its lane needs, and wrong settings are one clear line."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from mia.domain.errors import ConfigError
from mia.features.catalogue import shipped_catalogue
from mia.features.parametric import parse_parametric
from mia.policy.rules import RULES, Param, make_rule, rule_values

PROBS = (0.2, 0.3, 0.5)
EVERY = sorted(RULES)
NUMBERS = [(name, p) for name, spec in RULES.items() for p in spec.params if p.kind != "bool"]


def obs(*values: float) -> memoryview:
    return memoryview(array("f", values))


def test_flat_wants_nothing_and_buy_and_hold_always_the_same() -> None:
    assert make_rule("flat").evaluate(obs(), PROBS).signal == 0.0
    target = make_rule("buy_and_hold", {"size": 0.5}).evaluate(obs(), PROBS)
    assert (target.signal, target.alpha, target.actions) == (0.5, 1.0, (0.5, 0.5, 0.5))


def test_ema_cross_follows_the_sign_of_fast_minus_slow() -> None:
    rule = make_rule("ema_cross", {"fast_period": 5, "slow_period": 30, "size": 0.75})

    assert rule.columns == ("ema(5)", "ema(30)")
    assert [rule.evaluate(obs(f, 100.0), PROBS).signal for f in (101.0, 99.0, 100.0)] == [0.75, -0.75, 0.0]


def test_a_rule_with_a_memory_reads_it_from_the_accounts_column() -> None:
    rule = make_rule("rsi_reversion", {"size": 0.5})

    assert rule.columns == ("rsi(14)", "last_action")
    assert [rule.evaluate(obs(40.0, last), PROBS).signal for last in (0.5, 0.0, -0.5)] == [0.5, 0.0, 0.0]


def test_a_rule_carries_the_constants_of_its_lane() -> None:
    rule = make_rule("ema_cross", trigger="quote", min_interval_ms=250, bar="time:1m")

    assert (rule.trigger, rule.min_interval_ns, rule.bar, rule.alpha_min, rule.regime) == ("quote", 250_000_000, "time:1m", 0.0, b"")
    assert len(rule.lo) == len(rule.hi) == 2


def test_parameters_are_part_of_the_hash() -> None:
    rules = [make_rule("ema_cross", {"fast_period": f}) for f in (5, 6, 5)]

    assert rules[0].sha256 == rules[2].sha256 != rules[1].sha256


@pytest.mark.parametrize("name", EVERY)
def test_every_column_of_a_rule_exists_and_its_kernel_reads_all_of_the_markets(name: str) -> None:
    rule = make_rule(name)

    for column in rule.columns:
        assert parse_parametric(column) or shipped_catalogue().get(column)
    assert rule.kernel.width == len(rule.market_columns)
    assert ("last_action" in rule.columns) == bool(rule.kernel.reads_last)


@pytest.mark.parametrize("name", EVERY)
def test_defaults_lie_within_their_bounds_and_go_together(name: str) -> None:
    assert rule_values(name) == {p.name: p.default for p in RULES[name].params}
    assert all(p.lo < p.hi and p.doc for p in RULES[name].params)


@pytest.mark.parametrize(("name", "param"), NUMBERS, ids=lambda x: x if isinstance(x, str) else x.name)
@pytest.mark.parametrize("side", ["below", "above", "nan", "text", "flag"])
def test_a_value_out_of_bounds_is_refused_with_rule_and_key(name: str, param: Param, side: str) -> None:
    step = 1 if param.kind == "int" else 1e-6
    values: dict[str, Any] = {"below": param.lo - step, "above": param.hi + step, "nan": float("nan"), "text": "1", "flag": True}

    with pytest.raises(ConfigError, match=rf"^rule {name}: {param.name} must "):
        make_rule(name, {param.name: values[side]})


@pytest.mark.parametrize("value", [3, 3.0])
def test_a_whole_number_may_come_as_a_float(value: float) -> None:
    assert make_rule("ema_cross", {"fast_period": value}).columns[0] == "ema(3)"


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("magic", {}, "unknown"),
        ("flat", {"size": 1.0}, "'size': use none"),
        ("ema_cross", {"fast": 5}, "unknown parameter 'fast': use fast_period, slow_period"),
        ("ema_cross", {"fast_period": 50, "slow_period": 20}, "fast_period (50) must be below slow_period (20)"),
        ("ema_cross", {"fast_period": 2.5}, "whole number"),
        ("ema_cross", {"fast_period": float("inf")}, "fast_period must "),
        ("ema_cross", {"long_only": 1}, "true or false"),
        ("macd", {"fast_period": 26}, "fast_period (26) must be below slow_period (26)"),
        ("donchian", {"exit_period": 21}, "exit_period (21) must not be above entry_period (20)"),
        ("rsi_reversion", {"oversold": 80}, "oversold (80) must be below middle (50)"),
        ("rsi_reversion", {"middle": 70}, "middle (70) must be below overbought (70)"),
        ("vwap_reversion", {"exit_stds": 3.0}, "exit_stds (3) must be below entry_stds (2)"),
        ("opening_range", {"range_minutes": 1000, "exit_minutes": 440}, "leave nothing of a session"),
        ("random", {"turnover": 0.5, "size": 0.4}, "turnover (0.5) can be at most 0.4"),
        ("random", {"turnover": 0.6, "long_only": True}, "turnover (0.6) can be at most 0.5"),
        ("buy_and_hold", {"size": 2}, "-1 .. 1 share of the cap"),
    ],
)
def test_wrong_settings_are_named(name: str, params: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match="rule") as e:
        make_rule(name, params)

    assert words in str(e.value)


def test_an_unknown_trigger_is_named() -> None:
    with pytest.raises(ConfigError, match="whim"):
        make_rule("flat", trigger="whim")  # type: ignore[arg-type]
