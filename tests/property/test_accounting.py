"""Money against a straightforward re-computation in Decimal from fills and cash flows alone, over random sequences, to the last 1e-8."""

from __future__ import annotations

import random
import struct
from decimal import ROUND_FLOOR, Decimal, localcontext
from typing import Any

import pytest

from mia.domain.effects import RecordTrade, SubmitOrder
from mia.domain.events import BookSnapshot, CashFlow, OrderFilled, Quote, Trade
from mia.domain.instruments import Instrument
from mia.domain.sizing import Terms
from mia.execution.attribution import Attribution, Moments, Parts
from mia.execution.portfolio import Portfolio
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.sim.account import Rates, apply_fill, pay_in_base
from mia.sim.cost_settings import (
    BorrowCosts,
    CommissionCosts,
    Costs,
    FeeCosts,
    FundingCosts,
    ImpactCosts,
    MarginCosts,
    ParticipationCosts,
    RollCosts,
)
from mia.sim.settings import PaperSettings
from mia.sim.state import VenuePosition
from mia.sim.venue import SimVenue

E8 = Decimal(10) ** 8
CASH = Decimal(100_000)
DAY_NS = 86_400 * 10**9


def instrument(kind: str) -> Instrument:
    tick, lot, multiplier = {"spot": ("0.01", "0.00001", 1), "perpetual": ("0.1", "0.001", 1), "future": ("0.25", "1", 50)}[kind]
    return Instrument(
        venue="sim",
        symbol="X",
        kind=kind,  # type: ignore[arg-type]
        family="crypto",
        quote_currency="USDT",
        tick_size=Decimal(tick),
        lot_size=Decimal(lot),
        multiplier=Decimal(multiplier),
        maker_fee=Decimal("-0.0001") if kind == "perpetual" else Decimal("0.001"),
        taker_fee=Decimal("0.00057"),
        initial_margin=Decimal("0.05") if kind != "spot" else Decimal(1),
    )


class Ledger:
    """The account as a bookkeeper would keep it: coins, cash, and what each round trip brought. Decimal, prices and sizes in real units."""

    def __init__(self, definition: Instrument) -> None:
        self.d = definition
        self.cash = CASH  # on derivatives: as if every fill were paid in full, so that coins x price is always the rest of equity
        self.coins = Decimal(0)
        self.trip = Decimal(0)
        self.trips: list[Decimal] = []
        self.flows_without_trip = Decimal(0)

    @property
    def lots(self) -> int:
        """What can be traded of the coins: the rest of a broken lot can not."""
        return int((self.coins / self.d.lot_size).to_integral_value(ROUND_FLOOR))

    def pay(self, money: Decimal) -> None:
        self.cash += money
        self.trip += money

    def fill(self, fill: OrderFilled) -> None:
        lots, price, before = fill.side * fill.qty_lots, fill.price_ticks * self.d.tick_size * self.d.multiplier, self.lots
        fee = Decimal(0) if fill.base_fee_e8 else fill.fee_e8 / E8
        closing = min(abs(lots), abs(before)) if lots * before < 0 else 0
        ending_fee = (fee * closing / abs(lots) * E8).to_integral_value(ROUND_FLOOR) / E8  # the fee of a flip, by its lots
        steps = ((fill.side * closing, ending_fee, Decimal(0)), (lots - fill.side * closing, fee - ending_fee, fill.base_fee_e8 / E8))
        for part, fee_part, coins in steps:
            if part or coins:
                self.pay(-part * self.d.lot_size * price - fee_part)
                self.coins += part * self.d.lot_size
                self.end_if_flat()
                self.coins -= coins
                if coins:
                    self.end_if_flat()

    def end_if_flat(self) -> None:
        if self.lots == 0:
            self.trips.append(self.trip)
            self.trip = Decimal(0)

    def flow(self, amount_e8: int) -> None:
        self.cash += amount_e8 / E8
        if self.lots:
            self.trip += amount_e8 / E8
        else:
            self.flows_without_trip += amount_e8 / E8

    def equity(self, mid2: int) -> Decimal:
        return self.cash + self.lots * self.d.lot_size * mid2 * self.d.tick_size * self.d.multiplier / 2


