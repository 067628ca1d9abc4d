"""`mia backtest run`: history through the engine that trades live, every cost itemised, into a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mia.cli.backtest import options as o
from mia.cli.places import ConfigOption, JsonOption

if TYPE_CHECKING:
    from mia.backtest.run.result import Result


def run(
    strategy: o.Strategy = None,
    policy: o.Policy = None,
    param: o.Param = None,
    data: o.Data = None,
    instrument: o.InstrumentOption = None,
    timeframe: o.Timeframes = None,
    from_: o.From = None,
    to: o.To = None,
    days: o.Days = None,
    warm_up: o.WarmUp = 500,
    cash: o.Cash = None,
    tick: o.Tick = None,
    lot: o.Lot = None,
    fee: o.Fee = None,
    kind: o.KindOption = o.Kind.perpetual,
    tz: o.Tz = None,
    on_duplicate: o.OnDuplicateOption = o.OnDuplicate.error,
    fill: o.FillOption = None,
    half_spread_ticks: o.HalfSpread = None,
    costs: o.CostsFile = None,
    cost: o.Cost = None,
    preset: o.Preset = None,
    duration: o.Duration = 3600.0,
    seed: o.Seed = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Of the run; else a folder by its id among the runs.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trade history as live would have: the same engine, features, risk rules and windows; what it cost, and what was refused why.

    Writes run.json, equity, orders, fills, decisions and trades.csv. The same run writes the same bytes.
    """
    from mia.backtest.run.artifacts import write
    from mia.backtest.run.prepare import execute, prepare
    from mia.cli.output import print_json
    from mia.store.state_dir import data_home

    name, params = o.strategy_of(strategy, policy, param)
    frames: list[str | None] = list(timeframe) if timeframe else [None]
    if out is not None and len(frames) > 1:
        raise typer.BadParameter("--out names one place, --timeframe asks for several runs: leave one of them out")
    results = []
    for frame in frames:
        request = o.request_of(
            config=config, strategy=name, params=params, data=data, instrument=instrument, timeframe=frame, from_=from_, to=to,
            days=days, warm_up=warm_up, cash=cash, tick=tick, lot=lot, fee=fee, kind=kind, tz=tz, on_duplicate=on_duplicate, fill=fill,
            half_spread_ticks=half_spread_ticks, costs=costs, cost=cost, preset=preset, duration=duration, seed=seed,
        )  # fmt: skip
        result = execute(prepare(request))
        folder = out or data_home() / "runs" / result.id
        write(result, folder)
        results.append((folder, result))
    if as_json:
        print_json([{"folder": str(folder), **result.facts()} for folder, result in results])
        return
    for k, (folder, result) in enumerate(results):
        if k:
            print()
        _print(folder, result)


def _print(folder: Path, result: Result) -> None:
    from mia.backtest.run.assumptions import assumptions
    from mia.cli.output import amount, print_note, print_pairs

    p = result.parts
    pairs: list[tuple[str, str]] = [
        ("run", str(folder)),
        ("equity", f"{amount(result.gathered.marks.equity_e8[0])} -> {amount(result.gathered.marks.equity_e8[-1])} {result.spec.currency}"),
        ("gross", amount(p.gross_e8)),
    ]
    pairs += [(f"- {name}", amount(value)) for name, value in _costs(result)]
    pairs += [("= net", amount(p.net_e8)), ("trades", str(len(result.trips))), *_decisions(result.gathered.counters)]
    print_pairs(pairs)
    print("\nassumptions")
    for line in assumptions(result.spec):
        print(f"  {line}")
    for note in result.notes:
        print_note(note)


def _costs(result: Result) -> list[tuple[str, int]]:
    p = result.parts
    always = [("fees", p.fees_e8), ("spread", p.spread_e8), ("slippage", p.slippage_e8), ("impact", p.impact_e8)]
    rare = [("funding", p.funding_e8), ("borrow", p.borrow_e8), ("commission", p.commission_e8), ("roll", p.roll_e8)]
    return always + [(name, value) for name, value in [*rare, ("liquidation", p.liquidation_e8), ("other", p.other_e8)] if value]


def _decisions(counters: dict[str, Any]) -> list[tuple[str, str]]:
    verbs = ", ".join(f"{n} {verb}" for verb, n in counters["verbs"].items())
    codes = ", ".join(f"{code} {n}" for code, n in sorted(counters["codes"].items(), key=lambda item: -item[1]))
    return [("decisions", f"{counters['decisions']}: {verbs}"), ("kept back by", codes or "nothing")]
