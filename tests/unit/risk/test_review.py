"""The review: every rule refuses or shrinks as stated, and reductions pass."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia.domain.codes import Code
from mia.domain.instruments import Instrument
from mia.domain.orders import Approved, Refused
from mia.domain.sizing import Terms
from mia.risk.limits import RiskSettings
from mia.risk.review import Question, gate_code, review
from mia.risk.state import RiskState

SETTINGS = RiskSettings(
    position_lots_max=100, equity_share_max=0.5, order_lots_max=1000, order_notional_max=1e6, exposure_notional_max=1e6,
    orders_per_minute_max=3, daily_loss_max=0.03, drawdown_max=0.1, quote_age_ms_max=1000, price_collar_bps_max=50.0,
    overtrade_trades_per_hour=30, cool_down_s=5.0,
)  # fmt: skip
EQUITY = 10_000 * 10**8
NOW = 1_700_000_000 * 10**9


def terms(kind: str = "perpetual") -> Terms:
    """One lot is 10 of quote currency at a price of 1000 ticks."""
    definition = Instrument(
        venue="sim", symbol="X", kind=kind, family="crypto", quote_currency="USDT", tick_size=Decimal("0.1"),  # type: ignore[arg-type]
        lot_size=Decimal("0.1"), maker_fee=Decimal(0), taker_fee=Decimal(0), initial_margin=Decimal("0.1"),
    )  # fmt: skip
    return Terms.of(0, definition)


def world(target: int, position: int = 0, kind: str = "perpetual", **changes: object) -> tuple[Question, RiskState]:
    state = RiskState.of(SETTINGS)
    state.update_equity(NOW - 1, EQUITY)
    q = Question.of(0, terms(kind), "X", state.limits)
    q.ts_ns, q.target_lots, q.position_lots = NOW, target, position
    q.bid_ticks, q.ask_ticks, q.quote_age_ns, q.equity_e8 = 999, 1001, 0, EQUITY
    q.is_enabled = q.is_book_valid = True
    for name, value in changes.items():
        setattr(q, name, value)
    return q, state


def test_what_breaks_no_rule_is_approved_as_asked() -> None:
    assert review(*world(50)) == Approved(50)
    assert review(*world(-50)) == Approved(-50)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"bid_ticks": 0}, Code.QUOTE_MISSING),
        ({"ask_ticks": 0}, Code.QUOTE_MISSING),
        ({"quote_age_ns": 1_000_000_001}, Code.QUOTE_STALE),
        ({"quote_age_ns": -1}, Code.QUOTE_STALE),
    ],
)
@pytest.mark.parametrize(("target", "position"), [(50, 0), (10, 50), (0, 50), (-50, 50)])
def test_missing_or_stale_quote_refuses_everything(changes: dict[str, object], code: Code, target: int, position: int) -> None:
    verdict = review(*world(target, position, **changes))

    assert isinstance(verdict, Refused)
    assert verdict.code is code


def test_kill_refuses_even_an_exit() -> None:
    q, state = world(0, 50)
    state.is_killed = True

    verdict = review(q, state)

    assert isinstance(verdict, Refused)
    assert verdict.code is Code.KILLED


def broken(rule: Code) -> dict[str, object]:
    return {
        Code.TRADING_DISABLED: {"is_enabled": False},
        Code.BOOK_INVALID: {"is_book_valid": False},
        Code.WARM_UP: {"gate": Code.WARM_UP},
        Code.ALPHA_BELOW_MIN: {"gate": Code.ALPHA_BELOW_MIN},
        Code.MACRO_EVENT: {"window": Code.MACRO_EVENT},
        Code.PRICE_COLLAR: {"price_ticks": 1100},
    }.get(rule, {})  # type: ignore[return-value]


REFUSING = [
    Code.TRADING_DISABLED, Code.BOOK_INVALID, Code.WARM_UP, Code.ALPHA_BELOW_MIN, Code.MACRO_EVENT, Code.DAILY_LOSS,
    Code.DRAWDOWN_STOP, Code.COOL_DOWN, Code.ORDER_RATE, Code.PRICE_COLLAR,
]  # fmt: skip


def broken_world(rule: Code, target: int, position: int) -> tuple[Question, RiskState]:
    q, state = world(target, position, **broken(rule))
    if rule is Code.DAILY_LOSS:
        state.update_equity(NOW, EQUITY * 97 // 100)
    elif rule is Code.DRAWDOWN_STOP:
        state.is_drawdown_tripped = True
    elif rule is Code.COOL_DOWN:
        state.cool_down(0, NOW - 1)
    elif rule is Code.ORDER_RATE:
        for _ in range(3):
            state.note_order(NOW - 59_999_999_999)
    return q, state


@pytest.mark.parametrize("rule", REFUSING)
def test_rule_refuses_an_opening(rule: Code) -> None:
    verdict = review(*broken_world(rule, 50, 10))

    assert isinstance(verdict, Refused)
    assert verdict.code is rule
    assert verdict.target_lots == 50


@pytest.mark.parametrize("rule", REFUSING)
def test_rule_leaves_of_a_flip_the_closing_half(rule: Code) -> None:
    assert review(*broken_world(rule, -50, 10)) == Approved(0, rule)


@pytest.mark.parametrize("rule", REFUSING)
@pytest.mark.parametrize(("target", "position"), [(0, 500), (499, 500), (-3, -700), (0, -1)])
def test_rule_never_refuses_nor_shrinks_a_reduction(rule: Code, target: int, position: int) -> None:
    q, state = broken_world(rule, target, position)
    q.equity_e8 = -1

    assert review(q, state) == Approved(target)


@pytest.mark.parametrize(
    ("limits", "code", "lots"),
    [
        ({"position_lots_max": 40}, Code.POSITION_MAX, 40),
        ({"equity_share_max_e9": 500_000_000 // 200}, Code.EQUITY_SHARE, 25),  # 25 of margin carries 250 of notional
        ({"order_lots_max": 30}, Code.ORDER_LOTS_MAX, 40),
        ({"order_notional_max_e8": 109 * 10**8}, Code.ORDER_NOTIONAL_MAX, 20),
        ({"exposure_notional_max_e8": 250 * 10**8}, Code.EXPOSURE_MAX, 25),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_size_limit_shrinks_to_the_largest_allowed_size(limits: dict[str, int], code: Code, lots: int, sign: int) -> None:
    q, state = world(sign * 50, sign * 10)
    for name, value in limits.items():
        setattr(state.limits, name, value)
    q.position_lots_max, q.order_lots_max = state.limits.position_lots_max, state.limits.order_lots_max

    assert review(q, state) == Approved(sign * lots, code)


@pytest.mark.parametrize("sign", [1, -1])
def test_no_size_limit_cuts_the_closing_half_of_a_flip(sign: int) -> None:
    """Short 80, an order may be 30: to be flat takes 80, as when flat itself was asked for."""
    q, state = world(sign * 50, sign * -80)
    q.order_lots_max = state.limits.order_lots_max = 30

    assert review(q, state) == Approved(0, Code.ORDER_LOTS_MAX)
    q.target_lots = 0
    assert review(q, state) == Approved(0)


def test_equity_share_counts_notional_on_spot() -> None:
    """Half of 10,000 carries 500 lots of 10; as initial margin of a tenth it carries 5,000."""
    spot, state = world(6000, kind="spot", position_lots_max=10_000, order_lots_max=10_000)
    perp, _ = world(6000, position_lots_max=10_000, order_lots_max=10_000)

    assert review(spot, state) == Approved(500, Code.EQUITY_SHARE)
    assert review(perp, state) == Approved(5000, Code.EQUITY_SHARE)


def test_nothing_is_opened_without_equity() -> None:
    for equity in (0, -5):
        assert review(*world(50, equity_e8=equity)) == Approved(0, Code.EQUITY_SHARE)


def test_spot_target_below_zero_becomes_flat() -> None:
    assert review(*world(-50, 10, "spot")) == Approved(0, Code.SPOT_NO_SHORT)


def test_orders_in_flight_take_room_but_force_no_sale() -> None:
    assert review(*world(90, 10, buy_lots=30)) == Approved(70, Code.POSITION_MAX)
    assert review(*world(90, 80, buy_lots=30)) == Approved(80, Code.POSITION_MAX)
    assert review(*world(90, 10, sell_lots=30)) == Approved(90)


def test_flip_counts_the_protective_stop_that_may_fill_first() -> None:
    """Long 60 with a stop of 60: a flip to -100 sells 160, and after the stop all of it would open."""
    assert review(*world(-100, 60, reduce_sell_lots=60)) == Approved(-40, Code.POSITION_MAX)
    assert review(*world(-100, 60)) == Approved(-100)


def test_exposure_counts_the_other_instruments() -> None:
    q, state = world(50, others_notional_e8=999_800 * 10**8)

    assert review(q, state) == Approved(20, Code.EXPOSURE_MAX)


def test_rate_counts_only_the_last_minute() -> None:
    q, state = world(50)
    for _ in range(3):
        state.note_order(NOW - 60_000_000_000)

    assert review(q, state) == Approved(50)


bad = st.sampled_from([math.nan, math.inf, -math.inf, 1.0000001, -1.0000001, 1e308])


@given(bad, st.floats(0, 1))
def test_action_outside_of_its_range_is_invalid(signal: float, alpha: float) -> None:
    assert gate_code(signal, alpha, 0.5) is Code.ACTION_INVALID


@given(st.floats(-1, 1), st.sampled_from([math.nan, math.inf, -math.inf, -1e-9, 1.01]))
def test_alpha_outside_of_its_range_is_invalid(signal: float, alpha: float) -> None:
    assert gate_code(signal, alpha, 0.5) is Code.ALPHA_INVALID


def test_alpha_gate_refuses_below_the_minimum_and_for_a_minimum_that_is_no_number() -> None:
    assert gate_code(-0.0, 0.5, 0.5) is Code.OK
    assert gate_code(0.3, 0.49, 0.5) is Code.ALPHA_BELOW_MIN
    assert gate_code(0.3, 0.49, math.nan) is Code.ALPHA_BELOW_MIN
    assert gate_code(0.3, 0.49, -math.inf) is Code.ALPHA_BELOW_MIN


lots = st.integers(-300, 300)
open_lots = st.integers(0, 60)


@given(lots, lots, open_lots, open_lots, open_lots, open_lots, st.integers(1, 5000), st.integers(-10, 20_000), st.integers(0, 3000))
def test_approved_target_keeps_the_worst_case_within_every_limit(
    target: int, position: int, buys: int, sells: int, reduce_buys: int, reduce_sells: int, bid: int, equity: int, others: int
) -> None:
    """Whatever fills first: an opening never lets |position| reach past a limit, and never grows against its sign."""
    q, state = world(
        target, position, bid_ticks=bid, ask_ticks=bid, buy_lots=buys, sell_lots=sells, reduce_buy_lots=reduce_buys,
        reduce_sell_lots=reduce_sells, equity_e8=equity * 10**8, others_notional_e8=others * 10**8,
    )  # fmt: skip
    state.limits.exposure_notional_max_e8 = 2500 * 10**8

    verdict = review(q, state)

    assert isinstance(verdict, Approved)
    got = verdict.target_lots
    assert got == target or verdict.code.shrinks
    assert min(target, position, 0) <= got <= max(target, position, 0)
    if got in range(min(position, 0), max(position, 0) + 1):
        return  # a reduction, or nothing
    sign = 1 if got > 0 else -1
    in_flight, reducing = (buys, reduce_buys) if sign > 0 else (sells, reduce_sells)
    first = min(reducing, abs(position)) if position * sign < 0 else 0
    worst = abs(got) + in_flight + first
    notional_e8 = worst * bid * q.unit_e8
    assert worst <= 100
    assert notional_e8 * q.margin_e9 <= equity * 10**8 * 500_000_000
    assert notional_e8 + others * 10**8 <= 2500 * 10**8


@pytest.mark.parametrize("rule", REFUSING)
def test_the_figures_of_a_refusal_are_floats_so_that_they_read_back_from_the_journal_as_they_were(rule: Code) -> None:
    q, state = broken_world(rule, 50, 0)

    verdict = review(q, state)

    assert isinstance(verdict, Refused)
    assert (type(verdict.limit), type(verdict.actual)) == (float, float)
