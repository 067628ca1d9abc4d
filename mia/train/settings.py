"""What `mia-train fit` trains on and how long; every number of it is in the card of the model it makes."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from mia.domain.instruments import Instrument
from mia.train.env import EnvSettings

# The first orders the states by volatility, the second by strength of trend.
REGIME_COLUMNS: Final = ("rv_30", "linreg_r2_20", "adx_14", "bar_toxicity_30")
BAR_REGIME_COLUMNS: Final = ("rv_30", "linreg_r2_20", "adx_14", "vol_ratio_5_30")


def perpetual() -> Instrument:
    """The instrument of simulated training: BTCUSDT USD-M's grid and fees."""
    return Instrument(
        venue="sim",
        symbol="BTCUSDT",
        kind="perpetual",
        family="crypto",
        quote_currency="USDT",
        tick_size=Decimal("0.10"),
        lot_size=Decimal("0.001"),
        maker_fee=Decimal("0.0002"),
        taker_fee=Decimal("0.0005"),
        initial_margin=Decimal("0.10"),
    )


def recorded_instruments() -> tuple[Instrument, Instrument]:
    """BTCUSDT as Binance trades it: spot, and USD-M perpetual. For reports on recordings, which carry no filters."""
    usdm = msgspec.structs.replace(perpetual(), venue="binance_usdm")
    spot = msgspec.structs.replace(
        usdm,
        venue="binance_spot",
        kind="spot",
        tick_size=Decimal("0.01"),
        lot_size=Decimal("0.00001"),
        maker_fee=Decimal("0.001"),
        taker_fee=Decimal("0.001"),
        initial_margin=Decimal(1),
    )
    return spot, usdm


class FitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seeds of the three parts never meet: training, choosing (alpha's stop, calibration and alpha_min), reporting."""

    seed: int = 1
    steps: int = 36_000  # environment steps per regime
    hidden: int = 128  # units of each of the two hidden layers of a policy
    workers: int = 3
    train_markets: int = 16
    validation_markets: int = 6
    test_markets: int = 8
    market_s: float = 1_800.0
    decide_every_ms: int = 1_000
    alpha_horizon_s: float = 60.0
    columns: int = 150  # of the observation, the account's among them; masks come on top
    masks: tuple[str, ...] = ("depth",)  # inputs that simulated trading may lose; of candle files those that are not bars
    lost_share: float = 0.05  # the chance of a training row to lie in a span without an input, of each masked input for itself
    lost_rows: int = 60  # of such a span
    fills_per_hour_min: float = 12.0  # a gate that lets less through is not considered
    env: EnvSettings = EnvSettings()
    exclude_sealed: bool = False  # leave the rows of sealed holdouts out instead of stopping at them

    def seeds(self) -> tuple[list[int], list[int], list[int]]:
        """Market seeds of training, validation and test."""
        first = 1_000_000 * self.seed
        a, b, c = self.train_markets, self.validation_markets, self.test_markets
        return list(range(first, first + a)), list(range(first + 1_000, first + 1_000 + b)), list(range(first + 2_000, first + 2_000 + c))
