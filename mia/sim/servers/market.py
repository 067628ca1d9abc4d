"""The market behind the demo exchange: SimMarket row by row, mapped to the server's clock, with a past that survives a restart.

The stream of rows depends on the seed alone. A stretch of rows that shares one mapping of market time to server time is a
segment; its record (arena, first row, mapping) is written before its rows go out, so that a killed exchange goes on exactly
where it stood and still knows its trades. The account's orders never change this book (see mia.sim.liquidity).
"""

from __future__ import annotations

import bisect
import struct
from typing import Final

import msgspec
import numpy as np

from mia.domain.errors import DataError
from mia.domain.instruments import Instrument
from mia.features.columns import BOOK_DELTA as DELTA
from mia.features.columns import QUOTE, TRADE
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.market import STEP_ROWS_MAX
from mia.sim.market import SimMarket
from mia.sim.servers.klines import Klines
from mia.sim.servers.state_files import StateDir
from mia.sim.settings import DemoSettings, SimMarketSettings

_PAIR: Final = struct.Struct("<2q")
_LEVELS_MAX: Final = 256
_TRADES_KEPT: Final = 30_000  # up to twice as many
_SEGMENTS_KEPT: Final = 256
_NS: Final = 1_000


class PublicTrade(msgspec.Struct, frozen=True, gc=False):
    """One trade of the market."""

    number: int
    price_ticks: int
    qty_lots: int
    aggressor: int
    time_us: int


class Segment(msgspec.Struct, array_like=True, frozen=True):
    """Rows from one arena state under one mapping of time: server_us = server_us0 + (market_ns - market_ns0) / speed."""

    first_row: int  # of all rows ever
    skip: int  # rows of the arena's chunk that came before first_row
    update_id: int  # book updates before first_row
    market_ns: int
    server_us: int
    speed: float
    arena: bytes


class _Header(msgspec.Struct, array_like=True, frozen=True):
    settings: bytes


class Row(msgspec.Struct, gc=False):
    """What the market did last; one object, overwritten."""

    kind: int = QUOTE
    time_us: int = 0
    a: int = 0
    b: int = 0
    c: int = 0
    d: int = 0


