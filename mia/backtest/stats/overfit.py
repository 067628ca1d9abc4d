"""Many configurations at once: how likely the best of them was luck, and whether any of them beats a benchmark.

Sources: Bailey, Borwein, Lopez de Prado & Zhu (2017), "The probability of backtest overfitting" (CSCV); Hansen (2005), "A test for superior
predictive ability", with the stationary bootstrap.
"""

from __future__ import annotations

import itertools
import math
from typing import Final

import msgspec
import numpy as np

from mia.backtest.stats.inputs import F64
from mia.backtest.stats.resample import block_length, sums_draws
from mia.domain.errors import ConfigError, DataError

BLOCKS: Final = 16  # 12,870 ways to halve them
_CHUNK: Final = 1 << 16  # numbers in one table of halvings by configurations: half a megabyte stays in a core's cache
_BLOCK_COLUMNS: Final = 50  # that the block length is taken from
_STREAM: Final = 3


class Overfit(msgspec.Struct, frozen=True, kw_only=True):
    """probability: share of halvings in which the configuration that was best in one half is in the lower part of the other (PBO).

    loss: share in which it lost money there. slope: of its ratio there on its ratio here, by least squares; None: no spread.
    """

    probability: float
    loss: float
    slope: float | None
    combinations: int
    configurations: int
    blocks: int
    rows: int


class Superior(msgspec.Struct, frozen=True, kw_only=True):
    """p-values of "no configuration beats the benchmark" (Hansen's SPA_c is `p_value`; lower and upper bound it). best: column of the
    largest standardised mean; skipped: configurations that never differ from the benchmark, or always by the same."""

    p_value: float
    lower: float
    upper: float
    statistic: float
    best: int
    configurations: int
    skipped: int
    block: float
    samples: int


