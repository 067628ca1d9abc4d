"""Instruments: what is traded, on which grid, at which cost. Money is an integer count of 1e-8 of the quote currency."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal, NewType

import msgspec

from mia.domain.errors import ConfigError

InstrumentId = NewType("InstrumentId", int)
FEE_MIN: Final = Decimal("-0.005")  # a rebate
FEE_MAX: Final = Decimal("0.05")
MONEY_SCALE: Final = 100_000_000  # money is int, 1e-8 of the quote currency ("e8")


class Instrument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tradable thing at one venue.

    tick_size, lot_size: price and size grid, quote currency per unit and base units.
    multiplier: quote currency per point per unit (1 for coins, 50 for ES).
    initial_margin: share of notional that a position locks; 1 on spot.
    """

    venue: str  # where it trades: sim, demo, binance_spot, binance_usdm
    symbol: str  # the venue's own name of it
    kind: Literal["spot", "perpetual", "future"]  # spot cannot be sold short; the others are held on margin
    family: str  # which sessions of trade_windows.toml apply, and which models fit
    quote_currency: str  # what prices, profits and fees are counted in
    tick_size: Decimal
    lot_size: Decimal
    maker_fee: Decimal  # share of notional of an order that waited in the book; below 0 is a rebate
    taker_fee: Decimal  # share of notional of an order that took from the book
    multiplier: Decimal = Decimal(1)
    initial_margin: Decimal = Decimal(1)
    min_notional: Decimal = Decimal(0)  # the venue refuses smaller orders
    valid_from_ns: int = 0  # Unix time from which this definition holds

    def __post_init__(self) -> None:
        for name in ("tick_size", "lot_size", "multiplier", "initial_margin"):
            value: Decimal = getattr(self, name)
            if not (value.is_finite() and value > 0):
                raise ConfigError(f"instrument {self.symbol}: {name} must be a finite number above 0, got {value}")
        for name in ("maker_fee", "taker_fee"):
            value = getattr(self, name)
            if not (value.is_finite() and FEE_MIN <= value <= FEE_MAX):
                raise ConfigError(
                    f"instrument {self.symbol}: {name} is a share of notional (0.001 is 0.1 %), {FEE_MIN} to {FEE_MAX}, got {value}"
                )
        if not (self.min_notional.is_finite() and 0 <= self.min_notional < 1_000_000):
            raise ConfigError(f"instrument {self.symbol}: min_notional must be 0 to 1000000, got {self.min_notional}")
        unit = self.tick_size * self.lot_size * self.multiplier * MONEY_SCALE
        if unit != unit.to_integral_value() or unit < 1:
            raise ConfigError(
                f"instrument {self.symbol}: tick_size x lot_size x multiplier must be a multiple of 1e-8, got {unit / MONEY_SCALE}"
            )

    @property
    def is_derivative(self) -> bool:
        """True when a position is margin and P&L (perpetual, future), False when it is the asset itself (spot)."""
        return self.kind != "spot"

    @property
    def unit_e8(self) -> int:
        """Money (e8) of one tick times one lot; notional_e8 = price_ticks * qty_lots * unit_e8, exact."""
        return int(self.tick_size * self.lot_size * self.multiplier * MONEY_SCALE)

    def notional_e8(self, price_ticks: int, qty_lots: int) -> int:
        """Exact notional in e8; the sign follows qty_lots."""
        return price_ticks * qty_lots * self.unit_e8

    def price(self, price_ticks: int) -> Decimal:
        """Price in quote currency."""
        return price_ticks * self.tick_size

    def quantity(self, qty_lots: int) -> Decimal:
        """Size in base units."""
        return qty_lots * self.lot_size
