"""The event loop: uvloop where it is installed, asyncio otherwise, with the same results; what dies unwatched on it is logged."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from mia.telemetry import log

T = TypeVar("T")
WANTED: Final = os.environ.get("MIA_EVENT_LOOP", "")  # "asyncio": leave uvloop out, to compare


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end; what it returns."""
    if WANTED != "asyncio":
        try:
            import uvloop
        except ImportError:
            pass
        else:
            return uvloop.run(_watched(main))
    return asyncio.run(_watched(main))


async def _watched(main: Coroutine[Any, Any, T]) -> T:
    log.install_for(asyncio.get_running_loop())
    return await main
