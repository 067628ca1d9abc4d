"""The units that ship: as tight as promised, and the daemon trades under the system call rules that they set."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SYSTEM: Final = ROOT / "systemd" / "miad.service"
USER: Final = ROOT / "systemd" / "user" / "miad.service"
# What a user manager of systemd 252 cannot apply, and what is different for a user.
NOT_FOR_USERS: Final = (
    "After Wants DynamicUser User StateDirectory StateDirectoryMode ConfigurationDirectory Nice CPUWeight IOWeight OOMScoreAdjust"
    " CapabilityBoundingSet AmbientCapabilities ProtectSystem ProtectHome PrivateMounts PrivateTmp PrivateDevices PrivateUsers"
    " ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectControlGroups ProtectClock ProtectHostname ProtectProc"
    " KeyringMode RemoveIPC"
).split()


@pytest.fixture
def analyze() -> str:
    """systemd-analyze; absent it is a skip, under CI=true a failure."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    return found


def directives(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_exposure_is_at_most_two(analyze: str) -> None:
    command = [analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", str(SYSTEM)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout.splitlines()[-1:] or result.stderr


@pytest.mark.parametrize("unit", [SYSTEM, USER], ids=["system", "user"])
def test_systemd_understands_every_line(unit: Path, analyze: str, tmp_path: Path) -> None:
    copy = tmp_path / "miad.service"
    copy.write_text(unit.read_text().replace("/opt/mia/bin/miad", sys.executable))

    result = subprocess.run([analyze, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False)

    assert [line for line in result.stderr.splitlines() if "miad.service" in line] == []


def test_the_user_unit_is_the_system_unit_less_what_needs_privileges() -> None:
    system, user = directives(SYSTEM), directives(USER)

    assert set(system) - set(user) == set(NOT_FOR_USERS)
    shared = set(user) - {"WantedBy", "Environment"}
    assert {key: user[key] for key in shared} == {key: system[key] for key in shared}


def test_stopping_and_starting_again_follow_the_daemon() -> None:
    system = directives(SYSTEM)

    assert system["RestartPreventExitStatus"] == ["2 4 6"]  # usage, configuration, refused
    assert system["KillMode"] == ["mixed"]
    assert int(system["StartLimitBurst"][0]) > 3  # the third crash makes the daemon start SAFE
    assert int(system["TimeoutStopSec"][0]) > 15
    assert system["LimitCORE"] == ["0"]
    assert system["WatchdogSignal"] == ["SIGKILL"]


@pytest.mark.parametrize("unit", [SYSTEM, USER], ids=["system", "user"])
def test_the_daemon_trades_under_the_rules_of_the_unit(unit: Path, analyze: str, tmp_path: Path) -> None:
    """System call filter, no memory both writable and executable, IP and Unix sockets only."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "daemon")])
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": paths}
    filtered = [sys.executable, str(Path(__file__).with_name("under_filter.py")), str(unit)]
    state = tmp_path / "state"
    daemon = [sys.executable, "-m", "miad.app", "--paper", "--venue", "sim", "--duration", "2", "--speed", "20", "--state", str(state)]

    result = subprocess.run([*filtered, *daemon], env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 0, result.stderr
    assert "projection" not in result.stderr
    counted = [sys.executable, "-m", "mia.cli.main", "db", "query", "SELECT COUNT(*) AS n FROM decisions", "--json", "--state", str(state)]
    answer = subprocess.run(counted, env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(answer.stdout)[0]["n"] > 0, answer.stderr


def test_the_rules_are_really_applied(analyze: str) -> None:
    code = "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_EXEC | mmap.PROT_WRITE)"
    filtered = [sys.executable, str(Path(__file__).with_name("under_filter.py")), str(SYSTEM), sys.executable, "-c", code]

    result = subprocess.run(filtered, capture_output=True, text=True, check=False)

    assert "PermissionError" in result.stderr
