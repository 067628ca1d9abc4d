"""`mia backtest reconcile`: a traded period from its journal against the backtest of it, trade by trade, each difference with its class."""

from __future__ import annotations

import sys
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mia.cli.backtest import options as o
from mia.cli.places import JsonOption

if TYPE_CHECKING:
    from mia.backtest.reconcile.calibrate import Calibration
    from mia.backtest.reconcile.explain import Matched, Reconciled
    from mia.backtest.reconcile.session import FillModel, Progress

_SHOWN = 20
_QUIET_S = 2.0  # no progress before
_DRAW_S = 0.2
_LINE_EVERY_S = 10.0  # without a terminal


def reconcile(
    path: Annotated[Path, typer.Argument(metavar="STATE_DIR", help="A state directory, or the journal folder in it.")],
    costs: Annotated[
        Path | None, typer.Option("--costs", metavar="FILE", help="TOML with [costs] and [paper] of the backtest; else the run's own.")
    ] = None,
    from_: o.From = None,
    to: o.To = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="S", min=0.0, max=86_400.0, help="How far apart matched trades may open, in seconds.")
    ] = 5.0,
    all_trades: Annotated[bool, typer.Option("--all", help="Every trade, not only the largest differences.")] = False,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Fit latency and slippage to what live got, and show the error.")] = False,
    record: Annotated[
        bool,
        typer.Option("--record", help="Keep the days in reconciled.json of the state directory: mia status and metrics show the last."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Trade a recorded period again with the backtest's fills, and say where the money differs: latency, queue, fees, refusals, ...

    The market events of the journal go through the same engine with the same settings; only the venue is the backtest's. Works beside
    a running miad: compared up to its journal's end of now.
    """
    from mia.backtest.reconcile.calibrate import TooFewOrders
    from mia.backtest.reconcile.calibrate import calibrate as fit
    from mia.backtest.reconcile.explain import explain, recorded_days
    from mia.backtest.reconcile.session import Span, replay_both
    from mia.cli.output import print_json, print_note
    from mia.store.reconciled import record_reconciled
    from mia.store.state_dir import is_running

    span = Span(o.time_ns("--from", from_), o.time_ns("--to", to))
    if span.from_ns and span.to_ns and span.from_ns >= span.to_ns:
        raise typer.BadParameter(f"--from {from_} is not before --to {to}: the span is empty")
    progress = _reporter()
    compared = replay_both(path, _model(costs) if costs is not None else None, span, progress)
    found = explain(compared, int(tolerance * 1e9))
    if is_running(Path(found.journal).parent):
        found.notes.append("miad is writing this journal: compared up to its end of now")
    if record:
        found.notes.append(f"days recorded in {record_reconciled(Path(found.journal).parent, recorded_days(found))}")
    fitted = None
    if calibrate:
        try:
            fitted = fit(path, compared, progress)
        except TooFewOrders as e:  # what was compared is worth showing without it
            found.notes.append(f"nothing is fitted: {e}")
    if as_json:
        print_json({"reconciled": found, "calibration": fitted} if calibrate else found)
        return
    _print(found, all_trades)
    if fitted is not None:
        _print_fit(fitted, found.currency)
    for note in [*found.notes, *(fitted.notes if fitted else ())]:
        print_note(note)


def _reporter() -> Callable[[Progress], None]:
    """How far it is, on stderr once it has taken some seconds: one line that changes on a terminal, else one now and then."""
    is_terminal = sys.stderr.isatty()
    begun = last = time.monotonic()
    is_shown = False

    def report(p: Progress) -> None:
        nonlocal last, is_shown
        now, is_end = time.monotonic(), p.seq >= p.last_seq
        if is_end and is_shown and is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            is_shown = False
        if is_end or now - begun < _QUIET_S or now - last < (_DRAW_S if is_terminal else _LINE_EVERY_S):
            return
        last, is_shown = now, True
        text = f"mia: event {p.seq:,} of {p.last_seq:,}, {_utc(p.ts_ns)} UTC, {p.remaining_s:.0f} s to go"
        print(f"\r{text}\033[K" if is_terminal else text, end="" if is_terminal else "\n", file=sys.stderr, flush=True)

    return report


def _model(path: Path) -> FillModel:
    import msgspec

    from mia.backtest.reconcile.session import FillModel
    from mia.domain.errors import ConfigError
    from mia.sim.cost_settings import Costs
    from mia.sim.settings import PaperSettings

    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigError(f"--costs {path}: {getattr(e, 'strerror', None) or e}") from None
    if unknown := sorted(set(tree) - {"costs", "paper"}):
        raise ConfigError(f"--costs {path}: unknown table [{unknown[0]}]: [costs] and [paper] are read")
    try:
        costs = msgspec.convert(tree["costs"], Costs) if "costs" in tree else None
        paper = msgspec.convert(tree["paper"], PaperSettings) if "paper" in tree else None
    except msgspec.ValidationError as e:
        raise ConfigError(f"--costs {path}: {e}") from None
    return FillModel(costs=costs, paper=paper)


def _print(r: Reconciled, all_trades: bool) -> None:
    from mia.backtest.reconcile.explain import WORDS
    from mia.backtest.stats.registry import counted
    from mia.cli.output import amount, print_pairs, print_table

    span = f"{_utc(r.begin_ns)} to {_utc(r.end_ns)} UTC, {r.venue}"
    print_pairs(
        [
            ("period", span),
            ("live", f"{_signed(r.live_e8)} {r.currency}, {counted(r.live_trades, 'trade')}"),
            ("backtest", f"{_signed(r.backtest_e8)} {r.currency}, {counted(r.backtest_trades, 'trade')}, {r.matched} of them matched"),
            ("difference", f"{_signed(r.difference_e8)} {r.currency}, live less backtest"),
        ]
    )
    print()
    rows = [(name, _exact(value), WORDS[name]) for name, value in r.classes_e8.items()]
    print_table(("class", "amount", "what it is"), [*rows, ("= sum", _exact(r.difference_e8), "")], right=("amount",))
    print()
    days = [(d.day, d.trades, amount(d.live_e8), amount(d.backtest_e8), _signed(d.difference_e8)) for d in r.days]
    print_table(("day", "trades", "live", "backtest", "difference"), days, right=("trades", "live", "backtest", "difference"))
    shown = r.trades if all_trades else sorted((t for t in r.trades if t.classes_e8), key=lambda t: -abs(t.difference_e8))[:_SHOWN]
    if shown:
        print()
        head = ("opened", "instrument", "side", "live", "backtest", "difference", "because of")
        print_table(head, [_row(trade) for trade in shown], right=("live", "backtest", "difference"))


def _row(t: Matched) -> tuple[str, ...]:
    why = ", ".join(f"{name} {_signed(value)}" for name, value in sorted(t.classes_e8.items(), key=lambda item: -abs(item[1])))
    live = _signed(t.live_e8) if t.live_opened_ns else "none"
    back = _signed(t.backtest_e8) if t.backtest_opened_ns else "none"
    side = "long" if t.side > 0 else "short"
    code = f" ({t.code})" if t.code else ""
    return (_utc(t.live_opened_ns or t.backtest_opened_ns), t.instrument, side, live, back, _signed(t.difference_e8), why + code)


def _print_fit(c: Calibration, currency: str) -> None:
    from mia.cli.output import print_table

    print()
    head = ("parameter", "unit", "fitted", "5 %", "median", "95 %", "error (rms)", "of")
    rows = [
        (p.name, p.unit, f"{p.value:.3f}", f"{p.q05:.3f}", f"{p.q50:.3f}", f"{p.q95:.3f}", f"{p.error:.3f}", p.fills) for p in c.parameters
    ]
    print_table(head, rows, right=head[2:])
    print()
    before, after = (f"{x:.3f} ticks" if x is not None else "n/a" for x in (c.price_error_before, c.price_error_after))
    print(f"price error (rms) over orders that both filled: {before} of {c.orders_before} before, {after} of {c.orders_after} after")
    print(f"difference of profit: {_signed(c.difference_before_e8)} before, {_signed(c.difference_after_e8)} {currency} after\n")
    print(c.snippet, end="")


def _signed(value_e8: int) -> str:
    return f"{value_e8 / 1e8:+,.2f}"


def _exact(value_e8: int) -> str:
    whole, part = divmod(abs(value_e8), 100_000_000)
    return f"{'-' if value_e8 < 0 else '+'}{whole:,}.{part:08d}"


def _utc(ns: int) -> str:
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
