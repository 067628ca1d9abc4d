"""Settings of [mqtt] and [alerts], and the one place that reads the broker's password."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from mia.domain.errors import ConfigError

SeverityMin = Literal["info", "warning", "error", "urgent"]
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:]{2,45}")
_LOOPBACK: Final = re.compile(r"localhost|::1|127\.\d{1,3}\.\d{1,3}\.\d{1,3}")
_TOPIC_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(?:/[A-Za-z0-9_-]{1,64}){0,3}")
_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")
_PASSWORD_BYTES_MAX: Final = 4096


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[alerts]: how alerts are merged and kept, with or without MQTT.

    merge_window_s: repeats of one alert (same dedup_key) within it become one message with a count; 0 merges nothing.
    outbox_max: alerts that wait in memory for one channel; beyond it the oldest info or warning goes, error and urgent wait on disk.
    file_mb, files: size of one file of alerts/alerts.jsonl and how many are kept.
    mqtt_severity_min: the lowest severity that goes out by MQTT; the file has all.
    """

    merge_window_s: float = 60.0
    outbox_max: int = 1000
    file_mb: int = 4
    files: int = 4
    mqtt_severity_min: SeverityMin = "info"

    def __post_init__(self) -> None:
        _check("alerts", self, merge_window_s=(0, 86_400), outbox_max=(1, 100_000), file_mb=(1, 1024), files=(2, 100))


class MqttSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[mqtt]: the broker that alerts, status, decisions, fills and health go to. Off as shipped.

    password_file: a file that nobody but its owner can read (0400 or 0600), or the name of a systemd credential. The password itself
    stands nowhere in the settings.
    tls: the broker's certificate is always verified, against ca_file or, when it is empty, the system's authorities.
    client_id: empty means mia-<instance>. topic_prefix: topics are <topic_prefix>/<instance>/...
    queue_max: decisions, and fills, that wait for a slow broker; beyond it the oldest go.
    """

    enabled: bool = False  # connect to the broker
    host: str = "127.0.0.1"  # of the broker
    port: int = 1883  # of the broker; 8883 is usual with TLS
    username: str = ""  # at the broker; empty: none
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""  # certificates that sign the broker's; empty: those of the system
    client_id: str = ""
    topic_prefix: str = "mia"
    keepalive_s: int = 15  # after 1.5 times this without a sign of us the broker publishes our last will
    publish_timeout_s: float = 10.0  # how long a message may wait for the broker's confirmation
    queue_max: int = 1000

    def __post_init__(self) -> None:
        _check("mqtt", self, port=(1, 65_535), keepalive_s=(5, 3600), publish_timeout_s=(0.1, 300), queue_max=(1, 100_000))
        for name, pattern, hint in (
            ("host", _HOST, "must be a host name or an address"),
            ("topic_prefix", _TOPIC_PREFIX, "must be up to 4 levels of A-Z, a-z, 0-9, '_' and '-', without '+' and '#'"),
            ("client_id", _CLIENT_ID, "must be up to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"),
        ):
            if not pattern.fullmatch(getattr(self, name)):
                raise ConfigError(f"[mqtt] {name} {hint}, got {getattr(self, name)!r}")
        if self.password_file and not self.username:
            raise ConfigError("[mqtt] username must be set when password_file is: MQTT knows no password without a user")
        if self.ca_file and not self.tls:
            raise ConfigError("[mqtt] tls must be true when ca_file is set: without TLS no certificate is looked at")
        if self.username and not self.tls and not self.is_loopback:
            raise ConfigError(
                f"[mqtt] tls must be true for user {self.username!r} at {self.host}: a password in the clear leaves this machine never"
            )

    @property
    def is_loopback(self) -> bool:
        """True when the broker is on this machine by its address."""
        return _LOOPBACK.fullmatch(self.host) is not None

    def password(self, environ: Mapping[str, str]) -> str | None:
        """The password, None when none is configured; ConfigError when it cannot be read, is empty, or others can read it."""
        if not self.password_file:
            return None
        path, is_credential = _password_path(self.password_file, environ)
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                data = file.read(_PASSWORD_BYTES_MAX)
        except OSError as e:
            raise ConfigError(f"[mqtt] password_file {path}: cannot be read ({e.strerror})") from e
        # systemd gives its credentials to the service's user by an access list, which shows in the mode as rights of the group.
        if mode & (0o007 if is_credential else 0o077):
            raise ConfigError(f"[mqtt] password_file {path}: others can read it (mode {mode:04o}): chmod 0400 it")
        try:
            text = data.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ConfigError(f"[mqtt] password_file {path}: is not UTF-8 text") from None
        if not text:
            raise ConfigError(f"[mqtt] password_file {path}: is empty")
        return text


def _password_path(name: str, environ: Mapping[str, str]) -> tuple[Path, bool]:
    if "/" in name:
        return Path(name).expanduser(), False
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ConfigError(
            f"[mqtt] password_file {name!r} names a systemd credential, and there is no $CREDENTIALS_DIRECTORY: "
            "give the path of a file, or LoadCredential= in the unit"
        )
    return Path(folder) / name, True


def _check(section: str, settings: object, **bounds: tuple[float, float]) -> None:
    for name, (low, high) in bounds.items():
        value = getattr(settings, name)
        if not (low <= value <= high):
            raise ConfigError(f"[{section}] {name} must be between {low} and {high}, got {value}")