class Books:
    """Everything of ours that keeps this account, fed alike."""

    def __init__(self, definition: Instrument) -> None:
        self.terms = Terms.of(0, definition)
        self.rates = Rates(0, definition)
        self.portfolio = Portfolio(instance="t", currency="USDT", cash_e8=int(CASH * E8))
        self.portfolio.position(self.terms)
        self.position = VenuePosition()
        self.venue_cash_e8 = int(CASH * E8)
        self.attribution = Attribution([self.terms])
        self.records: list[RecordTrade] = []
        self.costs_e8 = 0

    def fill(self, fill: OrderFilled, moments: Moments) -> None:
        self.records += [r for r in self.portfolio.apply_fill(self.terms, fill, 1) if r.is_closed]
        paid_e8 = 0 if fill.base_fee_e8 else fill.fee_e8
        self.venue_cash_e8 += apply_fill(self.position, self.rates, fill.side, fill.price_ticks, fill.qty_lots) - paid_e8
        if fill.base_fee_e8:
            pay_in_base(self.position, self.rates, fill.base_fee_e8)
        self.costs_e8 += self.attribution.fill(fill, moments).total_e8

    def flow(self, flow: CashFlow) -> None:
        assert self.portfolio.apply_flow(flow)
        self.attribution.flow(flow)
        self.venue_cash_e8 += flow.amount_e8


def check(books: Books, ledger: Ledger, mid2: int) -> None:
    """Equity, cash, positions, round trips and the attribution, all against the ledger."""
    portfolio, position = books.portfolio, books.portfolio.positions[0]
    with localcontext(prec=60):
        equity = ledger.equity(mid2)
        assert portfolio.equity_e8([mid2]) == (equity * E8).to_integral_value(ROUND_FLOOR)
        assert position.lots == books.position.lots == ledger.lots
        assert portfolio.cash_e8 == books.venue_cash_e8
        assert position.cost_e8 == books.position.cost_e8
        own_cash = ledger.cash * E8 + (position.cost_e8 if position.is_derivative else 0)
        assert portfolio.cash_e8 == own_cash
        parts = books.attribution.parts([mid2])
        assert parts.net_e8 == portfolio.equity_e8([mid2]) - int(CASH * E8)
        trips = books.attribution.take_closed()
        assert [r.profit_e8 for r in books.records] == [t.parts.net_e8 for t in trips] == [trip * E8 for trip in ledger.trips]
        assert parts.fees_e8 + parts.spread_e8 + parts.slippage_e8 + parts.impact_e8 == books.costs_e8
        open_e8 = position.trade.realized_e8 - position.trade.fees_e8 + position.trade.flows_e8 if position.trade is not None else 0
        assert sum(ledger.trips) * E8 + open_e8 + ledger.flows_without_trip * E8 == ((ledger.cash - CASH) * E8 + position.cost_e8)


def random_fill(r: random.Random, kind: str, held: int) -> OrderFilled | None:
    """Any size and either side; a flip where the account may be short, never more than is held on spot."""
    side, lots, price = r.choice((1, -1)), r.randint(1, 60), r.randint(90_000, 110_000)
    if kind == "spot" and side < 0:
        lots = min(lots, held)
    if not lots:
        return None
    base = 0
    if kind == "spot" and side > 0 and r.random() < 0.5:
        base = r.choice((r.randint(1, 999), r.randint(1, lots * 1_000)))
    return OrderFilled(0, 0, 0, "o", "f", 0, side, price, lots, r.randint(-50, 10 ** r.randint(1, 9)), r.random() < 0.4, base)


