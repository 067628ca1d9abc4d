"""What a run assumed, in words: its fills and every part of its costs that takes something, one line each."""

from __future__ import annotations

from typing import Final, NamedTuple

from mia.backtest.run.spec import RunSpec
from mia.domain.codes import Code


class Words(NamedTuple):
    """short: in place of a code in a table; full: why it was given, in a sentence."""

    short: str
    full: str


# Codes that mean one certain thing in a run over history, where live they have several reasons.
WORDS: Final = {
    str(Code.TRADING_DISABLED): Words(
        "warm-up before the span", "The bar lies before the span (--from): it only teaches the features, and nothing is opened on it."
    )
}


def assumptions(spec: RunSpec) -> list[str]:
    """One line for each rule and each active part; the last one names what was not charged."""
    on_bars = all(facts.kind in ("bars", "signals") for facts in spec.data)  # signals are no market
    return [*(_fills(spec) if on_bars else ["fills: against the recorded book and quotes, after the latency"]), *_costs(spec, on_bars)]


def _fills(spec: RunSpec) -> list[str]:
    when = "at the next bar's open" if spec.fill_at == "next_open" else "at the close that they are decided on"
    lines = [f"fills: market orders {when}; stop and take in one bar: the worse one; gaps fill at the gap; limits when traded through"]
    if spec.size_at == "fill":
        lines.append("size: the share of the account that was decided, in lots of the fill's price")
    if spec.settings.execution.keeps_size:
        lines.append("size: a position is kept as it was opened until its side changes")
    if not spec.protects:
        lines.append("protection: NONE: positions have neither stop nor take, which live never does")
    if not spec.uses_windows:
        lines.append("windows: NONE: traded at all hours and through all events, which live never does")
    if spec.closes_at_end:
        lines.append("end: what is open after the last bar but one is closed at the last bar's open")
    return lines


def _costs(spec: RunSpec, on_bars: bool) -> list[str]:
    costs = spec.costs
    parts: dict[str, tuple[str, bool]] = {
        "fees": (costs.fees.words(), costs.fees.kind != "off"),
        "spread": (costs.spread.words(), costs.spread.kind != "off"),
        "latency": (costs.latency.words(), costs.latency.kind != "off"),
        "queue": (costs.queue.words(), True),
        "participation": (costs.participation.words(), costs.participation.share_max > 0),
        "impact": (costs.impact.words(), costs.impact.kind != "off"),
        "funding": (costs.funding.words(), costs.funding.kind != "off"),
        "borrow": (costs.borrow.words(), costs.borrow.kind != "off"),
        "commission": (costs.commission.words(), costs.commission.per_contract > 0),
        "margin": (costs.margin.words(), costs.margin.initial > 0 or costs.margin.maintenance > 0),
        "roll": (costs.roll.words(), costs.roll.kind != "off"),
    }
    parts.pop("queue" if on_bars else "spread")
    if not on_bars:  # the paper venue has a latency of its own, and walks the book
        paper = spec.settings.paper
        own = f"latency: {paper.submit_latency_ms} ms to the venue, {paper.report_latency_ms} ms back ([paper])"
        parts |= {"latency": (parts["latency"][0] if parts["latency"][1] else own, True), "impact": (parts["impact"][0], True)}
    lines = [words for words, is_active in parts.values() if is_active]
    idle = [name if name != "margin" else "liquidation" for name, (_, is_active) in parts.items() if not is_active]
    return [*lines, f"not charged: {', '.join(idle)}"] if idle else lines
