"""Reconciliation is a difference: what the venue says against what we believe."""

from __future__ import annotations

import pytest

from mia.domain.effects import Halt, QueryOrder, RaiseAlert, SubmitOrder
from mia.domain.events import (
    BalanceReported,
    OpenOrder,
    OpenOrdersReported,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    PositionReported,
    RequestTimedOut,
)
from mia.domain.orders import Status
from mia.domain.sizing import Terms
from mia.execution.portfolio import Portfolio
from mia.execution.reconcile import OrderDifferences, balance_difference_e8, order_differences, position_difference
from mia.execution.settings import ExecutionSettings
from mia.execution.table import OrderTable

SETTINGS = ExecutionSettings()
LATE = 60_000_000_000
TERMS = Terms(0, 1000, True, 10**9, 0, 1, 10)


def table(*names: str) -> OrderTable:
    made = OrderTable()
    for name in names:
        made.note(SubmitOrder(name, 0, 1, "limit", 10, 100, 0, False, True, "entry", 1, ""), 0, 1)
    return made


def line(name: str, filled: int = 0) -> OpenOrder:
    return OpenOrder(name, "v", 0, 1, "limit", 100, 0, 10, filled, False)


def compare(ours: OrderTable, *orders: OpenOrder, at_ns: int = LATE, is_recovery: bool = False) -> OrderDifferences:
    return order_differences(ours, OpenOrdersReported(0, 0, at_ns, "sim", orders), (0,), SETTINGS, is_recovery=is_recovery)


def holding(lots: int) -> Portfolio:
    portfolio = Portfolio("t", "USDT", 500)
    portfolio.apply_fill(TERMS, OrderFilled(0, 0, 0, "x", "f", 0, 1, 100, lots, 0, False), 1)
    return portfolio


def test_agreement_gives_nothing() -> None:
    ours = table("a")
    ours.apply(OrderAccepted(0, 0, 0, "a", "v"))

    assert compare(ours, line("a")) == OrderDifferences()


def test_order_the_venue_does_not_know_is_absent_and_its_fills_are_asked_for() -> None:
    ours = table("a")

    found = compare(ours)
    ours.absent("a")

    assert found.absent == ("a",)
    assert found.effects == (QueryOrder("a", 0),)
    assert ours.find("a").status is Status.EXPIRED


def test_young_order_may_have_crossed_the_report_but_not_in_recovery() -> None:
    young = 1_000_000_000

    assert compare(table("a"), at_ns=young) == OrderDifferences()
    assert compare(table("a"), at_ns=young, is_recovery=True).absent == ("a",)


def test_unknown_outcome_that_the_venue_works_is_found() -> None:
    ours = table("a")
    ours.apply(RequestTimedOut(0, 0, 0, "a", "submit"))

    assert compare(ours, line("a")).found == (line("a"),)


def test_lots_that_filled_unseen_are_queried() -> None:
    ours = table("a")
    ours.apply(OrderAccepted(0, 0, 0, "a", "v"))

    assert compare(ours, line("a", filled=3)).effects == (QueryOrder("a", 0),)


def test_order_that_is_not_ours_is_external_with_one_alert() -> None:
    ours = table()

    first = compare(ours, line("foreign"))
    ours.take_external(line("foreign"))
    second = compare(ours, line("foreign"))
    third = compare(ours)

    assert (first.external, [type(e) for e in first.effects]) == ((line("foreign"),), [RaiseAlert])
    assert second.effects == ()
    assert third.external_gone == ("foreign",)


def test_order_over_for_us_and_open_at_the_venue_is_queried_with_an_alert() -> None:
    ours = table("a")
    ours.apply(OrderCanceled(0, 0, 0, "a", ""))

    assert [type(e) for e in compare(ours, line("a")).effects] == [QueryOrder, RaiseAlert]


def test_equal_positions_give_no_difference() -> None:
    assert position_difference(holding(3), PositionReported(0, 0, 0, 0, 3, 0), adopts=False) is None


def test_other_position_halts_or_is_adopted_with_an_alert() -> None:
    report = PositionReported(0, 0, 0, 0, 1, 0)

    halted, adopted = (position_difference(holding(3), report, adopts=adopts) for adopts in (False, True))

    assert halted is not None
    assert adopted is not None
    assert [type(e) for e in halted.effects] == [Halt, RaiseAlert]
    assert [type(e) for e in adopted.effects] == [RaiseAlert]
    assert (adopted.ours_lots, adopted.venue_lots) == (3, 1)


def test_balance_is_compared_in_our_currency_only() -> None:
    assert balance_difference_e8(holding(3), BalanceReported(0, 0, 0, "USDT", 700)) == 200
    assert balance_difference_e8(holding(3), BalanceReported(0, 0, 0, "BNB", 700)) == 0


@pytest.mark.parametrize(("is_spot", "lots", "adopted"), [(True, 4, True), (True, 2, True), (True, 5, False), (False, 4, False)])
def test_a_fraction_of_a_lot_from_before_us_halts_nobody(is_spot: bool, lots: int, adopted: bool) -> None:
    diff = position_difference(holding(3), PositionReported(0, 0, 0, 0, lots, 0), adopts=False, is_spot=is_spot)

    assert diff is not None
    assert diff.is_adopted is adopted
    assert any(isinstance(e, Halt) for e in diff.effects) is not adopted
