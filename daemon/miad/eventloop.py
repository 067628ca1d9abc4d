"""The event loop: uvloop where it is installed, asyncio otherwise, with the same results."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

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
            return uvloop.run(main)
    return asyncio.run(main)
