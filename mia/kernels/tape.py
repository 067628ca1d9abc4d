"""A stretch of one market's events, fed to a plan and its book until somebody has to look: the loop of `Engine.run`."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.plan_core import PlanCore
else:
    from mia.kernels.plan_core import PlanCore


@cython.final
@cython.cclass
class Tape:
    """Events in the columns of mia.features.columns.EventColumns, and what the last `run` learned of the market.

    quotes, trades: how many the last run took; bid .. quote_ns and price, trade_ns: what the last of them said, valid where there was
    one. mid2: the doubled mid after the last quote, 0 where nobody can trade on it; mark2: the last doubled mid of the run that was
    one, 0: none. now_ns: time of the last event. closed: the run ended with an event that closed so many bars; decides: with one
    that the caller waited for.
    """

    def __init__(self) -> None:
        none = Arena(4096).longs(1)[:0]
        self.kind = self.recv = self.event = self.a = self.b = self.c = self.d = self.offset = none
        self.levels = b""
        self.length = 0
        self.quotes = 0
        self.trades = 0
        self.bid = 0
        self.ask = 0
        self.bid_lots = 0
        self.ask_lots = 0
        self.quote_ns = 0
        self.price = 0
        self.trade_ns = 0
        self.mid2 = 0
        self.mark2 = 0
        self.now_ns = 0
        self.closed = 0
        self.decides = False

    def load(
        self,
        kind: cython.longlong[::1],
        recv: cython.longlong[::1],
        event: cython.longlong[::1],
        a: cython.longlong[::1],
        b: cython.longlong[::1],
        c: cython.longlong[::1],
        d: cython.longlong[::1],
        offset: cython.longlong[::1],
        levels: bytes,
    ) -> None:
        """Another stretch; ValueError when its columns differ in length or a book event points behind its levels."""
        n: cython.Py_ssize_t = kind.shape[0]
        size: cython.longlong = len(levels)
        i: cython.Py_ssize_t
        if not (n == recv.shape[0] == event.shape[0] == a.shape[0] == b.shape[0] == c.shape[0] == d.shape[0] == offset.shape[0]):
            raise ValueError("tape: its columns differ in length")
        for i in range(n):
            if kind[i] != 3 and kind[i] != 4:
                continue
            is_within: cython.bint = 0 <= a[i] <= size and 0 <= b[i] <= size and 0 <= offset[i] <= size
            if not is_within or 16 * (offset[i] + a[i] + b[i]) > size:
                raise ValueError(f"tape: row {i} points behind its levels")
        self.kind = kind
        self.recv = recv
        self.event = event
        self.a = a
        self.b = b
        self.c = c
        self.d = d
        self.offset = offset
        self.levels = levels
        self.length = n

    def recv_ns(self, i: cython.Py_ssize_t) -> int:
        """When event i was received; IndexError when there is none."""
        if not 0 <= i < self.length:
            raise IndexError(f"tape: no event {i} of {self.length}")
        return self.recv[i]

    def row(self, i: cython.Py_ssize_t) -> tuple[int, int, int, int, int, int, int, bytes, bytes]:
        """(kind, ts_recv_ns, ts_event_ns, a, b, c, d, bids, asks) of event i, levels packed as in a book event; IndexError."""
        if not 0 <= i < self.length:
            raise IndexError(f"tape: no event {i} of {self.length}")
        bids = b""
        asks = b""
        if self.kind[i] == 3 or self.kind[i] == 4:
            start: cython.Py_ssize_t = 16 * self.offset[i]
            middle: cython.Py_ssize_t = start + 16 * self.a[i]
            bids = self.levels[start:middle]
            asks = self.levels[middle : middle + 16 * self.b[i]]
        return self.kind[i], self.recv[i], self.event[i], self.a[i], self.b[i], self.c[i], self.d[i], bids, asks

    def run(
        self,
        plan: PlanCore,
        start: cython.Py_ssize_t,
        now_ns: cython.longlong,
        until_ns: cython.longlong,
        quotes_ns: cython.longlong,
        trades_ns: cython.longlong,
    ) -> int:
        """Take events from `start` on into the plan and its book; returns the first that was not taken.

        That is one at until_ns or later, one before the time of the last (now_ns for the first), one that is neither quote, trade nor
        book, or the one after an event that closed a bar, a quote with a mid at quotes_ns or later, or a trade at trades_ns or later.
        """
        i: cython.Py_ssize_t = start
        kind: cython.longlong
        ts: cython.longlong
        first: cython.Py_ssize_t
        middle: cython.Py_ssize_t
        closed: cython.longlong = 0
        decides: cython.bint = False
        self.quotes = 0
        self.trades = 0
        self.mark2 = 0
        while i < self.length:
            kind = self.kind[i]
            ts = self.recv[i]
            if ts >= until_ns or ts < now_ns:
                break
            if kind == 0:
                self.quotes += 1
                self.bid = self.a[i]
                self.ask = self.b[i]
                self.bid_lots = self.c[i]
                self.ask_lots = self.d[i]
                self.quote_ns = ts
                self.mid2 = 0
                if self.a[i] > 0 and self.a[i] < self.b[i] and self.c[i] > 0 and self.d[i] > 0:
                    self.mid2 = self.a[i] + self.b[i]
                    self.mark2 = self.mid2
                    decides = ts >= quotes_ns
                closed = PlanCore.on_quote(plan, ts, self.event[i], self.a[i], self.b[i], self.c[i], self.d[i])
            elif kind == 1:
                self.trades += 1
                self.price = self.a[i]
                self.trade_ns = ts
                decides = ts >= trades_ns
                closed = PlanCore.on_trade(plan, ts, self.event[i], self.a[i], self.b[i], self.c[i])
            elif kind == 3 or kind == 4:
                first = 16 * self.offset[i]
                middle = first + 16 * self.a[i]
                if kind == 3:
                    plan.book.apply(self.levels[first:middle], self.levels[middle : middle + 16 * self.b[i]])
                else:
                    plan.book.load(self.levels[first:middle], self.levels[middle : middle + 16 * self.b[i]])
                closed = PlanCore.on_book(plan, ts)
            else:
                break
            now_ns = ts
            i += 1
            if closed > 0 or decides:
                break
        self.now_ns = now_ns
        self.closed = closed
        self.decides = decides
        return i
