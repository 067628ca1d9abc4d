"""From targets to orders: one at a time, rounding and dead-band that never raise risk."""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia.domain.codes import Code
from mia.domain.effects import CancelOrder, SubmitOrder
from mia.domain.errors import ConfigError, FailStop
from mia.domain.events import OrderAccepted
from mia.domain.ids import client_order_id
from mia.domain.instruments import Instrument
from mia.domain.orders import Approved
from mia.domain.sizing import Terms
from mia.execution.planner import OrderIds, Plan, cap_lots, flatten, plan, target_lots
from mia.execution.settings import ExecutionSettings
from mia.execution.table import OrderTable

MARKET = ExecutionSettings()
LIMIT = ExecutionSettings(entry="limit")
BID, ASK = 999, 1001


def terms(kind: str = "perpetual", min_notional: int = 0) -> Terms:
    """One lot is 10 of quote currency at the mid."""
    definition = Instrument(
        venue="sim", symbol="X", kind=kind, family="crypto", quote_currency="USDT", tick_size=Decimal("0.1"),  # type: ignore[arg-type]
        lot_size=Decimal("0.1"), maker_fee=Decimal(0), taker_fee=Decimal(0), initial_margin=Decimal("0.1"),
        min_notional=Decimal(min_notional),
    )  # fmt: skip
    return Terms.of(0, definition)


def go(
    target: int, position: int = 0, *, of: Terms | None = None, settings: ExecutionSettings = MARKET, table: OrderTable | None = None
) -> Plan:
    ids = OrderIds.of(3, 4)
    ids.begin(77)
    return plan(Approved(target), position, 100, BID, ASK, of or terms(), settings, table or OrderTable(), ids)


def holding(*orders: SubmitOrder, accepted: bool = True) -> OrderTable:
    table = OrderTable()
    for order in orders:
        table.note(order, 0, 1)
        if accepted:
            table.apply(OrderAccepted(0, 0, 0, order.client_order_id, "v"))
    return table


def resting(name: str, side: int, lots: int, price: int) -> SubmitOrder:
    return SubmitOrder(name, 0, side, "limit", lots, price, 0, False, True, "entry", 1, "")


def protective(name: str, side: int, lots: int) -> SubmitOrder:
    return SubmitOrder(name, 0, side, "stop", lots, 0, 900, True, False, "stop", 1, "g")


def only_order(made: Plan) -> SubmitOrder:
    (order,) = made.effects
    assert isinstance(order, SubmitOrder)
    return order


def test_opening_goes_at_market_for_the_difference() -> None:
    made = go(30, 10)

    order = only_order(made)
    assert made.code is Code.OK
    assert (order.side, order.qty_lots, order.order_type, order.reduce_only, order.price_ticks) == (1, 20, "market", False, 0)
    assert order.client_order_id == client_order_id(3, 4, 77, 0)


def test_reduction_is_reduce_only_and_a_flip_is_one_order_that_is_not() -> None:
    reduction, flip = only_order(go(10, 30)), only_order(go(-30, 30))

    assert (reduction.side, reduction.qty_lots, reduction.reduce_only) == (-1, 20, True)
    assert (flip.side, flip.qty_lots, flip.reduce_only) == (-1, 60, False)


@pytest.mark.parametrize(("target", "side", "price"), [(30, 1, BID), (-30, -1, ASK)])
def test_limit_entry_rests_post_only_at_the_touch(target: int, side: int, price: int) -> None:
    order = only_order(go(target, settings=LIMIT))

    assert (order.side, order.order_type, order.price_ticks, order.post_only) == (side, "limit", price, True)


def test_flip_with_limit_entries_flattens_at_market_first() -> None:
    made = go(-30, 30, settings=LIMIT)

    order = only_order(made)
    assert (made.target_lots, order.order_type, order.qty_lots, order.reduce_only) == (0, "market", 30, True)


