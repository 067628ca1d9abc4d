"""The volume and the range of the last interval: how much of the market an order may be, and how far it moves it."""

from __future__ import annotations

import math

from mia.sim.costs import CostModel
from mia.sim.state import Tape


class Pace:
    """One instrument's tape read for the cost model. Kept current only where the settings cap the volume or charge impact."""

    def __init__(self, tape: Tape, costs: CostModel) -> None:
        self._tape = tape
        self._costs = costs
        self._interval_ns = costs.costs.participation.interval_s * 1_000_000_000

    def on_trade(self, price_ticks: int, lots: int, ts_ns: int) -> None:
        """One public trade."""
        tape = self._tape
        self._turn(ts_ns)
        tape.low_ticks = min(tape.low_ticks, price_ticks) if tape.lots else price_ticks
        tape.high_ticks = max(tape.high_ticks, price_ticks)
        tape.lots += lots

    def fits(self, lots: int, ts_ns: int) -> int:
        """How many of our lots the interval still has room for: of the larger volume of the running one and the last."""
        self._turn(ts_ns)
        tape = self._tape
        return self._costs.capped_lots(lots, max(tape.lots, tape.last_lots), tape.used_lots)

    def use(self, lots: int) -> None:
        """Lots that were ours."""
        self._tape.used_lots += lots

    def impact_ticks(self, mid2: int, lots: int) -> float:
        """Square-root impact of our lots by the last interval's volume and range; 0.0 where nothing has traded yet.

        The volatility of an interval from its range: ln(high / low) / sqrt(4 ln 2). Source: Parkinson (1980), "The extreme value method".
        """
        tape = self._tape
        volume, low, high = tape.last_lots, tape.last_low_ticks, tape.last_high_ticks
        if not volume:
            volume, low, high = tape.lots, tape.low_ticks, tape.high_ticks
        if not (volume and 0 < low <= high):
            return 0.0
        return self._costs.impact_ticks(mid2, lots, math.log(high / low) / math.sqrt(4.0 * math.log(2.0)), volume)

    def _turn(self, ts_ns: int) -> None:
        tape, now = self._tape, ts_ns // self._interval_ns
        if now == tape.interval:
            return
        tape.last_lots, tape.last_low_ticks, tape.last_high_ticks = 0, 0, 0
        if now == tape.interval + 1:
            tape.last_lots, tape.last_low_ticks, tape.last_high_ticks = tape.lots, tape.low_ticks, tape.high_ticks
        tape.interval, tape.lots, tape.low_ticks, tape.high_ticks, tape.used_lots = now, 0, 0, 0, 0
