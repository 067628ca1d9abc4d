"""The columns of order flow: plain versions of their formulas, what they wait for, a recording, and trades no market should send."""

from __future__ import annotations

import gzip
import itertools
import math
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.events import Event, Timer
from mia.domain.instruments import Instrument, InstrumentId
from mia.features.bars import BarSpec
from mia.features.batch import compute, compute_bars
from mia.features.calendars import Calendar
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import EventColumns, from_events
from mia.features.plan import Plan, build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.flow_block import SLOTS as FLOW_SLOTS
from mia.kernels.impact_block import SLOTS as IMPACT
from mia.kernels.trade_block import SLOTS as TRADE
from mia.kernels.vpin_block import SLOTS as VPIN

SEC = 1_000_000_000
START = 1_723_161_253_937_085_768
FLOW = shipped_catalogue().category("order_flow")
WINDOW = FLOW_SLOTS[17:]
ROOT = Path(__file__).resolve().parents[3]
Array = Any


class T(NamedTuple):
    """A trade, or a quote around `price` when qty is 0."""

    t: int
    price: int
    qty: int = 0
    side: int = 0


def tape(seconds: int, seed: int, aggressors: tuple[int, ...] = (1, 1, -1, -1, 0)) -> list[T]:
    """Bursts at one ns, quiet spells, sizes over many scales, runs of one side, quotes between."""
    rnd = random.Random(seed)
    rows, t, mid, side = [], START, 6_000_000, 1
    while t < START + seconds * SEC:
        t += int(rnd.expovariate(1.0) * rnd.choice((0, 1e6, 1e7, 2e8)))
        mid += rnd.choice((0, 0, -2, 2, 5, -5))
        if rnd.random() < 0.3:
            rows.append(T(t, mid))
            continue
        side = rnd.choice(aggressors) if rnd.random() < 0.4 else side
        rows.append(T(t, mid + side * rnd.choice((0, 1, 1, 3)), int(rnd.lognormvariate(5, 2)) + 1, side))
    return rows


def feed(plan: Plan, rows: list[T]) -> None:
    for x in rows:
        if x.qty:
            plan.on_trade(x.t, 0, x.price, x.qty, x.side)
        else:
            plan.on_quote(x.t, 0, x.price - 1, x.price + 1, 5, 5)


def row_of(b: Any, now: int) -> dict[str, float]:
    return dict(zip(b.plan.columns, b.row(now), strict=True))


def tick_signs(price: Array) -> Array:
    signs = np.zeros(len(price))
    for i in range(1, len(price)):
        signs[i] = np.sign(price[i] - price[i - 1]) or signs[i - 1]
    return signs


def mean_100(values: list[float]) -> float:
    out = 0.0
    for k, x in enumerate(values, start=1):
        out += (x - out) / min(k, 100)
    return out


def size_class(qty: int) -> int:
    octave = qty.bit_length() - 1
    return 4 * octave + int((qty / 2**octave - 1) * 4)


def is_large(sizes: list[int]) -> Array:
    classes = [size_class(q) for q in sizes]
    large = np.zeros(len(sizes))
    for i in range(100, len(sizes)):
        window = np.array(classes[max(0, i - 512) : i])
        above = len(window) - np.bincount(window, minlength=256).cumsum()
        large[i] = classes[i] > np.flatnonzero(20 * above <= len(window))[0]
    return large


