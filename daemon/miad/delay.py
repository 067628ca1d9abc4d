"""How late the event loop is: a timer every 50 ms, its lateness kept in a ring."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from mia.control.messages import Latency
from miad.latency import Latencies

_EVERY_S: Final = 0.05


class LoopDelay:
    """A task that sleeps and measures how much longer it took."""

    def __init__(self) -> None:
        self._ring: Final = Latencies(4096)  # the last three and a half minutes

    async def run(self) -> None:
        """Until canceled."""
        add, now_ns = self._ring.add, time.monotonic_ns
        while True:
            due_ns = now_ns() + int(_EVERY_S * 1e9)
            await asyncio.sleep(_EVERY_S)
            add(max(0, now_ns() - due_ns))

    def latency(self) -> Latency:
        """The distribution over the ring."""
        return as_latency(self._ring)


def as_latency(ring: Latencies) -> Latency:
    """A ring in milliseconds."""
    found = ring.percentiles_us(50, 99, 100)
    if found is None:
        return Latency()
    p50, p99, top = (round(us / 1000, 4) for us in found)
    return Latency(n=ring.count, p50_ms=p50, p99_ms=p99, max_ms=top)
