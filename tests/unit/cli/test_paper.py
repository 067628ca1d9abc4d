"""`mia paper`: the daemon as a child, seen with and without a terminal, and every way in which either of them can end."""

from __future__ import annotations

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

import pytest
from rich.console import Console

from mia.cli.panel import Line
from mia.cli.paper import PaperView
from mia.store.state_dir import is_running, read_lock

ROOT = Path(__file__).resolve().parents[3]
# A daemon that tells a status, logs, and ends as it is told.
TALKER = """
import asyncio, os, pathlib, signal, sys, time
from mia.control.messages import Answer, Status
from mia.control.server import ControlServer
folder = pathlib.Path(sys.argv[sys.argv.index("--state") + 1])
pid = int(os.environ.get("FAKE_PID", os.getpid()))
status = Status(version="1", instance="mia", mode="paper", venue="demo", run=1, pid=pid, state="READY", ts="2026-01-01T12:00:00Z",
                equity="10000.50", currency="USDT", state_dir=str(folder))
async def main():
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, lambda n=number: (print("miad: got", n.name, file=sys.stderr), stop.set()))
    server = ControlServer(folder / "control.sock", lambda request: Answer(ok=True, result=status))
    await server.start()
    print("miad: \\x1b[2Jtrading", file=sys.stderr, flush=True)
    await asyncio.wait_for(stop.wait(), 30)
    await server.close()
    await asyncio.sleep(0.1)
asyncio.run(main())
print("P&L +0.50")
sys.exit(int(os.environ.get("FAKE_CODE", "0")))
"""


class Viewer:
    """Starts `mia paper` as a process of a session of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        self._fake = folder / "fake"
        self._started: list[subprocess.Popen[Any]] = []
        home = folder / "home"
        home.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MIA__", "XDG_", "STATE_"))}
        for name in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"):
            kept.pop(name, None)
        self._environment = {**kept, "HOME": str(home), "TERM": "xterm-256color"}

    def start(self, *arguments: Any, code: str = "", **options: Any) -> subprocess.Popen[Any]:
        """code: text of a `miad` of the test's own, else the real one."""
        paths = [str(ROOT), str(ROOT / "daemon")]
        if code:
            (self._fake / "miad").mkdir(parents=True)
            (self._fake / "miad" / "__init__.py").touch()
            (self._fake / "miad" / "app.py").write_text(code)
            paths.insert(0, str(self._fake))
        command = [sys.executable, "-m", "mia.cli.main", "paper", "--venue", "sim", "--state", str(self.state), *map(str, arguments)]
        environment = {**self._environment, "PYTHONPATH": os.pathsep.join(paths), **options.pop("environment", {})}
        if "stdin" not in options:
            options.update(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._started.append(subprocess.Popen(command, env=environment, start_new_session=True, cwd=self.state.parent, **options))
        return self._started[-1]

    def end(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[Viewer]:
    found = Viewer(tmp_path)
    yield found
    found.end()


def wait_for_line(process: subprocess.Popen[Any], text: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"never said {text!r}")


def until(claim: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.02)


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"  # nobody may be there to reap it
    except OSError:
        return True


def test_without_a_terminal_the_log_passes_through_and_the_summary_is_alone_on_stdout(viewer: Viewer) -> None:
    out, err = (process := viewer.start("--duration", "0.5")).communicate(timeout=60)

    assert process.returncode == 0, err
    assert out.startswith("venue      sim, ")
    assert " trading sim" in err
    assert " stopping (duration)" in err
    assert "\x1b" not in out + err


def test_ctrl_c_ends_the_daemon_once_and_in_order(viewer: Viewer) -> None:
    process = viewer.start()
    wait_for_line(process, "trading sim")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole foreground group

    out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert err.count("SIGINT") == 1
    assert out.startswith("venue      sim, ")
    assert not is_running(viewer.state)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_ended_or_losing_the_terminal_ends_the_daemon_in_order(viewer: Viewer, number: signal.Signals) -> None:
    process = viewer.start()
    wait_for_line(process, "trading sim")
    process.send_signal(number)

    out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert "SIGTERM" in err
    assert out.startswith("venue      sim, ")


def test_killing_the_viewer_leaves_no_daemon_behind(viewer: Viewer) -> None:
    process = viewer.start()
    wait_for_line(process, "trading sim")
    pid = read_lock(viewer.state)["pid"]
    process.kill()

    until(lambda: has_ended(int(str(pid))))


@pytest.mark.slow
def test_a_daemon_that_is_killed_gives_the_code_of_a_shell(viewer: Viewer) -> None:
    process = viewer.start()
    wait_for_line(process, "trading sim")
    os.kill(int(str(read_lock(viewer.state)["pid"])), signal.SIGKILL)

    process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [(("--venue", "nowhere"), 4, "nowhere"), (("--typo",), 2, "--typo"), (("--config", "/nonexistent.toml"), 4, "/nonexistent.toml")],
)
def test_what_miad_refuses_is_its_line_and_its_code(viewer: Viewer, arguments: tuple[str, ...], code: int, text: str) -> None:
    process = viewer.start(*arguments)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (code, "")
    assert text in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_second_one_on_the_same_directory_is_refused(viewer: Viewer) -> None:
    wait_for_line(viewer.start(), "trading sim")
    second = viewer.start("--duration", "1")
    out, err = second.communicate(timeout=60)

    assert (second.returncode, out) == (6, "")
    assert "held by a running miad" in err


class Terminal:
    """A pseudo-terminal of a size; what was written to it so far."""

    def __init__(self, viewer: Viewer, columns: int, rows: int, **options: Any) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = viewer.start(stdin=slave, stdout=slave, stderr=slave, **options)
        os.close(slave)
        self.text = ""

    def read_until(self, text: str) -> None:
        end = time.monotonic() + 20
        while text not in self.text:
            assert time.monotonic() < end, self.text
            assert self._read(), self.text

    def read_to_the_end(self) -> str:
        while self._read():
            pass
        os.close(self._master)
        return self.text

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 10)
        try:
            part = os.read(self._master, 1 << 16) if ready else b""
        except OSError:  # the other end is closed
            return False
        self.text += part.decode(errors="replace")
        return bool(part)


