"""What waits, what was dropped and which processes are ours: for status, metrics and MQTT's health."""

from __future__ import annotations

from typing import Final

from mia.store.journal import Journal
from mia.store.projection import Projector
from mia.telemetry import log as telemetry
from miad.alerting import Alerting
from miad.child import Exchange
from miad.listen import Listener


class Figures:
    """Reads the parts when asked."""

    def __init__(self, journal: Journal, projector: Projector, alerts: Alerting, listener: Listener, exchange: Exchange | None) -> None:
        self._journal: Final = journal
        self._projector: Final = projector
        self._alerts: Final = alerts
        self._listener: Final = listener
        self._exchange: Final = exchange

    def children(self) -> dict[str, int]:
        """Our processes by name: their pid."""
        found = {"projection": self._projector.pid, "exchange": self._exchange.pid if self._exchange is not None else None}
        return {name: pid for name, pid in found.items() if pid is not None}

    def queues(self) -> dict[str, int]:
        """What waits in the slow lane; of the projection, in events."""
        lag = max(0, self._journal.last_seq - self._projector.applied_seq)
        waiting = self._alerts.counters()["waiting"]
        return {"alerts": waiting, "logs": telemetry.queue_depth(), "listener": self._listener.waiting, "projection": lag}

    def dropped(self) -> dict[str, int]:
        """What had no room, since the start."""
        alerts = {f"alerts_{name[8:]}": n for name, n in self._alerts.counters().items() if name.startswith("dropped_")}
        return {"logs": telemetry.counters()["dropped"], "listener": self._listener.dropped, **alerts}
