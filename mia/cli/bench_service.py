"""`mia bench service`: the daemon with everything around it, each part measured in a process of its own over loopback.

The goals stand beside the figures; nothing here passes or fails, and nothing stays: processes end and folders go, also after Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mia.domain.errors import DataError

_PART_LIMIT_S: Final = 600
_END_S: Final = 60.0
_LATENCY_S: Final = (45, 120)  # wall seconds: quick, --full
_HOUR_S: Final = (60, 180)
_SPEED: Final = 20
GOALS: Final = {
    "order_latency_us.p50": "<= 250",
    "order_latency_us.p99": "<= 600",
    "hour.rss_growth_pct": "<= 5",
    "hour.loop_delay_p99_ms": "<= 5",
    "hour.alerts_dropped": "0",
    "hour.rss_peak_mb": "<= 130",
    "hour.exchange_cpu_share": "<= 1",
}
_HOUR_ROWS: Final = (
    "rss_growth_pct", "rss_anon_growth_pct", "loop_delay_p99_ms", "alerts_dropped", "rss_peak_mb", "exchange_cpu_share", "decisions",
    "orders", "fills",
)  # fmt: skip


def measure(*, full: bool) -> dict[str, Any]:
    """All figures, with the keys of the documentation. DataError when a part fails."""
    before = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="mia-bench-") as folder:
            began = os.getloadavg()[0]
            latency = _part(folder, "latency", "--seconds", _LATENCY_S[full])
            hour = _part(folder, "hour", "--seconds", _HOUR_S[full], "--speed", _SPEED)
            start = _part(folder, "start")
    finally:
        signal.signal(signal.SIGTERM, before)
    return {
        **latency,
        "hour_at_20x": hour,
        **start,
        "load_average": [round(began, 1), round(os.getloadavg()[0], 1)],
        "cores": os.cpu_count(),
    }


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _part(folder: str, *arguments: object) -> dict[str, Any]:
    """One part's figures. A Ctrl-C of the terminal reaches the part, too, which ends what it began; it is waited for."""
    name = str(arguments[0])
    command = [sys.executable, "-m", "miad.measure_service", *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": folder},
        process_group=0,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=_PART_LIMIT_S)
        except BaseException as e:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
            if isinstance(e, subprocess.TimeoutExpired):
                raise DataError(f"bench part {name!r} did not end within {_PART_LIMIT_S} s") from None
            raise
    if process.returncode != 0:
        raise DataError(f"bench part {name!r} failed: {(err.strip().splitlines() or ['no message'])[-1]}")
    found: dict[str, Any] = msgspec.json.decode(out)
    return found


def text(result: dict[str, Any]) -> str:
    """The figures as lines, goals beside them."""
    latency, hour = result["order_latency_us"], result["hour_at_20x"]
    rows = [(f"order_latency_us.{rank}", latency[rank]) for rank in ("p50", "p99")]
    rows += [(f"  {name}.{rank}", part[rank]) for name, part in result["parts_us"].items() for rank in ("p50", "p99")]
    rows += [(f"hour.{name}", hour[name]) for name in _HOUR_ROWS]
    rows += [(name, result[name]) for name in ("start_s", "recover_s")]
    whole = "" if hour["market_s"] >= 3600 else " (--full: the hour)"
    load, broker = result["load_average"], "Mosquitto" if hour["mqtt"] else "no MQTT (mosquitto is not installed)"
    lines = [f"loopback; {result['cores']} cores, load average {load[0]} before, {load[1]} after", ""]
    lines += [f"{name:<34}{value:>12g}   {'goal ' + GOALS[name] if name in GOALS else ''}".rstrip() for name, value in rows]
    left = ", ".join(f"{n} {name}" for name, n in result["left_out"].items()) or "none"
    lines += [
        "",
        f"latency: frame written by the exchange to order received by it, {latency['n']} orders in {result['seconds']:g} s at speed 1; "
        f"orders left out: {left}",
        f"hour: {hour['market_s'] / 60:.0f} min of market in {hour['wall_s']:g} s{whole}, "
        f"{broker}, metrics on; alerts raised: {_counted(hour['alerts'])}",
    ]
    return "\n".join(lines)


def _counted(alerts: dict[str, int]) -> str:
    names: Sequence[str] = [s for s in ("info", "warning", "error", "urgent") if s in alerts]
    return ", ".join(f"{alerts[name]} {name}" for name in names) or "none"
