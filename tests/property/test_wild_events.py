"""Whatever events arrive, in whatever order and with whatever figures, all 350 columns stay finite and inside of their ranges."""

from __future__ import annotations

import random
import struct
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mia.domain.events import BookDelta, BookSnapshot, Event, FeedGap, NewsScored, Predicted, Quote, Reference, Timer, Trade
from mia.domain.instruments import Instrument
from mia.domain.regime import RegimeParams
from mia.features.bars import BarSpec
from mia.features.batch import compute, compute_bars
from mia.features.calendars import Calendar
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import from_events
from mia.features.models import Autoencoder, Distance, FeatureModels, Latent, Memory, Projection
from mia.features.plan import Plan, build_plan
from mia.features.series import NEWS_SOURCES, PREDICTIONS, REFERENCES
from mia.kernels.arena import Arena
from mia.kernels.book import Book

START_NS: Final = 1_710_000_000_000_000_000
DAY_NS: Final = 86_400_000_000_000
NAMES: Final = shipped_catalogue().names
INSTRUMENT: Final = Instrument(
    venue="binance_spot", symbol="BTCUSDT", kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"), maker_fee=Decimal("0.001"), taker_fee=Decimal("0.001"),
)  # fmt: skip
MODELLED: Final = ("regime", "latent", "memory")
ODD_NUMBERS: Final = (float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e308, -1e308, 1e-308)
CALENDAR: Final = Calendar(
    opens_ns=tuple(START_NS + k * DAY_NS // 48 for k in range(200)),
    closes_ns=tuple(START_NS + k * DAY_NS // 48 + DAY_NS // 60 for k in range(200)),
    event_ns=tuple(START_NS + k * DAY_NS // 7 for k in range(30)),
    event_impact=tuple((k % 10) / 10 for k in range(30)),
    expiry_ns=(START_NS + DAY_NS, START_NS + 90 * DAY_NS),
)


def plan_of(calendar: Calendar = CALENDAR, bars: str = "time:1s", models: FeatureModels | None = None) -> Plan:
    arena = Arena(32_000_000)
    return build_plan(NAMES, INSTRUMENT, BarSpec.parse(bars), arena, Book(arena), calendar, models=models)


def models_of(seed: int) -> FeatureModels:
    """Models behind all columns that need one, of inputs that wild events drive to their limits."""
    rng = np.random.default_rng(seed)

    def scaled(*columns: str) -> dict[str, Any]:
        d = len(columns)
        return {
            "columns": list(columns),
            "center": rng.normal(0, 1, d).tolist(),
            "scale": rng.choice((1e-12, 1.0, 1e6), d).tolist(),
            "clip": 5.0,
        }

    def matrix(n: int, d: int, size: float = 1.0) -> list[list[float]]:
        return rng.normal(0, size, (n, d)).tolist()

    price, vol = ("ret_5", "rsi_14", "ema_gap_10_20"), ("rv_30", "parkinson_20", "jump_share_30")
    low, high = sorted(matrix(2, 3), key=lambda row: row[1])
    rows = {"mean": [low, high, [9.0, 0.0, 0.0]], "var": rng.choice((1e-3, 1.0, 100.0), (3, 3)).tolist()}
    return FeatureModels(
        regime=RegimeParams(
            **scaled("rv_30", "linreg_r2_20", "delta_ratio"), **rows, warm_bars=3,
            transition=[[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]],
        ),
        latent=Latent(
            pca_flow=Projection(**scaled("delta_ratio", "trade_imbalance_20", "count_imbalance"), weights=matrix(3, 3, 1e6)),
            pca_price=Projection(**scaled(*price), weights=matrix(3, 3, 1e6)),
            ae_vol=Autoencoder(
                **scaled(*vol), w1=matrix(4, 3, 1e6), b1=matrix(1, 4)[0], w2=matrix(3, 4, 1e6), b2=matrix(1, 3)[0], w3=matrix(3, 3, 1e6),
                b3=matrix(1, 3)[0], error_p99=1e-12,
            ),
            stress=Distance(**scaled(*price), whiten=np.tril(matrix(3, 3, 1e6)).tolist()),
        ),
        memory=Memory(
            **scaled(*price), centers=matrix(2, 3), counts=[0, 400], hits=[0, 400], mean_returns=[-1e9, 1e9], last_ns=[0, START_NS],
            contexts=matrix(30, 3), later_returns=rng.choice((-1e9, 0.0, 1e9), 30).tolist(), ended_ns=[START_NS - 1] * 30,
            return_std=1e-9, outcome="ln(c[+20] / c)",
        ),
    )  # fmt: skip


def pairs(rnd: random.Random, middle: int, sign: int) -> bytes:
    rows = [
        (middle + sign * rnd.choice((-3, 0, 1, 2, 5, 40, 10**6)), rnd.choice((0, 1, 7, 10**4, 10**12, -5)))
        for _ in range(rnd.randint(0, 12))
    ]
    return b"".join(struct.pack("<qq", *row) for row in rows)


def wild_events(seed: int, n: int) -> list[Event]:
    """Crossed and one-sided quotes, trades of nothing, torn books, gaps, clocks that step back, silences of seconds to days."""
    rnd = random.Random(seed)
    events: list[Event] = []
    t = START_NS
    mid = rnd.choice((1, 3, 1_000, 6_000_000, 10**12))
    calm = rnd.random()
    for seq in range(n):
        if rnd.random() > calm:
            t += rnd.choice((0, 1, 10**6, 10**8, 10**9, 3 * 10**9, -(10**9), 7 * 10**10, DAY_NS if rnd.random() < 0.02 else 10**7))
            mid = max(
                1, mid + rnd.choice((0, 0, 1, -1, 50, -50, mid if rnd.random() < 0.05 else 0, -mid // 2 if rnd.random() < 0.05 else 0))
            )
        else:
            t += 10**8
            mid = max(1, mid + rnd.choice((-1, 0, 1)))
        t = min(t, START_NS + 40 * DAY_NS)
        mid = min(mid, 10**12)
        event = t + rnd.choice((-(10**9), 0, 10**9))
        kind = rnd.randrange(12)
        lots = rnd.choice((1, 5, 10**5, 10**12, 0, -3))
        if kind < 4:
            half = rnd.choice((0, 1, 2, 100, -1))
            events.append(Quote(seq, event, t, 0, mid - half, mid + half, lots, rnd.choice((1, 10**9, 0))))
        elif kind < 8:
            price = rnd.choice((mid, mid + 1, mid - 1, 0, -mid, mid * 3))
            events.append(Trade(seq, event, t, 0, min(price, 10**12), lots, rnd.choice((-1, 0, 1)), seq))
        elif kind == 8:
            make = rnd.choice((BookSnapshot, BookDelta))
            events.append(make(seq, event, t, 0, pairs(rnd, mid, -1), pairs(rnd, mid, 1)))
        elif kind == 9:
            events.append(rnd.choice((Timer(seq, 0, t), FeedGap(seq, 0, t, 0, 1, 5))))
        else:
            number = rnd.choice((*ODD_NUMBERS, rnd.uniform(0.1, 100.0), rnd.uniform(-1.0, 1.0)))
            known, until = t + rnd.choice((-DAY_NS, 0, 10**9)), t + rnd.choice((-1, 10**10, 5 * DAY_NS))
            slow: tuple[Event, ...] = (
                Reference(seq, event, t, rnd.choice(REFERENCES), number, known, until),
                NewsScored(seq, event, t, rnd.choice(NEWS_SOURCES), "x", number, rnd.choice((0.0, 0.9, *ODD_NUMBERS)), known, until),
                Predicted(seq, event, t, rnd.choice(PREDICTIONS), number, rnd.choice((0.5, *ODD_NUMBERS)), known, until),
            )
            events.append(rnd.choice(slow))
    return events


def assert_inside(matrix: np.ndarray) -> None:
    catalogue = shipped_catalogue()
    for name, values in zip(NAMES, matrix.T, strict=True):
        low, high = catalogue.get(name).range
        assert np.isfinite(values).all(), name
        assert values.min() >= low, (name, float(values.min()))
        assert values.max() <= high, (name, float(values.max()))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["time:1s", "tick:3", "volume:1.0", "dollar:1000"]))
@example(seed=0, bars="time:1s")
def test_wild_events_give_finite_columns_inside_of_their_ranges(seed: int, bars: str) -> None:
    plan = plan_of(bars=bars)
    plan.set_account(1.0, 1e12, START_NS, 1.0, -5.0, 3.0, 1.0, 0.5, 1.0)

    _, matrix = compute(plan, from_events(wild_events(seed, 1_500)), 0, "quote", with_cold=True)

    assert len(matrix) > 0
    assert_inside(matrix)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1))
@example(seed=0)
def test_models_fed_by_wild_events_stay_inside_of_their_ranges_also_after_an_outage(seed: int) -> None:
    plan = plan_of(models=models_of(seed))
    events = wild_events(seed, 1_200)

    for part in (events[:600], events[600:]):
        _, matrix = compute(plan, from_events(part), 0, "quote", with_cold=True)
        assert_inside(matrix)
        plan.cool()


def test_the_models_of_these_tests_speak() -> None:
    plan = plan_of(models=models_of(0))
    rng = np.random.default_rng(0)
    close = 6e6 + np.cumsum(rng.normal(0, 50, 300)).round()
    bars = np.zeros((300, 11))
    bars[:, :4] = np.stack([close, close + 9, close - 9, close], axis=1)
    bars[:, 4:9] = np.stack([np.full(300, 7.0), np.full(300, 4.0), np.full(300, 3.0), 7 * close, np.full(300, 5.0)], axis=1)

    compute_bars(plan, START_NS + np.arange(1, 301, dtype=np.int64) * 10**9, bars, with_cold=True)

    silent = {NAMES[k] for k in range(len(NAMES)) if not plan.is_there(k) and shipped_catalogue().get(NAMES[k]).category in MODELLED}
    assert silent == set()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_wild_rows_of_a_bar_file_give_finite_columns_and_bad_rows_change_nothing(seed: int) -> None:
    rnd = random.Random(seed)
    n = 600
    ts = START_NS + np.cumsum([rnd.choice((10**9, 10**9, 60 * 10**9, 3_600 * 10**9)) for _ in range(n)]).astype(np.int64)
    close = np.maximum(1.0, 6e6 + np.cumsum([rnd.choice((-40.0, 0.0, 0.0, 40.0)) for _ in range(n)]))
    bars = np.zeros((n, 11))
    bars[:, 0], bars[:, 1], bars[:, 2], bars[:, 3] = close, close + 5, np.maximum(close - 5, 1.0), close
    bars[:, 4], bars[:, 7], bars[:, 8] = 100.0, 100.0 * close, 3.0
    sane = np.ones(n, dtype=bool)
    for i in range(1, n):
        if rnd.random() < 0.1:
            damage = rnd.randrange(4)
            sane[i] = damage == 3
            if damage == 0:
                bars[i, rnd.randrange(11)] = rnd.choice((float("nan"), float("inf"), float("-inf")))
            elif damage == 1:
                bars[i, rnd.randrange(4)] = rnd.choice((0.0, -5.0))
            elif damage == 2:
                bars[i, 4 + rnd.randrange(7)] = -1.0
            else:
                ts[i] = ts[i - 1] - rnd.choice((0, 10**9))  # a duplicate, or one that comes late
    good, last = [], 0
    for i in range(n):
        if sane[i] and ts[i] > last:
            good.append(i)
            last = ts[i]

    rows, matrix = compute_bars(plan_of(), ts, bars, with_cold=True)
    clean_rows, clean = compute_bars(plan_of(), ts[good], bars[good], with_cold=True)

    assert_inside(matrix)
    assert rows.tolist() == clean_rows.tolist()
    assert matrix.tobytes() == clean.tobytes()


@pytest.mark.parametrize("price", [1.0, 6e6, 1e12])
def test_a_market_that_never_moves_gives_finite_columns(price: float) -> None:
    n = 400
    bars = np.zeros((n, 11))
    bars[:, :4] = price

    _, matrix = compute_bars(plan_of(), START_NS + np.arange(1, n + 1, dtype=np.int64) * 1_000_000_000, bars, with_cold=True)

    assert_inside(matrix)
