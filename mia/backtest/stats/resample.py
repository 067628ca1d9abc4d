"""The stationary bootstrap: resamples, block lengths, intervals, and the difference of two tracks. Same seed, same bits.

Sources: Politis & Romano (1994); Politis & White (2004) with Patton, Politis & White (2009) for the length of blocks.
Words come from Philox, a counter-based generator (Salmon et al. 2011) whose stream numpy keeps for ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from mia.backtest.stats.inputs import F64, I64, check_returns
from mia.domain.errors import ConfigError, DataError
from mia.kernels import bootstrap as kernel

SAMPLES: Final = 10_000
LEVEL: Final = 0.95
_WORDS_MAX: Final = 1 << 20  # 8 MB at a time
_UNITS_MAX: Final = 4096  # more rows than that are resampled in groups that follow each other


class Interval(msgspec.Struct, frozen=True):
    """Between which a figure lies at the stated level; None: it has no bound there (a ratio whose divisor reached 0)."""

    low: float | None
    high: float | None


def words(seed: int, stream: int, samples: int, n: int) -> Iterator[tuple[int, I64]]:
    """Blocks of random words int64[k, n] with the number of their first sample, `samples` in all. stream: what they are used for."""
    if not (0 <= seed < 1 << 63):
        raise ConfigError(f"seed: {seed} is not in 0 .. 2**63 - 1")
    source = np.random.Philox(key=[seed, stream])
    step = max(1, min(samples, _WORDS_MAX // max(n, 1)))
    for first in range(0, samples, step):
        k = min(step, samples - first)
        yield first, source.random_raw(k * n).view(np.int64).reshape(k, n)


def restart(block: float) -> int:
    """The kernel's chance of a new block for a mean length of `block` rows (at least 1)."""
    return max(1, min(1 << 31, round((1 << 31) / max(block, 1.0))))


def block_length(x: F64) -> float:
    """The mean block length that suits the mean of x [n], at least 1, at most min(3 sqrt n, n / 3).

    b = (2 G^2 / D)^(1/3) n^(1/3), G = sum lambda(k / M) |k| R(k), D = 2 (sum lambda(k / M) R(k))^2, R: autocovariances, lambda: flat top.
    """
    n = len(x)
    limit = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))
    near = max(5, math.ceil(math.log10(max(n, 2))))
    lags = math.ceil(math.sqrt(n)) + near
    if n < 9 or lags >= n:
        return 1.0
    d = x - x.mean()
    covariance = np.array([float(d[: n - k] @ d[k:]) / n for k in range(lags + 1)])
    if not covariance[0] > 1e-24 * float(x @ x) / n:
        return 1.0
    small = np.abs(covariance[1:] / covariance[0]) < 2.0 * math.sqrt(math.log10(n) / n)
    m = next((k for k in range(lags - near + 1) if small[k : k + near].all()), None)
    if m is None:  # none of the runs is small: up to the last lag that is not
        m = int(np.flatnonzero(~small)[-1]) + 1
    bandwidth = min(2 * max(m, 1), lags)
    k = np.arange(-bandwidth, bandwidth + 1)
    flat_top = np.minimum(1.0, 2.0 * (1.0 - np.abs(k) / bandwidth))
    around = covariance[np.abs(k)]
    spectrum = float(flat_top @ around)
    if spectrum == 0.0:
        return 1.0
    g = float((flat_top * np.abs(k)) @ around)
    return float(min(max((g * g / (spectrum * spectrum) * n) ** (1.0 / 3.0), 1.0), limit))


def block_of_returns(r: F64) -> float:
    """The longer of those for the returns and for their squares: volatility comes in clusters where returns do not."""
    return max(block_length(r), block_length((r - r.mean()) ** 2)) if len(r) else 1.0


def returns_draws(r: F64, *, target: float, block: float, seed: int, samples: int, stream: int = 0) -> F64:
    """float64[samples, kernel.COLUMNS]: figures of so many resamples of the returns r, each of them above -1; DataError otherwise."""
    r = check_returns(r)
    if r.min() <= -1.0:
        raise DataError(f"returns: row {int(r.argmin())}: {r.min():g}: nothing is left to resample")
    n = len(r)
    order = np.argsort(r, kind="stable")
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    out = np.zeros((samples, kernel.COLUMNS))
    index, counts = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for first, block_words in words(seed, stream, samples, n):
        part = out[first : first + len(block_words)]
        kernel.resample_returns(block_words, restart(block), r, r[order], rank, float(r.mean()), target, index, counts, part)
    return out


