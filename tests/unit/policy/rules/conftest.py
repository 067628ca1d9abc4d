"""A made market of ten-minute bars over some days, and what a rule says on it when it sees it through the feature plan."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pytest

from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.policy.rules import Rule

DAY_NS = 86_400 * 10**9
BAR_NS = 600 * 10**9
OPEN_NS = 20_000 * DAY_NS  # a UTC midnight
BARS = 1_200
PROBS = (0.2, 0.3, 0.5)


class Market(NamedTuple):
    """float64[n] each, prices in ticks; closed_ns: int64[n]. The first bar closes 100 minutes after a midnight."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    notional: np.ndarray
    closed_ns: np.ndarray


class Heard(NamedTuple):
    """rows: float32[n, columns]; signals: None while a column has no value."""

    rows: np.ndarray
    signals: list[float | None]


@pytest.fixture(scope="session")
def market() -> Market:
    rnd = random.Random(11)
    rows = []
    price = 20_000
    for k in range(BARS):
        swing = 8 if k // 150 % 2 else 30  # calm and wild spells
        path = [price, *(price := price + rnd.randint(-swing, swing) for _ in range(4))]
        volume = rnd.randint(1, 500) if rnd.random() > 0.05 else 0
        if k % 97 == 0:
            path, volume = [path[0]] * 5, 0  # a bar in which nothing happened
            price = path[0]
        rows.append((path[0], max(path), min(path), path[-1], volume, volume * rnd.uniform(min(path), max(path))))
    columns = np.array(rows, dtype=np.float64).T
    return Market(*columns, OPEN_NS + 10 * BAR_NS + BAR_NS * np.arange(BARS, dtype=np.int64))


@pytest.fixture(scope="session")
def hear(market: Market) -> Callable[[Rule], Heard]:
    """The rule bar by bar, with the signal it gave last in its column, as the engine does it."""
    instrument = Instrument(
        venue="sim", symbol="X", kind="perpetual", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
        lot_size=Decimal("0.001"), maker_fee=Decimal(0), taker_fee=Decimal("0.001"),
    )  # fmt: skip

    def run(rule: Rule) -> Heard:
        arena = Arena(16_000_000)
        plan = build_plan(rule.columns, instrument, BarSpec.parse("time:10m"), arena, Book(arena))
        rows = np.zeros((BARS, len(rule.columns)), dtype=np.float32)
        signals: list[float | None] = []
        last = 0.0
        for k in range(BARS):
            assert plan.on_bar(int(market.closed_ns[k]), bar(market, k)) == 1
            plan.set_account(0.0, 0.0, 0, 0.0, 0.0, 0.0, last, 0.0, 0.0)
            plan.observe(int(market.closed_ns[k]))
            rows[k] = list(plan.values)
            if plan.first_cold() >= 0:
                signals.append(None)
                continue
            last = rule.evaluate(memoryview(rows[k]), PROBS).signal
            signals.append(last)
        return Heard(rows, signals)

    return run


def bar(m: Market, k: int) -> Sequence[float]:
    """The bar in the layout that PlanCore.on_bar takes."""
    v = m.volume[k]
    return np.array([m.open[k], m.high[k], m.low[k], m.close[k], v, v / 2, v / 2, m.notional[k], v, 0.0, 0.0])
