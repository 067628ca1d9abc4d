"""[mqtt] and [alerts]: what is refused, and where the password may lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mia.alerts.settings import AlertSettings, MqttSettings
from mia.domain.errors import ConfigError
from mia.settings import load_settings
from mia.shipped import config_file


def secret(folder: Path, mode: int = 0o400, text: bytes = b"canary\n") -> Path:
    path = folder / "password"
    path.write_bytes(text)
    path.chmod(mode)
    return path


def test_mqtt_is_off_as_shipped() -> None:
    assert not load_settings(config_file("miad.toml"), environ={}).settings.mqtt.enabled
    assert not MqttSettings().enabled


@pytest.mark.parametrize("host", ["10.0.0.7", "broker.example.org", "127.evil.example", "127.0.0.1.example.org", "::2"])
def test_a_password_in_the_clear_to_another_machine_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="tls must be true"):
        MqttSettings(host=host, username="mia", password_file="/x")

    MqttSettings(host=host, username="mia", password_file="/x", tls=True)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.3.1", "::1"])
def test_on_this_machine_it_may_go_without_tls(host: str) -> None:
    assert MqttSettings(host=host, username="mia", password_file="/x").is_loopback


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"host": ""}, "host"), ({"host": "a b"}, "host"), ({"host": "mqtt://broker"}, "host"), ({"port": 0}, "port"),
        ({"port": 65_536}, "port"),
        ({"topic_prefix": "a/#"}, "topic_prefix"), ({"topic_prefix": "+"}, "topic_prefix"), ({"topic_prefix": "/a"}, "topic_prefix"),
        ({"client_id": "a/b"}, "client_id"), ({"password_file": "x"}, "username"), ({"ca_file": "/x"}, "tls"),
        ({"publish_timeout_s": float("nan")}, "publish_timeout_s"), ({"queue_max": 0}, "queue_max"), ({"keepalive_s": 0}, "keepalive_s"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_by_the_name_of_its_key(values: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[mqtt\] {key} "):
        MqttSettings(**values)


@pytest.mark.parametrize(
    "values", [{"merge_window_s": float("inf")}, {"merge_window_s": -1}, {"outbox_max": 0}, {"file_mb": 0}, {"files": 1}], ids=str
)
def test_alert_settings_are_bounded(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"\[alerts\] "):
        AlertSettings(**values)


def test_there_is_no_setting_that_switches_verification_off(tmp_path: Path) -> None:
    config = tmp_path / "miad.toml"
    config.write_text(config_file("miad.toml").read_text().replace("[mqtt]\n", "[mqtt]\ntls_insecure = true\n"))

    with pytest.raises(ConfigError, match="tls_insecure"):
        load_settings(config, environ={})


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_password_file_of_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    settings = MqttSettings(username="mia", password_file=str(secret(tmp_path, mode)))

    assert settings.password({}) == "canary"
    assert "canary" not in repr(settings)


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o644, 0o620])
def test_a_password_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    settings = MqttSettings(username="mia", password_file=str(secret(tmp_path, mode)))

    with pytest.raises(ConfigError, match="others can read it") as refused:
        settings.password({})

    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("text", [b"", b"\n", b"\xff\xfe"])
def test_a_password_file_without_a_password_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ConfigError, match="password_file"):
        MqttSettings(username="mia", password_file=str(secret(tmp_path, text=text))).password({})


def test_a_name_is_a_credential_of_systemd(tmp_path: Path) -> None:
    secret(tmp_path, 0o440)  # how systemd shows a file with an access list
    settings = MqttSettings(username="mia", password_file="password")

    assert settings.password({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "canary"
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY"):
        settings.password({})
    with pytest.raises(ConfigError, match="cannot be read"):
        MqttSettings(username="mia", password_file="other").password({"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_no_password_file_is_no_password() -> None:
    assert MqttSettings(username="mia").password({}) is None
