"""Named points where a test may end the process as if by kill -9: MIA_CRASH_AT=<point>[:n], the n-th time it is passed."""

from __future__ import annotations

import os
from typing import Final

POINTS: Final = ("pre_intent", "post_intent", "post_send", "in_snapshot")
_WANTED, _, _COUNT = os.environ.get("MIA_CRASH_AT", "").partition(":")
if _WANTED and _WANTED not in POINTS:
    raise SystemExit(f"MIA_CRASH_AT={_WANTED!r}: known points are {', '.join(POINTS)}")
_left = int(_COUNT or "1")


def crashpoint(name: str) -> None:
    """End the process here, with no clean-up, when the environment asked for it."""
    global _left
    if name == _WANTED:
        _left -= 1
        if _left <= 0:
            os._exit(137)
