"""Whatever is asked of the paper venue in whatever market: money is conserved, nothing fills that must not, replay is exact."""

from __future__ import annotations

import random
import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.effects import CancelOrder, QueryOrder, ReplaceOrder, RequestReconciliation, SubmitOrder
from mia.domain.events import BookDelta, BookSnapshot, Event, OrderFilled, OrderReplaced, Quote, Trade
from mia.domain.instruments import Instrument
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.sim.settings import PaperSettings
from mia.sim.venue import SimVenue

MS = 1_000_000
CASH = Decimal(1_000)
SLIP = 3


def instrument(kind: str) -> Instrument:
    return Instrument(
        venue="sim",
        symbol="X",
        kind=kind,  # type: ignore[arg-type]
        family="crypto",
        quote_currency="USDT",
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.001"),
        maker_fee=Decimal("-0.0001") if kind == "perpetual" else Decimal("0.001"),
        taker_fee=Decimal("0.00057"),
        initial_margin=Decimal("0.05") if kind == "perpetual" else Decimal(1),
    )


def pack(levels: list[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack("<2q", *level) for level in levels)


side = st.sampled_from((1, -1))
near = st.integers(-6, 6)
passive = st.integers(-2, 6)  # ticks behind the mid
lots = st.integers(1, 60)
order = st.tuples(
    st.just("order"), side, lots, st.sampled_from(("market", "limit", "limit", "stop", "take")), passive, st.booleans(), st.booleans(),
    st.sampled_from(("", "", "g", "h")),
)  # fmt: skip
action = st.one_of(
    order,
    order,
    st.tuples(st.just("move"), st.integers(-4, 4), st.integers(1, 3), st.integers(0, 40)),
    st.tuples(st.just("trade"), near, lots, st.sampled_from((1, -1, 0))),
    st.tuples(st.just("trade"), near, lots, st.sampled_from((1, -1, 0))),
    st.tuples(st.just("size"), side, st.integers(0, 4), lots),
    st.tuples(st.just("wait"), st.integers(1, 15)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("replace"), st.integers(0, 9), lots, near),
    st.tuples(st.just("query"), st.integers(0, 9)),
    st.tuples(st.just("reconcile")),
)


OPENING = ("order", 1, 47, "market", 0, False, False, "")


class World:
    """A small market and a venue in it; `run` is a pure function of the actions."""

    def __init__(self, kind: str, has_book: bool) -> None:
        self.definition = instrument(kind)
        self.book = Book(Arena(1 << 14), 16)
        self.has_book = has_book
        self.settings = PaperSettings(cash=CASH, slip_ticks=SLIP, submit_latency_ms=3, report_latency_ms=4)
        self.venue = SimVenue({0: self.definition}, {0: self.book}, self.settings)
        self.now = 10**12
        self.mid = 1_000
        self.low = self.high = self.mid
        self.sent: dict[str, SubmitOrder] = {}
        self.reports: list[Event] = []
        self.move(0, 1, 10)

    def see(self, *prices: int) -> None:
        self.low, self.high = min(self.low, *prices), max(self.high, *prices)

    def market(self, make: Any, *fields: Any) -> None:
        self.drain()
        event = make(0, self.now, self.now, 0, *fields)
        if make is BookSnapshot:
            self.book.load(event.bids, event.asks)
        elif make is BookDelta:
            self.book.apply(event.bids, event.asks)
        if self.venue.active:
            self.venue.on_market(event)

    def drain(self) -> None:
        while (report := self.venue.pop(self.now, len(self.reports))) is not None:
            self.reports.append(report)

    def move(self, by: int, half_spread: int, size: int) -> None:
        self.mid = max(200, self.mid + by)
        bids = [(self.mid - half_spread - i, size + 3 * i) for i in range(5) if size + 3 * i > 0]
        asks = [(self.mid + half_spread + i, size + 2 * i) for i in range(5) if size + 2 * i > 0]
        self.see(bids[0][0], bids[-1][0], asks[0][0], asks[-1][0])
        if self.has_book:
            self.market(BookSnapshot, pack(bids), pack(asks))
        self.market(Quote, bids[0][0], asks[0][0], bids[0][1], asks[0][1])

    def act(self, what: tuple[Any, ...]) -> None:
        name, *args = what
        self.now += 2 * MS
        names = list(self.sent)
        if name == "order":
            self.submit(*args)
        elif name == "move":
            self.move(*args)
        elif name == "trade":
            price = self.mid + args[0]
            self.see(price)
            self.market(Trade, price, args[1], args[2], 1)
        elif name == "size":
            price = self.mid - args[0] * (1 + args[1])
            self.see(price)
            level = pack([(price, args[2])])
            self.market(BookDelta, *((level, b"") if args[0] == 1 else (b"", level)))
        elif name == "wait":
            self.now += args[0] * MS
        elif name == "reconcile":
            self.venue.send((RequestReconciliation("sim"),), self.now)
        elif names:
            target = names[args[0] % len(names)]
            effect: Any = CancelOrder(target, 0)
            if name == "replace":
                price = self.mid + args[2]
                effect = ReplaceOrder(target, 0, args[1], price, price)
            elif name == "query":
                effect = QueryOrder(target, 0)
            self.venue.send((effect,), self.now)
        self.drain()

    def submit(self, side: int, qty: int, kind: str, offset: int, reduce_only: bool, post_only: bool, group: str) -> None:
        price = self.mid - side * offset
        name = f"o{len(self.sent)}"
        effect = SubmitOrder(
            name, 0, side, kind, qty, price if kind == "limit" else 0, price if kind in ("stop", "take") else 0,
            reduce_only or kind in ("stop", "take"), post_only, "entry", 1, group,
        )  # fmt: skip
        self.sent[name] = effect
        self.venue.send((effect,), self.now)

    def run(self, actions: list[tuple[Any, ...]], restore_at: int = -1) -> None:
        for i, what in enumerate(actions):
            if i == restore_at:
                twin = SimVenue({0: self.definition}, {0: self.book}, self.settings)
                twin.restore(self.venue.snapshot())
                self.venue = twin
            self.act(what)
        self.now += 1_000 * MS
        self.drain()


def unique_fills(world: World) -> list[OrderFilled]:
    """Fills in the order of their making, repeats (queries) left out."""
    seen: dict[str, OrderFilled] = {}
    for report in world.reports:
        if isinstance(report, OrderFilled):
            first = seen.setdefault(report.fill_id, report)
            assert (first.price_ticks, first.qty_lots, first.fee_e8) == (report.price_ticks, report.qty_lots, report.fee_e8)
    return list(seen.values())


def long_session(seed: int, n: int) -> list[tuple[Any, ...]]:
    """Many actions at random, livelier than what Hypothesis tends to draw."""
    r = random.Random(seed)
    kinds = ("market", "limit", "limit", "limit", "stop", "take")
    make = (
        lambda: (
            "order", r.choice((1, -1)), r.randint(1, 60), r.choice(kinds), r.randint(-2, 6), r.random() < 0.3, r.random() < 0.7,
            r.choice(("", "g")),
        ),
        lambda: ("move", r.randint(-4, 4), r.randint(1, 3), r.randint(0, 40)),
        lambda: ("trade", r.randint(-6, 6), r.randint(1, 60), r.choice((1, -1, 0))),
        lambda: ("size", r.choice((1, -1)), r.randint(0, 4), r.randint(0, 60)),
        lambda: ("wait", r.randint(1, 15)),
        lambda: ("cancel", r.randint(0, 10_000)),
        lambda: ("replace", r.randint(0, 10_000), r.randint(1, 60), r.randint(-6, 6)),
        lambda: ("query", r.randint(0, 10_000)),
    )  # fmt: skip
    return [r.choices(make, (6, 6, 6, 3, 3, 1, 2, 1))[0]() for _ in range(n)]


@pytest.mark.parametrize("kind", ["perpetual", "spot"])
@pytest.mark.parametrize("has_book", [True, False])
@settings(max_examples=80, deadline=None)
@given(actions=st.lists(action, min_size=12, max_size=50))
def test_money_is_conserved_and_nothing_fills_that_must_not(kind: str, has_book: bool, actions: list[tuple[Any, ...]]) -> None:
    world = World(kind, has_book)
    world.run([OPENING, *actions])

    check(world)


@pytest.mark.parametrize("kind", ["perpetual", "spot"])
@pytest.mark.parametrize("seed", range(12))
def test_long_sessions_keep_the_same_promises(kind: str, seed: int) -> None:
    actions = [OPENING, *long_session(seed, 400)]
    world, restarted = World(kind, seed % 3 != 0), World(kind, seed % 3 != 0)
    world.run(actions)
    restarted.run(actions, restore_at=37 * seed % 400)

    check(world)
    assert restarted.reports == world.reports
    if kind == "perpetual":
        assert {fill.is_maker for fill in unique_fills(world)} == {True, False}  # the session was worth checking


def check(world: World) -> None:
    """Exact money and positions, sizes, prices, reduce-only."""
    kind = world.definition.kind
    venue, unit = world.venue, world.definition.unit_e8
    start = int(CASH) * 10**8

    position = spent = fees = 0
    filled: dict[str, int] = {}
    size = {name: effect.qty_lots for name, effect in world.sent.items()}
    for report in world.reports:
        if isinstance(report, OrderReplaced):
            size[report.client_order_id] = max(size[report.client_order_id], report.qty_lots)
    for fill in unique_fills(world):
        effect = world.sent[fill.client_order_id]
        before, position = position, position + fill.side * fill.qty_lots
        spent += fill.side * fill.qty_lots * fill.price_ticks * unit
        fees += fill.fee_e8
        filled[fill.client_order_id] = filled.get(fill.client_order_id, 0) + fill.qty_lots
        assert fill.qty_lots > 0
        assert world.low - SLIP <= fill.price_ticks <= world.high + SLIP
        if effect.order_type == "limit":
            assert fill.side * (effect.price_ticks - fill.price_ticks) >= 0 or any(
                isinstance(r, OrderReplaced) and r.client_order_id == effect.client_order_id for r in world.reports
            )
        if effect.reduce_only:
            assert abs(position) < abs(before)
            assert position * before >= 0
        if kind == "spot":
            assert position >= 0
    assert venue.position_lots(0) == position
    assert venue.fees_e8 == fees
    open_cost = venue.position_cost_e8(0)
    assert venue.cash_e8 == start - spent - fees + (open_cost if kind == "perpetual" else 0)
    assert (open_cost == 0) == (position == 0)
    if kind == "spot":
        assert venue.cash_e8 >= 0
    assert all(filled[name] <= size[name] for name in filled)
    assert all(0 <= o.filled_lots < o.qty_lots for o in venue.open_orders())


@settings(max_examples=80, deadline=None)
@given(actions=st.lists(action, min_size=12, max_size=50), cut=st.integers(0, 49), has_book=st.booleans())
def test_a_restart_at_any_moment_changes_no_later_report(actions: list[tuple[Any, ...]], cut: int, has_book: bool) -> None:
    straight, again, restarted = World("perpetual", has_book), World("perpetual", has_book), World("perpetual", has_book)

    actions = [OPENING, *actions]
    straight.run(actions)
    again.run(actions)
    restarted.run(actions, restore_at=cut % len(actions))

    assert straight.reports == again.reports
    assert straight.reports == restarted.reports
    assert straight.venue.snapshot() == again.venue.snapshot() == restarted.venue.snapshot()


@settings(max_examples=80, deadline=None)
@given(actions=st.lists(action, min_size=12, max_size=50))
def test_a_group_ends_as_one_and_every_order_ends_once(actions: list[tuple[Any, ...]]) -> None:
    world = World("perpetual", True)
    world.run([OPENING, *actions])

    open_now = {o.client_order_id: o for o in world.venue.open_orders()}
    done: dict[str, int] = {}
    for fill in unique_fills(world):
        done[fill.client_order_id] = done.get(fill.client_order_id, 0) + fill.qty_lots
    for name in open_now:
        assert done.get(name, 0) == open_now[name].filled_lots
    seqs = [(e.ts_recv_ns, e.seq) for e in world.reports]
    assert seqs == sorted(seqs)


@settings(max_examples=60, deadline=None)
@given(first=st.integers(1, 40), take_at=st.integers(1, 30), traded=st.lists(st.integers(1, 30), max_size=6))
def test_a_group_never_sells_more_than_the_position(first: int, take_at: int, traded: list[int]) -> None:
    """Stop and resting take of one position: whatever part of the take fills, both together close it at most once."""
    world = World("perpetual", True)
    world.submit(1, first, "market", 0, False, False, "")
    world.run([("wait", 5)])
    world.submit(-1, first, "limit", take_at + 5, True, True, "g")
    world.submit(-1, first, "stop", -4, True, False, "g")
    world.run([("wait", 10)])
    limit = world.sent["o1"].price_ticks
    for qty in traded:
        world.see(limit)
        world.market(Trade, limit, qty, 1, 1)
    stop = world.sent["o2"].stop_ticks
    world.see(stop)
    world.market(Trade, stop, 1, -1, 1)
    world.run([("wait", 20)])

    assert world.venue.position_lots(0) == 0
    assert world.venue.open_orders() == ()
