"""Who hears what: the blocks of a plan by the call they asked for, each in the order in which they were connected."""

from __future__ import annotations

from collections.abc import Sequence

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
else:
    from mia.kernels.block import Block

CALLS = ("quote", "trade", "book", "bar", "emit", "slow")  # slow: references, news, predictions


@cython.final
@cython.cclass
class Listeners:
    """Hands each event to the blocks that hear it.

    The lists are declared as lists of objects, so that the casts below stay unchecked: only connect fills them, and asking
    every block at every event whether it is one took a twelfth of a row of history.
    """

    def __init__(self) -> None:
        self.quotes = list[object]()
        self.trades = list[object]()
        self.books = list[object]()
        self.bars = list[object]()
        self.emits = list[object]()
        self.slow = list[object]()

    def connect(self, block: Block, hears: Sequence[str]) -> None:
        """Add one block; hears: some of CALLS."""
        lists = (self.quotes, self.trades, self.books, self.bars, self.emits, self.slow)
        for call, blocks in zip(CALLS, lists, strict=True):
            if call in hears:
                blocks.append(block)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def quote(
        self, t_ns: cython.longlong, bid: cython.double, ask: cython.double, bid_lots: cython.double, ask_lots: cython.double
    ) -> cython.longlong:
        """A valid two-sided quote, in ticks and lots."""
        blocks: list[object] = self.quotes
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.quote(t_ns, bid, ask, bid_lots, ask_lots)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def trade(self, t_ns: cython.longlong, price: cython.double, qty: cython.double, side: cython.longlong) -> cython.longlong:
        """A trade, in ticks and lots."""
        blocks: list[object] = self.trades
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.trade(t_ns, price, qty, side)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def book_changed(self, t_ns: cython.longlong) -> cython.longlong:
        """The shared book was changed."""
        blocks: list[object] = self.books
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.book_changed(t_ns)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def bar(self) -> cython.longlong:
        """A bar was pushed to the history."""
        blocks: list[object] = self.bars
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.bar()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """An observation is asked for."""
        blocks: list[object] = self.emits
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.emit(t_ns, mid)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def reference(
        self, t_ns: cython.longlong, series: cython.longlong, value: cython.double, known_ns: cython.longlong, until_ns: cython.longlong
    ) -> cython.longlong:
        """A value of an outside series."""
        blocks: list[object] = self.slow
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.reference(t_ns, series, value, known_ns, until_ns)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def news(
        self, t_ns: cython.longlong, source: cython.longlong, score: cython.double, impact: cython.double, known_ns: cython.longlong
    ) -> cython.longlong:
        """A scored piece of news."""
        blocks: list[object] = self.slow
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.news(t_ns, source, score, impact, known_ns)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def predicted(
        self,
        t_ns: cython.longlong,
        name: cython.longlong,
        value: cython.double,
        confidence: cython.double,
        known_ns: cython.longlong,
        until_ns: cython.longlong,
    ) -> cython.longlong:
        """A prediction of a slow model."""
        blocks: list[object] = self.slow
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.predicted(t_ns, name, value, confidence, known_ns, until_ns)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def cool(self) -> cython.longlong:
        """The market comes back after a long pause."""
        blocks: list[object] = self.bars
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.cool()
        return 0
