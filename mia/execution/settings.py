"""The [execution] section of the settings."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from mia.domain.errors import ConfigError


class ExecutionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How targets become orders and how positions are protected. Shares are of 1 (0.02 is 2 %)."""

    entry: Literal["market", "limit"] = "market"  # orders that raise exposure; reductions always go at market
    dead_band_share: float = 0.05  # of the lane's cap: smaller changes are not traded, a full exit always is
    keeps_size: bool = False  # True: a position on the wanted side stays as it was opened, whatever size is wanted now
    stop_share: float = 0.02  # protective stop, distance from average entry
    take_share: float = 0.05  # protective take, distance from average entry
    protect_hysteresis_share: float = 0.0005  # of price: a venue-held trigger is moved only when it is off by more
    absent_grace_ms: int = 5000  # an order younger than this is not called absent by a report of open orders
    venue_replaces_orders: bool = True  # False: a protective order is canceled and sent anew

    def __post_init__(self) -> None:
        for name in ("stop_share", "take_share"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0.0 < value < 1.0):
                raise ConfigError(f"execution.{name} must be above 0 and below 1, got {value}")
        for name in ("dead_band_share", "protect_hysteresis_share"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0.0 <= value < 1.0):
                raise ConfigError(f"execution.{name} must be at least 0 and below 1, got {value}")
        if not (0 <= self.absent_grace_ms <= 3_600_000):
            raise ConfigError(f"execution.absent_grace_ms must be 0 to 3600000, got {self.absent_grace_ms}")
