"""Parts of a source: in memory, its beginning, its end; for checks that compare them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest import feature_sources
from mia.backtest.feature_merge import joined
from mia.backtest.feature_sources import Piece, Source
from mia.domain.errors import DataError
from mia.features.columns import BOOK_DELTA, BOOK_SNAPSHOT, GAP, QUOTE, TRADE, EventColumns

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


def in_memory(source: Source, size_max: int) -> tuple[Source, EventColumns | None]:
    """The first size_max bars or events of it, kept in memory, and the events themselves when it is a recording."""
    if source.kind == "candles":
        kept = list(head(source, size_max).pieces())
        return msgspec.structs.replace(source, size=sum(p.size for p in kept), pieces=lambda: iter(kept)), None
    parts: list[EventColumns] = []
    n = 0
    for piece in source.pieces():
        parts.append(piece.events)
        n += piece.size
        if n >= size_max:
            break
    if not parts:
        raise DataError(f"{source.name}: no event can be read")
    events = joined(parts)
    events = events.slice(0, min(size_max, events.events))
    return of_events(source, events), events


def of_events(source: Source, events: EventColumns) -> Source:
    """The same source over these events, chunk by chunk."""

    def pieces() -> Iterator[Piece]:
        for i in range(0, events.events, feature_sources.CHUNK):
            yield Piece(events.slice(i, min(i + feature_sources.CHUNK, events.events)))

    return msgspec.structs.replace(source, size=events.events, pieces=pieces)


def head(source: Source, stop: int) -> Source:
    """The source as it would be had it ended after `stop` bars or events: nothing of what came later is in it."""
    make = source.pieces

    def pieces() -> Iterator[Piece]:
        left = stop
        for piece in make():
            if piece.size >= left:
                yield _cut(piece, 0, left)
                return
            yield piece
            left -= piece.size

    return msgspec.structs.replace(source, size=min(stop, source.size) if source.size else stop, pieces=pieces)


def tail(source: Source, start: int, stop: int) -> Source:
    """Only bars or events start .. stop - 1; what entered from outside before them stays, since it was known."""
    make = source.pieces

    def pieces() -> Iterator[Piece]:
        at = 0
        before: list[EventColumns] = []
        for piece in make():
            i, j = max(start - at, 0), min(stop - at, piece.size)
            at += piece.size
            if piece.close_ns is not None and i >= piece.size:
                before.append(piece.events)
                continue
            if i < j:
                cut = _cut(piece, i, j)
                if before:
                    cut = cut._replace(events=joined([*before, cut.events]))
                    before = []
                yield cut
            if at >= stop:
                return

    return msgspec.structs.replace(source, size=stop - start, pieces=pieces)


def _cut(piece: Piece, start: int, stop: int) -> Piece:
    if piece.close_ns is None or piece.bars is None:
        return Piece(piece.events.slice(start, stop))
    if stop <= start:
        return Piece(piece.events.slice(0, 0), piece.close_ns[:0], piece.bars[:0])
    known = int(np.searchsorted(piece.events.ts_recv_ns, piece.close_ns[stop - 1], side="left"))
    return Piece(piece.events.slice(0, known), piece.close_ns[start:stop], piece.bars[start:stop])


def counts(events: EventColumns) -> dict[str, I64]:
    """How many quotes, trades and changes of the book there were up to each event, and its time."""
    book = (events.kind == BOOK_DELTA) | (events.kind == BOOK_SNAPSHOT) | (events.kind == GAP)
    flags = {"quotes": events.kind == QUOTE, "trades": events.kind == TRADE, "books": book}
    return {name: np.cumsum(flag).astype(np.int64) for name, flag in flags.items()} | {"ts": events.ts_recv_ns}