def trade_oracle(rows: list[T], atr: float, now: int) -> dict[str, float]:
    trades = [x for x in rows if x.qty]
    t = np.array([x.t for x in trades])
    p, q, side = np.array([x[1:] for x in trades], dtype=float).T
    tick = tick_signs(p)
    sign = np.where(side == 0, tick, side)
    large = is_large([x.qty for x in trades])

    def d(x: Array, tau: float) -> float:
        return float((x * np.exp(-(t[-1] - t) / 1e9 / tau)).sum())

    buys, sells = sign > 0, sign < 0
    m = d(q * (buys | sells), 60) / d(1.0 * (buys | sells), 60)
    w = d(q * p * (buys | sells), 60) / d(q * (buys | sells), 60)

    def mean_size(of: Array) -> float:
        return (d(q * of, 60) + m) / (d(1.0 * of, 60) + 1)

    def vwap(of: Array) -> float:
        return (d(q * p * of, 60) + m * w) / (d(q * of, 60) + m)

    mean = var = 0.0
    for k, x in enumerate(np.diff(t) / 1e9, start=1):
        a = 1 / min(k, 100)
        mean, var = mean + a * (x - mean), (1 - a) * (var + a * (x - mean) ** 2)
    counts = np.unique([x.qty.bit_length() for x in trades[-64:]], return_counts=True)[1] / 64
    age, silence = (now - t[0]) / 1e9, (now - t[-1]) / 1e9
    fast = d(q, 10) * math.exp(-silence / 10) / (10 * (1 - math.exp(-age / 10)))
    slow = d(q, 60) * math.exp(-silence / 60) / (60 * (1 - math.exp(-age / 60)))
    return {
        "large_trade_share": d(q * large, 60) / d(q, 60),
        "large_trade_imb": d(sign * q * large, 60) / d(q, 60),
        "size_entropy_64": float(-(counts * np.log(counts)).sum() / np.log(64)),
        "size_asym_60s": math.log(mean_size(buys) / mean_size(sells)),
        "burstiness_100": (var**0.5 - mean) / (var**0.5 + mean),
        "volume_accel_10_60": math.log(fast / slow),
        "flow_imb_60s": d(side * q, 60) / d(q, 60),
        "flow_imb_300s": d(side * q, 300) / d(q, 300),
        "buy_sell_vwap_gap_60s": float(np.clip((vwap(buys) - vwap(sells)) / atr, -20, 20)),
        "tick_rule_imb_10s": d(tick * q, 10) / d(q, 10),
    }


def impact_oracle(rows: list[T]) -> dict[str, float]:
    trades = [x for x in rows if x.qty]
    mids, mid = [], 0
    for x in rows:
        if x.qty:
            mids.append(mid)
        else:
            mid = x.price
    p = [float(x.price) for x in trades]
    tick = tick_signs(p)
    sign = [float(x.side or s) for x, s in zip(trades, tick, strict=True)]
    change = np.diff(p)
    g = mean_100(list(change[1:] * change[:-1]))
    signed = [(s, m) for s, m in zip(sign, mids, strict=True) if s]
    pairs = list(zip(signed, signed[10:], strict=False))
    lots = paid = through = 0.0
    for x, m in zip(trades, mids, strict=True):
        if m:
            weight = x.qty * math.exp(-(trades[-1].t - x.t) / 1e9 / 10)
            lots += weight
            paid += weight * 2 * (x.side or np.sign(x.price - m)) * (x.price - m) / m
            through += weight * (abs(x.price - m) > 1)
    return {
        "sign_autocorr_100": mean_100([a[0] * b[0] for a, b in itertools.pairwise(signed)]),
        "sign_memory_10_100": mean_100([a[0] * b[0] for a, b in pairs]),
        "roll_spread_100": -2e4 * np.sign(g) * abs(g) ** 0.5 / p[-1],
        "effective_spread_10s": 1e4 * paid / lots,
        "trade_through_share_10s": through / lots,
        "response_10_100": 1e4 * mean_100([a[0] * (b[1] - a[1]) / a[1] for a, b in pairs if a[1] and b[1]]),
    }


def vpin_oracle(rows: list[T]) -> dict[str, float]:
    """Trades cut into buckets one piece at a time."""
    trades = [x for x in rows if x.qty]
    tick = tick_signs([x.price for x in trades])
    first = trades[0].t
    buckets: list[float] = []
    ends: list[int] = []
    size = filled = net = 0.0
    times, sizes = np.array([x.t for x in trades]), np.array([x.qty for x in trades], dtype=float)
    for i, x in enumerate(trades):
        weights = np.exp(-(x.t - times[: i + 1]) / 1e9 / 300)
        lots = float((weights * sizes[: i + 1]).sum())
        if x.t - first < 60 * SEC:
            continue
        next_size = max(lots / (1 - math.exp(-(x.t - first) / 1e9 / 300)) / 50, 4 * lots / float(weights.sum()))
        if not ends:
            size = next_size
            ends.append(x.t)
        left = float(x.qty)
        for _ in range(50):
            part = min(left, size - filled)
            filled += part
            net += part * (x.side or tick[i])
            left -= part
            if filled < size:
                break
            buckets.append(abs(net) / size)
            ends.append(x.t)
            size, filled, net = next_size, 0.0, 0.0
    if len(buckets) < 50:
        return dict.fromkeys(VPIN, 0.0)
    took = [(ends[-1] - ends[-1 - n]) / 1e9 / n + 0.001 for n in (50, 10)]
    vpin = float(np.mean(buckets[-50:]))
    return {
        "vpin_50": vpin,
        "vpin_gap_10_50": float(np.mean(buckets[-10:])) - vpin,
        "volume_clock_10_50": math.log(took[0] / took[1]),
    }


