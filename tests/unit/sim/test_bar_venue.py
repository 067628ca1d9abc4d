"""The venue of bars against cases worked out by hand: what fills when, at which price, at what cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from mia.domain.effects import CancelOrder, SubmitOrder
from mia.domain.events import BUY, SELL, CashFlow, OrderCanceled, OrderExpired, OrderFilled, OrderReplaced
from mia.domain.instruments import Instrument
from mia.domain.orders import OrderType, Purpose
from mia.execution.attribution import Moments
from mia.sim.bar_desk import BarPrices
from mia.sim.bar_venue import BarVenue
from mia.sim.cost_settings import (
    BorrowCosts,
    CommissionCosts,
    Costs,
    FeeCosts,
    FundingCosts,
    ImpactCosts,
    LatencyCosts,
    MarginCosts,
    ParticipationCosts,
    RollCosts,
    SpreadCosts,
)

HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS
START_NS = 1_709_251_200 * 10**9  # 2024-03-01 00:00 UTC
FREE = Costs.free()
TWO_TICKS = Costs(spread=SpreadCosts(half=Decimal(2)))


def instrument(kind: str = "perpetual", **changed: Any) -> Instrument:
    """One tick of one lot is 0.01; fees 2 and 5 per 10,000."""
    fields: dict[str, Any] = {
        "venue": "file", "symbol": "X", "kind": kind, "family": "crypto", "quote_currency": "USDT", "tick_size": Decimal("1"),
        "lot_size": Decimal("0.01"), "maker_fee": Decimal("0.0002"), "taker_fee": Decimal("0.0005"),
        "initial_margin": Decimal("0.1") if kind != "spot" else Decimal(1),
    }  # fmt: skip
    return Instrument(**(fields | changed))


class Market:
    """Hour bars one after another, and what the venue says of each."""

    def __init__(self, costs: Costs = FREE, kind: str = "perpetual", cash: int = 100_000, **options: Any) -> None:
        self.venue = BarVenue({0: instrument(kind)}, costs, cash_e8=cash * 10**8, **options)
        self.now_ns = START_NS
        self.count = 0
        self.reports: list[Any] = []

    def order(self, side: int, lots: int, kind: str = "market", level: int = 0, *, reduces: bool = False, group: str = "") -> str:
        """Send one now."""
        self.count += 1
        name, order_type = f"o{self.count}", OrderType(kind)
        is_limit = order_type is OrderType.LIMIT
        price, stop = (level, 0) if is_limit else (0, level)
        effect = SubmitOrder(name, 0, side, order_type, lots, price, stop, reduces, is_limit, Purpose.ENTRY, 1, group)
        self.venue.send([effect], self.now_ns)
        return name

    def bar(self, o: int, h: int, low: int, c: int, volume: int = 1_000, *, gap_ns: int = 0, length_ns: int = HOUR_NS) -> list[Any]:
        """The next bar; returns what was reported during it, and lets requests of its close arrive."""
        begin = self.now_ns + gap_ns
        end = begin + length_ns
        self.venue.open_bars([BarPrices(0, begin, end, o, h, low, c, volume)])
        found = self.drain(end)
        self.venue.close_bars()
        self.now_ns = end
        return found

    def drain(self, until_ns: int) -> list[Any]:
        """Reports up to a time."""
        found = []
        while (report := self.venue.pop(until_ns, len(self.reports) + 1)) is not None:
            self.reports.append(report)
            found.append(report)
        return found


def fills(reports: list[Any]) -> list[tuple[int, int, int]]:
    """(signed lots, price, time since the start) of each fill."""
    return [(r.side * r.qty_lots, r.price_ticks, r.ts_recv_ns - START_NS) for r in reports if isinstance(r, OrderFilled)]


def flows(reports: list[Any]) -> list[tuple[str, int, int]]:
    """(kind, amount, time since the start) of each flow."""
    return [(r.kind, r.amount_e8, r.ts_recv_ns - START_NS) for r in reports if isinstance(r, CashFlow)]


# --- prices -------------------------------------------------------------------------------------------------------------


def test_a_market_order_pays_half_the_spread_on_the_next_open() -> None:
    m = Market(TWO_TICKS)
    m.bar(100, 110, 90, 105)

    m.order(BUY, 3)
    found = m.bar(107, 120, 95, 111)

    assert fills(found) == [(3, 109, HOUR_NS)]
    (fill,) = [r for r in found if isinstance(r, OrderFilled)]
    assert fill.fee_e8 == 163_500  # 3 lots x 109 x 0.01 x 0.0005 = 0.001635
    assert m.venue.moments("o1", fill.fill_id, 210) == Moments(210, 214, 109)


@pytest.mark.parametrize(("side", "kind"), [(SELL, "stop"), (BUY, "stop"), (SELL, "take"), (BUY, "take"), (SELL, "limit"), (BUY, "limit")])
def test_an_order_rests_through_bars_that_do_not_reach_it_and_fills_in_the_first_that_does(side: int, kind: str) -> None:
    m = Market()
    m.bar(100, 101, 99, 100)
    rises = (side == BUY) == (kind == "stop")
    level = 110 if rises else 90
    beyond = 1 if kind == "limit" else 0  # a limit wants the market to go through it
    m.order(side, 2, kind, level)
    m.bar(100, 101, 99, 100)

    quiet = [m.bar(100, 110 - 1 + beyond, 90 + 1 - beyond, 100) for _ in range(5)]
    reached = m.bar(100, 110 + beyond if rises else 105, 90 - beyond if not rises else 95, 100)

    assert quiet == [[]] * 5
    assert [lots for lots, _, _ in fills(reached)] == [2 * side]


def test_a_bar_whose_open_lies_outside_of_its_range_is_traded_at_its_open() -> None:
    m = Market()
    m.bar(100, 101, 99, 100)
    m.order(SELL, 2, "stop", 95)
    m.bar(100, 101, 99, 100)

    found = m.bar(94, 101, 96, 100)  # a broken file

    assert fills(found)[0][:2] == (-2, 94)


@pytest.mark.parametrize(
    ("spread", "bought", "sold"),
    [
        (SpreadCosts(kind="off"), 20_000, 20_000),
        (SpreadCosts(kind="ticks", half=Decimal("1.5")), 20_002, 19_998),  # whole ticks, against us
        (SpreadCosts(kind="bps", half=Decimal(10)), 20_020, 19_980),
    ],
)
def test_the_half_spread_takes_the_form_that_is_asked_for(spread: SpreadCosts, bought: int, sold: int) -> None:
    m = Market(Costs(spread=spread))

    m.order(BUY, 1)
    first = m.bar(20_000, 20_000, 20_000, 20_000)
    m.order(SELL, 1)
    second = m.bar(20_000, 20_000, 20_000, 20_000)

    assert [price for _, price, _ in fills(first + second)] == [bought, sold]


def test_quotes_of_a_file_give_the_spread_of_their_time(tmp_path: Any) -> None:
    quotes = tmp_path / "quotes.csv"
    quotes.write_text(f"ts_ns,bid,ask\n{START_NS},99,101\n{START_NS + HOUR_NS},90,110\n")
    m = Market(Costs(spread=SpreadCosts(kind="file", file=str(quotes))))

    m.order(BUY, 1)
    first = m.bar(100, 100, 100, 100)
    m.order(BUY, 1)
    second = m.bar(100, 100, 100, 100)

    assert [price for _, price, _ in fills(first + second)] == [101, 110]


def test_impact_is_the_recent_bars_volatility_times_the_root_of_our_share() -> None:
    m = Market(Costs(spread=SpreadCosts(kind="off"), impact=ImpactCosts(kind="square_root", eta=Decimal(1))))
    m.bar(10_000, 10_000, 10_000, 10_000, volume=400)
    m.bar(10_000, 11_000, 10_000, 11_000, volume=400)  # ln(1.1) = 0.0953; with the first return 0: rms 0.0674

    m.order(BUY, 100)
    found = m.bar(10_000, 20_000, 5_000, 20_000, volume=999_999)  # what this bar will do is not known at its open

    assert fills(found)[0][1] == 10_337  # 10,000 x (1 + 0.0674 x sqrt(100 / 400)) = 10,336.97, up
    (fill,) = [r for r in found if isinstance(r, OrderFilled)]
    assert m.venue.moments("o1", fill.fill_id) == Moments(0, 20_000, 10_000)  # all of it is impact, none spread


# --- gaps, stops and takes -------------------------------------------------------------------------------------------------


def held(m: Market, side: int = BUY, lots: int = 2, stop: int = 95, take: int = 120) -> None:
    """A position opened at 100 with both its orders, after one bar that reached neither."""
    m.order(side, lots)
    m.bar(100, 102, 99, 101)
    m.order(-side, lots, "stop", stop, reduces=True, group="g")
    m.order(-side, lots, "take", take, reduces=True, group="g")


def test_a_stop_that_the_bar_reaches_fills_at_its_level_and_takes_its_twin_along() -> None:
    m = Market(TWO_TICKS)
    held(m)

    found = m.bar(101, 103, 94, 102)

    assert fills(found) == [(-2, 93, 2 * HOUR_NS - 1)]
    assert [(r.client_order_id, r.reason) for r in found if isinstance(r, OrderCanceled)] == [("o3", "group")]


def test_of_stop_and_take_in_one_bar_the_stop_happens() -> None:
    m = Market()
    held(m)

    assert fills(m.bar(101, 130, 94, 128)) == [(-2, 95, 2 * HOUR_NS - 1)]


@pytest.mark.parametrize(("opened", "price"), [(90, 90), (125, 125)])
def test_a_gap_beyond_a_level_fills_at_the_gap(opened: int, price: int) -> None:
    m = Market()
    held(m)

    assert fills(m.bar(opened, 130, 80, 100)) == [(-2, price, HOUR_NS)]


def test_a_short_position_is_stopped_above() -> None:
    m = Market()
    held(m, SELL, stop=105, take=90)

    assert fills(m.bar(101, 106, 89, 92)) == [(2, 105, 2 * HOUR_NS - 1)]


def test_a_flip_closes_and_opens_in_one_fill() -> None:
    m = Market()
    m.order(BUY, 2)
    m.bar(100, 100, 100, 100)

    m.order(SELL, 5)
    m.bar(110, 110, 110, 110)

    assert m.venue.position_lots(0) == -3
    assert m.venue.cash_e8 == 100_000 * 10**8 + 2 * 10 * 10**6  # 2 lots x 10 ticks x 0.01


def test_nothing_is_sold_short_on_spot() -> None:
    m = Market(kind="spot")
    m.order(BUY, 2)
    m.bar(100, 100, 100, 100)

    m.order(SELL, 5)
    found = m.bar(100, 100, 100, 100)

    assert fills(found) == [(-2, 100, HOUR_NS)]
    assert [r.reason for r in found if isinstance(r, OrderExpired)] == ["insufficient_balance"]


# --- limits ----------------------------------------------------------------------------------------------------------------


def test_a_limit_fills_at_its_price_once_the_market_goes_through_it() -> None:
    m = Market(TWO_TICKS)
    m.bar(100, 100, 100, 100)

    m.order(BUY, 2, "limit", 98)
    touched = m.bar(100, 101, 98, 99)  # reaches it: whoever stood there before is served
    through = m.bar(99, 99, 97, 99)

    assert fills(touched) == []
    assert fills(through) == [(2, 98, 3 * HOUR_NS - 1)]
    (fill,) = [r for r in through if isinstance(r, OrderFilled)]
    assert fill.is_maker
    assert fill.fee_e8 == 39_200  # 2 x 98 x 0.01 x 0.0002: the maker's, and no spread


def test_a_limit_that_the_open_lies_beyond_gets_no_better_price_than_its_own() -> None:
    m = Market()
    m.bar(100, 100, 100, 100)

    m.order(BUY, 2, "limit", 98)

    assert fills(m.bar(90, 92, 88, 91)) == [(2, 98, HOUR_NS)]


# --- volume ----------------------------------------------------------------------------------------------------------------


def test_what_the_volume_does_not_allow_goes_on_in_the_next_bars() -> None:
    m = Market(Costs(spread=SpreadCosts(kind="off"), participation=ParticipationCosts(share_max=Decimal("0.1"))))

    m.order(BUY, 25)
    found = [m.bar(100 + k, 110, 90, 100, volume=100) for k in range(4)]

    assert [fills(reports) for reports in found] == [[(10, 100, 0)], [(10, 101, HOUR_NS)], [(5, 102, 2 * HOUR_NS)], []]


def test_an_order_that_must_not_be_split_is_gone_when_it_does_not_fit() -> None:
    m = Market(Costs(participation=ParticipationCosts(share_max=Decimal("0.1"), partial_fills=False)))

    m.order(BUY, 25)
    found = m.bar(100, 110, 90, 100, volume=100)

    assert fills(found) == []
    assert [r.reason for r in found if isinstance(r, OrderExpired)] == ["participation"]


def test_a_stop_that_the_volume_cuts_takes_its_twin_down_and_goes_on_at_the_next_open() -> None:
    m = Market(Costs(spread=SpreadCosts(kind="off"), participation=ParticipationCosts(share_max=Decimal("0.1"))))
    held(m, lots=20)

    first = m.bar(101, 103, 94, 96, volume=150)
    second = m.bar(97, 130, 94, 128, volume=1_000)

    assert fills(first) == [(-15, 95, 2 * HOUR_NS - 1)]
    assert [(r.client_order_id, r.qty_lots) for r in first if isinstance(r, OrderReplaced)] == [("o3", 5)]
    assert fills(second) == [(-5, 97, 2 * HOUR_NS)]


# --- latency ---------------------------------------------------------------------------------------------------------------


def late(minutes: int) -> Market:
    """An account whose orders take so long; reports come at once."""
    share = Decimal(minutes * 60_000)
    return Market(Costs(spread=SpreadCosts(kind="off"), latency=LatencyCosts(kind="fixed", submit_ms=share, report_ms=Decimal(0))))


def test_an_order_that_arrives_before_the_next_open_meets_it() -> None:
    m = late(1)
    m.bar(100, 100, 100, 100)

    m.order(BUY, 1)

    assert fills(m.bar(107, 200, 50, 150, gap_ns=HOUR_NS)) == [(1, 107, 2 * HOUR_NS)]


def test_an_order_that_arrives_within_a_bar_fills_on_the_line_from_open_to_close() -> None:
    m = late(1)
    m.bar(100, 100, 100, 100)

    m.order(BUY, 1)
    up = m.bar(1_000, 5_000, 1, 1_090)  # a 60th of the way: 1,001.5, which a buyer pays in whole ticks
    m.order(SELL, 1)
    down = m.bar(1_000, 5_000, 1, 1_090)

    assert fills(up) == [(1, 1_002, HOUR_NS + HOUR_NS // 60)]
    assert fills(down) == [(-1, 1_001, 2 * HOUR_NS + HOUR_NS // 60)]


def test_a_cancel_on_its_way_does_not_stop_the_open() -> None:
    m = late(1)
    held(m)
    m.bar(101, 101, 101, 101)

    m.venue.send([CancelOrder("o2", 0)], m.now_ns)

    assert fills(m.bar(90, 90, 90, 90)) == [(-2, 90, 2 * HOUR_NS)]


def test_reports_come_after_their_latency() -> None:
    m = Market(Costs(spread=SpreadCosts(kind="off"), latency=LatencyCosts(kind="fixed", submit_ms=Decimal(0), report_ms=Decimal(50))))

    m.order(BUY, 1)
    (fill,) = [r for r in m.bar(100, 100, 100, 100) if isinstance(r, OrderFilled)]

    assert (fill.ts_event_ns, fill.ts_recv_ns) == (START_NS, START_NS + 50_000_000)


# --- charges ---------------------------------------------------------------------------------------------------------------


def test_funding_is_charged_at_its_hours_on_what_is_held_then() -> None:
    m = Market(Costs(spread=SpreadCosts(kind="off"), funding=FundingCosts(kind="fixed", rate=Decimal("0.001"))))
    m.order(BUY, 10)

    first = m.bar(100, 100, 100, 110, length_ns=8 * HOUR_NS)  # ends at 08:00, at 110
    second = m.bar(120, 120, 120, 130, length_ns=16 * HOUR_NS)  # 16:00 lies within it: at its open; 24:00 ends it, at 130

    assert flows(first) == [("funding", -1_100_000, 8 * HOUR_NS)]  # 10 lots x 110 x 0.01 x 0.001 = 0.011
    assert flows(second) == [("funding", -1_200_000, 16 * HOUR_NS), ("funding", -1_300_000, 24 * HOUR_NS)]


def test_what_is_due_between_bars_is_charged_at_the_last_close() -> None:
    m = Market(Costs(spread=SpreadCosts(kind="off"), funding=FundingCosts(kind="fixed", rate=Decimal("0.001"))))
    m.order(SELL, 10)
    m.bar(100, 100, 100, 110)

    found = m.bar(500, 500, 500, 500, gap_ns=9 * HOUR_NS)

    assert flows(found) == [("funding", 1_100_000, 8 * HOUR_NS)]  # a short receives it


def test_a_short_pays_for_what_it_borrowed_each_midnight() -> None:
    m = Market(
        Costs(spread=SpreadCosts(kind="off"), borrow=BorrowCosts(kind="annual", annual_rate=Decimal("0.365"), instruments=("perpetual",)))
    )
    m.order(SELL, 10)

    found = m.bar(100, 100, 100, 100, length_ns=DAY_NS)

    assert flows(found) == [("borrow", -1_000_000, DAY_NS)]  # 10 x 100 x 0.01 x 0.365 / 365 = 0.01


def test_a_future_pays_commission_with_its_fill_and_two_legs_at_a_roll(tmp_path: Any) -> None:
    rolls = tmp_path / "rolls.csv"
    rolls.write_text(f"ts_ns\n{START_NS + HOUR_NS // 2}\n")
    costs = Costs(
        fees=FeeCosts(kind="off"),
        spread=SpreadCosts(kind="off"),
        commission=CommissionCosts(per_contract=Decimal(2)),
        roll=RollCosts(kind="file", file=str(rolls), half_spread_ticks=Decimal(1)),
    )
    m = Market(costs, kind="future")

    m.order(BUY, 100)  # one contract
    found = m.bar(100, 100, 100, 100)

    (fill,) = [r for r in found if isinstance(r, OrderFilled)]
    assert fill.fee_e8 == 2 * 10**8
    assert flows(found) == [("roll", -6 * 10**8, HOUR_NS // 2)]  # 2 legs x (100 lots x 1 tick x 0.01 + 2)


# --- liquidation -----------------------------------------------------------------------------------------------------------

MARGIN = Costs(
    spread=SpreadCosts(kind="off"),
    fees=FeeCosts(kind="off"),
    margin=MarginCosts(maintenance=Decimal("0.05"), liquidation_fee=Decimal("0.01")),
)


def test_equity_below_maintenance_is_liquidated_at_the_bars_worse_price() -> None:
    m = Market(MARGIN, cash=10)  # 100 lots at 100: notional 100 on a cash of 10
    m.order(BUY, 100)
    m.bar(100, 100, 95, 100)  # at 95: equity 5, needed 4.75

    found = m.bar(100, 100, 94, 100)  # at 94: equity 4, needed 4.70

    assert fills(found) == [(-100, 94, 2 * HOUR_NS - 1)]
    assert flows(found) == [("liquidation_fee", -94_000_000, 2 * HOUR_NS - 1)]
    assert m.venue.cash_e8 == 10 * 10**8 - 6 * 10**8 - 94_000_000


def test_a_nearer_stop_closes_before_the_liquidation() -> None:
    m = Market(MARGIN, cash=10)
    held(m, lots=100, stop=97)

    assert fills(m.bar(100, 100, 90, 100)) == [(-100, 97, 2 * HOUR_NS - 1)]


def test_a_stop_beyond_the_liquidation_price_comes_too_late() -> None:
    m = Market(MARGIN, cash=10)
    held(m, lots=100, stop=93)

    found = m.bar(100, 100, 90, 100)

    assert fills(found) == [(-100, 90, 2 * HOUR_NS - 1)]
    assert {r.reason for r in found if isinstance(r, OrderCanceled)} == {"liquidation"}


def test_a_gap_through_everything_leaves_less_than_nothing() -> None:
    m = Market(MARGIN, cash=10)
    m.order(BUY, 100)
    m.bar(100, 100, 100, 100)

    m.bar(80, 82, 79, 80)

    assert m.venue.position_lots(0) == 0
    assert m.venue.cash_e8 == 10 * 10**8 - 21 * 10**8 - 79_000_000


# --- sizes at the fill -------------------------------------------------------------------------------------------------------


def test_an_order_sized_at_its_fill_buys_what_the_equity_then_buys() -> None:
    m = Market(FREE, cash=10, equity_share_e9=10**8)  # a tenth of equity as margin of a tenth: all of it
    m.bar(100, 100, 100, 100)

    m.order(BUY, 10)  # at the decision 10 / (100 x 0.01) lots
    found = m.bar(125, 125, 125, 125)

    assert fills(found) == [(8, 125, HOUR_NS)]
    assert [r.qty_lots for r in found if isinstance(r, OrderReplaced)] == [8]