@pytest.mark.parametrize(("target", "position"), [(4, 0), (14, 10), (6, 10), (-4, 0)])
def test_change_inside_the_dead_band_is_held(target: int, position: int) -> None:
    assert go(target, position) == Plan(Code.DEAD_BAND, position)


@pytest.mark.parametrize(("target", "lots"), [(90, 0), (20, 0), (0, -40), (-60, -100)])
def test_a_size_that_is_kept_changes_with_the_side_alone(target: int, lots: int) -> None:
    planned = go(target, 40, settings=ExecutionSettings(keeps_size=True, dead_band_share=0.0))

    sent = [effect.side * effect.qty_lots for effect in planned.effects if isinstance(effect, SubmitOrder)]
    assert sent == ([lots] if lots else [])
    assert planned.code is (Code.OK if lots else Code.DEAD_BAND)


def test_full_exit_passes_the_dead_band() -> None:
    assert only_order(go(0, 2)).qty_lots == 2


def test_order_in_flight_makes_openings_wait_and_not_exits() -> None:
    table = holding(SubmitOrder("a", 0, 1, "market", 5, 0, 0, False, False, "entry", 1, ""), accepted=False)

    assert go(30, 10, table=table) == Plan(Code.ORDER_IN_FLIGHT, 10)
    assert go(-30, 10, table=table) == Plan(Code.ORDER_IN_FLIGHT, 10)
    assert only_order(go(0, 10, table=table)).qty_lots == 10


def test_exit_in_flight_is_not_sent_twice() -> None:
    table = holding(SubmitOrder("a", 0, -1, "market", 10, 0, 0, True, False, "entry", 1, ""), accepted=False)

    assert go(0, 10, table=table) == Plan(Code.ORDER_IN_FLIGHT, 10)
    assert flatten(10, terms(), table, OrderIds.of(1, 1)) == Plan(Code.ORDER_IN_FLIGHT, 10)


def test_resting_entry_that_is_wanted_stays_and_another_is_canceled_first() -> None:
    table = holding(resting("a", 1, 20, BID))

    assert go(20, 0, settings=LIMIT, table=table) == Plan(Code.ORDER_IN_FLIGHT, 0)
    assert go(40, 0, settings=LIMIT, table=table) == Plan(Code.ORDER_IN_FLIGHT, 0, (CancelOrder("a", 0),))
    assert go(-20, 0, settings=LIMIT, table=table).effects == (CancelOrder("a", 0),)
    assert go(0, 0, settings=LIMIT, table=table).effects == (CancelOrder("a", 0),)


def test_cancel_is_sent_once() -> None:
    table = holding(resting("a", 1, 20, BID))
    table.note(CancelOrder("a", 0), 0, 2)

    assert go(40, 0, settings=LIMIT, table=table) == Plan(Code.ORDER_IN_FLIGHT, 0)


def test_exit_cancels_the_resting_entry_in_the_same_breath() -> None:
    made = go(0, 10, table=holding(resting("a", 1, 20, BID)))

    assert [type(e) for e in made.effects] == [CancelOrder, SubmitOrder]


def test_protective_orders_are_no_reason_to_wait() -> None:
    assert only_order(go(30, 10, table=holding(protective("s", -1, 10)))).qty_lots == 20


def test_spot_exit_releases_the_balance_that_the_stop_holds() -> None:
    table = holding(protective("s", -1, 10))

    assert [type(e) for e in go(0, 10, of=terms("spot"), table=table).effects] == [CancelOrder, SubmitOrder]
    assert [type(e) for e in go(0, 10, table=table).effects] == [SubmitOrder]


def test_spot_target_below_zero_is_flat() -> None:
    assert go(-30, 0, of=terms("spot")).code is Code.SPOT_NO_SHORT
    assert only_order(go(-30, 10, of=terms("spot"))).qty_lots == 10


def test_opening_below_the_smallest_notional_is_not_sent() -> None:
    assert go(9, 0, of=terms(min_notional=100)) == Plan(Code.MIN_NOTIONAL, 0)
    assert only_order(go(10, 0, of=terms(min_notional=100))).qty_lots == 10


