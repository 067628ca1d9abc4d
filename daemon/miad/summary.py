"""What a run did, for people and for --json: counts, refusals by code, money after fees, open positions, latency."""

from __future__ import annotations

from typing import Any

from mia.engine.engine import Engine
from miad.core import Core


def summarise(core: Core, venue: str, dropped: dict[str, int], recovered_events: int, word: str) -> dict[str, Any]:
    """dropped: what came and was not used. word: state in which the run ended.

    Figures of the account are since its first event; latency and what was dropped, of this process only.
    """
    engine, state = core.engine, core.engine.state
    counters = state.counters
    portfolio = state.portfolio
    equity = portfolio.equity_e8(state.marks2)
    fees = sum(p.fees_e8 for p in portfolio.positions.values())  # ints
    latency = core.latencies.percentiles_us(50, 99)
    # Of what was traded, not of [paper] cash: that may have been changed since the account began.
    pnl = sum(p.realized_e8 - p.fees_e8 + p.flows_e8 for p in portfolio.positions.values()) + portfolio.unrealized_e8(state.marks2)
    return {
        "venue": venue,
        "events": core.seq,
        "market_events": counters.market_events,
        "recovered_events": recovered_events,
        "span_s": round((state.now_ns - counters.first_ns) / 1e9, 3) if counters.first_ns else 0.0,
        "decisions": counters.decisions,
        "verbs": dict(sorted(counters.verbs.items())),
        "codes": {str(code): n for code, n in sorted(counters.codes.items(), key=lambda item: (-item[1], item[0]))},
        "orders": counters.orders,
        "fills": counters.fills,
        "trades": counters.trades,
        "gaps": counters.gaps,
        "currency": portfolio.currency,
        "cash_start": (equity - pnl) / 1e8,
        "equity": equity / 1e8,
        "pnl_after_fees": pnl / 1e8,
        "fees": fees / 1e8,
        "drawdown": state.risk.drawdown,
        "positions": positions(engine),
        "frames_dropped": dropped,
        "decision_latency_us": {"p50": latency[0], "p99": latency[1], "n": core.latencies.count} if latency else None,
        "state": word,
    }


def positions(engine: Engine) -> list[dict[str, Any]]:
    """Open positions at the last mid."""
    found = []
    for market in engine.markets:
        position = market.position
        if position.lots:
            mid2 = engine.state.marks2[market.index] or 2 * position.last_fill_ticks
            definition = market.definition
            found.append(
                {
                    "instrument": market.symbol,
                    "quantity": str(definition.quantity(position.lots)),
                    "entry": float(definition.tick_size) * position.average_entry_ticks,
                    "mid": float(definition.tick_size) * mid2 / 2,
                    "unrealized": position.unrealized_e8(mid2) / 1e8,
                }
            )
    return found


def text(s: dict[str, Any]) -> str:
    """The summary as lines for a terminal."""
    money = s["currency"]
    lines = [
        f"venue      {s['venue']}, {s['span_s']:.1f} s of market time, state {s['state']}",
        f"events     {s['events']} ({s['market_events']} of the market"
        + (f", {s['recovered_events']} recovered from the journal" if s["recovered_events"] else "")
        + ")",
        f"decisions  {s['decisions']}: " + (", ".join(f"{n} {verb}" for verb, n in s["verbs"].items()) or "none"),
        f"orders     {s['orders']}, fills {s['fills']}, closed trades {s['trades']}",
        "codes      " + (", ".join(f"{code} {n}" for code, n in s["codes"].items()) or "none"),
        f"P&L        {s['pnl_after_fees']:+.2f} {money} after {s['fees']:.2f} of fees; "
        f"equity {s['equity']:.2f} from {s['cash_start']:.2f}, drawdown {s['drawdown']:.2%}",
    ]
    for p in s["positions"]:
        lines.append(
            f"open       {p['quantity']} {p['instrument']} from {p['entry']:.2f}, last mid {p['mid']:.2f}, "
            f"unrealised {p['unrealized']:+.2f} {money}"
        )
    if s["frames_dropped"]:
        lines.append("set aside  " + ", ".join(f"{name} {n}" for name, n in s["frames_dropped"].items()))
    latency = s["decision_latency_us"]
    if latency:
        lines.append(
            f"latency    frame in to orders out: p50 {latency['p50']:.0f} us, p99 {latency['p99']:.0f} us "
            f"over {latency['n']} decisions of this process"
        )
    else:
        lines.append("latency    not measured: no decision in this process came with a market frame")
    return "\n".join(lines)
