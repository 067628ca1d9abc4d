"""The page of a regime report: SVG drawn here, no script, nothing loaded from anywhere, small however long the history is."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mia.backtest.axes import nice_step, round_times
from mia.backtest.readers import utc
from mia.backtest.regimes import I8, UNDECIDED, LabelStats, Part, Regimes
from mia.domain.regime import STATES, RegimeParams

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
POINTS_MAX: Final = 2_000  # of a curve
BANDS_MAX: Final = 400  # of colours behind a longer one: narrower ones are a grey mist
DETAIL_BARS: Final = 500
FORWARD: Final = "Forward filter only: each bar is judged at its close, from that bar and those before it; nothing is changed afterwards."
# Blue, orange and purple of Okabe and Ito (2008): told apart with every kind of colour blindness; each also has its own lane below.
COLOURS: Final = ("#0072B2", "#E69F00", "#CC79A7", "#9A9A9A")
_NAMES: Final = (*STATES, UNDECIDED)
_WIDTH: Final = 1200
_LEFT, _RIGHT = 84, 16
_PRICE: Final = (64, 300)  # top and height of the panels
_PROBS: Final = (382, 130)
_LANES: Final = (530, 15)  # top, and height of one lane
_BOTTOM: Final = 622
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:1200px;margin:24px auto;padding:0 16px}
h1{font-size:22px;margin:0 0 4px}h2{font-size:17px;margin:28px 0 6px}p{margin:4px 0;max-width:90ch}
svg{width:100%;height:auto;display:block}table{border-collapse:collapse;margin:6px 0}
th,td{padding:3px 12px;text-align:right;border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}
th{font-weight:600;text-align:right;vertical-align:bottom}th:first-child,td:first-child{text-align:left;padding-left:0;white-space:nowrap}
.k{display:inline-block;width:12px;height:12px;margin-right:7px;border-radius:2px;vertical-align:-1px}.n{color:#555}
"""


class _Curve(NamedTuple):
    """Points: of the bars between two of the edges x the last close, the mean probabilities and the label that most had."""

    x: F64
    ts_ns: I64
    close: F64
    probs: F64
    label: I8


def page(report: Regimes) -> str:
    """The whole report as one HTML file."""
    title = f"Regimes of {report.name}"
    n = len(report.ts_ns)
    fit = report.fit
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>\n<h1>{_text(title)}</h1>\n",
        f"<p>{n:,} bars ({_text(report.bars)}) with a regime, {utc(report.ts_ns[0])} to {utc(report.ts_ns[-1])} UTC; {report.cold:,} ",
        f"before it was warm. {FORWARD}</p>\n",
    ]
    if fit is None:
        parts.append("<p>The model does not say on which rows it was fitted: what follows may be what it has seen.</p>\n")
    else:
        where = f"{fit.rows:,} rows of {_text(fit.source)} ({_text(fit.bar)}), {utc(fit.first_ns)} to {utc(fit.last_ns)} UTC"
        parts.append(f"<p>Fitted on {where}.</p>\n")
        if report.is_of_other_bars:
            parts.append("<p><strong>The model was fitted on other bars than these: what it says here means little.</strong></p>\n")
    parts.append(f'<h2>All bars</h2>\n{_figure(report, 0, n, "All bars")}\n<p class="n">{_grain(n)}</p>\n')
    if n > DETAIL_BARS:
        parts.append(f"<h2>The newest {DETAIL_BARS} bars</h2>\n{_figure(report, n - DETAIL_BARS, n, 'The newest bars')}\n")
    parts += [_table(part) for part in reversed(report.parts)]
    parts.append(_states(report.params))
    parts.append(
        '<p class="n">r: log return of a bar, in basis points (bps). Volatility of a label is that of the bars which earned it, so part of '
        "the difference is how labels are given; that of the next bar is what was known beforehand. A label is entered above a "
        "probability of 0.6 and left below 0.4; autocorrelation is of r with that of the bar before, both with the label.</p>\n"
        "</body></html>\n"
    )
    return "".join(parts)


