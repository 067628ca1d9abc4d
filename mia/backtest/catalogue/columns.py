"""One asset's events out of the catalogue as columns, piece by piece: what the engine's compiled loop takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mia.backtest.catalogue.rows import DELTA, GAP, SNAPSHOT
from mia.features.columns import BOOK_DELTA, BOOK_SNAPSHOT, QUOTE, TRADE, EventColumns
from mia.features.columns import GAP as LOST

if TYPE_CHECKING:
    import polars as pl

I64 = npt.NDArray[np.int64]
_PAIR_BYTES: Final = 16
_KINDS: Final = {DELTA: BOOK_DELTA, SNAPSHOT: BOOK_SNAPSHOT, GAP: LOST}
_VALUES: Final = {
    "trades": ("price_ticks", "qty_lots", "aggressor", "venue_trade_id"), "quotes": ("bid_ticks", "ask_ticks", "bid_lots", "ask_lots"),
}  # fmt: skip


def columns_of(kinds: Sequence[str], frames: Sequence[pl.DataFrame], which: I64, piece: int) -> Iterator[EventColumns]:
    """Rows of the frames, one of each kind, in the order of `which` (the number of the frame that each comes from), `piece` at a time."""
    used = [0] * len(frames)
    for start in range(0, len(which), piece):
        part = which[start : start + piece]
        head = [np.zeros(len(part), dtype=np.int64) for _ in range(9)]  # as the first nine of EventColumns
        levels = np.zeros((0, 2), dtype=np.int64)
        for k, (kind, frame) in enumerate(zip(kinds, frames, strict=True)):
            at = np.flatnonzero(part == k)
            rows = frame.slice(used[k], len(at))
            used[k] += len(at)
            head[1][at], head[2][at] = (rows[name].to_numpy() for name in ("ts_recv_ns", "ts_event_ns"))
            if kind == "depth":
                levels = _depth(rows, head, at)
            else:
                head[0][at] = TRADE if kind == "trades" else QUOTE
                for column, name in zip(head[3:7], _VALUES[kind], strict=True):
                    column[at] = rows[name].to_numpy()
        none = np.zeros(len(part))
        yield EventColumns._make([*head, none, none, levels])


def lost_book(ts_ns: int) -> EventColumns:
    """A FeedGap: the book cannot be trusted from here on."""
    one = [np.array([value], dtype=np.int64) for value in (LOST, ts_ns, 0, 0, 0, 0, 0, 0, 0)]
    return EventColumns._make([*one, np.zeros(1), np.zeros(1), np.zeros((0, 2), dtype=np.int64)])


def _depth(rows: pl.DataFrame, head: list[I64], at: I64) -> I64:
    """Write states of the book into the columns; their levels, int64[m, 2]."""
    what = rows["what"].to_numpy()
    for stored, kind in _KINDS.items():
        head[0][at[what == stored]] = kind
    sizes: list[Any] = [rows[side].bin.size().to_numpy().astype(np.int64) // _PAIR_BYTES for side in ("bids", "asks")]
    is_lost = what == GAP
    head[3][at] = np.where(is_lost, rows["expected"].to_numpy(), sizes[0])
    head[4][at] = np.where(is_lost, rows["got"].to_numpy(), sizes[1])
    count = sizes[0] + sizes[1]
    head[7][at] = np.cumsum(count) - count
    head[8][at] = count
    packed = b"".join(chain.from_iterable(zip(rows["bids"].to_list(), rows["asks"].to_list(), strict=True)))
    return np.frombuffer(packed, dtype="<i8").reshape(-1, 2)
