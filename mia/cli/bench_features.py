"""`mia bench features`: all columns of the catalogue, each part measured in a process of its own; peers in the same run.

The goals stand beside the figures; nothing here passes or fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Final

import msgspec

from mia.domain.errors import DataError

_PART_LIMIT_S: Final = 600
GOALS: Final = {
    "bar_close_us.p50": "<= 10",
    "tick_us.quote.p50": "<= 2",
    "tick_us.trade.p50": "<= 2",
    "tick_us.book.p50": "<= 2",
    "rows_per_s": ">= 300000",
    "rss_growth_pct": "<= 5",
}


def measure(*, full: bool) -> dict[str, Any]:
    """All figures, with the keys of the documentation. DataError when a part fails."""
    ticks = _part("ticks")
    batch = _part("batch", "--passes", "5" if full else "3")
    memory = _part("memory", "--rows", "10000000" if full else "1000000")
    return {**ticks, **batch, "memory": memory, "cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}


def _part(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "mia.backtest.feature_bench", *arguments]
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PART_LIMIT_S, check=False, env=environment)
    except subprocess.TimeoutExpired:
        raise DataError(f"bench part {arguments[0]!r} did not end within {_PART_LIMIT_S} s") from None
    if done.returncode != 0:
        raise DataError(f"bench part {arguments[0]!r} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found: dict[str, Any] = msgspec.json.decode(done.stdout)
    return found


def text(result: dict[str, Any]) -> str:
    """The figures as lines, goals beside them."""
    rows = [(f"bar_close_us.{rank}", result["bar_close_us"][rank]) for rank in ("p50", "p99")]
    rows += [(f"tick_us.{name}.{rank}", part[rank]) for name, part in result["tick_us"].items() for rank in ("p50", "p99")]
    rows += [(f"observe_us.{rank}", result["observe_us"][rank]) for rank in ("p50", "p99")]
    rows += [(name, result[name]) for name in ("rows_per_s", "shared_rows_per_s", "talib_rows_per_s", "polars_rows_per_s")]
    rows.append(("rss_growth_pct", result["memory"]["rss_growth_pct"]))
    lines = [f"{result['columns']} columns, {result['cores']} cores, load average {result['load_average']}", ""]
    for name, value in rows:
        shown = "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        lines.append(f"{name:<26}{shown:>12}   {'goal ' + GOALS[name] if name in GOALS else ''}".rstrip())
    lines += [
        "",
        f"bar_close: the event that closes a bar and all columns read, {result['bar_close_us']['n']} bars; tick: an event that closes none",
        f"rows_per_s: history of one-minute bars, all columns, one core, best of {result['passes']} passes",
        f"shared: the {result['shared_columns']} columns that TA-Lib's batch functions and polars have too, in the same run",
        f"memory: {result['memory']['rows']} rows, RSS " + " MB at half, ".join(map(str, result["memory"]["rss_mb"])) + " MB at the end",
    ]
    return "\n".join(lines)
