"""Curves as SVG that stretches with the screen: paths in a box of 1000 units, texts beside it as HTML, so that they stay readable."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from mia.backtest.axes import nice_step, round_times
from mia.backtest.report.view import Prices
from mia.backtest.stats.inputs import F64, I64, Bool, Trips
from mia.backtest.stats.registry import utc

WIDTH: Final = 1000  # columns of a curve: what a screen shows
_HEIGHT: Final = 400
_ROOM: Final = 0.04  # above and below a curve
_CELL: Final = 4  # points nearer than that are one on a screen
_CROWD: Final = 400  # more trades than that hide each other
_DETAIL: Final = 200
_LABEL_SHORT: Final = 8  # characters
_LABELS_FEW: Final = 3
_LABEL_SHARE: Final = 0.075  # of the width, for one time


class Curve(NamedTuple):
    """ts_ns rises; style: s0 .. s4 of the page's colours."""

    name: str
    style: str
    ts_ns: I64
    y: F64


class Points(NamedTuple):
    """Dots of one kind; a hollow one is an exit."""

    name: str
    style: str
    is_hollow: bool
    ts_ns: I64
    y: F64


class Frame(NamedTuple):
    """Where times and values lie in the box."""

    first_ns: int
    last_ns: int
    low: float
    high: float

    def x(self, ts_ns: I64) -> F64:
        """0 .. WIDTH; a single time lies in the middle."""
        span = self.last_ns - self.first_ns
        return (ts_ns - self.first_ns) / span * WIDTH if span else np.full(len(ts_ns), WIDTH / 2.0)

    def y(self, values: F64) -> F64:
        """0 (high) .. _HEIGHT (low)."""
        scaled: F64 = (self.high - values) / (self.high - self.low) * _HEIGHT
        return scaled


def frame_of(curves: Sequence[Curve], *, ceiling: float | None = None) -> Frame:
    """Around all of the curves, which have a row at least."""
    low, high = min(float(c.y.min()) for c in curves), max(float(c.y.max()) for c in curves)
    room = _ROOM * (high - low) or 0.01 * abs(high) or 1.0
    return Frame(
        min(int(c.ts_ns[0]) for c in curves),
        max(int(c.ts_ns[-1]) for c in curves),
        low - room,
        high + room if ceiling is None else ceiling,
    )


def chart(
    title: str, frame: Frame, curves: Sequence[Curve], points: Sequence[Points] = (), *, unit: str = "", is_share: bool = False
) -> str:
    """A figure with axes and a legend."""
    paths = "".join(f'<path class="{c.style}" d="{_path(frame, c)}"/>' for c in reversed(curves))
    dots = "".join(_dots(frame, p) for p in points)
    return (
        f'<figure><figcaption>{_text(title)}{f", {_text(unit)}" if unit else ""}</figcaption><div class="legend">'
        f"{''.join(_key(c) for c in curves)}{''.join(_key(p) for p in points if len(p.ts_ns))}</div>"
        f'<div class="plot"><svg viewBox="0 0 {WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{_text(title)}">'
        f"{_grid(frame)}{paths}{dots}</svg>{''.join(_y_labels(frame, is_share))}{''.join(_x_labels(frame))}</div></figure>\n"
    )


def _key(shown: Curve | Points) -> str:
    kind = "line" if isinstance(shown, Curve) else "ring" if shown.is_hollow else "dot"
    return f'<span><i class="{kind} {shown.style}"></i>{_text(shown.name)}</span>'


def _path(frame: Frame, curve: Curve) -> str:
    """Each column's first, lowest, highest and last value: what a screen of WIDTH columns would show of all of them."""
    x, y = frame.x(curve.ts_ns), frame.y(curve.y)
    if len(x) <= 2 * WIDTH:
        if len(x) == 1:
            return f"M0 {y[0]:.1f}H{WIDTH}"
        return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    column = np.clip(x.astype(np.int64), 0, WIDTH - 1)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    ends = np.append(starts[1:], len(y)) - 1
    lows, highs = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
    rows = zip(column[starts].tolist(), y[starts].tolist(), lows.tolist(), highs.tolist(), y[ends].tolist(), strict=True)
    return "M" + "L".join(
        f"{at}.5 {first:.1f}" + (f"V{low:.1f}V{high:.1f}V{last:.1f}" if high - low >= 0.1 else "") for at, first, low, high, last in rows
    )