def overfit(returns: F64, blocks: int = BLOCKS) -> Overfit:
    """Combinatorially symmetric cross-validation of returns [periods, configurations] by their Sharpe ratios, 0 of one without spread.

    blocks: even, at least 2; periods that do not fill them are dropped at the front. DataError for NaN, one configuration, too few periods.
    """
    if blocks < 2 or blocks % 2 or blocks > 20:
        raise ConfigError(f"blocks: {blocks} is not even and in 2 .. 20")
    rows = _check_table(returns, 2)
    length = len(rows) // blocks
    if length < 2:
        raise DataError(f"overfit: {len(rows)} periods are too few for {blocks} blocks of at least 2")
    cut = rows[len(rows) - length * blocks :].reshape(blocks, length, -1)
    sums, squares = cut.sum(axis=1), np.einsum("blk,blk->bk", cut, cut)
    halves = np.array(list(itertools.combinations(range(blocks), blocks // 2)))
    chosen = np.zeros((len(halves), blocks))
    chosen[np.arange(len(halves))[:, None], halves] = 1.0
    n, width = length * blocks // 2, rows.shape[1]
    here, there, ranks, means = (np.zeros(len(halves)) for _ in range(4))
    step = max(1, _CHUNK // width)
    pairs = len(halves) // 2  # the k-th halving and the k-th last are each other's complement
    for first in range(0, pairs, step):
        part = chosen[first : min(first + step, pairs)]
        at = np.arange(len(part)) + first
        total, rest = part @ sums, (1.0 - part) @ sums
        ratios, others = _ratios(total, part @ squares, n), _ratios(rest, (1.0 - part) @ squares, n)
        for numbers, inside, outside, earned in ((at, ratios, others, rest), (len(halves) - 1 - at, others, ratios, total)):
            row, best = np.arange(len(part)), inside.argmax(axis=1)
            mine = outside[row, best][:, None]
            here[numbers], there[numbers], means[numbers] = inside[row, best], mine[:, 0], earned[row, best]
            below, equal = np.count_nonzero(outside < mine, axis=1), np.count_nonzero(outside == mine, axis=1)
            ranks[numbers] = (below + (equal + 1.0) / 2.0) / (width + 1.0)
    spread = float(((here - here.mean()) ** 2).sum())
    return Overfit(
        probability=float((ranks <= 0.5).mean()),
        loss=float((means < 0.0).mean()),
        slope=float(((here - here.mean()) * (there - there.mean())).sum()) / spread if spread > 0.0 else None,
        combinations=len(halves),
        configurations=width,
        blocks=blocks,
        rows=length * blocks,
    )


def _ratios(sums: F64, squares: F64, n: int) -> F64:
    """Mean over deviation, 0 without spread; overwrites squares."""
    mean = sums / n
    squares /= n
    least = 1e-18 * squares
    squares -= mean * mean
    ratios = np.zeros(mean.shape)
    has_spread = squares > least
    np.divide(mean, np.sqrt(squares, out=squares, where=has_spread), out=ratios, where=has_spread)
    return ratios


def superior(better: F64, *, seed: int = 0, samples: int = 1_000, block: float | None = None) -> Superior:
    """Test that no configuration beats the benchmark, from how much better each was in each period: [periods, configurations].

    T = max(0, max_k sqrt(n) mean_k / w_k), w_k^2 = the variance of sqrt(n) mean_k under the stationary bootstrap. Resampled means are
    centred at mean_k; those of SPA_c only where sqrt(n) mean_k / w_k >= -sqrt(2 ln ln n). DataError for NaN, or when nothing is left.
    """
    rows = _check_table(better, 1)
    n = len(rows)
    if n < 10:
        raise DataError(f"superior: {n} periods: at least 10 are needed")
    spread = rows.std(axis=0)
    keep = np.flatnonzero(spread > 1e-12 * np.abs(rows).max(axis=0))
    if not len(keep):
        raise DataError("superior: no configuration ever differs from the benchmark")
    rows = np.ascontiguousarray(rows[:, keep])
    some = np.unique(np.linspace(0, len(keep) - 1, min(len(keep), _BLOCK_COLUMNS)).astype(int))
    length = block if block is not None else float(np.mean([block_length(rows[:, k]) for k in some]))
    mean = rows.mean(axis=0)
    error = np.sqrt(_variance(rows - mean, length))
    root = math.sqrt(n)
    scores = root * mean / error
    statistic = max(0.0, float(scores.max()))
    drawn = sums_draws(rows, block=length, seed=seed, samples=samples, stream=_STREAM) / n
    bound = -math.sqrt(2.0 * math.log(math.log(n)))
    centres = (np.maximum(mean, 0.0), np.where(scores >= bound, mean, 0.0), mean)
    beyond = [(np.maximum((root * (drawn - centre) / error).max(axis=1), 0.0) >= statistic).sum() for centre in centres]
    p = [(1 + int(count)) / (1 + samples) for count in beyond]
    return Superior(
        p_value=float(p[1]), lower=float(p[0]), upper=float(p[2]), statistic=statistic, best=int(keep[int(scores.argmax())]),
        configurations=len(keep), skipped=better.shape[1] - len(keep), block=length, samples=samples,
    )  # fmt: skip


def _variance(centred: F64, block: float) -> F64:
    """float64[k]: n times the variance of a resampled mean: c_0 + 2 sum_i (1 - i / n) (1 - 1 / block)^i c_i, c_i circular."""
    n, stay = len(centred), 1.0 - 1.0 / max(block, 1.0)
    total = (centred * centred).mean(axis=0)
    least = 1e-6 * total
    weight = 1.0
    for i in range(1, n):
        weight *= stay
        if weight < 1e-9:
            break
        covariance = ((centred[i:] * centred[:-i]).sum(axis=0) + (centred[:i] * centred[-i:]).sum(axis=0)) / n
        total = total + 2.0 * (1.0 - i / n) * weight * covariance
    variance: F64 = np.maximum(total, least)
    return variance


def _check_table(values: F64, columns_min: int) -> F64:
    if values.ndim != 2 or values.shape[1] < columns_min or not len(values):
        raise DataError(f"configurations: needs [periods, at least {columns_min}], got shape {values.shape}")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise DataError(f"configurations: row {bad[0][0]}, column {bad[0][1]}: {values[tuple(bad[0])]} (and {len(bad) - 1} more)")
    return np.ascontiguousarray(values, np.float64)
