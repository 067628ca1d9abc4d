"""Do backtesting.py and vectorbt make the same trades as we do under their rules, and how many bars a second does each take?

usage: python tests/bench/peers/bench_libraries.py --python /path/to/their/bin/python [--data CANDLES --cash X]
Their environment (pip install backtesting vectorbt) is not ours; without it this says so and ends well. Exit code 1: something differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

import mia.cli
from mia.backtest.readers import read_candles
from mia.backtest.run.prepare import Request, execute, prepare
from mia.backtest.run.presets import PRESETS, preset
from mia.backtest.run.result import Result
from mia.settings import load_settings

THEIRS: Final = Path(mia.cli.__file__).with_name("library_peer.py")
GOOG: Final = Path(os.environ.get("MIA_DATA", "../shared/data/market")) / "oracle" / "backtestingpy_GOOG.csv"
TOLERANCE: Final = 2e-6  # of sizes and equity: vectorbt counts in floats, we in millionths of a unit


def main() -> int:
    """Compare both; 0 when all is equal or nothing could be compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="interpreter of an environment with backtesting and vectorbt")
    parser.add_argument("--data", type=Path, default=GOOG)
    parser.add_argument("--cash", type=Decimal, default=Decimal(10_000))
    parser.add_argument("--fast", type=int, default=10)
    parser.add_argument("--slow", type=int, default=30)
    args = parser.parse_args()
    for path, what in ((args.python, "--python: no interpreter of theirs"), (args.data, "--data: no candles")):
        if not path.is_file():
            print(f"skipped: {what} at {path}")
            return 0
    with tempfile.TemporaryDirectory() as folder:
        candles = Path(folder) / "candles.csv"
        plain(args.data, candles)
        results = [compared(name, args, candles) for name in PRESETS]
        print(f"ours with all limits, stops and costs, the same crosses: {compiled_speed(args, candles):,.0f} bars/s (compiled path)")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    return int(not all(results))


def plain(source: Path, target: Path) -> None:
    """The candles as a CSV that everybody reads alike."""
    found = read_candles([source], naive_is_utc=True)
    frame = pl.DataFrame({"Date": found.open_ns}).with_columns(pl.col("Date").cast(pl.Datetime("ns")))
    columns = {name: found.ohlcv[:, k] for k, name in enumerate(("Open", "High", "Low", "Close", "Volume"))}
    frame.with_columns(**{k: pl.Series(v) for k, v in columns.items()}).write_csv(target, datetime_format="%Y-%m-%d %H:%M:%S")


def ours(name: str, args: argparse.Namespace, candles: Path) -> tuple[Result, float]:
    """Our run under a library's rules, and its seconds without reading the file."""
    rules = preset(name)
    settings = rules.settings(load_settings(None).settings)
    settings = msgspec.structs.replace(settings, paper=msgspec.structs.replace(settings.paper, cash=args.cash))
    request = Request(
        settings=settings, strategy="rule:sma_cross", params={"fast_period": args.fast, "slow_period": args.slow}, data=(candles,),
        lot=rules.lot, fee=Decimal(0), **rules.fields,
    )  # fmt: skip
    prepared = prepare(request)
    begin = time.perf_counter()
    result = execute(prepared)
    return result, time.perf_counter() - begin


def compiled_speed(args: argparse.Namespace, candles: Path) -> float:
    """Bars a second of the same crosses under the default costs and limits, result checked to the last cent."""
    params = {"fast_period": args.fast, "slow_period": args.slow}
    settings = load_settings(None).settings
    prepared = prepare(Request(settings=settings, strategy="rule:sma_cross", params=params, data=(candles,), fee=Decimal("0.0005")))
    begin = time.perf_counter()
    result = execute(prepared)
    return len(result.gathered.marks.ts_ns) / (time.perf_counter() - begin)


def compared(name: str, args: argparse.Namespace, candles: Path) -> bool:
    """One library: what differs, or that nothing does, and both speeds."""
    command = [str(args.python), str(THEIRS), name, str(candles), str(args.cash), str(args.fast), str(args.slow)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name}: skipped: their environment failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        return True
    theirs: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    result, seconds = ours(name, args, candles)
    equity = int(result.gathered.marks.equity_e8[-1]) / 1e8
    wrong = differences(theirs, result, equity, at_open=PRESETS[name].fields["fill_at"] == "next_open")
    state = "equal" if not wrong else f"{len(wrong)} differences, the first: {'; '.join(wrong[:3])}"
    speeds = f"{theirs['bars'] / theirs['seconds']:,.0f} bars/s, ours {theirs['bars'] / seconds:,.0f} (event engine)"
    print(
        f"{name} {theirs['version']}: {len(result.trips)} trades, equity {equity:,.2f} against {theirs['equity']:,.2f}: {state}; {speeds}"
    )
    return not wrong


def differences(theirs: dict[str, Any], result: Result, equity: float, *, at_open: bool) -> list[str]:
    """What is not the same, in words. Times are those of the bars at whose open (or close) both filled."""
    found = []
    if abs(equity - theirs["equity"]) > TOLERANCE * theirs["equity"]:
        found.append(f"equity {equity} against {theirs['equity']}")
    if len(result.trips) != len(theirs["trades"]):
        found.append(f"{len(result.trips)} trades against {len(theirs['trades'])}")
    interval = 0 if at_open else result.gathered.marks.ts_ns[2] - result.gathered.marks.ts_ns[1]  # their bars are named by the open
    for k, (trip, (side, opened, closed, entry, leave, size)) in enumerate(zip(result.trips, theirs["trades"], strict=False)):
        mine = (trip.side, trip.opened_ns - interval, trip.closed_ns - interval)
        prices = abs(trip.entry_price - entry) + abs(trip.exit_price - leave)
        if mine != (side, opened, closed) or prices > 1e-9 * entry or abs(trip.qty - size) > TOLERANCE * size:
            found.append(f"trade {k + 1}: {mine}, {trip.qty} against {(side, opened, closed)}, {size}")
    return found


if __name__ == "__main__":
    sys.exit(main())
