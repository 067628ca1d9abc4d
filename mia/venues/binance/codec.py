"""Binance market frames to domain events: which book update may follow which, and what was dropped.

Owns book synchronisation (Binance's local order book rules of 2025-11 for spot and USD-M). Reading bytes is wire.py's work,
keeping levels the book kernel's. A pure function of the frames seen: no clock, no I/O.
Without a REST snapshot a book never starts: quotes and trades flow, `warnings()` says so, and no delta leaves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from mia.domain.errors import ConfigError
from mia.domain.events import AnyEvent, BookDelta, BookSnapshot, FeedGap
from mia.domain.instruments import Instrument, InstrumentId
from mia.venues.binance import wire

Market = Literal["spot", "usdm"]
VENUES: Final[Mapping[Market, str]] = {"spot": "binance_spot", "usdm": "binance_usdm"}

DIFFS_BUFFERED_MAX: Final = 5_000  # while waiting for a snapshot; the oldest goes first
OLD_RUN_MAX: Final = 50  # that many old diffs in a row mean that the venue's ids started anew

_WIRE_COUNTERS: Final = {
    "frames": wire.FRAMES,
    "quotes": wire.QUOTE,
    "trades": wire.TRADE,
    "diffs": wire.DIFF,
    "corrupt": wire.CORRUPT,
    "off_grid": wire.OFF_GRID,
    "unknown_stream": wire.UNKNOWN_STREAM,
    "unknown_symbol": wire.UNKNOWN_SYMBOL,
    "control": wire.CONTROL,
    "crossed": wire.CROSSED,
    "trades_repeated": wire.TRADE_REPEATED,
    "trades_outlier": wire.TRADE_OUTLIER,
    "trades_off_book": wire.TRADE_OFF_BOOK,
    "trade_ids_missing": wire.TRADE_IDS_MISSING,
    "sizes_floored": wire.SIZES_FLOORED,
}

Diff = tuple[int, int, int, int, bytes, bytes]  # U, u, pu, ts_event_ns, bids, asks


class _Sync:
    """Where one instrument's book stands in the venue's sequence."""

    __slots__ = ("buffer", "instrument", "is_first", "is_live", "last_id", "old_run", "symbol")

    def __init__(self, instrument: int, symbol: str) -> None:
        self.instrument = instrument
        self.symbol = symbol
        self.is_live = False  # a snapshot was given out and nothing broke since
        self.is_first = False  # live, and no diff was applied to the snapshot yet
        self.last_id = 0
        self.old_run = 0
        self.buffer: deque[Diff] = deque()


class BinanceCodec:
    """Decodes the frames of one Binance market (`mia.ports.Codec`)."""

    def __init__(self, instruments: Mapping[str, tuple[InstrumentId, Instrument]], market: Market) -> None:
        """instruments: by the venue's symbol; a REST snapshot names none and counts only when there is exactly one."""
        if market not in VENUES:
            raise ConfigError(f"Binance market {market!r}: use 'spot' or 'usdm'")
        if not instruments:
            venue = VENUES[market]
            raise ConfigError(f"Binance {market}: no instrument; add one under [[instruments]] with venue = '{venue}'")
        self.market: Final[Market] = market
        self._is_usdm = market == "usdm"
        rows = [(symbol, int(number), item.tick_size, item.lot_size) for symbol, (number, item) in instruments.items()]
        self._wire = wire.Wire(rows, self._is_usdm)
        self._scan = self._wire.scan
        self._syncs = [_Sync(number, symbol) for symbol, number, _, _ in rows]
        self._gaps = 0
        self._dropped_old = 0
        self._overflowed = 0
        self._snapshots = 0
        self._snapshots_refused = 0
        self._book_events = 0

    def decode(self, payload: bytes, ts_recv_ns: int, seq: int) -> Sequence[AnyEvent]:
        """Events numbered seq, seq + 1, ...; none for a frame that was dropped and counted, or waits for a snapshot."""
        event = self._scan(payload, ts_recv_ns, seq)
        if event is not None:
            return (event,)
        kind = self._wire.kind()
        if kind == wire.DIFF:
            index, first, last, before, ts_event_ns, bids, asks = self._wire.book()
            return self._on_diff(self._syncs[index], (first, last, before, ts_event_ns, bids, asks), ts_recv_ns, seq)
        if kind == wire.SNAPSHOT:
            index, last, _, _, ts_event_ns, bids, asks = self._wire.book()
            sync = self._syncs[index]
            return self._on_snapshot(sync, last, BookSnapshot(seq, ts_event_ns, ts_recv_ns, sync.instrument, bids, asks))
        return ()

    def counters(self) -> dict[str, int]:
        """What came and what was dropped, since the start."""
        counts = {name: self._wire.count(kind) for name, kind in _WIRE_COUNTERS.items()}
        counts["snapshots"] = self._snapshots
        counts["snapshots_refused"] = self._snapshots_refused
        counts["gaps"] = self._gaps
        counts["dropped_old"] = self._dropped_old
        counts["buffered"] = sum(len(sync.buffer) for sync in self._syncs)
        counts["buffer_overflow"] = self._overflowed
        counts["events"] = counts["quotes"] + counts["trades"] + self._book_events
        return counts

    def warnings(self) -> list[str]:
        """One line for each thing that a human should know about what was decoded, with what to do."""
        lines = []
        venue = VENUES[self.market]
        off_grid, floored = self._wire.count(wire.OFF_GRID), self._wire.count(wire.SIZES_FLOORED)
        for sync in self._syncs:
            if not sync.is_live and sync.buffer and self._gaps:
                corrupt = self._wire.count(wire.CORRUPT)
                lines.append(
                    f"{venue} {sync.symbol}: the book was lost at a gap ({corrupt} frames did not decode) and no later snapshot fits; "
                    f"{len(sync.buffer)} book updates wait, openings that need depth are refused"
                )
            elif not sync.is_live and sync.buffer:
                lines.append(
                    f"{venue} {sync.symbol}: no depth snapshot fits, {len(sync.buffer)} book updates wait and the book is "
                    "invalid; put the recording that holds the snapshot first"
                )
        if off_grid:
            lines.append(f"{venue}: {off_grid} frames with prices off the tick grid were dropped; check tick_size under [[instruments]]")
        if floored > max(100, self._wire.count(wire.FRAMES) // 10):
            lines.append(f"{venue}: {floored} sizes were cut to whole lots; check lot_size under [[instruments]]")
        return lines

    def is_book_live(self, symbol: str) -> bool:
        """A snapshot was given out for the symbol and no gap came since."""
        return any(sync.is_live for sync in self._syncs if sync.symbol == symbol)

    # --- the venue's local order book rules ----------------------------------------------------------------
    def _on_diff(self, sync: _Sync, diff: Diff, ts_recv_ns: int, seq: int) -> Sequence[AnyEvent]:
        """The delta, or the gap it shows; nothing for one that is old or waits for a snapshot."""
        if not sync.is_live:
            self._keep(sync, diff)
            return ()
        first, last, before, ts_event_ns, bids, asks = diff
        if self._is_old(sync, last):
            self._dropped_old += 1
            sync.old_run += 1
            if sync.old_run <= OLD_RUN_MAX:
                return ()
            return self._on_gap(sync, diff, ts_recv_ns, seq)
        if not self._continues(sync, first, last, before):
            return self._on_gap(sync, diff, ts_recv_ns, seq)
        sync.last_id = last
        sync.is_first = False
        sync.old_run = 0
        self._book_events += 1
        return (BookDelta(seq, ts_event_ns, ts_recv_ns, sync.instrument, bids, asks),)

    def _is_old(self, sync: _Sync, last: int) -> bool:
        """Nothing in the diff is news. USD-M applies a first diff that ends at the snapshot's id itself."""
        if self._is_usdm and sync.is_first:
            return last < sync.last_id
        return last <= sync.last_id

    def _continues(self, sync: _Sync, first: int, last: int, before: int) -> bool:
        """The diff may be applied next. Spot chains by U = u + 1, USD-M by pu = u (its U is not u + 1)."""
        if not self._is_usdm:
            return first <= sync.last_id + 1
        if before == sync.last_id:
            return True
        return sync.is_first and first <= sync.last_id <= last

    def _on_gap(self, sync: _Sync, diff: Diff, ts_recv_ns: int, seq: int) -> Sequence[AnyEvent]:
        """The chain broke: say so once, then wait for a snapshot."""
        expected = sync.last_id if self._is_usdm else sync.last_id + 1
        got = diff[2] if self._is_usdm else diff[0]
        sync.is_live = False
        sync.old_run = 0
        sync.buffer.clear()
        self._keep(sync, diff)
        self._gaps += 1
        self._book_events += 1
        return (FeedGap(seq, diff[3], ts_recv_ns, sync.instrument, expected, got),)

    def _keep(self, sync: _Sync, diff: Diff) -> None:
        if len(sync.buffer) >= DIFFS_BUFFERED_MAX:
            sync.buffer.popleft()
            self._overflowed += 1
        sync.buffer.append(diff)

    def _on_snapshot(self, sync: _Sync, last_id: int, snapshot: BookSnapshot) -> Sequence[AnyEvent]:
        """The snapshot and the buffered diffs that follow it; nothing when it is too old to be of use."""
        if sync.is_live and last_id < sync.last_id:
            self._snapshots_refused += 1
            return ()
        waiting = list(sync.buffer)
        trial = _Sync(sync.instrument, sync.symbol)
        trial.last_id, trial.is_first = last_id, True
        kept = [diff for diff in waiting if not self._is_old(trial, diff[1])]
        if kept and not self._continues(trial, kept[0][0], kept[0][1], kept[0][2]):
            self._snapshots_refused += 1  # it ends before the first diff we hold: the next one will do
            return ()
        self._dropped_old += len(waiting) - len(kept)
        self._snapshots += 1
        self._book_events += 1
        sync.buffer.clear()
        sync.is_live, sync.is_first, sync.last_id, sync.old_run = True, True, last_id, 0
        events: list[AnyEvent] = [snapshot]
        for diff in kept:
            events += self._on_diff(sync, diff, snapshot.ts_recv_ns, snapshot.seq + len(events))
        return events
