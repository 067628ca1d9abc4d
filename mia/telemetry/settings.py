"""Settings of [logging] and [metrics]."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

import msgspec

from mia.domain.errors import ConfigError

Level = Literal["trace", "debug", "info", "warning", "error", "critical"]
Format = Literal["plain", "detailed", "json"]


class LoggingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[logging]: what is written, in which form, and how much of it is kept.

    level: the least that is written; [logging.levels] overrides it by logger name or its leading dotted parts.
    format: of the terminal. file, file_format: `logs/miad.log` in the state directory; `mia logs` reads the JSON form.
    file_mb_max, files_keep: a file that would grow beyond goes to miad.log.1, .2, ...; so many of those are kept.
    queue_max: records that wait for the writer; more are dropped and counted, errors have some room of their own.
    """

    level: Level = "info"
    format: Format = "plain"
    file: bool = True
    file_format: Format = "json"
    file_mb_max: int = 20
    files_keep: int = 5
    queue_max: int = 10_000
    levels: dict[str, Level] = {}  # by logger name, such as mia.venues = "debug"

    def __post_init__(self) -> None:
        for name, (low, high) in {"file_mb_max": (1, 4096), "files_keep": (0, 1000), "queue_max": (100, 1_000_000)}.items():
            value = getattr(self, name)
            if not (low <= value <= high):
                raise ConfigError(f"[logging] {name} must be between {low} and {high}, got {value}")


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the daemon measures of itself, and where it shows it.

    enabled: timings, performance files and the endpoint; status has memory, CPU and loop delay without it, too.
    interval_s: between two samples of the process (CPU, memory, threads); the last keep_samples are kept for reports.
    endpoint, address, port: OpenMetrics at http://ADDRESS:PORT/metrics; loopback only, port 0 takes any free one.
    performance_interval_s: one row per operation and interval in logs/*_performance.csv.
    probe_every_s: how often the stages of a decision are timed beside the decisions; 0 = never.
    csv_max_mb, csv_keep: a CSV beyond this size is rotated; so many old ones stay.
    """

    enabled: bool = True
    interval_s: float = 5.0
    keep_samples: int = 720  # samples of the process kept for reports
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
