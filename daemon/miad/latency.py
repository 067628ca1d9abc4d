"""Latencies of this process life, kept without allocation on the hot path."""

from __future__ import annotations

from array import array
from typing import Final

_RING: Final = 65_536


class Latencies:
    """The last 65,536 durations in ns."""

    def __init__(self, size: int = _RING) -> None:
        """size: a power of two."""
        self._ring: Final = array("q", bytes(8 * size))
        self._mask: Final = size - 1
        self.count = 0

    def add(self, duration_ns: int) -> None:
        """Record one."""
        self._ring[self.count & self._mask] = duration_ns
        self.count += 1

    def percentiles_us(self, *ranks: float) -> list[float] | None:
        """Nearest-rank percentiles in us; None when nothing was recorded."""
        n = min(self.count, len(self._ring))
        if n == 0:
            return None
        ordered = sorted(self._ring[:n])
        return [ordered[min(n - 1, int(rank / 100 * n))] / 1000 for rank in ranks]

    def since(self, count: int, most: int) -> list[int]:
        """Durations that were recorded after `count` had this value, in order; only the last `most` of them."""
        new = min(self.count - count, most, _RING)
        return [self._ring[i & (_RING - 1)] for i in range(self.count - new, self.count)]
