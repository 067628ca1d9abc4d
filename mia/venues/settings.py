"""The [link] section of the settings: how connections to a venue are kept."""

from __future__ import annotations

import math

import msgspec

from mia.domain.errors import ConfigError


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How connections to a venue are kept.

    connect_timeout_ms: for TCP, TLS and the websocket handshake together.
    request_timeout_ms: a request without an answer for so long has an unknown outcome; an order is then asked for, never sent again.
    stale_after_ms: a feed that is silent for so long is stale and connected anew.
    ping_after_ms: a connection that is silent for so long is pinged; without a pong for as long again it is closed.
    retry_first_ms: before the first attempt after a connection that was stable broke.
    retry_unit_ms: attempt n is followed by 2^n of these, with jitter, up to retry_max_ms.
    attempts_before_degraded: failed attempts after which the link is reported as degraded; it goes on trying for ever.
    stable_after_ms: a connection that lived so long starts the count of attempts anew.
    connection_max_s: connected anew after so long, before the venue does it (Binance: 24 h).
    depth_levels: of a book snapshot (Binance: 100 weigh 5, 500: 25, 1000: 50, 5000: 250 of 6000 a minute).
    quiet_ms: an account answer counts when no report came so long after it.
    """

    connect_timeout_ms: int = 5_000
    request_timeout_ms: int = 3_000
    stale_after_ms: int = 5_000
    ping_after_ms: int = 4_000
    retry_first_ms: int = 200
    retry_unit_ms: int = 1_000
    retry_max_ms: int = 60_000  # the longest wait between two attempts
    attempts_before_degraded: int = 3
    stable_after_ms: int = 10_000
    connection_max_s: float = 85_800.0
    depth_levels: int = 1_000
    quiet_ms: int = 100

    def __post_init__(self) -> None:
        bounds = {
            "connect_timeout_ms": (10, 60_000), "request_timeout_ms": (10, 60_000), "stale_after_ms": (50, 600_000),
            "ping_after_ms": (50, 60_000), "retry_first_ms": (1, 60_000), "retry_unit_ms": (1, 60_000), "retry_max_ms": (1, 60_000),
            "attempts_before_degraded": (1, 100), "stable_after_ms": (0, 600_000), "depth_levels": (5, 5_000), "quiet_ms": (0, 10_000),
        }  # fmt: skip
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not (low <= value <= high):
                raise ConfigError(f"link.{name} must be between {low} and {high}, got {value}")
        if not (math.isfinite(self.connection_max_s) and 1.0 <= self.connection_max_s <= 86_400.0):
            raise ConfigError(f"link.connection_max_s must be between 1 and 86400, got {self.connection_max_s}")