def picture(report: Regimes) -> str:
    """The figure of all bars as one SVG file."""
    head = f"{report.name}, {report.bars}: {utc(report.ts_ns[0])} to {utc(report.ts_ns[-1])} UTC"
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + _figure(report, 0, len(report.ts_ns), head, is_file=True) + "\n"


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _grain(n: int) -> str:
    if n <= POINTS_MAX:
        return "Every bar is drawn."
    return (
        f"The line has {POINTS_MAX:,} points, the last close of {n / POINTS_MAX:.0f} bars each; colours have {BANDS_MAX}, of "
        f"{n / BANDS_MAX:.0f} bars each: mean probabilities, and the label that most of them had. Short spells show only in the lanes, and "
        "bar by bar below."
    )


def _thinned(report: Regimes, start: int, stop: int, points: int) -> _Curve:
    m = min(stop - start, points)
    edges = np.linspace(start, stop, m + 1).astype(np.int64)
    probs = np.add.reduceat(report.probs[:stop], edges[:-1], axis=0) / np.diff(edges)[:, None]
    votes = np.stack([np.add.reduceat((report.label[:stop] == k).astype(np.int64), edges[:-1]) for k in range(4)], axis=1)
    last = edges[1:] - 1
    label = votes.argmax(axis=1).astype(np.int8)
    x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * (edges - start) / (stop - start)
    return _Curve(x, report.ts_ns[last], report.close[last], probs, label)


def _figure(report: Regimes, start: int, stop: int, title: str, is_file: bool = False) -> str:
    curve = _thinned(report, start, stop, POINTS_MAX)
    bands = curve if stop - start <= POINTS_MAX else _thinned(report, start, stop, BANDS_MAX)
    x = curve.x
    low, high = float(curve.close.min()), float(curve.close.max())
    room = 0.04 * (high - low) or 0.01 * abs(high) or 1.0
    low, high = low - room, high + room
    top, height = _PRICE
    y = top + height * (high - curve.close) / (high - low)
    above, below = (0, _BOTTOM + 18) if is_file else (26, _BOTTOM)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {above} {_WIDTH} {below - above}" role="img" '
        'font-family="system-ui,sans-serif" font-size="13" fill="#1a1a1a">'
        f'<title>{_text(title)}</title><rect width="{_WIDTH}" height="{below}" fill="#fff"/>'
    ]
    if is_file:
        out.append(f'<text x="{_LEFT}" y="16" font-weight="600">{_text(title)}</text>')
        out.append(f'<text x="{_LEFT}" y="{_BOTTOM + 8}" font-size="12" fill="#555">{FORWARD}</text>')
    out += _legend()
    out += [_blocks(bands.x, bands.label, k, top, height, 0.28) for k in range(4)]
    out += _price_axis(low, high)
    out.append(f'<path d="{_line((x[1:] + x[:-1]) / 2, y)}" fill="none" stroke="#1a1a1a" stroke-width="1.2" stroke-linejoin="round"/>')
    out += _probabilities(bands.x, bands.probs)
    out += _lanes(x, curve.label)
    out += _time_axis(curve.ts_ns, x)
    out += _fit_line(report, curve.ts_ns, x)
    out.append("</svg>")
    return "".join(out)


def _legend() -> Iterator[str]:
    at = _LEFT
    for colour, words in zip(COLOURS, _NAMES, strict=True):
        yield f'<rect x="{at}" y="33" width="14" height="14" rx="2" fill="{colour}"/><text x="{at + 20}" y="45">{words}</text>'
        at += 20 + 7 * len(words) + 26


