"""The end in stages, each with a time budget; one that takes longer is named, and the next begins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from mia.domain.orders import Purpose, Status
from mia.engine.engine import Engine

CANCEL_S: Final = 5.0
CHECKPOINT_S: Final = 15.0
PROJECTION_S: Final = 15.0
PERFORMANCE_S: Final = 2.0
ALERTS_S: Final = 3.0
TASKS_S: Final = 5.0
EXCHANGE_S: Final = 5.0
REST_S: Final = 5.0  # the projection's process
TOTAL_S: Final = CANCEL_S + CHECKPOINT_S + PROJECTION_S + PERFORMANCE_S + ALERTS_S + TASKS_S + EXCHANGE_S + REST_S  # what systemd is told
_log = logging.getLogger("miad.shutdown")


async def stage(name: str, budget_s: float, work: Awaitable[object]) -> bool:
    """Await it within its budget; False, and a line in the log, when it overran or failed."""
    try:
        async with asyncio.timeout(budget_s):
            await work
    except TimeoutError:
        _log.warning("shutdown: %s not done within %g s; going on", name, budget_s)
        return False
    except Exception as e:  # the other stages matter more than this one
        _log.error("shutdown: %s failed (%s: %s); going on", name, type(e).__name__, e)
        return False
    return True


async def entries_gone(engine: Engine, advance: Callable[[], None]) -> None:
    """Return when no order that could still open something waits at the venue. advance: lets engine time and its reports go on."""
    while _open_entries(engine):
        await asyncio.sleep(0.01)
        advance()


def _open_entries(engine: Engine) -> int:
    table = engine.state.table
    return sum(
        order.purpose not in (Purpose.STOP, Purpose.TAKE) and order.status is not Status.UNKNOWN
        for market in engine.markets
        for order in table.open_orders(market.index)
    )
