"""Resamples of the bootstrap kernel against plain numpy, compiled and interpreted."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mia.backtest.stats.resample import restart, words
from mia.kernels import bootstrap as built


def interpreted() -> ModuleType:
    name = "interpreted_bootstrap"
    source = Path(__file__).resolve().parents[3] / "mia" / "kernels" / "bootstrap.py"
    spec = importlib.util.spec_from_file_location(name, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILDS = pytest.mark.parametrize("kernel", [built, interpreted()], ids=["built", "interpreted"])


def plain_figures(r: np.ndarray, target: float) -> list[float]:
    n = len(r)
    s = np.sort(r)
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + r)])
    lost = (1.0 - wealth / np.maximum.accumulate(wealth))[1:]
    d = r - r.mean()
    tail_95, tail_99 = int(np.ceil(n * 0.05 - 1e-9)), int(np.ceil(n * 0.01 - 1e-9))
    return [
        r.mean(), r.std(ddof=1), (d**3).mean() / (d**2).mean() ** 1.5, (d**4).mean() / (d**2).mean() ** 2, np.log1p(r).sum(),
        np.sqrt((np.minimum(r - target, 0.0) ** 2).mean()), (r - target)[r > target].sum(), (target - r)[r < target].sum(),
        lost.max(), np.sqrt((lost**2).mean()), -s[tail_95 - 1], -s[:tail_95].mean(), -s[tail_99 - 1], -s[:tail_99].mean(),
        s[int(np.ceil(n * 0.95 - 1e-9)) - 1], (r > 0.0).mean(),
    ]  # fmt: skip


def measure(kernel: ModuleType, r: np.ndarray, index: np.ndarray, target: float) -> np.ndarray:
    order = np.argsort(r, kind="stable")
    rank = np.empty(len(r), np.int64)
    rank[order] = np.arange(len(r))
    counts, out = np.zeros(len(r), np.int64), np.zeros(kernel.COLUMNS)
    kernel.measure(r, r[order], rank, index, float(r.mean()), target, counts, out)
    assert not counts.any()
    return out


@BUILDS
@pytest.mark.parametrize("n", [2, 19, 20, 100, 101, 400])
def test_figures_of_a_resample_are_those_of_its_rows(kernel: ModuleType, n: int) -> None:
    random = np.random.default_rng(n)
    r = np.round(random.normal(0.001, 0.03, n), 3)  # with ties
    index = random.integers(0, n, n)
    index[:2] = (0, 1)

    found = measure(kernel, r, index, 0.0005)

    assert found == pytest.approx(plain_figures(r[index], 0.0005), rel=1e-9, abs=1e-12)


@BUILDS
def test_wealth_beyond_the_range_of_a_double_keeps_its_ratios(kernel: ModuleType) -> None:
    r = np.concatenate([np.full(500, 9.0), np.full(600, -0.9)])

    found = measure(kernel, r, np.arange(1100), 0.0)

    assert found[kernel.GROWTH] == pytest.approx(500 * np.log(10.0) + 600 * np.log(0.1), rel=1e-9)
    assert found[kernel.DRAWDOWN] == pytest.approx(1.0)
    assert np.isfinite(found).all()


def test_both_builds_give_the_same_bits() -> None:
    random = np.random.default_rng(1)
    r = random.normal(0.0, 0.02, 60)
    order = np.argsort(r)
    rank = np.argsort(order)
    ((_, drawn),) = words(9, 0, 40, 60)
    results = []
    for kernel in (built, interpreted()):
        out, sums = np.zeros((40, kernel.COLUMNS)), np.zeros((40, 2))
        fall, low, streak = np.zeros(40), np.zeros(40), np.zeros(40, np.int64)
        kernel.resample_returns(
            drawn, restart(3.0), r, r[order], rank, float(r.mean()), 0.0, np.zeros(60, np.int64), np.zeros(60, np.int64), out
        )
        kernel.resample_sums(drawn, restart(3.0), np.ascontiguousarray(np.stack([r, r * r], axis=1)), np.zeros(60, np.int64), sums)
        kernel.shuffle_drawdowns(drawn, r.copy(), 1.0, fall, low, streak)
        results.append(b"".join(x.tobytes() for x in (out, sums, fall, low, streak)))

    assert results[0] == results[1]


@BUILDS
def test_blocks_follow_each_other_wrap_and_have_their_mean_length(kernel: ModuleType) -> None:
    n = 50
    index = np.zeros(n, np.int64)
    jumps = rows = 0
    seen = np.zeros(n, np.int64)
    for _, block in words(3, 0, 400, n):
        for sample in range(len(block)):
            kernel.draw(block, sample, restart(5.0), index)
            steps = (np.diff(index) - 1) % n
            jumps += np.count_nonzero(steps)
            rows += n - 1
            seen += np.bincount(index, minlength=n)

    assert jumps / rows == pytest.approx(0.2 * (1 - 1 / n), abs=0.01)
    assert seen == pytest.approx(np.full(n, 400), abs=5 * 60)