def _line(x: F64, y: F64) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _blocks(x: F64, label: I8, k: int, top: float, height: float, opacity: float) -> str:
    """One path of the rectangles where the label is k."""
    mine = np.concatenate([[0], (label == k).astype(np.int8), [0]])
    starts, stops = np.flatnonzero(np.diff(mine) == 1), np.flatnonzero(np.diff(mine) == -1)
    if not len(starts):
        return ""
    spans = [(float(x[i]), float(x[j])) for i, j in zip(starts.tolist(), stops.tolist(), strict=True)]
    d = "".join(f"M{a:.1f} {top:g}h{b - a:.1f}v{height:g}h{a - b:.1f}z" for a, b in spans)
    return f'<path d="{d}" fill="{COLOURS[k]}" fill-opacity="{opacity}"/>'


def _price_axis(low: float, high: float) -> Iterator[str]:
    top, height = _PRICE
    yield from _panel("price", top, height)
    step = nice_step((high - low) / 5)
    digits = max(0, -math.floor(math.log10(step))) if step > 0.0 else 0
    value = math.ceil(low / step) * step
    while value <= high:
        y = top + height * (high - value) / (high - low)
        yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#000" stroke-opacity="0.1"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.{digits}f}</text>'
        value += step


def _panel(name: str, top: float, height: float) -> Iterator[str]:
    yield f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH - _LEFT - _RIGHT}" height="{height}" fill="none" stroke="#888"/>'
    middle = top + height / 2
    yield f'<text x="16" y="{middle:g}" transform="rotate(-90 16 {middle:g})" text-anchor="middle" fill="#555">{name}</text>'


def _probabilities(x: F64, probs: F64) -> Iterator[str]:
    """Stacked from below: range, trend, defensive."""
    top, height = _PROBS
    middle = (x[1:] + x[:-1]) / 2
    middle[0], middle[-1] = x[0], x[-1]
    yield f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH - _LEFT - _RIGHT}" height="{height}" fill="{COLOURS[2]}" fill-opacity="0.85"/>'
    for k, below in ((1, probs[:, 0] + probs[:, 1]), (0, probs[:, 0])):
        y = top + height * (1.0 - np.clip(below, 0.0, 1.0))
        yield f'<path d="{_line(middle, y)}V{top + height}H{_LEFT}z" fill="#fff"/>'
        yield f'<path d="{_line(middle, y)}V{top + height}H{_LEFT}z" fill="{COLOURS[k]}" fill-opacity="0.85"/>'
    yield from _panel("probability", top, height)
    for value in (0.0, 0.5, 1.0):
        y_at = top + height * (1.0 - value)
        yield f'<text x="{_LEFT - 8}" y="{y_at + 4:g}" text-anchor="end">{value:g}</text>'


def _lanes(x: F64, label: I8) -> Iterator[str]:
    """The label with hysteresis, a lane for each, so that it is read without colours, too."""
    top, height = _LANES
    for k, name in enumerate(_NAMES):
        y = top + k * height
        if k % 2 == 0:
            yield f'<rect x="{_LEFT}" y="{y}" width="{_WIDTH - _LEFT - _RIGHT}" height="{height}" fill="#f2f2f2"/>'
        yield _blocks(x, label, k, y + 2, height - 4, 1.0)
        yield f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end" font-size="12">{name}</text>'


def _time_axis(ts_ns: I64, x: F64) -> Iterator[str]:
    bottom = _LANES[0] + 4 * _LANES[1]
    after = -1.0
    for at_ns, text in round_times(int(ts_ns[0]), int(ts_ns[-1])):
        k = int(np.searchsorted(ts_ns, at_ns))
        at = float(x[k])
        if at < after or at > _WIDTH - _RIGHT - 24:
            continue
        after = at + 7.5 * len(text) + 10
        yield f'<path d="M{at:.1f} {_PRICE[0]}V{bottom + 5}" stroke="#000" stroke-opacity="0.12"/>'
        yield f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'


