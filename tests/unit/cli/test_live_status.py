"""`mia status` of a daemon that answers: what a person reads, what a program reads, and what is shown when it goes away."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from mia.cli.panel import compact, panel, plain
from mia.cli.watch import View, Watcher
from mia.control.messages import Answer, InstrumentStatus, LaneStatus, Latency, LinkStatus, MaskedColumns, Status

ROOT = Path(__file__).resolve().parents[3]
Mia = Callable[..., Any]

READY = Status(
    version="0.1.0", instance="mia", mode="paper", venue="demo", run=3, pid=4242, state="READY", ts="2026-11-20T12:31:05Z", uptime_s=700.0,
    state_dir="/state/mia-paper", currency="USDT", equity="10012.34", day_profit="-12.34", drawdown=0.0123, decisions=120, orders=12,
    fills=11, trades=5, refused={"warm_up": 30, "alpha_below_min": 12}, alerts={"warning": 2}, last_alert="warning: mqtt is away",
    instruments=(
        InstrumentStatus(
            name="demo:BTCUSDT", bid="61300.10", ask="61300.20", quote_age_ms=120.0, position="0.02", entry="61234.50", stop="60010.00",
            take="64000.00", unrealized="1.31", open_orders=2,
        ),
    ),
    lanes=(
        LaneStatus(
            instrument="demo:BTCUSDT", strategy="demo", last_decision="hold", code="dead_band", signal=0.31, alpha=0.62,
            regime_probs=(0.7, 0.2, 0.1), decided_age_s=2.2,
        ),
    ),
    links=(LinkStatus(name="feed", state="up", since_s=700.0), LinkStatus(name="mqtt", state="degraded", detail="refused", since_s=30.0)),
    decision_latency=Latency(n=100, p50_ms=0.12, p99_ms=1.35, max_ms=2.0),
)  # fmt: skip


def texts(status: Status) -> dict[str, str]:
    return dict(plain(panel(status)))


class Daemon:
    """What the canned daemon says now; None: it is not there."""

    def __init__(self, folder: Path, serving: Callable[..., Any]) -> None:
        self.folder = folder
        self._serving = serving
        self._entered: Any = None
        self.status = READY

    def up(self) -> None:
        self._entered = self._serving(self.folder, lambda request: Answer(ok=True, result=self.status))
        self._entered.__enter__()

    def down(self) -> None:
        if self._entered is not None:
            self._entered.__exit__(None, None, None)
            self._entered = None


@pytest.fixture
def daemon(tmp_path: Path, control_server: Callable[..., Any]) -> Iterator[Daemon]:
    folder = tmp_path / "state"
    folder.mkdir()
    found = Daemon(folder, control_server)
    found.up()
    yield found
    found.down()


def test_a_live_daemon_is_told_in_words(daemon: Daemon, mia: Mia) -> None:
    result = mia("status", "--state", daemon.folder)

    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "state      READY: trades"
    assert lines[1] == "equity     10,012.34 USDT, -12.34 today, drawdown 1.23%"
    assert "+0.02 BTCUSDT at 61234.50, unrealised +1.31 USDT, stop 60010.00, take 64000.00, 2 open orders" in result.out
    assert "hold 2 s ago (the change is smaller than the dead-band" in result.out
    assert "signal +0.31, alpha 0.62, range 70%" in result.out
    assert "frame to order p50 120 us, p99 1.4 ms; loop delay not measured yet" in result.out


def test_json_is_the_status_itself_and_says_that_it_is_live(daemon: Daemon, mia: Mia) -> None:
    found = json.loads(mia("status", "--state", daemon.folder, "--json").out)

    assert found.pop("is_live") is True
    assert msgspec.convert(found, Status) == READY


def test_why_it_does_not_trade_stands_beside_the_state() -> None:
    status = msgspec.structs.replace(READY, state="NO_NEW", reasons=("paused by the operator: lunch", "x" * 300))

    whole, brief = plain(panel(status)), plain(panel(status, reason_chars_max=50))

    assert whole[0][1].startswith("NO_NEW: opens nothing")
    assert whole[1:3] == [("because", "paused by the operator: lunch"), ("because", "x" * 300)]
    assert brief[1:3] == [("because", "paused by the operator: lunch"), ("because", "x" * 49 + "…")]


def test_nothing_known_yet_is_said_so() -> None:
    bare = Status(version="1", instance="mia", mode="paper", venue="demo", run=1, pid=1, state="STARTING", ts="2026-01-01T00:00:00Z")
    lane = LaneStatus(instrument="demo:BTCUSDT", strategy="demo", cold_column="ret_1h")

    found = texts(msgspec.structs.replace(bare, lanes=(lane,)))

    assert (found["equity"], found["position"], found["links"], found["alerts"]) == ("not known yet", "flat", "none", "none")
    assert found["decided"] == "none yet, ret_1h warms up"
    assert compact(bare).startswith("00:00:00 STARTING | not known yet | position flat")


def test_columns_without_a_value_stand_under_the_decision_with_their_reasons() -> None:
    groups = [
        MaskedColumns(why="the book waits for a snapshot", columns=["a", "b", "c", "d", "e"]),
        MaskedColumns(why="warms up: 3 of 60 bars", columns=["f"], is_warming=True, is_waited_for=True),
    ]
    lane = msgspec.structs.replace(READY.lanes[0], columns=151, masked=groups)

    found = texts(msgspec.structs.replace(READY, lanes=(lane,)))

    assert found["masked"] == (
        "6 of 151 columns: a, b, c and 2 more (the book waits for a snapshot); f (warms up: 3 of 60 bars; decisions wait)"
    )
    assert "masked" not in texts(READY)


@pytest.mark.parametrize(
    ("age_ms", "words"), [(900.0, "900 ms old"), (7000.0, "7 s old (stale)"), (float("nan"), "(stale)"), (None, "no quote yet")]
)
def test_an_old_quote_is_pointed_out(age_ms: float | None, words: str) -> None:
    instrument = msgspec.structs.replace(READY.instruments[0], quote_age_ms=age_ms)

    assert texts(msgspec.structs.replace(READY, instruments=(instrument,)))["market"].endswith(words)


def test_a_position_without_a_stop_is_pointed_out() -> None:
    instrument = msgspec.structs.replace(READY.instruments[0], stop="", position="-0.5")

    text = texts(msgspec.structs.replace(READY, instruments=(instrument,)))["position"]

    assert text.startswith("-0.5 BTCUSDT")
    assert "no stop" in text


def test_words_from_outside_cannot_steer_the_terminal() -> None:
    status = msgspec.structs.replace(READY, last_alert="\x1b[2Jgone\nstate READY", reasons=("\x9b31m",))

    assert not {c for line in panel(status) for c in line.text if not c.isprintable()}
    assert compact(status).isprintable()


def drawn(lines: Any, width: int, height: int, footer: str = "") -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None, highlight=False)
    console.print(View(lines, height, footer), end="")
    return [line.rstrip() for line in out.getvalue().replace("\x1b[2m", "").replace("\x1b[0m", "").split("\n")]


@pytest.mark.parametrize(("width", "height"), [(40, 24), (40, 10), (80, 24), (200, 50)])
def test_the_view_never_leaves_its_window(width: int, height: int) -> None:
    rows = drawn(panel(READY), width, height, "footer")

    assert len(rows) == height
    assert max(map(len, rows)) <= width
    assert rows[0].startswith("state ")
    assert "READY: trades" in rows[0]
    assert rows[-1] == "footer"
    assert any("stop" in row for row in rows)
    assert ("taller window" in "\n".join(rows)) == (width == 40)


def test_a_daemon_that_goes_away_is_of_the_past_and_comes_back(daemon: Daemon) -> None:
    watcher = Watcher(daemon.folder, 5)
    watcher.look()
    live = watcher.lines()
    daemon.down()
    watcher.look()
    gone = watcher.lines()
    line = watcher.line()
    daemon.up()
    watcher.look()

    assert live == panel(READY)
    assert gone[0].text.startswith("NOT RUNNING since ")
    assert gone[1].label == "not live"
    assert {item.label for item in gone[2:]} == {"it was", "last equity", "last position"}
    assert {item.style for item in gone[2:]} == {"dim"}
    assert "NOT RUNNING since " in line
    assert "10,012" not in line
    assert watcher.lines() == panel(READY)


def test_before_the_first_start_it_waits(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path, 5)
    watcher.look()

    assert watcher.lines()[0].text.startswith("NOT RUNNING since ")
    assert watcher.lines()[-1].text == "waiting for miad to start with it"


def watch_process(folder: Path, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mia.cli.main", "status", "--watch", "--interval", "0.1", "--state", str(folder)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'daemon'}", "TERM": "xterm-256color"}
    for name in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"):
        environment.pop(name, None)
    return subprocess.Popen(command, env={**environment, **options.pop("environment", {})}, **options)


def test_without_a_terminal_it_is_a_line_each_interval(daemon: Daemon) -> None:
    process = watch_process(daemon.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    first = [process.stdout.readline().decode() for _ in range(2)]
    daemon.down()
    until(process, lambda line: "NOT RUNNING since" in line)
    daemon.up()
    until(process, lambda line: " READY | " in line)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert first == [compact(READY) + "\n"] * 2
    assert (process.returncode, err) == (0, b"")


def until(process: subprocess.Popen[bytes], claim: Callable[[str], bool]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if claim(line.decode()):
            return
    raise AssertionError("it ended")


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_on_a_terminal_it_redraws_in_place_and_leaves_quietly(daemon: Daemon, columns: int) -> None:
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = watch_process(daemon.folder, stdin=slave, stdout=slave, stderr=slave, environment={"NO_COLOR": "1"})
    os.close(slave)
    seen = b""
    end = time.monotonic() + 20
    while seen.count(b"READY: trades") < 3 and time.monotonic() < end:
        seen += read(master)
    process.send_signal(signal.SIGINT)
    while part := read(master):
        seen += part
    os.close(master)

    assert process.wait(20) == 0
    assert seen.startswith(b"\x1b[?1049h")  # the alternate screen, so nothing scrolls
    assert b"\x1b[?1049l" in seen
    assert b"Traceback" not in seen
    assert not {f"\x1b[{n}m".encode() for n in (31, 32, 33)} & {seen[i : i + 5] for i in range(len(seen))}  # NO_COLOR


def read(master: int) -> bytes:
    ready, _, _ = select.select([master], [], [], 5)
    try:
        return os.read(master, 1 << 16) if ready else b""
    except OSError:  # the other end is closed
        return b""
