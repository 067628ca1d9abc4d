"""Made bars as a prepared run."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from mia.backtest.run.prepare import Prepared
from mia.backtest.run.sources import BarHistory
from mia.backtest.run.spec import DataFacts, RunSpec
from mia.domain.instruments import Instrument
from mia.engine.settings import LaneSettings
from mia.features.bars import BarSpec
from mia.features.batch import bars_from_ohlcv
from mia.settings import load_settings
from mia.shipped import config_file

MINUTE_NS = 60_000_000_000
F64 = npt.NDArray[np.float64]
Make = Callable[..., Prepared]


def prepared(returns: F64, strategy: str = "ema_cross", params: dict[str, bool | float] | None = None) -> Prepared:
    """A run over minute bars whose log returns, close to close, are given; the open is the close before."""
    instrument = Instrument(
        venue="binance_spot", symbol="X", kind="perpetual", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
        lot_size=Decimal("0.001"), maker_fee=Decimal(0), taker_fee=Decimal("0.0005"), initial_margin=Decimal(1),
    )  # fmt: skip
    n = len(returns)
    close = 1000.0 * np.exp(np.cumsum(returns))
    opens = np.concatenate([[1000.0], close[:-1]])
    ticks = [np.rint(x * 100) for x in (opens, np.maximum(opens, close), np.minimum(opens, close), close)]
    rows = bars_from_ohlcv(*ticks, np.full(n, 1e6))
    open_ns = 1_717_200_000_000_000_000 + np.arange(n) * MINUTE_NS
    bars = BarSpec(kind="time", size=Decimal(MINUTE_NS))
    facts = DataFacts(
        instrument="binance_spot:X", kind="bars", files=("x",), sha256=(), rows=n, first_ns=int(open_ns[0]),
        last_ns=int(open_ns[-1] + MINUTE_NS), bars=bars.text,
    )  # fmt: skip
    settings = load_settings(config_file("miad.toml"), environ={}).settings
    risk = msgspec.structs.replace(settings.risk, drawdown_max=0.9, daily_loss_max=0.9, cool_down_s=0.001, orders_per_minute_max=1000)
    lane = LaneSettings(instrument="binance_spot:X", strategy=f"rule:{strategy}", params=params or {}, bars=bars.text, min_interval_ms=0)
    spec = RunSpec(settings=msgspec.structs.replace(settings, risk=risk), instruments=(instrument,), lanes=(lane,), data=(facts,))
    return Prepared(spec=spec, bars=(BarHistory(instrument, bars, open_ns, open_ns + MINUTE_NS, rows, facts, ()),))


@pytest.fixture(scope="session")
def make() -> Make:
    """The function `prepared`."""
    return prepared