def _fit_line(report: Regimes, ts_ns: I64, x: F64) -> Iterator[str]:
    """Where the rows of the fit end."""
    if report.fit is None or not (int(ts_ns[0]) < report.fit.last_ns < int(ts_ns[-1])):
        return
    at = float(x[int(np.searchsorted(ts_ns, report.fit.last_ns, side="right"))])
    bottom = _LANES[0] + 4 * _LANES[1]
    side, anchor = (6, "start") if at < _WIDTH / 2 else (-6, "end")
    yield f'<path d="M{at:.1f} {_PRICE[0]}V{bottom}" stroke="#000" stroke-width="1.5" stroke-dasharray="6 4"/>'
    yield (
        f'<text x="{at + side:.1f}" y="{_PRICE[0] + 16}" text-anchor="{anchor}" font-weight="600" stroke="#fff" stroke-width="3" '
        'paint-order="stroke">fitted until here</text>'
    )


def _table(part: Part) -> str:
    title = {True: "Bars after the fit", False: "Bars up to the end of the fit: no test of the model", None: "All bars"}[part.is_later]
    head = (
        "regime", "share of time", "spells", "mean dwell, bars", "mean |r|, bps", "volatility, bps", "autocorrelation of r",
        "volatility of the next bar, bps",
    )  # fmt: skip
    rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in _cells(s, k))}</tr>\n" for k, s in enumerate(part.labels))
    text = (
        f"<h2>{title}</h2>\n<p>{utc(part.first_ns)} to {utc(part.last_ns)} UTC</p>\n<table><tr>"
        f"{''.join(f'<th>{h}</th>' for h in head)}</tr>\n{rows}</table>\n"
    )
    return text + _likelihood(part)


def _likelihood(part: Part) -> str:
    found = part.likelihood
    if found is None:
        return ""
    kind = {True: "Held-out log likelihood", False: "Log likelihood up to the end of the fit", None: "Log likelihood"}[part.is_later]
    gain = found.model - found.one_state
    return (
        f"<p>{kind}, mean of {found.rows:,} bars, of the inputs given the bars before: three states {found.model:.3f}, one state "
        f"{found.one_state:.3f}, {'a gain' if gain > 0 else 'no gain'} of {gain:+.3f} nats a bar. One state knows nothing of the bar "
        "before: it is the least that a model must beat.</p>\n"
    )


def _states(params: RegimeParams) -> str:
    """What the states are, in the units of the inputs."""
    head = "".join(f"<th>mean {_text(name)}</th>" for name in params.columns)
    rows = []
    for k, name in enumerate(STATES):
        means = [m * s + c for m, s, c in zip(params.mean[k], params.scale, params.center, strict=True)]
        cells = "".join(f"<td>{value:.4g}</td>" for value in means)
        rows.append(f"<tr><td>{_key(k)}{name}</td>{cells}<td>{1 / (1 - params.transition[k][k]):.1f}</td></tr>\n")
    volatility, strength = (_text(name) for name in params.columns[:2])
    return (
        f"<h2>The states of the model</h2>\n<table><tr><th>state</th>{head}<th>expected dwell, bars</th></tr>\n{''.join(rows)}</table>\n"
        f"<p>The names are an order, no promise: defensive has the highest mean of {volatility}, and of the other two trend has the higher "
        f"mean of {strength}. Whether bars named trend went anywhere is in the tables above: in a trend r would follow the r before it."
        "</p>\n"
    )


def _key(k: int) -> str:
    return f'<span class="k" style="background:{COLOURS[k]}"></span>'


def _cells(s: LabelStats, k: int) -> Sequence[str]:
    key = _key(k) if k < len(COLOURS) else ""
    return (
        f"{key}{_text(s.label)}",
        f"{s.share:.1%}",
        f"{s.spells:,}" if s.dwell is not None else "-",
        _number(s.dwell, 1.0, 1),
        _number(s.abs_r, 1e4, 2),
        _number(s.volatility, 1e4, 2),
        _number(s.autocorrelation, 1.0, 3),
        _number(s.next_volatility, 1e4, 2),
    )


def _number(x: float | None, factor: float, digits: int) -> str:
    return "-" if x is None else f"{x * factor:.{digits}f}"
