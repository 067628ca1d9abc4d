"""The order table: reports through the transition table, fills once, and values where something is wrong."""

from __future__ import annotations

import msgspec
import pytest

from mia.domain.effects import CancelOrder, Halt, QueryOrder, RaiseAlert, ReplaceOrder, RequestReconciliation, SubmitOrder
from mia.domain.events import (
    CancelRejected,
    OpenOrder,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    ReplaceRejected,
    RequestTimedOut,
)
from mia.domain.orders import Status
from mia.execution.table import CLOSED_KEPT, FILLS_KEPT, OrderTable


def submit(
    name: str, side: int = 1, lots: int = 10, *, reduce_only: bool = False, purpose: str = "entry", kind: str = "market"
) -> SubmitOrder:
    return SubmitOrder(name, 0, side, kind, lots, 0, 0, reduce_only, False, purpose, 1, "")


def fill(name: str, lots: int, fill_id: str, *, side: int = 1, price: int = 100) -> OrderFilled:
    return OrderFilled(0, 0, 0, name, fill_id, 0, side, price, lots, 0, False)


def table_with(*effects: SubmitOrder) -> OrderTable:
    table = OrderTable()
    for effect in effects:
        table.note(effect, 0, 1)
    return table


def kinds(effects: tuple[object, ...]) -> list[type]:
    return [type(effect) for effect in effects]


def test_order_lives_from_in_flight_to_filled() -> None:
    table = table_with(submit("a"))

    states = [table.find("a").status]
    for event in (OrderAccepted(0, 0, 0, "a", "v1"), fill("a", 4, "1"), fill("a", 6, "2")):
        table.apply(event)
        states.append(table.find("a").status)

    assert states == [Status.IN_FLIGHT, Status.WORKING, Status.WORKING, Status.FILLED]
    assert table.find("a").venue_order_id == "v1"
    assert table.exposure(0).open_ids == []


def test_repeated_fill_is_applied_once() -> None:
    table = table_with(submit("a"))

    first = table.apply(fill("a", 4, "1"))
    second = table.apply(fill("a", 4, "1"))

    assert (first.is_new_fill, second.is_new_fill, second.effects) == (True, False, ())
    assert table.find("a").filled_lots == 4
    assert table.duplicate_fills == 1


@pytest.mark.parametrize("other", [fill("a", 5, "1"), fill("a", 4, "1", price=101), fill("a", 4, "1", side=-1)])
def test_same_fill_id_with_other_content_is_not_applied_and_halts(other: OrderFilled) -> None:
    table = table_with(submit("a"))
    table.apply(fill("a", 4, "1"))

    applied = table.apply(other)

    assert not applied.is_new_fill
    assert kinds(applied.effects) == [Halt, RaiseAlert]
    assert table.find("a").filled_lots == 4


def test_overfill_is_our_position_and_halts() -> None:
    table = table_with(submit("a", lots=10))

    applied = table.apply(fill("a", 11, "1"))

    assert applied.is_new_fill
    assert Halt in kinds(applied.effects)
    assert table.exposure(0).buy_lots == 0


def test_late_fill_after_cancel_changes_position_with_an_alert() -> None:
    table = table_with(submit("a"))
    table.apply(OrderCanceled(0, 0, 0, "a", ""))

    applied = table.apply(fill("a", 10, "1"))

    assert applied.is_new_fill
    assert [e.code for e in applied.effects if isinstance(e, RaiseAlert)] == ["late_fill"]
    assert Halt not in kinds(applied.effects)
    assert table.find("a").status is Status.FILLED


def test_fill_of_a_rejected_order_counts_and_halts() -> None:
    table = table_with(submit("a"))
    table.apply(OrderRejected(0, 0, 0, "a", "", ""))

    applied = table.apply(fill("a", 10, "1"))

    assert applied.is_new_fill
    assert Halt in kinds(applied.effects)


def test_report_on_an_order_that_is_not_ours_is_reported_and_does_not_crash() -> None:
    table = OrderTable()

    report = table.apply(OrderAccepted(0, 0, 0, "foreign", "v"))
    filled = table.apply(fill("foreign", 3, "1"))

    assert report.order is None
    assert kinds(report.effects) == [RaiseAlert, RequestReconciliation]
    assert filled.is_new_fill
    assert kinds(filled.effects) == [RaiseAlert, RequestReconciliation]


def test_timed_out_submit_is_unknown_keeps_its_exposure_and_is_queried() -> None:
    table = table_with(submit("a"))

    applied = table.apply(RequestTimedOut(0, 0, 0, "a", "submit"))

    assert table.find("a").status is Status.UNKNOWN
    assert QueryOrder in kinds(applied.effects)
    assert table.exposure(0).worst_lots(0) == 10
    assert table.exposure(0).in_flight == 1


