"""Every open position has a stop and a take: at the venue, or watched by the engine."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mia.domain.effects import AnyEffect, CancelOrder, ReplaceOrder, SubmitOrder
from mia.domain.events import OrderAccepted, OrderCanceled, OrderFilled, OrderReplaced
from mia.domain.instruments import Instrument
from mia.domain.orders import Purpose
from mia.domain.sizing import Terms
from mia.execution.planner import OrderIds
from mia.execution.portfolio import Portfolio, Position
from mia.execution.protect import arm, breached, check_engine_stops, protect
from mia.execution.settings import ExecutionSettings
from mia.execution.table import OrderTable

SETTINGS = ExecutionSettings()


def terms(kind: str = "perpetual") -> Terms:
    definition = Instrument(
        venue="sim", symbol="X", kind=kind, family="crypto", quote_currency="USDT", tick_size=Decimal("0.1"),  # type: ignore[arg-type]
        lot_size=Decimal("0.1"), maker_fee=Decimal(0), taker_fee=Decimal(0), min_notional=Decimal(5),
    )  # fmt: skip
    return Terms.of(0, definition)


class Desk:
    """Portfolio, table and ids of one instrument; what protect asks for is noted and accepted at once."""

    def __init__(self, kind: str = "perpetual", settings: ExecutionSettings = SETTINGS) -> None:
        self.terms, self.settings = terms(kind), settings
        self.portfolio, self.table, self.ids = Portfolio("t", "USDT", 0), OrderTable(), OrderIds.of(1, 1)

    @property
    def position(self) -> Position:
        return self.portfolio.position(self.terms)

    def trade(self, side: int, lots: int, price: int) -> None:
        self.portfolio.apply_fill(self.terms, OrderFilled(0, 0, 0, "x", "f", 0, side, price, lots, 0, False), 1)
        arm(self.position, self.settings)

    def protect(self, *, accept: bool = True) -> tuple[AnyEffect, ...]:
        effects = protect(self.position, self.terms, self.table, self.settings, self.ids)
        for effect in effects:
            self.table.note(effect, -1, 1)
            if accept and isinstance(effect, SubmitOrder):
                self.table.apply(OrderAccepted(0, 0, 0, effect.client_order_id, "v"))
            elif accept and isinstance(effect, ReplaceOrder):
                self.table.apply(OrderReplaced(0, 0, 0, effect.client_order_id, 0, effect.stop_ticks, effect.qty_lots))
            elif accept and isinstance(effect, CancelOrder):
                self.table.apply(OrderCanceled(0, 0, 0, effect.client_order_id, ""))
        return effects

    def check(self, bid: int, ask: int) -> tuple[AnyEffect, ...]:
        return check_engine_stops(self.position, bid, ask, self.terms, self.table, self.ids)


@pytest.mark.parametrize(("side", "stop", "take"), [(1, 9_801, 10_500), (-1, 10_200, 9_501)])
def test_levels_are_two_and_five_percent_of_entry_rounded_toward_it(side: int, stop: int, take: int) -> None:
    desk = Desk()

    desk.trade(side, 3, 10_000)
    desk.trade(side, 3, 10_001)  # 10,000.5 on average: stops at 9,800.49 and 10,200.51, takes at 10,500.525 and 9,500.475

    assert (desk.position.stop_ticks, desk.position.take_ticks) == (stop, take)


def test_rounding_is_always_to_the_nearer_trigger() -> None:
    long, short = Desk(), Desk()
    long.trade(1, 2, 10_001)
    short.trade(-1, 2, 10_001)

    assert (long.position.stop_ticks, long.position.take_ticks) == (9_801, 10_501)  # 9,800.98 and 10,501.05
    assert (short.position.stop_ticks, short.position.take_ticks) == (10_201, 9_501)  # 10,201.02 and 9,500.95


@pytest.mark.parametrize("side", [1, -1])
def test_new_position_gets_stop_and_take_of_one_group(side: int) -> None:
    desk = Desk()
    desk.trade(side, 10, 10_000)

    stop, take = desk.protect()

    assert isinstance(stop, SubmitOrder)
    assert isinstance(take, SubmitOrder)
    assert [stop.order_type, take.order_type, stop.purpose, take.purpose] == ["stop", "take", "stop", "take"]
    assert all(o.reduce_only and o.side == -side and o.qty_lots == 10 and o.group == "t-1" for o in (stop, take))
    assert (stop.stop_ticks, take.stop_ticks) == (desk.position.stop_ticks, desk.position.take_ticks)
    assert desk.protect() == ()


def test_nothing_is_sent_while_a_protective_order_is_on_its_way() -> None:
    desk = Desk()
    desk.trade(1, 10, 10_000)
    desk.protect(accept=False)
    desk.trade(1, 10, 10_000)

    assert desk.protect() == ()


def test_protection_follows_size_and_entry() -> None:
    desk = Desk()
    desk.trade(1, 10, 10_000)
    desk.protect()
    desk.trade(1, 10, 11_000)

    effects = desk.protect(accept=False)

    assert [(type(e), e.qty_lots, e.stop_ticks) for e in effects if isinstance(e, ReplaceOrder)] == [
        (ReplaceOrder, 20, 10_290),
        (ReplaceOrder, 20, 11_025),
    ]
    assert desk.protect() == ()  # the replaces are in flight


def test_tiny_change_of_entry_does_not_move_the_triggers() -> None:
    desk = Desk()
    desk.trade(1, 10, 100_000)
    desk.protect()
    desk.trade(1, 1, 100_100)
    desk.trade(-1, 1, 100_100)

    assert desk.protect() == ()


def test_venue_without_replace_gets_cancel_and_then_a_new_order() -> None:
    desk = Desk(settings=ExecutionSettings(venue_replaces_orders=False))
    desk.trade(1, 10, 10_000)
    desk.protect()
    desk.trade(-1, 5, 10_000)

    first, second = desk.protect(), desk.protect()

    assert [type(e) for e in first] == [CancelOrder, CancelOrder]
    assert [(type(e), e.qty_lots) for e in second if isinstance(e, SubmitOrder)] == [(SubmitOrder, 5), (SubmitOrder, 5)]


def test_leftovers_of_a_flat_position_are_canceled_once() -> None:
    desk = Desk()
    desk.trade(1, 10, 10_000)
    desk.protect()
    desk.trade(-1, 10, 10_000)

    effects = desk.protect(accept=False)

    assert [type(e) for e in effects] == [CancelOrder, CancelOrder]
    for effect in effects:
        desk.table.note(effect, -1, 1)
    assert desk.protect() == ()


def test_flip_cancels_the_old_pair_and_protects_the_new_side() -> None:
    desk = Desk()
    desk.trade(1, 10, 10_000)
    desk.protect()
    desk.trade(-1, 25, 10_000)

    effects = desk.protect()

    assert [type(e) for e in effects] == [CancelOrder, SubmitOrder, CancelOrder, SubmitOrder]
    assert all(e.side == 1 and e.qty_lots == 15 and e.group == "t-2" for e in effects if isinstance(e, SubmitOrder))


def test_position_that_is_being_closed_is_left_alone() -> None:
    desk = Desk()
    desk.trade(1, 10, 10_000)
    desk.table.note(SubmitOrder("exit", 0, -1, "market", 10, 0, 0, True, False, "exit", 1, ""), 0, 1)

    assert desk.protect() == ()


def test_no_stop_is_sent_behind_a_flip_that_it_could_overtake() -> None:
    desk = Desk()
    desk.trade(1, 10, 10_000)
    desk.table.note(SubmitOrder("flip", 0, -1, "market", 20, 0, 0, False, False, "entry", 1, ""), 0, 1)

    assert desk.protect() == ()
    assert desk.table.exposure(0).worst_lots(10) == 10


def test_spot_dust_is_not_protected() -> None:
    desk = Desk("spot")
    desk.trade(1, 1, 100)

    assert desk.protect() == ()
    assert desk.check(1, 2) == ()


@pytest.mark.parametrize(
    ("side", "bid", "ask", "expected"),
    [
        (1, 9_801, 9_900, None),
        (1, 9_800, 9_900, Purpose.STOP),
        (1, 10_500, 10_501, Purpose.TAKE),
        (1, 0, 9_000, None),
        (-1, 10_000, 10_199, None),
        (-1, 10_000, 10_200, Purpose.STOP),
        (-1, 9_000, 9_500, Purpose.TAKE),
        (-1, 9_000, 0, None),
    ],
)
def test_level_is_reached_at_the_price_that_would_close(side: int, bid: int, ask: int, expected: Purpose | None) -> None:
    desk = Desk()
    desk.trade(side, 10, 10_000)

    assert breached(desk.position, bid, ask) is expected


def test_engine_exits_once_when_no_venue_order_stands() -> None:
    desk = Desk()
    desk.trade(1, 10, 10_000)

    (exit_,) = desk.check(9_700, 9_701)
    desk.table.note(exit_, -1, 1)

    assert isinstance(exit_, SubmitOrder)
    assert (exit_.side, exit_.qty_lots, exit_.reduce_only, exit_.purpose) == (-1, 10, True, "exit")
    assert desk.check(9_700, 9_701) == ()


def test_engine_leaves_the_exit_to_a_working_venue_stop_and_steps_in_without_one() -> None:
    desk = Desk()
    desk.trade(1, 10, 10_000)
    stop, _ = desk.protect()

    held = desk.check(9_700, 9_701)
    assert isinstance(stop, SubmitOrder)
    desk.table.apply(OrderCanceled(0, 0, 0, stop.client_order_id, "venue"))

    assert held == ()
    assert len(desk.check(9_700, 9_701)) == 1
