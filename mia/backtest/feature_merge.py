"""Events of history in the order in which live has them: market, timers, and what enters from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from mia.domain.errors import DataError
from mia.domain.events import TIMER_INTERVAL_NS
from mia.features import batch
from mia.features.columns import I64, TIMER, EventColumns

_SILENCE_NS_MAX: Final = 86_400_000_000_000


class Merge:
    """Puts timers, and what is known from outside, between market events: a market event goes first at equal times."""

    def __init__(self, outside: EventColumns) -> None:
        self._outside = outside
        self._taken = 0
        self._timer = 0  # the last one

    def take(self, market: EventColumns) -> EventColumns:
        """The next events with what is due before the last of them."""
        ts = market.ts_recv_ns
        if not self._timer:
            self._timer = int(ts[0]) // TIMER_INTERVAL_NS * TIMER_INTERVAL_NS
        if int(ts[-1]) - self._timer > _SILENCE_NS_MAX and (gap := int(np.diff(ts, prepend=self._timer).max())) > _SILENCE_NS_MAX:
            raise DataError(f"the recordings leave a gap of {gap / _SILENCE_NS_MAX:.0f} days: compute them one by one")
        timers = np.arange(self._timer + TIMER_INTERVAL_NS, int(ts[-1]), TIMER_INTERVAL_NS, dtype=np.int64)
        self._timer = int(timers[-1]) if len(timers) else self._timer
        until = int(np.searchsorted(self._outside.ts_recv_ns, ts[-1], side="left"))
        parts = [market, _timers(timers), self._outside.slice(self._taken, until)]
        self._taken = max(until, self._taken)
        return merged(parts, market.levels)


def with_timers(market: EventColumns) -> EventColumns:
    """A whole stretch of market events (one at least) with the timers that live would have between them."""
    return Merge(batch.NOTHING).take(market)


def merged(parts: Sequence[EventColumns], levels: I64) -> EventColumns:
    """In order of receive time; at equal times in the order of the parts."""
    whole = [np.concatenate(columns) for columns in zip(*(part[:-1] for part in parts), strict=True)]
    order = np.argsort(whole[1], kind="stable")
    return EventColumns._make([*(column[order] for column in whole), levels])


def _timers(ts: I64) -> EventColumns:
    zeros, none = np.zeros(len(ts), np.int64), np.zeros(len(ts))
    kind = np.full(len(ts), TIMER, np.int64)
    return EventColumns(kind, ts, zeros, zeros, zeros, zeros, zeros, zeros, zeros, none, none, np.zeros((0, 2), np.int64))


def joined(parts: Sequence[EventColumns]) -> EventColumns:
    """Stretches one after another as one."""
    offsets = np.cumsum([0, *(len(p.levels) for p in parts[:-1])])
    moved = [p._replace(level_offset=p.level_offset + int(o)) for p, o in zip(parts, offsets, strict=True)]
    return EventColumns._make(np.concatenate(columns) for columns in zip(*moved, strict=True))
