"""Positions, cash and round trips: exact money, to the last 1e-8."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia.domain.events import OrderFilled
from mia.domain.instruments import Instrument
from mia.domain.sizing import Terms
from mia.execution.portfolio import Portfolio

SPOT = Terms.of(
    0,
    Instrument(
        venue="sim", symbol="BTCUSDT", kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
        lot_size=Decimal("0.00001"), maker_fee=Decimal("0.001"), taker_fee=Decimal("0.001"), min_notional=Decimal(5),
    ),
)  # fmt: skip
PERP = Terms.of(
    1,
    Instrument(
        venue="sim", symbol="BTCUSDT", kind="perpetual", family="crypto", quote_currency="USDT", tick_size=Decimal("0.1"),
        lot_size=Decimal("0.001"), maker_fee=Decimal("0.0002"), taker_fee=Decimal("0.0005"), initial_margin=Decimal("0.1"),
    ),
)  # fmt: skip
CASH = 10_000 * 10**8


def fill(side: int, lots: int, price: int, fee: int = 0, terms: Terms = PERP) -> OrderFilled:
    return OrderFilled(0, 0, 0, "order", "fill", terms.instrument, side, price, lots, fee, False)


def account() -> Portfolio:
    return Portfolio("test", "USDT", CASH)


def test_spot_buy_moves_cash_by_notional_and_fee() -> None:
    portfolio = account()

    portfolio.apply_fill(SPOT, fill(1, 1000, 6_000_000, 60_000_000, SPOT), 5)

    assert portfolio.cash_e8 == CASH - 600 * 10**8 - 60_000_000
    assert portfolio.equity_e8([12_000_000]) == CASH - 60_000_000
    assert portfolio.positions[0].average_entry_ticks == 6_000_000.0


def test_derivative_moves_cash_by_realised_profit_and_fees_only() -> None:
    portfolio = account()

    portfolio.apply_fill(PERP, fill(-1, 10, 600_000, 7), 5)
    after_open = portfolio.cash_e8
    portfolio.apply_fill(PERP, fill(1, 10, 590_000, 7), 6)

    assert after_open == CASH - 7
    assert portfolio.cash_e8 == CASH - 14 + 10_000 * 10 * PERP.unit_e8


def test_trade_is_recorded_at_its_opening_and_at_its_close_net_of_fees() -> None:
    portfolio = account()

    opened = portfolio.apply_fill(PERP, fill(1, 10, 600_000, 100), 5, (0.7, 0.2, 0.1))
    added = portfolio.apply_fill(PERP, fill(1, 10, 600_010, 100), 6)
    part = portfolio.apply_fill(PERP, fill(-1, 5, 600_020, 50), 7)
    closed = portfolio.apply_fill(PERP, fill(-1, 15, 600_030, 150), 8)

    assert [r.is_closed for r in opened] == [False]
    assert added == part == []
    (record,) = closed
    assert (record.trade_id, record.is_closed, record.side, record.opened_ns, record.closed_ns) == ("test-1", True, 1, 5, 8)
    assert (record.entry_price, record.exit_price, record.max_lots, record.fills) == (60000.5, 60002.75, 20, 4)
    assert record.profit_e8 == (5 * 600_020 + 15 * 600_030 - 10 * 600_000 - 10 * 600_010) * PERP.unit_e8 - 400
    assert record.regime_probs == (0.7, 0.2, 0.1)
    assert portfolio.trade_id(1) == ""


def test_flip_closes_one_trade_and_opens_the_next_with_the_rest_of_the_fill() -> None:
    portfolio = account()
    portfolio.apply_fill(PERP, fill(1, 3, 600_000), 5)

    closed, opened = portfolio.apply_fill(PERP, fill(-1, 10, 600_100, 101), 9)

    assert (closed.trade_id, closed.is_closed, closed.fees_e8) == ("test-1", True, 30)
    assert (opened.trade_id, opened.is_closed, opened.side, opened.fees_e8) == ("test-2", False, -1, 71)
    assert portfolio.positions[1].lots == -7
    assert portfolio.positions[1].cost_e8 == -7 * 600_100 * PERP.unit_e8


def test_position_without_a_mid_is_valued_at_its_last_fill() -> None:
    portfolio = account()

    portfolio.apply_fill(SPOT, fill(1, 1000, 6_000_000, 0, SPOT), 5)

    assert portfolio.equity_e8([0]) == CASH
    assert portfolio.unrealized_e8([0]) == 0
    assert portfolio.unrealized_e8([12_000_002]) == 1000 * SPOT.unit_e8


@pytest.mark.parametrize("terms", [SPOT, PERP])
def test_adopting_the_venues_position_keeps_equity_at_the_price_of_adoption(terms: Terms) -> None:
    portfolio = account()
    portfolio.apply_fill(terms, fill(1, 10, 600_000, 0, terms), 5)

    records = portfolio.adopt(terms, 4, 600_000, 6)

    assert portfolio.lots(terms.instrument) == 4
    assert portfolio.equity_e8([1_200_000, 1_200_000]) == CASH
    assert records == []
    assert portfolio.adopt(terms, 4, 1, 7) == []


def test_snapshot_of_a_portfolio_is_one_encode_and_decodes_to_the_same() -> None:
    portfolio = account()
    portfolio.apply_fill(PERP, fill(1, 3, 600_000), 5, (0.5, 0.25, 0.25))

    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(portfolio), type=Portfolio)

    assert copy == portfolio


fills = st.lists(
    st.tuples(st.sampled_from([1, -1]), st.integers(1, 50), st.integers(1, 2_000_000), st.integers(-10_000, 10_000)),
    min_size=1,
    max_size=40,
)


@given(fills, st.integers(1, 2_000_000), st.booleans())
def test_money_is_conserved_exactly_for_any_sequence_of_fills(sequence: list[tuple[int, int, int, int]], mid: int, is_spot: bool) -> None:
    """Equity = cash at the start - what was paid + what is held at the mid - fees, whatever the order of fills."""
    terms = SPOT if is_spot else PERP
    portfolio = account()
    records = []

    for ts, (side, lots, price, fee) in enumerate(sequence):
        records += portfolio.apply_fill(terms, fill(side, lots, price, fee, terms), ts)

    held = sum(side * lots for side, lots, _, _ in sequence)
    paid = sum(side * lots * price for side, lots, price, _ in sequence) * terms.unit_e8
    fees = sum(fee for *_, fee in sequence)
    position = portfolio.positions[terms.instrument]
    assert position.lots == held
    assert portfolio.equity_e8([2 * mid, 2 * mid]) == CASH - paid - fees + held * mid * terms.unit_e8
    assert position.realized_e8 == position.cost_e8 - paid
    assert position.fees_e8 == fees
    trade = position.trade
    open_profit = trade.realized_e8 - trade.fees_e8 if trade is not None else 0
    assert sum(r.profit_e8 for r in records if r.is_closed) + open_profit == position.realized_e8 - fees
    assert (position.lots == 0) == (trade is None)
    if position.lots == 0:
        assert position.cost_e8 == 0


def bought(lots: int, base_fee_e8: int, price: int = 6_000_000) -> OrderFilled:
    worth = base_fee_e8 * price * SPOT.unit_e8 // SPOT.lot_e8
    return OrderFilled(0, 0, 0, "order", "fill", 0, 1, price, lots, worth, False, base_fee_e8)


def test_a_fee_in_the_base_takes_coins_and_no_cash() -> None:
    portfolio = account()

    portfolio.apply_fill(SPOT, bought(1000, 2_000), 5)  # 0.01 BTC, 0.2 % of it: two lots

    assert portfolio.cash_e8 == CASH - 600 * 10**8
    assert portfolio.lots(0) == 998
    assert portfolio.equity_e8([12_000_000]) == CASH - 2 * 6_000_000 * SPOT.unit_e8


def test_a_fee_below_one_lot_takes_a_lot_and_keeps_the_rest_as_dust() -> None:
    portfolio = account()

    portfolio.apply_fill(SPOT, bought(100, 100), 5)
    first = portfolio.lots(0)
    for _ in range(9):
        portfolio.apply_fill(SPOT, bought(100, 100), 6)

    assert first == 99  # 99.9 lots are there, 99 can be sold
    assert portfolio.lots(0) == 1000 - 1
    assert portfolio.positions[0].dust_e8 == 0


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 60_000)), min_size=1, max_size=30))
def test_lots_and_dust_are_what_the_venue_holds(buys: list[tuple[int, int]]) -> None:
    portfolio, held_e8 = account(), 0
    for lots, fee_e8 in buys:
        fee_e8 = min(fee_e8, lots * SPOT.lot_e8)
        portfolio.apply_fill(SPOT, bought(lots, fee_e8), 5)
        held_e8 += lots * SPOT.lot_e8 - fee_e8

    assert portfolio.lots(0) * SPOT.lot_e8 + (portfolio.positions[0].dust_e8 if 0 in portfolio.positions else 0) == held_e8
    assert portfolio.lots(0) == held_e8 // SPOT.lot_e8


def test_the_profit_of_a_trade_with_a_fee_in_the_base_is_what_the_cash_says() -> None:
    portfolio = account()

    portfolio.apply_fill(SPOT, bought(1000, 1_000), 5)
    closed = portfolio.apply_fill(SPOT, fill(-1, 999, 6_100_000, 7, SPOT), 6)[-1]

    assert closed.is_closed
    assert closed.profit_e8 == portfolio.cash_e8 - CASH
    assert closed.fees_e8 == 6_000_000 * SPOT.unit_e8 + 7


def test_a_fee_that_eats_the_whole_position_closes_the_trade() -> None:
    portfolio = account()

    records = portfolio.apply_fill(SPOT, bought(1, 1_000), 5)

    assert [r.is_closed for r in records] == [False, True]
    assert portfolio.lots(0) == 0
    assert portfolio.positions[0].trade is None
