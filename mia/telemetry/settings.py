"""Settings of [metrics]."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec

from mia.domain.errors import ConfigError


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the daemon measures of itself, and where it shows it.

    interval_s: between two samples of the process (CPU, memory, threads); the last keep_samples are kept for reports.
    endpoint, address, port: OpenMetrics at http://ADDRESS:PORT/metrics; loopback only, port 0 takes any free one.
    performance_interval_s: one row per operation and interval in logs/*_performance.csv.
    probe_every_s: how often the stages of a decision are timed beside the decisions; 0 = never.
    csv_max_mb, csv_keep: a CSV beyond this size is rotated; so many old ones stay.
    """

    enabled: bool = True
    interval_s: float = 5.0
    keep_samples: int = 720
    endpoint: bool = True
    address: str = "127.0.0.1"
    port: int = 9477
    performance_interval_s: float = 10.0
    probe_every_s: float = 1.0
    csv_max_mb: int = 10
    csv_keep: int = 5

    def __post_init__(self) -> None:
        bounds = {
            "interval_s": (0.1, 3600), "keep_samples": (2, 100_000), "port": (0, 65_535), "performance_interval_s": (0.1, 3600),
            "probe_every_s": (0, 3600), "csv_max_mb": (1, 1024), "csv_keep": (1, 100),
        }  # fmt: skip
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not (low <= value <= high):
                raise ConfigError(f"[metrics] {name} must be between {low} and {high}, got {value}")
        if not _is_loopback(self.address):
            raise ConfigError(
                f"[metrics] address must be loopback (127.0.0.1 or ::1), got {self.address!r}: metrics tell what is held and earned; "
                "let a tunnel or a proxy with a login carry them elsewhere"
            )

    @property
    def csv_max_bytes(self) -> int:
        """csv_max_mb in bytes."""
        return self.csv_max_mb << 20


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
