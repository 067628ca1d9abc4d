"""Features of history: the events of a stretch through the very methods that live uses, the loop inside the kernel."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from mia.features.columns import QUOTE, EventColumns, from_events
from mia.features.plan import Plan

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
NOTHING: Final = from_events(())
_CHUNK: Final = 1 << 13
# The columns of bars that read the notional of a bar, which is its mean price: of candles that do not state it they are near to
# what live has, not equal.
BY_NOTIONAL: Final = (
    "close_vwap_gap", "amihud_20", "vwap_distance", "vwap_band_z", "poc_distance", "vah_distance", "val_distance", "in_value_area",
    "value_width", "volume_at_price_pct", "value_area_skew", "volume_above_share", "prev_poc_distance", "prev_vah_distance",
    "prev_val_distance", "value_overlap_prev", "naked_poc_pull", "avwap_swing_gap", "avwap_prev_session_gap",
)  # fmt: skip


def _view(x: npt.NDArray[Any], dtype: type[np.int64 | np.float64]) -> memoryview:
    """x as a contiguous, writable buffer of plain numbers, which is what kernels take; a copy only where it must be."""
    return np.require(x, dtype, ["C", "W"]).data


def compute(
    plan: Plan, events: EventColumns, min_interval_ns: int, trigger: Literal["quote", "bar"] = "quote", with_cold: bool = False
) -> tuple[I64, F64]:
    """(ts int64[m], matrix float64[m, width]) of the columns at the decision points among the events.

    trigger: `quote` decides on a quote min_interval_ns or more after the last decision (of an earlier call, too), never on one
    that is one-sided, locked or crossed, as the engine; `bar` on every event that closed bars. with_cold: also the rows at which
    a column is not warm yet. Feeding a stretch in several calls gives the same rows as in one.
    """
    if trigger == "quote":
        rows = int(np.count_nonzero(events.kind == QUOTE))
        if min_interval_ns > 0 and events.events:
            span = int(events.ts_recv_ns.max() - events.ts_recv_ns.min())
            rows = min(rows, span // min_interval_ns + 2)
    else:
        rows = events.events
    rows = max(rows, 1)
    ts = np.zeros(rows, dtype=np.int64)
    matrix = np.zeros((rows, len(plan.columns)), dtype=np.float64)
    kind, recv, event, a, b, c, d, offset = (_view(x, np.int64) for x in events[:8])
    x, y = _view(events.x, np.float64), _view(events.y, np.float64)
    levels = np.ascontiguousarray(events.levels).tobytes()
    n = plan.run(kind, recv, event, a, b, c, d, offset, x, y, levels, min_interval_ns, trigger == "bar", with_cold, ts.data, matrix.data)
    return ts[:n].copy(), matrix[:n].copy()


def compute_bars(plan: Plan, close_ns: I64, bars: F64, with_cold: bool = False, outside: EventColumns = NOTHING) -> tuple[I64, F64]:
    """The columns after each bar of a history file; columns that need trades, quotes or depth never become warm.

    close_ns: int64[n], the end of each bar plus the lag at which it was known; bars: float64[n, 11] in the order of
    BAR_FIELDS, prices in ticks, sizes in lots. outside: references, news and predictions, in order of arrival.
    """
    if bars.ndim != 2 or bars.shape != (len(close_ns), 11):
        raise ValueError(f"compute_bars: {len(close_ns)} times need bars of shape ({len(close_ns)}, 11), got {bars.shape}")
    ts = np.zeros(len(close_ns), dtype=np.int64)
    matrix = np.empty((len(close_ns), len(plan.columns)), dtype=np.float64)
    kind, recv, a, b, c = (_view(column, np.int64) for column in (outside.kind, outside.ts_recv_ns, outside.a, outside.b, outside.c))
    x, y = _view(outside.x, np.float64), _view(outside.y, np.float64)
    closes, n, used = _view(close_ns, np.int64), 0, 0
    latest = np.maximum.accumulate(close_ns)
    for start in range(0, len(close_ns), _CHUNK):  # bars may lie column by column: only so many are copied at once
        stop = min(start + _CHUNK, len(close_ns))
        rows = _view(bars[start:stop], np.float64)
        n += plan.run_bars(
            closes[start:stop], rows, kind[used:], recv[used:], a[used:], b[used:], c[used:], x[used:], y[used:], with_cold, ts[n:].data,
            matrix[n:].data,
        )  # fmt: skip
        used = int(np.searchsorted(outside.ts_recv_ns, latest[stop - 1]))
    if n == len(ts):  # nothing was left out: a copy would cost a fifth of all the time
        return ts, matrix
    return ts[:n].copy(), matrix[:n].copy()


def bars_from_ohlcv(opens: F64, highs: F64, lows: F64, closes: F64, volume: F64) -> F64:
    """float64[n, 11] for compute_bars from plain candles: the flow of buyers and sellers is unknown and stays 0.

    Prices in ticks, volume in lots. The notional is taken to be volume times the typical price (h + l + c) / 3, which BY_NOTIONAL
    feel; whoever knows the true one writes it over column 7. A bar with volume counts as one trade.
    """
    bars = np.zeros((len(closes), 11), dtype=np.float64)
    for k, column in enumerate((opens, highs, lows, closes, volume)):
        bars[:, k] = column
    bars[:, 7] = volume * (highs + lows + closes) / 3.0
    bars[:, 8] = volume > 0.0
    return bars
