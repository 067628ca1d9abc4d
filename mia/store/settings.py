"""Settings of [store]."""

from __future__ import annotations

from typing import Literal

import msgspec

from mia.domain.errors import ConfigError


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the record is kept.

    segment_mb: size of one journal segment; three of them exist at least (current, next, spare).
    journal_keep_days, journal_max_gb: closed segments beyond either go, the oldest first, once no recovery needs them.
    intent_durability: page_cache survives kill -9 (on disk within sync_interval_ms); disk survives power loss: every order waits for it.
    snapshot_every_s, snapshot_every_events: whichever comes first.
    """

    segment_mb: int = 256
    journal_keep_days: int = 7
    journal_max_gb: int = 50
    intent_durability: Literal["page_cache", "disk"] = "page_cache"
    sync_interval_ms: int = 10  # how often the journal is forced to disk
    snapshot_every_s: int = 20
    snapshot_every_events: int = 200_000

    def __post_init__(self) -> None:
        bounds = {
            "segment_mb": (1, 4096), "journal_keep_days": (1, 3650), "journal_max_gb": (1, 100_000), "sync_interval_ms": (1, 1000),
            "snapshot_every_s": (1, 3600), "snapshot_every_events": (1000, 100_000_000),
        }  # fmt: skip
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not (low <= value <= high):
                raise ConfigError(f"[store] {name} must be between {low} and {high}, got {value}")

    @property
    def segment_bytes(self) -> int:
        """segment_mb in bytes."""
        return self.segment_mb << 20
