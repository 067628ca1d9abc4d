"""What Binance spot says about orders, fills and accounts: the shapes of its answers and events, read exactly.

Unknown fields are ignored, ids become text, decimals become whole ticks, lots or 1e-8; what is not a plain decimal is a ValueError.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

import msgspec

from mia.domain.instruments import MONEY_SCALE, Instrument, InstrumentId

Id = int | str
_E8: Final = Decimal(MONEY_SCALE)
LIVE: Final = frozenset(("NEW", "PENDING_NEW", "PARTIALLY_FILLED", "PENDING_CANCEL"))
EXPIRED: Final = frozenset(("EXPIRED", "EXPIRED_IN_MATCH"))


class ExecutionReport(msgspec.Struct, frozen=True, gc=False):
    """One user data event of an order. On CANCELED and REPLACED `request_id` is the request's and `original_id` the order's."""

    symbol: str = msgspec.field(name="s")
    request_id: str = msgspec.field(name="c")
    side: str = msgspec.field(name="S")
    qty: str = msgspec.field(name="q")
    execution: str = msgspec.field(name="x")
    status: str = msgspec.field(name="X")
    order_id: Id = msgspec.field(name="i")
    original_id: str = msgspec.field(name="C", default="")
    price: str = msgspec.field(name="p", default="0")
    stop_price: str = msgspec.field(name="P", default="0")
    reason: str = msgspec.field(name="r", default="NONE")
    expiry: str = msgspec.field(name="eR", default="")
    last_qty: str = msgspec.field(name="l", default="0")
    filled: str = msgspec.field(name="z", default="0")
    last_price: str = msgspec.field(name="L", default="0")
    fee: str | None = msgspec.field(name="n", default="0")
    fee_asset: str | None = msgspec.field(name="N", default=None)
    ts_ms: int = msgspec.field(name="T", default=0)
    trade_id: Id = msgspec.field(name="t", default=-1)
    is_maker: bool = msgspec.field(name="m", default=False)


class OrderState(msgspec.Struct, frozen=True, gc=False):
    """An order as `order.place`, `order.cancel`, `order.status` and `openOrders.status` tell it."""

    symbol: str
    order_id: Id = msgspec.field(name="orderId")
    client_order_id: str = msgspec.field(name="clientOrderId")
    status: str
    orig_qty: str = msgspec.field(name="origQty")
    executed_qty: str = msgspec.field(name="executedQty")
    side: str = "BUY"
    type: str = "LIMIT"
    price: str = "0"
    stop_price: str = msgspec.field(name="stopPrice", default="0")
    transact_ms: int = msgspec.field(name="transactTime", default=0)
    update_ms: int = msgspec.field(name="updateTime", default=0)


class AmendedOrder(msgspec.Struct, frozen=True, gc=False):
    """The order inside of the answer to an amendment."""

    qty: str


class Amended(msgspec.Struct, frozen=True, gc=False):
    """The answer to `order.amend.keepPriority`."""

    order: AmendedOrder = msgspec.field(name="amendedOrder")
    transact_ms: int = msgspec.field(name="transactTime", default=0)


class OwnTrade(msgspec.Struct, frozen=True, gc=False):
    """One line of `myTrades`."""

    id: Id
    order_id: Id = msgspec.field(name="orderId")
    price: str
    qty: str
    fee: str = msgspec.field(name="commission")
    fee_asset: str = msgspec.field(name="commissionAsset")
    ts_ms: int = msgspec.field(name="time")
    is_buyer: bool = msgspec.field(name="isBuyer")
    is_maker: bool = msgspec.field(name="isMaker")


class Balance(msgspec.Struct, frozen=True, gc=False):
    """What the account holds of one asset."""

    asset: str
    free: str
    locked: str


class Account(msgspec.Struct, frozen=True):
    """`account.status`; an asset that is not named is 0."""

    balances: list[Balance]


class AggregateTrade(msgspec.Struct, frozen=True, gc=False):
    """One line of `trades.aggregate`."""

    id: int = msgspec.field(name="a")
    price: str = msgspec.field(name="p")
    qty: str = msgspec.field(name="q")
    last_trade_id: int = msgspec.field(name="l")
    ts_ms: int = msgspec.field(name="T")
    is_buyer_maker: bool = msgspec.field(name="m")


class Filter(msgspec.Struct, frozen=True, gc=False):
    """One rule of a symbol; only the fields that we compare."""

    kind: str = msgspec.field(name="filterType")
    tick_size: str = msgspec.field(name="tickSize", default="")
    step_size: str = msgspec.field(name="stepSize", default="")
    min_notional: str = msgspec.field(name="minNotional", default="")


class SymbolInfo(msgspec.Struct, frozen=True):
    """A symbol of `exchangeInfo`."""

    symbol: str
    status: str
    base_asset: str = msgspec.field(name="baseAsset")
    quote_asset: str = msgspec.field(name="quoteAsset")
    filters: list[Filter] = []
    amend_allowed: bool = msgspec.field(name="amendAllowed", default=False)


class ExchangeInfo(msgspec.Struct, frozen=True):
    """`exchangeInfo`."""

    symbols: list[SymbolInfo]


class Listing:
    """An instrument under the venue's names."""

    def __init__(self, symbol: str, number: InstrumentId, definition: Instrument) -> None:
        self.symbol: Final = symbol
        self.number: Final = int(number)
        self.definition: Final = definition
        self.quote: Final = definition.quote_currency
        self.base = symbol.removesuffix(definition.quote_currency)
        self.amend_allowed = True  # until exchangeInfo says otherwise

    def ticks(self, price: str) -> int:
        """A price in ticks; ValueError off the grid."""
        return exact_units(price, self.definition.tick_size)

    def lots(self, qty: str) -> int:
        """A size in lots; ValueError off the grid."""
        return exact_units(qty, self.definition.lot_size)

    def lots_up(self, qty: str) -> int:
        """A size in lots, rounded up: orders of others may be finer."""
        return int((plain(qty) / self.definition.lot_size).to_integral_value(ROUND_CEILING))

    def lots_down(self, qty: Decimal) -> int:
        """Whole lots of an amount."""
        return int((qty / self.definition.lot_size).to_integral_value(ROUND_FLOOR))

    def ticks_down(self, price: str) -> int:
        """A price in ticks, rounded down."""
        return int((plain(price) / self.definition.tick_size).to_integral_value(ROUND_FLOOR))


def plain(text: str) -> Decimal:
    """A plain decimal ("0.10", "-3"); ValueError for NaN, Infinity, exponents, blanks and anything else."""
    digits = text.removeprefix("-").replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 28):
        raise ValueError(f"{text!r} is no plain decimal")
    return Decimal(text)


def exact_units(text: str, step: Decimal) -> int:
    """How many steps; ValueError when it is between two."""
    count = plain(text) / step
    units = int(count)
    if units != count:
        raise ValueError(f"{text} is not a multiple of {step}")
    return units


def to_e8(amount: Decimal) -> int:
    """An amount in 1e-8, rounded up: a fee is never booked too small."""
    return int((amount * _E8).to_integral_value(ROUND_CEILING))
