"""The measured peer: the recorded frames through ccxt.pro's Binance handlers. A process of its own; JSON on stdout.

ccxt gets the text that its websocket client would hand over (JSON decoding, market look-up, order book, trades, tickers are
its own code); the book is seeded from the recorded snapshot as its `fetch` would. Nothing is sent anywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import statistics
import time
from pathlib import Path
from typing import Any

import msgspec

from mia.domain.errors import DataError

_URL = "wss://fstream.binance.com/public/stream"  # only its text is looked at: it tells ccxt the kind of market


def _market() -> dict[str, Any]:
    return {
        "id": "BTCUSDT", "symbol": "BTC/USDT:USDT", "base": "BTC", "quote": "USDT", "settle": "USDT", "baseId": "BTC", "quoteId": "USDT",
        "settleId": "USDT", "type": "swap", "spot": False, "margin": False, "swap": True, "future": False, "option": False, "active": True,
        "contract": True, "linear": True, "inverse": False, "contractSize": 1.0, "taker": 0.0005, "maker": 0.0002,
        "precision": {"amount": 0.001, "price": 0.1}, "limits": {}, "info": {},
    }  # fmt: skip


async def measure(path: Path, frames_max: int, rounds: int) -> dict[str, Any]:
    """Frames per second, median of the rounds."""
    import ccxt.pro
    from ccxt.async_support.base.ws.client import Client

    texts = []
    snapshot = None
    with gzip.open(path, "rt") as lines:
        for line in lines:
            text = line.split(" ", 1)[1]
            if '"lastUpdateId"' in text:
                snapshot = msgspec.json.decode(text)
            else:  # diffs before the snapshot, too: the handlers drop what it covers
                texts.append(text.strip())
            if len(texts) >= frames_max:
                break
    if snapshot is None:
        raise DataError(f"{path}: no snapshot in its first {frames_max} frames: use a recording that has one")
    rates = []
    for _ in range(rounds):
        exchange = ccxt.pro.binance({"options": {"defaultType": "swap"}, "newUpdates": True})
        exchange.set_markets([_market()])
        client = Client(_URL, exchange.handle_message, lambda c, e: None, lambda c, e: None, lambda c: None)
        book = exchange.order_book({}, 1000)
        book.reset(exchange.parse_order_book(snapshot, "BTC/USDT:USDT"))
        book["nonce"] = snapshot["lastUpdateId"]
        exchange.orderbooks["BTC/USDT:USDT"] = book
        started = time.perf_counter()
        for text in texts:
            client.handle_text_or_binary_message(text)
        rates.append(len(texts) / (time.perf_counter() - started))
        seen = (book["nonce"], len(exchange.trades.get("BTC/USDT:USDT", ())), len(exchange.bidsasks))
        if seen[0] <= snapshot["lastUpdateId"] or not all(seen):
            raise DataError(f"ccxt took nothing in (last update, trades, tickers: {seen}): this version of ccxt is not measured")
        await exchange.close()
    return {"ccxt_frames_per_s": round(statistics.median(rates)), "ccxt": ccxt.__version__, "frames": len(texts)}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m mia.cli.ccxt_peer")
    parser.add_argument("path", type=Path)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    print(msgspec.json.encode(asyncio.run(measure(options.path, options.frames, options.rounds))).decode())


if __name__ == "__main__":
    main()
