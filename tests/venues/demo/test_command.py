"""`mia venue`: what a person types and reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


def mia(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "daemon")])}
    command = [sys.executable, "-m", "mia.cli.main", "venue", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT)


def test_the_printed_snippet_trades_and_ctrl_c_ends_it() -> None:
    pytest.importorskip("ccxt")
    process = mia("demo", "--speed", "5", "--seed", "3")
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or "create_order" not in lines[-1]:
        line = process.stdout.readline()
        assert line, process.communicate()
        lines.append(line)
    snippet = "".join(line.removeprefix("  ") for line in lines[next(i for i, x in enumerate(lines) if "import ccxt" in x) :])

    ran = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)

    assert ran.returncode == 0, ran.stderr
    assert "'status': 'closed'" in ran.stdout
    assert (process.returncode, out, err) == (0, "demo exchange: stopped\n", "")


def test_the_list_names_each_venue_and_who_trades_there() -> None:
    rows: Any = json.loads(mia("list", "--json").communicate(timeout=30)[0])

    demo = next(row for row in rows if row["venue"] == "demo")
    assert (demo["symbol"], demo["kind"], demo["lot"], demo["strategy"]) == ("SIMUSDT", "spot", "0.00001", "demo")
