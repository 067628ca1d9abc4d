"""Rules by name, from settings: every wrong name or value is one clear ConfigError."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from mia.domain.errors import ConfigError
from mia.policy.rules.base import Rule
from mia.policy.rules.simple import BuyAndHold, EmaCross, Flat
from mia.policy.strategy import TRIGGERS, Trigger

RULES: Final[Mapping[str, tuple[Callable[..., Rule], Mapping[str, type]]]] = {
    "flat": (Flat, {}),
    "buy_and_hold": (BuyAndHold, {"size": float}),
    "ema_cross": (EmaCross, {"fast": int, "slow": int, "size": float, "long_only": bool}),
}
_PERIOD_MAX: Final = 10_000


def make_rule(
    name: str, params: Mapping[str, object] | None = None, *, trigger: Trigger = "bar", min_interval_ms: int = 0, bar: str = "time:1s"
) -> Rule:
    """The rule `name` with its parameters; ConfigError names the rule, the key and what is allowed."""
    if name not in RULES:
        raise ConfigError(f"rule {name!r} is unknown: use one of {', '.join(RULES)}")
    if trigger not in TRIGGERS:
        raise ConfigError(f"rule {name}: trigger {trigger!r} is unknown: use one of {', '.join(TRIGGERS)}")
    if not (0 <= min_interval_ms <= 86_400_000):
        raise ConfigError(f"rule {name}: min_interval_ms must lie in 0 .. 86400000, got {min_interval_ms}")
    make, kinds = RULES[name]
    values = {key: _checked(name, key, value, kinds) for key, value in (params or {}).items()}
    fast, slow = values.get("fast", 20), values.get("slow", 50)
    if not (fast < slow):
        raise ConfigError(f"rule {name}: fast ({fast}) must be below slow ({slow})")
    return make(**values, trigger=trigger, min_interval_ns=min_interval_ms * 1_000_000, bar=bar)


def _checked(rule: str, key: str, value: object, kinds: Mapping[str, type]) -> float:
    """One parameter, of the right type and in its range."""
    if key not in kinds:
        raise ConfigError(f"rule {rule}: unknown parameter {key!r}: use {', '.join(kinds) or 'none'}")
    kind = kinds[key]
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise ConfigError(f"rule {rule}: {key} must be true or false, got {value!r}")
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
        raise ConfigError(f"rule {rule}: {key} must be a {'number' if kind is float else 'whole number'}, got {value!r}")
    number: float = value
    if kind is float and not (math.isfinite(number) and -1.0 <= number <= 1.0):
        raise ConfigError(f"rule {rule}: {key} must lie in [-1, 1], got {number}")
    if kind is int and not (1 <= number <= _PERIOD_MAX):
        raise ConfigError(f"rule {rule}: {key} must lie in 1 .. {_PERIOD_MAX} bars, got {number}")
    return float(number) if kind is float else number
