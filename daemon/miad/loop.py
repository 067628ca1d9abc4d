"""Driving the core from a pull feed: as fast as it goes, or paced on asyncio with the decision path kept warm."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from typing import Final

from mia.ports import Codec
from miad.core import Core
from miad.signals import StopFlag

_CHECK_EVERY: Final = 64  # frames between looks at the clock
_LAG_YIELD_NS: Final = 20_000_000  # a late feed, and one without pace, yields to the loop this often
_SLEEP_MIN_S: Final = 0.000_2
Frames = Iterator[tuple[int, bytes]]


async def run_max(core: Core, codec: Codec, frames: Frames, stop: StopFlag, between: Callable[[], None], deadline_s: float) -> None:
    """Every frame back to back; every 20 ms the loop gets its turn (control, telemetry) and `between` runs (snapshots)."""
    on_frame = core.on_frame
    left = _CHECK_EVERY
    last_yield = time.monotonic_ns()
    for ts_recv_ns, payload in frames:
        on_frame(codec, payload, ts_recv_ns)
        left -= 1
        if not left:
            left = _CHECK_EVERY
            if time.monotonic_ns() - last_yield > _LAG_YIELD_NS:
                between()
                await asyncio.sleep(0)
                last_yield = time.monotonic_ns()
                if stop.reason:
                    return
                if last_yield >= deadline_s * 1e9:
                    stop.set("duration")
                    return


async def run_paced(
    core: Core,
    codec: Codec,
    frames: Frames,
    stop: StopFlag,
    between: Callable[[], None],
    deadline_s: float,
    speed: float,
    warm: Callable[[], None],
    warm_every_ms: float,
) -> None:
    """Each frame at its receive time (divided by speed), timers in between, the decision path kept warm while waiting."""
    first = next(frames, None)
    if first is None:
        return
    pacer = _Pacer(first[0], speed)
    warm_s = warm_every_ms / 1000 if warm_every_ms > 0 else math.inf
    next_check = time.monotonic() + 0.05
    frame: tuple[int, bytes] | None = first
    last_yield = time.monotonic_ns()
    while frame is not None and not stop.reason:
        ts_recv_ns, payload = frame
        wait_s = pacer.wait_s(ts_recv_ns)
        if wait_s > _SLEEP_MIN_S:
            await asyncio.sleep(min(wait_s, warm_s, 0.05))
            last_yield = time.monotonic_ns()
            if pacer.wait_s(ts_recv_ns) > _SLEEP_MIN_S:
                core.advance(min(pacer.now_ns(), ts_recv_ns - 1))
                if wait_s > warm_s:
                    warm()
        else:
            core.on_frame(codec, payload, ts_recv_ns)
            frame = next(frames, None)
            if time.monotonic_ns() - last_yield > _LAG_YIELD_NS:
                await asyncio.sleep(0)
                last_yield = time.monotonic_ns()
        if time.monotonic() >= next_check:
            next_check = time.monotonic() + 0.05
            between()
            if time.monotonic() >= deadline_s:
                stop.set("duration")


class _Pacer:
    """Maps receive time of the feed to wall time."""

    def __init__(self, first_ns: int, speed: float) -> None:
        self._feed_ns: Final = first_ns
        self._wall_ns: Final = time.monotonic_ns()
        self._speed: Final = speed

    def now_ns(self) -> int:
        """Feed time that corresponds to now."""
        return self._feed_ns + int((time.monotonic_ns() - self._wall_ns) * self._speed)

    def wait_s(self, ts_recv_ns: int) -> float:
        """Seconds until a frame is due; negative when it is late."""
        return (self._wall_ns + (ts_recv_ns - self._feed_ns) / self._speed - time.monotonic_ns()) / 1e9
