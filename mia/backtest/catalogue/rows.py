"""Events as rows and back: exact integers, the order of arrival kept in (ts_recv_ns, n)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from mia.backtest.readers.frames import polars_module
from mia.domain.events import AnyEvent, BookDelta, BookSnapshot, FeedGap, Quote, Trade

if TYPE_CHECKING:
    import polars as pl

_HEAD: Final = ("ts_recv_ns", "n", "ts_event_ns")  # n: the frame's place among those of one time, and the event's place in it
COLUMNS: Final = {
    "trades": (*_HEAD, "price_ticks", "qty_lots", "aggressor", "venue_trade_id"),
    "quotes": (*_HEAD, "bid_ticks", "ask_ticks", "bid_lots", "ask_lots"),
    "depth": (*_HEAD, "what", "bids", "asks", "expected", "got"),  # levels packed as in BookDelta
}
DELTA, SNAPSHOT, GAP = range(3)
_PIECE: Final = 1 << 13


def kind_of(event: AnyEvent) -> str | None:
    """Where an event is stored; None for one that is not of the market."""
    return _KINDS.get(type(event))


def row_of(event: Any, n: int) -> tuple[Any, ...]:
    """Of a market event, as COLUMNS of its kind say."""
    head = (event.ts_recv_ns, n, event.ts_event_ns)
    match event:
        case Trade():
            return (*head, event.price_ticks, event.qty_lots, event.aggressor, event.venue_trade_id)
        case Quote():
            return (*head, event.bid_ticks, event.ask_ticks, event.bid_lots, event.ask_lots)
        case FeedGap():
            return (*head, GAP, b"", b"", event.expected, event.got)
    return (*head, SNAPSHOT if isinstance(event, BookSnapshot) else DELTA, event.bids, event.asks, 0, 0)


def schema(kind: str) -> dict[str, Any]:
    """Of a kind's files."""
    polars = polars_module()
    other = {"aggressor": polars.Int8, "what": polars.UInt8, "bids": polars.Binary, "asks": polars.Binary}
    return {name: other.get(name, polars.Int64) for name in COLUMNS[kind]}


def events_of(kind: str, frame: pl.DataFrame, instrument: int) -> Iterator[AnyEvent]:
    """The events of rows, in their order, numbered 0."""
    make = _MAKERS[kind]
    for start in range(0, frame.height, _PIECE):
        piece = frame.slice(start, _PIECE)
        yield from make([piece[name].to_list() for name in COLUMNS[kind] if name != "n"], instrument)


def _trades(columns: Sequence[list[Any]], instrument: int) -> Iterator[AnyEvent]:
    recv, at, *rest = columns
    return map(Trade, repeat(0), at, recv, repeat(instrument), *rest)


def _quotes(columns: Sequence[list[Any]], instrument: int) -> Iterator[AnyEvent]:
    recv, at, *rest = columns
    return map(Quote, repeat(0), at, recv, repeat(instrument), *rest)


def _depth(columns: Sequence[list[Any]], instrument: int) -> Iterator[AnyEvent]:
    for recv, at, what, bids, asks, expected, got in zip(*columns, strict=True):
        if what == GAP:
            yield FeedGap(0, at, recv, instrument, expected, got)
        else:
            yield (BookSnapshot if what == SNAPSHOT else BookDelta)(0, at, recv, instrument, bids, asks)


_MAKERS: Final[dict[str, Callable[[Sequence[list[Any]], int], Iterator[AnyEvent]]]] = {
    "trades": _trades, "quotes": _quotes, "depth": _depth,
}  # fmt: skip
_KINDS: Final[dict[type, str]] = {Trade: "trades", Quote: "quotes", BookDelta: "depth", BookSnapshot: "depth", FeedGap: "depth"}
