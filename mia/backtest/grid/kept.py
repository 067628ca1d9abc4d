"""Daily returns of the configurations of a search, for what is asked of many of them at once: kept on disk, bounded in number."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
CONFIGS_MAX: Final = 10_000
BYTES_MAX: Final = 64 << 20
_STREAM: Final = 8


class Kept:
    """Whose returns a search keeps, by place in its order: all, or where they are too many a sample that its seed decides."""

    def __init__(self, total: int, days: int, seed: int) -> None:
        limit = min(CONFIGS_MAX, max(2, BYTES_MAX // (8 * max(days, 1))))
        self._places: frozenset[int] | None = None
        if total > limit:
            random = np.random.Generator(np.random.Philox(key=[seed, _STREAM]))
            self._places = frozenset(random.choice(total, limit, replace=False).tolist())

    def flags(self, first: int, count: int) -> list[bool]:
        """Of `count` places from `first` on."""
        places = self._places
        return [True] * count if places is None else [place in places for place in range(first, first + count)]


class Table(NamedTuple):
    """points: of the configurations; returns: float64[days, points]; day_ns [days + 1]: ends of the days, after the start.

    market: float64[days] of holding the instrument without costs. searched: configurations of the whole search.
    """

    points: list[int]
    returns: F64
    day_ns: I64
    market: F64
    searched: int
