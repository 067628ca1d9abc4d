"""Sections of the page that are no curves: where the money went, months, groups, figures, decisions."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from mia.backtest.compare import parts_of
from mia.backtest.run.assumptions import WORDS
from mia.backtest.stats.catalogue import BY_NAME
from mia.backtest.stats.groups import GroupTable
from mia.backtest.stats.registry import UNIT_TEXT, Figure, interval_text, text, value_text
from mia.backtest.stats.summary import Summary
from mia.domain.codes import Code

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ALWAYS: Final = ("fees", "spread", "slippage", "impact", "funding")  # shown although they are 0
_GROUP_FIGURES: Final = (
    "return", "mean_return", "sharpe", "max_drawdown", "time_in_market", "trades", "profit", "hit_rate", "profit_factor", "costs",
)  # fmt: skip
_GROUP_TITLES: Final = {"regime": "By regime", "session": "By session", "hour": "By hour", "weekday": "By weekday"}


def escaped(value: object) -> str:
    """Text of anything, harmless in HTML: names come from files."""
    return html.escape(str(value), quote=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Cells are HTML."""
    first = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return f'<div class="scroll"><table class="{kind}"><tr>{first}</tr>\n{body}</table></div>\n'


# --- money ---------------------------------------------------------------------------------------------------------------


def waterfall(attribution_e8: Mapping[str, int], currency: str) -> str:
    """Bars from gross to net, each beginning where the last one ended. Every part of the run is there, those of 0 in one line."""
    parts = parts_of(attribution_e8)
    gross, net = parts.pop("gross"), parts.pop("net")
    shown = [name for name in parts if parts[name] or name in _ALWAYS]
    steps: list[tuple[str, int, int]] = [("gross", 0, gross)]
    at = gross
    for name in shown:
        steps.append((name, at, at - parts[name]))
        at -= parts[name]
    steps.append(("net", 0, net))
    low, high = min(min(a, b) for _, a, b in steps), max(max(a, b) for _, a, b in steps)
    scale = (high - low) or 1
    rows = "".join(_bar(name, a, b, low, scale) for name, a, b in steps)
    none = [name for name in parts if name not in shown]
    rest = f" {escaped(', '.join(none))}: 0.00." if none else ""
    check = "" if at == net else f" <strong>The parts come to {_money(at)}, not to the net.</strong>"
    return (
        f'<div class="fall">{rows}</div><p class="n">In {escaped(currency)}; each bar begins where the one above it ended. '
        f"Gross: the profit had every fill happened at the mid of its decision.{rest}{check}</p>\n"
    )


def _bar(name: str, start: int, end: int, low: int, scale: int) -> str:
    is_total = name in ("gross", "net")
    left, width = (min(start, end) - low) / scale, abs(end - start) / scale
    kind = "total" if is_total else "cost" if end <= start else "gain"
    sign = "" if is_total else "- " if end < start else "+ " if end > start else ""
    amount = _money(end if is_total else abs(end - start))
    zero = -low / scale
    bad = " bad" if is_total and end < 0 else ""
    bar = f'<i class="{kind}{bad}" style="left:{left:.2%};width:{width:.2%}"></i>' if start != end else ""
    return (
        f'<span>{sign}{escaped(name)}</span><span class="track">'
        f"{bar}"
        f'<i class="zero" style="left:{zero:.2%}"></i></span>'
        f'<span class="amount">{amount}</span>'
    )


def _money(value_e8: int) -> str:
    return f"{value_e8 / 1e8:,.2f}"


# --- months --------------------------------------------------------------------------------------------------------------


def months(summary: Summary) -> str:
    """A row of twelve cells for each year, the deeper the colour the larger the return."""
    if not summary.years:
        return '<p class="n">n/a: no month has a return.</p>\n'
    largest = max((abs(r) for year in summary.years for r in year.months if r is not None), default=0.0) or 1.0
    rows = []
    for year in summary.years:
        cells = "".join(_month(name, r, largest) for name, r in zip(MONTHS, year.months, strict=True))
        rows.append(f'<div class="year"><strong><b>{year.year}</b> <b>{value_text(year.total, "share")}</b></strong>{cells}</div>\n')
    return f'<div class="heat">{"".join(rows)}</div>\n'


def _month(name: str, r: float | None, largest: float) -> str:
    if r is None:
        return f'<span class="none">{name}<br>-</span>'
    depth = 8 + 62 * min(abs(r) / largest, 1.0) if r else 0.0
    colour = "var(--up)" if r > 0.0 else "var(--down)"
    return f'<span style="background:color-mix(in srgb,{colour} {depth:.0f}%,transparent)">{name}<br>{value_text(r, "share")}</span>'


# --- figures -------------------------------------------------------------------------------------------------------------


def figures(summary: Summary) -> str:
    """Every figure by group, trust first, with its interval; its formula is in the title and in the list below."""
    out = []
    for group in dict.fromkeys(f.group for f in summary.figures):
        mine = [f for f in summary.figures if f.group == group]
        rows = [(_named(f), escaped(text(f)), escaped(interval_text(f))) for f in mine]
        name = escaped(group[:1].upper() + group[1:])
        out.append(f"<section><h3>{name}</h3>{table(('figure', 'value', f'{summary.level:.0%} interval'), rows, 'figures')}</section>")
    return f'<div class="columns">{"".join(out)}</div>\n'


def _named(shown: Figure) -> str:
    known = BY_NAME[shown.name]
    return f'<span title="{escaped(f"{known.formula} ({UNIT_TEXT[known.unit]}); {known.source}")}">{escaped(shown.title)}</span>'


