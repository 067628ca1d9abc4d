"""Rules by name, from settings: every wrong name or value is one clear ConfigError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mia.domain.errors import ConfigError
from mia.policy.rules import (
    bollinger_atr,
    buy_and_hold,
    donchian,
    ema_cross,
    flat,
    macd,
    opening_range,
    random,
    rsi_reversion,
    signals,
    ts_momentum,
    vol_target,
    vwap_reversion,
)
from mia.policy.rules.base import Rule, RuleSpec
from mia.policy.rules.params import checked_params
from mia.policy.strategy import TRIGGERS, Trigger

_SPECS: Final = (
    flat.SPEC, buy_and_hold.SPEC, random.SPEC, ema_cross.SPEC, macd.SPEC, donchian.SPEC, ts_momentum.SPEC, vol_target.SPEC,
    opening_range.SPEC, bollinger_atr.SPEC, rsi_reversion.SPEC, vwap_reversion.SPEC,
)  # fmt: skip
RULES: Final[Mapping[str, RuleSpec]] = {spec.name: spec for spec in _SPECS}
_BESIDE: Final[Mapping[str, RuleSpec]] = {signals.SPEC.name: signals.SPEC}  # no strategy of its own: a door for those of others


def rule_spec(name: str) -> RuleSpec:
    """The description of the rule `name`; ConfigError lists the known ones."""
    spec = RULES.get(name) or _BESIDE.get(name)
    if spec is None:
        raise ConfigError(f"rule {name!r} is unknown: use one of {', '.join([*RULES, *_BESIDE])}")
    return spec


def rule_values(name: str, params: Mapping[str, object] | None = None) -> dict[str, float]:
    """A checked value for each parameter of the rule, defaults where none is given; ConfigError names the rule and the key."""
    spec = rule_spec(name)
    values = checked_params(name, spec.params, params or {})
    if wrong := spec.check(values):
        raise ConfigError(f"rule {name}: {wrong}")
    return values


def make_rule(
    name: str, params: Mapping[str, object] | None = None, *, trigger: Trigger = "bar", min_interval_ms: int = 0, bar: str = "time:1s"
) -> Rule:
    """The rule `name` with its parameters; ConfigError names the rule, the key and what is allowed."""
    values = rule_values(name, params)
    if trigger not in TRIGGERS:
        raise ConfigError(f"rule {name}: trigger {trigger!r} is unknown: use one of {', '.join(TRIGGERS)}")
    if not (0 <= min_interval_ms <= 86_400_000):
        raise ConfigError(f"rule {name}: min_interval_ms must lie in 0 .. 86400000, got {min_interval_ms}")
    return Rule(rule_spec(name), values, trigger, min_interval_ms * 1_000_000, bar)
