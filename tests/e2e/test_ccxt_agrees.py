"""A second client on the daemon's account, the real ccxt library, agrees with what the daemon saw, did and holds."""

from __future__ import annotations

import json
import socket
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mia.domain.effects import SubmitOrder
from mia.domain.events import OrderFilled, Quote, Trade
from mia.store.reader import JournalReader
from tests.e2e.test_service import ask, status, until

pytestmark = pytest.mark.slow  # importing ccxt takes seconds
TICK, LOT = Decimal("0.10"), Decimal("0.00001")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def client(state: Path, port: int) -> Any:
    ccxt = pytest.importorskip("ccxt")
    keys = json.loads((state / "demo" / "credentials.json").read_text())
    options = {"fetchCurrencies": False, "fetchMargins": False, "fetchMarkets": {"types": ["spot"]}}
    x = ccxt.binance({"apiKey": keys["api_key"], "secret": keys["secret"], "options": options, "enableRateLimit": False})
    x.urls["api"].update(public=f"http://127.0.0.1:{port}/api/v3", private=f"http://127.0.0.1:{port}/api/v3")
    x.load_markets()
    return x


def seen(state: Path, kind: type) -> list[Any]:
    return [entry.event for entry in JournalReader(state / "journal") if isinstance(entry.event, kind)]


def test_market_orders_fills_and_balances_are_the_same_for_both(miad: Any, tmp_path: Path) -> None:
    state, port = tmp_path / "state", free_port()
    process = miad.start("--venue", "demo", "--state", state, MIA__DEMO__PORT=str(port), MIA__DEMO__SPEED="5", MIA__METRICS__PORT="0")
    try:
        miad.wait_until_trading(process)
        x = client(state, port)
        until(lambda: status(state)["fills"] >= 2, "a purchase and a sale")
        ask(state, "pause")

        def rests() -> bool:
            counts = status(state)
            time.sleep(0.3)
            return bool(counts["fills"] == status(state)["fills"] and not counts["instruments"][0]["open_orders"])

        until(rests, "nothing on its way")
        book, public = x.fetch_order_book("SIM/USDT", 5), x.fetch_trades("SIM/USDT", limit=20)
        mine, orders, balance = x.fetch_my_trades("SIM/USDT"), x.fetch_orders("SIM/USDT"), x.fetch_balance()
        now = status(state)
    finally:
        ended = miad.end(process, 15)

    assert ended.code == 0, ended.err
    top = (Decimal(str(book["bids"][0][0])), Decimal(str(book["asks"][0][0])))
    assert top in {(q.bid_ticks * TICK, q.ask_ticks * TICK) for q in seen(state, Quote)}
    heard = {str(t.venue_trade_id): (t.price_ticks * TICK, t.qty_lots * LOT, t.aggressor) for t in seen(state, Trade)}
    for trade in public:
        told = (Decimal(str(trade["price"])), Decimal(str(trade["amount"])), 1 if trade["side"] == "buy" else -1)
        assert heard[trade["id"]] == told
    fills = seen(state, OrderFilled)
    assert {t["id"]: (Decimal(str(t["price"])), Decimal(str(t["amount"])), t["side"]) for t in mine} == {
        f.fill_id: (f.price_ticks * TICK, f.qty_lots * LOT, "buy" if f.side > 0 else "sell") for f in fills
    }
    for trade, fill in zip(sorted(mine, key=lambda t: int(t["id"])), sorted(fills, key=lambda f: int(f.fill_id)), strict=True):
        taken = fill.base_fee_e8 if fill.side > 0 else fill.fee_e8
        assert (trade["fee"]["currency"], round(trade["fee"]["cost"] * 1e8)) == ("SIM" if fill.side > 0 else "USDT", taken)
    sent = {o.client_order_id for entry in JournalReader(state / "journal") for o in entry.effects if isinstance(o, SubmitOrder)}
    assert {o["clientOrderId"] for o in orders} == sent
    assert {o["status"] for o in orders} == {"closed"}
    coins = Decimal(str(balance["SIM"]["total"]))
    assert Decimal(now["instruments"][0]["position"]) == coins // LOT * LOT
    assert Decimal(str(balance["USDT"]["total"])).quantize(Decimal("0.01")) == Decimal(now["cash"]).quantize(Decimal("0.01"))
