"""Builds the hub with the channels that the settings ask for: what the process calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mia.alerts.hub import AlertHub, Channel
from mia.alerts.settings import AlertSettings, MqttSettings
from mia.domain.instruments import Instrument
from mia.ports import Link


def open_alerts(
    alerts: AlertSettings,
    mqtt: MqttSettings,
    *,
    instance: str,
    state_dir: Path,
    instruments: Sequence[Instrument],
    now_ns: Callable[[], int],
    on_link: Callable[[str, Link, str], None],
    environ: Mapping[str, str],
    on_secret: Callable[[str], object],
) -> AlertHub:
    """The hub; ConfigError when the broker's password cannot be had as it should.

    instruments: by the engine's number. on_link: `Host.link`, told about "mqtt". environ: os.environ, for $CREDENTIALS_DIRECTORY.
    on_secret: is given the password before anything else sees it, so that no log shows it.
    """
    channels: list[Channel] = []
    if mqtt.enabled:
        from mia.alerts.mqtt import MqttChannel

        password = mqtt.password(environ)
        if password is not None:
            on_secret(password)
        channels.append(
            MqttChannel(
                mqtt,
                instance=instance,
                severity_min=alerts.mqtt_severity_min,
                password=password,
                instruments=instruments,
                now_ns=now_ns,
                on_link=on_link,
            )
        )
    return AlertHub(alerts, instance=instance, state_dir=state_dir, now_ns=now_ns, channels=channels)
