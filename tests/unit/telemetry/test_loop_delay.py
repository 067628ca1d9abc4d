"""A loop that is held is late, and says by how much."""

from __future__ import annotations

import asyncio
import contextlib
import time

from mia.telemetry.loop_delay import LoopDelay

MS = 1_000_000


def test_lateness_is_counted_and_an_early_wake_up_is_none() -> None:
    told: list[int] = []
    delay = LoopDelay(clock_ns=lambda: 0, on_delay=told.append)

    delay.note(now_ns=55 * MS, due_ns=50 * MS)
    delay.note(now_ns=99 * MS, due_ns=100 * MS)

    assert told == [5 * MS, 0]
    assert (delay.total().n, delay.total().max_ms, delay.total().mean_ms) == (2, 5.0, 2.5)


def test_recent_forgets_what_is_older_than_two_windows_and_total_does_not() -> None:
    delay = LoopDelay(window_s=1.0, clock_ns=lambda: 0)

    delay.note(now_ns=100 * MS, due_ns=0)  # 100 ms late
    delay.note(now_ns=1_500 * MS, due_ns=1_499 * MS)
    delay.note(now_ns=2_600 * MS, due_ns=2_598 * MS)

    assert delay.total().n == 3
    assert delay.total().max_ms == 100.0
    assert delay.recent().n == 2
    assert delay.recent().max_ms == 2.0


def test_a_callback_that_holds_the_loop_shows() -> None:
    async def scenario() -> LoopDelay:
        delay = LoopDelay(interval_s=0.005)
        task = asyncio.create_task(delay.run())
        await asyncio.sleep(0.02)
        time.sleep(0.1)  # the fault
        await asyncio.sleep(0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return delay

    assert asyncio.run(scenario()).total().max_ms >= 50.0
