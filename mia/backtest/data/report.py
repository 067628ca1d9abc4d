"""What is wrong, or odd, with a candle file: named with row numbers, changed nowhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.data.resample import Sessions, best_shift
from mia.backtest.readers import Candles, Repeats, utc

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
B = npt.NDArray[np.bool_]
ROWS_MAX: Final = 20  # of each kind that are listed
_OUTLIER: Final = 12.0  # robust standard deviations of a bar's log return
_BACK: Final = 0.7  # a spike gives back so much of its move in the next bar
_WINDOW: Final = 500  # bars that the scale of an outlier is taken from, around it
_BREAK_MIN: Final = 1_800_000_000_000  # an absence so long is a break of the market
_ZONES: Final = ("America/New_York", "Europe/London", "Europe/Berlin")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of thing: how often, and where. rows: of the file, from 1; texts: the first of them in words."""

    kind: str
    count: int
    rows: list[int]
    texts: list[str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Facts and findings of one file; `doubts` are findings about the time zone."""

    file: str
    rows: int
    first_ns: int
    last_ns: int
    interval_ns: int
    findings: list[Finding]
    doubts: list[str]
    notes: list[str]


def report(candles: Candles, sessions: Sessions | None = None, now_ns: int | None = None) -> Report:
    """candles: of one file, with late and repeated rows left out. sessions: gaps between them are none. now_ns: default the clock."""
    (repeats,) = candles.repeats
    now_ns = time.time_ns() if now_ns is None else now_ns
    o, h, low, c, volume = candles.ohlcv.T
    findings = [
        *_repeats(repeats),
        _gaps(candles, sessions),
        _outliers(candles),
        _flagged(candles, "spike", _spikes(np.log(c)), lambda i: f"close {c[i]:g} between {c[i - 1]:g} and {c[i + 1]:g}"),
        _flagged(candles, "zero volume", volume == 0.0, lambda i: "no volume"),
        _flagged(candles, "flat bar", (h == low) & (volume > 0.0), lambda i: f"open = high = low = close = {o[i]:g}"),
        _flagged(candles, "in the future", candles.open_ns > now_ns, lambda i: f"now it is {utc(now_ns)}"),
    ]
    return Report(
        file=candles.name,
        rows=len(candles.open_ns) + len(repeats.kinds),
        first_ns=int(candles.open_ns[0]),
        last_ns=int(candles.close_ns[-1]),
        interval_ns=candles.interval_ns,
        findings=[f for f in findings if f.count],
        doubts=zone_doubts(candles, sessions),
        notes=list(candles.notes),
    )


def _flagged(candles: Candles, kind: str, flags: B, text: Callable[[int], str]) -> Finding:
    at = np.flatnonzero(flags)[:ROWS_MAX]
    return Finding(
        kind=kind,
        count=int(flags.sum()),
        rows=candles.rows[at].tolist(),
        texts=[f"row {candles.rows[i]} ({utc(candles.open_ns[i])}): {text(int(i))}" for i in at],
    )


def _repeats(repeats: Repeats) -> list[Finding]:
    found = []
    for kind in ("repeated", "repeated with other values", "earlier than the row before"):
        at = [k for k, name in enumerate(repeats.kinds) if name == kind]
        if at:
            texts = [f"row {repeats.rows[k]} ({utc(repeats.ts_ns[k])})" for k in at[:ROWS_MAX]]
            found.append(Finding(kind=kind, count=len(at), rows=[int(repeats.rows[k]) for k in at[:ROWS_MAX]], texts=texts))
    return found


def _gaps(candles: Candles, sessions: Sessions | None) -> Finding:
    """Time that no bar covers, less what lies outside of sessions; longest first."""
    if not candles.interval_ns:
        return Finding(kind="gap", count=0, rows=[], texts=[])
    lost = candles.open_ns[1:] - candles.close_ns[:-1]
    if sessions is not None:
        lost = _open_time(candles.close_ns[:-1], candles.open_ns[1:], sessions)
    at = np.flatnonzero(lost > 0)
    longest = at[np.argsort(-lost[at], kind="stable")][:ROWS_MAX]
    texts = [
        f"before row {candles.rows[i + 1]} ({utc(candles.open_ns[i + 1])}): {lost[i] / 60e9:g} min, {lost[i] // candles.interval_ns} bars"
        for i in longest
    ]
    return Finding(kind="gap", count=len(at), rows=candles.rows[longest + 1].tolist(), texts=texts)


def _open_time(begin: I64, end: I64, sessions: Sessions) -> I64:
    """ns of each [begin, end) that lie in sessions."""
    table = np.array(sessions, dtype=np.int64).reshape(-1, 2)
    opens, closes = table.T
    until = np.concatenate([[0], np.cumsum(closes - opens)])

    def elapsed(ts: I64) -> I64:
        k = np.searchsorted(opens, ts, side="right")
        inside = np.where(k > 0, np.minimum(ts, closes[np.maximum(k - 1, 0)]) - opens[np.maximum(k - 1, 0)], 0)
        return until[np.maximum(k - 1, 0)] + inside

    lost: I64 = elapsed(end) - elapsed(begin)
    return lost


def _outliers(candles: Candles) -> Finding:
    """Log returns beyond _OUTLIER robust deviations (1.4826 MAD of the neighbourhood): either bad ticks or days to know of."""
    c = candles.ohlcv[:, 3]
    r = np.diff(np.log(c), prepend=np.log(c[0]))
    scale = np.empty(len(r))
    for first in range(0, len(r), _WINDOW):
        part = r[max(0, first - _WINDOW // 2) : first + _WINDOW + _WINDOW // 2]
        moved = part[part != 0.0]  # bars that do not move say nothing of how far they move
        middle = float(np.median(moved)) if len(moved) else 0.0
        scale[first : first + _WINDOW] = 1.4826 * float(np.median(np.abs(moved - middle))) if len(moved) else 0.0
    z = np.divide(np.abs(r), scale, out=np.zeros(len(r)), where=scale > 0.0)
    wanted = z > _OUTLIER
    at = np.flatnonzero(wanted)
    largest = at[np.argsort(-z[at], kind="stable")][:ROWS_MAX]
    texts = [
        f"row {candles.rows[i]} ({utc(candles.open_ns[i])}): {c[i - 1]:g} to {c[i]:g}, {100 * np.expm1(r[i]):+.2f} %, {z[i]:.0f} deviations"
        for i in largest
    ]
    return Finding(kind="outlier", count=int(wanted.sum()), rows=candles.rows[largest].tolist(), texts=texts)


def _spikes(logs: F64) -> B:
    """Bars that jump far and come back at once: the shape of a bad print."""
    r = np.diff(logs)
    flags = np.zeros(len(logs), dtype=np.bool_)
    if len(r) < 3:
        return flags
    moved = np.abs(r[r != 0.0])
    scale = 1.4826 * float(np.median(moved)) if len(moved) else 0.0
    if scale <= 0.0:
        return flags
    there, back = r[:-1], r[1:]
    flags[1:-1] = (np.abs(there) > 2 * _OUTLIER * scale) & (back * np.sign(there) < -_BACK * np.abs(there))
    return flags


def zone_doubts(candles: Candles, sessions: Sessions | None = None) -> list[str]:
    """Why the times may be of another zone than they were taken for.

    With sessions: rows outside of them, and by how many hours they would fit. Without: the time of day of the market's daily break,
    before and after clocks change; a break that keeps its UTC hour all year is of times that were local and taken for UTC (or of a market
    that keeps UTC), one that moves by an hour with New York's or London's clocks is where it should be.
    """
    if sessions is not None and len(sessions):
        table = np.array(sessions, dtype=np.int64).reshape(-1, 2)
        k = np.searchsorted(table[:, 0], candles.open_ns, side="right") - 1
        out = (k < 0) | (candles.close_ns > table[np.maximum(k, 0), 1])
        if out.mean() > 0.0:
            hours, share = best_shift(candles.open_ns, candles.close_ns, table)
            rows = ", ".join(map(str, candles.rows[np.flatnonzero(out)[:ROWS_MAX]]))
            text = f"{out.mean():.2%} of the rows lie outside of the sessions (rows {rows}{', ...' if out.sum() > ROWS_MAX else ''})"
            return [text + (f"; {share:.2%} would if the times were moved by {hours:+d} h" if hours and share < out.mean() / 2 else "")]
        return []
    return _break_doubts(candles)


def _break_doubts(candles: Candles) -> list[str]:
    if not candles.interval_ns or candles.interval_ns > 3_600_000_000_000:
        return []
    lost = candles.open_ns[1:] - candles.close_ns[:-1]
    at = np.flatnonzero((lost >= _BREAK_MIN) & (lost < 20 * 3_600_000_000_000))
    if len(at) < 10:
        return []
    begins = candles.close_ns[:-1][at]
    spread = {}
    for name in ("UTC", *_ZONES):
        zone = ZoneInfo(name)
        minutes = [(m := datetime.fromtimestamp(int(ns) // 10**9, UTC).astimezone(zone)).hour * 60 + m.minute for ns in begins]
        values, counts = np.unique(minutes, return_counts=True)
        spread[name] = (float(counts.max() / len(minutes)), int(values[counts.argmax()]))
    changes = [name for name in _ZONES if _changes(name, candles)]
    share, minute = spread["UTC"]
    when = f"{minute // 60:02d}:{minute % 60:02d}"
    first = int(candles.rows[at[0] + 1])
    if changes and share > 0.8 and max(spread[name][0] for name in changes) < share:
        return [
            f"the daily break begins at {when} UTC in {share:.0%} of {len(at)} cases (first before row {first}), and does not move when "
            f"clocks change in {', '.join(changes)}: were local times taken for UTC?"
        ]
    if not changes and share > 0.8:
        return [
            f"the daily break begins at {when} UTC (first before row {first}); no clocks change in this span, so nothing tells the zone: "
            "compare it with the market's hours (--session)"
        ]
    return []


def _changes(name: str, candles: Candles) -> bool:
    zone = ZoneInfo(name)
    first, last = (datetime.fromtimestamp(int(ns) // 10**9, UTC) for ns in (candles.open_ns[0], candles.close_ns[-1]))
    days: list[Any] = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    return len({day.astimezone(zone).utcoffset() for day in days}) > 1
