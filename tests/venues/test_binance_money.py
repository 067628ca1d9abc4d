"""What the exchange's books hold and what ours say, order by order: real encoder, real exchange, real decoder, any orders."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.effects import SubmitOrder
from mia.domain.events import OrderFilled
from mia.domain.instruments import Instrument
from mia.domain.sizing import Terms
from mia.execution.portfolio import Portfolio
from mia.sim.servers.errors import ApiError
from mia.sim.servers.exchange import Exchange
from mia.sim.servers.limits import Limits
from mia.sim.servers.market import DemoMarket
from mia.sim.servers.new_orders import read_order
from mia.sim.servers.params import Params
from mia.sim.servers.wire import encode_json, in_unit
from mia.sim.settings import DemoSettings, SimMarketSettings
from mia.venues.binance.api import Api
from mia.venues.binance.broker import Broker
from mia.venues.binance.facts import Facts
from mia.venues.binance.orders import OrderEncoder, Signer
from mia.venues.binance.queries import Queries
from mia.venues.binance.userdata import Listing
from tests.venues.scripted import FAST, RecordingHost

CASH = 10_000 * 10**8
ROWS = 300  # of the market between two orders


def instrument(fee: Decimal) -> Instrument:
    return Instrument(
        venue="demo", symbol="SIMUSDT", kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.10"),
        lot_size=Decimal("0.00001"), maker_fee=fee / 2, taker_fee=fee, min_notional=Decimal(5),
    )  # fmt: skip


class Account:
    """One account twice: at the exchange and in our portfolio."""

    def __init__(self, fee: Decimal) -> None:
        definition = instrument(fee)
        demo = DemoSettings(history_s=1)
        market = DemoMarket(SimMarketSettings(), definition, demo, time.time_ns() // 1000)
        self.exchange = Exchange(market, definition, demo, Limits(10**9, 10**9, 10**9), None)
        self.terms, self.portfolio, self.host = Terms.of(0, definition), Portfolio("test", "USDT", CASH), RecordingHost()
        listings = {0: Listing("SIMUSDT", 0, definition)}  # type: ignore[arg-type]
        self.encoder = OrderEncoder({0: definition}, "spot", "KEY", b"secret")
        api = Api("", Signer("KEY", b"secret"), self.host, FAST, lambda *_: None)
        facts = Facts(listings, self.host)
        self.broker = Broker(listings, self.encoder, api, facts, Queries("demo", listings, api, facts, self.host), self.host)
        self.booked = self.orders = 0

    def order(self, side: int, lots: int, offset_ticks: int) -> None:
        """offset_ticks 0: at market; else a limit so far from the touch."""
        self.orders += 1
        bid, ask, _, _ = self.exchange.market.touch()
        price = (bid if side > 0 else ask) - side * offset_ticks if offset_ticks else 0
        kind = "limit" if offset_ticks else "market"
        wish = SubmitOrder(f"mia{self.orders}", 0, side, kind, lots, price, 0, False, False, "entry", 1, "")
        params: dict[str, Any] = msgspec.json.decode(self.encoder.encode(wish, 1))["params"]
        now_us = self.exchange.market.row.time_us + 1
        try:
            self.exchange.place(read_order(self.exchange, Params(params), now_us), now_us)
        except ApiError:
            return
        self.tell()

    def let_pass(self, rows: int) -> None:
        for _ in range(rows):
            self.exchange.on_row(self.exchange.market.take())
        self.tell()

    def tell(self) -> None:
        self.exchange.commit()
        for event in self.exchange.take_events():
            self.broker.on_event(encode_json(in_unit(event, False)), event["e"])
        fills = self.host.of(OrderFilled)
        for fill in fills[self.booked :]:
            self.portfolio.apply_fill(self.terms, fill, 1)
        self.booked = len(fills)


ORDERS = st.lists(st.tuples(st.sampled_from((1, 1, -1)), st.integers(10, 6_000), st.sampled_from((0, 0, 1, 5))), min_size=1, max_size=15)


@settings(max_examples=40, deadline=None)
@given(ORDERS, st.sampled_from(("0.001", "0.00075", "0.0005", "0.0137")))
def test_coins_and_cash_are_the_exchanges_to_the_last_digit_after_any_orders(orders: list[tuple[int, int, int]], fee: str) -> None:
    account = Account(Decimal(fee))

    for side, lots, offset in orders:
        account.order(side, lots if side > 0 else min(lots, account.portfolio.lots(0)), offset)
        account.let_pass(ROWS)
        exchange, position = account.exchange, account.portfolio.position(account.terms)

        coins = exchange.base.free + exchange.base.locked
        assert position.lots * account.terms.lot_e8 + position.dust_e8 == coins
        assert position.lots == coins // account.terms.lot_e8
        assert account.portfolio.cash_e8 == exchange.quote.free + exchange.quote.locked
        assert min(exchange.base.free, exchange.base.locked, exchange.quote.free, exchange.quote.locked) >= 0
    assert account.booked == len(account.exchange.fills)
    assert account.broker.counts["events_malformed"] == 0
