"""What waits, what was dropped and which processes are ours: for status, metrics and MQTT's health."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from mia.store.journal import Journal
from mia.store.projection import Projector
from mia.telemetry import log as telemetry
from miad.alerting import Alerting
from miad.child import Exchange
from miad.listen import Listener

# What a feed or a connection counts because it was not used; everything else that it counts is ordinary work.
_SET_ASIDE: Final = frozenset((
    "bad_lines", "damaged_files",
    "corrupt", "off_grid", "unknown_stream", "unknown_symbol", "crossed", "trades_repeated", "trades_outlier", "trades_off_book",
    "snapshots_refused", "dropped_old", "buffer_overflow",
    "events_malformed", "events_foreign", "answers_malformed", "api_malformed", "api_orphan_answers", "fills_repeated", "history_off_grid",
))  # fmt: skip


def set_aside(counters: Mapping[str, int]) -> dict[str, int]:
    """Of the counters of a feed or a connection: what came and was not used, by reason."""
    return {name: n for name, n in counters.items() if n and name in _SET_ASIDE}


class Figures:
    """Reads the parts when asked."""

    def __init__(
        self,
        journal: Journal,
        projector: Projector,
        alerts: Alerting,
        listener: Listener,
        exchange: Exchange | None,
        counters: Callable[[], Mapping[str, int]],
    ) -> None:
        """counters: of the feed or the connection."""
        self._journal: Final = journal
        self._projector: Final = projector
        self._alerts: Final = alerts
        self._listener: Final = listener
        self._exchange: Final = exchange
        self._counters: Final = counters

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
        """What had no room, and what of the venue was not used, since the start."""
        alerts = {f"alerts_{name[8:]}": n for name, n in self._alerts.counters().items() if name.startswith("dropped_")}
        return {"logs": telemetry.counters()["dropped"], "listener": self._listener.dropped, **alerts, **set_aside(self._counters())}
