"""Which columns of a plan have a value: warm-up, streams that stopped, what blocks mark as absent, and the masks that say so."""

from __future__ import annotations

from array import array
from itertools import accumulate

import cython

from mia.kernels.arena import Arena

STREAMS = ("quotes", "trades", "depth")  # what may stop coming, as bits 0, 1, 2 of `reads`
# A stream that stopped is no data: what reads it has no value then. A quiet market changes neither touch nor book, so the book is
# late only while quotes go on.
_QUOTES_STOP_NS = cython.declare(cython.longlong, 60_000_000_000)
_TRADES_STOP_NS = cython.declare(cython.longlong, 300_000_000_000)
_BOOK_LATE_NS = cython.declare(cython.longlong, 10_000_000_000)
NEEDS = ("bars", "quotes", "trades", "books", "seconds")  # what a column may wait for, per column in `needs` (seconds in ns)


@cython.final
@cython.cclass
class Readiness:
    """The columns that are not there, and whether a decision waits for them; the plan writes `state`, which counts what it heard.

    state: 0 engine ns, 1 bars, 2 quotes, 3 trades, 4 books, 5 first event ns, 6 classes still cold, 7 last decision ns,
    8 first quote ns, 9 first trade ns, 10 first valid book ns, 11 what first_cold knows: 0 nothing since the last event,
    1 all is there that a decision waits for, else 2 + the first column that is not,
    12 if all cold classes wait for quotes, trades or books: 1 + how many of these there were, else 0,
    13 last quote ns, 14 last trade ns, 15 last state of the book ns, 16 the STREAMS that stopped, as of the last look.
    Columns that need the same are one class, which becomes warm at once: bit 0 of cold is 1 for each column that is not warm, bit 1
    for each that reads a stream that stopped; queue the numbers of the classes that are not warm. absent: beside the pool, 1 where
    a block cannot state its value.
    """

    def __init__(self, arena: Arena, size: int) -> None:
        """size: of the pool."""
        self.state = arena.longs(17)
        self.absent = arena.longs(size)
        self.width = 0

    def gather(self, arena: Arena, slots: memoryview, needs: memoryview, optional: memoryview, reads: memoryview) -> None:
        """slots: int64[width] into the pool; needs: int64[width * 5] in the order of NEEDS.

        optional: int64[width], 0 for a column that a decision waits for, else the masks that fall to 0.0 while the column is not
        there, as bits, plus bit 62. reads: int64[width], the STREAMS that the column reads, as bits.
        """
        width = len(slots)
        if len(needs) != 5 * width or len(optional) != width or len(reads) != width:
            raise ValueError("plan: slots, needs, optional and reads do not fit together")
        self.slots = slots
        self.optional = optional
        self.reads = reads
        self.width = width
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
    def mark_stopped(self, t_ns: cython.longlong) -> cython.longlong:
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
    def look(self) -> cython.longlong:
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

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def first_cold(self) -> cython.Py_ssize_t:
        """Index of the first column that a decision waits for and that is not there, as of the last look; -1: there is none."""
        if self.state[11] == 0:
            self.warm_up()
            self.look()
        return self.state[11] - 2 if self.state[11] > 1 else -1

    @cython.cfunc
    @cython.exceptval(-1, check=True)
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

    @cython.cfunc
    @cython.exceptval(-1, check=True)
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
    def warm_up(self) -> cython.longlong:
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

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def cool(self) -> cython.longlong:
        """Begin the warm-up anew: after a long pause what was seen before says little about now. The values themselves stay."""
        i: cython.Py_ssize_t
        for i in range(1, 6):
            self.state[i] = 0
        for i in range(8, 11):
            self.state[i] = 0
        self._chill()
        return 0