class DemoMarket:
    """The market's rows in order, its book, trades and candles. One thread."""

    def __init__(
        self, settings: SimMarketSettings, instrument: Instrument, demo: DemoSettings, now_us: int, state: StateDir | None = None
    ) -> None:
        """now_us: server clock now; the first row to come is due from then on. DataError when `state` is of another market."""
        self._market = SimMarket(settings, instrument)
        self._state = state
        self._speed = demo.speed
        self.book = Book(Arena(_LEVELS_MAX * 32 + 4096), _LEVELS_MAX)
        self.update_id = 1
        self.trades: list[PublicTrade] = []
        self.klines = Klines()
        self.row = Row()
        self._rows = 0  # consumed so far
        self._at = 0
        self._chunk: list[list[int]] = [[], [], [], [], [], []]
        self._due: list[int] = []
        self.due_us = 0
        self._segments: list[Segment] = []
        self._header = msgspec.msgpack.encode(_Header(msgspec.json.encode((settings, instrument), order="deterministic")))
        records = state.market.read() if state is not None else []
        if state is not None and state.position.get():
            self._resume(records, state.position.get(), now_us)
        else:
            if state is not None:  # or the first start was cut short
                state.market.rewrite([self._header])
            self._begin(demo.history_s, now_us)

    # --- reading ---------------------------------------------------------------------------------------------------
    def touch(self) -> tuple[int, int, int, int]:
        """(bid, ask, bid lots, ask lots) in ticks and lots."""
        book = self.book
        return book.best_bid_ticks(), book.best_ask_ticks(), book.best_bid_lots(), book.best_ask_lots()

    def levels(self, is_bid: bool, n: int) -> list[tuple[int, int]]:
        """The n best levels of a side, best first."""
        book = self.book
        if is_bid:
            return [(book.bid_ticks_at(i), book.bid_lots_at(i)) for i in range(min(n, book.n_bids()))]
        return [(book.ask_ticks_at(i), book.ask_lots_at(i)) for i in range(min(n, book.n_asks()))]

    def trades_between(self, start_us: int | None, end_us: int | None, limit: int) -> list[PublicTrade]:
        """The first `limit` trades from start_us on, or the last ones up to end_us."""
        lo = 0 if start_us is None else bisect.bisect_left(self.trades, start_us, key=_time)
        hi = len(self.trades) if end_us is None else bisect.bisect_right(self.trades, end_us, key=_time)
        return self.trades[lo : min(hi, lo + limit)] if start_us is not None else self.trades[max(lo, hi - limit) : hi]

    def trades_from(self, number: int, limit: int) -> list[PublicTrade]:
        """Trades from an id on."""
        lo = bisect.bisect_left(self.trades, number, key=_number)
        return self.trades[lo : lo + limit]

    def average_ticks(self, minutes: int) -> int:
        """Volume-weighted price of the last minutes; the last price without trades."""
        rows = self.klines.series["1m"].rows[-minutes:]
        lots = sum(k.lots for k in rows)
        return sum(k.value for k in rows) // lots if lots else (rows[-1].close if rows else self.touch()[0])

    # --- going on --------------------------------------------------------------------------------------------------
    def take(self) -> Row:
        """Let the next row happen (it is due at `due_us`) and say what it was."""
        row = self._consume()
        at = self._at
        if at == len(self._due):
            self._fill(row.time_us)
            at = 0
        self.due_us = self._due[at]
        return row

    def pause_until(self, now_us: int) -> None:
        """The next row is due at now_us and all later ones as much later: the time in between did not happen."""
        segment, at = self._segments[-1], self._at
        market_ns = self._chunk[1][at]
        self._open_segment(Segment(self._rows, at, self.update_id, market_ns, now_us, self._speed, segment.arena))
        self._market.arena.restore(segment.arena)
        self._load()
        self._at = at
        self.due_us = self._due[at]

    def keep_position(self) -> None:
        """What was taken so far has happened, whatever becomes of this process."""
        if self._state is not None:
            self._state.position.set(self._rows)

    def _apply(self, row: Row) -> None:
        if row.kind == DELTA:
            self.update_id += 1
            pair = _PAIR.pack(row.b, row.c)
            if row.a > 0:
                self.book.apply(pair, b"")
            else:
                self.book.apply(b"", pair)
        elif row.kind == TRADE:
            self._keep_trade(PublicTrade(row.d, row.a, row.b, row.c, row.time_us))

    def _keep_trade(self, trade: PublicTrade) -> None:
        self.trades.append(trade)
        if len(self.trades) > 2 * _TRADES_KEPT:
            del self.trades[:_TRADES_KEPT]
        self.klines.trade(trade.time_us, trade.number, trade.price_ticks, trade.qty_lots, trade.aggressor)

    # --- chunks ----------------------------------------------------------------------------------------------------
    def _fill(self, last_us: int) -> None:
        """The next chunk under the present mapping; its segment is on disk before any of its rows is out."""
        now = self._segments[-1]
        market_ns = self._market.now_ns
        server_us = now.server_us + _elapsed(market_ns - now.market_ns, now.speed)
        self._open_segment(Segment(self._rows, 0, self.update_id, market_ns, max(server_us, last_us), now.speed, self._arena()))
        self._load()

    def _arena(self) -> bytes:
        return self._market.arena.snapshot()

    def _load(self, until_ns: int = 1 << 62) -> bool:
        """Rows of the chunk that begins at the kernel's present state, due under the last segment's mapping.

        False when it was cut short by until_ns.
        """
        segment = self._segments[-1]
        out, n = self._market.step_rows(until_ns=until_ns)
        self._chunk = [column[:n].tolist() for column in out[:6]]
        since = out[1][:n] - segment.market_ns
        if segment.speed == 1.0:
            due = since // _NS
        else:
            due = np.floor(since / (_NS * segment.speed)).astype(np.int64)
        self._due = (due + segment.server_us).tolist()
        self._at = 0
        if n:
            self.due_us = self._due[0]
        return n + STEP_ROWS_MAX > len(out[0])

    def _open_segment(self, segment: Segment) -> None:
        self._segments.append(segment)
        if self._state is None:
            del self._segments[:-1]
        elif len(self._segments) > 2 * _SEGMENTS_KEPT:
            del self._segments[:-_SEGMENTS_KEPT]
            self._state.market.rewrite([self._header, *map(msgspec.msgpack.encode, self._segments)])
        else:
            self._state.market.append(msgspec.msgpack.encode(segment))

    # --- the first start -------------------------------------------------------------------------------------------
    def _begin(self, history_s: int, now_us: int) -> None:
        """Trade history_s seconds of market time before now at their own pace, then go on at the set speed."""
        now_us = now_us // 1_000_000 * 1_000_000  # so that clock and market agree on where a second begins
        end_ns = history_s * 1_000_000_000
        self._market.start(0)
        self._load_book()
        is_whole = True
        while is_whole:
            self._open_segment(Segment(self._rows, 0, self.update_id, 0, now_us - history_s * 1_000_000, 1.0, self._arena()))
            is_whole = self._load(end_ns)
            for _ in self._due:
                self._consume()
        self.klines.roll(now_us)
        self._open_segment(Segment(self._rows, 0, self.update_id, end_ns, now_us, self._speed, self._arena()))
        self._load()
        self.keep_position()

    def _consume(self) -> Row:
        """`take` without looking for the next chunk."""
        at = self._at
        row = self.row
        kinds, _, a, b, c, d = self._chunk
        row.kind, row.time_us, row.a, row.b, row.c, row.d = kinds[at], self._due[at], a[at], b[at], c[at], d[at]
        self._apply(row)
        self._rows += 1
        self._at = at + 1
        return row

    def _load_book(self) -> None:
        bids, asks = (b"".join(_PAIR.pack(*level) for level in self._market.levels(side)) for side in (False, True))
        self.book.load(bids, asks)

    # --- a later start ---------------------------------------------------------------------------------------------
    def _resume(self, records: list[bytes], position: int, now_us: int) -> None:
        """Rebuild trades and book from the segments, then go on from the stored position, now."""
        if not records or records[0] != self._header:
            raise DataError("the state directory holds a market of other [sim] settings or another instrument: use another --state")
        try:
            segments = _in_order([msgspec.msgpack.decode(r, type=Segment) for r in records[1:]], position)
        except msgspec.MsgspecError as e:
            raise DataError(f"the state directory's market is of another version: use another --state ({e})") from e
        last_us = 0
        for i, segment in enumerate(segments):
            end = segments[i + 1].first_row if i + 1 < len(segments) else position
            is_last = i + 1 == len(segments)
            self._segments = segments[: i + 1]
            last_us = self._replay(segment, end - segment.first_row, is_last) or last_us
        if self._at == len(self._due):
            self._fill(last_us)
        self.pause_until(max(now_us, last_us + 1))
        self.klines.roll(now_us)
        self.keep_position()

    def _replay(self, segment: Segment, n: int, is_last: bool) -> int:
        """Let n rows of a segment happen again; the book is rebuilt for the last one only. Returns the last row's time."""
        self._market.arena.restore(segment.arena)
        self._load_book()
        self._load()
        self._rows, self.update_id = segment.first_row, segment.update_id
        row = self.row
        kinds, _, a, b, c, d = self._chunk
        for at in range(segment.skip + n):
            is_news = at >= segment.skip
            if kinds[at] == TRADE and is_news:
                self._keep_trade(PublicTrade(d[at], a[at], b[at], c[at], self._due[at]))
            elif kinds[at] == DELTA:
                self.update_id += is_news
                if is_last:
                    pair = _PAIR.pack(b[at], c[at])
                    self.book.apply(*((pair, b"") if a[at] > 0 else (b"", pair)))
        self._at = segment.skip + n
        self._rows = segment.first_row + n
        row.time_us = self._due[self._at - 1] if self._at else 0
        return row.time_us


def _in_order(segments: list[Segment], position: int) -> list[Segment]:
    """Those whose rows are out: a segment that was written and did not begin before the end was written again later."""
    out: list[Segment] = []
    for segment in segments:
        while out and out[-1].first_row >= segment.first_row:
            out.pop()
        out.append(segment)
    return [s for s in out if s.first_row <= position]


def _elapsed(market_ns: int, speed: float) -> int:
    """Server microseconds for a stretch of market time."""
    return market_ns // _NS if speed == 1.0 else int(market_ns / (_NS * speed))


def _time(trade: PublicTrade) -> int:
    return trade.time_us


def _number(trade: PublicTrade) -> int:
    return trade.number
