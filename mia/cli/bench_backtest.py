"""`mia bench backtest`: how fast history is run, each part in a process of its own; the goals stand beside the figures.

The cold run is the verb itself on a made file of candles, from the start of its process to its finished table.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from mia.domain.errors import ConfigError, DataError

_PART_LIMIT_S: Final = 600
_QUICK: Final = 0.01
_THEIRS: Final = Path(__file__).with_name("library_peer.py")  # run, never imported: pandas is theirs
_PEERS: Final = ("backtesting.py", "vectorbt")
_CROSS: Final = ("10", "30")  # periods of the averages that all are asked to cross
_VERB: Final = ("backtest", "run", "--no-report", "--strategy", "ema_cross", "--fee", "0.0005")
GOALS: Final = {
    "bars.bars_per_s": ">= 500000",
    "bars.grid_bar_configurations_per_core_s": ">= 50000000",
    "ticks.empty.events_per_s": ">= 400000",
    "ticks.policy_rows_per_s": ">= 120000",
    "ticks.bundle_each_quote.events_per_s": ">= 30000",
    "statistics.seconds": "<= 10",
    "cold.seconds": "<= 1.5",
    "cold.rss_mb": "<= 250",
}


def measure(*, quick: bool, peer: Path | None) -> dict[str, Any]:
    """All figures, with the keys of the documentation. ConfigError: no interpreter at `peer`; DataError: a part failed."""
    if peer is not None and not peer.is_file():
        raise ConfigError(f"--peer {peer}: no such interpreter: name the python of an environment with backtesting and vectorbt")
    scale = _QUICK if quick else 1.0
    found = {name: _json_of([sys.executable, "-m", "mia.backtest.speed", name, "--scale", str(scale)], name) for name in _parts()}
    with tempfile.TemporaryDirectory(prefix="mia-bench-") as folder:
        found["cold"] = _cold(Path(folder), max(5_000, int(1_000_000 * scale)), 1 if quick else 3)
        if peer is not None:
            found["peers"] = _with_peers(peer, Path(folder), max(3_000, int(200_000 * scale)))
    return {**found, "cores": os.cpu_count()}


def _parts() -> tuple[str, ...]:
    return "bars", "ticks", "statistics"


def _json_of(command: list[str], name: str) -> dict[str, Any]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PART_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise DataError(f"bench part {name!r} did not end within {_PART_LIMIT_S} s") from None
    if done.returncode != 0:
        raise DataError(f"bench part {name!r} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found: dict[str, Any] = msgspec.json.decode(done.stdout.strip().splitlines()[-1])
    return found


def _candles(path: Path, bars: int) -> None:
    """In a process of its own: a child's most memory counts what its parent held when it was started."""
    command = [sys.executable, "-m", "mia.backtest.speed", "candles", "--candles", str(path), "--bars", str(bars)]
    _json_of(command, "candles")


def _cold(folder: Path, bars: int, times: int) -> dict[str, Any]:
    """Best seconds and most memory of some cold processes; one more before them, as a start after an installation compiles modules."""
    path = folder / "made.parquet"
    _candles(path, bars)
    command = [sys.executable, "-m", "mia.cli.main", *_VERB, "--data", str(path)]
    environment = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "PYTHONPYCACHEPREFIX": str(folder / "pyc")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    runs = [_timed(command, environment) for _ in range(times + 1)][1:]
    best = min(run[0] for run in runs)
    return {
        "bars": bars, "seconds": round(best, 2), "core_s": round(min(run[1] for run in runs), 2), "rss_mb": max(run[2] for run in runs),
        "load": [round(os.getloadavg()[0], 1)],
    }  # fmt: skip


def _timed(command: list[str], environment: dict[str, str]) -> tuple[float, float, int]:
    """(seconds, seconds of cores, MB at the most) of a process that prints its table."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - begin
        if child.returncode:
            errors.seek(0)
            raise DataError(f"bench part 'cold' failed: {(errors.read().decode().strip().splitlines() or ['no message'])[-1]}")
    return wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024


def _with_peers(python: Path, folder: Path, bars: int) -> dict[str, Any]:
    """Bars a second of other libraries and of us on the same candles and crosses; a library that fails says why."""
    path = folder / "made.csv"
    _candles(path, bars)
    fast, slow = _CROSS
    ours = [sys.executable, "-m", "mia.backtest.speed", "crosses", "--candles", str(path), "--fast", fast, "--slow", slow]
    found: dict[str, Any] = {"bars": bars, "mia": _json_of(ours, "crosses")}
    for name in _PEERS:
        try:
            theirs = _json_of([str(python), str(_THEIRS), name, str(path), "1000000", fast, slow], name)
        except DataError as e:
            found[name] = {"error": str(e)}
            continue
        rate = theirs["bars"] / theirs["seconds"]
        ratio = found["mia"]["bars_per_s"] / rate
        found[name] = {
            "version": theirs["version"], "bars_per_s": round(rate), "trades": len(theirs["trades"]), "mia_is_faster_by": round(ratio, 2),
        }  # fmt: skip
    found["load"] = [round(os.getloadavg()[0], 1)]
    return found


def text(result: dict[str, Any]) -> str:
    """The figures as lines, goals and the load of the machine beside them."""
    lines = [f"{result['cores']} cores; the load average of each part stands beside it", ""]
    for part, figures in result.items():
        if isinstance(figures, dict):
            load = " .. ".join(str(value) for value in figures["load"])
            lines += [_line(name, value) for name, value in _flat(part, figures)]
            lines += [f"{part + '.load':<48}{load:>14}", ""]
    lines += [
        "bars: one run of ema_cross to its result, orders and fills included; per_core: by the time of the core, not of the clock",
        "event_engine: the same by the engine that trades live, which runs all that the compiled account cannot: policies, several "
        "instruments, ensembles, costs beyond fees and spread",
        "ticks: the simulated market with timers and its venue; each_quote: a decision at every quote, whatever the strategy's interval",
        "bundle: the shipped blended one, one inference a decision; policy_rows: the same graph over parallel paths",
        "cold: `mia backtest run` from the start of its process to its table, best of some; statistics: all figures, groups included",
    ]
    return "\n".join(lines)


def _flat(name: str, value: dict[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, part in value.items():
        if isinstance(part, dict):
            rows += _flat(f"{name}.{key}", part)
        elif key != "load":
            rows.append((f"{name}.{key}", part))
    return rows


def _line(name: str, value: Any) -> str:
    return f"{name:<48}{value!s:>14}   {'goal ' + GOALS[name] if name in GOALS else ''}".rstrip()