@pytest.mark.parametrize("kind", ["spot", "perpetual", "future"])
def test_ten_thousand_sequences_of_fills_and_flows_are_booked_to_the_last_e8(kind: str) -> None:
    definition = instrument(kind)
    flips = closed = 0
    for seed in range(3_400):
        r = random.Random(seed)
        ledger, books = Ledger(definition), Books(definition)
        mid2 = 200_001
        for _ in range(r.randint(3, 14)):
            if r.random() < 0.3:
                flow = CashFlow(0, 0, 0, "", 0, r.choice(("funding", "borrow", "roll", "commission", "gift")), r.randint(-(10**9), 10**9))
                books.flow(flow)
                ledger.flow(flow.amount_e8)
                continue
            fill = random_fill(r, kind, ledger.lots)
            if fill is not None:
                flips += ledger.lots * (ledger.lots + fill.side * fill.qty_lots) < 0
                mid2 = 2 * fill.price_ticks + r.randint(-9, 9)
                known = Moments(mid2 + r.randint(-99, 99), mid2, fill.price_ticks - fill.side * r.randint(0, 3))
                books.fill(fill, r.choice((known, Moments(), Moments(mid2), Moments(0, mid2))))
                ledger.fill(fill)
        check(books, ledger, mid2)
        closed += len(ledger.trips)
    assert closed > 2_000
    assert (flips > 2_000) == (kind != "spot")