def test_spot_reduction_that_would_leave_dust_sells_everything() -> None:
    made = go(5, 20, of=terms("spot", min_notional=100))

    assert (made.target_lots, only_order(made).qty_lots) == (0, 20)


def test_derivative_exit_below_the_smallest_notional_is_sent() -> None:
    assert only_order(go(0, 5, of=terms(min_notional=100))).qty_lots == 5


def test_flatten_closes_what_is_not_being_closed_yet() -> None:
    table = holding(SubmitOrder("a", 0, -1, "market", 4, 0, 0, True, False, "exit", 1, ""), resting("b", 1, 5, BID))

    made = flatten(10, terms(), table, OrderIds.of(1, 1))

    cancel, order = made.effects
    assert cancel == CancelOrder("b", 0)
    assert isinstance(order, SubmitOrder)
    assert (order.side, order.qty_lots, order.reduce_only, order.purpose) == (-1, 6, True, "exit")


def test_cap_is_the_lesser_of_position_limit_and_share_of_equity_rounded_down() -> None:
    equity = 1_234 * 10**8  # 20 % is 246.8: 24 lots of 10 on spot, 246 as initial margin of a tenth

    assert cap_lots(1000, equity, 200_000_000, BID + ASK, terms("spot")) == 24
    assert cap_lots(1000, equity, 200_000_000, BID + ASK, terms()) == 246
    assert cap_lots(100, equity, 200_000_000, BID + ASK, terms()) == 100
    assert cap_lots(100, -equity, 200_000_000, BID + ASK, terms()) == 0
    assert cap_lots(100, equity, 200_000_000, 0, terms()) == 0


@pytest.mark.parametrize("signal", [math.nan, math.inf, -math.inf, 1.1, -1.1])
def test_signal_that_the_gate_should_have_refused_never_becomes_a_target(signal: float) -> None:
    with pytest.raises(FailStop):
        target_lots(signal, 100)


@given(st.floats(-1, 1), st.integers(0, 10**6))
def test_target_is_truncated_toward_zero(signal: float, cap: int) -> None:
    target = target_lots(signal, cap)

    assert abs(target) <= abs(signal) * cap
    assert target * signal >= 0
    assert target_lots(-signal, cap) == -target


@given(st.integers(-100, 100), st.integers(-150, 150), st.sampled_from(["spot", "perpetual"]), st.sampled_from([MARKET, LIMIT]))
def test_orders_never_lead_beyond_the_span_from_position_to_target(
    target: int, position: int, kind: str, settings: ExecutionSettings
) -> None:
    """Dead-band, rounding and minima may hold or go flat; they never ask for more than what was approved."""
    held = max(position, 0) if kind == "spot" else position

    made = go(target, held, of=terms(kind, min_notional=100), settings=settings)

    after = held + sum(e.side * e.qty_lots for e in made.effects if isinstance(e, SubmitOrder))
    assert after == made.target_lots
    assert min(target, held, 0) <= after <= max(target, held, 0)
    assert abs(after) <= max(abs(target), abs(held))
    for effect in made.effects:
        if isinstance(effect, SubmitOrder) and effect.reduce_only:
            assert abs(after) < abs(held)
            assert after * held >= 0


def test_ids_are_those_of_the_domain_and_end_after_32() -> None:
    ids = OrderIds.of(1023, 7)
    ids.begin(2**30 - 1)

    made = [ids.next() for _ in range(32)]

    assert made == [client_order_id(1023, 7, 2**30 - 1, i) for i in range(32)]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ids), type=OrderIds) == ids
    with pytest.raises(FailStop):
        ids.next()


@pytest.mark.parametrize("key", ["stop_share", "take_share", "dead_band_share", "protect_hysteresis_share"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 1.0])
def test_setting_out_of_range_is_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key):
        ExecutionSettings(**{key: value})  # type: ignore[arg-type]
