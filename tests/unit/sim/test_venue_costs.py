"""The paper venue with a cost model: latency, queues, caps, impact, what time costs, and liquidation."""

from __future__ import annotations

import random
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mia.domain.effects import CancelOrder, RequestReconciliation, SubmitOrder
from mia.domain.events import (
    BalanceReported,
    BookDelta,
    BookSnapshot,
    CashFlow,
    Event,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    PositionReported,
    Quote,
    Trade,
)
from mia.domain.instruments import Instrument
from mia.execution.attribution import Moments
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.ports import NEVER_NS
from mia.sim.cost_settings import (
    Costs,
    FeeCosts,
    FundingCosts,
    ImpactCosts,
    LatencyCosts,
    MarginCosts,
    ParticipationCosts,
    QueueCosts,
)
from mia.sim.settings import PaperSettings
from mia.sim.venue import SimVenue

MS = 1_000_000
S = 1_000 * MS
HOUR = 3_600 * S
E8 = 10**8


def instrument(kind: str) -> Instrument:
    return Instrument(
        venue="sim",
        symbol="X",
        kind=kind,  # type: ignore[arg-type]
        family="crypto",
        quote_currency="USDT",
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.001"),
        maker_fee=Decimal("0.001"),
        taker_fee=Decimal("0.001"),
        initial_margin=Decimal("0.1") if kind == "perpetual" else Decimal(1),
    )