@pytest.mark.parametrize("aggressors", [(1, 1, -1, -1, 0), (0,)], ids=["mostly known", "never known"])
@pytest.mark.parametrize("seconds", [40, 90, 160])
def test_columns_of_trades_match_their_formulas(seconds: int, aggressors: tuple[int, ...], bench: Callable[..., Any]) -> None:
    rows = tape(seconds, seconds, aggressors)
    b = bench([*TRADE, *IMPACT, "atr(14)"])
    feed(b.plan, rows)
    now = rows[-1].t + 777_777_777

    row = row_of(b, now)

    atr = row.pop("atr(14)")
    expected = trade_oracle(rows, atr, now) | impact_oracle(rows)
    assert len([x for x in rows if x.qty]) > 200
    assert atr > 0.0
    assert set(row) == set(expected)
    cold = {n for n in row if shipped_catalogue().get(n).warm_up.seconds > seconds}
    for name in sorted(set(row) - cold):
        assert row[name] == pytest.approx(expected[name], rel=1e-7, abs=1e-9), name


@pytest.mark.parametrize("seconds", [310, 420, 520])
def test_vpin_matches_trades_cut_into_buckets(seconds: int, bench: Callable[..., Any]) -> None:
    rows = tape(seconds, seconds)
    b = bench(VPIN)
    feed(b.plan, rows)

    row = row_of(b, rows[-1].t)

    expected = vpin_oracle(rows)
    assert (b.plan.first_cold() == -1) == (expected["vpin_50"] > 0.0) == (seconds > 310)
    assert row == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_trades_larger_than_all_buckets_make_each_of_them_one_sided(bench: Callable[..., Any]) -> None:
    rows = tape(400, 3)
    b = bench(VPIN)
    feed(b.plan, rows)

    b.plan.on_trade(rows[-1].t, 0, 6_000_000, 2**62, -1)
    b.plan.on_trade(rows[-1].t, 0, 6_000_000, 2**62, -1)

    assert row_of(b, rows[-1].t) == {"vpin_50": 1.0, "vpin_gap_10_50": 0.0, "volume_clock_10_50": 0.0}


def test_large_is_measured_against_the_trades_before_and_forgets_the_old_ones(bench: Callable[..., Any]) -> None:
    b = bench(["large_trade_share"])
    rows = [T(START + i * SEC, 100, 1000, 1) for i in range(600)]
    feed(b.plan, rows)
    none = row_of(b, rows[-1].t)["large_trade_share"]

    b.plan.on_trade(rows[-1].t + SEC, 0, 100, 1300, 1)
    first = row_of(b, rows[-1].t + SEC)["large_trade_share"]
    feed(b.plan, [T(rows[-1].t + (2 + i) * SEC, 100, 1300, 1) for i in range(1200)])
    usual = row_of(b, rows[-1].t + 1201 * SEC)["large_trade_share"]

    assert none == 0.0
    assert 0.01 < first < 0.03
    assert usual < 1e-6


def test_a_session_starts_its_delta_anew(instrument: Instrument) -> None:
    arena = Arena(16_000_000)
    calendar = Calendar(opens_ns=(0, 100 * SEC, 200 * SEC), closes_ns=(50 * SEC, 150 * SEC, 250 * SEC))
    plan = build_plan(["cum_delta_session"], instrument, BarSpec.parse("time:1s"), arena, Book(arena), calendar)
    bars = np.zeros((6, 11))
    bars[:, :4] = 100.0
    bars[:, 4] = 10.0
    bars[:, 5] = [10, 5, 5, 0, 10, 3]
    bars[:, 6] = [0, 5, 5, 10, 0, 3]
    closes = np.array([10, 100, 101, 150, 160, 201], dtype=np.int64) * SEC

    _, matrix = compute_bars(plan, closes, bars)

    assert matrix[:, 0].tolist() == [1.0, 0.5, 0.0, -0.5, 0.0, 0.0]


