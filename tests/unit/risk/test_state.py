"""What the risk rules remember: stops stay, days turn, rates slide."""

from __future__ import annotations

import msgspec
import pytest

from mia.risk.limits import RiskSettings
from mia.risk.state import DAY_NS, HOUR_NS, MINUTE_NS, RiskState, is_penalty

SETTINGS = RiskSettings(
    position_lots_max=100, equity_share_max=0.2, order_lots_max=100, order_notional_max=1e6, exposure_notional_max=1e6,
    orders_per_minute_max=2, daily_loss_max=0.05, drawdown_max=0.1, quote_age_ms_max=1000, price_collar_bps_max=50.0,
    overtrade_trades_per_hour=4, cool_down_s=5.0,
)  # fmt: skip
NOON = 20_000 * DAY_NS + 12 * HOUR_NS


def state(equity: int = 1000) -> RiskState:
    made = RiskState.of(SETTINGS)
    made.update_equity(NOON, equity)
    return made


def test_drawdown_stop_trips_at_the_limit_and_says_so_once() -> None:
    risk = state(1000)

    trips = [risk.update_equity(NOON + i, equity) for i, equity in enumerate((2000, 1801, 1800, 1700))]

    assert trips == [False, False, True, False]
    assert risk.drawdown == pytest.approx(0.15)


def test_drawdown_stop_is_sticky_until_the_operator_resets_it() -> None:
    risk = state(1000)
    risk.update_equity(NOON, 900)

    risk.update_equity(NOON + 5 * DAY_NS, 5000)
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(risk), type=RiskState)
    copy.reset_stops()
    copy.update_equity(NOON + 5 * DAY_NS, 4999)

    assert risk.is_drawdown_tripped
    assert not copy.is_drawdown_tripped
    assert copy.peak_equity_e8 == 5000


@pytest.mark.parametrize("equity", [0, -100])
def test_equity_without_worth_trips_the_stop(equity: int) -> None:
    risk = RiskState.of(SETTINGS)

    assert risk.update_equity(NOON, equity)


def test_daily_loss_counts_from_the_last_equity_of_the_day_before() -> None:
    risk = state(1000)
    risk.update_equity(NOON + 1, 980)

    risk.update_equity(NOON + DAY_NS, 931)
    at_limit = risk.is_daily_loss_reached
    risk.update_equity(NOON + DAY_NS + 1, 932)

    assert risk.day_start_equity_e8 == 980
    assert at_limit
    assert risk.is_daily_loss_reached is False


def test_daily_loss_ends_with_the_day() -> None:
    risk = state(1000)
    risk.update_equity(NOON, 950)
    reached = risk.is_daily_loss_reached

    risk.update_equity(NOON + DAY_NS, 950)

    assert (reached, risk.is_daily_loss_reached) == (True, False)


def test_order_rate_slides_with_the_minute() -> None:
    risk = state()
    risk.note_order(NOON)
    one = risk.is_order_rate_reached(NOON)
    risk.note_order(NOON + 10)

    assert not one
    assert risk.is_order_rate_reached(NOON + MINUTE_NS - 1)
    assert not risk.is_order_rate_reached(NOON + MINUTE_NS)
    risk.note_order(NOON + MINUTE_NS)
    assert risk.is_order_rate_reached(NOON + MINUTE_NS + 9)


def test_lowered_order_rate_looks_at_fewer_orders() -> None:
    risk = state()
    risk.note_order(NOON)
    risk.limits.lower("orders_per_minute_max", 1)
    reached = risk.is_order_rate_reached(NOON + 5)
    risk.limits.lower("orders_per_minute_max", 0)

    assert reached
    assert risk.is_order_rate_reached(NOON + DAY_NS)


def test_overtrade_score_counts_the_trades_of_the_last_hour() -> None:
    risk = state()
    for i in range(3):
        risk.note_trade(NOON + i)

    scores = [risk.overtrade_risk_score(t) for t in (NOON + 5, NOON + HOUR_NS, NOON + HOUR_NS + 2)]
    risk.note_trade(NOON + 6)

    assert scores == [0.75, 0.5, 0.0]
    assert (is_penalty(risk.overtrade_risk_score(NOON + 7)), is_penalty(risk.overtrade_risk_score(NOON + HOUR_NS))) == (True, False)
    risk.note_trade(NOON + 2 * HOUR_NS)
    assert len(risk.trade_times_ns) == 1


def test_cool_down_doubles_with_rejections_in_a_row_and_is_bounded() -> None:
    risk = state()

    waits = []
    for _ in range(10):
        risk.note_reject(0, NOON)
        waits.append((risk.cool_until_ns[0] - NOON) // 1_000_000_000)
    risk.note_fill(0)
    risk.note_reject(0, NOON)

    assert waits == [5, 10, 20, 40, 80, 160, 320, 320, 320, 320]
    assert risk.cool_until_ns[0] == NOON + 5_000_000_000
