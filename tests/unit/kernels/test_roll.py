"""Rolling primitives against two-pass numpy, over many updates and over hostile values in both builds."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia.kernels.arena import Arena
from mia.kernels.roll import Ema, Extreme, Ring, Wilder, Window

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_window_statistics_match_numpy_while_filling_and_after(n: int) -> None:
    x = np.random.default_rng(n).normal(1e6, 3.0, 400)
    window = Window(Arena(10_000), n)

    for i, value in enumerate(x):
        window.push(value)
        last = x[max(0, i + 1 - n) : i + 1]
        assert window.filled() == len(last)
        assert window.mean() == pytest.approx(last.mean(), rel=1e-13)
        assert window.variance() == pytest.approx(last.var(), rel=1e-9, abs=1e-9)
        assert (window.highest(), window.lowest()) == (last.max(), last.min())


def test_window_does_not_drift_over_a_million_updates_of_changing_scale() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(1e12, 1e10, 500_000), rng.normal(1e-3, 1e-4, 500_000)])
    window = Window(Arena(10_000), 32)

    for value in x.tolist():
        window.push(value)

    assert window.mean() == pytest.approx(x[-32:].mean(), rel=1e-14)
    assert window.variance() == pytest.approx(x[-32:].var(), rel=1e-12)


def test_a_value_that_left_the_window_leaves_no_trace() -> None:
    window, extreme = Window(Arena(10_000), 3), Extreme(Arena(10_000), 3, 1)

    for value in (float("inf"), 1.0, 2.0, 3.0):
        window.push(value)
        top = extreme.push(value)

    assert (window.mean(), top) == (2.0, 3.0)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=80), st.integers(1, 9))
def test_extremes_match_the_plain_maximum_and_minimum(values: list[int], n: int) -> None:
    highest, lowest = Extreme(Arena(10_000), n, 1), Extreme(Arena(10_000), n, -1)

    for i, value in enumerate(values):
        last = values[max(0, i + 1 - n) : i + 1]
        assert highest.push(value) == max(last)
        assert lowest.push(value) == min(last)


def test_ring_looks_back_and_says_0_beyond_what_it_knows() -> None:
    ring = Ring(Arena(1000), 3)
    for value in (1.0, 2.0, 3.0, 4.0):
        ring.push(value)

    assert [ring.back(k) for k in (-1, 0, 1, 2, 3)] == [0.0, 4.0, 3.0, 2.0, 0.0]


def test_smoothers_start_without_a_bias_to_zero() -> None:
    ema, wilder = Ema(Arena(100), 0.5), Wilder(Arena(100), 3)

    assert [ema.push(x) for x in (8.0, 4.0, 4.0)] == [8.0, 6.0, 5.0]
    assert [wilder.push(x) for x in (3.0, 6.0, 9.0, 9.0)] == [3.0, 4.5, 6.0, 7.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda a: Ring(a, 0),
        lambda a: Extreme(a, 0, 1),
        lambda a: Extreme(a, 3, 2),
        lambda a: Ema(a, 0.0),
        lambda a: Ema(a, float("nan")),
        lambda a: Wilder(a, 0),
    ],
)
def test_impossible_lengths_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"at least|alpha|needs"):
        make(Arena(100))  # type: ignore[operator]


HOSTILE = """
import itertools, pickle, sys
from decimal import Decimal
import numpy as np
from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.batch import compute_bars
from mia.features.catalogue import shipped_catalogue
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.observe import to_float32
from mia.kernels.roll import Ema, Extreme, Wilder, Window

values = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, -5.0, 1e308, 5e-324, 1.0, 6e6]
out = []
arena = Arena(8_000_000)
window, top, low, ema, wilder = Window(arena, 3), Extreme(arena, 3, 1), Extreme(arena, 3, -1), Ema(arena, 0.3), Wilder(arena, 3)
for x in itertools.chain.from_iterable(itertools.permutations(values, 3)):
    window.push(x)
    out += [window.mean(), window.variance(), window.std(), window.highest(), window.lowest()]
    out += [top.push(x), low.push(x), ema.push(x), wilder.push(x)]
instrument = Instrument(
    venue="v", symbol="S", kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"), maker_fee=Decimal(0), taker_fee=Decimal(0),
)
columns = [*shipped_catalogue().names, "ema(3)", "std(3)", "rsi(3)", "highest(3)"]
plan = build_plan(columns, instrument, BarSpec.parse("time:1s"), arena, Book(arena))
rng = np.random.default_rng(5)
bars = np.array(values)[rng.integers(0, len(values), (300, 11))]
tame = rng.random(300) < 0.7
bars[tame] = np.abs(rng.normal(1000, 30, (tame.sum(), 11)))
plan.set_account(*values[:2], 5, *values[3:9])
ts, matrix = compute_bars(plan, 1_700_000_000_000_000_000 + 1_000_000_000 * np.arange(300), bars, with_cold=True)
rows = []
for price, qty, side in itertools.product((0, -1, 1, 2**53, 2**62), (0, -1, 1, 2**53, 2**62), (-7, 0, 9)):
    stamp = 1_700_000_400_000_000_000 + len(rows) * 700_000_000
    plan.on_trade(stamp, 0, price, qty, side)
    plan.on_quote(stamp, 0, price, price + 1, qty, qty)
    plan.observe(stamp)
    rows.append(list(plan.values))
lo, hi, out32 = np.full(1, -10.0), np.full(1, 10.0), np.zeros(1, dtype=np.float32)
checks = [to_float32(np.array([x]).data, 1, lo.data, hi.data, out32.data) for x in values]
"""


def test_hostile_values_give_the_same_in_both_builds() -> None:
    dump = "\npickle.dump((np.array(out), matrix, np.array(rows), checks), sys.stdout.buffer)"
    results = []
    for mode in ("compiled", "interpreted"):
        env = dict(os.environ, MIA_KERNELS=mode, PYTHONPATH=str(ROOT))
        done = subprocess.run([sys.executable, "-W", "error", "-c", HOSTILE + dump], capture_output=True, env=env, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr.decode()
        results.append(pickle.loads(done.stdout))

    for compiled, interpreted in zip(results[0][:3], results[1][:3], strict=True):
        assert np.array_equal(compiled, interpreted, equal_nan=True)
    assert results[0][3] == results[1][3] == [0, 0, 0, -1, -1, -1, 1, -1, -1, 1]
    assert np.isfinite(results[0][2][:, 105:]).any()
