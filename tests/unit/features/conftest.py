"""Markets for the feature tests: a synthetic one with everything in it, and a stretch of a recording."""

from __future__ import annotations

import gzip
import itertools
import random
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from mia.domain.events import BookDelta, BookSnapshot, Event, FeedGap, Quote, Timer, Trade
from mia.domain.instruments import Instrument, InstrumentId
from mia.features.bars import BarSpec
from mia.features.columns import EventColumns, from_events
from mia.features.plan import Plan, build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book

START_NS = 1_723_161_253_937_085_768


def pack(levels: Sequence[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack("<qq", *level) for level in levels)


@pytest.fixture(scope="session")
def instrument() -> Instrument:
    return Instrument(
        venue="binance_spot", symbol="BTCUSDT", kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
        lot_size=Decimal("0.00001"), maker_fee=Decimal("0.001"), taker_fee=Decimal("0.001"),
    )  # fmt: skip


class Bench:
    """A plan with its own arena and book, fed event by event."""

    def __init__(self, columns: Sequence[str], instrument: Instrument, bars: str = "time:1s") -> None:
        self.arena = Arena(32_000_000)
        self.book = Book(self.arena)
        self.plan: Plan = build_plan(columns, instrument, BarSpec.parse(bars), self.arena, self.book)

    def feed(self, e: Event) -> int:
        if isinstance(e, Quote):
            return self.plan.on_quote(e.ts_recv_ns, e.ts_event_ns, e.bid_ticks, e.ask_ticks, e.bid_lots, e.ask_lots)
        if isinstance(e, Trade):
            return self.plan.on_trade(e.ts_recv_ns, e.ts_event_ns, e.price_ticks, e.qty_lots, e.aggressor)
        if isinstance(e, Timer):
            return self.plan.on_time(e.ts_recv_ns)
        if isinstance(e, BookSnapshot):
            self.book.load(e.bids, e.asks)
        elif isinstance(e, BookDelta):
            self.book.apply(e.bids, e.asks)
        elif isinstance(e, FeedGap):
            self.book.invalidate()
        return self.plan.on_book(e.ts_recv_ns)

    def row(self, ts_ns: int) -> list[float]:
        self.plan.observe(ts_ns)
        return list(self.plan.values)


@pytest.fixture
def bench(instrument: Instrument) -> Callable[..., Bench]:
    return lambda columns, bars="time:1s": Bench(columns, instrument, bars)


def synthetic(seconds: int, seed: int) -> list[Event]:
    """Quotes, trades, timers and book changes of a wandering market, with bursts, quiet spells and one long silence."""
    rnd = random.Random(seed)
    events: list[Event] = []
    t, mid, seq = START_NS, 6_000_000, 0
    next_timer = (t // 100_000_000 + 1) * 100_000_000
    end = t + seconds * 1_000_000_000
    events.append(
        BookSnapshot(0, t, t, 0, pack([(mid - 1 - i, 1000 + i) for i in range(60)]), pack([(mid + 1 + i, 900 + i) for i in range(60)]))
    )
    while t < end:
        t += int(rnd.expovariate(1.0) * rnd.choice((2e6, 3e7, 3e7, 2e8)))
        while next_timer <= t:
            events.append(Timer(len(events), 0, next_timer))
            next_timer += 100_000_000
        seq = len(events)
        kind = rnd.random()
        mid += rnd.choice((0, 0, 0, -3, -1, 1, 3))
        half = rnd.choice((1, 1, 1, 2, 8))
        if kind < 0.55:
            events.append(Quote(seq, t - 5, t, 0, mid - half, mid + half, rnd.randint(1, 400_000), rnd.randint(1, 400_000)))
        elif kind < 0.85:
            side = rnd.choice((-1, 1, 1, 0))
            events.append(Trade(seq, t - 7, t, 0, mid + side * half, int(rnd.lognormvariate(7, 2)) + 1, side, seq))
        else:
            changes = [(mid - rnd.randint(1, 30), rnd.choice((0, rnd.randint(1, 5000)))) for _ in range(3)]
            others = [(mid + rnd.randint(1, 30), rnd.choice((0, rnd.randint(1, 5000)))) for _ in range(3)]
            events.append(BookDelta(seq, t - 9, t, 0, pack(changes), pack(others)))
    return events


@pytest.fixture(scope="session")
def market() -> list[Event]:
    return synthetic(150, 7)


@pytest.fixture(scope="session")
def recording(market_data: Path, instrument: Instrument) -> EventColumns:
    """The first 25,000 frames of the spot recording with Timers, as columns."""
    from mia.venues.binance.codec import BinanceCodec

    codec = BinanceCodec({"BTCUSDT": (InstrumentId(0), instrument)}, "spot")
    events: list[Event] = []
    timer = 0
    with gzip.open(market_data / "binance_spot_btcusdt_ws_20240808.gz") as lines:
        for line in itertools.islice(lines, 25_000):
            stamp, _, payload = line.partition(b" ")
            while timer and timer <= int(stamp):
                events.append(Timer(len(events), 0, timer))
                timer += 100_000_000
            timer = timer or (int(stamp) // 100_000_000 + 1) * 100_000_000
            events.extend(codec.decode(payload, int(stamp), len(events)))
    return from_events(events)


def oracle_bars(events: Sequence[Event], interval_ns: int) -> tuple[np.ndarray, list[int]]:
    """Plain time bars with fill: float64[n, 11] in the order of BAR_FIELDS and the end of each, closed by events or Timers."""
    bars: list[list[float]] = []
    ends: list[int] = []
    current: list[float] | None = None
    end = 0
    for e in events:
        while current is not None and e.ts_recv_ns >= end:
            bars.append(current)
            ends.append(end)
            current = [current[3]] * 4 + [0.0] * 7
            end += interval_ns
        if not isinstance(e, Trade):
            continue
        if current is None:
            current = [e.price_ticks] * 4 + [0.0] * 7
            end = e.ts_recv_ns // interval_ns * interval_ns + interval_ns
        if current[8] == 0:
            current[:4] = [e.price_ticks] * 4
        price = float(e.price_ticks)
        current[1] = max(current[1], price)
        current[2] = min(current[2], price)
        current[3] = price
        current[4] += e.qty_lots
        current[7] += price * e.qty_lots
        current[8] += 1
        if e.aggressor > 0:
            current[5] += e.qty_lots
            current[9] += 1
        elif e.aggressor < 0:
            current[6] += e.qty_lots
            current[10] += 1
    return np.array(bars, dtype=np.float64), ends


@pytest.fixture(scope="session")
def bars_of() -> Callable[..., tuple[np.ndarray, list[int]]]:
    return oracle_bars


def depth_oracle(bids: list[tuple[int, int]], asks: list[tuple[int, int]], budget: float, bar_lots: float) -> dict[str, float]:
    """The formulas of depth_block from (price, lots), best first; budget in ticks x lots."""
    best_bid, best_ask = bids[0][0], asks[0][0]
    mid = (best_bid + best_ask) / 2

    def lots(side: list[tuple[int, int]], n: int) -> int:
        return sum(q for _, q in side[:n])

    def span(side: list[tuple[int, int]], n: int) -> int:
        return abs(side[:n][-1][0] - side[0][0])

    def slope(side: list[tuple[int, int]]) -> float:
        x = np.abs(np.array([p for p, _ in side[:10]], dtype=float) - side[0][0])
        y = np.cumsum([q for _, q in side[:10]])
        return float(np.polyfit(x / x[-1], y / y[-1], 1)[0]) if len(side) > 1 else 0.0

    def share(a: float, b: float) -> float:
        return (a - b) / (a + b) if a + b else 0.0

    def filled(side: list[tuple[int, int]], sign: int) -> float:
        left, cost = bar_lots, 0.0
        for p, q in side[:50]:
            cost += min(q, left) * p
            left -= min(q, left)
        price = cost / (bar_lots - left) if bar_lots > left else side[0][0]
        return float(np.clip(sign * 1e4 * (price / mid - 1), -100, 1000))

    def shape(side: list[tuple[int, int]]) -> float:
        return sum(q * abs(p - side[0][0]) for p, q in side[:10]) / lots(side, 10)

    def impact(side: list[tuple[int, int]], sign: int) -> float:
        left, taken = budget, 0.0
        for p, q in side[:50]:
            part = min(q, left / p)
            taken += part
            left -= part * p
        return sign * 1e4 * ((budget - left) / taken / mid - 1)

    reach = min(mid - bids[:20][-1][0], asks[:20][-1][0] - mid)

    def near(side: list[tuple[int, int]], sign: int) -> float:
        return sum(q * max(0.0, 1 - sign * (p - mid) / reach) for p, q in side[:20]) if reach > 0 else 0.0

    def wall(side: list[tuple[int, int]]) -> tuple[float, float]:
        behind = side[1:20]
        if not behind:
            return 0.0, 0.0
        p, q = max(behind, key=lambda x: x[1])  # the first of equals
        return q / lots(side, 20), abs(p - side[0][0]) / span(side, 20)

    ten = bids[:10] + asks[:10]
    half = (asks[:10][-1][0] - bids[:10][-1][0]) / 2
    gap = sum((p - mid) * q for p, q in ten) / sum(q for _, q in ten)
    buy, sell = impact(asks, 1), impact(bids, -1)
    walls = wall(bids), wall(asks)
    found = {f"depth_imb_{n}": share(lots(bids, n), lots(asks, n)) for n in (5, 10, 20, 50)}
    return found | {
        "book_slope_bid": slope(bids),
        "book_slope_ask": slope(asks),
        "impact_bps_bar_buy": filled(asks, 1),
        "impact_bps_bar_sell": filled(bids, -1),
        "impact_bps_10k": float(np.clip(max(buy, sell), -100, 1000)),
        "depth_near_share": (lots(bids, 5) + lots(asks, 5)) / (lots(bids, 20) + lots(asks, 20)),
        "depth_imb_near": share(near(bids, -1), near(asks, 1)),
        "book_price_gap_10": float(np.clip(gap / half, -1, 1)) if half > 0 else 0.0,
        "book_shape_skew_10": share(shape(asks), shape(bids)),
        "wall_share_bid": walls[0][0],
        "wall_share_ask": walls[1][0],
        "wall_dist_bid": walls[0][1],
        "wall_dist_ask": walls[1][1],
    }


@pytest.fixture(scope="session")
def depth_of() -> Callable[..., dict[str, float]]:
    return depth_oracle
