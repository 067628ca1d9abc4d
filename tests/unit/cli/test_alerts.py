"""`mia alerts tail` on files as the hub leaves them, with and without a daemon, in a narrow terminal and while they grow."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mia.alerts.hub import AlertHub
from mia.alerts.settings import AlertSettings
from mia.store.state_dir import StateDir
from tests.unit.cli.conftest import Result

ROOT = Path(__file__).resolve().parents[3]
Mia = Callable[..., Result]
FULL = "equity 8990.12 is 10.1 % below its peak \x1b[31mof\n10000.00"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory in which alerts were raised and nobody runs."""
    path = tmp_path / "state"
    hub = AlertHub(AlertSettings(merge_window_s=0), instance="mia", state_dir=path, now_ns=time.time_ns)
    for severity, code in (("info", "feed_up"), ("warning", "feed_stale"), ("error", "late_fill"), ("urgent", "drawdown_stop")):
        hub.raise_alert(severity, code, FULL)
    hub.close()
    return path


def test_the_newest_come_last_and_severity_is_a_minimum(mia: Mia, state: Path) -> None:
    every = mia("alerts", "tail", "--state", state)
    two = mia("alerts", "tail", "--state", state, "--severity", "error", "-n", 5)
    one = mia("alerts", "tail", "--state", state, "-n", 1)

    assert [line.split()[2] for line in every.out.splitlines()] == ["info", "warning", "error", "urgent"]
    assert [line.split()[2] for line in two.out.splitlines()] == ["error", "urgent"]
    assert "Drawdown limit reached" in one.out
    assert "\x1b" not in every.out
    assert (every.code, every.err.count("\n")) == (0, 1)
    assert "not running" in every.err


def test_json_is_the_whole_alert_a_line(mia: Mia, state: Path) -> None:
    rows = [json.loads(line) for line in mia("alerts", "tail", "--state", state, "--json").out.splitlines()]

    assert [row["priority"] for row in rows] == [1, 2, 3, 5]
    assert rows[0]["text"] == FULL


def test_nothing_to_show_and_nobody_running_is_exit_3(mia: Mia, tmp_path: Path) -> None:
    missing = mia("alerts", "tail", "--state", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    empty = mia("alerts", "tail", "--state", tmp_path / "empty")
    with closing(StateDir(tmp_path / "held")):
        quiet = mia("alerts", "tail", "--state", tmp_path / "held")

    assert (missing.code, empty.code, quiet.code) == (3, 3, 0)
    assert "not running" in missing.err
    assert "not running" not in quiet.err


def test_a_terminal_of_40_columns_is_enough(state: Path) -> None:
    master, slave = pty.openpty()
    os.set_inheritable(slave, True)
    subprocess.run(["stty", "cols", "40"], stdin=slave, check=True)

    command = [sys.executable, "-m", "mia.cli.main", "alerts", "tail", "--state", str(state)]
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"NO_COLOR": "1"}
    subprocess.run(command, stdout=slave, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment, check=True)
    os.close(slave)
    lines = os.read(master, 65536).decode().splitlines()
    os.close(master)

    assert max(map(len, lines)) <= 40
    assert "10000.00" in "".join(lines)


def test_follow_shows_what_is_raised_next(state: Path) -> None:
    command = [sys.executable, "-u", "-m", "mia.cli.main", "alerts", "tail", "--state", str(state), "-f", "-n", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()

        hub = AlertHub(AlertSettings(), instance="mia", state_dir=state, now_ns=time.time_ns)
        hub.raise_alert("warning", "feed_down", "the next one")
        hub.close()
        second = process.stdout.readline()
        process.send_signal(2)

    assert "drawdown_stop" in first
    assert "the next one" in second
    assert process.returncode == 0