def _dots(frame: Frame, points: Points) -> str:
    """Lines without length but with round ends: dots that stay round however the box is stretched."""
    x, y = _thinned(frame, points)
    if not len(x):
        return ""
    d = "".join(f"M{a} {b}h0" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    inner = f'<path class="dot hole" d="{d}"/>' if points.is_hollow else ""
    return f'<path class="dot {points.style}" d="{d}"/>{inner}'


def _thinned(frame: Frame, points: Points) -> tuple[I64, I64]:
    """One for each cell of the screen that has any."""
    cells = np.stack([frame.x(points.ts_ns), frame.y(points.y)], axis=1) / _CELL
    kept = np.unique(np.rint(cells).astype(np.int64), axis=0) * _CELL
    return kept[:, 0], kept[:, 1]


def _ticks(frame: Frame) -> tuple[list[float], float]:
    step = nice_step((frame.high - frame.low) / 7)
    first = math.ceil(frame.low / step)
    return [k * step for k in range(first, math.floor(frame.high / step + 1e-9) + 1)], step


def _grid(frame: Frame) -> str:
    values, _ = _ticks(frame)
    lines = "".join(f"M0 {y:.1f}H{WIDTH}" for y in frame.y(np.array(values)).tolist())
    times = "".join(f"M{x:.1f} 0V{_HEIGHT}" for x, _ in _times(frame))
    return f'<path class="grid" d="{lines}{times}"/>'


def _y_labels(frame: Frame, is_share: bool) -> Iterator[str]:
    values, step = _ticks(frame)
    scale = 100.0 if is_share else 1.0
    digits = max(0, -math.floor(math.log10(step * scale) + 1e-9))
    for value in values:
        shown = f"{value * scale + 0.0:,.{digits}f}{' %' if is_share else ''}"
        yield f'<b class="y" style="top:{float(frame.y(np.array([value]))[0]) / _HEIGHT:.2%}">{shown}</b>'


def _x_labels(frame: Frame) -> Iterator[str]:
    shown = [(x, text) for x, text in _times(frame) if 0.03 < x / WIDTH < 0.97]
    if not shown:
        yield f'<b class="x" style="left:50%">{utc(frame.first_ns)}</b>'
    apart = 1 if len(shown) <= _LABELS_FEW else 3 if any(len(text) > _LABEL_SHORT for _, text in shown) else 2  # shown on a phone
    for k, (x, text) in enumerate(shown):
        yield f'<b class="x{" odd" if k % apart else ""}" style="left:{x / WIDTH:.2%}">{text}</b>'


def _times(frame: Frame) -> list[tuple[float, str]]:
    if frame.first_ns >= frame.last_ns:
        return []
    span = frame.last_ns - frame.first_ns
    found: list[tuple[float, str]] = []
    for at_ns, text in round_times(frame.first_ns, frame.last_ns):
        x = (at_ns - frame.first_ns) / span * WIDTH
        if not found or x - found[-1][0] > _LABEL_SHARE * WIDTH:
            found.append((x, text))
    return found


def trades_on_price(prices: Prices, number: int, trips: Trips) -> str:
    """Where the trades of one instrument opened and closed, on its price; of many the newest once more, where they can be told apart."""
    mine = Trips._make(column[trips.instrument == number] for column in trips)
    if len(mine.side) <= _CROWD:
        return _trades(f"Trades of {prices.name}", prices, mine, is_crowd=False)
    newest = Trips._make(column[-_DETAIL:] for column in mine)
    from_ns, to_ns = int(newest.opened_ns.min()), int(newest.closed_ns.max())
    within = slice(
        max(int(np.searchsorted(prices.ts_ns, from_ns)) - 1, 0), int(np.searchsorted(prices.ts_ns, to_ns, side="right")) + 1
    )  # fmt: skip
    near = Prices(prices.name, prices.ts_ns[within], prices.price[within])
    return _trades(f"Trades of {prices.name}", prices, mine, is_crowd=True) + _trades(
        f"The newest {_DETAIL} trades", near, newest, is_crowd=False
    )


def _trades(title: str, prices: Prices, trips: Trips, *, is_crowd: bool) -> str:
    is_long, won = trips.side > 0, trips.profit_e8 > 0
    kind = " small" if is_crowd else ""

    def points(name: str, style: str, mine: Bool, ts_ns: I64, price: F64, *, is_exit: bool) -> Points:
        return Points(name, style + kind, is_exit and not is_crowd, ts_ns[mine], price[mine])

    found = [
        points("opened long", "s0", is_long, trips.opened_ns, trips.entry_price, is_exit=False),
        points("opened short", "s1", ~is_long, trips.opened_ns, trips.entry_price, is_exit=False),
        points("closed with a gain", "s4", won, trips.closed_ns, trips.exit_price, is_exit=True),
        points("closed with a loss", "s2", ~won, trips.closed_ns, trips.exit_price, is_exit=True),
    ]
    curve = Curve("price", "s3", prices.ts_ns, prices.price)
    ends = [curve, *(Curve("", "", np.sort(p.ts_ns), p.y) for p in found if len(p.ts_ns))]
    return chart(title, frame_of(ends), [curve], found)


def _text(text: str) -> str:
    return html.escape(text, quote=True)
