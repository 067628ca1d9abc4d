"""Two sources of one series side by side: bars that one of them lacks, differences of each field, and whether one is late."""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.data.resample import interval_text, resample
from mia.backtest.readers import Candles, utc
from mia.domain.errors import DataError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
FIELDS: Final = ("open", "high", "low", "close", "volume")
ROWS_MAX: Final = 20
_LAG_NS_MAX: Final = 26 * 3_600_000_000_000  # beyond any time zone
_GRID_MAX: Final = 20_000_000


class FieldDifference(msgspec.Struct, frozen=True, kw_only=True):
    """b - a over common bars. share_equal in [0, 1]; bps of a (None where a is 0 everywhere); worst_*: where |b - a| is largest."""

    field: str
    share_equal: float
    mean_abs: float
    max_abs: float
    mean_abs_bps: float | None
    worst_ns: int
    worst_row_a: int
    worst_row_b: int
    worst_a: float
    worst_b: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """lag_bars: by how many bars b is later than a (its returns fit a's best when moved back by so many). only_*: row numbers."""

    a: str
    b: str
    interval_ns: int
    common: int
    first_ns: int
    last_ns: int
    only_a: int
    only_b: int
    only_a_rows: list[int]
    only_b_rows: list[int]
    fields: list[FieldDifference]
    correlation: float
    lag_bars: int
    lag_correlation: float
    notes: list[str]


def compare(a: Candles, b: Candles) -> Comparison:
    """Over the time that both cover. Bars of different intervals are resampled to the shortest that both make up.

    DataError when they share no time.
    """
    notes = [*a.notes, *b.notes]
    interval, (a_ns, a_bars, a_rows), (b_ns, b_bars, b_rows) = _alike(a, b, notes)
    first, last = max(a_ns[0], b_ns[0]), min(a_ns[-1], b_ns[-1])
    lag, lag_correlation = _lag(a_ns, a_bars[:, 3], b_ns, b_bars[:, 3], interval)
    if first > last:
        raise DataError(f"{a.name} ({utc(a_ns[0])} to {utc(a_ns[-1])}) and {b.name} ({utc(b_ns[0])} to {utc(b_ns[-1])}) share no time")
    inside = [(ns >= first) & (ns <= last) for ns in (a_ns, b_ns)]
    common, i, j = np.intersect1d(a_ns, b_ns, assume_unique=True, return_indices=True)
    lone = [np.flatnonzero(ok & ~np.isin(ns, common)) for ok, ns in zip(inside, (a_ns, b_ns), strict=True)]
    if not len(common):
        notes.append("no bar begins at the same time in both")
    return Comparison(
        a=a.name, b=b.name, interval_ns=interval, common=len(common), first_ns=int(first), last_ns=int(last),
        only_a=len(lone[0]), only_b=len(lone[1]),
        only_a_rows=a_rows[lone[0][:ROWS_MAX]].tolist(), only_b_rows=b_rows[lone[1][:ROWS_MAX]].tolist(),
        fields=[_field(k, a_bars[i, k], b_bars[j, k], common, a_rows[i], b_rows[j]) for k in range(5)] if len(common) else [],
        correlation=_correlation(a_bars[i, 3], b_bars[j, 3]),
        lag_bars=lag, lag_correlation=lag_correlation, notes=notes,
    )  # fmt: skip


def _alike(a: Candles, b: Candles, notes: list[str]) -> tuple[int, tuple[I64, F64, I64], tuple[I64, F64, I64]]:
    """Interval, and (open_ns, ohlcv, rows) of each; after resampling, a row number is that of the first row in the bar."""
    for candles in (a, b):
        if not candles.interval_ns:
            raise DataError(f"{candles.name}: its bars end at irregular times: only time bars can be compared")
    if a.interval_ns == b.interval_ns:
        return a.interval_ns, (a.open_ns, a.ohlcv, a.rows), (b.open_ns, b.ohlcv, b.rows)
    interval = math.lcm(a.interval_ns, b.interval_ns)
    found = []
    for candles in (a, b):
        if candles.interval_ns == interval:
            found.append((candles.open_ns, candles.ohlcv, candles.rows))
            continue
        made = resample(candles, interval)
        notes.append(f"{candles.name}: resampled to {interval_text(interval)}; row numbers are of the first row in a bar")
        at = np.searchsorted(candles.open_ns, made.open_ns)
        found.append((made.open_ns, made.ohlcv, candles.rows[at]))
    return interval, found[0], found[1]


def _field(k: int, a: F64, b: F64, common: I64, a_rows: I64, b_rows: I64) -> FieldDifference:
    gap = np.abs(b - a)
    worst = int(gap.argmax())
    has = a != 0.0
    return FieldDifference(
        field=FIELDS[k], share_equal=float((gap == 0.0).mean()), mean_abs=float(gap.mean()), max_abs=float(gap.max()),
        mean_abs_bps=float((gap[has] / np.abs(a[has])).mean() * 1e4) if has.any() else None,
        worst_ns=int(common[worst]), worst_row_a=int(a_rows[worst]), worst_row_b=int(b_rows[worst]),
        worst_a=float(a[worst]), worst_b=float(b[worst]),
    )  # fmt: skip


def _correlation(a: F64, b: F64) -> float:
    """Of log returns from one common bar to the next; NaN with fewer than three bars or without any change."""
    x, y = np.diff(np.log(a)), np.diff(np.log(b))
    if len(x) < 2 or not x.any() or not y.any() or not (x.std() > 0.0 and y.std() > 0.0):
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def _lag(a_ns: I64, a: F64, b_ns: I64, b: F64, interval: int) -> tuple[int, float]:
    """(bars by which b is later, correlation at that lag) of returns on one grid, 0 where a bar or the one before it is missing.

    Looked for within 26 hours, or 30 bars where a bar is long: any mistake of a time zone, and any label at the end of a bar.
    """
    start = min(a_ns[0], b_ns[0])
    n = int((max(a_ns[-1], b_ns[-1]) - start) // interval) + 1
    if n > _GRID_MAX:
        raise DataError(f"{n} bars between the first and the last are too many to compare: cut the files")
    reach = max(_LAG_NS_MAX // interval, 30)
    size = 1 << (n + reach).bit_length()
    spectra, series = [], []
    for ns, close in ((a_ns, a), (b_ns, b)):
        at = (ns - start) // interval
        r = np.zeros(n)
        follows = np.diff(at) == 1
        r[at[1:][follows]] = np.diff(np.log(close))[follows]
        r = np.clip(r, *np.quantile(r, [0.0005, 0.9995])) if len(r) > 2000 else r  # one bad print would decide alone
        spectra.append(np.fft.rfft(r, size))
        series.append(r)
    if not (series[0].any() and series[1].any()):
        return 0, math.nan
    products = np.fft.irfft(np.conj(spectra[0]) * spectra[1], size)
    lags = np.concatenate([np.arange(0, reach + 1), np.arange(-reach, 0)])
    lag = int(lags[products[lags].argmax()])
    x, y = (series[0][: n - lag], series[1][lag:]) if lag >= 0 else (series[0][-lag:], series[1][: n + lag])
    both = (x != 0.0) & (y != 0.0)
    norm = math.sqrt(float((x[both] ** 2).sum() * (y[both] ** 2).sum()))
    return lag, float((x[both] * y[both]).sum()) / norm if norm > 0.0 else math.nan
