"""What does it cost to turn one recorded Binance frame into an event, and how many frames a second does replay read?

Run: python tests/bench/bench_codec.py [folder of recordings]. Prints p50 and p99 of single calls and the mean back to back, by
kind of frame; then frames/s of reading alone, and of reading, decoding and keeping the book.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

from mia.domain.events import BookDelta, BookSnapshot
from mia.domain.instruments import Instrument, InstrumentId
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.venues.binance import wire
from mia.venues.replay.feed import ReplayFeed

NAMES = {wire.QUOTE: "bookTicker", wire.TRADE: "trade", wire.DIFF: "depth", wire.SNAPSHOT: "snapshot"}
RECORDINGS = ("binance_usdm_btcusdt_ws_20240808.gz", "binance_spot_btcusdt_ws_20240808.gz")


def instrument(venue: str, tick: str, lot: str) -> Instrument:
    kind = "spot" if venue == "binance_spot" else "perpetual"
    fee = Decimal("0.001")
    return Instrument(
        venue=venue, symbol="BTCUSDT", kind=kind, family="crypto", quote_currency="USDT",  # type: ignore[arg-type]
        tick_size=Decimal(tick), lot_size=Decimal(lot), maker_fee=fee, taker_fee=fee,
    )  # fmt: skip


KNOWN = [
    (InstrumentId(0), instrument("binance_spot", "0.01", "0.00001")),
    (InstrumentId(1), instrument("binance_usdm", "0.10", "0.001")),
]


def by_kind(path: Path) -> None:
    """Decode each frame once, timing each call; then each kind back to back."""
    feed = ReplayFeed([path], KNOWN)
    frames = list(feed.frames())
    scanner = feed.codec()._wire
    decode = feed.codec().decode
    single: dict[int, list[int]] = defaultdict(list)
    payloads: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    clock = time.perf_counter_ns
    for ts, payload in frames:
        start = clock()
        decode(payload, ts, 0)
        took = clock() - start
        single[scanner.kind()].append(took)
        payloads[scanner.kind()].append((ts, payload))
    for kind, took_ns in sorted(single.items()):
        took_ns.sort()
        decode = ReplayFeed([path], KNOWN).codec().decode
        start = clock()
        for ts, payload in payloads[kind]:
            decode(payload, ts, 0)
        mean = (clock() - start) / len(took_ns)
        size = sum(len(payload) for _, payload in payloads[kind]) / len(took_ns)
        p50, p99 = took_ns[len(took_ns) // 2], took_ns[len(took_ns) * 99 // 100]
        counted = f"{NAMES.get(kind, kind):10} {len(took_ns):6} frames of {size:7.0f} B"
        print(f"  {counted}: p50 {p50} ns, p99 {p99} ns, mean {mean:.0f} ns, {mean / size:.2f} ns/B")


def whole(path: Path) -> None:
    """Frames a second, gunzip included."""
    start = time.perf_counter()
    n = sum(1 for _ in ReplayFeed([path], KNOWN).frames())
    read_s = time.perf_counter() - start

    feed = ReplayFeed([path], KNOWN)
    book = Book(Arena(1 << 20))
    decode = feed.codec().decode
    seq = 0
    start = time.perf_counter()
    for ts, payload in feed.frames():
        for event in decode(payload, ts, seq):
            seq += 1
            if isinstance(event, BookDelta):
                book.apply(event.bids, event.asks)
            elif isinstance(event, BookSnapshot):
                book.load(event.bids, event.asks)
    all_s = time.perf_counter() - start
    print(f"  read {n / read_s:,.0f} frames/s; read, decode and book {n / all_s:,.0f} frames/s")


def main() -> None:
    """All recordings."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MIA_DATA", "."))
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {Path(str(wire.__file__)).name}")
    for name in RECORDINGS:
        print(name)
        by_kind(folder / name)
        whole(folder / name)


if __name__ == "__main__":
    main()
