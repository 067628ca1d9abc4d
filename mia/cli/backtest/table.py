"""The table of a run on the terminal: how far to trust it, what it came to, where the money went, what was refused and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mia.backtest.run.counting import Counted
    from mia.backtest.run.result import Result
    from mia.backtest.stats.conventions import BacktestingPy
    from mia.backtest.stats.registry import Figure
    from mia.backtest.stats.summary import Summary


def print_run(folder: Path, counted: Counted, summary: Summary, preset: str | None = None) -> None:
    """All of it; notes on stderr. preset: of a library, whose own figures are told beside ours."""
    from mia.backtest.run.assumptions import assumptions
    from mia.backtest.stats.summary import headline
    from mia.cli.output import print_note, print_pairs, print_table

    result = counted.result
    print_pairs([*_about(folder, result, summary), ("tried", _tried(counted))])
    print()
    print_table(("figure", "value", f"{summary.level:.0%} interval"), [_row(figure) for figure in headline(summary)], right=("value",))
    print()
    if (theirs := conventions_of(result, preset)) is not None:
        print(f"by the definitions of {preset}")
        print_pairs([(f"  {name}", value) for name, value in _theirs(theirs)])
        print()
    print_pairs([*_money(result), *_decisions(result.gathered.counters)])
    print("\nassumptions")
    for line in assumptions(result.spec):
        print(f"  {line}")
    for note in [*result.notes, *summary.notes]:
        print_note(note)


def conventions_of(result: Result, preset: str | None) -> BacktestingPy | str | None:
    """The figures as the library of the preset defines them, or why there are none; None without such a library."""
    from mia.backtest.stats.conventions import backtesting_py
    from mia.domain.errors import DataError

    if preset != "backtesting.py":
        return None
    marks = result.gathered.marks
    try:
        return backtesting_py(marks.ts_ns[1:], marks.equity_e8[1:] / 1e8)
    except DataError as e:
        return str(e)


def _theirs(found: BacktestingPy | str) -> list[tuple[str, str]]:
    if isinstance(found, str):
        return [("all", f"n/a, {found}")]
    return [
        ("Equity Final", f"{found.final_equity:,.2f}"),
        ("Return (Ann.)", f"{found.annual_return:.3%}"),
        ("Volatility (Ann.)", f"{found.annual_volatility:.3%}"),
        ("Sharpe Ratio", f"{found.sharpe:.4f}"),
        ("Max. Drawdown", f"{found.max_drawdown:.3%}"),
    ]


def _about(folder: Path, result: Result, summary: Summary) -> list[tuple[str, str]]:
    from mia.backtest.stats.registry import counted as number_of
    from mia.backtest.stats.registry import utc
    from mia.cli.output import amount

    spec, equity = result.spec, result.gathered.marks.equity_e8
    names = ", ".join(dict.fromkeys(name for name, _ in result.strategies))
    data = [f"{d.instrument} {d.bars or d.kind} ({', '.join(d.files)})" for d in spec.data]
    return [
        ("run", str(folder)),
        ("strategy", names),
        ("history", "; ".join(data)),
        ("span", f"{utc(summary.first_ns)} to {utc(summary.last_ns)}, {number_of(summary.periods, summary.period)}"),
        ("equity", f"{amount(equity[0])} -> {amount(equity[-1])} {spec.currency}"),
    ]


def _tried(counted: Counted) -> str:
    """How many looks at this data the numbers are the outcome of."""
    trials, evaluations = counted.tried.trials, counted.tried.evaluations
    more = f", {evaluations} evaluations" if evaluations != trials else ""
    return f"{trials} configuration{'' if trials == 1 else 's'} of {counted.trial.family} on this data{more}"


def _row(figure: Figure) -> tuple[str, str, str]:
    from mia.backtest.stats.registry import interval_text, text

    return figure.title, text(figure), interval_text(figure)


def _money(result: Result) -> list[tuple[str, str]]:
    from mia.cli.output import amount

    p = result.parts
    costs = [("fees", p.fees_e8), ("spread", p.spread_e8), ("slippage", p.slippage_e8), ("impact", p.impact_e8)]
    rare = [("funding", p.funding_e8), ("borrow", p.borrow_e8), ("commission", p.commission_e8), ("roll", p.roll_e8)]
    costs += [(name, value) for name, value in [*rare, ("liquidation", p.liquidation_e8), ("other", p.other_e8)] if value]
    lines = [("gross", amount(p.gross_e8)), *((f"- {name}", amount(value)) for name, value in costs), ("= net", amount(p.net_e8))]
    return [*lines, *_open(result)]


def _open(result: Result) -> list[tuple[str, str]]:
    """What is still held at the end: in equity and in the money above, in no figure of trades."""
    from mia.cli.output import amount

    lots = result.gathered.marks.lots[-1]
    held = [f"{i.quantity(int(n)):+f} {i.venue}:{i.symbol}" for i, n in zip(result.spec.instruments, lots, strict=True) if n]
    theirs_e8 = result.parts.net_e8 - sum(trip.profit_e8 for trip in result.trips)
    if not held:
        return []
    return [("still open", f"{', '.join(held)}: {amount(theirs_e8)} of the net, after costs; the figures of trades leave it out")]


def _decisions(counters: dict[str, Any]) -> list[tuple[str, str]]:
    from mia.backtest.run.assumptions import WORDS

    verbs = ", ".join(f"{n} {verb}" for verb, n in counters["verbs"].items())
    named = ((WORDS[code].short if code in WORDS else code, n) for code, n in counters["codes"].items())
    codes = ", ".join(f"{code} {n}" for code, n in sorted(named, key=lambda item: -item[1]))
    return [("decisions", f"{counters['decisions']}: {verbs}"), ("kept back by", codes or "nothing")]
