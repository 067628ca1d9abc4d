"""The parts of `mia bench backtest`, each run in a process of its own: python -m mia.backtest.speed PART [--scale S].

How fast is history run (bars, compiled and event by event; a grid; the simulated market) and are figures computed? All data is made.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from mia.assemble import load_strategy
from mia.backtest.grid.bench import bench_events, bench_grid, bench_run, market_of, two_markets, unlimited, with_costs
from mia.backtest.run.prepare import Prepared, Request, execute, prepare
from mia.backtest.run.spec import RunSpec, build
from mia.engine.engine import Engine
from mia.engine.settings import LaneSettings
from mia.policy.bundle import Bundle
from mia.settings import load_settings
from mia.shipped import config_file

SHIPPED: Final = "demo"
_PATHS: Final = 64  # decided at once, as parallel paths are


def bars(scale: float) -> dict[str, Any]:
    """One run with orders, fills and result by the compiled path and by the event engine, and a grid; bars a second of one core."""
    event_bars = max(2_000, int(20_000 * scale))
    one = market_of(event_bars)
    events = {"": one, "costs_": with_costs(one), "two_markets_": two_markets(event_bars // 2)}
    run = bench_run(max(2_000, int(300_000 * scale)))
    grid = bench_grid(max(2_000, int(100_000 * scale)), max(6, int(300 * scale)))
    return {
        "bars_per_s": round(run["bars_per_s"]),
        "bars_per_core_s": round(run["bars_per_core_s"]),
        "bar_trades": run["trades"],
        **_of_events(events),
        "grid_bar_configurations_per_core_s": round(grid["bar_configurations_per_core_s"]),
        "grid_configurations": grid["configurations"],
    }


def _of_events(runs: dict[str, Prepared]) -> dict[str, int]:
    found = {}
    for name, prepared in runs.items():
        run = bench_events(prepared)
        for key in ("bars_per_s", "bars_per_core_s", "trades"):
            found[f"event_engine_{name}{key}"] = round(run[key])
    return found


def ticks(scale: float) -> dict[str, Any]:
    """Events a second of the simulated market: an empty strategy, a rule and the shipped bundle at each quote, and rows of the bundle."""
    seconds = max(20.0, 2_400.0 * scale)
    bundle = _simulated(SHIPPED, seconds / 4)
    policy = _bundle(bundle.spec)
    return {
        "empty": _events(_simulated("rule:flat", seconds), build),
        "rule_each_quote": _events(_simulated("rule:ema_cross", seconds), _each_quote),
        "bundle": _events(bundle, build),
        "bundle_each_quote": _events(bundle, _each_quote),
        **_rows(policy, max(2_000, int(100_000 * scale))),
    }


def statistics(scale: float) -> dict[str, Any]:
    """All figures, tables by group included, of a run of a million bars with 10,000 samples."""
    from mia.assemble import calendar_files
    from mia.backtest.run.figures import summary_of
    from mia.backtest.stats.inputs import Trials
    from mia.risk.windows import load_windows

    n = max(5_000, int(1_000_000 * scale))
    samples = max(100, int(10_000 * scale))
    result = execute(market_of(n, minutes=1))
    windows = load_windows(*calendar_files())
    begin = time.perf_counter()
    summary = summary_of(result, windows, trials=Trials(10, 0.5), samples=samples)
    wall_s = time.perf_counter() - begin
    return {"bars": n, "samples": samples, "trades": summary.trades, "seconds": round(wall_s, 2)}


def crosses(path: Path, fast: int, slow: int) -> dict[str, Any]:
    """Bars a second of sma_cross on a file's candles, read before: stops and costs, limits so wide that it trades to the end."""
    params: dict[str, bool | float] = {"fast_period": fast, "slow_period": slow}
    settings = unlimited(load_settings(config_file("miad.toml")).settings)
    prepared = prepare(Request(settings=settings, strategy="rule:sma_cross", params=params, data=(path,), fee=Decimal("0.0005")))
    found = {}
    for name, is_compiled in (("bars_per_s", True), ("event_engine_bars_per_s", False)):
        begin = time.perf_counter()
        result = execute(prepared, compiled=is_compiled)
        found[name] = round(len(prepared.bars[0].close_ns) / (time.perf_counter() - begin))
    return {**found, "trades": len(result.trips)}