def pack(*levels: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<2q", *level) for level in levels)


class Bench:
    """A venue with one book (1000 x 10 bid, 1001 x 10 asked), driven as the daemon drives it."""

    def __init__(self, costs: Costs, kind: str = "perpetual", cash: str = "1000", start_ns: int = 1_000 * S) -> None:
        self.book = Book(Arena(1 << 16), 64)
        self.book.load(pack((1000, 10), (999, 20), (990, 500)), pack((1001, 10), (1002, 20), (1010, 500)))
        self.costs, self.kind, self.cash = costs, kind, cash
        self.venue = self.new()
        self.now = start_ns
        self.seen: list[Any] = []
        self.n = 0

    def new(self) -> SimVenue:
        return SimVenue({0: instrument(self.kind)}, {0: self.book}, PaperSettings(cash=Decimal(self.cash)), self.costs)

    def order(self, side: int, qty: int, kind: str = "market", price: int = 0, stop: int = 0) -> str:
        self.n += 1
        name = f"o{self.n}"
        self.venue.send((SubmitOrder(name, 0, side, kind, qty, price, stop, kind == "stop", False, "entry", 1, ""),), self.now)
        self.settle()
        return name

    def settle(self, ns: int = 20 * MS) -> list[Any]:
        self.now += ns
        events: list[Any] = []
        while (event := self.venue.pop(self.now, len(events))) is not None:
            events.append(event)
        self.seen += events
        return events

    def market(self, make: Any, *fields: Any) -> list[Any]:
        events = self.settle(0)
        event: Event = make(0, self.now, self.now, 0, *fields)
        if isinstance(event, BookSnapshot):
            self.book.load(event.bids, event.asks)
        elif isinstance(event, BookDelta):
            self.book.apply(event.bids, event.asks)
        if self.venue.active:
            self.venue.on_market(event)
        return events + self.settle()

    def trade(self, price: int, qty: int, aggressor: int = 1) -> list[Any]:
        return self.market(Trade, price, qty, aggressor, 1)

    def fills(self) -> list[tuple[int, int]]:
        return [(e.price_ticks, e.qty_lots) for e in self.seen if isinstance(e, OrderFilled)]

    def of(self, kind: type) -> list[Any]:
        return [e for e in self.seen if type(e) is kind]


# --- latency ------------------------------------------------------------------------------------------------------
def test_drawn_latencies_differ_and_never_let_a_report_overtake_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "latency.csv"
    path.write_text("quantile,submit_ms,report_ms\n0,1,1\n1,100,100\n")
    b = Bench(Costs(latency=LatencyCosts(kind="measured", file=str(path))))
    for n in range(60):
        b.venue.send((SubmitOrder(f"x{n}", 0, 1 if n % 2 else -1, "market", 1, 0, 0, False, False, "entry", 1, ""),), b.now + n * 40 * MS)

    b.settle(10 * S)

    told, happened = [e.ts_recv_ns for e in b.seen], [e.ts_event_ns for e in b.seen]
    assert len(b.of(OrderFilled)) == 60
    assert [e.client_order_id for e in b.of(OrderFilled)] == [f"x{n}" for n in range(60)]
    assert (told, happened) == (sorted(told), sorted(happened))
    assert len({t - h for t, h in zip(told, happened, strict=True)}) > 40


def test_a_fixed_latency_takes_the_place_of_the_papers_own() -> None:
    b = Bench(Costs(latency=LatencyCosts(kind="fixed", submit_ms=Decimal(30), report_ms=Decimal("0.5"))))
    b.venue.send((SubmitOrder("x", 0, 1, "market", 1, 0, 0, False, False, "entry", 1, ""),), b.now)
    sent = b.now

    b.settle(1 * S)

    assert {(e.ts_event_ns - sent, e.ts_recv_ns - e.ts_event_ns) for e in b.seen} == {(30 * MS, MS // 2)}


# --- the queue ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("queue", "filled"), [(QueueCosts(), 0), (QueueCosts(kind="power", power=Decimal(1)), 3)])
def test_cancels_before_us_count_by_the_form_of_the_queue(queue: QueueCosts, filled: int) -> None:
    """Ten before us, ten more come behind us, then eight cancel: four of them were before us, says the form x; none, the cautious one."""
    b = Bench(Costs(queue=queue))
    b.order(1, 5, "limit", 1000)
    b.market(BookDelta, pack((1000, 20)), b"")
    b.market(BookDelta, pack((1000, 12)), b"")

    b.trade(1000, 9, -1)

    assert sum(qty for _, qty in b.fills()) == filled


def test_a_trade_that_the_book_shows_afterwards_is_not_taken_for_a_cancel() -> None:
    b = Bench(Costs(queue=QueueCosts(kind="power", power=Decimal(1))))
    b.order(1, 5, "limit", 1000)
    b.market(BookDelta, pack((1000, 20)), b"")
    b.trade(1000, 6, -1)
    b.market(BookDelta, pack((1000, 14)), b"")  # the six that traded

    b.trade(1000, 4, -1)

    assert b.fills() == []
    assert b.trade(1000, 1, -1) != []


# --- volume -------------------------------------------------------------------------------------------------------
CAPPED = Costs(fees=FeeCosts(kind="off"), participation=ParticipationCosts(share_max=Decimal("0.1"), interval_s=60))


def test_a_market_order_gets_its_share_of_the_volume_and_the_rest_expires() -> None:
    b = Bench(CAPPED)
    b.trade(1000, 30)

    b.order(1, 5)
    b.order(1, 5)
    b.settle(61 * S)
    b.order(1, 5)

    assert b.fills() == [(1001, 3), (1001, 3)]  # of the running minute, then of the one before
    assert [e.reason for e in b.of(OrderExpired)] == ["participation", "participation", "participation"]


def test_nothing_fills_where_nothing_trades_and_all_or_nothing_waits_for_enough() -> None:
    silent = Bench(CAPPED)
    whole = Bench(Costs(participation=ParticipationCosts(share_max=Decimal("0.1"), partial_fills=False)))
    silent.order(1, 1)
    whole.trade(1000, 30)
    whole.order(1, 5)
    whole.order(1, 3)

    assert silent.fills() == []
    assert whole.fills() == [(1001, 3)]


def test_a_stop_that_the_cap_holds_back_stays_armed_until_it_is_done() -> None:
    b = Bench(CAPPED)
    b.trade(1000, 100)
    b.order(1, 8)
    b.order(-1, 8, "stop", stop=995)
    b.market(BookSnapshot, pack((994, 50)), pack((996, 50)))
    after_first = b.venue.position_lots(0)
    b.settle(50 * S)
    b.trade(995, 200)
    b.settle(15 * S)
    b.market(BookDelta, pack((993, 1)), b"")

    assert after_first == 6  # ten lots of the minute: eight bought, two sold
    assert b.venue.position_lots(0) == 0


def test_a_resting_order_is_capped_too() -> None:
    b = Bench(CAPPED)
    b.order(1, 50, "limit", 1000)

    b.trade(999, 100, -1)  # through us

    assert b.fills() == [(1000, 10)]


# --- impact -------------------------------------------------------------------------------------------------------
def test_impact_moves_the_price_beyond_the_depth_that_is_walked() -> None:
    plain, moved = Bench(Costs(), cash="100000"), Bench(Costs(impact=ImpactCosts(kind="square_root", eta=Decimal(2))), cash="100000")
    for b in (plain, moved):
        b.trade(980, 50)
        b.trade(1020, 50)
        b.order(1, 25)

    # ln(1020/980) / sqrt(4 ln 2) = 0.024025; x 2 x sqrt(25/100) x 1000.5 ticks = 24.04 ticks beyond the ask of 1001
    assert plain.fills() == [(1001, 10), (1002, 15)]
    assert moved.fills() == [(1026, 10), (1026, 15)]
    fill = moved.of(OrderFilled)[0]
    assert moved.venue.moments(fill.client_order_id, fill.fill_id, 1999) == Moments(1999, 2001, 1001)
    assert moved.venue.moments("nobody", "F1", 5) == Moments(5)


def test_impact_never_passes_a_limit_and_a_buy_that_it_makes_too_dear_is_refused() -> None:
    impact = Costs(impact=ImpactCosts(kind="square_root", eta=Decimal(2)))
    b, poor = Bench(impact, "spot", "100000"), Bench(impact, "spot", "2.52")
    for bench in (b, poor):
        bench.trade(980, 50)
        bench.trade(1020, 50)
    b.order(1, 25, "limit", 1004)
    poor.order(1, 25)

    assert b.fills() == [(1004, 10), (1004, 15)]
    assert poor.fills() == []
    assert poor.venue.cash_e8 == 252_000_000


# --- fees ---------------------------------------------------------------------------------------------------------
def test_a_spot_buy_pays_in_coins_and_the_report_says_both() -> None:
    b = Bench(Costs(fees=FeeCosts(currency="base")), "spot")
    b.order(1, 10)
    b.venue.send((RequestReconciliation("sim"),), b.now)
    b.settle()

    fill = b.of(OrderFilled)[0]
    assert (fill.base_fee_e8, fill.fee_e8) == (1_000, 100_100)  # a hundredth of a lot; at 1001 ticks
    assert b.venue.position_lots(0) == 9  # 9.99 lots are there
    assert b.of(PositionReported)[0].position_lots == 9
    assert b.of(BalanceReported)[0].cash_e8 == 1_000 * E8 - 10 * 1001 * 10_000


# --- time ---------------------------------------------------------------------------------------------------------
FUNDED = Costs(fees=FeeCosts(kind="off"), funding=FundingCosts(kind="fixed", rate=Decimal("0.001")))


def test_funding_comes_due_while_a_position_is_held_and_only_then() -> None:
    b = Bench(FUNDED, start_ns=7 * HOUR)
    before = b.venue.next_due_ns
    b.order(1, 10)
    held = b.venue.next_due_ns
    b.market(BookSnapshot, pack((1099, 10)), pack((1101, 10)))
    b.settle(9 * HOUR)
    twice = b.of(CashFlow)
    b.order(-1, 10)
    flat = b.venue.next_due_ns
    b.settle(24 * HOUR)

    assert (before, held, flat) == (NEVER_NS, 8 * HOUR, NEVER_NS)
    assert [(e.kind, e.amount_e8, e.ts_event_ns) for e in twice] == [("funding", -110_000, 8 * HOUR), ("funding", -110_000, 16 * HOUR)]
    assert twice[0].ts_recv_ns == 8 * HOUR + 5 * MS
    assert b.of(CashFlow) == twice
    assert b.venue.cash_e8 == 1_000 * E8 - 10 * 1001 * 10_000 + 10 * 1099 * 10_000 - 220_000


def test_what_is_charged_at_an_instant_comes_before_the_orders_of_that_instant() -> None:
    b = Bench(FUNDED, start_ns=8 * HOUR - 5 * MS)
    b.venue.send((SubmitOrder("x", 0, 1, "market", 3, 0, 0, False, False, "entry", 1, ""),), b.now)

    b.settle(HOUR)

    assert b.of(CashFlow) == []
    assert b.of(OrderFilled)[0].ts_event_ns == 8 * HOUR


def test_an_open_position_is_watched_and_survives_a_restart_with_its_charges() -> None:
    b = Bench(FUNDED, start_ns=7 * HOUR)
    b.order(-1, 10)
    twin = b.new()
    twin.restore(b.venue.snapshot())

    b.venue = twin
    b.settle(2 * HOUR)

    assert twin.active
    assert not Bench(Costs()).venue.active
    assert [e.amount_e8 for e in b.of(CashFlow)] == [100_050]  # the short one receives, at the mid of 1000.5
    assert twin.snapshot() != b.new().snapshot()


# --- margin -------------------------------------------------------------------------------------------------------
def leveraged(cash: str = "1.1") -> Bench:
    """Ten lots at 1001 ticks: 1.001 in notional a lot of ten, on little cash; maintenance is 5 %, the fee of a liquidation 1 %."""
    margin = MarginCosts(maintenance=Decimal("0.05"), liquidation_fee=Decimal("0.01"))
    b = Bench(Costs(fees=FeeCosts(kind="off"), margin=margin), cash=cash)
    b.order(1, 100)
    return b


def test_a_position_is_liquidated_when_equity_is_below_its_maintenance() -> None:
    b = leveraged()
    b.order(1, 1, "limit", 900)
    held = b.venue.position_lots(0)
    # bought 100 for 10.0750 (10 at 1001, 20 at 1002, 70 at 1010); at a mid of 946 equity is 0.4850, at 942 0.4450; needed 0.4730, 0.4710
    b.market(BookSnapshot, pack((945, 60), (936, 100)), pack((947, 50)))
    still = b.venue.position_lots(0)
    b.market(BookSnapshot, pack((941, 60), (936, 100)), pack((943, 50)))

    assert (held, still, b.venue.position_lots(0)) == (100, 100, 0)
    liquidated = [e for e in b.of(OrderFilled) if e.client_order_id == "liquidation1"]
    assert [(e.side, e.price_ticks, e.qty_lots) for e in liquidated] == [(-1, 941, 60), (-1, 936, 40)]
    assert [(e.kind, e.amount_e8) for e in b.of(CashFlow)] == [("liquidation_fee", -9_390_000)]
    assert [e.reason for e in b.of(OrderCanceled)] == ["liquidation"]
    paid = 10 * 1001 + 20 * 1002 + 70 * 1010
    assert b.venue.cash_e8 == 110_000_000 + (60 * 941 + 40 * 936 - paid) * 10_000 - 9_390_000
    assert b.venue.open_orders() == ()


def test_without_a_maintenance_margin_nothing_is_liquidated_and_equity_may_be_negative() -> None:
    b = Bench(Costs(fees=FeeCosts(kind="off")), cash="1.1")
    b.order(1, 100)

    b.market(BookSnapshot, pack((500, 100)), pack((501, 100)))

    assert b.venue.position_lots(0) == 100
    assert b.venue.equity_e8() < 0


def test_without_a_bid_a_long_position_waits_for_one() -> None:
    b = leveraged()
    b.market(BookSnapshot, b"", pack((500, 100)))
    waiting = b.venue.position_lots(0)

    b.market(BookSnapshot, pack((400, 1_000)), pack((500, 100)))

    assert (waiting, b.venue.position_lots(0)) == (100, 0)


def test_a_quote_liquidates_where_there_is_no_book() -> None:
    b = leveraged()
    b.book.invalidate()

    b.market(Quote, 900, 901, 500, 500)

    assert b.venue.position_lots(0) == 0


def test_with_the_defaults_orders_take_no_account_of_what_is_off() -> None:
    b = Bench(Costs())

    b.order(1, 5)
    name = b.order(1, 3, "limit", 1000)
    b.venue.send((CancelOrder(name, 0),), b.now)
    b.settle(100 * HOUR)

    assert b.of(CashFlow) == []
    assert b.venue.next_due_ns == NEVER_NS
    assert not b.venue.active


# --- restarts -----------------------------------------------------------------------------------------------------
TIERS = """
[[schedules]]
venue = "sim"
source = "a test"
as_of = 2026-01-01
is_confirmed = true
volume_days = 2
tiers = [
    { volume_min = "0", maker = "0.0002", taker = "0.0005" },
    { volume_min = "3", maker = "0.0001", taker = "0.0004" },
    { volume_min = "9", maker = "-0.0001", taker = "0.0003" },
]
"""


def everything(folder: Path) -> Costs:
    (folder / "fees.toml").write_text(TIERS)
    (folder / "latency.csv").write_text("quantile,submit_ms,report_ms\n0,1,1\n0.9,20,30\n1,90,80\n")
    return Costs(
        fees=FeeCosts(kind="table", file=str(folder / "fees.toml")),
        latency=LatencyCosts(kind="measured", file=str(folder / "latency.csv")),
        queue=QueueCosts(kind="log"),
        participation=ParticipationCosts(share_max=Decimal("0.4"), interval_s=3_600),
        impact=ImpactCosts(kind="square_root"),
        funding=FundingCosts(kind="fixed", rate=Decimal("0.0007")),
        margin=MarginCosts(maintenance=Decimal("0.03"), liquidation_fee=Decimal("0.01")),
    )


def session(costs: Costs, seed: int, restart_at: int) -> list[Any]:
    r = random.Random(seed)
    b = Bench(costs, cash="30")
    for step in range(80):
        if step == restart_at:
            twin = b.new()
            twin.restore(b.venue.snapshot())
            b.venue = twin
        b.now += r.choice((10 * MS, 5 * S, HOUR, 5 * HOUR))
        mid = 1_000 + r.randint(-30, 30)
        b.market(BookSnapshot, pack((mid - 1, r.randint(1, 60)), (mid - 2, 90)), pack((mid + 1, r.randint(1, 60)), (mid + 2, 90)))
        b.trade(mid + r.choice((1, -1)), r.randint(1, 400), r.choice((1, -1)))
        kind, side = r.choice(("market", "limit", "limit")), r.choice((1, -1))
        b.order(side, r.randint(1, 40), kind, mid - side * r.randint(0, 2) if kind == "limit" else 0)
    b.settle(HOUR)
    return b.seen


@pytest.mark.parametrize("seed", range(8))
def test_a_restart_changes_no_later_report_with_every_cost_on(seed: int, tmp_path: Path) -> None:
    costs = everything(tmp_path)

    straight, again, restarted = session(costs, seed, -1), session(costs, seed, -1), session(costs, seed, 7 * seed + 5)

    assert straight == again == restarted
    assert {True, False} == {e.is_maker for e in straight if isinstance(e, OrderFilled)}
    assert any(e.kind == "funding" for e in straight if isinstance(e, CashFlow))
    rates = {e.fee_e8 * 10_000 // (e.price_ticks * e.qty_lots * 10_000) for e in straight if isinstance(e, OrderFilled)}
    assert len(rates) > 2  # more than one tier