def formulas(summary: Summary) -> str:
    """For screens that show no titles."""
    rows = [
        (escaped(f.title), f"<code>{escaped(BY_NAME[f.name].formula)}</code>", UNIT_TEXT[f.unit], escaped(BY_NAME[f.name].source))
        for f in summary.figures
    ]
    body = table(("figure", "formula", "unit", "source"), rows, "words")
    return f"<details><summary>Formula, unit and source of every figure</summary>{body}</details>\n"


def groups(summary: Summary) -> str:
    """By regime, session, hour and weekday."""
    return "".join(_group(found) for found in (summary.by_regime, summary.by_session, summary.by_hour, summary.by_weekday))


def _group(found: GroupTable) -> str:
    title = f"<h3>{_GROUP_TITLES.get(found.name, escaped(found.name))}</h3>"
    if not found.rows:
        return f'{title}<p class="n">n/a: {escaped(found.why or "no rows")}.</p>\n'
    if len(found.rows) == 1 and found.rows[0].label == "unknown":
        return f'{title}<p class="n">n/a: the strategy has no regime model.</p>\n'
    heads = [BY_NAME[name].title for name in _GROUP_FIGURES]
    rows = []
    for row in found.rows:
        by_name = {f.name: f for f in row.figures}
        cells = [_cell(by_name[name]) for name in _GROUP_FIGURES if name in by_name]
        rows.append((escaped(row.label), f"{row.share:.1%}", *cells))
    return title + table((escaped(found.name), "share of time", *map(escaped, heads)), rows, "groups")


def _cell(shown: Figure) -> str:
    if shown.value is None:
        return f'<small title="{escaped(shown.why)}">n/a, {escaped(shown.why)}</small>'
    bad = ' class="loss"' if shown.name in ("return", "mean_return", "profit") and shown.value < 0 else ""
    between = interval_text(shown)
    small = f"<small>{escaped(between)}</small>" if between else ""
    return f"<span{bad}>{escaped(value_text(shown.value, shown.unit))}</span>{small}"


def order(summary: Summary, currency: str) -> str:
    """What the same trades would have done in another order."""
    found = summary.trade_order
    if found is None:
        return f"<p>Trades in random orders: n/a, {escaped(summary.trade_order_why)}.</p>\n"
    return (
        f"<p>The same {found.trades:,} trades in {found.samples:,} random orders: deepest fall {found.fall:,.2f} {escaped(currency)} as it "
        f"was, median {found.fall_median:,.2f}, 95 % of orders below {found.fall_95:,.2f}; {found.share_deeper:.1%} of orders fell at "
        f"least as deep, {found.share_ruined:.1%} lost everything; losses in a row: up to {found.loss_streak_95} in 95 % of them.</p>\n"
    )


def entries(summary: Summary) -> str:
    """Whether the same trades opened at random would have done as well."""
    found = summary.random_entries
    told = f"n/a, {summary.random_entries_why}" if found is None else found.words
    return f"<p>Random entries: {escaped(told)}.</p>\n"


# --- decisions -----------------------------------------------------------------------------------------------------------


def decisions(counters: Mapping[str, Any], came_to: Mapping[str, Mapping[str, int]]) -> str:
    """What was decided, and what was refused or made smaller, and why. came_to: of each code, the decisions that it ended in."""
    total = int(counters.get("decisions", 0))
    if not total:
        return "<p>No decision was made.</p>\n"
    verbs = [(escaped(verb), f"{int(n):,}", f"{int(n) / total:.1%}") for verb, n in sorted(counters["verbs"].items(), key=_most)]
    codes = [(_code(str(code)), f"{int(n):,}", *_meaning(str(code), came_to)) for code, n in sorted(counters["codes"].items(), key=_most)]
    refused = int(counters["verbs"].get("refused", 0))
    rest = {k: v for k, v in counters.items() if k not in ("decisions", "verbs", "codes", "alerts")}
    numbers = "; ".join(f"{escaped(str(k).replace('_', ' '))} {int(v):,}" for k, v in rest.items() if isinstance(v, int))
    alerts = "".join(f" <code>{escaped(code)}</code> {int(n):,}." for code, n in counters.get("alerts", {}).items())
    return (
        f"<p>{total:,} decisions, {refused:,} refused ({refused / total:.1%}). {numbers}.</p>\n"
        + table(("decision", "times", "share"), verbs)
        + (table(("code", "times", "came to", "why"), codes, "words codes") if codes else "<p>Nothing was refused or made smaller.</p>\n")
        + (f"<p>Alerts raised:{alerts}</p>\n" if alerts else "")
    )


def _most(item: tuple[str, int]) -> tuple[int, str]:
    return -int(item[1]), item[0]


def _code(code: str) -> str:
    return (f"{escaped(WORDS[code].short)} " if code in WORDS else "") + f"<code>{escaped(code)}</code>"


def _meaning(code: str, came_to: Mapping[str, Mapping[str, int]]) -> tuple[str, str]:
    known = next((c for c in Code if c.value == code), None)
    why = WORDS[code].full if code in WORDS else known.explanation if known is not None else ""
    verbs = sorted(came_to.get(code, {}).items(), key=_most)
    return escaped(", ".join(f"{verb} {n:,}" for verb, n in verbs)), escaped(why)


def pairs(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names and values as cells."""
    for name, value in values.items():
        yield f"<code>{escaped(name)}</code>", escaped(value)
