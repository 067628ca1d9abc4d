"""The rules of other backtest libraries as settings of ours, so that a strategy gives the same trades: for comparison, not for money.

Each is everything that the library does by default and we do not, in words and in fields; docs/backtest.md has what still differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from mia.domain.errors import ConfigError
from mia.execution.settings import ExecutionSettings
from mia.risk.limits import RATE_CEILING, RiskSettings
from mia.settings import Settings
from mia.sim.costs import Costs

_WIDE: Final = 10**12
_NO_LIMITS: Final = RiskSettings(
    position_lots_max=_WIDE,
    equity_share_max=1.0,
    order_lots_max=_WIDE,
    order_notional_max=1e12,
    exposure_notional_max=1e12,
    orders_per_minute_max=RATE_CEILING,
    daily_loss_max=1.0,
    drawdown_max=1.0,
    quote_age_ms_max=10**9,
    price_collar_bps_max=10_000.0,
    overtrade_trades_per_hour=RATE_CEILING,
    cool_down_s=1e-9,
)
_KEPT: Final = ExecutionSettings(entry="market", dead_band_share=0.0, keeps_size=True)
_SHARED: Final = (
    "all equity, long or short, from one signal to the next; nothing is resized in between",
    "no limits, no trade windows, no drawdown stop; neither stop nor take",
)


class Preset(NamedTuple):
    """Rules of a library. lot: of a file of no known instrument, unless one is given; fields: of `mia.backtest.run.prepare.Request`."""

    name: str
    words: tuple[str, ...]
    cash: Decimal
    lot: Decimal
    fields: Mapping[str, Any]

    def settings(self, given: Settings) -> Settings:
        """The settings with the library's cash, risk rules (none) and execution."""
        paper = msgspec.structs.replace(given.paper, cash=self.cash)
        return msgspec.structs.replace(given, risk=_NO_LIMITS, execution=_KEPT, paper=paper)


PRESETS: Final = {
    preset.name: preset
    for preset in (
        Preset(
            "backtesting.py",
            (
                "market orders fill at the next bar's open, in whole units of what the equity then buys",
                "what is open after the last bar but one is closed at the last bar's open (finalize_trades=True)",
                "no fee, no spread",
                *_SHARED,
            ),
            Decimal(10_000),
            Decimal(1),
            {"fill_at": "next_open", "size_at": "fill", "closes_at_end": True},
        ),
        Preset(
            "vectorbt",
            (
                "market orders fill at the close that they are decided on, in millionths of a unit (the library: in floats)",
                "what is open at the end stays open, at the last close",
                "no fee, no spread",
                *_SHARED,
            ),
            Decimal(100),
            Decimal("0.000001"),
            {"fill_at": "close", "size_at": "decision", "closes_at_end": False},
        ),
    )
}
_COMMON: Final = {"protects": False, "uses_windows": False, "costs": Costs.free(), "warm_up": 0}


def preset(name: str) -> Preset:
    """The preset of a library; ConfigError lists the known ones."""
    if name not in PRESETS:
        raise ConfigError(f"--preset {name}: is unknown: use one of {', '.join(PRESETS)}")
    found = PRESETS[name]
    return found._replace(fields={**_COMMON, **found.fields})
