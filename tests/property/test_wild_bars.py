"""Whatever bars and trades a market sends, the features of price and volatility stay finite and inside their ranges."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.batch import compute_bars
from mia.features.catalogue import shipped_catalogue
from mia.features.plan import Plan, build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.price_block import SLOTS as PRICE
from mia.kernels.trade_vol_block import SLOTS as TRADED
from mia.kernels.vol_block import SLOTS as VOL

SEC: Final = 1_000_000_000
TICKS_MAX: Final = 10**12
INSTRUMENT: Final = Instrument(
    venue="binance_spot", symbol="BTCUSDT", kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"), maker_fee=Decimal("0.001"), taker_fee=Decimal("0.001"),
)  # fmt: skip
KINDS: Final = ("still", "walk", "ramp", "leap", "saw", "one tick")
stretches = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(1, 130), st.integers(1, TICKS_MAX), st.integers(0, 2**32 - 1)), min_size=1, max_size=5
)


def plan_of(columns: tuple[str, ...]) -> Plan:
    arena = Arena(4_000_000)
    return build_plan(columns, INSTRUMENT, BarSpec.parse("time:1s"), arena, Book(arena))


def closes_of(kind: str, n: int, level: int, rng: np.random.Generator) -> Any:
    """int64[n] ticks, at least 1."""
    steps = np.arange(n)
    if kind == "walk":
        closes = level + np.cumsum(rng.integers(-3, 4, n))
    elif kind == "ramp":
        closes = level + steps * int(rng.choice([-1, 1, 1000]))
    elif kind == "leap":
        closes = np.exp(rng.uniform(0, np.log(TICKS_MAX), n)).astype(np.int64)
    elif kind == "saw":
        closes = np.where(steps % 2 == 0, level, 1)
    else:
        closes = np.full(n, level if kind == "still" else 1)
    return np.clip(closes, 1, TICKS_MAX)


def wild_bars(parts: list[tuple[str, int, int, int]]) -> Any:
    """float64[n, 11]: stretches of bars one after the other, with bars of one price, huge ranges and no volume among them."""
    rows = []
    for kind, n, level, seed in parts:
        rng = np.random.default_rng(seed)
        closes = closes_of(kind, n, level, rng).astype(float)
        opens = closes if rng.random() < 0.3 else closes_of(str(rng.choice(KINDS)), n, level, rng).astype(float)
        high, low = np.maximum(opens, closes), np.minimum(opens, closes)
        if rng.random() < 0.5:
            high = np.minimum(high + rng.integers(0, 5, n), TICKS_MAX)
            low = np.maximum(low - rng.integers(0, 5, n), 1)
        volume = rng.integers(0, 10 ** int(rng.integers(1, 13)), n) * (rng.random(n) < rng.choice([0.0, 0.5, 1.0]))
        bars = np.zeros((n, 11))
        bars[:, :5] = np.stack([opens, high, low, closes, volume], axis=1)
        bars[:, 7] = volume * (low + rng.random(n) * (high - low))
        bars[:, 8] = volume > 0
        rows.append(bars)
    return np.concatenate(rows)


def assert_inside(names: tuple[str, ...], matrix: Any) -> None:
    catalogue = shipped_catalogue()
    for name, values in zip(names, matrix.T, strict=True):
        low, high = catalogue.get(name).range
        assert np.isfinite(values).all(), name
        assert ((values >= low) & (values <= high)).all(), (name, values.min(), values.max())


@given(parts=stretches)
@settings(max_examples=150, deadline=None)
@example(parts=[("one tick", 130, 1, 0), ("still", 130, TICKS_MAX, 1)])
@example(parts=[("saw", 130, TICKS_MAX, 2), ("saw", 130, TICKS_MAX, 3)])
@example(parts=[("leap", 130, 1, 4), ("walk", 130, TICKS_MAX, 5), ("still", 30, 7, 6)])
def test_wild_bars_stay_inside_the_ranges(parts: list[tuple[str, int, int, int]]) -> None:
    bars = wild_bars(parts)
    names = (*PRICE, *VOL)
    ts = SEC * np.arange(1, len(bars) + 1, dtype=np.int64)

    _, matrix = compute_bars(plan_of(names), ts, bars, with_cold=True)  # cold columns show their neutral values

    assert len(matrix) == len(bars)
    assert_inside(names, matrix)


@given(parts=stretches, gaps_ns=st.lists(st.sampled_from((0, 1, 50_000_000, SEC, 100 * SEC)), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_wild_trades_stay_inside_the_ranges(parts: list[tuple[str, int, int, int]], gaps_ns: list[int]) -> None:
    plan = plan_of(TRADED)
    prices = np.concatenate([closes_of(kind, n, level, np.random.default_rng(seed)) for kind, n, level, seed in parts])
    rows, t = [], 1_700_000_000 * SEC

    for k, price in enumerate(prices.tolist()):
        t += gaps_ns[k % len(gaps_ns)]
        plan.on_trade(t, t, price, 1 + k % 3, k % 3 - 1)
        plan.observe(t)
        rows.append(list(plan.values))

    assert_inside(TRADED, np.array(rows))
