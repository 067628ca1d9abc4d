"""The process's one source of time: Unix time read once, then the monotonic clock."""

from __future__ import annotations

import time
from typing import Final

_JUMP_MS_MIN: Final = 1000


class SystemClock:
    """Receive time that never steps back; a wall-clock jump does not move it."""

    def __init__(self, floor_ns: int = 0) -> None:
        """floor_ns: last journaled time; the clock starts at or after it."""
        self._offset = max(time.time_ns(), floor_ns) - time.monotonic_ns()
        self._wall_offset = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """Unix ns."""
        return self._offset + time.monotonic_ns()

    def raise_to(self, floor_ns: int) -> None:
        """Go on at or after the last journaled time."""
        self._offset = max(self._offset, floor_ns - time.monotonic_ns())

    def jump_ms(self) -> int:
        """By how much the wall clock jumped against the monotonic one since it was last asked; 0 below a second."""
        offset = time.time_ns() - time.monotonic_ns()
        jump_ms = (offset - self._wall_offset) // 1_000_000
        if abs(jump_ms) < _JUMP_MS_MIN:
            return 0  # slow drift adds up to a jump in the end
        self._wall_offset = offset
        return jump_ms
