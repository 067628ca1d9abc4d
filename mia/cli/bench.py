"""`mia bench`: how fast and how lean this installation is, each part measured in a process of its own.

The goals stand beside the figures; nothing here passes or fails.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from mia.domain.errors import DataError

_PART_LIMIT_S: Final = 600
GOALS: Final = {
    "tick_to_order_us.hot.p50": "<= 45",
    "tick_to_order_us.hot.p99": "<= 120",
    "tick_to_order_us.paced.p50": "<= 150",
    "tick_to_order_us.paced.p99": "<= 300",
    "replay_frames_per_s": ">= 150000",
    "start_s": "<= 1.0",
    "recover_s": "<= 2.0",
    "rss_peak_mb": "<= 120",
    "snapshot_us_per_mb": "<= 50",
    "row_us": "<= 2",
    "rss_slope_pct": "<= 5",
}


def data_folder(option: Path | None) -> Path | None:
    """--data, else MIA_DATA; None when neither is given (the simulated market stands in)."""
    chosen = option or (Path(os.environ["MIA_DATA"]) if os.environ.get("MIA_DATA") else None)
    if chosen is not None and not chosen.is_dir():
        raise DataError(f"{chosen}: no such folder: give the folder of the recordings with --data or MIA_DATA")
    return chosen


def measure(data: Path | None, *, full: bool) -> dict[str, Any]:
    """All figures, with the keys of the documentation. DataError when a part fails."""
    recordings = sorted(data.glob("binance_usdm_*_ws_*.gz")) if data is not None else []
    source = ["--data", str(data)] if recordings else []
    hot = _part(["hot", *source])
    paced = _part(["paced", *source, "--seconds", "120" if full else "15"])
    replay = _part(["replay", *source])
    peer = _peer(recordings[0], full=full) if recordings else {"missing": "needs a recording: --data or MIA_DATA"}
    again = _part(["replay", *source]) if full else replay
    rows = _part(["rows", *source])
    start = _part(["start", *source])
    memory = _part(["memory", *source, "--replays", "30", *([] if full else ["--frames", "20000"])])
    rate = (replay["replay_frames_per_s"] + again["replay_frames_per_s"]) / 2
    return {
        "data": str(recordings[0]) if recordings else "simulated market (no recording given: --data or MIA_DATA)",
        "tick_to_order_us": {"hot": hot["hot"], "paced": paced["paced"]},
        "stages_us": hot["stages_us"],
        "replay_frames_per_s": round(rate),
        "ccxt_ratio": round(rate / peer["ccxt_frames_per_s"], 1) if "ccxt_frames_per_s" in peer else None,
        "ccxt": peer,
        "start_s": start["start_s"],
        "recover_s": start["recover_s"],
        "rss_peak_mb": start["rss_peak_mb"],
        "snapshot_us_per_mb": rows["snapshot_us_per_mb"],
        "snapshot": rows["snapshot"],
        "row_us": rows["row_us"],
        "rss_slope_pct": memory["rss_slope_pct"],
        "rss_mb": memory["rss_mb"],
        "load_average": round(os.getloadavg()[0], 1),
    }


def _part(arguments: list[str]) -> dict[str, Any]:
    return _json_of([sys.executable, "-m", "miad.measure", *arguments], arguments[0])


def _peer(path: Path, *, full: bool) -> dict[str, Any]:
    if importlib.util.find_spec("ccxt") is None:
        return {"missing": "ccxt is not installed: pip install 'mia[dev]'"}
    frames = "50000" if full else "10000"
    return _json_of([sys.executable, "-m", "mia.cli.ccxt_peer", str(path), "--frames", frames], "ccxt")


def _json_of(command: list[str], name: str) -> dict[str, Any]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PART_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise DataError(f"bench part {name!r} did not end within {_PART_LIMIT_S} s") from None
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise DataError(f"bench part {name!r} failed: {last[0]}")
    found: dict[str, Any] = msgspec.json.decode(done.stdout)
    return found


def text(result: dict[str, Any]) -> str:
    """The figures as lines, goals beside them."""
    rows: list[tuple[str, str]] = []
    for kind in ("hot", "paced"):
        for rank in ("p50", "p99"):
            rows.append((f"tick_to_order_us.{kind}.{rank}", f"{result['tick_to_order_us'][kind][rank]:.1f}"))
    for key in (
        "replay_frames_per_s",
        "ccxt_ratio",
        "start_s",
        "recover_s",
        "rss_peak_mb",
        "snapshot_us_per_mb",
        "row_us",
        "rss_slope_pct",
    ):
        value = result[key]
        rows.append((key, "-" if value is None else f"{value:g}" if not isinstance(value, int) else str(value)))
    lines = [f"data: {result['data']}; load average {result['load_average']}", ""]
    lines += [f"{name:<30}{value:>12}   {'goal ' + GOALS[name] if name in GOALS else ''}".rstrip() for name, value in rows]
    lines += ["", "stages, each alone and warm (us): " + ", ".join(f"{name} {us:g}" for name, us in result["stages_us"].items())]
    hot, paced = result["tick_to_order_us"]["hot"], result["tick_to_order_us"]["paced"]
    lines.append(f"samples: {hot['n']} back to back, {paced['n']} paced; every sample is a frame whose decision sent a signed order")
    if "missing" in result["ccxt"]:
        lines.append(f"ccxt: {result['ccxt']['missing']}")
    return "\n".join(lines)