@pytest.mark.parametrize(("columns", "rows"), [(40, 15), (80, 24), (200, 40)])
def test_on_a_terminal_status_and_log_share_the_window_and_the_summary_stays(viewer: Viewer, columns: int, rows: int) -> None:
    terminal = Terminal(viewer, columns, rows, code=TALKER)
    terminal.read_until("READY: trades")
    os.killpg(terminal.process.pid, signal.SIGINT)
    screen, _, after = terminal.read_to_the_end().rpartition("\x1b[?1049l")

    assert terminal.process.wait(20) == 0
    assert screen.startswith("\x1b[?1049h")
    assert "10,000.50 USDT" in screen
    assert "miad:  [2Jtrading" in screen  # a log line cannot steer the terminal
    assert "Ctrl-C stops" in screen
    assert "P&L +0.50" in after
    assert "READY" not in after


def test_a_failure_on_a_terminal_leaves_its_log_lines_to_read(viewer: Viewer) -> None:
    terminal = Terminal(viewer, 80, 24, code=TALKER, environment={"FAKE_CODE": "1"})
    terminal.read_until("READY: trades")
    terminal.process.send_signal(signal.SIGTERM)
    after = terminal.read_to_the_end().rpartition("\x1b[?1049l")[2]

    assert terminal.process.wait(20) == 1
    assert "miad: got SIGTERM" in after


@pytest.mark.slow
def test_the_status_of_another_daemon_is_never_shown_as_ours(viewer: Viewer) -> None:
    terminal = Terminal(viewer, 80, 24, code=TALKER, environment={"FAKE_PID": "1"})
    terminal.read_until("trading")
    terminal.read_until("starts, 2 s")
    os.killpg(terminal.process.pid, signal.SIGINT)

    assert "READY" not in terminal.read_to_the_end()


PANEL = [Line("state", "READY: trades"), *(Line(f"fact {i}", "word " * 30) for i in range(12))]


@pytest.mark.parametrize(("columns", "rows"), [(40, 15), (40, 5), (80, 24), (200, 40)])
@pytest.mark.parametrize("log", [[], [f"line {i} " + "x" * 150 for i in range(100)]], ids=["quiet", "busy"])
def test_the_view_fills_its_window_exactly(columns: int, rows: int, log: list[str]) -> None:
    console = Console(width=columns, height=rows, force_terminal=True, color_system=None)

    drawn = ["".join(s.text for s in row).rstrip() for row in PaperView(PANEL, log, rows, "footer").rows(console, columns)]

    assert len(drawn) == rows
    assert max(map(len, drawn)) <= columns
    assert drawn[0].split() == ["state", "READY:", "trades"]
    assert drawn[-1] == "footer"
    rule = drawn.index("─" * columns)
    assert len(drawn) - rule - 2 >= max(int((rows - 2) * 0.4), 1)
    assert not log or drawn[-2].endswith("x")


def test_the_newest_log_lines_are_the_ones_that_are_shown() -> None:
    console = Console(width=80, height=24, force_terminal=True, color_system=None)

    drawn = [
        "".join(s.text for s in row).rstrip() for row in PaperView(PANEL[:1], [f"line {i}" for i in range(99)], 24, "").rows(console, 80)
    ]

    assert drawn[2:-1] == [f"line {i}" for i in range(78, 99)]
