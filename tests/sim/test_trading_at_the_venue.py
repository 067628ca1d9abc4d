"""Review, planner, protection and accounting at the simulated venue: both sides agree on every lot and every 1e-8."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Literal

import pytest

from mia.domain.codes import Code
from mia.domain.effects import AnyEffect, Halt, QueryOrder, RaiseAlert, RequestReconciliation, SubmitOrder
from mia.domain.events import (
    BalanceReported,
    CashFlow,
    OpenOrdersReported,
    OrderFilled,
    OrderRejected,
    PositionReported,
    Quote,
)
from mia.domain.instruments import Instrument
from mia.domain.orders import Approved
from mia.domain.sizing import Terms
from mia.execution.planner import OrderIds, cap_lots, plan, target_lots
from mia.execution.portfolio import Portfolio
from mia.execution.protect import arm, check_engine_stops, protect
from mia.execution.reconcile import OrderDifferences, balance_difference_e8, order_differences, position_difference
from mia.execution.settings import ExecutionSettings
from mia.execution.table import OrderTable
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.risk.limits import RiskSettings
from mia.risk.review import Question, review
from mia.risk.state import RiskState
from mia.sim.settings import PaperSettings
from mia.sim.venue import SimVenue

RISK = RiskSettings(
    position_lots_max=4000, equity_share_max=0.2, order_lots_max=4000, order_notional_max=1e5, exposure_notional_max=1e5,
    orders_per_minute_max=4096, daily_loss_max=1.0, drawdown_max=1.0, quote_age_ms_max=1000, price_collar_bps_max=50.0,
    overtrade_trades_per_hour=4096, cool_down_s=5.0,
)  # fmt: skip
STEP_NS = 20_000_000


def instrument(kind: Literal["spot", "perpetual"]) -> Instrument:
    return Instrument(
        venue="sim", symbol="X", kind=kind, family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
        lot_size=Decimal("0.0001"), maker_fee=Decimal("0.0002"), taker_fee=Decimal("0.001"),
        initial_margin=Decimal("0.2"), min_notional=Decimal(5),
    )  # fmt: skip


class Trader:
    """The engine's composition in small: quotes in, orders out, reports applied, protection kept."""

    def __init__(self, kind: Literal["spot", "perpetual"], settings: ExecutionSettings) -> None:
        definition = instrument(kind)
        self.terms, self.settings = Terms.of(0, definition), settings
        self.venue = SimVenue({0: definition}, {0: Book(Arena(1 << 16), 64)}, PaperSettings())
        self.portfolio, self.table, self.risk = Portfolio("t", "USDT", 10_000 * 10**8), OrderTable(), RiskState.of(RISK)
        self.ids, self.decision, self.now, self.bid, self.ask = OrderIds.of(1, 1), 0, 10**18, 0, 0
        self.fills = self.trades = 0
        self.seen: list[object] = []
        self.rejections: list[str] = []
        self.portfolio.position(self.terms)

    def begin(self) -> None:
        self.decision += 1
        self.ids.begin(self.decision)

    def send(self, effects: tuple[AnyEffect, ...]) -> None:
        for effect in effects:
            assert not isinstance(effect, Halt), effect
            self.table.note(effect, 0, self.now)
            if isinstance(effect, SubmitOrder):
                self.risk.note_order(self.now)
        self.venue.send([e for e in effects if not isinstance(e, RaiseAlert)], self.now)

    def drain(self, until_ns: int) -> None:
        while (report := self.venue.pop(until_ns, 0)) is not None:
            self.seen.append(report)
            if isinstance(report, OrderRejected):
                self.rejections.append(report.code)
            if isinstance(report, PositionReported | BalanceReported | OpenOrdersReported | CashFlow):
                continue
            applied = self.table.apply(report)
            self.send(tuple(e for e in applied.effects if not isinstance(e, RequestReconciliation | QueryOrder)))
            position = self.portfolio.position(self.terms)
            if applied.is_new_fill:
                assert isinstance(report, OrderFilled)
                self.fills += 1
                self.trades += sum(r.is_closed for r in self.portfolio.apply_fill(self.terms, report, self.now))
                arm(position, self.settings)
            self.begin()
            self.send(protect(position, self.terms, self.table, self.settings, self.ids))
            assert abs(position.lots) <= RISK.position_lots_max

    def quote(self, bid: int) -> None:
        self.now += STEP_NS
        self.drain(self.now)
        self.bid, self.ask = bid, bid + 2
        self.venue.on_market(Quote(0, 0, self.now, 0, self.bid, self.ask, 500, 500))
        self.drain(self.now)
        self.begin()
        self.send(check_engine_stops(self.portfolio.position(self.terms), self.bid, self.ask, self.terms, self.table, self.ids))

    def decide(self, signal: float) -> None:
        self.begin()
        exposure, lots = self.table.exposure(0), self.portfolio.lots(0)
        mid2 = self.bid + self.ask
        equity = self.portfolio.equity_e8([mid2])
        self.risk.update_equity(self.now, equity)
        cap = cap_lots(RISK.position_lots_max, equity, self.risk.limits.equity_share_max_e9, mid2, self.terms)
        q = Question.of(0, self.terms, "sim:X", self.risk.limits)
        q.ts_ns, q.target_lots, q.position_lots, q.equity_e8 = self.now, target_lots(signal, cap), lots, equity
        q.buy_lots, q.sell_lots = exposure.buy_lots, exposure.sell_lots
        q.reduce_buy_lots, q.reduce_sell_lots = exposure.reduce_buy_lots, exposure.reduce_sell_lots
        q.bid_ticks, q.ask_ticks, q.quote_age_ns, q.is_enabled, q.is_book_valid = self.bid, self.ask, 0, True, True
        verdict = review(q, self.risk)
        if isinstance(verdict, Approved):
            made = plan(verdict, lots, cap, self.bid, self.ask, self.terms, self.settings, self.table, self.ids)
            assert isinstance(made.code, Code)
            self.send(made.effects)


