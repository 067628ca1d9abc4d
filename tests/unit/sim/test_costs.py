"""The cost model: each part against figures worked out by hand, its words, and what it refuses."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mia.domain.errors import ConfigError, DataError
from mia.domain.events import OrderFilled
from mia.domain.instruments import Instrument
from mia.execution.attribution import Attribution
from mia.execution.portfolio import Portfolio
from mia.ports import NEVER_NS
from mia.shipped import config_file
from mia.sim.carry import roll_ns
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
    QueueCosts,
    RollCosts,
    SpreadCosts,
)
from mia.sim.costs import CostModel, worse_ticks
from mia.sim.fees import TradedVolume, read_schedules
from mia.sim.queueing import ahead_after, p_behind

DAY_NS = 86_400 * 10**9
HOUR_NS = 3_600 * 10**9
E8 = 10**8


def instrument(kind: str, **changes: Any) -> Instrument:
    future = kind == "future"
    fields: dict[str, Any] = {
        "venue": "binance_spot" if kind == "spot" else "binance_usdm",
        "symbol": "X",
        "kind": kind,
        "family": "crypto",
        "quote_currency": "USDT",
        "tick_size": Decimal("0.25" if future else "0.1"),
        "lot_size": Decimal(1 if future else "0.001"),
        "multiplier": Decimal(50 if future else 1),
        "maker_fee": Decimal("0.0003"),
        "taker_fee": Decimal("0.0007"),
        "initial_margin": Decimal(1 if kind == "spot" else "0.1"),
    }
    return Instrument(**{**fields, **changes})


SPOT, PERP, FUTURE = instrument("spot"), instrument("perpetual"), instrument("future")


def model(definition: Instrument = PERP, **parts: Any) -> CostModel:
    return CostModel(Costs(**parts), {0: definition})


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


# --- settings ---------------------------------------------------------------------------------------------------
def test_every_part_has_one_line_of_words_that_says_its_figures() -> None:
    off = Costs().words()
    on = Costs(
        fees=FeeCosts(kind="table", volume=Decimal(5_000_000)),
        spread=SpreadCosts(kind="bps", half=Decimal("1.5")),
        latency=LatencyCosts(kind="fixed", submit_ms=Decimal(7)),
        queue=QueueCosts(kind="power", power=Decimal(2)),
        participation=ParticipationCosts(share_max=Decimal("0.05")),
        impact=ImpactCosts(kind="square_root", eta=Decimal("0.8")),
        funding=FundingCosts(kind="fixed", rate=Decimal("0.0001")),
        borrow=BorrowCosts(kind="annual", annual_rate=Decimal("0.06")),
        commission=CommissionCosts(per_contract=Decimal("2.25")),
        margin=MarginCosts(maintenance=Decimal("0.05")),
        roll=RollCosts(kind="quarterly"),
    ).words()

    assert len(off) == len(on) == len(Costs.__struct_fields__) - 1
    assert [line.partition(":")[0] for line in on] == list(Costs.__struct_fields__)[1:]
    assert all(a != b for a, b in zip(off, on, strict=True))
    figures = ("5000000", "1.5 bps", "7 ms", "x^2", "5%", "0.8", "0.0001", "6%", "2.25", "5%", "8 days")
    assert [f for f, line in zip(figures, on, strict=True) if f not in line] == []


def test_settings_survive_json_and_a_misspelt_one_is_refused() -> None:
    costs = Costs(seed=9, spread=SpreadCosts(kind="bps", half=Decimal("0.5")), borrow=BorrowCosts(instruments=("spot", "future")))

    text = msgspec.json.encode(costs)

    assert msgspec.json.decode(text, type=Costs) == costs
    with pytest.raises(msgspec.ValidationError, match="eeta"):
        msgspec.json.decode(b'{"impact": {"eeta": 1}}', type=Costs)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FeeCosts(kind="tiers"), "fees.kind must be one of off, instrument, table, got 'tiers'"),  # type: ignore[arg-type]
        (lambda: SpreadCosts(half=Decimal(-1)), "spread.half must be between 0"),
        (lambda: SpreadCosts(kind="file"), "spread.file must name a file"),
        (lambda: SpreadCosts(file="q.csv"), "spread.file is not read"),
        (lambda: LatencyCosts(submit_ms=Decimal("NaN")), "latency.submit_ms"),
        (lambda: LatencyCosts(kind="measured"), "latency.file must name a file"),
        (lambda: QueueCosts(power=Decimal(0)), "queue.power"),
        (lambda: ParticipationCosts(share_max=Decimal("1.01")), "participation.share_max"),
        (lambda: ParticipationCosts(interval_s=0), "participation.interval_s"),
        (lambda: ImpactCosts(eta=Decimal(-1)), "impact.eta"),
        (lambda: FundingCosts(rate=Decimal(2)), "funding.rate"),
        (lambda: FundingCosts(hours=(8, 0)), "funding.hours"),
        (lambda: BorrowCosts(annual_rate=Decimal(-1)), "borrow.annual_rate"),
        (lambda: CommissionCosts(per_contract=Decimal(-1)), "commission.per_contract"),
        (lambda: MarginCosts(initial=Decimal("0.05"), maintenance=Decimal("0.06")), "margin.maintenance 0.06 is above"),
        (lambda: MarginCosts(liquidation_fee=Decimal("0.01")), "needs margin.maintenance"),
        (lambda: RollCosts(kind="file"), "roll.file must name a file"),
        (lambda: RollCosts(days_before=31), "roll.days_before"),
        (lambda: Costs(seed=-1), "seed"),
    ],
)
def test_a_setting_that_cannot_be_is_named(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=r"\[costs\]") as refused:
        make()

    assert words in str(refused.value)


def test_maintenance_above_the_instruments_own_initial_margin_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"0\.2 is above the initial margin of X, 0\.1:"):
        model(PERP, margin=MarginCosts(maintenance=Decimal("0.2")))


# --- fees ---------------------------------------------------------------------------------------------------------
def test_the_instruments_own_fee_is_charged_rounded_up() -> None:
    costs = model(PERP)

    # 3 lots at 1001 ticks: 3 x 1001 x 10,000 e8 = 30,030,000 e8; 0.07 % is 21,021; 0.03 % is 9,009
    assert costs.fee(0, 1, 1001, 3, False, 0) == (21_021, 0)
    assert costs.fee(0, 1, 1001, 3, True, 0) == (9_009, 0)
    assert costs.fee(0, 1, 1, 1, False, 0) == (7, 0)
    assert model(PERP, fees=FeeCosts(kind="off")).fee(0, 1, 1001, 3, False, 0) == (0, 0)


def test_a_commission_is_paid_for_each_contract_of_a_future_and_of_nothing_else() -> None:
    commission = CommissionCosts(per_contract=Decimal("2.25"))

    assert model(FUTURE, fees=FeeCosts(kind="off"), commission=commission).fee(0, -1, 20_000, 3, False, 0) == (675_000_000, 0)
    assert model(PERP, fees=FeeCosts(kind="off"), commission=commission).fee(0, -1, 20_000, 3, False, 0) == (0, 0)


def test_a_spot_buy_pays_in_the_base_and_a_sell_in_the_quote() -> None:
    costs = model(SPOT, fees=FeeCosts(currency="base"))

    # 3 lots are 300,000 e8 of the base: 0.07 % is 210; worth 210 / 100,000 lots x 1001 x 10,000 e8 = 21,021
    assert costs.fee(0, 1, 1001, 3, False, 0) == (21_021, 210)
    assert costs.fee(0, -1, 1001, 3, False, 0) == (21_021, 0)
    assert model(PERP, fees=FeeCosts(currency="base")).fee(0, 1, 1001, 3, False, 0) == (21_021, 0)


TIERS = """
[[schedules]]
venue = "binance_usdm"
source = "a test"
as_of = 2026-01-01
is_confirmed = true
volume_days = 30
tiers = [
    { volume_min = "0", maker = "0.0002", taker = "0.0005" },
    { volume_min = "1000", maker = "0.0001", taker = "0.0004" },
    { volume_min = "5000", maker = "-0.0001", taker = "0.0003" },
]
"""


def test_the_tier_follows_the_volume_of_the_days_before_and_falls_back_when_they_are_gone(tmp_path: Path) -> None:
    (tmp_path / "fees.toml").write_text(TIERS)
    costs = model(PERP, fees=FeeCosts(kind="table", file=str(tmp_path / "fees.toml")))
    million = 10**6  # lots x ticks: 1e10 e8 of notional at 1 tick, 100 in quote currency

    def taker(day: float) -> int:
        return costs.fee(0, 1, million, 1, False, int(day * DAY_NS)).fee_e8

    first = taker(100)
    costs.volume.add(1_000 * E8, 100 * DAY_NS)
    same_day, next_day = taker(100.9), taker(101)
    costs.volume.add(4_000 * E8, 101 * DAY_NS)
    third, last, after = taker(102), taker(130.5), taker(131)

    notional = million * PERP.unit_e8
    rates = [fee * 10_000 // notional for fee in (first, same_day, next_day, third, last, after)]
    assert rates == [5, 5, 4, 3, 3, 4]
    assert taker(132) * 10_000 // notional == 5
    assert costs.files == [tmp_path / "fees.toml"]


def test_volume_traded_elsewhere_counts_for_the_tier(tmp_path: Path) -> None:
    (tmp_path / "fees.toml").write_text(TIERS)
    costs = model(PERP, fees=FeeCosts(kind="table", file=str(tmp_path / "fees.toml"), volume=Decimal(5_000)))

    assert costs.fee(0, 1, 10**6, 1, True, 0).fee_e8 == -1_000_000


def test_the_shipped_tiers_are_read_and_a_venue_without_figures_keeps_the_instruments_own() -> None:
    schedules = read_schedules(config_file("fee_tiers.toml"))

    assert schedules["binance_spot"].tiers[0].taker == Decimal("0.001")
    assert all(s.source and s.as_of for s in schedules.values())
    kraken = instrument("spot", venue="kraken")
    assert model(kraken, fees=FeeCosts(kind="table")).fee(0, 1, 1001, 3, False, 0).fee_e8 == 21_021
    assert model(SPOT, fees=FeeCosts(kind="table")).fee(0, 1, 1001, 3, False, 0).fee_e8 == 30_030


def test_a_venue_without_a_schedule_is_named() -> None:
    with pytest.raises(ConfigError, match="no schedule of nowhere for X"):
        model(instrument("spot", venue="nowhere"), fees=FeeCosts(kind="table"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"1000"', '"0"', "tier 2: volume_min must begin at 0 and rise"),
        ('"0.0005"', '"0.5"', "tier 1: taker is a share of notional"),
        ("volume_days = 30", "volume_days = 0", "volume_days must be 1 to 366"),
        ('source = "a test"', 'sauce = "a test"', "sauce"),
        ("[[schedules]]", "[[schedules", "fees.toml"),
    ],
)
def test_a_bad_schedule_is_refused_by_file_and_place(tmp_path: Path, old: str, new: str, words: str) -> None:
    (tmp_path / "fees.toml").write_text(TIERS.replace(old, new))

    with pytest.raises(ConfigError, match=r"fees\.toml") as refused:
        read_schedules(tmp_path / "fees.toml")

    assert words in str(refused.value)


def test_volume_of_a_day_before_the_newest_counts_for_the_newest() -> None:
    volume = TradedVolume()
    volume.add(5, 10 * DAY_NS)
    volume.add(7, 9 * DAY_NS)

    assert volume.trailing_e8(11 * DAY_NS, 1) == 12
    assert volume.trailing_e8(10 * DAY_NS, 30) == 0


# --- price and size -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("spread", "side", "mid2", "touch"),
    [
        (SpreadCosts(), 1, 2000, 1001),
        (SpreadCosts(), -1, 2000, 999),
        (SpreadCosts(), 1, 2001, 1002),  # 1000.5 + 1 is not on the grid: up for a buyer,
        (SpreadCosts(), -1, 2001, 999),  # down for a seller
        (SpreadCosts(half=Decimal("0.5")), 1, 2001, 1001),
        (SpreadCosts(kind="bps", half=Decimal(10)), 1, 2000, 1001),  # 10 bps of 1000 ticks is one
        (SpreadCosts(kind="bps", half=Decimal(11)), -1, 2000, 998),
        (SpreadCosts(kind="off"), 1, 2000, 1000),
        (SpreadCosts(half=Decimal(5_000)), -1, 2000, 1),  # never below one tick
    ],
)
def test_half_the_spread_is_paid_in_whole_ticks_against_us(spread: SpreadCosts, side: int, mid2: int, touch: int) -> None:
    assert model(spread=spread).fill_price(0, side, mid2, 1) == (touch, touch, mid2)


def test_a_limit_is_never_passed() -> None:
    costs = model(spread=SpreadCosts(half=Decimal(9)))

    assert costs.fill_price(0, 1, 2000, 1, limit_ticks=1004) == (1004, 1004, 2000)
    assert costs.fill_price(0, -1, 2000, 1, limit_ticks=996) == (996, 996, 2000)


def test_the_spread_of_a_column_is_the_bars_own_and_must_be_a_number() -> None:
    costs = model(spread=SpreadCosts(kind="column"))

    assert costs.fill_price(0, 1, 2000, 1, half_spread_ticks=2.5).price_ticks == 1003
    with pytest.raises(DataError, match=r"got nan \(ts_ns 77\)"):
        costs.fill_price(0, 1, 2000, 1, half_spread_ticks=math.nan, ts_ns=77)


def test_the_spread_of_a_file_is_that_of_the_last_quote_before(tmp_path: Path) -> None:
    (tmp_path / "X.csv").write_text("ts_ns,bid,ask\n100,10.0,10.4\n200,10.0,11.0\n")
    costs = model(spread=SpreadCosts(kind="file", file=str(tmp_path / "{symbol}.csv")))

    assert costs.fill_price(0, 1, 2000, 1, ts_ns=199).price_ticks == 1002
    assert costs.fill_price(0, 1, 2000, 1, ts_ns=200).price_ticks == 1005
    with pytest.raises(DataError, match="no quote at or before ts_ns 99"):
        costs.fill_price(0, 1, 2000, 1, ts_ns=99)
    assert costs.files == [tmp_path / "X.csv"]


def test_impact_is_the_square_root_of_the_share_of_the_volume() -> None:
    costs = model(spread=SpreadCosts(kind="off"), impact=ImpactCosts(kind="square_root", eta=Decimal("0.5")))

    price = costs.fill_price(0, 1, 200_000, 25, sigma=0.02, volume_lots=10_000)

    assert price.touch_ticks == 100_000
    assert price.price_ticks - price.touch_ticks == 50  # 100,000 x 0.5 x 0.02 x sqrt(1/400)
    assert costs.impact_ticks(200_000, 100, 0.02, 10_000) == pytest.approx(2 * costs.impact_ticks(200_000, 25, 0.02, 10_000), rel=1e-12)
    assert costs.impact_ticks(200_000, 25, math.nan, 10_000) == costs.impact_ticks(200_000, 25, 0.0, 10_000) == 0.0
    assert costs.impact_ticks(200_000, 25, 0.02, 0) == pytest.approx(1000, rel=1e-12)  # volume unknown: all of it is ours


def test_a_price_is_rounded_once_so_a_small_impact_within_the_tick_costs_nothing_more() -> None:
    costs = model(spread=SpreadCosts(half=Decimal("0.3")), impact=ImpactCosts(kind="square_root"))

    price = costs.fill_price(0, 1, 2000, 1, sigma=0.0005, volume_lots=1)  # 0.3 + 0.5 ticks

    assert price == (1001, 1001, 2000)
    assert price.moments(1998).decision_mid2 == 1998
    assert price.moments(1998).touch_ticks == 1001


def test_the_volume_caps_our_share_in_parts_or_as_a_whole() -> None:
    parts = model(participation=ParticipationCosts(share_max=Decimal("0.1")))
    whole = model(participation=ParticipationCosts(share_max=Decimal("0.1"), partial_fills=False))

    assert [parts.capped_lots(n, 99) for n in (3, 9, 10)] == [3, 9, 9]
    assert [whole.capped_lots(n, 99) for n in (3, 9, 10)] == [3, 9, 0]
    assert parts.capped_lots(9, 99, used_lots=5) == 4
    assert parts.capped_lots(9, 0) == 0
    assert model().capped_lots(9, 0) == 9


# --- latency ------------------------------------------------------------------------------------------------------
def test_latency_is_the_venues_fixed_or_drawn_by_number_alone(tmp_path: Path) -> None:
    path = tmp_path / "latency.csv"
    path.write_text("quantile,submit_ms,report_ms\n0,1,10\n0.5,2,20\n1,10,40\n")
    drawn = LatencyCosts(kind="measured", file=str(path))
    one, same, other = model(latency=drawn), model(latency=drawn), model(latency=drawn, seed=2)

    numbers = range(4_000)
    submits = [one.submit_ns(n, 7) for n in numbers]
    reports = [one.report_ns(n, 7) for n in numbers]

    assert model().submit_ns(3, 7) == 7
    assert model(latency=LatencyCosts(kind="fixed", submit_ms=Decimal("1.5"))).submit_ns(3, 7) == 1_500_000
    assert [same.submit_ns(n, 7) for n in reversed(numbers)] == submits[::-1]
    assert [other.submit_ns(n, 7) for n in numbers] != submits
    assert (min(submits) >= 1_000_000, max(submits) <= 10_000_000) == (True, True)
    assert sum(s <= 2_000_000 for s in submits) / 4_000 == pytest.approx(0.5, abs=0.03)
    assert sum(s <= 6_000_000 for s in submits) / 4_000 == pytest.approx(0.75, abs=0.03)
    assert sum(r <= 20_000_000 for r in reports) / 4_000 == pytest.approx(0.5, abs=0.03)
    both = sum(s <= 2_000_000 and r <= 20_000_000 for s, r in zip(submits, reports, strict=True)) / 4_000
    assert both == pytest.approx(0.25, abs=0.03)  # drawn apart


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("quantile,submit,report\n0,1,1\n", "columns must be quantile,submit_ms,report_ms"),
        ("quantile,submit_ms,report_ms\n0,1,1\n0.9,1,1\n", "quantiles must go from 0 to 1"),
        ("quantile,submit_ms,report_ms\n0,1,1\n0,2,2\n1,3,3\n", "row 3: quantile 0 does not rise"),
        ("quantile,submit_ms,report_ms\n0,5,1\n1,4,2\n", "row 3: submit_ms must be 0 to 60000 and not fall"),
        ("quantile,submit_ms,report_ms\n0,nan,1\n1,4,2\n", "row 2: submit_ms must be finite"),
        ("quantile,submit_ms,report_ms\n0,x,1\n1,4,2\n", "row 2: submit_ms is no number"),
        ("quantile,submit_ms,report_ms\n0,1\n", "row 2: 3 cells expected"),
        ("quantile,submit_ms,report_ms\n", "holds no rows"),
    ],
)
def test_a_bad_latency_file_is_refused_by_row(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "latency.csv"
    path.write_text(text)

    with pytest.raises(DataError, match=r"latency\.csv") as refused:
        model(latency=LatencyCosts(kind="measured", file=str(path)))

    assert words in str(refused.value)


# --- the queue ----------------------------------------------------------------------------------------------------
def test_the_probability_that_a_cancel_was_behind_us_follows_the_form() -> None:
    assert p_behind(30, 10, "power", 1.0) == pytest.approx(0.25)
    assert p_behind(30, 10, "power", 2.0) == pytest.approx(100 / 1000)
    assert p_behind(30, 10, "log", 0.0) == pytest.approx(math.log(11) / (math.log(11) + math.log(31)))
    assert p_behind(0, 0, "log", 0.0) == 1.0


@pytest.mark.parametrize(
    ("form", "ahead", "was", "traded", "shown", "expected"),
    [
        ("risk_averse", 30, 40, 0, 35, 30),  # five left: from behind us
        ("risk_averse", 30, 40, 0, 12, 12),  # nobody can be before us who is not shown
        ("power", 30, 40, 0, 36, 27),  # 4 left, p behind = 1/4: 3 of them were before us
        ("power", 30, 40, 6, 34, 30),  # the trades are taken off already
        ("power", 30, 40, 0, 50, 30),  # who comes late is behind us
        ("power", 30, 30, 0, 20, 20),  # nobody behind us: all were before
        ("power", 30, 40, 0, 0, 0),
        ("power", 10, 40, 0, 8, 2),  # 32 left, 24 of them can be behind us: 8 and no less were before
    ],
)
def test_a_level_that_shrinks_moves_us_up(form: str, ahead: int, was: int, traded: int, shown: int, expected: int) -> None:
    assert ahead_after(ahead, was, traded, shown, form, 1.0) == expected


def test_no_form_of_the_queue_is_more_cautious_than_the_risk_averse_one() -> None:
    for ahead in (1, 7, 40):
        for was in range(ahead, 60, 7):
            for shown in range(60):
                cautious = ahead_after(ahead, was, 0, shown, "risk_averse", 0.0)
                for form in ("power", "log"):
                    assert 0 <= ahead_after(ahead, was, 0, shown, form, 3.0) <= cautious <= shown


# --- time ---------------------------------------------------------------------------------------------------------
def test_funding_is_paid_by_longs_at_the_exchanges_hours_and_rounded_against_us() -> None:
    costs = model(PERP, funding=FundingCosts(kind="fixed", rate=Decimal("0.0001")))
    noon = at("2026-03-02T12:00")

    due = costs.next_charge_ns(0, noon)

    assert due == at("2026-03-02T16:00")
    assert costs.next_charge_ns(0, due) == at("2026-03-03T00:00")
    assert costs.next_charge_ns(0, due - 1) == due
    # 7 lots at 1000.5 ticks: 70,035,000 e8; a ten-thousandth is 7003.5
    assert costs.charges(0, due, 7, 2001) == [("funding", -7_004)]
    assert costs.charges(0, due, -7, 2001) == [("funding", 7_003)]
    assert costs.charges(0, due, 0, 2001) == costs.charges(0, noon, 7, 2001) == []


def test_only_a_perpetual_pays_funding() -> None:
    for definition in (SPOT, FUTURE):
        assert model(definition, funding=FundingCosts(kind="fixed", rate=Decimal("0.0001"))).next_charge_ns(0, 0) == NEVER_NS


def test_a_file_of_rates_says_when_and_how_much(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("ts_ns,rate\n1000,0.0001\n1500,-0.0003\n")
    costs = model(PERP, funding=FundingCosts(kind="file", file=str(tmp_path / "f.csv")))

    assert [costs.next_charge_ns(0, t) for t in (0, 1000, 1500)] == [1000, 1500, NEVER_NS]
    assert costs.charges(0, 1500, 10, 2000) == [("funding", 30_000)]


def test_borrow_is_a_365th_of_the_year_at_each_midnight_that_is_short() -> None:
    costs = model(SPOT, borrow=BorrowCosts(kind="annual", annual_rate=Decimal("0.365")))
    midnight = costs.next_charge_ns(0, 5 * DAY_NS + 1)

    assert midnight == 6 * DAY_NS
    assert costs.charges(0, midnight, -10, 2000) == [("borrow", -100_000)]
    assert costs.charges(0, midnight, 10, 2000) == []
    assert costs.charges(0, midnight + HOUR_NS, -10, 2000) == []


def test_a_roll_costs_the_spread_and_the_fee_of_both_legs() -> None:
    parts: dict[str, Any] = {
        "commission": CommissionCosts(per_contract=Decimal("2.25")),
        "roll": RollCosts(kind="quarterly", half_spread_ticks=Decimal("0.5")),
    }
    free, charged = model(FUTURE, fees=FeeCosts(kind="off"), **parts), model(FUTURE, **parts)
    due = free.next_charge_ns(0, at("2026-01-20T00:00"))

    # 3 contracts: 2 x 3 x (half a tick of 12.50 + 2.25); the fee adds 0.07 % of 3 x 50 x 5000 on each leg
    assert due == at("2026-03-12T00:00")
    assert free.charges(0, due, -3, 40_000) == [("roll", -51 * E8)]
    assert charged.charges(0, due, 3, 40_000) == [("roll", -51 * E8 - 2 * 525 * E8)]
    assert free.next_charge_ns(0, due) == at("2026-06-11T00:00")


def test_rolls_of_a_file_happen_at_its_times(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("ts_ns\n500\n900\n")
    costs = model(FUTURE, roll=RollCosts(kind="file", file=str(tmp_path / "r.csv")))

    assert [costs.next_charge_ns(0, t) for t in (0, 500, 900)] == [500, 900, NEVER_NS]
    assert [kind for kind, _ in costs.charges(0, 900, 1, 40_000)] == ["roll"]


@pytest.mark.parametrize(
    ("year", "month", "friday"), [(2026, 3, "2026-03-20"), (2026, 6, "2026-06-19"), (2024, 3, "2024-03-15"), (2023, 12, "2023-12-15")]
)
def test_the_roll_is_counted_from_the_third_friday(year: int, month: int, friday: str) -> None:
    assert roll_ns(year, month, 0) == at(friday)
    assert roll_ns(year, month, 8) == at(friday) - 8 * DAY_NS


def test_maintenance_and_liquidation_fee_are_shares_of_notional_rounded_up() -> None:
    costs = model(PERP, margin=MarginCosts(maintenance=Decimal("0.05"), liquidation_fee=Decimal("0.0125")))

    assert costs.maintenance_e8(0, -7, 2001) == 3_501_750
    assert costs.maintenance_e8(0, 1, 1) == 250
    assert costs.liquidation_fee_e8(0, 1001, 7) == 875_875
    assert model(SPOT, margin=MarginCosts(maintenance=Decimal("0.05"))).maintenance_e8(0, 7, 2001) == 0
    assert (worse_ticks(5, 90, 110), worse_ticks(-5, 90, 110)) == (90, 110)


def test_a_bars_fill_in_the_documented_order_adds_up_to_the_change_of_equity() -> None:
    """Decided at a close of 1000, filled at the next open of 1004 with half a spread of one tick, then marked at 1010."""
    costs = model(PERP, spread=SpreadCosts(half=Decimal(1)), participation=ParticipationCosts(share_max=Decimal("0.1")))
    terms = costs.rates[0].terms
    attribution, portfolio = Attribution([terms]), Portfolio(instance="t", currency="USDT", cash_e8=10**12)

    lots = costs.capped_lots(50, 300)
    price = costs.fill_price(0, 1, 2 * 1004, lots)
    fee = costs.fee(0, 1, price.price_ticks, lots, False, 0)
    fill = OrderFilled(0, 0, 0, "o", "1", 0, 1, price.price_ticks, lots, fee.fee_e8, False, fee.base_fee_e8)
    portfolio.apply_fill(terms, fill, 1)
    attribution.fill(fill, price.moments(2 * 1000))
    parts = attribution.parts([2 * 1010])

    assert (lots, price.price_ticks) == (30, 1005)
    unit = 30 * 10_000
    assert (parts.gross_e8, parts.slippage_e8, parts.spread_e8, parts.impact_e8) == (10 * unit, 4 * unit, unit, 0)
    assert parts.fees_e8 == 1005 * unit * 7 // 10_000
    assert parts.net_e8 == portfolio.equity_e8([2 * 1010]) - 10**12