def bars_oracle(b: Array) -> dict[str, float]:
    c, v, n = b[:, 3], b[:, 4], b[:, 8]
    sv = b[:, 5] - b[:, 6]
    d = np.diff(c)

    def div(a: float, by: float) -> float:
        return float(a / by) if by > 0 else 0.0

    def corr(x: Array, y: Array) -> float:
        return float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else 0.0

    mean, var = n[-60:].mean(), n[-60:].var()
    return {
        "cum_delta_session": div(sv.sum(), v.sum()),
        "delta_divergence_20": div(c[-1] - c[-21], np.abs(d[-20:]).sum()) - div(sv[-20:].sum(), np.abs(sv[-20:]).sum()),
        "absorption_20": div(sv[-20:][sv[-20:] * d[-20:] <= 0].sum(), v[-20:].sum()),
        "kyle_r2_50": corr(d[-50:], sv[-50:]) ** 2,
        "flow_lead_50": corr(d[-50:], sv[-51:-1]),
        "branching_ratio_60": max(0.0, 1 - math.sqrt(mean / var)) if var > 0 else 0.0,
    }


def random_bars(n: int, seed: int) -> tuple[Array, Array]:
    """Bars of a walk that flow pushes, with bunched trades and bars without any, inside one day."""
    rng = np.random.default_rng(seed)
    trades = np.where(rng.random(n) < 0.15, 0, rng.geometric(0.05, n))
    buy = np.where(trades > 0, rng.integers(0, 50_000, n), 0)
    sell = np.where(trades > 0, rng.integers(0, 50_000, n), 0)
    close = 6_000_000 + np.cumsum((buy - sell) // 1000 + rng.integers(-30, 31, n) * (trades > 0))
    bars = np.zeros((n, 11))
    bars[:, :4] = close[:, None]
    bars[:, 4] = buy + sell + np.where(trades > 0, 7, 0)
    bars[:, 5], bars[:, 6], bars[:, 7], bars[:, 8] = buy, sell, bars[:, 4] * close, trades
    return 1_700_000_000 * SEC + SEC * np.arange(n, dtype=np.int64), bars


def test_columns_of_bars_match_their_formulas(bench: Callable[..., Any]) -> None:
    ts, bars = random_bars(300, 5)

    _, matrix = compute_bars(bench(WINDOW).plan, ts, bars, with_cold=True)

    for row in (60, 77, 130, 255, 256, 299):
        assert dict(zip(WINDOW, matrix[row], strict=True)) == pytest.approx(bars_oracle(bars[: row + 1]), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("name", WINDOW)
def test_columns_of_bars_wait_as_long_as_the_catalogue_says_and_forget_what_lies_before(name: str, bench: Callable[..., Any]) -> None:
    ts, bars = random_bars(200, 8)
    needed = shipped_catalogue().get(name).warm_up.bars

    warm, whole = compute_bars(bench([name]).plan, ts, bars)
    _, late = compute_bars(bench([name]).plan, ts[200 - needed :], bars[200 - needed :])

    assert warm[0] == ts[needed - 1]
    assert name == "cum_delta_session" or whole[-1].tobytes() == late[-1].tobytes()


@pytest.mark.parametrize("name", [*TRADE, *IMPACT])
def test_columns_of_trades_wait_as_long_as_the_catalogue_says(name: str, bench: Callable[..., Any]) -> None:
    need = shipped_catalogue().get(name).warm_up
    b = bench([name])
    b.plan.on_quote(START, 0, 99, 101, 5, 5)
    step = max(SEC // 4, need.seconds * SEC // max(need.trades, 1))
    seen = []
    for i in range(2000):
        b.plan.on_trade(START + i * step, 0, 100 + i % 2, 5, 1 - 2 * (i % 3 == 0))
        b.row(START + i * step)
        seen.append(b.plan.first_cold() == -1)
        if seen[-1]:
            break

    count = len(seen)
    assert seen[-1]
    assert count >= need.trades
    assert (count - 1) * step >= need.seconds * SEC
    assert count == need.trades or (count - 2) * step < need.seconds * SEC or b.plan.bar_count() == need.bars


def test_what_needs_a_quote_is_absent_until_a_trade_had_one(bench: Callable[..., Any]) -> None:
    names = IMPACT[3:]
    b = bench(names)
    feed(b.plan, [T(START + i * SEC, 100 + i % 2, 5, 1) for i in range(200)])
    b.plan.on_quote(START + 200 * SEC, 0, 99, 101, 5, 5)
    b.plan.on_time(START + 230 * SEC)

    before = [b.row(START + 230 * SEC), [b.plan.is_there(k) for k in range(3)]]
    feed(b.plan, [T(START + (230 + i) * SEC, 100 + i % 2, 5, 1) for i in range(10)])
    between = [b.row(START + 240 * SEC), [b.plan.is_there(k) for k in range(3)]]
    feed(b.plan, [T(START + 241 * SEC, 100, 5, 1)])
    b.row(START + 241 * SEC)

    assert before == [[0.0, 0.0, 0.0], [False, False, False]]
    assert between[0][0] == pytest.approx(100.0, rel=0.1)
    assert between[1] == [True, True, False]
    assert b.plan.first_cold() == -1


def test_a_feed_that_names_no_aggressor_has_no_delta_rather_than_a_balanced_one(bench: Callable[..., Any]) -> None:
    ts, bars = random_bars(120, 2)
    bars[:, [5, 6, 9, 10]] = 0.0
    signed = [*FLOW_SLOTS[:6], *FLOW_SLOTS[17:22]]
    b, streaming = bench([*signed, "amihud_20", "branching_ratio_60"]), bench(["flow_imb_1s", "side_run", "flow_imb_60s", "vpin_50"])

    compute_bars(b.plan, ts, bars)
    feed(streaming.plan, tape(420, 7, (0,)))
    streaming.row(START + 430 * SEC)
    without = [streaming.plan.is_there(k) for k in range(4)]
    streaming.plan.on_trade(START + 430 * SEC, 0, 6_000_000, 5, 1)
    streaming.row(START + 430 * SEC)

    assert [b.plan.is_there(k) for k in range(13)] == [False] * 11 + [True, True]
    assert without[3]
    assert not any(without[:3])
    assert streaming.plan.first_cold() == -1


def test_a_long_silence_is_read_as_silence_and_not_as_nothing(bench: Callable[..., Any]) -> None:
    rows = tape(100, 4)
    b = bench(["volume_accel_10_60", "trade_rate_10s"])
    feed(b.plan, rows)

    accel = [b.row(rows[-1].t + s * SEC)[0] for s in (30, 119, 299)]
    is_there = [b.plan.is_there(0)]
    b.row(rows[-1].t + 301 * SEC)
    is_there.append(b.plan.is_there(0))

    assert accel[0] > accel[1] > accel[2] >= -10.0
    assert is_there == [True, False]  # five minutes without a trade: the stream stopped


_INTERPRETED = """
import pickle, sys
from mia.features.bars import BarSpec
from mia.features.plan import build_plan
from mia.kernels import trade_block, vpin_block
from mia.kernels.arena import Arena
from mia.kernels.book import Book
assert vpin_block.__file__.endswith(".py") and trade_block.__file__.endswith(".py")
columns, instrument, rows = pickle.load(sys.stdin.buffer)
arena = Arena(32_000_000)
plan = build_plan(columns, instrument, BarSpec.parse("time:1s"), arena, Book(arena))
for t, price, qty, side in rows:
    plan.on_trade(t, 0, price, qty, side) if qty else plan.on_quote(t, 0, price - 1, price + 1, 5, 5)
plan.observe(rows[-1][0])
pickle.dump((bytes(plan.values), arena.snapshot(), plan.first_cold()), sys.stdout.buffer)
"""


def test_interpreted_kernels_give_the_same_bits_once_all_columns_are_there(bench: Callable[..., Any]) -> None:
    rows = [*tape(420, 6), T(START + 421 * SEC, 10**15, 2**63 - 1, 0), T(START + 422 * SEC, 1, 2**62 + 1, 0)]
    b = bench(FLOW)
    job = pickle.dumps((FLOW, b.plan.instrument, [tuple(x) for x in rows]))
    env = dict(os.environ, MIA_KERNELS="interpreted", PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", _INTERPRETED], input=job, capture_output=True, env=env, cwd=ROOT, check=True)

    feed(b.plan, rows)
    b.plan.observe(rows[-1].t)

    assert b.plan.first_cold() == -1
    assert pickle.loads(done.stdout) == (bytes(b.plan.values), b.arena.snapshot(), -1)


WILD = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 1000, 10**6, 10**8, SEC, 30 * SEC, 10**14, -(10**9)]),
        st.sampled_from([0, 0, 1, -1, 3, 10**9, -(10**9), 2**62]),
        st.sampled_from([1, 1, 1, 2, 5, 1000, 10**9, 2**53 + 1, 2**62, 2**63 - 1]),
        st.sampled_from([-1, 0, 0, 1]),
        st.booleans(),
    ),
    min_size=1,
    max_size=120,
)


