"""What a daemon meets that nobody planned: no standard streams, a damaged account of the demo exchange."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mia.cli.main import app
from mia.domain.errors import DataError
from mia.sim.servers.state_files import RecordFile
from mia.store.state_dir import StateDir


def test_the_daemon_trades_without_stdin_stdout_and_stderr(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "MIA__METRICS__ENDPOINT": "false"}
    command = f'exec "{sys.executable}" -m miad.app --paper --state "{tmp_path}/state" --duration 1 <&- >&- 2>&-'

    code = subprocess.run(["sh", "-c", command], env=environment, timeout=60, check=False).returncode

    assert code == 0
    assert "stopping (duration)" in (tmp_path / "state/logs/miad.log").read_text()


@pytest.mark.parametrize("damage", [b"zzz first", b"XX in the middle", b"garbage after"])
def test_a_damaged_account_is_refused_and_not_cut(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "account.log"
    log = RecordFile(path)
    for record in (b"one " * 20, b"two " * 20):
        log.append(record)
    log.close()
    good = path.read_bytes()
    bad = {b"z": damage + good, b"X": good[:20] + damage + good[20 + len(damage) :], b"g": good + damage}[damage[:1]]
    path.write_bytes(bad)

    with pytest.raises(DataError, match="damaged at byte"):
        RecordFile(path).read(is_precious=True)

    assert path.read_bytes() == bad


@pytest.mark.parametrize("tail", [b"\x28\x00", bytes(64), b"\x28\x00\x00\x00abcdefgh"])
def test_a_torn_record_at_the_end_of_an_account_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "account.log"
    log = RecordFile(path)
    log.append(b"one")
    log.close()
    good = path.read_bytes()
    path.write_bytes(good + tail)

    assert RecordFile(path).read(is_precious=True) == [b"one"]
    assert path.read_bytes() == good


def test_a_command_never_calls_a_daemon_not_running_whose_socket_was_deleted(tmp_path: Path) -> None:
    with closing(StateDir(tmp_path / "state")):  # this process is the daemon
        result = CliRunner().invoke(app, ["pause", "--state", str(tmp_path / "state")])

    assert result.exit_code == 1
    assert f"kill -TERM {os.getpid()}" in str(result.exception or result.output)
