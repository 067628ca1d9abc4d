"""The process's one source of time: Unix time read once, then the monotonic clock."""

from __future__ import annotations

import time


class SystemClock:
    """Receive time that never steps back; a wall-clock jump does not move it."""

    def __init__(self, floor_ns: int = 0) -> None:
        """floor_ns: last journaled time; the clock starts at or after it."""
        self._offset = max(time.time_ns(), floor_ns) - time.monotonic_ns()

    def now_ns(self) -> int:
        """Unix ns."""
        return self._offset + time.monotonic_ns()

    def raise_to(self, floor_ns: int) -> None:
        """Go on at or after the last journaled time."""
        self._offset = max(self._offset, floor_ns - time.monotonic_ns())
