"""The connections of the daemon as the operator sees them: each change is kept for status, and trouble makes the daemon DEGRADED."""

from __future__ import annotations

import time
from typing import Final

from mia.control.messages import LinkStatus
from mia.ports import Alerts, Link
from miad.states import Health


class Links:
    """How each connection stands, and since when."""

    def __init__(self, health: Health, alerts: Alerts) -> None:
        self._health: Final = health
        self._alerts: Final = alerts
        self._links: Final[dict[str, tuple[Link, str, float]]] = {}
        self._were_up: Final[set[str]] = set()
        self._alerted: Final[set[str]] = set()

    def set(self, name: str, state: Link, detail: str = "") -> None:
        """A connection changed. One that was never up is only in trouble once it says DEGRADED."""
        known = self._links.get(name)
        since_s = known[2] if known is not None and known[0] is state else time.monotonic()
        self._links[name] = (state, detail, since_s)
        if state is Link.UP:
            self._were_up.add(name)
            self._health.degrade(name, "")
            if name in self._alerted:
                self._alerted.remove(name)
                self._alerts.raise_alert("info", "link_up", f"{name} is connected again", dedup_key=f"link_{name}_up")
        elif state is Link.DEGRADED or (state is Link.CONNECTING and name in self._were_up):
            self._health.degrade(name, detail or "the connection is lost; trying again")
            if state is Link.DEGRADED and name not in self._alerted:
                self._alerted.add(name)
                text = f"{name}: {detail or 'three attempts to connect failed'}; trying on"
                self._alerts.raise_alert("error", "link_degraded", text, dedup_key=f"link_{name}")
        elif state is Link.DOWN:
            self._health.degrade(name, "")

    def statuses(self) -> tuple[LinkStatus, ...]:
        """All, in the order in which they appeared."""
        now_s = time.monotonic()
        return tuple(
            LinkStatus(name=name, state=state.value, detail=detail, since_s=round(now_s - since_s, 1))
            for name, (state, detail, since_s) in self._links.items()
        )