def test_canceled_order_keeps_full_exposure_until_the_venue_confirms() -> None:
    table = table_with(submit("a", kind="limit"))
    table.apply(OrderAccepted(0, 0, 0, "a", "v"))

    table.note(CancelOrder("a", 0), 0, 2)
    before = table.exposure(0).worst_lots(0)
    table.apply(OrderCanceled(0, 0, 0, "a", ""))

    assert (before, table.exposure(0).worst_lots(0)) == (10, 0)


def test_cancel_rejected_because_it_filled_converges_to_filled() -> None:
    table = table_with(submit("a", kind="limit"))
    table.note(CancelOrder("a", 0), 0, 2)

    table.apply(fill("a", 10, "1"))
    applied = table.apply(CancelRejected(0, 0, 0, "a", "filled"))

    assert applied.effects == ()
    assert table.find("a").status is Status.FILLED


def test_a_cancel_that_is_refused_twice_halts_nobody() -> None:
    table = table_with(submit("a"))
    table.apply(OrderAccepted(0, 0, 0, "a", "V"))
    table.note(CancelOrder("a", 0), 0, 1)

    first = table.apply(CancelRejected(0, 0, 0, "a", "did not arrive"))
    late = table.apply(CancelRejected(0, 0, 0, "a", "-1021"))

    assert (first.effects, late.effects) == ((), ())
    assert table.find("a").status is Status.WORKING


def test_senseless_report_on_an_open_order_halts_and_on_a_closed_one_is_noted() -> None:
    table = table_with(submit("a"), submit("b"))
    table.apply(OrderRejected(0, 0, 0, "b", "", ""))

    on_open = table.apply(OrderReplaced(0, 0, 0, "a", 0, 0, 5))
    on_closed = table.apply(OrderExpired(0, 0, 0, "b", ""))

    assert kinds(on_open.effects) == [Halt]
    assert kinds(on_closed.effects) == [RaiseAlert]


def test_worst_case_counts_reduce_only_orders_up_to_flat_only() -> None:
    table = table_with(submit("stop", -1, 10, reduce_only=True, purpose="stop", kind="stop"), submit("flip", -1, 15))

    assert table.exposure(0).worst_short(10) == -15  # the stop flattens first, then the whole flip opens
    assert table.exposure(0).worst_short(-3) == -18
    assert table.exposure(0).worst_long(10) == 10


def test_replace_counts_the_larger_size_while_it_is_in_flight() -> None:
    table = table_with(submit("a", -1, 10, reduce_only=True, purpose="stop", kind="stop"))
    table.apply(OrderAccepted(0, 0, 0, "a", "v"))

    table.note(ReplaceOrder("a", 0, 20, 0, 90), 0, 2)
    pending = table.exposure(0).reduce_sell_lots
    table.apply(OrderReplaced(0, 0, 0, "a", 0, 90, 15))

    assert (pending, table.exposure(0).reduce_sell_lots) == (20, 15)
    assert table.find("a").stop_ticks == 90
    assert table.replacing == {}


def test_rejected_replace_leaves_the_order_as_it_was() -> None:
    table = table_with(submit("a"))
    table.note(ReplaceOrder("a", 0, 20, 0, 0), 0, 2)

    table.apply(ReplaceRejected(0, 0, 0, "a", ""))

    assert (table.find("a").qty_lots, table.replacing, table.exposure(0).buy_lots) == (10, {}, 10)


def test_external_orders_count_in_the_worst_case_and_leave_with_their_cancel() -> None:
    table = OrderTable()
    order = OpenOrder("foreign", "v", 0, 1, "limit", 100, 0, 7, 2, False)

    is_new, again = table.take_external(order), table.take_external(order)
    counted = table.exposure(0).worst_lots(0)
    table.apply(OrderCanceled(0, 0, 0, "foreign", ""))

    assert (is_new, again, counted, table.exposure(0).worst_lots(0)) == (True, False, 5, 0)


def test_memory_is_bounded() -> None:
    table = OrderTable()

    for i in range(FILLS_KEPT + 100):
        table.note(submit(f"o{i}", lots=1), 0, i)
        table.apply(fill(f"o{i}", 1, str(i)))

    assert (len(table.orders), len(table.closed)) == (0, CLOSED_KEPT)
    assert len(table.fills) == FILLS_KEPT


def test_snapshot_of_a_table_is_one_encode_and_decodes_to_the_same() -> None:
    table = table_with(submit("a"), submit("b", -1))
    table.apply(fill("a", 4, "1"))
    table.note(ReplaceOrder("b", 0, 20, 0, 0), 0, 2)
    table.take_external(OpenOrder("foreign", "v", 0, 1, "limit", 100, 0, 7, 2, False))

    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(table), type=OrderTable)

    assert copy == table
    assert not copy.apply(fill("a", 4, "1")).is_new_fill
