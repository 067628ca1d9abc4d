"""The page, put together: the answer, the trials, the curves, the costs, the figures, the assumptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from mia.backtest.report import assumptions, parts
from mia.backtest.report.charts import Curve, Frame, chart, frame_of, trades_on_price
from mia.backtest.report.parts import escaped, table
from mia.backtest.report.style import STYLE
from mia.backtest.report.verdict import overall
from mia.backtest.report.view import View
from mia.backtest.stats.inputs import F64, Track
from mia.backtest.stats.periods import DAY_NS
from mia.backtest.stats.registry import interval_text, text, utc, value_text

_FIRST: Final = ("trials", "deflated_sharpe", "probabilistic_sharpe", "return", "sharpe", "max_drawdown", "alpha", "trades")
_DAYS_MIN: Final = 60  # a span with fewer is no year
_CHARTS_MAX: Final = 6  # of trades on price
_ALONE_SHARE: Final = 0.4  # a run that takes less of the picture than that is drawn once more by itself
_WORDS: Final = {"yes": "Yes.", "no": "No.", "not shown": "Not shown."}


def page(view: View) -> str:
    """The whole report as one HTML file."""
    title = f"{view.name}: run {view.facts['id']}"
    return "".join([
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">',
        f"<title>{escaped(title)}</title><style>{STYLE}</style></head><body>\n",
        *_answer(view),
        *_curves(view),
        "<h2>Where the money went</h2>\n",
        parts.waterfall(view.facts["attribution_e8"], str(view.facts["currency"])),
        "<h2>Return by month</h2>\n",
        parts.months(view.summary),
        *_trades(view),
        "<h2>All figures</h2>\n",
        parts.figures(view.summary),
        _footnote(view),
        parts.formulas(view.summary),
        "<h2>By regime, session, hour and weekday</h2>\n",
        parts.groups(view.summary),
        '<p class="n">Hours are UTC. A return belongs to the hour in which it came, a trade to the hour in which it opened. Below a '
        f"figure: its {view.summary.level:.0%} interval, for that group alone. Of 24 hours without skill one or two have an interval that "
        "leaves out 0, and the best of many groups looks good by luck.</p>\n",
        "<h2>What was decided and refused</h2>\n",
        parts.decisions(view.facts["counters"], view.run.came_to),
        *_assumptions(view),
        *_data(view),
        "</body></html>\n",
    ])  # fmt: skip


# --- the answer ----------------------------------------------------------------------------------------------------------


def _answer(view: View) -> Iterator[str]:
    s, facts = view.summary, view.facts
    word, sentence = overall(view.answers)
    data = "; ".join(f"{d['instrument']} {d['bars'] or d['kind']}" for d in facts["data"])
    yield f'<header><p class="n">Backtest, run {escaped(facts["id"])}</p><h1>{escaped(view.name)}</h1>'
    yield f'<p class="n">{escaped(data)}, {utc(s.first_ns)} to {utc(s.last_ns)}, {s.periods:,} {escaped(s.period)}s</p></header>\n'
    yield f'<div class="answer {word.split()[0]}"><strong>{_WORDS[word]}</strong> {escaped(sentence)}</div>\n'
    yield '<dl class="cards">'
    for name in _FIRST:
        shown = s.figure(name)
        between = interval_text(shown)
        value = escaped(text(shown))
        small = f"<small>{s.level:.0%}: {escaped(between)}</small>" if between else ""
        yield f"<div><dt>{escaped(shown.title)}</dt><dd{'' if shown.value is not None else ' class=none'}>{value}{small}</dd></div>"
    yield '</dl>\n<h2>Can it be trusted?</h2>\n<ul class="questions">'
    for a in view.answers:
        mark = a.word.split()[0]
        yield f'<li><b class="{mark}">{_WORDS[a.word].rstrip(".")}</b><span>'
        yield f"<strong>{escaped(a.question)}</strong> {escaped(a.because)}</span></li>"
    yield "</ul>\n"
    for note in [*_warnings(view), *view.notes, *s.notes]:
        yield f'<p class="note">{escaped(note)}</p>\n'
    for rival in view.rivals:
        if rival.differs:
            yield f'<p class="note">{escaped(rival.name)} differs in more than its strategy: {escaped("; ".join(rival.differs))}.</p>\n'


def _warnings(view: View) -> Iterator[str]:
    """What a reader must know before the figures."""
    if any(d["kind"] == "simulated" for d in view.facts["data"]):
        yield assumptions.SIMULATED
    span_ns = view.summary.last_ns - view.summary.first_ns
    if span_ns < _DAYS_MIN * DAY_NS:
        yield f"The span is {value_text(span_ns, 'duration')} long: every figure a year is drawn out from it and says little."


# --- curves --------------------------------------------------------------------------------------------------------------


def _curves(view: View) -> Iterator[str]:
    track, currency = view.run.columns.track, str(view.facts["currency"])
    if len(track.ts_ns) < 2:
        yield "<h2>Equity and drawdown</h2>\n<p>n/a, 1 mark.</p>\n"
        return
    yield "<h2>Equity and drawdown</h2>\n"
    start = track.equity_e8[0] / 1e8
    own = Curve("this run", "s0", track.ts_ns, track.equity_e8 / 1e8)
    flat = Curve("flat", "flat", track.ts_ns[[0, -1]], np.array([start, start]))
    others = [Curve(r.name, f"s{k}", *_rebased(r.track, track)) for k, r in zip((1, 2, 3, 4) * len(view.rivals), view.rivals, strict=False)]
    frame = frame_of([own, flat, *others])
    yield chart("Equity, with the same cash at the start" if others else "Equity", frame, [own, *others, flat], unit=currency)
    if float(np.ptp(own.y)) < _ALONE_SHARE * (frame.high - frame.low):
        yield chart("Equity of this run alone", frame_of([own, flat]), [own, flat], unit=currency)
    falls = [c._replace(y=_fall(c.y)) for c in (own, *others)]
    deepest = frame_of(falls, ceiling=0.0)
    yield chart("Drawdown: below the highest so far", Frame(*deepest[:2], min(deepest.low, -0.001), 0.0), falls, is_share=True)


def _rebased(track: Track, own: Track) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], F64]:
    """A baseline within the run's span, scaled to the run's equity at their common start."""
    inside = (track.ts_ns >= own.ts_ns[0]) & (track.ts_ns <= own.ts_ns[-1])
    ts_ns, equity = track.ts_ns[inside], track.equity_e8[inside] / 1e8
    if not len(ts_ns):  # one mark before the span and one after it
        return own.ts_ns[[0, -1]], np.full(2, own.equity_e8[0] / 1e8)
    at = max(int(np.searchsorted(own.ts_ns, ts_ns[0], side="right")) - 1, 0)
    return ts_ns, equity * (own.equity_e8[at] / 1e8 / equity[0]) if equity[0] > 0.0 else equity


def _fall(equity: F64) -> F64:
    peak = np.maximum.accumulate(equity)
    return np.where(peak > 0.0, equity / np.where(peak > 0.0, peak, 1.0) - 1.0, 0.0)


def _trades(view: View) -> Iterator[str]:
    trips, summary = view.run.columns.trips, view.summary
    yield "<h2>Trades</h2>\n"
    traded = [k for k in range(len(view.prices)) if bool((trips.instrument == k).any()) and len(view.prices[k].price)]
    if not traded:
        yield "<p>n/a: no trade was closed.</p>\n"
        return
    for k in traded[:_CHARTS_MAX]:
        yield trades_on_price(view.prices[k], k, trips)
    left = f" {len(traded) - _CHARTS_MAX} more instruments traded." if len(traded) > _CHARTS_MAX else ""
    yield (
        f'<p class="n">{summary.trades:,} closed trades; what lies on one spot of the screen is drawn once. All of them are in trades.csv '
        f"beside the run.{left}</p>\n"
    )
    yield parts.order(summary, str(view.facts["currency"]))
    yield parts.entries(summary)


# --- small print ---------------------------------------------------------------------------------------------------------


def _footnote(view: View) -> str:
    s = view.summary
    block = f" in blocks of {s.block:.1f} {escaped(s.period)}s on average" if s.block is not None else ""
    rate = f"risk-free rate {s.risk_free:.2%} a year"
    return (
        f'<p class="n">Returns of {s.periods:,} {escaped(s.period)}s, {s.periods_a_year:,.2f} a year; {rate}. Intervals: {s.level:.0%}, '
        f"percentiles of {s.samples:,} resamples (stationary bootstrap{block}, seed {s.seed}); none means that there is too "
        "little to resample. n/a says why there is no number.</p>\n"
    )


def _assumptions(view: View) -> Iterator[str]:
    yield "<h2>What is assumed</h2>\n<ul>"
    for sentence in assumptions.sentences(view.facts):
        yield f"<li>{escaped(sentence)}</li>\n"
    yield "</ul>\n"
    for name, values in assumptions.settings(view.facts).items():
        rows = parts.pairs({(key or name): value for key, value in values.items()})
        is_open = " open" if name in ("costs", "fills") else ""
        yield f"<details{is_open}><summary>{escaped(name)}</summary>{table(('setting', 'value'), list(rows), 'words')}</details>\n"


def _data(view: View) -> Iterator[str]:
    facts = view.facts
    yield "<h2>Data and versions</h2>\n"
    rows = []
    for d in facts["data"]:
        digests = list(d["sha256"]) + ["none: made, not recorded"] * (len(d["files"]) - len(d["sha256"]))
        span = f"{utc(d['first_ns'])} to {utc(d['last_ns'])}" if d["last_ns"] else f"from {utc(d['first_ns'])}"
        for name, digest in zip(d["files"], digests, strict=False):
            count = f"{d['rows']:,}" if d["rows"] else "not counted"
            rows.append(
                (escaped(d["instrument"]), escaped(name), escaped(d["bars"] or d["kind"]), count, span, f"<code>{escaped(digest)}</code>")
            )
    yield table(("instrument", "file", "kind", "rows", "span", "sha256"), rows, "words")
    models = [(escaped(s["name"]), f"<code>{escaped(s['sha256'])}</code>") for s in facts["strategies"]]
    yield table(("strategy", "sha256"), models, "words")
    versions = {"run": str(facts["id"]), "calendar": str(facts["calendar"]), **{k: str(v) for k, v in facts["versions"].items()}}
    if "git_commit" in facts:  # runs of earlier versions lack it
        versions["git commit"] = str(facts["git_commit"])
    yield f'<p class="n">{"; ".join(f"{escaped(k)} {escaped(v)}" for k, v in versions.items())}</p>\n'