def candles(path: Path, bars: int) -> dict[str, Any]:
    """Write made minutes of a random walk, in cents."""
    import polars as pl

    draw = np.random.default_rng(1)
    close = np.round(np.exp(np.cumsum(draw.normal(0.0, 0.001, bars))) * 60_000.0, 2)
    opens = np.concatenate([close[:1], close[:-1]])
    wick = np.round(np.minimum(abs(draw.normal(0.0, 20.0, bars)), close / 2), 2)
    columns = {
        "ts_ms": 1_577_836_800_000 + np.arange(bars) * 60_000, "open": opens, "high": np.maximum(opens, close) + wick,
        "low": np.minimum(opens, close) - wick, "close": close, "volume": wick,
    }  # fmt: skip
    frame = pl.DataFrame(columns)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        dates = pl.from_epoch("ts_ms", time_unit="ms").alias("Date")
        names = ["Open", "High", "Low", "Close", "Volume"]
        frame.select(dates, *(pl.col(name.lower()).alias(name) for name in names)).write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
    return {"bars": bars}


def _simulated(strategy: str, seconds: float) -> Prepared:
    settings = load_settings(config_file("miad.toml")).settings
    return prepare(Request(settings=settings, strategy=strategy, duration_s=seconds))


def _each_quote(spec: RunSpec) -> Engine:
    """The run's engine, deciding at every quote instead of as its strategy says: the worst that a market can ask of it."""
    engine = build(spec)
    for lane in engine.lanes:
        lane.trigger, lane.min_interval_ns = "quote", 0  # type: ignore[misc]  # measured here, traded nowhere
    return engine


def _events(prepared: Prepared, make: Callable[[RunSpec], Engine]) -> dict[str, int]:
    begin, core = time.perf_counter(), time.process_time()
    counters = execute(prepared, make=make).gathered.counters
    wall_s, core_s = time.perf_counter() - begin, time.process_time() - core
    events = counters["market_events"]
    rates = {"events_per_s": round(events / wall_s), "events_per_core_s": round(events / core_s)}
    return {"events": events, "decisions": counters["decisions"], **rates}


def _bundle(spec: RunSpec) -> Bundle:
    found = load_strategy(LaneSettings(instrument=spec.lanes[0].instrument, strategy=SHIPPED), spec.instruments[0].family)
    assert isinstance(found, Bundle)
    return found


def _rows(policy: Bundle, rows: int) -> dict[str, int]:
    """Inferences a second, one by one as live and in batches over parallel paths."""
    draw = np.random.default_rng(1)
    obs = draw.normal(0.0, 0.1, (_PATHS, len(policy.columns))).astype(np.float32)
    probs = np.full((_PATHS, 3), 1.0 / 3.0, np.float32)
    one = memoryview(obs[0])
    begin = time.perf_counter()
    for _ in range(rows // 10):
        policy.evaluate(one, (0.2, 0.3, 0.5))
    single_s = time.perf_counter() - begin
    begin = time.perf_counter()
    for _ in range(rows // _PATHS):
        policy.evaluate_rows(obs, probs)
    batch_s = time.perf_counter() - begin
    return {
        "bundle_inferences_per_s": round(rows // 10 / single_s),
        "policy_rows_per_s": round(rows // _PATHS * _PATHS / batch_s),
        "paths": _PATHS,
    }


def main() -> int:
    """One part; its figures as JSON, with the load average before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["bars", "ticks", "statistics", "crosses", "candles"])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--candles", type=Path)
    parser.add_argument("--bars", type=int, default=0)
    parser.add_argument("--fast", type=int, default=10)
    parser.add_argument("--slow", type=int, default=30)
    args = parser.parse_args()
    before = os.getloadavg()[0]
    if args.part == "crosses":
        found = crosses(args.candles, args.fast, args.slow)
    elif args.part == "candles":
        found = candles(args.candles, args.bars)
    else:
        found = {"bars": bars, "ticks": ticks, "statistics": statistics}[args.part](args.scale)
    found["load"] = [round(before, 1), round(os.getloadavg()[0], 1)]
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