@pytest.mark.parametrize("kind", ["spot", "perpetual"])
@pytest.mark.parametrize("entry", ["market", "limit"])
@pytest.mark.parametrize("replaces", [True, False])
def test_both_sides_agree_after_a_random_session(
    kind: Literal["spot", "perpetual"], entry: Literal["market", "limit"], replaces: bool
) -> None:
    trader = Trader(kind, ExecutionSettings(entry=entry, venue_replaces_orders=replaces, stop_share=0.004, take_share=0.006))
    chance = random.Random(f"{kind} {entry} {replaces}")
    bid = 6_000_000

    for step in range(3000):
        bid = max(1_000_000, bid + chance.randint(-3000, 3000))
        trader.quote(bid)
        if step % 7 == 0:
            trader.decide(chance.uniform(-1, 1))
    for _ in range(50):
        trader.quote(bid)
    trader.send((RequestReconciliation("sim"),))
    trader.seen.clear()
    trader.drain(trader.now + 10 * STEP_NS)

    by_kind = {type(report): report for report in trader.seen}
    orders, position, balance = by_kind[OpenOrdersReported], by_kind[PositionReported], by_kind[BalanceReported]
    assert isinstance(orders, OpenOrdersReported)
    assert isinstance(position, PositionReported)
    assert isinstance(balance, BalanceReported)
    assert order_differences(trader.table, orders, (0,), trader.settings, is_recovery=True) == OrderDifferences()
    assert position_difference(trader.portfolio, position, adopts=False) is None
    assert balance_difference_e8(trader.portfolio, balance) == 0
    assert trader.fills > 100
    assert trader.trades > 20
    assert {code for code in trader.rejections if code != "reduce_only"} == set()  # an exit that its stop overtook
