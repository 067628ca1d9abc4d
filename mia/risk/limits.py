"""Limits: the [risk] section of the settings, mandatory and checked, and the same as integers for the hot path."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from mia.domain.errors import ConfigError
from mia.domain.instruments import MONEY_SCALE
from mia.domain.sizing import SHARE_SCALE

RATE_CEILING: Final = 4096  # orders and trades remembered at most
_SHARES: Final = ("equity_share_max", "daily_loss_max", "drawdown_max")


class RiskSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The [risk] section. Limits have no defaults: the shipped config states them. All finite and above 0."""

    position_lots_max: int  # largest |position| of one instrument, in its lots
    equity_share_max: float  # share of equity one instrument may use: notional on spot, initial margin on derivatives
    order_lots_max: int  # largest single opening order, in lots
    order_notional_max: float  # quote currency
    exposure_notional_max: float  # quote currency, all instruments, in-flight worst case included
    orders_per_minute_max: int  # openings stop when so many orders were sent within 60 s
    daily_loss_max: float  # share of the equity at the start of the UTC day
    drawdown_max: float  # share of the highest equity seen; trips a stop that only the operator resets
    quote_age_ms_max: int  # nothing is opened on a quote older than this
    price_collar_bps_max: float  # distance of an order's price from the mid, 1e-4 of the mid
    overtrade_trades_per_hour: int  # round trips within 60 min at which overtrade_risk_score reaches 1
    cool_down_s: float  # after a rejection or a protective exit; doubles with each rejection in a row, 64 times at most
    position_lots_max_by_symbol: dict[str, int] = {}  # by "venue:symbol"; overrides position_lots_max
    order_lots_max_by_symbol: dict[str, int] = {}  # by "venue:symbol"; overrides order_lots_max

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, dict):
                for symbol, lots in value.items():
                    _check(f"{name}.{symbol}", lots)
            else:
                _check(name, value)
        for name in _SHARES:
            if not (getattr(self, name) <= 1):
                raise ConfigError(f"risk.{name} is a share: must be above 0 and at most 1, got {getattr(self, name)}")
        for name in ("orders_per_minute_max", "overtrade_trades_per_hour"):
            if not (getattr(self, name) <= RATE_CEILING):
                raise ConfigError(f"risk.{name} must be at most {RATE_CEILING}, got {getattr(self, name)}")

    def as_limits(self) -> list[tuple[str, float]]:
        """(name, value) of each limit as `Limits.lower` takes it, `key.SYMBOL` for the tables."""
        found: list[tuple[str, float]] = [(name, getattr(self, name)) for name in _LOWER]
        for table in ("position_lots_max_by_symbol", "order_lots_max_by_symbol"):
            found += [(f"{table}.{symbol}", lots) for symbol, lots in getattr(self, table).items()]
        return found


def _check(name: str, value: float) -> None:
    if isinstance(value, bool) or not (math.isfinite(value) and value > 0):
        raise ConfigError(f"risk.{name} must be a finite number above 0, got {value}: state the limit")
    if not (value <= 1e15):
        raise ConfigError(f"risk.{name} must be at most 1e15, got {value}: state a limit that limits")


class Limits(msgspec.Struct):
    """RiskSettings in the integers that `review` compares; engine state, because the operator may lower a limit."""

    position_lots_max: int
    equity_share_max_e9: int
    order_lots_max: int
    order_notional_max_e8: int
    exposure_notional_max_e8: int
    orders_per_minute_max: int
    daily_loss_max_e9: int
    drawdown_max_e9: int
    quote_age_max_ns: int
    price_collar_max_e9: int
    position_lots_max_by_symbol: dict[str, int]
    order_lots_max_by_symbol: dict[str, int]

    @staticmethod
    def of(settings: RiskSettings) -> Limits:
        """The limits of the settings; shares and money are rounded down, toward the tighter limit, yet never to 0."""
        return Limits(
            settings.position_lots_max,
            _scaled(settings.equity_share_max, SHARE_SCALE),
            settings.order_lots_max,
            _scaled(settings.order_notional_max, MONEY_SCALE),
            _scaled(settings.exposure_notional_max, MONEY_SCALE),
            settings.orders_per_minute_max,
            _scaled(settings.daily_loss_max, SHARE_SCALE),
            _scaled(settings.drawdown_max, SHARE_SCALE),
            settings.quote_age_ms_max * 1_000_000,
            _scaled(settings.price_collar_bps_max, SHARE_SCALE // 10_000),
            dict(settings.position_lots_max_by_symbol),
            dict(settings.order_lots_max_by_symbol),
        )

    def position_lots(self, symbol: str) -> int:
        """The position limit of one instrument ("venue:symbol"): its own, else the general one."""
        return self.position_lots_max_by_symbol.get(symbol, self.position_lots_max)

    def order_lots(self, symbol: str) -> int:
        """The order limit of one instrument ("venue:symbol"): its own, else the general one."""
        return self.order_lots_max_by_symbol.get(symbol, self.order_lots_max)

    def lower(self, name: str, value: float) -> bool:
        """Tighten the limit `name` (a key of [risk], `key.SYMBOL` for the tables); False when it is unknown, not finite,
        negative or not below the present one. 0 is allowed here: no more of it."""
        if not (math.isfinite(value) and value >= 0):
            return False
        name, _, symbol = name.partition(".")
        if symbol:
            table: dict[str, int] = getattr(self, name, {}) if name.endswith("_by_symbol") else {}
            if symbol not in table or not (int(value) < table[symbol]):
                return False
            table[symbol] = int(value)
            return True
        if name not in _LOWER:
            return False
        field, scale = _LOWER[name]
        if not (int(value * scale) < getattr(self, field)):
            return False
        setattr(self, field, int(value * scale))
        own = getattr(self, f"{name}_by_symbol", None)
        if own is not None:
            for key in own:
                own[key] = min(own[key], int(value))
        return True


_LOWER: Final = {
    "position_lots_max": ("position_lots_max", 1),
    "equity_share_max": ("equity_share_max_e9", SHARE_SCALE),
    "order_lots_max": ("order_lots_max", 1),
    "order_notional_max": ("order_notional_max_e8", MONEY_SCALE),
    "exposure_notional_max": ("exposure_notional_max_e8", MONEY_SCALE),
    "orders_per_minute_max": ("orders_per_minute_max", 1),
    "daily_loss_max": ("daily_loss_max_e9", SHARE_SCALE),
    "drawdown_max": ("drawdown_max_e9", SHARE_SCALE),
    "quote_age_ms_max": ("quote_age_max_ns", 1_000_000),
    "price_collar_bps_max": ("price_collar_max_e9", SHARE_SCALE // 10_000),
}


def _scaled(value: float, scale: int) -> int:
    # Through the shortest decimal text: 0.2 means 200_000_000 e9, not one less by binary rounding.
    return max(1, int(round(value * scale, 3)))
