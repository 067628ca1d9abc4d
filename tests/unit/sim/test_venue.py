"""The paper venue: latency, matching, queues, triggers, groups, money, and going on from a snapshot."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

import pytest

from mia.domain.effects import CancelOrder, QueryOrder, ReplaceOrder, RequestReconciliation, SubmitOrder
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import (
    BalanceReported,
    BookDelta,
    CancelRejected,
    Event,
    OpenOrdersReported,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    PositionReported,
    Quote,
    ReplaceRejected,
    Trade,
)
from mia.domain.instruments import Instrument
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.sim.settings import PaperSettings
from mia.sim.venue import NEVER_NS, SimVenue

MS = 1_000_000
PERPETUAL = Instrument(
    venue="sim",
    symbol="BTCUSDT",
    kind="perpetual",
    family="crypto",
    quote_currency="USDT",
    tick_size=Decimal("0.1"),
    lot_size=Decimal("0.001"),
    maker_fee=Decimal("0.0002"),
    taker_fee=Decimal("0.0005"),
    initial_margin=Decimal("0.05"),
)
SPOT = Instrument(
    venue="sim",
    symbol="BTCUSDT",
    kind="spot",
    family="crypto",
    quote_currency="USDT",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"),
    maker_fee=Decimal("0.001"),
    taker_fee=Decimal("0.001"),
    min_notional=Decimal(5),
)


def pack(*levels: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<2q", *level) for level in levels)


class Bench:
    """A venue with one book, driven as the daemon drives it: reports first, then the book, then the market event."""

    def __init__(self, instrument: Instrument = PERPETUAL, with_book: bool = True, **settings: Any) -> None:
        self.instrument = instrument
        self.settings = PaperSettings(**settings)
        self.book = Book(Arena(1 << 16), 64)
        if with_book:
            self.book.load(pack((1000, 10), (999, 20), (990, 50)), pack((1001, 10), (1002, 20), (1010, 50)))
        self.venue = SimVenue({0: instrument}, {0: self.book}, self.settings)
        self.now = 1_000 * MS
        self.n = 0

    def order(self, side: int, qty: int, kind: str = "market", price: int = 0, stop: int = 0, **more: Any) -> str:
        self.n += 1
        name = more.get("id", f"mia{self.n}")
        reduce_only, post_only, group = more.get("reduce_only", False), more.get("post_only", False), more.get("group", "")
        self.venue.send((SubmitOrder(name, 0, side, kind, qty, price, stop, reduce_only, post_only, "entry", 1, group),), self.now)
        return name

    def send(self, effect: Any) -> None:
        self.venue.send((effect,), self.now)

    def settle(self, ms: int = 20) -> list[Event]:
        """Let time pass; what came back."""
        self.now += ms * MS
        events: list[Event] = []
        while (event := self.venue.pop(self.now, len(events))) is not None:
            events.append(event)
        return events

    def quote(self, bid: int, ask: int, bid_lots: int = 10, ask_lots: int = 10) -> list[Event]:
        return self._market(Quote(0, 0, self.now, 0, bid, ask, bid_lots, ask_lots))

    def trade(self, price: int, qty: int, aggressor: int) -> list[Event]:
        return self._market(Trade(0, 0, self.now, 0, price, qty, aggressor, 1))

    def delta(self, bids: bytes = b"", asks: bytes = b"") -> list[Event]:
        self.book.apply(bids, asks)
        return self._market(BookDelta(0, 0, self.now, 0, bids, asks))

    def _market(self, event: Event) -> list[Event]:
        self.venue.on_market(event)
        return self.settle()


def fills(events: list[Event]) -> list[tuple[int, int]]:
    return [(e.price_ticks, e.qty_lots) for e in events if isinstance(e, OrderFilled)]


def kinds(events: list[Event]) -> list[type]:
    return [type(e) for e in events]


# --- time -------------------------------------------------------------------------------------------------------
def test_a_request_takes_effect_after_its_latency_and_the_report_comes_later_still() -> None:
    b = Bench(submit_latency_ms=5, report_latency_ms=7)
    b.order(1, 3)

    assert b.venue.next_due_ns == b.now + 5 * MS
    assert b.venue.pop(b.now + 5 * MS - 1, 0) is None
    assert b.venue.position_lots(0) == 0
    assert b.venue.pop(b.now + 5 * MS, 0) is None
    assert b.venue.position_lots(0) == 3
    report = b.venue.pop(b.now + 12 * MS, 41)
    assert isinstance(report, OrderAccepted)
    assert (report.seq, report.ts_event_ns, report.ts_recv_ns) == (41, b.now + 5 * MS, b.now + 12 * MS)


def test_an_order_meets_the_book_as_it_is_on_arrival() -> None:
    b = Bench()
    b.order(1, 3)
    b.book.apply(b"", pack((1001, 0)))

    assert fills(b.settle()) == [(1002, 3)]


def test_next_due_is_never_when_nothing_is_on_its_way_and_active_follows() -> None:
    b = Bench()
    assert (b.venue.next_due_ns, b.venue.active) == (NEVER_NS, False)
    b.order(1, 1)
    b.settle()

    assert (b.venue.next_due_ns, b.venue.active) == (NEVER_NS, False)
    b.order(-1, 1, "stop", stop=900)
    assert b.venue.active
    b.settle()
    assert b.venue.active


# --- market orders ------------------------------------------------------------------------------------------------
def test_a_market_order_walks_the_levels_and_slips_beyond_the_last() -> None:
    b = Bench(slip_ticks=3)
    b.order(1, 85)

    assert fills(b.settle()) == [(1001, 10), (1002, 20), (1010, 50), (1013, 5)]


def test_without_a_book_the_quote_is_taken_and_then_slips() -> None:
    b = Bench(with_book=False, slip_ticks=2)
    b.quote(500, 501, 10, 4)
    b.order(1, 6, price=0)

    assert fills(b.settle()) == [(501, 4), (503, 2)]


def test_a_market_order_without_any_price_is_rejected() -> None:
    b = Bench(with_book=False)
    b.order(1, 6)

    (report,) = b.settle()
    assert isinstance(report, OrderRejected)
    assert report.code == "no_liquidity"


def test_taken_liquidity_does_not_come_back_until_the_level_changes() -> None:
    b = Bench()
    b.order(1, 6)
    b.settle()
    b.order(1, 6)
    assert fills(b.settle()) == [(1001, 4), (1002, 2)]
    b.delta(asks=pack((1001, 9)))
    b.order(1, 9)

    assert fills(b.settle()) == [(1001, 9)]


# --- limit orders ---------------------------------------------------------------------------------------------------
def test_post_only_that_would_match_expires() -> None:
    b = Bench()
    b.order(1, 5, "limit", 1001, post_only=True)

    (report,) = b.settle()
    assert isinstance(report, OrderExpired)
    assert report.reason == "would_match"
    assert b.venue.open_orders() == ()


def test_a_resting_order_waits_for_the_queue_ahead_and_then_fills_in_part() -> None:
    b = Bench()
    b.order(1, 5, "limit", 1000, post_only=True)
    b.settle()

    assert fills(b.trade(1000, 8, -1)) == []
    assert fills(b.trade(1000, 9, 1)) == []  # a buyer's trade does not touch the bids
    assert fills(b.trade(1000, 4, -1)) == [(1000, 2)]
    report = b.trade(1000, 50, -1)[0]
    assert isinstance(report, OrderFilled)
    assert (report.qty_lots, report.is_maker) == (3, True)
    assert report.fee_e8 == 1000 * 3 * PERPETUAL.unit_e8 * 2 // 10_000


def test_a_trade_that_fits_before_us_twice_is_shared_by_our_orders_in_time_priority() -> None:
    b = Bench()
    b.order(1, 5, "limit", 1000, post_only=True)
    b.order(1, 5, "limit", 1000, post_only=True)
    b.settle()

    assert fills(b.trade(1000, 17, -1)) == [(1000, 5), (1000, 2)]


def test_a_shrinking_display_moves_us_forward_and_a_growing_one_does_not_push_us_back() -> None:
    b = Bench()
    b.order(1, 5, "limit", 1000, post_only=True)
    b.settle()
    b.delta(bids=pack((1000, 3)))
    b.delta(bids=pack((1000, 30)))

    assert fills(b.trade(1000, 4, -1)) == [(1000, 1)]


@pytest.mark.parametrize("how", ["trade", "quote", "delta"])
def test_a_market_beyond_our_price_fills_the_rest_at_our_price(how: str) -> None:
    b = Bench()
    b.order(1, 5, "limit", 999, post_only=True)
    b.settle()
    if how == "trade":
        events = b.trade(998, 1, -1)
    elif how == "quote":
        events = b.quote(997, 998)
    else:
        events = b.delta(bids=pack((1000, 0), (999, 0)), asks=pack((998, 1)))

    assert fills(events) == [(999, 5)]


def test_a_limit_order_that_crosses_takes_up_to_its_limit_and_rests() -> None:
    b = Bench()
    b.order(1, 45, "limit", 1002)
    events = b.settle()

    assert fills(events) == [(1001, 10), (1002, 20)]
    assert [(o.price_ticks, o.qty_lots, o.filled_lots) for o in b.venue.open_orders()] == [(1002, 45, 30)]
    assert fills(b.quote(1000, 1001)) == []  # the same displayed lots that we had already
    assert fills(b.delta(asks=pack((1001, 4)))) == [(1002, 15)]


# --- stops, takes, groups --------------------------------------------------------------------------------------------
def test_stop_and_take_of_a_group_protect_a_position_and_end_each_other() -> None:
    b = Bench()
    b.order(1, 8)
    b.settle()
    stop = b.order(-1, 8, "stop", stop=980, reduce_only=True, group="g")
    take = b.order(-1, 8, "take", stop=1050, reduce_only=True, group="g")
    assert kinds(b.settle()) == [OrderAccepted, OrderAccepted]
    assert b.quote(999, 1001) == []

    events = b.trade(980, 1, -1)
    assert fills(events) == [(1000, 8)]
    assert [(e.client_order_id, e.reason) for e in events if isinstance(e, OrderCanceled)] == [(take, "group")]
    assert {e.client_order_id for e in events if isinstance(e, OrderFilled)} == {stop}
    assert b.venue.position_lots(0) == 0


@pytest.mark.parametrize(
    ("side", "kind", "stop", "bid", "ask", "fires"),
    [
        (-1, "stop", 980, 981, 982, False),
        (-1, "stop", 980, 980, 982, True),
        (-1, "take", 1050, 1049, 1051, False),
        (-1, "take", 1050, 1050, 1051, True),
        (1, "stop", 1050, 1040, 1049, False),
        (1, "stop", 1050, 1040, 1050, True),
        (1, "take", 980, 979, 981, False),
        (1, "take", 980, 979, 980, True),
    ],
)
def test_triggers_look_at_the_touch_they_would_trade_against(side: int, kind: str, stop: int, bid: int, ask: int, fires: bool) -> None:
    b = Bench()
    b.order(-side, 4)
    b.settle()
    b.order(side, 4, kind, stop=stop, reduce_only=True)
    b.settle()

    assert bool(fills(b.quote(bid, ask))) is fires


def test_a_part_fill_shrinks_the_others_of_the_group() -> None:
    b = Bench()
    b.order(1, 8)
    b.settle()
    b.order(-1, 8, "limit", 1005, reduce_only=True, post_only=True, group="g")
    stop = b.order(-1, 8, "stop", stop=980, reduce_only=True, group="g")
    b.settle()

    events = b.trade(1005, 3, 1)
    assert fills(events) == [(1005, 3)]
    assert [(e.client_order_id, e.qty_lots) for e in events if isinstance(e, OrderReplaced)] == [(stop, 5)]


def test_a_stop_that_is_already_through_fires_on_arrival() -> None:
    b = Bench()
    b.order(1, 2)
    b.settle()
    b.order(-1, 2, "stop", stop=1000, reduce_only=True)

    assert fills(b.settle()) == [(1000, 2)]


def test_reduce_only_is_clipped_and_refused_when_flat() -> None:
    b = Bench()
    b.order(-1, 5, reduce_only=True)
    (report,) = b.settle()
    assert isinstance(report, OrderRejected)
    assert report.code == "reduce_only"
    b.order(1, 3)
    b.settle()
    b.order(-1, 5, reduce_only=True)

    events = b.settle()
    assert fills(events) == [(1000, 3)]
    assert [e.qty_lots for e in events if isinstance(e, OrderReplaced)] == [3]
    assert b.venue.position_lots(0) == 0


def test_a_stop_whose_position_is_gone_expires_instead_of_opening() -> None:
    b = Bench()
    b.order(1, 3)
    b.settle()
    b.order(-1, 3, "stop", stop=980, reduce_only=True)
    b.order(-1, 3)
    b.settle()

    (report,) = b.trade(979, 1, -1)
    assert isinstance(report, OrderExpired)
    assert report.reason == "reduce_only"
    assert b.venue.position_lots(0) == 0


# --- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"qty": 0}, "bad_qty"),
        ({"qty": -4}, "bad_qty"),
        ({"kind": "limit", "price": 0}, "bad_price"),
        ({"kind": "stop", "stop": 0}, "bad_price"),
        ({"kind": "iceberg"}, "bad_order"),
        ({"side": 0}, "bad_order"),
        ({"kind": "limit", "price": 4, "qty": 1}, "min_notional"),
        ({"qty": 100_000_000}, "insufficient_balance"),
    ],
)
def test_what_cannot_be_an_order_is_rejected_with_its_code(fields: dict[str, Any], code: str) -> None:
    b = Bench(instrument=PERPETUAL if code != "min_notional" else SPOT)
    b.order(**{"side": 1, "qty": 60, **fields})

    (report,) = b.settle()
    assert isinstance(report, OrderRejected)
    assert report.code == code
    assert b.venue.open_orders() == ()


def test_a_second_order_of_the_same_id_is_a_duplicate_even_after_the_first_is_done() -> None:
    b = Bench()
    b.order(1, 3, id="same")
    b.settle()
    b.order(1, 3, id="same")

    (report,) = b.settle()
    assert isinstance(report, OrderRejected)
    assert report.code == "duplicate"
    assert b.venue.position_lots(0) == 3


def test_spot_buys_need_cash_and_sells_need_coins() -> None:
    b = Bench(instrument=SPOT, cash=Decimal(10), with_book=False)
    b.quote(5_000_000, 5_000_001, 1000, 1000)
    b.order(1, 20)
    (report,) = b.settle()
    assert isinstance(report, OrderRejected)
    assert report.code == "insufficient_balance"
    b.order(1, 15)
    assert fills(b.settle()) == [(5_000_001, 15)]
    b.order(-1, 16)
    assert kinds(b.settle()) == [OrderRejected]
    b.order(-1, 15, "limit", 6_000_000, post_only=True)
    b.settle()
    b.order(-1, 15)

    assert kinds(b.settle()) == [OrderRejected]  # the coins are promised to the resting order


def test_derivatives_need_initial_margin_for_the_worst_case() -> None:
    b = Bench(cash=Decimal(1))  # 1001 ticks x 0.0001 = 0.1 a lot, 5 % of it is 0.005
    b.order(1, 150)
    b.settle()
    assert b.venue.position_lots(0) == 150
    b.order(1, 60)
    assert kinds(b.settle()) == [OrderRejected]
    b.order(-1, 150)

    assert OrderFilled in kinds(b.settle())


def test_fees_are_rounded_up() -> None:
    b = Bench(instrument=SPOT, with_book=False)
    b.quote(5_000_000, 5_000_001, 1000, 1000)
    b.order(1, 13)

    fill = next(e for e in b.settle() if isinstance(e, OrderFilled))
    assert fill.fee_e8 == -(-5_000_001 * 13 * SPOT.unit_e8 // 1000)
    assert b.venue.cash_e8 == 10_000 * 10**8 - 5_000_001 * 13 * SPOT.unit_e8 - fill.fee_e8


# --- cancel, replace, query, reconcile -----------------------------------------------------------------------------------
def test_cancel_ends_a_working_order_and_is_rejected_for_others() -> None:
    b = Bench()
    name = b.order(1, 5, "limit", 995, post_only=True)
    b.settle()
    b.send(CancelOrder(name, 0))
    (canceled,) = b.settle()
    b.send(CancelOrder(name, 0))
    b.send(CancelOrder("nobody", 0))

    assert isinstance(canceled, OrderCanceled)
    assert [e.reason for e in b.settle() if isinstance(e, CancelRejected)] == ["canceled", "unknown_order"]


@pytest.mark.parametrize(("qty", "price", "first_fill"), [(3, 1000, 1), (8, 1000, 0), (5, 999, 0)])
def test_replace_keeps_the_queue_only_when_it_shrinks_at_its_price(qty: int, price: int, first_fill: int) -> None:
    b = Bench()
    name = b.order(1, 5, "limit", 1000, post_only=True)
    b.settle()
    b.trade(1000, 9, -1)
    b.send(ReplaceOrder(name, 0, qty, price, 0))
    (report,) = b.settle()
    assert isinstance(report, OrderReplaced)
    assert (report.qty_lots, report.price_ticks) == (qty, price)

    assert sum(lots for _, lots in fills(b.trade(price, 2, -1))) == first_fill


def test_replace_that_cannot_be_leaves_the_order_as_it_was() -> None:
    b = Bench()
    name = b.order(1, 5, "limit", 995, post_only=True)
    b.settle()
    b.send(ReplaceOrder(name, 0, 5, 1001, 0))
    b.send(ReplaceOrder(name, 0, 100_000_000, 995, 0))
    b.send(ReplaceOrder("nobody", 0, 1, 1, 0))

    assert [e.reason for e in b.settle() if isinstance(e, ReplaceRejected)] == ["would_match", "insufficient_balance", "unknown_order"]
    assert [(o.price_ticks, o.qty_lots) for o in b.venue.open_orders()] == [(995, 5)]


def test_query_repeats_fills_with_the_ids_they_had_and_unknown_is_a_rejection() -> None:
    b = Bench()
    name = b.order(1, 15)
    before = [e.fill_id for e in b.settle() if isinstance(e, OrderFilled)]
    b.send(QueryOrder(name, 0))
    b.send(QueryOrder("nobody", 0))

    again = b.settle()
    assert kinds(again) == [OrderAccepted, OrderFilled, OrderFilled, OrderRejected]
    assert [e.fill_id for e in again if isinstance(e, OrderFilled)] == before
    assert len(set(before)) == 2
    assert b.venue.position_lots(0) == 15


def test_reconciliation_reports_orders_positions_and_cash() -> None:
    b = Bench()
    b.order(1, 5)
    name = b.order(-1, 5, "stop", stop=900, reduce_only=True)
    b.settle()
    b.send(RequestReconciliation("sim"))

    orders, position, balance = b.settle()
    assert isinstance(orders, OpenOrdersReported)
    assert [o.client_order_id for o in orders.orders] == [name]
    assert isinstance(position, PositionReported)
    assert (position.position_lots, position.cost_e8) == (5, 5 * 1001 * PERPETUAL.unit_e8)
    assert isinstance(balance, BalanceReported)
    assert balance.cash_e8 == b.venue.cash_e8


# --- state -----------------------------------------------------------------------------------------------------------------
def test_a_restored_venue_answers_like_the_one_it_was_taken_from() -> None:
    b = Bench()
    b.order(1, 6)
    b.settle()
    b.order(1, 5, "limit", 1000, post_only=True)
    b.order(-1, 6, "stop", stop=980, reduce_only=True, group="g")
    b.settle(3)
    twin = SimVenue({0: PERPETUAL}, {0: b.book}, b.settings)
    twin.restore(b.venue.snapshot())
    assert (twin.next_due_ns, twin.active, twin.snapshot()) == (b.venue.next_due_ns, b.venue.active, b.venue.snapshot())

    first = b.settle() + b.trade(1000, 12, -1) + b.trade(979, 1, -1)
    b.venue, b.now = twin, b.now - 60 * MS
    second = b.settle() + b.trade(1000, 12, -1) + b.trade(979, 1, -1)
    assert first == second
    assert len(fills(first)) > 2


def test_a_snapshot_of_other_instruments_or_garbage_is_refused() -> None:
    b = Bench()
    other = SimVenue({0: PERPETUAL, 1: SPOT}, {0: b.book, 1: b.book}, b.settings)

    with pytest.raises(DataError, match="instruments"):
        b.venue.restore(other.snapshot())
    with pytest.raises(DataError, match="does not fit"):
        b.venue.restore(b"garbage")


@pytest.mark.parametrize(
    "bad", [{"cash": Decimal("nan")}, {"cash": Decimal(-1)}, {"submit_latency_ms": -1}, {"slip_ticks": -1}, {"closed_orders_kept": 0}]
)
def test_settings_out_of_bounds_name_their_key(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        PaperSettings(**bad)


def test_without_a_valid_book_the_venue_stays_active_because_it_needs_the_quotes() -> None:
    b = Bench(with_book=False)
    assert b.venue.active
    b.quote(500, 501)
    assert b.venue.active


def test_an_old_quote_is_not_a_price_after_the_book_broke_while_nobody_watched() -> None:
    b = Bench()
    b.quote(1000, 1001)
    b.book.invalidate()
    b.order(1, 3)

    (report,) = b.settle()
    assert isinstance(report, OrderRejected)
    assert report.code == "no_liquidity"
