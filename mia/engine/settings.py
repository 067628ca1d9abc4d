"""Settings of the engine and its lanes."""

from __future__ import annotations

from typing import Literal

import msgspec

from mia.domain.errors import ConfigError
from mia.features.heard import PRICES


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[engine]"""

    warm_every_ms: float = 2.0  # keep-warm of the decision path while idle; 0 = off
    out_of_range_max: int = 200  # decisions refused in a row for out-of-range features before an alert

    def __post_init__(self) -> None:
        if not (0 <= self.warm_every_ms <= 1000):
            raise ConfigError(f"[engine] warm_every_ms must be within 0..1000, got {self.warm_every_ms}")
        if not (1 <= self.out_of_range_max <= 1_000_000):
            raise ConfigError(f"[engine] out_of_range_max must be within 1..1000000, got {self.out_of_range_max}")


class LaneSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[lanes]]: one instrument, one strategy. Trigger, interval and bars of a model come from its manifest."""

    instrument: str  # "venue:symbol", as defined by [[instruments]]
    strategy: str  # a bundle's name or path, rule:NAME of a rule in strategies.md, or ensemble:FILE of several of them
    params: dict[str, bool | float] = {}  # of a rule, by name; strategies.md has their bounds and defaults
    trigger: Literal["quote", "trade", "bar"] | None = None  # of a rule; bar when absent
    min_interval_ms: int | None = None  # of a rule; 100 when absent
    bars: str | None = None  # of a rule; time:1s when absent
    references: dict[str, str] = {}  # ref, ref2, spot or perp -> "venue:symbol" of another instrument of the same venue

    def __post_init__(self) -> None:
        if self.instrument.count(":") != 1:
            raise ConfigError(f"[[lanes]] instrument must be 'venue:symbol', got {self.instrument!r}")
        if self.min_interval_ms is not None and not (0 <= self.min_interval_ms <= 86_400_000):
            raise ConfigError(f"[[lanes]] min_interval_ms must be within 0..86400000, got {self.min_interval_ms}")
        for series, other in self.references.items():
            if series not in PRICES:
                raise ConfigError(f"[[lanes]] {self.instrument}: references.{series} is no price: use {', '.join(PRICES)}")
            if other == self.instrument and series in ("ref", "ref2"):
                raise ConfigError(f"[[lanes]] {self.instrument}: references.{series} is the instrument itself: name another one")
        if not self.rule:
            for key in ("params", "min_interval_ms", "bars"):
                if getattr(self, key) not in (None, {}):
                    raise ConfigError(f"[[lanes]] {self.instrument}: {key} belongs to rules; {self.strategy!r} brings its own")

    @property
    def rule(self) -> str:
        """Name of the rule, or "" when the strategy is a bundle."""
        return self.strategy.removeprefix("rule:") if self.strategy.startswith("rule:") else ""
