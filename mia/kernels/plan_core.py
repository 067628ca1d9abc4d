"""The streaming engine of a feature plan: market events in, bars and blocks stepped, columns gathered on demand."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.account_block import AccountBlock
    from cython.cimports.mia.kernels.bars import BarBuilder
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.book import Book
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip
else:
    from mia.kernels.account_block import AccountBlock
    from mia.kernels.bars import BarBuilder
    from mia.kernels.block import Block
    from mia.kernels.book import Book
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip

QUOTE, TRADE, TIMER, BOOK_DELTA, BOOK_SNAPSHOT, GAP, REFERENCE, NEWS, PREDICTED = range(9)  # kinds of EventColumns
STREAMS = ("quotes", "trades", "depth")  # what may stop coming, as bits 0, 1, 2 of `reads`
# A stream that stopped is no data: what reads it has no value then. A quiet market changes neither touch nor book, so the book is
# late only while quotes go on.
_QUOTES_STOP_NS = cython.declare(cython.longlong, 60_000_000_000)
_TRADES_STOP_NS = cython.declare(cython.longlong, 300_000_000_000)
_BOOK_LATE_NS = cython.declare(cython.longlong, 10_000_000_000)
NEEDS = ("bars", "quotes", "trades", "books", "seconds")  # what a column may wait for, per column in `needs` (seconds in ns)


@cython.cclass
class PlanCore:
    """Bars, blocks and columns of one instrument; `mia.features.plan` builds it and names the columns.

    state: 0 engine ns, 1 bars, 2 quotes, 3 trades, 4 books, 5 first event ns, 6 classes still cold, 7 last decision ns,
    8 first quote ns, 9 first trade ns, 10 first valid book ns, 11 what first_cold knows: 0 nothing since the last event,
    1 all is there that a decision waits for, else 2 + the first column that is not,
    12 if all cold classes wait for quotes, trades or books: 1 + how many of these there were, else 0,
    13 last quote ns, 14 last trade ns, 15 last state of the book ns, 16 the STREAMS that stopped, as of the last look.
    Columns that need the same are one class, which becomes warm at once: bit 0 of cold is 1 for each column that is not warm, bit 1
    for each that reads a stream that stopped; queue the numbers of the classes that are not warm.
    row: the values that observe fills, as a matrix of one row.
    """

    def __init__(self, arena: Arena, bars: BarBuilder, hist: BarHistory, pool: memoryview[float], book: Book) -> None:
        self.bars = bars
        self.hist = hist
        self.pool = pool
        self.absent = arena.longs(len(pool))  # beside pool: 1 where a block cannot state its value
        self.book = book
        self.state = arena.longs(17)
        self.market = arena.doubles(1)  # mid in ticks
        self.bar = bars.closed
        self.given = arena.doubles(11)
        self.quote_blocks = list[Block]()
        self.trade_blocks = list[Block]()
        self.book_blocks = list[Block]()
        self.bar_blocks = list[Block]()
        self.emit_blocks = list[Block]()
        self.slow_blocks = list[Block]()
        self.account = None
        self.width = 0

    def connect(self, block: Block, hears: Sequence[str]) -> None:
        """Add one block; hears names the calls it wants: quote, trade, book, bar, emit, slow (references, news, predictions)."""
        block.absent = self.absent
        if "quote" in hears:
            self.quote_blocks.append(block)
        if "trade" in hears:
            self.trade_blocks.append(block)
        if "book" in hears:
            self.book_blocks.append(block)
        if "bar" in hears:
            self.bar_blocks.append(block)
        if "emit" in hears:
            self.emit_blocks.append(block)
        if "slow" in hears:
            self.slow_blocks.append(block)
        if isinstance(block, AccountBlock):
            self.account = block

    def gather(
        self, values: memoryview[float], arena: Arena, slots: memoryview, needs: memoryview, neutral: memoryview, optional: memoryview,
        reads: memoryview,
    ) -> None:  # fmt: skip
        """values: float64[width + masks]; slots: int64[width] into the pool; needs: int64[width * 5] in the order of NEEDS.

        neutral: float64[width], what stands for a value that is not there; optional: int64[width], 0 for a column that a
        decision waits for, else the masks that fall to 0.0 while the column is not there, as bits 0 .. masks - 1, plus bit 62.
        reads: int64[width], the STREAMS that the column reads, as bits.
        """
        width = len(slots)
        if len(values) < width or len(needs) != 5 * width or len(neutral) != width or len(optional) != width or len(reads) != width:
            raise ValueError("plan: values, slots, needs, neutral and optional do not fit together")
        if len(values) - width > 60:
            raise ValueError("plan: at most 60 masks")
        self.row = values.cast("B").cast("d", [1, len(values)]) if len(values) > 0 else memoryview(bytearray(8)).cast("d", [1, 1])
        self.slots = slots
        self.neutral = neutral
        self.optional = optional
        self.reads = reads
        self.width = width
        self.masks = len(values) - width
        classes: dict[tuple[int, ...], list[int]] = {}
        for j in range(width):
            classes.setdefault(tuple(needs[5 * j : 5 * j + 5]), []).append(j)
        number = {j: k for k, members in enumerate(classes.values()) for j in members}
        starts = [0, *accumulate(len(members) for members in classes.values())]
        self.classes = len(classes)
        self.needs = array("q", [n for needed in classes for n in needed] or [0])
        self.members = array("q", [j for members in classes.values() for j in members] or [0])
        self.starts = array("q", starts)
        self.class_of = array("q", [number[j] for j in range(width)] or [0])
        self.queue = arena.longs(len(classes))
        self.cold = arena.longs(width)
        self._chill()

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _bar_closed(self, close_ns: cython.longlong) -> cython.longlong:
        """Push the closed bar through the blocks."""
        blocks: list[Block] = self.bar_blocks
        block: Block
        k: cython.Py_ssize_t
        self.state[1] = self.hist.push(self.bar, close_ns)
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.bar()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _advance(self, t_ns: cython.longlong) -> cython.longlong:
        """Move engine time and close the time bars that are due; returns how many."""
        self.state[11] = 0
        if self.state[5] == 0:
            self.state[5] = t_ns
        if t_ns > self.state[0]:
            self.state[0] = t_ns
        due: cython.longlong = self.bars.due(t_ns)
        if due == 0:
            return 0
        closed: cython.longlong = 0
        close_ns: cython.longlong = self.bars.end_ns()
        for _ in range(due):
            if self.bars.close() == 1:
                self._bar_closed(close_ns)
                closed += 1
            close_ns += self.bars.interval_ns
        self.bars.settle(t_ns)
        return closed

    @cython.ccall
    def on_quote(
        self,
        ts_recv_ns: cython.longlong,
        ts_event_ns: cython.longlong,
        bid_ticks: cython.longlong,
        ask_ticks: cython.longlong,
        bid_lots: cython.longlong,
        ask_lots: cython.longlong,
    ) -> cython.longlong:
        """Take one quote; a one-sided, crossed or non-positive one moves time only. Returns the number of bars closed."""
        closed: cython.longlong = self._advance(ts_recv_ns)
        if bid_ticks <= 0 or ask_ticks < bid_ticks or bid_lots <= 0 or ask_lots <= 0:
            return closed
        bid: cython.double = 1.0 * bid_ticks  # an int stays an int when interpreted, and compares otherwise beyond 2^53
        ask: cython.double = 1.0 * ask_ticks
        bid_size: cython.double = 1.0 * bid_lots
        ask_size: cython.double = 1.0 * ask_lots
        self.state[2] += 1
        self.state[13] = self.state[0]
        if self.state[8] == 0:
            self.state[8] = self.state[0]
        self.market[0] = 0.5 * (bid + ask)
        blocks: list[Block] = self.quote_blocks
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.quote(self.state[0], bid, ask, bid_size, ask_size)
        return closed

    @cython.ccall
    def on_trade(
        self,
        ts_recv_ns: cython.longlong,
        ts_event_ns: cython.longlong,
        price_ticks: cython.longlong,
        qty_lots: cython.longlong,
        aggressor: cython.longlong,
    ) -> cython.longlong:
        """Take one trade; a non-positive price or size moves time only. Returns the number of bars closed."""
        closed: cython.longlong = self._advance(ts_recv_ns)
        if price_ticks <= 0 or qty_lots <= 0:
            return closed
        price: cython.double = 1.0 * price_ticks
        qty: cython.double = 1.0 * qty_lots
        side: cython.longlong = 0
        if aggressor > 0:
            side = 1
        elif aggressor < 0:
            side = -1
        self.state[3] += 1
        self.state[14] = self.state[0]
        if self.state[9] == 0:
            self.state[9] = self.state[0]
        blocks: list[Block] = self.trade_blocks
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.trade(self.state[0], price, qty, side)
        if self.bars.add(ts_recv_ns, price, qty, side) == 1:
            self.bars.close()
            self._bar_closed(self.state[0])
            closed += 1
        return closed

    @cython.ccall
    def on_book(self, ts_recv_ns: cython.longlong) -> cython.longlong:
        """The shared book was changed. Returns the number of bars closed."""
        closed: cython.longlong = self._advance(ts_recv_ns)
        if self.book.is_valid():
            self.state[4] += 1
            self.state[15] = self.state[0]
            if self.state[10] == 0:
                self.state[10] = self.state[0]
        blocks: list[Block] = self.book_blocks
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.book_changed(self.state[0])
        return closed

    @cython.ccall
    def on_time(self, ts_recv_ns: cython.longlong) -> cython.longlong:
        """A Timer. Returns the number of bars closed."""
        return self._advance(ts_recv_ns)

    @cython.ccall
    def on_bar(self, ts_close_ns: cython.longlong, bar: cython.double[::1]) -> cython.longlong:
        """Take one finished bar of a history file (layout of BarBuilder.closed, ticks and lots); returns 1.

        Its close stands in for the mid, which no quote has set. Returns 0, and nothing changes, for a bar with a number that is
        not finite, a price at or below 0, a high below the low, a negative volume, or one that does not close after the last.
        """
        if bar.shape[0] != 11:
            raise ValueError("on_bar: a bar has 11 fields")
        k: cython.Py_ssize_t
        for k in range(11):
            self.given[k] = bar[k]
        return self._take_given(ts_close_ns)

    @cython.cfunc
    def _take_given(self, ts_close_ns: cython.longlong) -> cython.longlong:
        k: cython.Py_ssize_t
        for k in range(11):
            if self.given[k] - self.given[k] != 0.0 or self.given[k] < 0.0:
                return 0
        if self.given[0] <= 0.0 or self.given[2] <= 0.0 or self.given[3] <= 0.0 or self.given[1] < self.given[2]:
            return 0
        if self.hist.count() > 0 and ts_close_ns <= self.hist.t[self.hist.last()]:
            return 0
        for k in range(11):
            self.bar[k] = self.given[k]
        self._bar_given(ts_close_ns)
        return 1

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _bar_given(self, close_ns: cython.longlong) -> cython.longlong:
        """The finished bar stands in `bar`."""
        self.state[11] = 0
        if self.state[5] == 0:
            self.state[5] = close_ns
        if close_ns > self.state[0]:
            self.state[0] = close_ns
        self.market[0] = self.bar[3]
        self._bar_closed(close_ns)
        return 0

    @cython.ccall
    def on_reference(
        self,
        ts_recv_ns: cython.longlong,
        series: cython.longlong,
        value: cython.double,
        known_ns: cython.longlong,
        until_ns: cython.longlong,
    ) -> cython.longlong:
        """A value of an outside series; one that is not finite moves time only. Returns the number of bars closed."""
        closed: cython.longlong = self._advance(ts_recv_ns)
        if value - value != 0.0:
            return closed
        blocks: list[Block] = self.slow_blocks
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.reference(self.state[0], series, value, known_ns, until_ns)
        return closed

    @cython.ccall
    def on_news(
        self, ts_recv_ns: cython.longlong, source: cython.longlong, score: cython.double, impact: cython.double, known_ns: cython.longlong
    ) -> cython.longlong:
        """A scored piece of news, clipped to its ranges; not finite: moves time only. Returns the number of bars closed."""
        closed: cython.longlong = self._advance(ts_recv_ns)
        if score - score != 0.0 or impact - impact != 0.0:
            return closed
        blocks: list[Block] = self.slow_blocks
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.news(self.state[0], source, clip(score, -1.0, 1.0), clip(impact, 0.0, 1.0), known_ns)
        return closed

    @cython.ccall
    def on_predicted(
        self,
        ts_recv_ns: cython.longlong,
        name: cython.longlong,
        value: cython.double,
        confidence: cython.double,
        known_ns: cython.longlong,
        until_ns: cython.longlong,
    ) -> cython.longlong:
        """A prediction of a slow model; not finite: moves time only. Returns the number of bars closed."""
        closed: cython.longlong = self._advance(ts_recv_ns)
        if value - value != 0.0 or confidence - confidence != 0.0:
            return closed
        blocks: list[Block] = self.slow_blocks
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.predicted(self.state[0], name, value, clip(confidence, 0.0, 1.0), known_ns, until_ns)
        return closed

    @cython.ccall
    def set_account(
        self,
        position: cython.double,
        entry_ticks: cython.double,
        opened_ns: cython.longlong,
        drawdown_ratio: cython.double,
        day_pnl_ratio: cython.double,
        trades_60m_ratio: cython.double,
        last_action: cython.double,
        policy_dispersion: cython.double,
        last_alpha: cython.double,
    ) -> cython.longlong:
        """The account before the decision; ignored when no column reads it.

        position: signed share of the lane's cap in [-1, 1]; entry_ticks: average entry (0.0 flat); opened_ns: 0 when flat.
        """
        if self.account is None:
            return 0
        return self.account.set(
            position, entry_ticks, opened_ns, drawdown_ratio, day_pnl_ratio, trades_60m_ratio, last_action, policy_dispersion, last_alpha
        )

    @cython.ccall
    def set_record(
        self, closed_ns: cython.longlong, closed: cython.longlong, won: cython.longlong, drift: cython.double
    ) -> cython.longlong:
        """Our closed trades before the decision, and the drift of the model's inputs; ignored when no column reads them.

        closed_ns: when the last one closed; closed: how many of the last three there are; won: those with a net profit above 0;
        drift: the largest population stability index of the 20 most important inputs, below 0 while nobody has measured it.
        """
        if self.account is None:
            return 0
        return self.account.set_record(closed_ns, closed, won, drift)

    @cython.ccall
    def take_market(
        self,
        ts_recv_ns: cython.longlong,
        low: cython.double,
        high: cython.double,
        mid: cython.double,
        bars: cython.longlong,
        atr: cython.double,
    ) -> cython.longlong:
        """What the market did since the last call, instead of its events: for a plan of the account's columns alone, in training.

        low, high: lowest and highest mid of the quotes since then; mid: the last one; bars: closed since then; atr: the average true
        range after them. Prices in ticks.
        """
        self.state[0] = ts_recv_ns
        self.state[1] += bars
        self.state[11] = 0
        self.market[0] = mid
        self.hist.scale[0] = atr
        if self.account is not None:
            self.account.passed(low, high, bars)
        return 0

    @cython.ccall
    def observe(self, ts_recv_ns: cython.longlong) -> cython.longlong:
        """Fill the values with the columns as of ts_recv_ns (not before the last event). Closes no bar."""
        self._emit(ts_recv_ns)
        self._write(self.row, 0)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _emit(self, ts_recv_ns: cython.longlong) -> cython.longlong:
        """Let the blocks write what changes between bars, and see which columns are warm."""
        t_ns: cython.longlong = ts_recv_ns
        if t_ns < self.state[0]:
            t_ns = self.state[0]
        mid: cython.double = self.market[0]
        blocks: list[Block] = self.emit_blocks
        block: Block
        k: cython.Py_ssize_t
        for k in range(len(blocks)):
            block = cython.cast(Block, blocks[k])
            block.emit(t_ns, mid)
        self._warm_up()
        self._mark_stopped(t_ns)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _mark_stopped(self, t_ns: cython.longlong) -> cython.longlong:
        """Which streams stopped, and the columns that read them."""
        stopped: cython.longlong = 0
        if self.state[13] > 0 and t_ns - self.state[13] > _QUOTES_STOP_NS:
            stopped = 1
        if self.state[14] > 0 and t_ns - self.state[14] > _TRADES_STOP_NS:
            stopped |= 2
        if self.state[15] > 0 and (self.state[13] - self.state[15] > _BOOK_LATE_NS or t_ns - self.state[15] > _TRADES_STOP_NS):
            stopped |= 4
        if stopped == self.state[16]:
            return 0
        self.state[16] = stopped
        self.state[11] = 0
        j: cython.Py_ssize_t
        for j in range(self.width):
            self.cold[j] = (self.cold[j] & 1) | (2 if self.reads[j] & stopped != 0 else 0)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _write(self, out: cython.double[:, ::1], row: cython.Py_ssize_t) -> cython.longlong:
        """Write the columns, then the masks, to one row; four columns at once, since most have neighbours of their kind."""
        a: cython.Py_ssize_t
        b: cython.Py_ssize_t
        c: cython.Py_ssize_t
        d: cython.Py_ssize_t
        no_a: cython.longlong
        no_b: cython.longlong
        no_c: cython.longlong
        no_d: cython.longlong
        missing: cython.longlong = 0
        j: cython.Py_ssize_t = 0
        while j + 4 <= self.width:
            a = self.slots[j]
            b = self.slots[j + 1]
            c = self.slots[j + 2]
            d = self.slots[j + 3]
            no_a = self.absent[a] | self.cold[j]
            no_b = self.absent[b] | self.cold[j + 1]
            no_c = self.absent[c] | self.cold[j + 2]
            no_d = self.absent[d] | self.cold[j + 3]
            if no_a | no_b | no_c | no_d == 0:
                out[row, j] = self.pool[a]
                out[row, j + 1] = self.pool[b]
                out[row, j + 2] = self.pool[c]
                out[row, j + 3] = self.pool[d]
            else:
                missing = 1
                out[row, j] = self.neutral[j] if no_a != 0 else self.pool[a]
                out[row, j + 1] = self.neutral[j + 1] if no_b != 0 else self.pool[b]
                out[row, j + 2] = self.neutral[j + 2] if no_c != 0 else self.pool[c]
                out[row, j + 3] = self.neutral[j + 3] if no_d != 0 else self.pool[d]
            j += 4
        while j < self.width:
            a = self.slots[j]
            no_a = self.absent[a] | self.cold[j]
            missing |= no_a
            out[row, j] = self.neutral[j] if no_a != 0 else self.pool[a]
            j += 1
        self.state[11] = 1 if missing == 0 else 0
        if self.masks > 0:
            missing = self._lost() if missing != 0 else 0
            for j in range(self.masks):
                out[row, self.width + j] = 1.0 if (missing >> j) & 1 == 0 else 0.0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _lost(self) -> cython.longlong:
        """The masks that fall, as bits, and what first_cold says."""
        lost: cython.longlong = 0
        first: cython.Py_ssize_t = -1
        j: cython.Py_ssize_t
        for j in range(self.width):
            if self.absent[self.slots[j]] | self.cold[j] != 0:
                lost |= self.optional[j]
                if first < 0 and self.optional[j] == 0:
                    first = j
        self.state[11] = 2 + first if first >= 0 else 1
        return lost

    @cython.ccall
    @cython.exceptval(-2, check=True)
    def first_cold(self) -> cython.Py_ssize_t:
        """Index of the first column that a decision waits for and that is not there, as of the last observe; -1: there is none."""
        if self.state[11] == 0:
            self._warm_up()
            self._lost()
        return self.state[11] - 2 if self.state[11] > 1 else -1

    @cython.ccall
    def is_there(self, j: cython.Py_ssize_t) -> cython.bint:
        """Has column j a value: is it warm, and does its block state one?"""
        return self.absent[self.slots[j]] == 0 and self.cold[j] & 2 == 0 and (self.cold[j] == 0 or self._has_seen(self.class_of[j]))

    def is_stopped(self, j: int) -> bool:
        """Does column j read a stream that stopped, as of the last observe?"""
        return bool(self.cold[j] & 2 != 0)

    def seen(self) -> tuple[int, int, int, int, int]:
        """Bars, quotes, trades and states of the book since the warm-up began, and whole seconds since its first event."""
        s = self.state
        seconds: cython.longlong = (s[0] - s[5]) // 1_000_000_000 if s[5] > 0 else 0
        return s[1], s[2], s[3], s[4], seconds

    def began(self) -> tuple[int, int, int, int, int]:
        """Engine ns, and when the warm-up's first event, quote, trade and valid book came; 0: not yet."""
        s = self.state
        return s[0], s[5], s[8], s[9], s[10]

    def is_waited_for(self, j: int) -> bool:
        """Does a decision wait for column j (no mask covers it)?"""
        return bool(self.optional[j] == 0)

    @cython.ccall
    def is_warm(self, j: cython.Py_ssize_t) -> cython.bint:
        """Has column j seen what it needs at the start? Warm stays warm."""
        return self.cold[j] & 1 == 0 or self._has_seen(self.class_of[j])

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _has_seen(self, c: cython.Py_ssize_t) -> cython.bint:
        """Has the plan seen all that class c needs?"""
        j: cython.Py_ssize_t = 5 * c
        if self.state[1] < self.needs[j] or self.state[2] < self.needs[j + 1]:
            return False
        if self.state[3] < self.needs[j + 2] or self.state[4] < self.needs[j + 3]:
            return False
        if self.needs[j + 4] > 0:
            # The window fills from the first event of the inputs that the column reads, whichever came last: a history of
            # trades fills no window of quotes.
            since: cython.longlong = self.state[5]
            k: cython.Py_ssize_t
            for k in range(3):
                if self.needs[j + 1 + k] > 0 and self.state[8 + k] > since:
                    since = self.state[8 + k]
            if since == 0 or self.state[0] - since < self.needs[j + 4]:
                return False
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _warm_up(self) -> cython.longlong:
        """Take the classes that have seen enough off the queue."""
        heard: cython.longlong = 1 + self.state[2] + self.state[3] + self.state[4]
        if self.state[6] == 0 or self.state[12] == heard:
            return 0
        i: cython.Py_ssize_t = 0
        c: cython.Py_ssize_t
        k: cython.Py_ssize_t
        while i < self.state[6]:
            c = self.queue[i]
            k = 5 * c
            if self.state[2] < self.needs[k + 1] or self.state[3] < self.needs[k + 2] or self.state[4] < self.needs[k + 3]:
                i += 1
                continue
            if not self._has_seen(c):
                heard = 0  # bars or time alone may do
                i += 1
                continue
            for k in range(self.starts[c], self.starts[c + 1]):
                self.cold[self.members[k]] &= 2
            self.state[6] -= 1
            self.queue[i] = self.queue[self.state[6]]
        self.state[12] = heard if self.state[6] > 0 else 0  # not when the last went: an engine that looks more often ends the same
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _chill(self) -> cython.longlong:
        """No column is warm."""
        k: cython.Py_ssize_t
        for k in range(self.width):
            self.cold[k] = (self.cold[k] & 2) | 1
        for k in range(self.classes):
            self.queue[k] = k
        self.state[6] = self.classes
        self.state[11] = 0
        self.state[12] = 0
        return 0

    @cython.ccall
    def cool(self) -> cython.Py_ssize_t:
        """Begin the warm-up anew: after a long pause what was seen before says little about now. The values themselves stay."""
        i: cython.Py_ssize_t
        for i in range(1, 6):
            self.state[i] = 0
        for i in range(8, 11):
            self.state[i] = 0
        self._chill()
        return 0

    @cython.ccall
    def bar_count(self) -> cython.longlong:
        """Bars closed so far."""
        return self.state[1]

    def run(
        self,
        kind: cython.longlong[::1],
        recv: cython.longlong[::1],
        event: cython.longlong[::1],
        a: cython.longlong[::1],
        b: cython.longlong[::1],
        c: cython.longlong[::1],
        d: cython.longlong[::1],
        offset: cython.longlong[::1],
        x: cython.double[::1],
        y: cython.double[::1],
        levels: bytes,
        min_interval_ns: cython.longlong,
        on_bars: cython.bint,
        with_cold: cython.bint,
        out_ts: cython.longlong[::1],
        out: cython.double[:, ::1],
    ) -> int:
        """Feed events in order through the methods above and observe at decision points; returns rows written.

        Methods are called by the name of the class, which saves the question whether a subclass in Python has its own.
        The columns are those of mia.features.columns.EventColumns; rows stop silently at the length of out_ts.
        """
        i: cython.Py_ssize_t
        rows: cython.Py_ssize_t = 0
        at: cython.Py_ssize_t = -1
        closed: cython.longlong
        start: cython.Py_ssize_t
        middle: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        for i in range(kind.shape[0]):
            if kind[i] == 0:
                closed = PlanCore.on_quote(self, recv[i], event[i], a[i], b[i], c[i], d[i])
            elif kind[i] == 1:
                closed = PlanCore.on_trade(self, recv[i], event[i], a[i], b[i], c[i])
            elif kind[i] == 2:
                closed = PlanCore.on_time(self, recv[i])
            elif kind[i] == 6:
                closed = PlanCore.on_reference(self, recv[i], a[i], x[i], b[i], c[i])
            elif kind[i] == 7:
                closed = PlanCore.on_news(self, recv[i], a[i], x[i], y[i], b[i])
            elif kind[i] == 8:
                closed = PlanCore.on_predicted(self, recv[i], a[i], x[i], y[i], b[i], c[i])
            else:
                start = 16 * offset[i]
                middle = start + 16 * a[i]
                stop = middle + 16 * b[i]
                if kind[i] == 3:
                    self.book.apply(levels[start:middle], levels[middle:stop])
                elif kind[i] == 4:
                    self.book.load(levels[start:middle], levels[middle:stop])
                else:
                    self.book.invalidate()
                closed = PlanCore.on_book(self, recv[i])
            if on_bars:
                if closed == 0:
                    continue
            elif kind[i] != 0 or (self.state[7] > 0 and recv[i] - self.state[7] < min_interval_ns):
                continue
            if kind[i] == 0 and not on_bars and (a[i] <= 0 or b[i] <= a[i] or c[i] <= 0 or d[i] <= 0):
                continue  # one-sided, locked or crossed: the engine does not decide on it
            self.state[7] = recv[i]
            self._emit(recv[i])
            if rows < out_ts.shape[0]:
                self._write(out, rows)
                at = rows
            else:
                self._write(self.row, 0)
                at = -1
            if not with_cold and PlanCore.first_cold(self) >= 0:
                continue
            if rows >= out_ts.shape[0]:
                break
            out_ts[rows] = recv[i]
            rows += 1
        self._keep(out, at)
        return rows

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _keep(self, out: cython.double[:, ::1], at: cython.Py_ssize_t) -> cython.longlong:
        """Leave in the values what the last observation wrote to row at of a matrix; -1: it is there already."""
        j: cython.Py_ssize_t
        if at >= 0:
            for j in range(self.width + self.masks):
                self.row[0, j] = out[at, j]
        return 0

    def run_bars(
        self,
        close_ns: cython.longlong[::1],
        bars: cython.double[:, ::1],
        slow_kind: cython.longlong[::1],
        slow_recv: cython.longlong[::1],
        slow_a: cython.longlong[::1],
        slow_b: cython.longlong[::1],
        slow_c: cython.longlong[::1],
        slow_x: cython.double[::1],
        slow_y: cython.double[::1],
        with_cold: cython.bint,
        out_ts: cython.longlong[::1],
        out: cython.double[:, ::1],
    ) -> int:
        """Feed finished bars in order and observe after each; returns rows written (none for a bar that on_bar refuses).

        Shapes as in mia.features.batch.

        slow_*: references, news and predictions, in the columns and with the kinds of EventColumns, ordered by slow_recv; one
        enters before the first bar that closes after it (a bar goes first at equal times).
        """
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t
        k: cython.Py_ssize_t = 0
        rows: cython.Py_ssize_t = 0
        at: cython.Py_ssize_t = -1
        for i in range(close_ns.shape[0]):
            while k < slow_recv.shape[0] and slow_recv[k] < close_ns[i]:
                if slow_kind[k] == 6:
                    PlanCore.on_reference(self, slow_recv[k], slow_a[k], slow_x[k], slow_b[k], slow_c[k])
                elif slow_kind[k] == 7:
                    PlanCore.on_news(self, slow_recv[k], slow_a[k], slow_x[k], slow_y[k], slow_b[k])
                elif slow_kind[k] == 8:
                    PlanCore.on_predicted(self, slow_recv[k], slow_a[k], slow_x[k], slow_y[k], slow_b[k], slow_c[k])
                k += 1
            for j in range(11):
                self.given[j] = bars[i, j]
            if self._take_given(close_ns[i]) == 0:
                continue
            self._emit(close_ns[i])
            self._write(out, rows)
            at = rows
            if not with_cold and PlanCore.first_cold(self) >= 0:
                continue
            out_ts[rows] = close_ns[i]
            rows += 1
        self._keep(out, at)
        return rows
