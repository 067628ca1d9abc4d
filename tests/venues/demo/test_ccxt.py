"""The real ccxt library, pointed at the demo exchange, agrees with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_ccxt_reads_places_queries_and_cancels(start: Callable[..., Any]) -> None:
    ccxt = pytest.importorskip("ccxt")
    process = start("--until-stdin-closes", "--speed", "10")
    ready = process.ready()
    x = ccxt.binance(
        {
            "apiKey": ready["api_key"],
            "secret": ready["secret"],
            "options": {"fetchCurrencies": False, "fetchMargins": False, "fetchMarkets": {"types": ["spot"]}},
        }
    )
    x.urls["api"].update(public=ready["rest"] + "/api/v3", private=ready["rest"] + "/api/v3")

    market = x.load_markets()["SIM/USDT"]
    book = x.fetch_order_book("SIM/USDT", 5)
    trades = x.fetch_trades("SIM/USDT", limit=10)
    candles = x.fetch_ohlcv("SIM/USDT", "1m", limit=2)
    ticker = x.fetch_ticker("SIM/USDT")
    bought = x.create_order("SIM/USDT", "market", "buy", 0.01)
    placed = x.create_order("SIM/USDT", "limit", "buy", 0.01, 50_000)
    opened = x.fetch_open_orders("SIM/USDT")
    x.cancel_order(placed["id"], "SIM/USDT")
    queried = x.fetch_order(placed["id"], "SIM/USDT")
    mine = x.fetch_my_trades("SIM/USDT")
    balance = x.fetch_balance()
    with pytest.raises(ccxt.InsufficientFunds):
        x.create_order("SIM/USDT", "limit", "buy", 10, 50_000)
    with pytest.raises(ccxt.OrderNotFound):
        x.cancel_order("999", "SIM/USDT")

    assert (market["precision"]["price"], market["precision"]["amount"], market["limits"]["cost"]["min"]) == (0.1, 0.00001, 5.0)
    assert book["bids"][0][0] < book["asks"][0][0]
    assert len(trades) == 10
    assert 1 <= len(candles) <= 2
    assert ticker["bid"] < ticker["ask"]
    assert (bought["status"], bought["filled"]) == ("closed", 0.01)
    assert [o["id"] for o in opened] == [placed["id"]]
    assert queried["status"] == "canceled"
    assert sum(t["amount"] for t in mine) == pytest.approx(0.01)
    assert mine[0]["fee"]["currency"] == "SIM"
    assert balance["SIM"]["free"] == pytest.approx(0.009995)
    assert process.end() == 0
