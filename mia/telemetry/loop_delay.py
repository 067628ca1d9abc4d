"""How late the event loop is: a task that sleeps a fixed time and counts by how much it woke too late.

Whatever holds the loop (a long callback, a busy thread, a stolen core) shows here. Timers of the loop have a grain of 1 ms, which is
part of what is seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from mia.telemetry.histogram import Distribution, Histogram

INTERVAL_S: Final = 0.05
WINDOW_S: Final = 30.0


def _nowhere(delay_ns: int) -> None:
    pass


class LoopDelay:
    """The loop's lateness since the start, and of late."""

    def __init__(
        self,
        *,
        interval_s: float = INTERVAL_S,
        window_s: float = WINDOW_S,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        on_delay: Callable[[int], None] = _nowhere,
    ) -> None:
        """on_delay: is told each delay in ns."""
        self._interval_ns: Final = int(interval_s * 1e9)
        self._window_ns: Final = int(window_s * 1e9)
        self._clock_ns: Final = clock_ns
        self._on_delay: Final = on_delay
        self._before: Final = Histogram()  # all windows that are over
        self._last = Histogram()
        self._window = Histogram()
        self._window_began_ns = clock_ns()

    async def run(self) -> None:
        """Measure until canceled."""
        interval_s = self._interval_ns / 1e9
        while True:
            due_ns = self._clock_ns() + self._interval_ns
            await asyncio.sleep(interval_s)
            self.note(self._clock_ns(), due_ns)

    def note(self, now_ns: int, due_ns: int) -> None:
        """Count one wake-up."""
        if now_ns - self._window_began_ns >= self._window_ns:
            self._before.merge(self._window)
            self._last, self._window, self._window_began_ns = self._window, Histogram(), now_ns
        delay_ns = max(0, now_ns - due_ns)
        self._window.add(delay_ns)
        self._on_delay(delay_ns)

    def total(self) -> Distribution:
        """Since the start."""
        return _sum(self._before, self._window)

    def recent(self) -> Distribution:
        """Of the last one to two windows."""
        return _sum(self._last, self._window)


def _sum(first: Histogram, second: Histogram) -> Distribution:
    whole = Histogram()
    whole.merge(first)
    whole.merge(second)
    return whole.distribution()
