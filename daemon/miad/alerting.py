"""The alert hub in force, behind one name for all who raise alerts; a reload of [alerts] or [mqtt] replaces it whole."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from mia.alerts.hub import AlertHub
from mia.alerts.open import open_alerts
from mia.domain.effects import RecordDecision
from mia.domain.errors import ConfigError
from mia.domain.events import OrderFilled
from mia.engine.engine import Engine
from mia.ports import Link
from mia.settings import Settings
from mia.telemetry.log import register_secret
from miad.states import Health
from miad.tasks import Supervisor

TASK: Final = "alerts"
_MQTT: Final = "mqtt"
_log = logging.getLogger("miad.alerts")


class Alerting:
    """Hands everything to the hub (`miad.listen.Channels`)."""

    def __init__(self, open_hub: Callable[[Settings], AlertHub], settings: Settings, tasks: Supervisor) -> None:
        """open_hub: makes a hub of settings; never fails."""
        self._open: Final = open_hub
        self._tasks: Final = tasks
        self._status: tuple[str, Sequence[str]] = ("STARTING", ())
        self.raised: Final[dict[str, int]] = {}  # in this process, by severity
        self.last = ""  # severity and text of the newest
        self.hub = open_hub(settings)

    def start(self) -> None:
        """Deliver from now on."""
        self._tasks.start(TASK, self.hub.run)

    async def follow(self, settings: Callable[[], Settings]) -> None:
        """Replace the hub until it is of the settings in force: they may change again while the old one says good-bye."""
        done: Settings | None = None
        while done is not (wanted := settings()):
            await self.replace(wanted)
            done = wanted

    async def replace(self, settings: Settings) -> None:
        """End the hub and its channels, open others; what is critical and not delivered goes over by the disk."""
        await self._tasks.stop(TASK)
        self.hub.close()
        self.hub = self._open(settings)
        self.hub.publish_status(*self._status)
        self.start()

    def raise_alert(self, severity: str, code: str, text: str, *, title: str = "", dedup_key: str = "") -> None:
        """See mia.ports.Alerts."""
        self.raised[severity] = self.raised.get(severity, 0) + 1
        self.last = f"{severity}: {text}"
        self.hub.raise_alert(severity, code, text, title=title, dedup_key=dedup_key)

    def publish_status(self, state: str, reasons: Sequence[str] = ()) -> None:
        """The daemon's state; the newest wins."""
        self._status = (state, reasons)
        self.hub.publish_status(state, reasons)

    def publish_decision(self, decision: RecordDecision) -> None:
        """One decision."""
        self.hub.publish_decision(decision)

    def publish_fill(self, fill: OrderFilled) -> None:
        """One fill of ours."""
        self.hub.publish_fill(fill)

    def publish_health(self, health: dict[str, Any]) -> None:
        """How the daemon does."""
        self.hub.publish_health(health)

    def counters(self) -> dict[str, int]:
        """Of the hub in force."""
        return self.hub.counters()


def opener(
    state_dir: Path, engine: Engine, health: Health, on_link: Callable[[str, Link, str], None], *, is_replay: bool
) -> Callable[[Settings], AlertHub]:
    """Makes hubs of settings. A channel that cannot be opened is left out: trading goes on, and the state says why."""

    def make(settings: Settings, *, is_enabled: bool) -> AlertHub:
        mqtt = settings.mqtt if is_enabled else msgspec.structs.replace(settings.mqtt, enabled=False)
        return open_alerts(
            settings.alerts, mqtt, instance=settings.instance.name, state_dir=state_dir, instruments=engine.config.instruments,
            now_ns=time.time_ns, on_link=on_link, environ=os.environ, on_secret=register_secret,
        )  # fmt: skip

    def opened(settings: Settings) -> AlertHub:
        health.degrade(_MQTT, "")
        if is_replay:
            return make(settings, is_enabled=False)
        try:
            return make(settings, is_enabled=True)
        except ConfigError as e:
            _log.error("%s", e)
            health.degrade(_MQTT, str(e))
            return make(settings, is_enabled=False)

    return opened
