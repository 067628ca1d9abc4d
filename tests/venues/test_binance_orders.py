"""The signed order frame: the documented signature, exact decimals, each type of each market."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from mia.domain.effects import SubmitOrder
from mia.domain.instruments import Instrument
from mia.venues.binance.orders import Grid, OrderEncoder

SECRET = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"


def instrument(kind: str = "spot", tick: str = "0.01", lot: str = "0.00000001") -> Instrument:
    return Instrument(
        venue="v", symbol="BTCUSDT", kind=kind, family="crypto", quote_currency="USDT", tick_size=Decimal(tick), lot_size=Decimal(lot),
        maker_fee=Decimal(0), taker_fee=Decimal(0), multiplier=Decimal(100) if lot == "0.00000001" else Decimal(1),
    )  # fmt: skip


def order(order_type: str = "limit", **changes: Any) -> SubmitOrder:
    base = SubmitOrder("mia-000000000001", 0, 1, order_type, 1_000_000, 6_000_000, 5_900_000, False, False, "entry", 1, "")
    return msgspec.structs.replace(base, **changes)


def test_signature_is_that_of_the_constructed_vector() -> None:
    encoder = OrderEncoder({0: instrument()}, "spot", "TESTKEY", SECRET)

    frame = msgspec.json.decode(encoder.encode(order(), 1790000000000))

    assert frame["params"]["signature"] == "bb810ebead8f07be8f8989143245d7a6bb1e656917d16635a414a7a7a3a70ca7"
    assert frame["params"]["price"] == "60000.00"
    assert frame["params"]["timestamp"] == 1790000000000
    assert frame["id"] == "mia-000000000001"


@pytest.mark.parametrize(
    ("market", "order_type", "post_only", "expected"),
    [
        ("spot", "market", False, {"type": "MARKET"}),
        ("spot", "limit", True, {"type": "LIMIT_MAKER"}),
        ("spot", "stop", False, {"type": "STOP_LOSS", "stopPrice": "59000.00"}),
        ("usdm", "limit", True, {"type": "LIMIT", "timeInForce": "GTX"}),
        ("usdm", "take", False, {"type": "TAKE_PROFIT_MARKET", "triggerPrice": "59000.00", "algoType": "CONDITIONAL"}),
    ],
)
def test_each_type_carries_the_words_of_its_market(market: Any, order_type: str, post_only: bool, expected: dict[str, str]) -> None:
    encoder = OrderEncoder({0: instrument("spot" if market == "spot" else "perpetual")}, market, "K", SECRET)

    params = msgspec.json.decode(encoder.encode(order(order_type, post_only=post_only), 1))["params"]

    assert {key: params[key] for key in expected} == expected
    assert ("price" in params) == (order_type == "limit")


@pytest.mark.parametrize(
    ("units", "grid", "text"),
    [(1, "0.01", "0.01"), (0, "0.1", "0.0"), (-5, "0.001", "-0.005"), (7, "5", "35"), (3, "0.25", "0.75"), (12, "1E+1", "120")],
)
def test_decimal_text_is_exact(units: int, grid: str, text: str) -> None:
    assert Grid(Decimal(grid)).text(units) == text