def pack(levels: list[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack("<2q", *level) for level in levels)


EVERY_COST = {
    "spot": Costs(fees=FeeCosts(currency="base"), impact=ImpactCosts(kind="square_root")),
    "perpetual": Costs(
        funding=FundingCosts(kind="fixed", rate=Decimal("0.00037")),
        borrow=BorrowCosts(kind="annual", annual_rate=Decimal("0.07"), instruments=("perpetual",)),
        margin=MarginCosts(maintenance=Decimal("0.03"), liquidation_fee=Decimal("0.0125")),
        impact=ImpactCosts(kind="square_root"),
    ),
    "future": Costs(
        commission=CommissionCosts(per_contract=Decimal("2.2501")),
        roll=RollCosts(kind="quarterly", half_spread_ticks=Decimal("1.5")),
        participation=ParticipationCosts(share_max=Decimal("0.3"), interval_s=3600),
    ),
}
CASH_AT_VENUE = {"spot": 100_000, "perpetual": 120, "future": 10_000_000}


class Session:
    """Random orders at the paper venue with every cost on, days apart, so that funding, borrow and rolls come due between them."""

    def __init__(self, kind: str, book: Book) -> None:
        self.kind, self.book = kind, book
        self.definition = instrument(kind)
        paper = PaperSettings(cash=Decimal(CASH_AT_VENUE[kind]))
        self.venue = SimVenue({0: self.definition}, {0: book}, paper, EVERY_COST[kind])
        self.now = 1_773_100_000 * 10**9  # 2026-03-09, three days before a roll
        self.mid = 100_000
        self.reports: list[Any] = []
        self.moments: dict[str, Moments] = {}

    def drain(self) -> None:
        while (report := self.venue.pop(self.now, 0)) is not None:
            self.reports.append(report)
            if isinstance(report, OrderFilled):
                self.moments[report.fill_id] = self.venue.moments(report.client_order_id, report.fill_id, 2 * self.mid + 1)

    def market(self, make: Any, *fields: Any) -> None:
        self.drain()
        event = make(0, self.now, self.now, 0, *fields)
        if make is BookSnapshot:
            self.book.load(event.bids, event.asks)
        self.venue.on_market(event)

    def run(self, r: random.Random) -> None:
        for n in range(12):
            self.now += r.choice((10**8, 10**10, 4 * 3_600 * 10**9, DAY_NS))
            self.mid = max(50_000, self.mid + r.choice((0, 1, -1)) * r.randint(1, 3_000))
            levels = [(self.mid + i, r.randint(1, 40)) for i in range(1, 4)]
            self.market(BookSnapshot, pack([(2 * self.mid - p, q) for p, q in levels]), pack(levels))
            self.market(Quote, self.mid - 1, self.mid + 1, levels[0][1], levels[0][1])
            self.market(Trade, self.mid + r.choice((1, -1)), r.randint(1, 200), r.choice((1, -1)), n)
            kind = r.choice(("market", "market", "limit"))
            side = r.choice((1, -1))
            price = self.mid - side * r.randint(-2, 3) if kind == "limit" else 0
            order = SubmitOrder(f"o{n}", 0, side, kind, r.randint(1, 90), price, 0, False, False, "entry", 1, "")
            self.venue.send((order,), self.now)
        self.now += DAY_NS
        self.drain()


@pytest.mark.parametrize("kind", ["spot", "perpetual", "future"])
def test_the_venue_with_every_cost_on_keeps_the_money_that_its_own_reports_say(kind: str) -> None:
    book = Book(Arena(1 << 14), 16)
    seen: dict[str, int] = {}
    for seed in range(700):
        session = Session(kind, book)
        session.run(random.Random(seed))
        ledger, books = Ledger(session.definition), Books(session.definition)
        for report in session.reports:
            if isinstance(report, OrderFilled):
                books.fill(report, session.moments[report.fill_id])
                ledger.fill(report)
                seen["base"] = seen.get("base", 0) + (report.base_fee_e8 > 0)
            elif isinstance(report, CashFlow):
                books.flow(report)
                ledger.flow(report.amount_e8)
                seen[report.kind] = seen.get(report.kind, 0) + 1
        check(books, ledger, 2 * session.mid)
        assert session.venue.cash_e8 - CASH_AT_VENUE[kind] * 10**8 == books.portfolio.cash_e8 - int(CASH * E8)
        assert session.venue.position_lots(0) == ledger.lots
        assert session.venue.position_cost_e8(0) == books.portfolio.positions[0].cost_e8

    wanted = {"spot": ("base",), "perpetual": ("funding", "borrow", "liquidation_fee"), "future": ("roll",)}[kind]
    assert all(seen[name] > 20 for name in wanted), seen


def test_a_repeated_flow_is_booked_once_and_one_of_another_kind_is_another() -> None:
    books = Books(instrument("perpetual"))
    flow = CashFlow(0, 0, 0, "17", 0, "funding", -5)

    applied = [books.portfolio.apply_flow(f) for f in (flow, flow, CashFlow(9, 9, 9, "17", 0, "borrow", -3))]

    assert applied == [True, False, True]
    assert books.portfolio.cash_e8 == int(CASH * E8) - 8
    assert books.portfolio.positions[0].flows_e8 == -8


def test_the_parts_of_an_attribution_are_what_the_prices_say() -> None:
    """Bought at 1004 with the decision's mid at 1000, the mid at 1002 when it filled, the ask at 1003; one lot is a unit of 1000 e8."""
    terms = Terms(0, 1_000, True, 10**9, 0, 1, 10)
    attribution = Attribution([terms])

    costs = attribution.fill(OrderFilled(0, 0, 0, "o", "1", 0, 1, 1004, 7, 11, False), Moments(2000, 2004, 1003))
    attribution.flow(CashFlow(0, 0, 0, "", 0, "funding", -13))
    attribution.flow(CashFlow(0, 0, 0, "", 0, "dividend", 4))
    attribution.fill(OrderFilled(0, 0, 0, "o", "2", 0, -1, 1020, 7, 5, True), Moments(2036, 2038, 0))
    closed = attribution.take_closed()

    assert (costs.slippage_e8, costs.spread_e8, costs.impact_e8, costs.fees_e8) == (14_000, 7_000, 7_000, 11)
    # The maker sold at 1020: the decision's mid was 1018, then 1019.
    expected = Parts(
        gross_e8=7 * 18_000, fees_e8=16, spread_e8=7_000 - 7_000, slippage_e8=14_000 - 7_000, impact_e8=7_000, funding_e8=13, other_e8=-4
    )
    assert closed[0].parts == expected
    assert attribution.parts([0]) == expected
    assert expected.net_e8 == 7 * 16_000 - 16 - 9
