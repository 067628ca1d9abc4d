"""When to try again: quickly after a connection that was stable, then 2^attempt with jitter, capped; never given up."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import Final

from mia.ports import Host, Link
from mia.venues.settings import LinkSettings

_JITTER: Final = 0.25  # share, both ways: many clients of one venue do not come back in the same moment


class Retry:
    """Counts failed attempts of one link."""

    def __init__(self, settings: LinkSettings) -> None:
        self._settings: Final = settings
        self._random: Final = Random()
        self.attempts = 0

    def lost(self, lived_s: float) -> float:
        """An open connection broke: seconds to wait. One that was not stable counts as a failed attempt."""
        if lived_s * 1000.0 < self._settings.stable_after_ms:
            return self.failed()
        self.attempts = 0
        return self._jittered(self._settings.retry_first_ms)

    def failed(self) -> float:
        """An attempt failed: seconds to wait."""
        self.attempts += 1
        return self._jittered(self._settings.retry_unit_ms * 2.0 ** min(self.attempts, 16))

    def settled(self) -> None:
        """The link works."""
        self.attempts = 0

    @property
    def is_degraded(self) -> bool:
        """So many attempts failed in a row that a human should know."""
        return self.attempts >= self._settings.attempts_before_degraded

    def _jittered(self, ms: float) -> float:
        capped = min(ms, float(self._settings.retry_max_ms))
        return min(capped * (1.0 + _JITTER * (2.0 * self._random.random() - 1.0)), float(self._settings.retry_max_ms)) / 1000.0


async def woken(event: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the event is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class LinkSays:
    """Tells the host how one link stands: each change once."""

    def __init__(self, host: Host, name: str) -> None:
        self._host: Final = host
        self._name: Final = name
        self._last: Link | None = None

    def now(self, state: Link, detail: str = "") -> None:
        """The link is in `state`."""
        if state is not self._last:
            self._last = state
            self._host.link(self._name, state, detail)

    def retrying(self, detail: str, *, is_degraded: bool) -> None:
        """The link is not there and is tried again."""
        self.now(Link.DEGRADED if is_degraded else Link.CONNECTING, detail)