@settings(max_examples=60, deadline=None)
@given(steps=WILD, bars=st.sampled_from(["time:1s", "tick:3"]))
def test_wild_trades_give_finite_values_within_the_ranges(
    instrument: Instrument, steps: list[tuple[int, int, int, int, bool]], bars: str
) -> None:
    arena = Arena(16_000_000)
    plan = build_plan(FLOW, instrument, BarSpec.parse(bars), arena, Book(arena))
    ranges = [shipped_catalogue().get(n).range for n in FLOW]
    state = arena.snapshot()  # ends with a flag for each cold column: warm ones show what their block states from the first trade on
    arena.restore(state[: -8 * len(FLOW)] + bytes(8 * len(FLOW)))
    t, price = START, 1000
    assert all(plan.is_warm(k) for k in range(len(FLOW)))

    for dt, jump, qty, side, quoted in steps * 3:
        t += dt
        price = min(max(1, price + jump), 2**63 - 3)
        if quoted:
            plan.on_quote(t, t - dt, price, price + 2, qty, 1)
        plan.on_trade(t, t - 2 * dt, price, qty, side)
        plan.observe(t + dt)
        for name, value, (low, high) in zip(FLOW, plan.values, ranges, strict=True):
            assert low <= value <= high, (name, value)


def test_there_are_42_columns_and_the_ten_of_the_specification_are_among_them() -> None:
    ten = {
        "delta_volume", "delta_ratio", "cum_delta_session", "trade_imbalance_20", "count_imbalance", "trade_rate_10s", "vpin_50",
        "kyle_lambda_50", "amihud_20", "large_trade_share",
    }  # fmt: skip

    assert len(FLOW) == 42
    assert ten <= set(FLOW)


