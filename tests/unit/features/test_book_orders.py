"""An outside check: CME's order-by-order messages of one ES session, kept in a plain map of orders, against the book of price levels.

The counts and the last quote of the recording are those that nautilus_trader's own test states.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book

SEC = 1_000_000_000
TICK = 250_000_000  # a quarter of a point in units of 1e-9
LAST_IN_EVENT, SNAPSHOT = 128, 32
ES = Instrument(
    venue="sim", symbol="ESH4", kind="future", family="index", quote_currency="USD", tick_size=Decimal("0.25"), lot_size=Decimal(1),
    maker_fee=Decimal(0), taker_fee=Decimal(0), multiplier=Decimal(50),
)  # fmt: skip


class Message(NamedTuple):
    t: int
    action: str
    side: str
    ticks: int
    lots: int
    flags: int
    order: int


class Orders:
    """Resting orders by number, and what they add up to: levels[side][ticks] = lots, and how much orders added and took away."""

    def __init__(self) -> None:
        self.by_number: dict[int, tuple[int, int, int]] = {}  # side, ticks, lots
        self.levels: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        self.touched: set[tuple[int, int]] = set()
        self.moves: list[tuple[int, int, int]] = []  # side, ticks, lots added (below 0: removed) by one order

    def take(self, m: Message) -> None:
        side, ticks, lots = self.by_number.pop(m.order, (0, 0, 0))
        new = (int(m.side == "A"), m.ticks, m.lots)
        if m.action == "C":
            new = (side, ticks, lots - m.lots)
        if new[2] > 0:
            self.by_number[m.order] = new
        if new[:2] == (side, ticks):
            moves = [(side, ticks, new[2] - lots)]
        else:
            moves = [(side, ticks, -lots), new]
        for s, p, change in moves:
            if change:
                self.levels[s][p] += change
                if self.levels[s][p] == 0:
                    del self.levels[s][p]
                self.touched.add((s, p))
                self.moves.append((s, p, change))

    def best(self, side: int, n: int) -> list[tuple[int, int]]:
        prices = sorted(self.levels[side], reverse=side == 0)[:n]
        return [(p, self.levels[side][p]) for p in prices]


def pack(levels: list[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack("<qq", *level) for level in levels)


@pytest.fixture(scope="module")
def messages(market_data: Path) -> list[Message]:
    parquet = pytest.importorskip("pyarrow.parquet")
    names = ["ts_recv", "action", "side", "price", "size", "flags", "order_id"]
    columns = parquet.read_table(market_data / "es_esh4_mbo_20231224-25.parquet", columns=names).to_pydict()
    rows = zip(*(columns[name] for name in names), strict=True)
    return [Message(t, action, side, price // TICK, size, flags, order) for t, action, side, price, size, flags, order in rows]


class Replay:
    """Feeds the messages to a plan as events of price levels, with the orders beside it."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        arena = Arena(4_000_000)
        self.book = Book(arena)
        self.plan = build_plan(columns, ES, BarSpec.parse("time:1m"), arena, self.book)
        self.orders = Orders()
        self.best: tuple[Any, ...] = ()

    def run(self, messages: list[Message]) -> Iterator[tuple[int, list[Message]]]:
        """Yields the time and the messages of each event, after it was applied to the orders and before the plan hears of the book."""
        is_loaded = False
        event: list[Message] = []
        for m in messages:
            if m.flags & SNAPSHOT:
                self.orders.take(m)
                continue
            if not is_loaded:
                is_loaded = True
                self.orders.touched.clear()
                self.orders.moves.clear()
                self.book.load(pack(self.orders.best(0, 10_000)), pack(self.orders.best(1, 10_000)))
                self.plan.on_book(m.t)
            event.append(m)
            if m.action == "T":
                self.plan.on_trade(m.t, m.t, m.ticks, m.lots, {"B": 1, "A": -1}.get(m.side, 0))
            elif m.action != "F":
                self.orders.take(m)
            if not m.flags & LAST_IN_EVENT:
                continue
            yield m.t, event
            changed: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
            for side, ticks in sorted(self.orders.touched):
                changed[side].append((ticks, self.orders.levels[side][ticks]))
            self.book.apply(pack(changed[0]), pack(changed[1]))
            self.plan.on_book(m.t)
            best = (self.book.best_bid_ticks(), self.book.best_ask_ticks(), self.book.best_bid_lots(), self.book.best_ask_lots())
            if best != self.best:
                self.plan.on_quote(m.t, m.t, *best)
                self.best = best
            self.orders.touched.clear()
            self.orders.moves.clear()
            event.clear()


@pytest.mark.data
def test_orders_added_up_to_levels_give_the_known_book(messages: list[Message], depth_oracle: Callable[..., dict[str, float]]) -> None:
    names = tuple(depth_oracle([(1, 1)], [(2, 1)], 1.0))
    replay = Replay(names)

    for _ in replay.run(messages):
        pass
    replay.plan.observe(messages[-1].t)

    book, orders = replay.book, replay.orders
    assert (book.n_bids(), book.n_asks()) == (922, 565) == tuple(len(side) for side in orders.levels)
    assert (book.best_bid_ticks() / 4, book.best_ask_ticks() / 4) == (4810.00, 4810.25)
    for side, read in enumerate((book.bid_ticks_at, book.ask_ticks_at)):
        lots = (book.bid_lots_at, book.ask_lots_at)[side]
        assert [(read(k), lots(k)) for k in range(600)] == (orders.best(side, 600) + [(0, 0)] * 600)[:600]
    expected = depth_oracle(orders.best(0, 50), orders.best(1, 50), 10_000 / 12.5)
    assert dict(zip(names, replay.plan.values, strict=True)) == {k: pytest.approx(v, rel=1e-7, abs=1e-9) for k, v in expected.items()}
