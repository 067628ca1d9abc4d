"""Money that moves without a fill reaches cash, equity and the round trip it belongs to, once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mia.domain.effects import RaiseAlert, RecordTrade
from mia.domain.events import CashFlow, OrderFilled, Pause, Quote
from mia.execution.settings import ExecutionSettings
from mia.sim.cost_settings import Costs, FundingCosts, MarginCosts
from mia.sim.settings import PaperSettings
from mia.sim.venue import SimVenue


def test_funding_is_part_of_the_profit_of_the_open_trade_and_of_equity_at_once(rig: Any) -> None:
    r = rig()
    r.quote()
    r.decide(0.5)
    portfolio, risk = r.engine.state.portfolio, r.engine.state.risk
    before = portfolio.equity_e8(r.engine.state.marks2)
    r.give(CashFlow, "C1", 0, "funding", -7_000)
    after, seen_by_risk = portfolio.equity_e8(r.engine.state.marks2), risk.equity_e8
    r.give(CashFlow, "C1", 0, "funding", -7_000)
    r.says.signal = 0.0
    closing = next(e for e in r.quote() if isinstance(e, RecordTrade) and e.is_closed)

    assert after == seen_by_risk == before - 7_000
    assert closing.flows_e8 == -7_000
    assert closing.profit_e8 == portfolio.cash_e8 - 10_000 * 10**8
    assert portfolio.positions[0].flows_e8 == -7_000


def test_funding_that_is_told_after_the_close_changes_cash_alone(rig: Any) -> None:
    r = rig()
    r.quote()

    effects = r.give(CashFlow, "C1", 0, "funding", 5_000)

    assert effects == []
    assert r.engine.state.portfolio.cash_e8 == 10_000 * 10**8 + 5_000
    assert r.engine.state.portfolio.positions[0].trade is None


def test_a_flow_of_the_account_is_counted_quietly_and_one_of_another_instrument_with_a_word(rig: Any) -> None:
    r = rig()

    quiet = r.give(CashFlow, "C1", -1, "interest", 4)
    loud = r.give(CashFlow, "C1", 9, "funding", 3)

    assert quiet == []
    assert [e.code for e in loud if isinstance(e, RaiseAlert)] == ["external_flow"]
    assert r.engine.state.portfolio.cash_e8 == 10_000 * 10**8 + 7


def test_a_loss_by_flows_trips_the_drawdown_stop_like_any_other(rig: Any) -> None:
    r = rig(drawdown_max=0.1)
    r.quote()

    effects = r.give(CashFlow, "C1", 0, "funding", -1_500 * 10**8)

    assert "drawdown_stop" in [e.code for e in effects if isinstance(e, RaiseAlert)]


def test_the_snapshot_of_an_engine_remembers_which_flows_were_booked(rig: Any) -> None:
    first, second = rig(), rig()
    first.give(CashFlow, "C1", 0, "funding", 5)
    second.engine.restore(*first.engine.snapshot())

    second.give(CashFlow, "C1", 0, "funding", 5)

    assert second.engine.state.portfolio.cash_e8 == 10_000 * 10**8 + 5


class Traded:
    """The rig's engine at a paper venue that charges funding at 16:00 UTC and liquidates; two hours of quotes, three seconds apart."""

    def __init__(self, r: Any) -> None:
        self.r, self.engine = r, r.engine
        costs = Costs(
            funding=FundingCosts(kind="fixed", rate=Decimal("0.01")),
            margin=MarginCosts(initial=Decimal("0.2"), maintenance=Decimal("0.1"), liquidation_fee=Decimal("0.01")),
        )
        market = self.engine.markets[0]
        self.venue = SimVenue({0: market.definition}, {0: market.book}, PaperSettings(), costs)
        self.effects: list[Any] = []
        self.reports: list[Any] = []

    def quote(self, bid: int, *, lots: int = 100_000) -> None:
        self.r.now += 3_000_000_000
        self.drain()
        self.take(self.r.quote(bid, dt_ms=0, lots=lots))
        if self.venue.active:
            self.venue.on_market(Quote(self.r.seq, 0, self.r.now, 0, self.r.bid, self.r.ask, lots, lots))
        self.drain()

    def drain(self) -> None:
        while (report := self.venue.pop(self.r.now, self.r.seq + 1)) is not None:
            self.r.seq = report.seq
            self.reports.append(report)
            self.take(list(self.engine.step(report)))

    def take(self, effects: list[Any]) -> None:
        self.effects += effects
        self.venue.send(effects, self.r.now)

    def agree(self) -> bool:
        portfolio = self.engine.state.portfolio
        return (portfolio.cash_e8, portfolio.lots(0)) == (self.venue.cash_e8, self.venue.position_lots(0))


def test_the_engine_and_a_venue_that_charges_and_liquidates_agree_on_every_cent(rig: Any) -> None:
    r = rig(
        answers=False, position_lots_max=1_000_000, order_lots_max=1_000_000,
        execution=ExecutionSettings(dead_band_share=0.0, stop_share=0.9999, take_share=0.9999),
    )  # fmt: skip
    t = Traded(r)
    r.says.signal = -1.0
    for _ in range(1_100):  # from 15:06:40 on
        t.quote(10_000)
    held, funded, agreed = r.lots, [e for e in t.reports if isinstance(e, CashFlow)], t.agree()
    r.give(Pause, "the strategy does not save it")
    for _ in range(5):
        t.quote(18_500)  # below the stop

    closing = [e for e in t.effects if isinstance(e, RecordTrade) and e.is_closed]
    assert held < -90_000
    assert [e.kind for e in funded] == ["funding"]
    assert agreed
    assert t.agree()
    assert any(isinstance(e, OrderFilled) and e.client_order_id.startswith("liquidation") for e in t.reports)
    assert {e.kind for e in t.reports if isinstance(e, CashFlow)} == {"funding", "liquidation_fee"}
    assert r.lots == 0
    assert "external_fill" in [e.code for e in t.effects if isinstance(e, RaiseAlert)]
    assert closing[0].flows_e8 == sum(e.amount_e8 for e in t.reports if isinstance(e, CashFlow))
    assert closing[0].profit_e8 == t.venue.cash_e8 - 10_000 * 10**8