@pytest.fixture(scope="module")
def long_recording(market_data: Path, instrument: Instrument) -> EventColumns:
    """Both spot files, 650 s over a midnight, with Timers."""
    from mia.venues.binance.codec import BinanceCodec

    codec = BinanceCodec({"BTCUSDT": (InstrumentId(0), instrument)}, "spot")
    events: list[Event] = []
    timer = 0
    for day in ("20240808", "20240809"):
        with gzip.open(market_data / f"binance_spot_btcusdt_ws_{day}.gz") as lines:
            for line in lines:
                stamp, _, payload = line.partition(b" ")
                while timer and timer <= int(stamp):
                    events.append(Timer(len(events), 0, timer))
                    timer += 100_000_000
                timer = timer or (int(stamp) // 100_000_000 + 1) * 100_000_000
                events.extend(codec.decode(payload, int(stamp), len(events)))
    return from_events(events)


@pytest.mark.data
def test_a_recording_lies_in_the_ranges_with_no_constant_and_no_two_alike(long_recording: EventColumns, instrument: Instrument) -> None:
    arena = Arena(16_000_000)
    plan = build_plan(FLOW, instrument, BarSpec.parse("time:1s"), arena, Book(arena), neutral=float("nan"))

    _, matrix = compute(plan, long_recording, 100_000_000, with_cold=True)

    for name, values in zip(FLOW, matrix.T, strict=True):
        known = values[np.isfinite(values)]
        low, high = shipped_catalogue().get(name).range
        assert len(known) > 2000, name
        assert ((known >= low) & (known <= high)).all(), name
        assert len(np.unique(known)) > 40, name
    warm = matrix[np.isfinite(matrix).all(axis=1)]
    correlation = np.abs(np.corrcoef(warm.T)) - np.eye(42)
    assert len(warm) > 2000
    assert [(FLOW[i], FLOW[j]) for i, j in np.argwhere(correlation > 0.999) if i < j] == []
