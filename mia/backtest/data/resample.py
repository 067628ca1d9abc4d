"""Bars of a longer interval out of shorter ones.

A bar is labelled by its open time. Without sessions bars begin at multiples of the interval since 1970 UTC (weeks on Monday). With
sessions they begin at each session's open, none goes past its close, and days are one bar a session, labelled with the UTC date
on which it closes: such a bar is known at the end of that date, at its close or after it, never before. A bar is only made when
the file was there from its beginning to its end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.readers import Candles, utc
from mia.domain.errors import ConfigError, DataError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Sessions = Sequence[tuple[int, int]]
DAY_NS: Final = 86_400_000_000_000
_WEEK_NS: Final = 7 * DAY_NS
_MONDAY_NS: Final = 4 * DAY_NS  # 1970-01-05
_UNITS_NS: Final = {"s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000, "d": DAY_NS, "w": _WEEK_NS}
_OUTSIDE_MAX: Final = 0.02  # share of rows outside of all sessions that is no sign of a wrong time zone
_ROWS_TOLD: Final = 5


class Resampled(msgspec.Struct, frozen=True, kw_only=True):
    """open_ns int64[n], ohlcv float64[n, 5]; notes say what was left out, and why."""

    open_ns: I64
    ohlcv: F64
    interval_ns: int
    notes: tuple[str, ...]
    thin: int  # bars made of fewer rows than fit into them
    dropped_rows: int


def parse_interval(text: str) -> int:
    """ns of 15m, 1h, 4h, 1d, 1w; ConfigError otherwise."""
    match = re.fullmatch(r"([1-9]\d{0,5})([smhdw])", text.strip())
    if match is None:
        raise ConfigError(f"--to {text!r}: give a time such as 15m, 1h, 4h, 1d or 1w")
    return int(match[1]) * _UNITS_NS[match[2]]


def interval_text(ns: int) -> str:
    """The other way round; `irregular` for 0."""
    if not ns:
        return "irregular length"
    unit, size = next((u, n) for u, n in reversed(_UNITS_NS.items()) if ns % n == 0 or u == "s")
    return f"{ns / size:g}{unit}"


def resample(candles: Candles, to_ns: int, sessions: Sessions | None = None) -> Resampled:
    """Time bars as bars of to_ns. ConfigError when that does not fit; DataError when no whole bar comes out, or rows lie outside of
    the sessions as a wrong time zone puts them."""
    if not candles.interval_ns:
        raise ConfigError(f"{candles.name}: its bars end at irregular times: only time bars can be resampled")
    step = candles.interval_ns
    if to_ns <= step or to_ns % step:
        raise ConfigError(f"{candles.name}: {interval_text(step)} bars do not make {interval_text(to_ns)} bars: take a multiple")
    if sessions is not None and to_ns > DAY_NS:
        raise ConfigError(f"--to {interval_text(to_ns)} with --session: give a day or less")
    notes: list[str] = []
    if sessions is None:
        begin, end, label = _by_utc(candles.open_ns, to_ns)
        inside = np.ones(len(begin), dtype=np.bool_)
    else:
        begin, end, label, inside = _by_sessions(candles, to_ns, sessions)
        if not inside.all():
            notes.append(f"{int((~inside).sum())} rows outside of all sessions left out: {_rows(candles, ~inside)}")
    at = np.flatnonzero(inside)
    edges = np.flatnonzero(np.diff(label[at], prepend=label[at][0] - 1)) if len(at) else at
    firsts = at[edges]
    lasts = at[np.concatenate([edges[1:], [len(at)]]) - 1] if len(at) else at
    whole = np.ones(len(firsts), dtype=np.bool_)
    if len(firsts):
        for k, is_cut, word in (
            (-1, candles.close_ns[-1] < end[lasts[-1]], "last"),
            (0, candles.open_ns[0] > begin[firsts[0]], "first"),
        ):
            if is_cut:
                whole[k] = False
                notes.append(f"{word} bar ({utc(label[firsts[k]])}) left out: the file does not hold all of its time")
    if not whole.any():
        raise DataError(f"{candles.name}: holds no whole {interval_text(to_ns)} bar: give a longer file")
    source = candles.ohlcv[at]
    ohlcv = np.stack(
        [
            candles.ohlcv[firsts, 0],
            np.maximum.reduceat(source[:, 1], edges),
            np.minimum.reduceat(source[:, 2], edges),
            candles.ohlcv[lasts, 3],
            np.add.reduceat(source[:, 4], edges),
        ],
        axis=1,
    )
    counts = np.diff(np.concatenate([edges, [len(at)]]))
    expected = (end[firsts] - begin[firsts]) // step
    open_ns = label[firsts][whole]
    if len(open_ns) > 1 and (bad := np.flatnonzero(np.diff(open_ns) < to_ns)).size:
        raise ConfigError(
            f"--to {interval_text(to_ns)}: the bar of {utc(open_ns[bad[0]])} would last into the next session: take an interval that "
            "divides the sessions, or 1d"
        )
    thin = int((counts[whole] < expected[whole]).sum())
    if thin:
        k = int(np.argmin((counts / expected)[whole]))
        notes.append(
            f"{thin} of {len(open_ns)} bars are made of fewer rows than fit into them (fewest at {utc(open_ns[k])}: "
            f"{counts[whole][k]} of {expected[whole][k]})"
        )
    return Resampled(
        open_ns=open_ns, ohlcv=ohlcv[whole], interval_ns=to_ns, notes=tuple(notes), thin=thin,
        dropped_rows=int((~inside).sum() + counts[~whole].sum()),
    )  # fmt: skip


def _by_utc(open_ns: I64, to_ns: int) -> tuple[I64, I64, I64]:
    """Begin, end and label of the bar of each row."""
    offset = _MONDAY_NS if to_ns % _WEEK_NS == 0 else 0
    begin = (open_ns - offset) // to_ns * to_ns + offset
    return begin, begin + to_ns, begin


def _by_sessions(candles: Candles, to_ns: int, sessions: Sessions) -> tuple[I64, I64, I64, npt.NDArray[np.bool_]]:
    """The same, and which rows lie inside of a session."""
    table = np.array(sessions, dtype=np.int64).reshape(-1, 2)
    if not len(table):
        raise ConfigError("--session: this family trades around the clock: leave it out")
    opens, closes = table.T
    k = np.searchsorted(opens, candles.open_ns, side="right") - 1
    inside = (k >= 0) & (candles.close_ns <= closes[np.maximum(k, 0)])
    _check_zone(candles, inside, table)
    k = np.maximum(k, 0)
    if to_ns == DAY_NS:
        label = (closes[k] - 1) // DAY_NS * DAY_NS
        begin, end = opens[k], closes[k]
        # Sessions that close on one UTC date are one bar, from the first open to the last close.
        dates = (closes - 1) // DAY_NS
        first, last = np.searchsorted(dates, label // DAY_NS, side="left"), np.searchsorted(dates, label // DAY_NS, side="right") - 1
        return opens[first], closes[last], label, inside
    begin = opens[k] + (candles.open_ns - opens[k]) // to_ns * to_ns
    end = np.minimum(begin + to_ns, closes[k])
    return begin, end, begin, inside


def _check_zone(candles: Candles, inside: npt.NDArray[np.bool_], table: I64) -> None:
    """Many rows outside of the sessions, and fewer when all are moved by whole hours: the times are of another zone."""
    share = 1.0 - float(inside.mean())
    if share <= _OUTSIDE_MAX:
        return
    hours, fewest = best_shift(candles.open_ns, candles.close_ns, table)
    where = _rows(candles, ~inside)
    if hours and fewest < share / 2:
        raise DataError(
            f"{candles.name}: {share:.1%} of its rows lie outside of the sessions ({where}), and {fewest:.1%} would if its times were "
            f"{abs(hours)} h {'later' if hours > 0 else 'earlier'}: name their zone with --tz"
        )
    raise DataError(
        f"{candles.name}: {share:.1%} of its rows lie outside of the sessions ({where}), and no shift by hours helps: another family?"
    )


def best_shift(open_ns: I64, close_ns: I64, table: I64) -> tuple[int, float]:
    """(hours by which the times would have to be moved so that the fewest rows lie outside of sessions, the share that then does)."""
    opens, closes = table.T
    found = []
    for hours in sorted(range(-14, 15), key=abs):
        shift = hours * 3_600_000_000_000
        k = np.searchsorted(opens, open_ns + shift, side="right") - 1
        out = (k < 0) | (close_ns + shift > closes[np.maximum(k, 0)])
        found.append((float(out.mean()), hours))
    share, hours = min(found, key=lambda item: item[0])
    return hours, share


def _rows(candles: Candles, flags: npt.NDArray[np.bool_]) -> str:
    at = np.flatnonzero(flags)
    first = ", ".join(f"{candles.rows[i]} ({utc(candles.open_ns[i])})" for i in at[:_ROWS_TOLD])
    return f"rows {first}" + (f" and {len(at) - _ROWS_TOLD} more" if len(at) > _ROWS_TOLD else "")
