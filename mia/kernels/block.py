"""What every block of features has in common: it hears market events and writes its slots into the shared pool.

A block owns `pool[base .. base + len(SLOTS) - 1]`, in the order of its SLOTS. Bar features are written when a bar closes and
stay; the others when an observation is asked for. Only blocks that a plan needs exist. A value that a block cannot state
(an invalid book, a reference that is too old, a model that is not there) is marked: `absent[base + k] = 1`, else 0; what
a column waits for at the start (bars, quotes, seconds) is the plan's business and stands in the catalogue.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.history import BarHistory
else:
    from mia.kernels.history import BarHistory


@cython.cclass
class Block:
    """Base of all blocks: hears everything, does nothing."""

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        """pool: float64 view shared by all blocks of a plan; hist: the plan's bars. PlanCore.connect adds `absent`, int64, beside pool."""
        self.pool = pool
        self.base = base
        self.hist = hist

    @cython.cfunc
    def quote(
        self, t_ns: cython.longlong, bid: cython.double, ask: cython.double, bid_lots: cython.double, ask_lots: cython.double
    ) -> cython.longlong:
        """A valid two-sided quote, in ticks and lots."""
        return 0

    @cython.cfunc
    def trade(self, t_ns: cython.longlong, price: cython.double, qty: cython.double, side: cython.longlong) -> cython.longlong:
        """A trade, in ticks and lots; side is the aggressor's."""
        return 0

    @cython.cfunc
    def book_changed(self, t_ns: cython.longlong) -> cython.longlong:
        """The shared book was changed, or became invalid."""
        return 0

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed to the history: write the bar features."""
        return 0

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars; mid in ticks."""
        return 0

    @cython.cfunc
    def reference(
        self, t_ns: cython.longlong, series: cython.longlong, value: cython.double, known_ns: cython.longlong, until_ns: cython.longlong
    ) -> cython.longlong:
        """A value of an outside series (its number in mia.features.series), known since known_ns, good until until_ns."""
        return 0

    @cython.cfunc
    def news(
        self, t_ns: cython.longlong, source: cython.longlong, score: cython.double, impact: cython.double, known_ns: cython.longlong
    ) -> cython.longlong:
        """A scored piece of news: score in [-1, 1], impact in [0, 1]."""
        return 0

    @cython.cfunc
    def predicted(
        self,
        t_ns: cython.longlong,
        name: cython.longlong,
        value: cython.double,
        confidence: cython.double,
        known_ns: cython.longlong,
        until_ns: cython.longlong,
    ) -> cython.longlong:
        """A prediction of a slow model (its number in mia.features.series); confidence in [0, 1]."""
        return 0

    @cython.cfunc
    def cool(self) -> cython.longlong:
        """The market comes back after a long pause (heard by blocks that hear bars): forget what is a belief about now."""
        return 0
