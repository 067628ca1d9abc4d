"""Under another library's rules we make its trades: figures that backtesting.py publishes, and vectorbt's from a run in its environment."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mia.backtest.run.prepare import Request, execute, prepare
from mia.backtest.run.presets import preset
from mia.backtest.run.result import Result
from mia.backtest.stats.conventions import backtesting_py
from mia.domain.errors import ConfigError
from mia.settings import load_settings
from mia.shipped import config_file


def run_of(name: str, data: Path, cash: int = 10_000) -> Result:
    """SmaCross(10, 30) under the preset."""
    rules = preset(name)
    settings = rules.settings(load_settings(config_file("miad.toml")).settings)
    settings = msgspec.structs.replace(settings, paper=msgspec.structs.replace(settings.paper, cash=Decimal(cash)))
    params: dict[str, Any] = {"fast_period": 10, "slow_period": 30}
    request = Request(
        settings=settings, strategy="rule:sma_cross", params=params, data=(data,), lot=rules.lot, fee=Decimal(0), **rules.fields
    )
    return execute(prepare(request))


@pytest.mark.data
def test_sma_cross_on_goog_comes_to_what_backtesting_py_publishes(market_data: Path) -> None:
    result = run_of("backtesting.py", market_data / "oracle" / "backtestingpy_GOOG.csv")

    equity = result.gathered.marks.equity_e8[1:].astype(np.float64) / 1e8  # of each bar's close; the last one closed everything at its open
    shown = backtesting_py(result.gathered.marks.ts_ns[1:], equity)
    assert len(result.trips) == 66
    assert result.gathered.marks.equity_e8[-1] == 51_422_99000000
    assert shown.sharpe == pytest.approx(0.5806, abs=5e-5)
    assert shown.max_drawdown == pytest.approx(-0.47980, abs=5e-6)
    first = result.trips[0]
    assert (first.side, first.qty, first.entry_price, first.exit_price) == (-1, 55.0, 180.36, 186.31)


@pytest.mark.data
def test_sma_cross_on_goog_comes_to_what_vectorbt_makes_of_it(market_data: Path) -> None:
    result = run_of("vectorbt", market_data / "oracle" / "backtestingpy_GOOG.csv")

    assert len(result.trips) == 65  # and one that is still open
    assert int(result.gathered.marks.lots[-1, 0]) > 0
    assert result.gathered.marks.equity_e8[-1] / 1e8 == pytest.approx(65_644.8431421814, rel=2e-8)  # vectorbt 1.2.0, which counts in floats


@pytest.mark.data
def test_positions_of_a_preset_have_neither_stop_nor_take(market_data: Path) -> None:
    result = run_of("backtesting.py", market_data / "oracle" / "backtestingpy_GOOG.csv")

    assert {order.order_type for order in result.gathered.orders} == {"market"}


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"--preset zipline: is unknown: use one of backtesting\.py, vectorbt"):
        preset("zipline")
