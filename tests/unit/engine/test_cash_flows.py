"""Money that moves without a fill reaches cash, equity and the round trip it belongs to, once."""

from __future__ import annotations

from typing import Any

from mia.domain.effects import RaiseAlert, RecordTrade
from mia.domain.events import CashFlow


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
