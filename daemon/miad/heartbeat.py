"""One line a minute that says that we live and how: version, state, equity, age of the market data, lateness of the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mia.control.messages import Status

_EVERY_S = 60.0
_log = logging.getLogger("miad.heartbeat")


async def heartbeat(status: Callable[[], Status], publish: Callable[[Status], None], every_s: float = _EVERY_S) -> None:
    """Until canceled. publish: MQTT's health."""
    while True:
        await asyncio.sleep(every_s)
        found = status()
        _log.info("%s", line(found))
        publish(found)


def line(s: Status) -> str:
    """The status in one line."""
    ages = [i.quote_age_ms for i in s.instruments if i.quote_age_ms is not None]
    feed = f"feed {max(ages) / 1000:.1f} s old" if ages else "no market data yet"
    held = ", ".join(f"{i.position} {i.name}" for i in s.instruments if i.position.strip("-0.")) or "flat"
    return (
        f"miad {s.version} {s.state}, equity {s.equity} {s.currency}, {held}, {s.decisions} decisions, {s.fills} fills, "
        f"{feed}, loop delay p99 {s.loop_delay.p99_ms:.1f} ms"
    )
