"""The price features that test_bar_features leaves out, against plain versions of their formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mia.features.batch import compute_bars
from mia.features.catalogue import shipped_catalogue
from mia.kernels.price_block import SLOTS

NAMES = SLOTS[16:]
Array = Any


def walk(n: int, seed: int, step: int = 25, level: float = 20_000.0) -> tuple[Array, Array]:
    """n bars: a walk of whole ticks with unchanged closes, gaps and bars of one price."""
    rng = np.random.default_rng(seed)
    close = level + np.cumsum(rng.integers(-step, step + 1, n) * (rng.random(n) < 0.85)).astype(float)
    opens = np.concatenate(([level], close[:-1])) + rng.integers(-9, 10, n) * (rng.random(n) < 0.3)
    still = rng.random(n) < 0.1
    opens[still] = close[still]
    high = np.maximum(opens, close) + np.where(still, 0, rng.integers(0, 20, n))
    low = np.minimum(opens, close) - np.where(still, 0, rng.integers(0, 20, n))
    bars = np.zeros((n, 11))
    bars[:, :4] = np.stack([opens, high, low, close], axis=1)
    bars[:, 4] = rng.integers(1, 500, n)
    bars[:, 7] = bars[:, 4] * (high + low) / 2
    bars[:, 8] = 1.0
    return 1_700_000_000_000_000_000 + 1_000_000_000 * np.arange(n, dtype=np.int64), bars


def frac_weights(d: float, n: int) -> Array:
    w = [1.0]
    for k in range(1, n):
        w.append(-w[-1] * (d - k + 1) / k)
    return np.array(w)


def oracle(b: Array) -> dict[str, float]:
    """The columns after the last row of b (layout of BAR_FIELDS)."""
    o, h, low, c = b[:, :4].T
    r = np.diff(np.log(c))
    run = 0
    while run < 10 and np.sign(r[-1 - run]) == np.sign(r[-1]) != 0:
        run += 1
    union = max(h[-2:]) - min(low[-2:])
    ranges = (h - low)[-20:].sum()
    past = np.log(c[-100:][::-1])
    return {
        "frac_diff_04": float((frac_weights(0.4, 100) * (past - past[-1])).sum()),
        "ret_60": np.log(c[-1] / c[-61]),
        "ret_240": np.log(c[-1] / c[-241]),
        "ret_z_5_50": np.clip(np.log(c[-1] / c[-6]) / (np.sqrt(5) * r[-50:].std()), -10, 10),
        "close_rank_60": float(np.sign(c[-1] - c[-60:]).sum()) / 59,
        "bar_overlap": (min(h[-2:]) - max(low[-2:])) / union if union > 0 else 0.0,
        "wick_balance_20": (o + c - h - low)[-20:].sum() / ranges,
        "close_run_10": np.sign(r[-1]) * run / 10,
    }


def test_every_price_feature_matches_its_formula(bench: Callable[..., Any]) -> None:
    ts, bars = walk(420, 4)

    _, matrix = compute_bars(bench(NAMES).plan, ts, bars, with_cold=True)

    for row in range(240, 420, 7):
        expected = oracle(bars[: row + 1])
        assert set(expected) == set(NAMES)
        for column, name in enumerate(NAMES):
            assert matrix[row, column] == pytest.approx(expected[name], rel=1e-9, abs=1e-12), (name, row)


def test_price_is_the_24_columns_of_its_block(bench: Callable[..., Any]) -> None:
    assert set(shipped_catalogue().category("price")) == set(SLOTS)
    assert len(SLOTS) == 24


@pytest.mark.parametrize("name", NAMES)
def test_warm_up_is_as_long_as_the_catalogue_says(name: str, bench: Callable[..., Any]) -> None:
    needed = shipped_catalogue().get(name).warm_up.bars
    ts, bars = walk(260, 5)

    warm_ts, _ = compute_bars(bench([name]).plan, ts, bars)

    assert len(warm_ts) == 260 - needed + 1
    assert warm_ts[0] == ts[needed - 1]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_before_the_warm_up_leaves_a_trace(name: str, bench: Callable[..., Any]) -> None:
    needed = shipped_catalogue().get(name).warm_up.bars
    ts, bars = walk(300 + needed, 11)
    bars[:300, :4] *= np.random.default_rng(1).choice([1.0, 1e7], (300, 1))

    _, long = compute_bars(bench([name]).plan, ts, bars, with_cold=True)
    _, short = compute_bars(bench([name]).plan, ts[300:], bars[300:])

    assert short[-1, 0] == long[-1, 0]


def test_fractional_difference_is_the_weighted_sum_of_log_closes_less_their_level(bench: Callable[..., Any]) -> None:
    ts, bars = walk(150, 6, step=300)
    w = frac_weights(0.4, 100)
    past = np.log(bars[-100:, 3][::-1])

    _, matrix = compute_bars(bench(["frac_diff_04"]).plan, ts, bars)

    assert w[:4] == pytest.approx([1.0, -0.4, -0.12, -0.064])
    assert matrix[-1, 0] == pytest.approx(float(w @ past - w.sum() * past[-1]), rel=1e-9)
    assert abs(matrix[-1, 0]) > 1e-3


def test_price_features_know_no_unit_of_price(bench: Callable[..., Any]) -> None:
    ts, bars = walk(300, 8)
    finer = bars.copy()
    finer[:, [0, 1, 2, 3, 7]] *= 8.0

    _, coarse = compute_bars(bench(SLOTS).plan, ts, bars)
    _, fine = compute_bars(bench(SLOTS).plan, ts, finer)

    assert fine == pytest.approx(coarse, rel=1e-12, abs=1e-15)


def test_runs_end_with_an_unchanged_close_and_count_to_ten(bench: Callable[..., Any]) -> None:
    closes = [100.0] + [100.0 + k for k in range(1, 14)] + [113.0, 112.0, 111.0]
    bars = np.zeros((len(closes), 11))
    bars[:, :4] = np.array(closes)[:, None]
    ts = 1_000_000_000 * np.arange(1, len(closes) + 1, dtype=np.int64)

    _, matrix = compute_bars(bench(["close_run_10"]).plan, ts, bars, with_cold=True)

    assert matrix[10:, 0].tolist() == [1.0, 1.0, 1.0, 1.0, 0.0, -0.1, -0.2]


def test_ranges_that_do_not_touch_overlap_by_less_than_nothing(bench: Callable[..., Any]) -> None:
    bars = np.zeros((4, 11))
    bars[:, :4] = [[10, 12, 10, 12], [13, 15, 13, 15], [13, 15, 13, 14], [14, 14, 14, 14]]
    ts = 1_000_000_000 * np.arange(1, 5, dtype=np.int64)

    _, matrix = compute_bars(bench(["bar_overlap"]).plan, ts, bars)

    assert matrix[:, 0].tolist() == [-0.2, 1.0, 0.0]


@pytest.mark.parametrize("move", [1e-9, 1e-4, -1e-4, 0.02, -0.03, 0.0499, -0.0499, 0.05, 0.0501, -0.0501, 0.3, -0.6])
def test_returns_are_exact_to_rounding_whether_by_series_or_by_logarithm(move: float, bench: Callable[..., Any]) -> None:
    before, after = 1e9, float(np.rint(1e9 * (1.0 + move)))
    bars = np.zeros((2, 11))
    bars[:, :4] = np.array([[before], [after]])

    _, matrix = compute_bars(bench(["ret_1"]).plan, 1_000_000_000 * np.arange(1, 3, dtype=np.int64), bars, with_cold=True)

    assert matrix[-1, 0] == pytest.approx(np.log1p((after - before) / before), rel=4e-15)
