"""Binance market frames, bytes to integers: one pass over the JSON, compiled like a kernel.

Tolerant where the venue may grow (unknown fields of any value, any key order, white space) and strict where a number is
read: what is not exactly the documented shape is counted and gives nothing. Never a rounded price, never a read past the end.
The scanner relies on one zero byte behind the payload (CPython's bytes have it): a step forward only ever follows a match.
Book synchronisation lives in codec.py. Shapes: Binance spot web socket streams and USD-M futures streams, as of 2026-06.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import cython

from mia.domain.errors import ConfigError
from mia.domain.events import Quote, Trade

# What became of a frame: Wire.kind(), and the index of its counter. (C variables inside, Python names for others below.)
_QUOTE = cython.declare(cython.Py_ssize_t, 1)
_TRADE = cython.declare(cython.Py_ssize_t, 2)
_DIFF = cython.declare(cython.Py_ssize_t, 3)
_SNAPSHOT = cython.declare(cython.Py_ssize_t, 4)
_CORRUPT = cython.declare(cython.Py_ssize_t, 5)  # not JSON, or a field that we read is missing, doubled, or no such number
_OFF_GRID = cython.declare(cython.Py_ssize_t, 6)  # a price between two ticks: most likely the wrong grid in the settings
_UNKNOWN_STREAM = cython.declare(cython.Py_ssize_t, 7)
_UNKNOWN_SYMBOL = cython.declare(cython.Py_ssize_t, 8)
_CONTROL = cython.declare(cython.Py_ssize_t, 9)  # answers to requests
_CROSSED = cython.declare(cython.Py_ssize_t, 10)  # bookTicker with bid >= ask, snapshot that is crossed or not sorted
_TRADE_REPEATED = cython.declare(cython.Py_ssize_t, 11)
_TRADE_OUTLIER = cython.declare(cython.Py_ssize_t, 12)
_TRADE_OFF_BOOK = cython.declare(cython.Py_ssize_t, 13)  # insurance fund and liquidation transfers of USD-M
_TRADE_IDS_MISSING = cython.declare(cython.Py_ssize_t, 14)
_FRAMES = cython.declare(cython.Py_ssize_t, 15)
_SIZES_FLOORED = cython.declare(cython.Py_ssize_t, 16)  # see _units

_LEVELS_MAX = cython.declare(cython.Py_ssize_t, 16384)  # a side in one frame; REST gives at most 5,000
_DEPTH_MAX = cython.declare(cython.Py_ssize_t, 64)  # nesting of skipped values
_OUTLIER_RUN_MAX = cython.declare(cython.longlong, 16)  # that many implausible trades in a row are the new truth
_TRADE_ID_JUMP_MAX = cython.declare(cython.longlong, 10000000)

# Fields of a frame. Keys of one letter are looked up in a table, the longer ones compared.
_E = cython.declare(cython.Py_ssize_t, 1)
_EE = cython.declare(cython.Py_ssize_t, 2)
_TT = cython.declare(cython.Py_ssize_t, 3)
_S = cython.declare(cython.Py_ssize_t, 4)
_T = cython.declare(cython.Py_ssize_t, 5)
_P = cython.declare(cython.Py_ssize_t, 6)
_Q = cython.declare(cython.Py_ssize_t, 7)
_X = cython.declare(cython.Py_ssize_t, 8)
_M = cython.declare(cython.Py_ssize_t, 9)
_U = cython.declare(cython.Py_ssize_t, 10)
_UU = cython.declare(cython.Py_ssize_t, 11)
_B = cython.declare(cython.Py_ssize_t, 12)
_BB = cython.declare(cython.Py_ssize_t, 13)
_A = cython.declare(cython.Py_ssize_t, 14)
_AA = cython.declare(cython.Py_ssize_t, 15)
_PU = cython.declare(cython.Py_ssize_t, 16)
_LAST = cython.declare(cython.Py_ssize_t, 17)
_BIDS = cython.declare(cython.Py_ssize_t, 18)
_ASKS = cython.declare(cython.Py_ssize_t, 19)
_DATA = cython.declare(cython.Py_ssize_t, 20)
_ANSWER = cython.declare(cython.Py_ssize_t, 21)
_LETTERS: Final = b"eETstpqXmuUbBaA"  # of the first fifteen

# What a value is.
_STR = cython.declare(cython.longlong, 1)
_INT = cython.declare(cython.longlong, 2)
_NUM = cython.declare(cython.longlong, 3)
_TRUE = cython.declare(cython.longlong, 4)
_FALSE = cython.declare(cython.longlong, 5)
_NULL = cython.declare(cython.longlong, 6)
_ARRAY = cython.declare(cython.longlong, 7)
_OBJECT = cython.declare(cython.longlong, 8)
_LEVELS = cython.declare(cython.longlong, 9)

_BAD = cython.declare(cython.Py_ssize_t, -1)
_GRID = cython.declare(cython.Py_ssize_t, -2)
_MS_MAX = cython.declare(cython.longlong, 9223372036854)  # milliseconds that fit into int64 nanoseconds
_INT64_MAX = cython.declare(cython.longlong, 9223372036854775807)

QUOTE: Final = _QUOTE
TRADE: Final = _TRADE
DIFF: Final = _DIFF
SNAPSHOT: Final = _SNAPSHOT
CORRUPT: Final = _CORRUPT
OFF_GRID: Final = _OFF_GRID
UNKNOWN_STREAM: Final = _UNKNOWN_STREAM
UNKNOWN_SYMBOL: Final = _UNKNOWN_SYMBOL
CONTROL: Final = _CONTROL
CROSSED: Final = _CROSSED
TRADE_REPEATED: Final = _TRADE_REPEATED
TRADE_OUTLIER: Final = _TRADE_OUTLIER
TRADE_OFF_BOOK: Final = _TRADE_OFF_BOOK
TRADE_IDS_MISSING: Final = _TRADE_IDS_MISSING
FRAMES: Final = _FRAMES
SIZES_FLOORED: Final = _SIZES_FLOORED
KINDS: Final = 17


def grid_of(step: Decimal) -> tuple[int, int]:
    """(mantissa, digits) of a tick or lot size: step = mantissa / 10^digits; ConfigError when it has no exact form."""
    if not (step.is_finite() and step > 0):
        raise ConfigError(f"grid {step}: must be a finite number above 0")
    exponent = step.normalize().as_tuple().exponent
    digits = max(0, -int(exponent))
    mantissa = int(step.scaleb(digits))
    if not (digits <= 17 and mantissa <= 10**17):
        raise ConfigError(f"grid {step}: more than 17 digits")
    return mantissa, digits


@cython.final
@cython.cclass
class Wire:
    """Scanner of one connection's frames; holds the last trade of each instrument, for repeats and outliers."""

    is_usdm: cython.bint
    only: cython.Py_ssize_t  # the instrument of frames that name none (REST snapshots); -1 when there are several
    n: cython.Py_ssize_t
    symbols: list  # type: ignore[type-arg]
    ids: list  # type: ignore[type-arg]
    grids: cython.longlong[::1]  # price mantissa, price digits, lot mantissa, lot digits of each instrument
    slot_of: cython.longlong[::1]
    counts: cython.longlong[::1]
    last: cython.longlong[::1]  # last trade id, last trade price, implausible trades in a row
    # of the frame at hand
    types: cython.longlong[::1]
    at: cython.longlong[::1]
    to: cython.longlong[::1]
    levels: cython.longlong[::1]
    n_bids: cython.Py_ssize_t
    n_asks: cython.Py_ssize_t
    seen: cython.longlong
    value: cython.longlong
    ts_event_ns: cython.longlong
    inst: cython.Py_ssize_t
    frame_kind: cython.Py_ssize_t
    is_wrapped: cython.bint
    has_escape: cython.bint

    def __init__(self, instruments: Sequence[tuple[str, int, Decimal, Decimal]], is_usdm: bool) -> None:
        """instruments: (symbol, id, tick size, lot size) of each one that is subscribed."""
        self.is_usdm = is_usdm
        self.n = len(instruments)
        self.only = 0 if len(instruments) == 1 else -1
        self.symbols = [symbol.encode() for symbol, _, _, _ in instruments]
        self.ids = [instrument for _, instrument, _, _ in instruments]
        self.grids = _longs(4 * len(instruments))
        for i, (_, _, tick, lot) in enumerate(instruments):
            self.grids[4 * i], self.grids[4 * i + 1] = grid_of(tick)
            self.grids[4 * i + 2], self.grids[4 * i + 3] = grid_of(lot)
        self.slot_of = _longs(256)
        for slot, letter in enumerate(_LETTERS, start=1):
            self.slot_of[letter] = slot
        self.counts = _longs(KINDS)
        self.last = _longs(3 * len(instruments))
        for i in range(len(instruments)):
            self.last[3 * i] = -1
        self.types = _longs(32)
        self.at = _longs(32)  # start of the text (strings) or of the array; the number itself for integers
        self.to = _longs(32)
        self.levels = _longs(4 * _LEVELS_MAX)
        self.frame_kind = 0
        self.inst = -1

    @cython.ccall
    def scan(self, payload: bytes, ts_recv_ns: int, seq: int):  # type: ignore[no-untyped-def]
        """The Quote or Trade of a frame, numbered seq; None for all else, `kind()` then says what it was."""
        b: cython.p_uchar
        p: cython.Py_ssize_t
        n: cython.Py_ssize_t = len(payload)
        if cython.compiled:
            b = cython.cast(cython.p_uchar, cython.cast(cython.p_char, payload))
        else:
            b = payload + b"\0"
        self.seen = 0
        self.inst = -1
        self.is_wrapped = False
        self.n_bids = 0
        self.n_asks = 0
        p = self._space(b, 0)
        p = self._object(b, p, 0) if b[p] == 123 else _BAD
        if p >= 0:
            p = self._space(b, p)
        if p != n:
            p = _BAD
        self.frame_kind = self._resolve(b) if p >= 0 else _CORRUPT
        self.counts[_FRAMES] += 1
        self.counts[self.frame_kind] += 1
        if self.frame_kind == _QUOTE:
            return Quote(
                seq, self.ts_event_ns, ts_recv_ns, self.ids[self.inst],
                self.at[_B], self.at[_A], self.at[_BB], self.at[_AA],
            )  # fmt: skip
        if self.frame_kind == _TRADE:
            return Trade(
                seq, self.ts_event_ns, ts_recv_ns, self.ids[self.inst],
                self.at[_P], self.at[_Q], -1 if self.types[_M] == _TRUE else 1, self.at[_T],
            )  # fmt: skip
        return None

    @cython.ccall
    def kind(self) -> cython.Py_ssize_t:
        """What the last frame was."""
        return self.frame_kind

    def count(self, kind: int) -> int:
        """Frames (or missing trade ids) counted under one kind."""
        return int(self.counts[kind])

    def book(self) -> tuple[int, int, int, int, int, bytes, bytes]:
        """Of the last DIFF or SNAPSHOT: index of the instrument, U, u, pu (0 on spot), ts_event_ns, packed bids and asks.

        A snapshot has its lastUpdateId in U and u.
        """
        if self.frame_kind == _SNAPSHOT:
            last = int(self.at[_LAST])
            return self.inst, last, last, 0, self.ts_event_ns, self._pack(0, self.n_bids), self._pack(1, self.n_asks)
        before = int(self.at[_PU]) if self.is_usdm else 0
        return (
            self.inst, int(self.at[_UU]), int(self.at[_U]), before, self.ts_event_ns,
            self._pack(0, self.n_bids), self._pack(1, self.n_asks),
        )  # fmt: skip

    @cython.cfunc
    def _pack(self, side: cython.Py_ssize_t, count: cython.Py_ssize_t) -> bytes:
        packed: bytes
        start: cython.Py_ssize_t = side * 2 * _LEVELS_MAX
        if cython.compiled:
            packed = cython.cast(cython.p_char, cython.address(self.levels[start]))[: 16 * count]
        else:
            packed = bytes(memoryview(self.levels)[start : start + 2 * count])
        return packed

    # --- what the frame means --------------------------------------------------------------------------------
    @cython.cfunc
    def _resolve(self, b: cython.p_uchar) -> cython.Py_ssize_t:
        """Kind of a frame whose fields were found."""
        if self._has(_E):
            if self.types[_E] != _STR:
                return _CORRUPT
            if self._says(b, _E, b"bookTicker"):
                return self._quote(b)
            if self._says(b, _E, b"trade"):
                return self._trade(b)
            if self._says(b, _E, b"depthUpdate"):
                return self._diff(b)
            return _UNKNOWN_STREAM
        if self._has(_LAST):
            # Wrapped it is a partial book (`@depth20` of spot), which says nothing about the levels below.
            return _UNKNOWN_STREAM if self.is_wrapped else self._snapshot(b)
        if self._has(_U) and self._has(_S) and not self.is_usdm:
            return self._quote(b)  # spot's bookTicker names neither its kind nor a time
        return _CONTROL if self._has(_ANSWER) and not self.is_wrapped else _UNKNOWN_STREAM

    @cython.cfunc
    def _quote(self, b: cython.p_uchar) -> cython.Py_ssize_t:
        result: cython.Py_ssize_t = self._head(_TT if self.is_usdm else 0)
        if result != 0:
            return result
        if not self._integer(_U):
            return _CORRUPT
        if not self._price(b, _B) or not self._price(b, _A) or not self._lots(b, _BB) or not self._lots(b, _AA):
            return self._number_error()
        if (self.at[_B] == 0 and self.at[_BB] != 0) or (self.at[_A] == 0 and self.at[_AA] != 0):
            return _CORRUPT
        if self.at[_B] >= self.at[_A] and self.at[_A] > 0:
            return _CROSSED
        return _QUOTE

    @cython.cfunc
    def _trade(self, b: cython.p_uchar) -> cython.Py_ssize_t:
        result: cython.Py_ssize_t = self._head(_TT)
        if result != 0:
            return result
        if not self._integer(_T) or not self._has(_M) or not (self.types[_M] == _TRUE or self.types[_M] == _FALSE):
            return _CORRUPT
        if self._has(_X) and not (self.types[_X] == _STR and self._says(b, _X, b"MARKET")):
            return _TRADE_OFF_BOOK
        if not self._price(b, _P) or not self._lots(b, _Q):
            return self._number_error()
        if self.at[_P] == 0 or self.at[_Q] == 0:
            return _CORRUPT
        return self._judge_trade(3 * self.inst, self.at[_T], self.at[_P])

    @cython.cfunc
    def _judge_trade(self, memory: cython.Py_ssize_t, trade_id: cython.longlong, price: cython.longlong) -> cython.Py_ssize_t:
        """Trade, repeat or implausible (factor 2 in price, ten million in id); a long run of the latter is believed."""
        last_id: cython.longlong = self.last[memory]
        last_price: cython.longlong = self.last[memory + 1]
        jump: cython.longlong
        missing: cython.longlong
        if last_id >= 0:
            jump = trade_id - last_id
            if jump <= 0 and jump >= -_TRADE_ID_JUMP_MAX:
                return _TRADE_REPEATED
            if jump > _TRADE_ID_JUMP_MAX or jump < 0 or price > 2 * last_price or 2 * price < last_price:
                self.last[memory + 2] += 1
                if self.last[memory + 2] <= _OUTLIER_RUN_MAX:
                    return _TRADE_OUTLIER
            elif jump > 1:
                missing = self.counts[_TRADE_IDS_MISSING]
                self.counts[_TRADE_IDS_MISSING] = missing + jump - 1 if missing < _INT64_MAX - jump else _INT64_MAX
        self.last[memory] = trade_id
        self.last[memory + 1] = price
        self.last[memory + 2] = 0
        return _TRADE

    @cython.cfunc
    def _diff(self, b: cython.p_uchar) -> cython.Py_ssize_t:
        result: cython.Py_ssize_t = self._head(_TT if self.is_usdm else _EE)
        if result != 0:
            return result
        if not self._integer(_U) or not self._integer(_UU) or self.at[_UU] > self.at[_U]:
            return _CORRUPT
        if self._has(_BIDS) or self._has(_ASKS) or self._has(_LAST) or (self.is_usdm and not self._integer(_PU)):
            return _CORRUPT
        result = self._side(b, _B)
        if result != 0:
            return result
        result = self._side(b, _A)
        return result if result != 0 else _DIFF

    @cython.cfunc
    def _snapshot(self, b: cython.p_uchar) -> cython.Py_ssize_t:
        result: cython.Py_ssize_t
        if self._has(_A) or self._has(_B) or not self._integer(_LAST):
            return _CORRUPT
        if self._has(_S):
            if self.inst < 0:
                return _UNKNOWN_SYMBOL
        else:
            self.inst = self.only
            if self.inst < 0:
                return _UNKNOWN_SYMBOL
        self.ts_event_ns = 0
        if (self._has(_TT) or self._has(_EE)) and not self._time(_TT if self._has(_TT) else _EE):
            return _CORRUPT
        result = self._side(b, _BIDS)
        if result != 0:
            return result
        result = self._side(b, _ASKS)
        if result != 0:
            return result
        return _SNAPSHOT if self._is_sorted() else _CROSSED

    @cython.cfunc
    def _is_sorted(self) -> cython.bint:
        """Best level first on both sides, and bid below ask."""
        i: cython.Py_ssize_t
        asks: cython.Py_ssize_t = 2 * _LEVELS_MAX
        for i in range(1, self.n_bids):
            if self.levels[2 * i] >= self.levels[2 * i - 2]:
                return False
        for i in range(1, self.n_asks):
            if self.levels[asks + 2 * i] <= self.levels[asks + 2 * i - 2]:
                return False
        return self.n_bids == 0 or self.n_asks == 0 or self.levels[0] < self.levels[asks]

    # --- fields ----------------------------------------------------------------------------------------------
    @cython.inline
    @cython.cfunc
    def _has(self, slot: cython.Py_ssize_t) -> cython.bint:
        return (self.seen >> slot) & 1 != 0

    @cython.inline
    @cython.cfunc
    def _integer(self, slot: cython.Py_ssize_t) -> cython.bint:
        return self._has(slot) and self.types[slot] == _INT

    @cython.cfunc
    def _head(self, time_slot: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Symbol and time, common to all events; 0 or the kind of the fault. time_slot 0: the frame has no time."""
        if not self._has(_S) or self.types[_S] != _STR:
            return _CORRUPT
        if self.inst < 0:
            return _UNKNOWN_SYMBOL
        self.ts_event_ns = 0
        if time_slot != 0 and not self._time(time_slot):
            return _CORRUPT
        return 0

    @cython.cfunc
    def _time(self, slot: cython.Py_ssize_t) -> cython.bint:
        """Milliseconds of a field to ts_event_ns."""
        if not self._integer(slot) or self.at[slot] > _MS_MAX:
            return False
        self.ts_event_ns = self.at[slot] * 1000000
        return True

    @cython.cfunc
    def _says(self, b: cython.p_uchar, slot: cython.Py_ssize_t, word: bytes) -> cython.bint:
        return self._equal(b, self.at[slot], self.to[slot], word)

    @cython.inline
    @cython.cfunc
    def _equal(self, b: cython.p_uchar, start: cython.Py_ssize_t, stop: cython.Py_ssize_t, word: bytes) -> cython.bint:
        i: cython.Py_ssize_t
        if stop - start != len(word):
            return False
        for i in range(stop - start):  # noqa: SIM110 - a C loop
            if b[start + i] != word[i]:
                return False
        return True

    @cython.cfunc
    def _price(self, b: cython.p_uchar, slot: cython.Py_ssize_t) -> cython.bint:
        """Replace the text of a field by its ticks."""
        return self._decimal(b, slot, self.grids[4 * self.inst], self.grids[4 * self.inst + 1], False)

    @cython.cfunc
    def _lots(self, b: cython.p_uchar, slot: cython.Py_ssize_t) -> cython.bint:
        """Replace the text of a field by its lots."""
        return self._decimal(b, slot, self.grids[4 * self.inst + 2], self.grids[4 * self.inst + 3], True)

    @cython.cfunc
    def _decimal(
        self, b: cython.p_uchar, slot: cython.Py_ssize_t, mantissa: cython.longlong, digits: cython.longlong, is_size: cython.bint
    ) -> cython.bint:
        stop: cython.Py_ssize_t
        self.value = _BAD
        if not self._has(slot) or self.types[slot] != _STR:
            return False
        stop = self._units(b, self.at[slot], mantissa, digits, is_size)
        if stop != self.to[slot]:
            self.value = stop
            return False
        self.at[slot] = self.value
        return True

    @cython.cfunc
    def _number_error(self) -> cython.Py_ssize_t:
        return _OFF_GRID if self.value == _GRID else _CORRUPT

    @cython.inline
    @cython.cfunc
    def _units(
        self, b: cython.p_uchar, p: cython.Py_ssize_t, mantissa: cython.longlong, digits: cython.longlong, is_size: cython.bint
    ) -> cython.Py_ssize_t:
        """Exact count of grid steps of an unsigned decimal text into `value`; returns the index behind it.

        _BAD: no digits, a leading zero, more than 18 digits. _GRID: a price between two steps.
        A size between two lots gives its whole lots and is counted: orders older than today's lot size still rest in real
        books (spot BTCUSDT 2024-08-08, 200000.00 x 25.42618900 with lots of 0.00001), and refusing them would break the chain.
        """
        is_off: cython.bint = False
        start: cython.Py_ssize_t = p
        units: cython.longlong = 0
        left: cython.longlong = digits
        whole_max: cython.Py_ssize_t = 18 - digits
        while b[p] >= 48 and b[p] <= 57 and p - start < whole_max:
            units = units * 10 + (b[p] - 48)
            p += 1
        if p == start or (b[p] >= 48 and b[p] <= 57) or (b[start] == 48 and p - start > 1):
            return _BAD
        if b[p] == 46:
            p += 1
            if b[p] < 48 or b[p] > 57:
                return _BAD
            while left > 0 and b[p] >= 48 and b[p] <= 57:
                units = units * 10 + (b[p] - 48)
                left -= 1
                p += 1
            while b[p] >= 48 and b[p] <= 57:
                if b[p] != 48:
                    is_off = True
                p += 1
        while left > 0:
            units *= 10
            left -= 1
        if mantissa != 1:
            if units % mantissa != 0:
                is_off = True
            units = units // mantissa
        if is_off:
            if not is_size:
                return _GRID
            self.counts[_SIZES_FLOORED] += 1
        self.value = units
        return p

    @cython.cfunc
    def _side(self, b: cython.p_uchar, slot: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Levels of one side, read now unless they were read when they were met; 0 or the kind of the fault."""
        p: cython.Py_ssize_t
        if not self._has(slot):
            return _CORRUPT
        if self.types[slot] == _LEVELS:
            return 0
        if self.types[slot] != _ARRAY:
            return _CORRUPT
        p = self._read_levels(b, self.at[slot], slot, self.inst)
        if p == _GRID:
            return _OFF_GRID
        return _CORRUPT if p < 0 else 0

    @cython.cfunc
    def _read_levels(self, b: cython.p_uchar, p: cython.Py_ssize_t, slot: cython.Py_ssize_t, inst: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """[["price","size"], ...] into the side's levels; index behind it, or _BAD or _GRID. Further elements of a level are skipped."""
        is_bid: cython.bint = slot in (_B, _BIDS)
        out: cython.Py_ssize_t = 0 if is_bid else 2 * _LEVELS_MAX
        count: cython.Py_ssize_t = 0
        tick: cython.longlong = self.grids[4 * inst]
        tick_digits: cython.longlong = self.grids[4 * inst + 1]
        lot: cython.longlong = self.grids[4 * inst + 2]
        lot_digits: cython.longlong = self.grids[4 * inst + 3]
        price: cython.longlong
        p = self._space(b, p + 1)
        while b[p] == 91 and count < _LEVELS_MAX:
            p = self._space(b, p + 1)
            if b[p] != 34:
                return _BAD
            p = self._units(b, p + 1, tick, tick_digits, False)
            if p < 0:
                return p
            price = self.value
            if b[p] != 34 or price == 0:
                return _BAD
            p = self._space(b, p + 1)
            if b[p] != 44:
                return _BAD
            p = self._space(b, p + 1)
            if b[p] != 34:
                return _BAD
            p = self._units(b, p + 1, lot, lot_digits, True)
            if p < 0:
                return p
            if b[p] != 34:
                return _BAD
            p = self._space(b, p + 1)
            while b[p] == 44:
                p = self._skip(b, self._space(b, p + 1), 0)
                if p < 0:
                    return _BAD
                p = self._space(b, p)
            if b[p] != 93:
                return _BAD
            self.levels[out + 2 * count] = price
            self.levels[out + 2 * count + 1] = self.value
            count += 1
            p = self._space(b, p + 1)
            if b[p] == 44:
                p = self._space(b, p + 1)
                if b[p] != 91:
                    return _BAD
            elif b[p] != 93:
                return _BAD
        if b[p] != 93:
            return _BAD
        if is_bid:
            self.n_bids = count
        else:
            self.n_asks = count
        return p + 1

    # --- JSON ------------------------------------------------------------------------------------------------
    @cython.inline
    @cython.cfunc
    def _space(self, b: cython.p_uchar, p: cython.Py_ssize_t) -> cython.Py_ssize_t:
        while b[p] == 32 or b[p] == 10 or b[p] == 13 or b[p] == 9:
            p += 1
        return p

    @cython.cfunc
    def _object(self, b: cython.p_uchar, p: cython.Py_ssize_t, level: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Note the fields of the object at p; returns the index behind it or _BAD. level 0: the frame, 1: its `data`."""
        start: cython.Py_ssize_t
        slot: cython.Py_ssize_t
        p = self._space(b, p + 1)
        if b[p] == 125:
            return p + 1
        while True:
            start = p + 1
            self.has_escape = False
            p = self._string(b, p)
            if p < 0 or self.has_escape:  # the venue escapes no key; one that does could hide a second `p`
                return _BAD
            slot = self._slot(b, start, p - 1 - start)
            p = self._space(b, p)
            if b[p] != 58:
                return _BAD
            p = self._space(b, p + 1)
            if slot == _DATA:
                if level == 0 and b[p] == 123:
                    if self.is_wrapped:
                        return _BAD
                    self.is_wrapped = True
                    self.seen = 0
                    self.inst = -1
                    p = self._object(b, p, 1)
                else:
                    p = self._skip(b, p, level)
            elif slot == 0 or (level == 0 and self.is_wrapped):
                p = self._skip(b, p, level)
            elif self._has(slot):
                return _BAD
            else:
                p = self._field(b, p, slot)
            if p < 0:
                return _BAD
            p = self._space(b, p)
            if b[p] == 125:
                return p + 1
            if b[p] != 44:
                return _BAD
            p = self._space(b, p + 1)

    @cython.inline
    @cython.cfunc
    def _slot(self, b: cython.p_uchar, start: cython.Py_ssize_t, length: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Which field a key names; 0 for none of ours."""
        if length == 1:
            return self.slot_of[b[start]]
        if length == 2:
            if b[start] == 112 and b[start + 1] == 117:
                return _PU
            return _ANSWER if self._equal(b, start, start + 2, b"id") else 0
        if length == 4:
            if self._equal(b, start, start + 4, b"data"):
                return _DATA
            if self._equal(b, start, start + 4, b"bids"):
                return _BIDS
            return _ASKS if self._equal(b, start, start + 4, b"asks") else 0
        if length == 12 and self._equal(b, start, start + 12, b"lastUpdateId"):
            return _LAST
        return 0

    @cython.cfunc
    def _field(self, b: cython.p_uchar, p: cython.Py_ssize_t, slot: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Note type and place of one field's value; returns the index behind it or _BAD."""
        start: cython.Py_ssize_t = p
        inst: cython.Py_ssize_t
        self.seen |= cython.cast(cython.longlong, 1) << slot
        if b[p] == 34:
            p = self._string(b, p)
            self.types[slot] = _STR
            self.at[slot] = start + 1
            self.to[slot] = p - 1
            if slot == _S and p >= 0:
                self.inst = self._find(b, start + 1, p - 1)
            return p
        if b[p] >= 48 and b[p] <= 57:
            return self._int_field(b, p, slot)
        if b[p] == 91:
            self.types[slot] = _ARRAY
            self.at[slot] = p
            inst = -1
            if slot in (_B, _A):
                inst = self.inst
            elif slot in (_BIDS, _ASKS):
                inst = self.only
            if inst >= 0:
                p = self._read_levels(b, p, slot, inst)
                if p >= 0:
                    self.types[slot] = _LEVELS
                    return p
            return self._skip(b, start, 0)
        p = self._skip(b, p, 0)
        if b[start] == 116:
            self.types[slot] = _TRUE
        elif b[start] == 102:
            self.types[slot] = _FALSE
        else:
            self.types[slot] = _NULL if b[start] == 110 else (_NUM if b[start] == 45 else _OBJECT)
        return p

    @cython.cfunc
    def _int_field(self, b: cython.p_uchar, p: cython.Py_ssize_t, slot: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """An unsigned integer that fits int64 is _INT; any other number is _NUM, which no field of ours may be."""
        start: cython.Py_ssize_t = p
        number: cython.longlong = 0
        while b[p] >= 48 and b[p] <= 57 and p - start < 18:
            number = number * 10 + (b[p] - 48)
            p += 1
        if b[p] >= 48 and b[p] <= 57 and (number < 922337203685477580 or (number == 922337203685477580 and b[p] <= 55)):
            number = number * 10 + (b[p] - 48)
            p += 1
        if (b[p] >= 48 and b[p] <= 57) or b[p] == 46 or b[p] == 101 or b[p] == 69:
            self.types[slot] = _NUM
            return self._number(b, start)
        if b[start] == 48 and p - start > 1:
            return _BAD
        self.types[slot] = _INT
        self.at[slot] = number
        return p

    @cython.inline
    @cython.cfunc
    def _find(self, b: cython.p_uchar, start: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Index of a symbol, -1 for one that is not ours."""
        i: cython.Py_ssize_t
        for i in range(self.n):
            if self._equal(b, start, stop, self.symbols[i]):
                return i
        return -1

    @cython.inline
    @cython.cfunc
    def _string(self, b: cython.p_uchar, p: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Index behind the string at p, or _BAD. Text is not checked for UTF-8: nothing of it is handed on."""
        i: cython.Py_ssize_t
        if b[p] != 34:
            return _BAD
        p += 1
        while b[p] != 34:
            if b[p] < 32:
                return _BAD
            if b[p] == 92:
                self.has_escape = True
                p += 1
                if b[p] == 117:
                    for i in range(4):  # noqa: B007 - Cython wants its name
                        p += 1
                        if not self._is_hex(b[p]):
                            return _BAD
                elif not self._is_escape(b[p]):
                    return _BAD
            p += 1
        return p + 1

    @cython.cfunc
    def _is_hex(self, c: cython.longlong) -> cython.bint:
        return (c >= 48 and c <= 57) or (c >= 65 and c <= 70) or (c >= 97 and c <= 102)

    @cython.cfunc
    def _is_escape(self, c: cython.longlong) -> cython.bint:
        """One of the characters that may follow a backslash: quote, backslash, slash, b, f, n, r, t."""
        return c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110 or c == 114 or c == 116

    @cython.cfunc
    def _number(self, b: cython.p_uchar, p: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Index behind a number by the JSON grammar, or _BAD (NaN and Infinity are none)."""
        if b[p] == 45:
            p += 1
        if b[p] == 48:
            p += 1
        elif b[p] >= 49 and b[p] <= 57:
            p = self._digits(b, p)
        else:
            return _BAD
        if b[p] == 46:
            if b[p + 1] < 48 or b[p + 1] > 57:
                return _BAD
            p = self._digits(b, p + 1)
        if b[p] == 101 or b[p] == 69:
            p += 1
            if b[p] == 43 or b[p] == 45:
                p += 1
            if b[p] < 48 or b[p] > 57:
                return _BAD
            p = self._digits(b, p)
        return p

    @cython.cfunc
    def _digits(self, b: cython.p_uchar, p: cython.Py_ssize_t) -> cython.Py_ssize_t:
        while b[p] >= 48 and b[p] <= 57:
            p += 1
        return p

    @cython.cfunc
    def _skip(self, b: cython.p_uchar, p: cython.Py_ssize_t, level: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Index behind any JSON value, or _BAD."""
        c: cython.longlong = b[p]
        close: cython.longlong
        if c == 34:
            return self._string(b, p)
        if c == 116:
            return self._word(b, p, b"true")
        if c == 102:
            return self._word(b, p, b"false")
        if c == 110:
            return self._word(b, p, b"null")
        if c != 123 and c != 91:
            return self._number(b, p)
        if level >= _DEPTH_MAX:
            return _BAD
        close = 125 if c == 123 else 93
        p = self._space(b, p + 1)
        if b[p] == close:
            return p + 1
        while True:
            if c == 123:
                p = self._string(b, p)
                if p < 0:
                    return _BAD
                p = self._space(b, p)
                if b[p] != 58:
                    return _BAD
                p = self._space(b, p + 1)
            p = self._skip(b, p, level + 1)
            if p < 0:
                return _BAD
            p = self._space(b, p)
            if b[p] == close:
                return p + 1
            if b[p] != 44:
                return _BAD
            p = self._space(b, p + 1)

    @cython.cfunc
    def _word(self, b: cython.p_uchar, p: cython.Py_ssize_t, word: bytes) -> cython.Py_ssize_t:
        i: cython.Py_ssize_t
        for i in range(len(word)):
            if b[p + i] != word[i]:
                return _BAD
        return p + len(word)


def _longs(n: int) -> Any:
    """n zeroed int64 as a view."""
    return memoryview(bytearray(8 * max(n, 1))).cast("q")
