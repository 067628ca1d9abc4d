"""Limits are mandatory, finite and above zero; lowering only tightens."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from mia.domain.errors import ConfigError
from mia.risk.limits import Limits, RiskSettings

GOOD: dict[str, Any] = {
    "position_lots_max": 100, "equity_share_max": 0.2, "order_lots_max": 50, "order_notional_max": 5000.0,
    "exposure_notional_max": 9000.0, "orders_per_minute_max": 30, "daily_loss_max": 0.03, "drawdown_max": 0.1,
    "quote_age_ms_max": 1000, "price_collar_bps_max": 50.0, "overtrade_trades_per_hour": 30, "cool_down_s": 5.0,
}  # fmt: skip


@pytest.mark.parametrize("key", GOOD)
def test_limit_without_a_value_is_an_error_that_names_it(key: str) -> None:
    values = {k: v for k, v in GOOD.items() if k != key}

    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert(values, RiskSettings)


@pytest.mark.parametrize("key", GOOD)
@pytest.mark.parametrize("value", [0, -0.0, -1, math.nan, math.inf, -math.inf, 1e300])
def test_limit_that_limits_nothing_is_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"risk.{key} "):
        RiskSettings(**{**GOOD, key: value})


@pytest.mark.parametrize("key", ["equity_share_max", "daily_loss_max", "drawdown_max"])
def test_share_above_one_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        RiskSettings(**{**GOOD, key: 1.01})


def test_limit_of_one_symbol_is_checked_and_wins() -> None:
    limits = Limits.of(RiskSettings(**GOOD, position_lots_max_by_symbol={"BTCUSDT": 7}))

    assert (limits.position_lots("BTCUSDT"), limits.position_lots("ETHUSDT")) == (7, 100)
    with pytest.raises(ConfigError, match=r"position_lots_max_by_symbol\.BTCUSDT"):
        RiskSettings(**GOOD, position_lots_max_by_symbol={"BTCUSDT": 0})


def test_decimal_shares_become_exact_integers() -> None:
    limits = Limits.of(RiskSettings(**GOOD))

    assert (limits.equity_share_max_e9, limits.daily_loss_max_e9, limits.price_collar_max_e9) == (200_000_000, 30_000_000, 5_000_000)
    assert (limits.order_notional_max_e8, limits.quote_age_max_ns) == (5000 * 10**8, 10**9)


@pytest.mark.parametrize("value", [101, 100, math.nan, math.inf, -1.0, -math.inf])
def test_limit_is_never_raised_nor_set_to_nonsense(value: float) -> None:
    limits = Limits.of(RiskSettings(**GOOD))

    assert not limits.lower("position_lots_max", value)
    assert limits.position_lots_max == 100


def test_lowered_limit_binds_every_symbol() -> None:
    limits = Limits.of(RiskSettings(**GOOD, position_lots_max_by_symbol={"A": 70, "B": 20}))

    assert limits.lower("position_lots_max", 50)
    assert limits.lower("position_lots_max_by_symbol.B", 10)

    assert [limits.position_lots(s) for s in ("A", "B", "C")] == [50, 10, 50]
    assert not limits.lower("position_lots_max_by_symbol.C", 1)
    assert not limits.lower("no_such_limit", 1)
