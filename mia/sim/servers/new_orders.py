"""From the parameters of a new order to an order: types, mandatory and forbidden parameters, the symbol's filters."""

from __future__ import annotations

import secrets
from decimal import Decimal
from typing import Any, Final

from mia.domain.events import BUY, SELL
from mia.domain.instruments import MONEY_SCALE
from mia.sim.servers.errors import ApiError, filter_failure, missing
from mia.sim.servers.exchange import Exchange
from mia.sim.servers.orders import DemoOrder
from mia.sim.servers.params import Params, refuse_sent
from mia.sim.servers.wire import text8

TYPES: Final = ("LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_DESK: Final = {"LIMIT": "limit", "LIMIT_MAKER": "limit", "MARKET": "market", "STOP_LOSS": "stop", "TAKE_PROFIT": "take"}
PRICE_MAX_E8: Final = 10_000_000 * MONEY_SCALE
QTY_MAX_E8: Final = 9_000 * MONEY_SCALE
NOTIONAL_MAX_E8: Final = 9_000_000 * MONEY_SCALE
ORDERS_MAX: Final = 200
ALGO_ORDERS_MAX: Final = 5
AMENDS_MAX: Final = 10
_BAND: Final = (5, 1, 5)  # PERCENT_PRICE_BY_SIDE: at most 5 times and at least a fifth of the average price
_AVERAGE_MINUTES: Final = 5


def read_order(x: Exchange, p: Params, now_us: int) -> DemoOrder:
    """A checked order that the exchange can `place`; ApiError names the parameter or the filter that stands in the way."""
    read_symbol(x, p)
    side = BUY if p.choice("side", ("BUY", "SELL"), -1117, "side") == "BUY" else SELL
    kind = p.choice("type", TYPES, -1116, "orderType")
    is_limit = kind in ("LIMIT", "LIMIT_MAKER") or kind.endswith("_LIMIT")
    client_id = p.client_id("newClientOrderId") or secrets.token_hex(11)
    for name in ("icebergQty", "trailingDelta", "pegPriceType", "pegOffsetType", "pegOffsetValue"):
        if p.has(name):
            raise ApiError(-1106, f"Parameter '{name}' sent when not required.")
    p.has("newOrderRespType"), p.has("strategyId"), p.has("strategyType")
    if p.text("selfTradePreventionMode", "EXPIRE_MAKER") not in ("NONE", "EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH", "DECREMENT"):
        raise ApiError(-1130, "Data sent for parameter 'selfTradePreventionMode' is not valid.")
    tif = "GTC"
    if kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"):
        tif = p.choice("timeInForce", ("GTC", "IOC", "FOK"), -1115, "timeInForce")
    else:
        refuse_sent(p, "timeInForce")
    price_ticks = stop_ticks = 0
    if is_limit:
        price_ticks = _ticks(x, p, "price")
    else:
        refuse_sent(p, "price")
    if kind.startswith(("STOP_LOSS", "TAKE_PROFIT")):
        stop_ticks = _ticks(x, p, "stopPrice")
    else:
        refuse_sent(p, "stopPrice")
    quote_e8 = 0
    if kind == "MARKET" and p.has("quoteOrderQty"):
        refuse_sent(p, "quantity")
        quote_e8 = int((p.decimal("quoteOrderQty") or Decimal(0)) * MONEY_SCALE)
        lots = x.lots_for_quote(side, quote_e8)
        if lots <= 0:
            raise filter_failure("NOTIONAL")
    else:
        refuse_sent(p, "quoteOrderQty")
        lots = read_lots(x, p, "quantity", is_market=kind == "MARKET")
    p.refuse_unread()
    order = DemoOrder(
        client_id, "", 0, side, _DESK[kind.removesuffix("_LIMIT")], lots, price_ticks, stop_ticks, False, kind == "LIMIT_MAKER", "",
        order_id=0, type=kind, time_in_force=tif, time_us=now_us, update_us=now_us, quote_order_e8=quote_e8,
    )  # fmt: skip
    _check_filters(x, order)
    return order


def read_symbol(x: Exchange, p: Params) -> None:
    """`symbol` must be the one that is traded."""
    if p.text("symbol") != x.symbol:
        raise ApiError(-1121, "Invalid symbol.")


def read_lots(x: Exchange, p: Params, name: str, is_market: bool = False) -> int:
    """A quantity in lots; -1013 when it is off the grid or out of bounds."""
    value = p.decimal(name)
    if value is None:
        raise missing(name)
    e8 = int(value * MONEY_SCALE)
    if not (x.lot_e8 <= e8 <= QTY_MAX_E8) or e8 % x.lot_e8:
        raise filter_failure("LOT_SIZE")
    if is_market and e8 > QTY_MAX_E8 // 10:
        raise filter_failure("MARKET_LOT_SIZE")
    return e8 // x.lot_e8


def _ticks(x: Exchange, p: Params, name: str) -> int:
    value = p.decimal(name)
    if value is None:
        raise missing(name)
    e8 = int(value * MONEY_SCALE)
    if not (x.texts.tick_e8 <= e8 <= PRICE_MAX_E8) or e8 % x.texts.tick_e8:
        raise filter_failure("PRICE_FILTER")
    return e8 // x.texts.tick_e8


def _check_filters(x: Exchange, order: DemoOrder) -> None:
    average = x.market.average_ticks(_AVERAGE_MINUTES)
    up, num, den = _BAND
    for price in (order.price_ticks, order.stop_ticks):
        if price and not (average * num <= price * den and price <= average * up):
            raise filter_failure("PERCENT_PRICE_BY_SIDE")
    notional = (order.price_ticks or order.stop_ticks or average) * order.qty_lots * x.unit_e8
    if not (int(x.instrument.min_notional * MONEY_SCALE) <= notional) or (order.type != "MARKET" and notional > NOTIONAL_MAX_E8):
        raise filter_failure("NOTIONAL")
    if len(x.open) >= ORDERS_MAX:
        raise filter_failure("MAX_NUM_ORDERS")
    if order.waits and sum(o.waits for o in x.open.values()) >= ALGO_ORDERS_MAX:
        raise filter_failure("MAX_NUM_ALGO_ORDERS")


def symbol_info(x: Exchange) -> dict[str, Any]:
    """The symbol as exchangeInfo describes it."""
    tick, lot = text8(x.texts.tick_e8), text8(x.lot_e8)
    notional = text8(int(x.instrument.min_notional * MONEY_SCALE))
    return {
        "symbol": x.symbol, "status": "TRADING", "baseAsset": x.base_asset, "baseAssetPrecision": 8, "quoteAsset": x.quote_asset,
        "quotePrecision": 8, "quoteAssetPrecision": 8, "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
        "orderTypes": list(TYPES), "icebergAllowed": False, "ocoAllowed": False, "otoAllowed": False, "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": True, "allowTrailingStop": False, "cancelReplaceAllowed": True, "amendAllowed": True,
        "pegInstructionsAllowed": False, "isSpotTradingAllowed": True, "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": text8(PRICE_MAX_E8), "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": text8(QTY_MAX_E8), "stepSize": lot},
            {"filterType": "MARKET_LOT_SIZE", "minQty": lot, "maxQty": text8(QTY_MAX_E8 // 10), "stepSize": lot},
            {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2", "askMultiplierUp": "5",
             "askMultiplierDown": "0.2", "avgPriceMins": 5},
            {"filterType": "NOTIONAL", "minNotional": notional, "applyMinToMarket": True, "maxNotional": text8(NOTIONAL_MAX_E8),
             "applyMaxToMarket": False, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": ORDERS_MAX},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": ALGO_ORDERS_MAX},
            {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": AMENDS_MAX},
        ],
        "permissions": [], "permissionSets": [["SPOT"]], "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["NONE", "EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH", "DECREMENT"],
    }  # fmt: skip
