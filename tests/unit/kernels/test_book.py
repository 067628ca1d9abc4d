"""The order book kernel against a dict of levels, compiled and interpreted."""

from __future__ import annotations

import importlib.util
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mia.kernels.book as built
from mia.kernels.arena import Arena

INT64 = 2**63 - 1


def interpreted() -> ModuleType:
    """The same source, run by Python."""
    name = "interpreted_book"
    if name not in sys.modules:
        source = Path(__file__).resolve().parents[3] / "mia" / "kernels" / "book.py"
        spec = importlib.util.spec_from_file_location(name, source)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


BUILDS = pytest.mark.parametrize("module", [built, interpreted()], ids=["built", "interpreted"])


def new(module: ModuleType, levels_max: int = 64) -> Any:
    return module.Book(Arena(32 * levels_max + 4096), levels_max)


def pack(*levels: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<qq", *level) for level in levels)


def sides(book: Any) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    bids = [(book.bid_ticks_at(i), book.bid_lots_at(i)) for i in range(book.n_bids())]
    asks = [(book.ask_ticks_at(i), book.ask_lots_at(i)) for i in range(book.n_asks())]
    return bids, asks


@BUILDS
def test_empty_book_answers_zero_everywhere(module: ModuleType) -> None:
    book = new(module)

    assert not book.is_valid()
    assert not book.is_crossed()
    assert (book.best_bid_ticks(), book.best_bid_lots(), book.best_ask_ticks(), book.best_ask_lots()) == (0, 0, 0, 0)
    assert (book.bid_ticks_at(-1), book.ask_ticks_at(5), book.lots_at(True, 1), book.depth_lots(True, 9)) == (0, 0, 0, 0)
    assert book.walk(True, 10, 0) == 0
    assert book.walk_cost() == 0


@BUILDS
def test_snapshot_then_deltas_keep_best_levels_at_the_touch(module: ModuleType) -> None:
    book = new(module)

    book.load(pack((100, 5), (99, 6), (97, 1)), pack((101, 4), (103, 2)))
    book.apply(pack((98, 3), (100, 0), (50, 0)), pack((102, 9), (101, 7)))

    assert sides(book) == ([(99, 6), (98, 3), (97, 1)], [(101, 7), (102, 9), (103, 2)])
    assert book.is_valid()
    assert book.count(module.UNKNOWN_REMOVALS) == 1
    assert book.lots_at(True, 98) == 3
    assert book.lots_at(False, 103) == 2
    assert book.depth_lots(False, 2) == 16
    assert book.depth_lots(False, 99) == 18


@BUILDS
def test_crossed_book_says_so(module: ModuleType) -> None:
    book = new(module)

    book.load(pack((100, 5)), pack((101, 4)))
    book.apply(pack((101, 1)), b"")

    assert book.is_crossed()


@BUILDS
def test_invalid_book_ignores_deltas_until_the_next_snapshot(module: ModuleType) -> None:
    book = new(module)
    book.load(pack((100, 5)), pack((101, 4)))

    book.invalidate()
    book.apply(pack((100, 5)), pack((101, 4)))

    assert not book.is_valid()
    assert sides(book) == ([], [])
    assert book.count(module.IGNORED_WHILE_INVALID) == 1
    book.load(pack((7, 1)), b"")
    assert sides(book) == ([(7, 1)], [])


@BUILDS
def test_walk_takes_levels_in_order_up_to_the_limit(module: ModuleType) -> None:
    book = new(module)
    book.load(pack((100, 5), (99, 6), (97, 1)), pack((101, 4), (103, 2)))

    assert (book.walk(True, 7, 0), book.walk_cost()) == (7, 500 + 198)
    assert (book.walk(True, 99, 99), book.walk_cost()) == (11, 500 + 594)
    assert (book.walk(False, 5, 0), book.walk_cost()) == (5, 404 + 103)
    assert (book.walk(False, 5, 102), book.walk_cost()) == (4, 404)
    assert (book.walk(False, 0, 0), book.walk_cost()) == (0, 0)
    assert book.walk(False, -5, 0) == 0


@BUILDS
def test_overflow_drops_the_level_farthest_from_the_touch(module: ModuleType) -> None:
    book = new(module, levels_max=3)
    book.load(pack((100, 1), (99, 2), (98, 3)), pack((101, 1), (102, 2), (103, 3)))

    book.apply(pack((97, 9)), pack((100, 8)))
    book.apply(pack((101, 4)), pack((104, 7)))

    assert sides(book) == ([(101, 4), (100, 1), (99, 2)], [(100, 8), (101, 1), (102, 2)])
    assert book.count(module.FAR_LEVELS_DROPPED) == 4


@BUILDS
def test_snapshot_longer_than_the_book_keeps_its_best_levels(module: ModuleType) -> None:
    book = new(module, levels_max=2)

    book.load(pack((100, 1), (99, 2), (98, 3)), b"")

    assert sides(book) == ([(100, 1), (99, 2)], [])


@BUILDS
def test_hostile_levels_are_ignored_and_sums_saturate(module: ModuleType) -> None:
    book = new(module)

    book.load(pack((0, 1), (-5, 1), (-INT64 - 1, 1), (5, -1), (INT64, INT64), (INT64 - 1, INT64)) + b"rest", b"xyz")

    assert sides(book) == ([(INT64, INT64), (INT64 - 1, INT64)], [])
    assert book.count(module.BAD_LEVELS_IGNORED) == 6
    assert book.depth_lots(True, 2) == INT64
    assert book.walk(True, INT64, 0) == INT64
    assert book.walk_cost() == INT64
    assert book.lots_at(True, -INT64 - 1) == 0


def test_restored_arena_is_the_same_book() -> None:
    arena = Arena(1 << 16)
    book = built.Book(arena, 64)
    book.load(pack((100, 5), (99, 6)), pack((101, 4)))
    kept = arena.snapshot()

    book.apply(pack((100, 0)), pack((102, 1)))
    arena.restore(kept)

    assert sides(book) == ([(100, 5), (99, 6)], [(101, 4)])


class DictBook:
    """The oracle: a dict of levels a side."""

    def __init__(self) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}

    def apply(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, lots in levels:
                if price <= 0 or lots < 0:
                    continue
                if lots == 0:
                    side.pop(price, None)
                else:
                    side[price] = lots

    def sides(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


LEVEL = st.tuples(st.integers(-2, 90), st.sampled_from([-1, 0, 0, 1, 2, 7, 2**40]))
LEVELS = st.lists(LEVEL, max_size=30)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=12))
def test_any_deltas_agree_with_a_dict_of_levels(batches: list[tuple[Any, Any]]) -> None:
    oracle = DictBook()
    books = [new(built, 128), new(interpreted(), 128)]
    for book in books:
        book.load(b"", b"")

    for bids, asks in batches:
        oracle.apply(bids, asks)
        for book in books:
            book.apply(pack(*bids), pack(*asks))

    for book in books:
        assert sides(book) == oracle.sides()
        assert [book.lots_at(True, p) for p in range(-2, 92)] == [oracle.bids.get(p, 0) for p in range(-2, 92)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=8), st.integers(1, 6))
def test_small_books_stay_sorted_and_alike_in_both_builds(batches: list[tuple[Any, Any]], levels_max: int) -> None:
    pair = [new(built, levels_max), new(interpreted(), levels_max)]
    for book, module in zip(pair, (built, interpreted()), strict=True):
        book.load(pack(*batches[0][0]), pack(*batches[0][1]))
        for bids, asks in batches[1:]:
            book.apply(pack(*bids), pack(*asks))
        bids_now, asks_now = sides(book)
        assert bids_now == sorted(dict(bids_now).items(), reverse=True)
        assert asks_now == sorted(dict(asks_now).items())
        assert len(bids_now) <= levels_max
        assert module.LEVELS_MAX == 16_384

    assert sides(pair[0]) == sides(pair[1])
    assert [pair[0].count(i) for i in range(9)] == [pair[1].count(i) for i in range(9)]
