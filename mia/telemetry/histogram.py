"""Durations in buckets: bounded memory however many there are, quantiles with a known error.

A bucket is an octave cut in 16: a quantile is at most 1/16 above the true value and never below it, and no more than the maximum.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from itertools import accumulate
from operator import add
from typing import Final

import msgspec

_SUB_BITS: Final = 4
_SUB: Final = 1 << _SUB_BITS
_TOP_BITS: Final = 44  # 2^44 ns are 4.9 h; what takes longer is counted in the last bucket
BUCKETS: Final = (_TOP_BITS - _SUB_BITS + 1) * _SUB
_ZEROS: Final = bytes(8 * BUCKETS)


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """What a histogram holds, in milliseconds; all zero when n = 0."""

    n: int = 0
    failures: int = 0
    mean_ms: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0


class Histogram:
    """Counts by duration; one thread records and reads. 5 KB."""

    __slots__ = ("_counts", "failures", "max_ns", "n", "sum_ns")

    def __init__(self) -> None:
        self._counts = array("Q", _ZEROS)
        self.n = 0
        self.failures = 0
        self.sum_ns = 0
        self.max_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one; below zero counts as zero."""
        if duration_ns < 0:
            duration_ns = 0
        shift = duration_ns.bit_length() - _SUB_BITS - 1
        index = duration_ns if shift < 0 else (shift << _SUB_BITS) + (duration_ns >> shift)
        self._counts[index if index < BUCKETS else BUCKETS - 1] += 1
        self.n += 1
        self.sum_ns += duration_ns
        if duration_ns > self.max_ns:
            self.max_ns = duration_ns

    def quantiles_ns(self, *shares: float) -> list[int]:
        """The upper edge of the bucket in which each share (0.5: the median) lies; zeros when nothing was counted.

        shares: in [0, 1]; nearest rank.
        """
        if not self.n:
            return [0] * len(shares)
        reached = list(accumulate(self._counts))
        ranks = (max(1, min(self.n, math.ceil(share * self.n))) for share in shares)
        return [min(_upper_ns(bisect_left(reached, rank)), self.max_ns) for rank in ranks]

    def merge(self, other: Histogram) -> None:
        """Add what another one counted."""
        if not other.n:
            return
        self._counts = array("Q", map(add, self._counts, other._counts))
        self.n += other.n
        self.failures += other.failures
        self.sum_ns += other.sum_ns
        self.max_ns = max(self.max_ns, other.max_ns)

    def clear(self) -> None:
        """Forget everything."""
        self._counts = array("Q", _ZEROS)
        self.n = self.failures = self.sum_ns = self.max_ns = 0

    def distribution(self) -> Distribution:
        """The figures that people read."""
        if not self.n:
            return Distribution()
        p50, p95, p99 = (ns / 1e6 for ns in self.quantiles_ns(0.5, 0.95, 0.99))
        return Distribution(
            n=self.n,
            failures=self.failures,
            mean_ms=self.sum_ns / self.n / 1e6,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            max_ms=self.max_ns / 1e6,
        )


def _upper_ns(index: int) -> int:
    """The largest duration that falls in a bucket."""
    octave, step = index >> _SUB_BITS, index & (_SUB - 1)
    return index if not octave else ((_SUB + step + 1) << (octave - 1)) - 1