def sums_draws(rows: F64, *, block: float, seed: int, samples: int, stream: int = 1) -> F64:
    """float64[samples, k]: column sums of so many resamples of rows [n, k]."""
    rows = np.ascontiguousarray(rows, np.float64)
    out = np.zeros((samples, rows.shape[1]))
    index = np.zeros(len(rows), np.int64)
    for first, block_words in words(seed, stream, samples, len(rows)):
        kernel.resample_sums(block_words, restart(block), rows, index, out[first : first + len(block_words)])
    return out


def grouped(rows: F64, units: int = _UNITS_MAX) -> F64:
    """Sums of consecutive rows, at most `units` groups of equal length (the last may be shorter): what is resampled in their place."""
    size = -(-len(rows) // units)
    return rows if size <= 1 else np.add.reduceat(rows, np.arange(0, len(rows), size), axis=0)


def interval(draws: F64, level: float = LEVEL) -> Interval | None:
    """Percentile interval; draws without a value are left out, and None is returned when they are more than 1 %."""
    known = np.sort(draws[~np.isnan(draws)])
    if len(known) < 0.99 * len(draws) or not len(known):
        return None
    tail = (1.0 - level) / 2.0
    low, high = known[math.floor(tail * (len(known) - 1))], known[math.ceil((1.0 - tail) * (len(known) - 1))]
    return Interval(float(low) if math.isfinite(low) else None, float(high) if math.isfinite(high) else None)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of two tracks on the same periods. p_value: two-sided, of no difference; None: it cannot be told."""

    name: str
    unit: str
    a: float
    b: float
    difference: float
    interval: Interval | None
    p_value: float | None


def compare(
    a: F64, b: F64, *, per_year: float, seed: int = 0, samples: int = SAMPLES, level: float = LEVEL, block: float | None = None
) -> list[Difference]:
    """Figures of two tracks (returns on the same periods [n]) and whether they differ: both are resampled with the same rows.

    p-value: (1 + count of |d* - d| >= |d|) / (1 + samples), d* the difference of a resample (Ledoit & Wolf 2008, without studentising).
    """
    a, b = check_returns(a, "returns a"), check_returns(b, "returns b")
    if len(a) != len(b):
        raise DataError(f"compare: {len(a)} periods and {len(b)}: both tracks need the same ones")
    length = block if block is not None else max(block_of_returns(a), block_of_returns(b), block_of_returns(a - b))
    rows = [_headlines(x, per_year, returns_draws(x, target=0.0, block=length, seed=seed, samples=samples)) for x in (a, b)]
    plain = [_headlines(x, per_year, _of_itself(x)) for x in (a, b)]
    found = []
    for (name, unit, drawn_a), (_, _, drawn_b), (_, _, point_a), (_, _, point_b) in zip(*rows, *plain, strict=True):
        with np.errstate(invalid="ignore"):  # of two ratios without bound
            d, drawn = float(point_a[0] - point_b[0]), drawn_a - drawn_b
        is_known = math.isfinite(d) and bool(np.isfinite(drawn).all())
        p = (1 + int(np.count_nonzero(np.abs(drawn - d) >= abs(d)))) / (1 + samples) if is_known else None
        found.append(
            Difference(
                name=name, unit=unit, a=float(point_a[0]), b=float(point_b[0]), difference=d,
                interval=interval(drawn, level) if is_known else None, p_value=p,
            )
        )  # fmt: skip
    return found


def _of_itself(r: F64) -> F64:
    """float64[1, COLUMNS]: the figures of r as they are."""
    out = np.zeros((1, kernel.COLUMNS))
    order = np.argsort(r, kind="stable")
    rank = np.empty(len(r), np.int64)
    rank[order] = np.arange(len(r))
    kernel.measure(r, r[order], rank, np.arange(len(r)), float(r.mean()), 0.0, np.zeros(len(r), np.int64), out[0])
    return out


def _headlines(r: F64, per_year: float, m: F64) -> list[tuple[str, str, F64]]:
    years = len(r) / per_year
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return [
            ("return", "share", np.expm1(m[:, kernel.GROWTH])),
            ("cagr", "share a year", np.expm1(m[:, kernel.GROWTH] / years)),
            ("mean_return", "share a year", m[:, kernel.MEAN] * per_year),
            ("volatility", "share a year", m[:, kernel.DEVIATION] * math.sqrt(per_year)),
            ("sharpe", "a year", m[:, kernel.MEAN] / m[:, kernel.DEVIATION] * math.sqrt(per_year)),
            ("sortino", "a year", m[:, kernel.MEAN] / m[:, kernel.DOWNSIDE] * math.sqrt(per_year)),
            ("max_drawdown_close", "share", m[:, kernel.DRAWDOWN]),
        ]
