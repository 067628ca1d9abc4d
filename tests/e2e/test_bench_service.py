"""`mia bench service`: that its parts run, give their keys and leave nothing behind. No figure is judged here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mia.cli.bench_service import GOALS, text
from mia.domain.events import Quote, Trade
from mia.settings import load_settings
from mia.shipped import shipped
from mia.sim.servers.trace import Trace as Written
from mia.sim.servers.wire import Texts
from miad.measure_hour import growth_pct
from miad.measure_service import Trace, key_of

ROOT = Path(__file__).resolve().parents[2]


def start(tmp_path: Path, *arguments: object) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'daemon'}", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "miad.measure_service", *map(str, arguments)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def figures(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    found: dict[str, Any] = msgspec.json.decode(out)
    return found


def ours(tmp_path: Path) -> list[str]:
    """Command lines of processes that have to do with a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:
            continue
        if str(tmp_path).encode() in words:
            found.append(words.replace(b"\0", b" ").decode())
    return found


def test_each_frame_of_the_trace_is_found_by_the_event_that_it_became(tmp_path: Path) -> None:
    settings = load_settings(shipped("config") / "miad.toml", environ={}).settings
    texts = Texts(next(i for i in settings.instruments if i.venue == "demo"))
    written = Written(tmp_path / "trace")
    for ns, update in ((100, 7), (200, 8)):  # the same numbers twice: an order belongs to the last one before it
        written.frame("simusdt@bookTicker", f"{update} {texts.price(600_000)} {texts.size(5)} {texts.price(600_001)} {texts.size(9)}")
        written.sent(ns)
    written.frame("simusdt@trade", "41")
    written.sent(300)
    written.order(400, "mia1", "SIMUSDT")
    written.flush()

    trace = Trace((tmp_path / "trace").read_text())

    quote = key_of(Quote(1, 0, 0, 0, 600_000, 600_001, 5, 9), texts)
    assert [trace.sent_ns(quote, ns) for ns in (99, 150, 250)] == [0, 100, 200]
    assert trace.sent_ns(key_of(Trade(2, 0, 0, 0, 600_000, 3, 1, 41), texts), 350) == 300
    assert trace.sent_ns(key_of(Quote(3, 0, 0, 0, 600_000, 600_001, 5, 8), texts), 350) == 0
    assert trace.orders == {"mia1": 400}


def test_growth_is_that_of_the_second_half() -> None:
    assert growth_pct([1, 50, 100, 100, 100, 100, 100, 110]) == 10.0
    assert growth_pct([500, 100, 100]) == 0.0


@pytest.mark.slow
def test_latency_and_hour_give_their_figures_and_leave_nothing_behind(tmp_path: Path) -> None:
    parts = start(tmp_path, "latency", "--seconds", 5), start(tmp_path, "hour", "--seconds", 4), start(tmp_path, "start", "--times", 1)

    latency, hour, start_s = map(figures, parts)

    assert latency["order_latency_us"]["n"] > 0
    assert set(latency["left_out"]) <= {"warm_up"}
    assert sum(latency["parts_us"][name]["n"] for name in latency["parts_us"]) == 3 * latency["order_latency_us"]["n"]
    assert hour["alerts"]
    assert hour["decisions"] > 0
    assert min(start_s["start_s"], start_s["recover_s"]) > 0
    shown = text({**latency, "hour_at_20x": hour, **start_s, "load_average": [0.0, 0.0], "cores": 1})
    assert all(f"{name} " in shown and f"goal {goal}" in shown for name, goal in GOALS.items())
    assert not list(tmp_path.glob("mia-bench-*"))
    assert not ours(tmp_path)


@pytest.mark.parametrize("what", ["latency", "hour"])
def test_an_interrupt_leaves_nothing_behind(what: str, tmp_path: Path) -> None:
    process = start(tmp_path, what, "--seconds", 600)
    end_s = time.monotonic() + 30
    while not list(tmp_path.glob("mia-bench-*/state/control.sock")) and time.monotonic() < end_s:
        time.sleep(0.02)

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode == 130
    assert not list(tmp_path.glob("mia-bench-*"))
    assert not ours(tmp_path)
