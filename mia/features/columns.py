"""A stretch of market events as arrays, so that history runs through one compiled loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mia.domain.events import (
    NO_INSTRUMENT,
    AnyEvent,
    BookDelta,
    BookSnapshot,
    FeedGap,
    NewsScored,
    Predicted,
    Quote,
    Reference,
    Timer,
    Trade,
)
from mia.features.series import NEWS_NUMBER, PREDICTION_NUMBER, REFERENCE_NUMBER
from mia.kernels.tape import Tape

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
QUOTE: Final = 0
TRADE: Final = 1
TIMER: Final = 2
BOOK_DELTA: Final = 3
BOOK_SNAPSHOT: Final = 4
GAP: Final = 5
REFERENCE: Final = 6
NEWS: Final = 7
PREDICTED: Final = 8
_PAIR_BYTES: Final = 16


class EventColumns(NamedTuple):
    """Events of one instrument, and of what enters from outside, in order of arrival; int64[n] each, x and y float64[n].

    a, b, c, d: quote: bid_ticks, ask_ticks, bid_lots, ask_lots; trade: price_ticks, qty_lots, aggressor, venue_trade_id; timer:
    zeros; gap: expected, got, 0, 0; book: count of bid pairs, count of ask pairs, 0, 0; reference, news, prediction: number of its name
    (mia.features.series), known_at_ns, valid_until_ns, 0, with the value or score in x and confidence or impact in y.
    levels: int64[m, 2] of (price_ticks, qty_lots); a book event owns level_count rows from level_offset on, bids first.
    """

    kind: I64
    ts_recv_ns: I64
    ts_event_ns: I64
    a: I64
    b: I64
    c: I64
    d: I64
    level_offset: I64
    level_count: I64
    x: F64
    y: F64
    levels: I64

    @property
    def events(self) -> int:
        """Number of events (the length of the tuple is that of its columns)."""
        return len(self.kind)

    def slice(self, start: int, stop: int) -> EventColumns:
        """Events start .. stop - 1; levels are shared."""
        cut = [column[start:stop] for column in self[:-1]]
        return EventColumns._make([*cut, self.levels])


def load(tape: Tape, events: EventColumns) -> None:
    """Put a stretch of the market on a tape; ValueError when a book event points behind its levels."""
    kind, recv, event, a, b, c, d, offset = (np.require(column, np.int64, ["C", "W"]).data for column in events[:8])
    tape.load(kind, recv, event, a, b, c, d, offset, np.ascontiguousarray(events.levels).tobytes())


def event_at(tape: Tape, i: int, seq: int, instrument: int = 0) -> AnyEvent:
    """Event i of a tape, with its number; ValueError for what no market says."""
    kind, recv, event, a, b, c, d, bids, asks = tape.row(i)
    if kind == BOOK_DELTA:
        return BookDelta(seq, event, recv, instrument, bids, asks)
    if kind == QUOTE:
        return Quote(seq, event, recv, instrument, a, b, c, d)
    if kind == TRADE:
        return Trade(seq, event, recv, instrument, a, b, c, d)
    if kind == BOOK_SNAPSHOT:
        return BookSnapshot(seq, event, recv, instrument, bids, asks)
    if kind == GAP:
        return FeedGap(seq, event, recv, instrument, a, b)
    raise ValueError(f"tape: row {i} is of kind {kind}: no event of a market that history has")


def from_events(events: Iterable[AnyEvent], instrument: int | None = None) -> EventColumns:
    """The market events and Timers among `events` (of one instrument when given) as columns; others are left out."""
    rows: list[tuple[int, ...]] = []
    floats: list[tuple[float, float]] = []
    packed: list[bytes] = []
    pairs = 0
    for e in events:
        if instrument is not None and getattr(e, "instrument", instrument) not in (instrument, NO_INSTRUMENT):
            continue
        x = y = 0.0
        head = (e.ts_recv_ns, e.ts_event_ns)
        if isinstance(e, Quote):
            rows.append((QUOTE, *head, e.bid_ticks, e.ask_ticks, e.bid_lots, e.ask_lots, 0, 0))
        elif isinstance(e, Trade):
            rows.append((TRADE, *head, e.price_ticks, e.qty_lots, e.aggressor, e.venue_trade_id, 0, 0))
        elif isinstance(e, Timer):
            rows.append((TIMER, *head, 0, 0, 0, 0, 0, 0))
        elif isinstance(e, BookDelta | BookSnapshot):
            kind = BOOK_DELTA if isinstance(e, BookDelta) else BOOK_SNAPSHOT
            bids, asks = len(e.bids) // _PAIR_BYTES, len(e.asks) // _PAIR_BYTES
            rows.append((kind, *head, bids, asks, 0, 0, pairs, bids + asks))
            packed += (e.bids, e.asks)
            pairs += bids + asks
        elif isinstance(e, FeedGap):
            rows.append((GAP, *head, e.expected, e.got, 0, 0, 0, 0))
        elif isinstance(e, Reference) and e.series in REFERENCE_NUMBER:
            rows.append((REFERENCE, *head, REFERENCE_NUMBER[e.series], e.known_at_ns, e.valid_until_ns, 0, 0, 0))
            x = e.value
        elif isinstance(e, NewsScored) and e.source in NEWS_NUMBER:
            rows.append((NEWS, *head, NEWS_NUMBER[e.source], e.known_at_ns, e.valid_until_ns, 0, 0, 0))
            x, y = e.score, e.impact
        elif isinstance(e, Predicted) and e.name in PREDICTION_NUMBER:
            rows.append((PREDICTED, *head, PREDICTION_NUMBER[e.name], e.known_at_ns, e.valid_until_ns, 0, 0, 0))
            x, y = e.value, e.confidence
        else:
            continue
        floats.append((x, y))
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 9)
    levels = np.frombuffer(b"".join(packed), dtype="<i8").reshape(pairs, 2)
    pair = np.array(floats, dtype=np.float64).reshape(len(rows), 2)
    whole: list[I64 | F64] = [np.ascontiguousarray(table[:, k]) for k in range(9)]
    whole += [np.ascontiguousarray(pair[:, k]) for k in range(2)]
    return EventColumns._make([*whole, levels])
