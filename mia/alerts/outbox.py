"""What waits for one channel: bounded in memory, and nothing of severity error or urgent is lost while the disk has it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from mia.alerts.files import AlertFiles
from mia.alerts.message import RANK, Alert


class Outbox:
    """Alerts on their way to one channel, oldest first.

    When it is full, the oldest info or warning goes and is counted. With nothing but error and urgent in it, a further one stays on
    disk and is read back when there is room; only if the disk did not take it does the oldest go.
    """

    def __init__(self, channel: str, files: AlertFiles, *, size_max: int, severity_min: str, on_trouble: Callable[[OSError], None]) -> None:
        """Goes on where an earlier process of this state directory stopped delivering."""
        self.channel: Final = channel
        self.dropped: Final[Counter[str]] = Counter()
        self.delivered = 0
        self._files: Final = files
        self._size_max: Final = size_max
        self._rank_min: Final = RANK[severity_min]
        self._on_trouble: Final = on_trouble
        self._critical: dict[str, Alert] = {}
        self._other: dict[str, Alert] = {}
        self._changed: Final = asyncio.Event()
        found = files.cursor(channel)
        self._is_spilled = found is not None  # error and urgent may lie on disk that are not in memory
        self._cursor = found or ""
        if found is None:  # a channel's first start: it begins with what comes, not with history
            self._cursor = self._last_id()
            self._store_cursor()

    def __len__(self) -> int:
        return len(self._critical) + len(self._other)

    @property
    def is_empty(self) -> bool:
        """True when nothing waits, in memory or on disk."""
        return not (self._critical or self._other or self._is_spilled)

    def put(self, alert: Alert, *, is_on_disk: bool) -> None:
        """Take one alert; returns at once."""
        if RANK[alert.severity] < self._rank_min:
            return
        if alert.is_critical and self._is_spilled and is_on_disk:
            self._changed.set()
            return  # it has its place behind those that are read back
        if len(self) >= self._size_max and not self._make_room(alert, is_on_disk):
            return
        # `_critical` moves the cursor: what the disk did not take may not overtake there what still lies on it.
        in_order = alert.is_critical and not self._is_spilled
        (self._critical if in_order else self._other)[alert.id] = alert
        self._changed.set()

    async def head(self) -> Alert:
        """Wait for the oldest alert; it stays until `done`."""
        while True:
            if self._is_spilled and not self._critical:
                await self._read_back()
                if self._is_spilled and not self._critical:
                    continue  # the files were rotated meanwhile
            first = [next(iter(waiting.values())) for waiting in (self._critical, self._other) if waiting]
            if first:
                return min(first, key=lambda alert: alert.id)
            self._changed.clear()
            await self._changed.wait()

    def done(self, alert: Alert) -> None:
        """The channel's far end has it."""
        self.delivered += 1
        self._other.pop(alert.id, None)
        if self._critical.pop(alert.id, None) is not None:
            self._cursor = max(self._cursor, alert.id)
            self._store_cursor()

    def _make_room(self, alert: Alert, is_on_disk: bool) -> bool:
        if self._other:
            oldest = next(iter(self._other))
            self.dropped[self._other.pop(oldest).severity] += 1
            return True
        if not alert.is_critical:
            self.dropped[alert.severity] += 1
            return False
        if is_on_disk:
            self._is_spilled = True
            return False
        oldest = next(iter(self._critical))
        self.dropped[self._critical.pop(oldest).severity] += 1
        return True

    async def _read_back(self) -> None:
        rotations = self._files.rotations
        try:
            async for alert in self._files.critical_after(self._cursor):
                if len(self._critical) >= self._size_max:
                    return  # more is there: still spilled
                if RANK[alert.severity] >= self._rank_min:
                    self._critical[alert.id] = alert
        except OSError as e:
            self._on_trouble(e)
        self._is_spilled = self._files.rotations != rotations

    def _last_id(self) -> str:
        try:
            return self._files.last_id()
        except OSError as e:
            self._on_trouble(e)
            return ""

    def _store_cursor(self) -> None:
        try:
            self._files.set_cursor(self.channel, self._cursor)
        except OSError as e:
            self._on_trouble(e)
