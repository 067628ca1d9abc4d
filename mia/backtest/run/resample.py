"""Bars of a longer interval from shorter ones."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import numpy as np

from mia.backtest.run.sources import BarHistory
from mia.domain.errors import ConfigError
from mia.features.bars import BarSpec


def resampled(history: BarHistory, bars: BarSpec) -> BarHistory:
    """Bars cut at multiples of the interval, UTC, named by their opening time; the first and the last only when they are whole.

    ConfigError when the interval is no multiple of the history's.
    """
    if bars.kind != "time" or history.bars.kind != "time":
        raise ConfigError(f"{bars.text} cannot be made of {history.bars.text}: only time bars are resampled")
    interval, short = bars.interval_ns, history.bars.interval_ns
    if interval == short:
        return history
    if interval < short or interval % short:
        raise ConfigError(f"{bars.text} is no multiple of the history's {history.bars.text}")
    number = history.open_ns // interval
    starts = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
    if history.open_ns[0] % interval:
        starts = starts[1:]  # begun in the middle
    ends = np.append(starts[1:], len(number))
    if len(starts) and history.close_ns[-1] % interval:
        starts, ends = starts[:-1], ends[:-1]  # not over yet
    if not len(starts):
        raise ConfigError(f"{', '.join(history.facts.files)}: too short for a whole bar of {bars.text}")
    rows = np.zeros((len(starts), history.rows.shape[1]))
    stop = int(ends[-1])
    rows[:, 0] = history.rows[starts, 0]
    rows[:, 1] = np.maximum.reduceat(history.rows[:stop, 1], starts)
    rows[:, 2] = np.minimum.reduceat(history.rows[:stop, 2], starts)
    rows[:, 3] = history.rows[ends - 1, 3]
    rows[:, 4:] = np.add.reduceat(history.rows[:stop, 4:], starts, axis=0)
    open_ns = number[starts] * interval
    spec = BarSpec(kind="time", size=Decimal(interval))
    facts = msgspec.structs.replace(
        history.facts, rows=len(starts), first_ns=int(open_ns[0]), last_ns=int(open_ns[-1]) + interval, bars=spec.text
    )
    return history._replace(bars=spec, open_ns=open_ns, close_ns=open_ns + interval, rows=rows, facts=facts)
