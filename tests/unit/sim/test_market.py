"""The simulated market: a real book underneath, flow that leads the price, one seed, and going on from any frame."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from decimal import Decimal
from itertools import islice, pairwise, takewhile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mia.domain.errors import ConfigError, DataError
from mia.domain.events import BookDelta, BookSnapshot, Quote, Trade
from mia.domain.instruments import Instrument
from mia.features.columns import from_events
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.sim.market import ARENA_BYTES, DELTA, QUOTE, SNAPSHOT, TIMER, TRADE, SimColumns, SimFeed, SimMarket
from mia.sim.settings import PhaseSettings, SimMarketSettings

ROOT = Path(__file__).resolve().parents[3]
START = 1_700_000_000_000_000_000
BTC = Instrument(
    venue="sim",
    symbol="BTCUSDT",
    kind="perpetual",
    family="crypto",
    quote_currency="USDT",
    tick_size=Decimal("0.1"),
    lot_size=Decimal("0.001"),
    maker_fee=Decimal("0.0002"),
    taker_fee=Decimal("0.0005"),
)
ES = Instrument(
    venue="sim",
    symbol="ESU6",
    kind="future",
    family="index",
    quote_currency="USD",
    tick_size=Decimal("0.25"),
    lot_size=Decimal(1),
    maker_fee=Decimal(0),
    taker_fee=Decimal(0),
    multiplier=Decimal(50),
)


def market(seed: int = 1, instrument: Instrument = BTC) -> SimMarket:
    more = {"start_price": Decimal(5_000), "order_notional": Decimal(2_500_000)} if instrument is ES else {}
    return SimMarket(SimMarketSettings(seed=seed, **more), instrument)


def feed(seed: int = 1) -> SimFeed:
    return SimFeed(market(seed), START)


def digest(columns: SimColumns) -> str:
    h = hashlib.sha256()
    for name in ("kind", "ts_recv_ns", "a", "b", "c", "d", "phase"):
        h.update(getattr(columns, name).tobytes())
    return h.hexdigest()


class Seconds:
    """One-second series of a generated stretch."""

    def __init__(self, c: SimColumns) -> None:
        grid = np.arange(60, int(c.ts_event_ns[-1] // 10**9) - 60) * 10**9
        quotes, trades = c.kind == QUOTE, c.kind == TRADE
        at = np.searchsorted(c.ts_event_ns[quotes], grid, side="right") - 1
        self.bid, self.ask = c.a[quotes], c.b[quotes]
        self.log_bps = np.log((self.bid + self.ask)[at] / 2) * 1e4
        bid_lots, ask_lots = c.c[quotes][at].astype(float), c.d[quotes][at].astype(float)
        self.imbalance = (bid_lots - ask_lots) / (bid_lots + ask_lots)
        self.phase = c.phase[quotes][at]
        signed = np.concatenate([[0], np.cumsum(c.b[trades] * c.c[trades])])
        size = np.concatenate([[0], np.cumsum(c.b[trades])])
        now = np.searchsorted(c.ts_event_ns[trades], grid, side="right")
        before = np.searchsorted(c.ts_event_ns[trades], grid - 5 * 10**9, side="right")
        self.flow = (signed[now] - signed[before]) / np.maximum(size[now] - size[before], 1)

    def forward(self, signal: np.ndarray, seconds: int) -> float:
        """Correlation of a signal with the move of the next seconds."""
        return float(np.corrcoef(signal[:-seconds], self.log_bps[seconds:] - self.log_bps[:-seconds])[0, 1])


@pytest.fixture(scope="module")
def hours() -> SimColumns:
    return market(seed=5).generate(duration_s=2 * 3600, snapshot=False)


@pytest.fixture(scope="module")
def seconds(hours: SimColumns) -> Seconds:
    return Seconds(hours)


# --- what comes out of a book --------------------------------------------------------------------------------------
@pytest.mark.parametrize("instrument", [BTC, ES], ids=lambda i: i.symbol)
def test_quotes_trades_and_deltas_are_those_of_one_book(instrument: Instrument) -> None:
    f = SimFeed(market(2, instrument), START)
    codec, book = f.codec(), Book(Arena(1 << 14), 128)
    seen = {Quote: 0, Trade: 0, BookDelta: 0, BookSnapshot: 0}
    bid = ask = 0
    for n, (recv, payload) in enumerate(islice(f.frames(), 40_000)):
        (event,) = codec.decode(payload, recv, n)
        seen[type(event)] += 1
        if isinstance(event, BookSnapshot):
            book.load(event.bids, event.asks)
        elif isinstance(event, BookDelta):
            book.apply(event.bids, event.asks)
        elif isinstance(event, Quote):
            bid, ask = event.bid_ticks, event.ask_ticks
            assert (book.best_bid_ticks(), book.best_ask_ticks()) == (bid, ask)
            assert (book.best_bid_lots(), book.best_ask_lots()) == (event.bid_lots, event.ask_lots)
        elif isinstance(event, Trade) and bid:
            assert event.qty_lots > 0
            assert book.lots_at(event.aggressor < 0, event.price_ticks) >= event.qty_lots  # it took what was resting
            assert event.price_ticks >= ask if event.aggressor > 0 else event.price_ticks <= bid
        assert not book.is_crossed()
        assert min(book.n_bids(), book.n_asks()) >= 8

    assert seen[BookSnapshot] == 1
    assert min(seen[Quote], seen[Trade], seen[BookDelta]) > 2_000
    assert codec.counters() == {"bad_frames": 0}


def test_event_rates_are_those_of_a_thinned_exchange(hours: SimColumns) -> None:
    span = (hours.ts_event_ns[-1] - hours.ts_event_ns[0]) / 1e9
    rates = {kind: float((hours.kind == kind).sum()) / span for kind in (QUOTE, TRADE, DELTA)}

    assert 50 < sum(rates.values()) < 200
    assert min(rates.values()) > 5
    assert np.all(np.diff(hours.ts_recv_ns) >= 0)


def test_the_spread_is_mostly_one_to_a_few_ticks(seconds: Seconds) -> None:
    spread = seconds.ask - seconds.bid

    assert spread.min() == 1
    assert np.median(spread) <= 3
    assert np.percentile(spread, 90) < 30


def test_violent_moves_more_than_trending_and_trending_more_than_calm(seconds: Seconds) -> None:
    returns, phase = np.diff(seconds.log_bps), seconds.phase[:-1]
    calm, trending, violent = (returns[phase == p].std() for p in (0, 1, 2))

    assert calm * 1.3 < trending
    assert trending * 1.3 < violent
    assert min((phase == p).mean() for p in (0, 1, 2)) > 0.05


def test_returns_have_fat_tails_and_clustered_volatility(seconds: Seconds) -> None:
    r = np.diff(seconds.log_bps)
    kurtosis = ((r - r.mean()) ** 4).mean() / r.var() ** 2

    assert kurtosis > 5
    assert np.corrcoef(np.abs(r[:-10]), np.abs(r[10:]))[0, 1] > 0.1


@pytest.mark.parametrize("ahead", [1, 5, 30])
def test_flow_and_queue_imbalance_lead_the_price(seconds: Seconds, ahead: int) -> None:
    # About 7,000 seconds: 0.05 is four standard errors. An upper bound, so that nobody trains on an oracle.
    assert 0.05 < seconds.forward(seconds.imbalance, ahead) < 0.5
    assert 0.1 < seconds.forward(seconds.flow, ahead) < 0.75


def test_following_the_trend_earns_more_than_taker_costs(seconds: Seconds) -> None:
    log_bps, position, profit = seconds.log_bps, 0, 0.0
    for i in range(30, len(log_bps) - 1):
        move = log_bps[i] - log_bps[i - 30]
        wanted = 1 if move > 12 else -1 if move < -12 else 0 if abs(move) < 3 else position
        profit -= 5.0 * abs(wanted - position)
        position = wanted
        profit += position * (log_bps[i + 1] - log_bps[i])

    assert profit > 100.0


def test_a_long_stretch_stays_near_its_start_price() -> None:
    m = market(seed=9)
    for _ in range(1500):
        m.step_rows()

    assert 0.3 < m.latent_ticks / 600_000 < 3.0


# --- determinism and state ----------------------------------------------------------------------------------------------
def test_one_seed_one_market() -> None:
    assert digest(market(3).generate(5_000)) == digest(market(3).generate(5_000))
    assert digest(market(3).generate(5_000)) != digest(market(4).generate(5_000))


def test_a_restored_arena_goes_on_with_the_same_events() -> None:
    m = market()
    m.generate(duration_s=30)
    saved = m.arena.snapshot()
    first = digest(m.generate(duration_s=60))
    m.arena.restore(saved)

    assert digest(m.generate(duration_s=60)) == first
    assert m.arena.used_bytes <= ARENA_BYTES


def test_stopping_by_time_or_by_rows_does_not_change_what_follows() -> None:
    whole = market().generate(duration_s=100, snapshot=False)
    m = market()
    parts = [m.generate(duration_s=0.37, snapshot=False) for _ in range(20)] + [m.generate(500, snapshot=False)]

    for name in ("kind", "ts_event_ns", "a", "b", "c", "d"):
        joined = np.concatenate([getattr(p, name) for p in parts])
        assert np.array_equal(joined, getattr(whole, name)[: len(joined)])


def test_interpreted_and_compiled_kernels_make_the_same_market() -> None:
    script = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('t', {str(Path(__file__))!r}); t = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(t); print(t.digest(t.market(6).generate(4_000)))"
    )
    env = {**os.environ, "MIA_KERNELS": "interpreted", "PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)

    assert out.stdout.strip() == digest(market(6).generate(4_000))


# --- columns ---------------------------------------------------------------------------------------------------------------
def test_columns_open_with_the_book_and_point_at_their_levels() -> None:
    m = market()
    bids, asks = m.levels(False), m.levels(True)
    c = m.generate(3_000)

    assert c.kind[0] == SNAPSHOT
    assert (c.a[0], c.b[0], c.level_count[0]) == (len(bids), len(asks), len(bids) + len(asks))
    pairs = c.levels.reshape(-1, 2)
    assert [tuple(p) for p in pairs[: c.level_count[0]].tolist()] == bids + asks
    deltas = np.flatnonzero(c.kind == DELTA)
    assert set((c.a[deltas] + c.b[deltas]).tolist()) == {1}
    assert set(c.level_count[deltas].tolist()) == {1}
    assert 3_000 - 48 < len(c) - 1 <= 3_000


def test_columns_are_those_of_the_events_that_the_feed_delivers() -> None:
    f = feed()
    codec = f.codec()
    events = [codec.decode(payload, recv, 0)[0] for recv, payload in islice(f.frames(), 5_000)]
    m = market()
    m.start(START - m.settings.feed_latency_us * 1000)
    made, seen = m.generate(6_000).events, from_events(events)

    for name in ("kind", "ts_recv_ns", "ts_event_ns", "a", "b", "c", "d", "level_count"):
        skip = 1 if name.startswith("ts_") else 0  # the feed opens at its start, columns with their first event
        assert np.array_equal(getattr(made, name)[skip:5_000], getattr(seen, name)[skip:]), name
    assert np.array_equal(made.levels[: len(seen.levels)], seen.levels)


def test_timer_rows_come_at_each_multiple_of_100_ms_after_what_arrived_before() -> None:
    c = market().generate(duration_s=10, timers=True)

    timers = c.ts_recv_ns[c.kind == TIMER]
    assert np.all(timers % 100_000_000 == 0)
    assert np.array_equal(np.diff(timers), np.full(len(timers) - 1, 100_000_000))
    assert np.all(np.diff(c.ts_recv_ns) >= 0)
    assert len(timers) >= 98


# --- the feed -----------------------------------------------------------------------------------------------------------------
def test_the_feed_starts_when_told_and_never_steps_back() -> None:
    frames = list(islice(feed().frames(), 5_000))

    assert frames[0][0] == START
    assert all(a[0] <= b[0] for a, b in pairwise(frames))


@pytest.mark.parametrize("n", [0, 1, 2, 2_047, 2_048, 5_001])
def test_skipping_is_the_same_as_reading(n: int) -> None:
    read, skipped = feed(), feed()
    for _ in islice(read.frames(), n):
        pass
    skipped.skip(n)

    assert (skipped.delivered, read.delivered) == (n, n)
    assert list(islice(skipped.frames(), 100)) == list(islice(read.frames(), 100))


@pytest.mark.parametrize("n", [0, 1, 700, 4_000])
def test_a_restored_feed_goes_on_at_the_next_frame(n: int) -> None:
    first = feed()
    for _ in islice(first.frames(), n):
        pass
    saved = first.snapshot()
    second = feed()
    second.restore(saved)

    assert list(islice(second.frames(), 3_000)) == list(islice(first.frames(), 3_000))
    assert second.phase == first.phase


@pytest.mark.parametrize("n", [0, 1, 700, 2_048])
def test_a_resumed_feed_loses_only_the_time_in_between(n: int) -> None:
    later = START + 3_600 * 10**9
    straight, resumed = feed(), feed()
    straight.skip(n)
    resumed.skip(n)
    resumed.resume_at(later)
    restored = feed()
    restored.restore(resumed.snapshot())

    expected = list(islice(straight.frames(), 3_000))
    got = list(islice(resumed.frames(), 3_000))
    assert got[0][0] == later
    assert [r - got[0][0] for r, _ in got] == [r - expected[0][0] for r, _ in expected]
    assert [p[16:] for _, p in got] == [p[16:] for _, p in expected]
    assert list(islice(restored.frames(), 3_000)) == got


def test_a_snapshot_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="does not fit"):
        feed().restore(b"garbage")


def test_frames_that_are_not_ours_are_counted_and_dropped() -> None:
    codec = feed().codec()

    assert list(codec.decode(b"short", 1, 1)) == []
    assert list(codec.decode(b"\x09" + bytes(47), 1, 1)) == []
    assert codec.counters() == {"bad_frames": 2}


# --- settings --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"start_price": Decimal(-1)}, "start_price"),
        ({"gap_bps": float("nan")}, "gap_bps"),
        ({"persistence": 1.0}, "persistence"),
        ({"transitions": ((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0))}, "transitions"),
        ({"calm": PhaseSettings(sigma_bps=-1, steps_per_s=1, dwell_s_min=1, dwell_s_max=2, taker_share=0.1, jumps_per_s=0)}, "sigma_bps"),
        (
            {"violent": PhaseSettings(sigma_bps=1, steps_per_s=1, dwell_s_min=3, dwell_s_max=2, taker_share=0.1, jumps_per_s=0)},
            "dwell_s_min",
        ),
    ],
)
def test_settings_out_of_bounds_name_their_key(change: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        SimMarketSettings(**change)


def test_a_grid_that_cannot_carry_the_price_is_refused() -> None:
    with pytest.raises(ConfigError, match="start_price"):
        SimMarket(SimMarketSettings(start_price=Decimal(10)), BTC)
    with pytest.raises(ConfigError, match="order_notional"):
        SimMarket(SimMarketSettings(order_notional=Decimal(1)), BTC)


def test_settings_survive_the_json_of_a_journal() -> None:
    changed = SimMarketSettings(seed=7, gap_bps=0.4)

    assert msgspec.json.decode(msgspec.json.encode(changed), type=SimMarketSettings) == changed


def test_events_without_frames_are_those_of_the_frames() -> None:
    f, g = feed(), feed()
    codec = f.codec()
    for made in (f, g):
        made.skip(1_500)  # in the middle of a chunk
    until = START + 90_000_000_000
    frames = list(takewhile(lambda frame: frame[0] <= until, f.frames()))

    found = list(g.events(until))

    expected = [event for recv, payload in frames for event in codec.decode(payload, recv, 0)]
    assert found == expected
    assert len(found) > 5_000  # several chunks
    assert {type(event) for event in found} == {Quote, Trade, BookDelta}


def test_events_without_frames_open_with_the_book() -> None:
    f, g = feed(), feed()
    codec = f.codec()

    found = list(g.events(START))

    assert found == list(codec.decode(next(f.frames())[1], START, 0))
    assert type(found[0]) is BookSnapshot
