"""A daemon's `Status` in the words and order in which a trader asks: what does it do and why, what have I got, is it healthy.

Pure: from a Status to lines. The most important come first, so that a small window may cut the end. Words carry the meaning;
styles only support them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from mia.cli.output import age, size
from mia.control.messages import InstrumentStatus, LaneStatus, Latency, LinkStatus, Status
from mia.domain.codes import Code

MEANINGS: Final[Mapping[str, str]] = {
    "STARTING": "recovers and warms up; no orders yet",
    "READY": "trades",
    "DEGRADED": "trades with less",
    "NO_NEW": "opens nothing; exits go on",
    "SAFE": "exits only, after repeated crashes; clear with `mia resume --reset`",
    "HALTED": "no orders but protective ones; clear with `mia resume --reset`",
    "KILLED": "no trading until `mia resume --reset`",
    "STOPPING": "shuts down in order",
}
STATE_STYLES: Final[Mapping[str, str]] = {
    "READY": "bold green", "STARTING": "bold cyan", "STOPPING": "bold cyan", "DEGRADED": "bold yellow", "NO_NEW": "bold yellow",
    "SAFE": "bold red", "HALTED": "bold red", "KILLED": "bold red",
}  # fmt: skip
_QUOTE_OLD_MS: Final = 2000.0  # from here on an age is pointed out; what trading makes of it is [risk] quote_age_ms_max
_NAMES_MAX: Final = 3  # of columns that share a reason
_REGIMES: Final = ("range", "trend", "defensive")


class Line(NamedTuple):
    """A label, its value, and the style of the value ("" for none)."""

    label: str
    text: str
    style: str = ""


def panel(s: Status, *, reason_chars_max: int = 2000) -> list[Line]:
    """Everything a person wants to see of a live daemon. reason_chars_max: of each reason, for a view that has few rows."""
    lines = [state_line(s)]
    lines += [Line("because", cut(reason, reason_chars_max), "yellow") for reason in s.reasons]
    lines.append(money_line(s))
    lines += _compared(s)
    lines += _positions(s.instruments, s.currency)
    lines += [_lane(lane, len(s.lanes) > 1) for lane in s.lanes]
    lines += [line for lane in s.lanes for line in (*_masked(lane), *_drift(lane))]
    lines += [_market(i) for i in s.instruments if i.bid or i.ask or i.quote_age_ms is not None]
    lines.append(Line("links", ", ".join(map(_link, s.links)) or "none", _links_style(s.links)))
    lines.append(_alerts(s))
    lines.append(Line("so far", _counts(s)))
    lines.append(Line("held back", _listed(s.refused) or "nothing"))
    lines.append(Line("latency", _latencies(s)))
    lines.append(Line("process", _process(s)))
    lines.append(Line("daemon", _identity(s)))
    lines.append(Line("directory", s.state_dir))
    return [line._replace(text=printable(line.text)) for line in lines]


def printable(text: str) -> str:
    """Without line breaks and escape sequences: parts of it came from outside (a venue's words, a broker's)."""
    return "".join(c if c.isprintable() else " " for c in text)


def state_line(s: Status) -> Line:
    """`READY: trades`."""
    meaning = MEANINGS.get(s.state, "")
    return Line("state", f"{s.state}: {meaning}" if meaning else s.state, STATE_STYLES.get(s.state, ""))


def money_line(s: Status) -> Line:
    """Equity, what the day and the account made, drawdown."""
    if not s.equity:
        return Line("equity", "not known yet")
    text = f"{_grouped(s.equity)} {s.currency}".rstrip()
    if s.day_profit:
        text += f", {_signed(s.day_profit)} today"
    text += f", drawdown {s.drawdown:.2%}"
    style = {"-": "red", "+": "green"}.get(_signed(s.day_profit)[:1], "") if s.day_profit and float(s.day_profit) else ""
    return Line("equity", text, style)


def _compared(s: Status) -> list[Line]:
    """What the last day that was compared with its backtest came to."""
    if not s.reconciled_day:
        return []
    trades = f"{s.reconciled_trades} trade{'' if s.reconciled_trades == 1 else 's'}"
    return [Line("reconciled", f"{_signed(s.reconciled_difference)} {s.currency}, live less backtest on {s.reconciled_day}, {trades}")]


def compact(s: Status) -> str:
    """One line for a log or a pipe."""
    parts = [f"{s.ts[11:19]} {s.state}" + (f" ({'; '.join(s.reasons)})" if s.reasons else ""), money_line(s).text]
    held = [line.text for line in _positions(s.instruments, s.currency)]
    parts += [f"position {text}" for text in held]
    decided = next((lane for lane in s.lanes if lane.last_decision), None)
    if decided is not None:
        code = f" ({decided.code})" if decided.code not in ("", "ok") else ""
        parts.append(f"last {decided.last_decision}{code}")
    down = [link.name for link in s.links if link.state != "up"]
    if down:
        parts.append(f"not up: {', '.join(down)}")
    parts.append(f"{s.decisions} decisions, {s.fills} fills, {s.trades} trades")
    return printable(" | ".join(parts))


def last_known(s: Status) -> list[Line]:
    """What is worth knowing of a daemon that does not answer any more; every label says that it is of the past."""
    lines = [Line("it was", s.state + (f" ({'; '.join(s.reasons)})" if s.reasons else "")), money_line(s)]
    lines += _positions(s.instruments, s.currency)
    return [Line(f"last {line.label}" if line.label != "it was" else line.label, printable(line.text), "dim") for line in lines]


def _positions(instruments: Sequence[InstrumentStatus], currency: str) -> list[Line]:
    held = [_position(i, currency) for i in instruments if i.position.strip("+-0.") or i.open_orders]
    return held or [Line("position", "flat")]


def _position(i: InstrumentStatus, currency: str) -> Line:
    symbol = _symbol(i.name)
    orders = f"{i.open_orders} open order{'s' * (i.open_orders != 1)}" if i.open_orders else ""
    if not i.position.strip("+-0."):
        return Line("position", f"flat in {symbol}, {orders}")
    sign = "" if i.position.startswith(("+", "-")) else "+"
    parts = [f"{sign}{i.position} {symbol}" + (f" at {i.entry}" if i.entry else "")]
    parts.append(f"unrealised {_signed(i.unrealized)} {currency}".rstrip())
    parts.append(f"stop {i.stop}" if i.stop else "no stop")
    parts += [f"take {i.take}"] if i.take else []
    parts += [orders] if orders else []
    return Line("position", ", ".join(parts), "" if i.stop else "yellow")


def _lane(lane: LaneStatus, is_named: bool) -> Line:
    where = f"{_symbol(lane.instrument)} by {lane.strategy}: " if is_named else ""
    if not lane.last_decision:
        why = next((group.why for group in lane.masked if lane.cold_column in group.columns), "warms up")
        why = why if why.startswith("warms up") else f"has no value: {why}"
        waits = f"none yet, {lane.cold_column} {why}" if lane.cold_column else "none yet"
        return Line("decided", where + waits)
    text = f"{where}{lane.last_decision}{_when(lane.decided_age_s)}{because(lane.code)}"
    text += f"; signal {lane.signal:+.2f}" if lane.signal is not None else ""
    text += f", alpha {lane.alpha:.2f}" if lane.alpha is not None else ""
    if lane.regime_probs is not None:
        name, prob = max(zip(_REGIMES, lane.regime_probs, strict=True), key=lambda pair: pair[1])
        text += f", {name} {prob:.0%}"
    return Line("decided", text)


def _masked(lane: LaneStatus) -> list[Line]:
    """Columns that have no value now, the reason first that hides most; nothing when all have one."""
    lost = sum(len(group.columns) for group in lane.masked)
    if not lost:
        return []
    shown = []
    for group in sorted(lane.masked, key=lambda g: -len(g.columns)):
        names = ", ".join(group.columns[:_NAMES_MAX]) + (
            f" and {len(group.columns) - _NAMES_MAX} more" if len(group.columns) > _NAMES_MAX else ""
        )
        shown.append(f"{names} ({group.why}{'; decisions wait' if group.is_waited_for else ''})")
    return [Line("masked", f"{lost} of {lane.columns} columns: {'; '.join(shown)}", "yellow")]


def _drift(lane: LaneStatus) -> list[Line]:
    """How far what the model sees lies from its training; nothing while that is not known."""
    if lane.drift is None:
        return []
    word = "as in training" if lane.drift < 0.1 else "a moderate shift" if lane.drift <= 0.25 else "a major shift: fit the model again"
    return [Line("drift", f"PSI {lane.drift:.2f}, {word} (largest: {lane.drift_column})", "yellow" if lane.drift > 0.25 else "")]


def _when(age_s: float | None) -> str:
    if age_s is None:
        return ""
    return " just now" if age_s < 1.0 else f" {age(age_s)} ago"


def because(code: str) -> str:
    """` (the change is smaller than the dead-band; dead_band)`, or nothing when nothing stood in the way."""
    if code in ("", "ok"):
        return ""
    explanation = explain(code)
    return f" ({explanation[:1].lower()}{explanation[1:].rstrip('.')}: {code})" if explanation else f" ({code})"


def explain(code: str) -> str:
    """The meaning of a refusal code; "" for one this version does not know."""
    return next((known.explanation for known in Code if known == code), "")


def _market(i: InstrumentStatus) -> Line:
    prices = f"{i.bid or 'no bid'} / {i.ask or 'no ask'}"
    if i.quote_age_ms is None:
        return Line("market", f"{_symbol(i.name)} {prices}, no quote yet", "yellow")
    is_old = not (i.quote_age_ms <= _QUOTE_OLD_MS)
    ago = f"{i.quote_age_ms:.0f} ms old" if i.quote_age_ms < 1000 else f"{age(i.quote_age_ms / 1000)} old"
    return Line("market", f"{_symbol(i.name)} {prices}, {ago}" + (" (stale)" if is_old else ""), "yellow" if is_old else "")


def _link(link: LinkStatus) -> str:
    return f"{link.name} {link.state} {age(link.since_s)}" + (f" ({link.detail})" if link.detail else "")


def _links_style(links: Sequence[LinkStatus]) -> str:
    return "" if all(link.state == "up" for link in links) else "yellow"


def _alerts(s: Status) -> Line:
    if not s.alerts:
        return Line("alerts", "none")
    text = _listed(s.alerts) + (f"; last: {s.last_alert}" if s.last_alert else "")
    return Line("alerts", text, "red" if {"error", "urgent"} & s.alerts.keys() else "yellow" if "warning" in s.alerts else "")


def _counts(s: Status) -> str:
    return f"{s.decisions} decisions, {s.orders} orders, {s.fills} fills, {s.trades} trades closed"


def _latencies(s: Status) -> str:
    return f"{_latency('frame to order', s.decision_latency)}; {_latency('loop delay', s.loop_delay)}"


def _latency(name: str, d: Latency) -> str:
    return f"{name} p50 {_ms(d.p50_ms)}, p99 {_ms(d.p99_ms)}" if d.n else f"{name} not measured yet"


def _ms(ms: float) -> str:
    return f"{ms * 1000:.0f} us" if ms < 1 else f"{ms:.1f} ms"


def _process(s: Status) -> str:
    parts = [f"{s.rss_mb:.0f} MB", f"{s.cpu_percent:.0f} % cpu", f"journal {size(s.journal_bytes)}", f"WAL {size(s.wal_bytes)}"]
    waiting, lost = {k: n for k, n in s.queues.items() if n}, {k: n for k, n in s.dropped.items() if n}
    parts += [f"waiting: {_listed(waiting)}"] if waiting else []
    parts += [f"dropped: {_listed(lost)}"] if lost else []
    return ", ".join(parts)


def _identity(s: Status) -> str:
    return f"{s.instance} {s.version}, {s.mode} on {s.venue}, run {s.run}, pid {s.pid}, up {age(s.uptime_s)}"


def _symbol(name: str) -> str:
    return name.partition(":")[2] or name


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _grouped(number: str) -> str:
    sign = number[:1] if number[:1] in ("+", "-") else ""
    whole, dot, rest = number.removeprefix(sign).partition(".")
    return f"{sign}{int(whole):,}{dot}{rest}" if whole.isdigit() else number


def cut(text: str, chars_max: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def _signed(number: str) -> str:
    grouped = _grouped(number)
    return grouped if grouped.startswith(("-", "+")) else f"+{grouped}"


def plain(lines: Iterable[Line]) -> list[tuple[str, str]]:
    """For `print_pairs`."""
    return [(line.label, line.text) for line in lines]
