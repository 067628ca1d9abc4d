"""The streaming engine of a feature plan: market events in, bars and blocks stepped, columns gathered on demand.

Who hears an event is in `listeners`, which columns have a value in `readiness`, how a row is written in `row`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.account_block import AccountBlock
    from cython.cimports.mia.kernels.bars import BarBuilder
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.book import Book
    from cython.cimports.mia.kernels.history import BarHistory, bars_pushed, last_bar
    from cython.cimports.mia.kernels.listeners import Listeners
    from cython.cimports.mia.kernels.num import clip
    from cython.cimports.mia.kernels.readiness import Readiness
    from cython.cimports.mia.kernels.row import Row
else:
    from mia.kernels.account_block import AccountBlock
    from mia.kernels.bars import BarBuilder
    from mia.kernels.block import Block
    from mia.kernels.book import Book
    from mia.kernels.history import BarHistory, bars_pushed, last_bar
    from mia.kernels.listeners import Listeners
    from mia.kernels.num import clip
    from mia.kernels.readiness import Readiness
    from mia.kernels.row import Row

QUOTE, TRADE, TIMER, BOOK_DELTA, BOOK_SNAPSHOT, GAP, REFERENCE, NEWS, PREDICTED = range(9)  # kinds of EventColumns


@cython.cclass
class PlanCore:
    """Bars, blocks and columns of one instrument; `mia.features.plan` builds it and names the columns.

    state: that of Readiness. market: 0 mid in ticks. given: a bar from outside, until it is known to be one.
    """

    def __init__(self, arena: Arena, bars: BarBuilder, hist: BarHistory, pool: memoryview[float], book: Book) -> None:
        self.bars = bars
        self.hist = hist
        self.book = book
        self.ready = Readiness(arena, len(pool))
        self.state = self.ready.state
        self.row = Row(self.ready, pool)
        self.listeners = Listeners()
        self.market = arena.doubles(1)
        self.bar = bars.closed
        self.given = arena.doubles(11)
        self.account = None

    def connect(self, block: Block, hears: Sequence[str]) -> None:
        """Add one block; hears: some of mia.kernels.listeners.CALLS."""
        block.absent = self.ready.absent
        self.listeners.connect(block, hears)
        if isinstance(block, AccountBlock):
            self.account = block

    def gather(
        self, values: memoryview[float], arena: Arena, slots: memoryview, needs: memoryview, neutral: memoryview, optional: memoryview,
        reads: memoryview,
    ) -> None:  # fmt: skip
        """What the columns are: values, slots and neutral as in Row, needs, optional and reads as in Readiness."""
        self.row.gather(values, slots, neutral)
        self.ready.gather(arena, slots, needs, optional, reads)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _bar_closed(self, close_ns: cython.longlong) -> cython.longlong:
        """Push the closed bar through the blocks."""
        self.state[1] = self.hist.push(self.bar, close_ns)
        self.listeners.bar()
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
        self.listeners.quote(self.state[0], bid, ask, bid_size, ask_size)
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
        self.listeners.trade(self.state[0], price, qty, side)
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
        self.listeners.book_changed(self.state[0])
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
        if bars_pushed(self.hist) > 0 and ts_close_ns <= self.hist.t[last_bar(self.hist)]:
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
        self.listeners.reference(self.state[0], series, value, known_ns, until_ns)
        return closed

    @cython.ccall
    def on_news(
        self, ts_recv_ns: cython.longlong, source: cython.longlong, score: cython.double, impact: cython.double, known_ns: cython.longlong
    ) -> cython.longlong:
        """A scored piece of news, clipped to its ranges; not finite: moves time only. Returns the number of bars closed."""
        closed: cython.longlong = self._advance(ts_recv_ns)
        if score - score != 0.0 or impact - impact != 0.0:
            return closed
        self.listeners.news(self.state[0], source, clip(score, -1.0, 1.0), clip(impact, 0.0, 1.0), known_ns)
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
        self.listeners.predicted(self.state[0], name, value, clip(confidence, 0.0, 1.0), known_ns, until_ns)
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
        self.row.write_own()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _emit(self, ts_recv_ns: cython.longlong) -> cython.longlong:
        """Let the blocks write what changes between bars, and see which columns are warm."""
        t_ns: cython.longlong = ts_recv_ns
        if t_ns < self.state[0]:
            t_ns = self.state[0]
        mid: cython.double = self.market[0]
        self.listeners.emit(t_ns, mid)
        self.ready.warm_up()
        self.ready.mark_stopped(t_ns)
        return 0

    @cython.ccall
    @cython.exceptval(-2, check=True)
    def first_cold(self) -> cython.Py_ssize_t:
        """Index of the first column that a decision waits for and that is not there, as of the last observe; -1: there is none."""
        return self.ready.first_cold()

    @cython.ccall
    def is_there(self, j: cython.Py_ssize_t) -> cython.bint:
        """Has column j a value: is it warm, and does its block state one?"""
        return self.ready.is_there(j)

    @cython.ccall
    def is_warm(self, j: cython.Py_ssize_t) -> cython.bint:
        """Has column j seen what it needs at the start? Warm stays warm."""
        return self.ready.is_warm(j)

    def is_stopped(self, j: int) -> bool:
        """Does column j read a stream that stopped, as of the last observe?"""
        return bool(self.ready.is_stopped(j))

    def is_waited_for(self, j: int) -> bool:
        """Does a decision wait for column j (no mask covers it)?"""
        return bool(self.ready.is_waited_for(j))

    def seen(self) -> tuple[int, int, int, int, int]:
        """Bars, quotes, trades and states of the book since the warm-up began, and whole seconds since its first event."""
        return self.ready.seen()

    def began(self) -> tuple[int, int, int, int, int]:
        """Engine ns, and when the warm-up's first event, quote, trade and valid book came; 0: not yet."""
        return self.ready.began()

    @cython.ccall
    def cool(self) -> cython.Py_ssize_t:
        """Begin the warm-up anew: after a long pause what was seen before says little about now.

        The values stay, but what is a belief about now begins again: the regime's probabilities.
        """
        self.listeners.cool()
        self.ready.cool()
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
                self.row.write(out, rows)
                at = rows
            else:
                self.row.write_own()
                at = -1
            if not with_cold and self.ready.first_cold() >= 0:
                continue
            if rows >= out_ts.shape[0]:
                break
            out_ts[rows] = recv[i]
            rows += 1
        self.row.keep(out, at)
        return rows

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
            self.row.write(out, rows)
            at = rows
            if not with_cold and self.ready.first_cold() >= 0:
                continue
            out_ts[rows] = close_ns[i]
            rows += 1
        self.row.keep(out, at)
        return rows
