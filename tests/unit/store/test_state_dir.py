"""The state directory: one holder, a run counter that only grows, errors that name the path."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from mia.domain.errors import AlreadyRunning, ConfigError, DataError
from mia.domain.events import OrderFilled
from mia.store import state_dir as module
from mia.store.journal import Journal
from mia.store.projection import Projector
from mia.store.queries import read_history, read_status
from mia.store.settings import StoreSettings
from mia.store.state_dir import StateDir, file_system_of, is_running, resolve_state_dir


@pytest.mark.parametrize(
    ("explicit", "environment", "expected"),
    [
        ("/x/y", {"STATE_DIRECTORY": "/s", "HOME": "/h"}, "/x/y"),
        (None, {"STATE_DIRECTORY": "/s:/other", "HOME": "/h"}, "/s/demo-paper"),
        (None, {"XDG_STATE_HOME": "/xdg", "HOME": "/h"}, "/xdg/miad/demo-paper"),
        (None, {"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/miad/demo-paper"),
        (None, {"HOME": "/h"}, "/h/.local/state/miad/demo-paper"),
    ],
)
def test_the_state_directory_follows_the_order_of_power(explicit: str | None, environment: dict[str, str], expected: str) -> None:
    found = resolve_state_dir(Path(explicit) if explicit else None, instance="demo", mode="paper", environment=environment)

    assert found == Path(expected)


def test_only_the_owner_may_look_inside(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "s")

    for path in (state.path, state.journal, state.snapshots, state.path / "logs" / "trading"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((state.path / "lock").stat().st_mode) == 0o600
    state.close()


HOLDER = """
import sys
from pathlib import Path
from mia.store.state_dir import StateDir
state = StateDir(Path(sys.argv[1]))
state.describe({"run": 3})
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_instance_is_refused_with_the_pid_of_the_first_until_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"

        with pytest.raises(AlreadyRunning, match=f"pid {process.pid}"):
            StateDir(tmp_path)
        assert is_running(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_running(tmp_path)
        StateDir(tmp_path).close()


def test_the_run_counter_only_grows_and_outlives_the_process(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert [state.next_run(), state.next_run(), state.next_run(above=40)] == [1, 2, 41]
    state.close()
    state = StateDir(tmp_path)
    assert state.next_run(above=7) == 42
    state.close()

    (tmp_path / "run").write_text("x")
    with pytest.raises(DataError, match="run counter is unreadable"):
        StateDir(tmp_path).next_run()


def test_a_path_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DataError, match=r"file.*cannot be used .*choose another --state"):
        StateDir(tmp_path / "file")
    with pytest.raises(DataError, match="cannot be used"):
        StateDir(tmp_path / "file" / "below")


def test_missing_rights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "s"))

    monkeypatch.setattr(Path, "mkdir", refused)

    with pytest.raises(DataError, match=r"/s: the state directory cannot be used \(Permission denied\): give this user rights"):
        StateDir(tmp_path / "s")


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file_system_of(Path("/proc")) == "proc"
    monkeypatch.setattr(module, "file_system_of", lambda path: "nfs4")

    with pytest.raises(DataError, match="network file system"):
        StateDir(tmp_path)


def test_status_and_history_read_beside_a_running_writer(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.describe({"run": state.next_run()})
    journal = Journal(state.journal, segment_bytes=65536)
    projector = Projector(tmp_path, mode="paper", journal_last_seq=0)
    projector.start()
    for seq in range(1, 11):
        fill = OrderFilled(seq, 0, seq, "mia", f"f{seq}", 0, 1, 100, 2, 5, False)
        journal.append_event(fill)
    assert projector.flush(10)

    status, fills = read_status(tmp_path), read_history(tmp_path, "fills", 3)

    assert status["is_running"] is True
    assert status["counters"]["fills"] == 10  # type: ignore[index]
    assert status["positions"] == [{"instrument": 0, "position_lots": 20, "ts_ns": 10}]
    assert status["lock"]["run"] == 1  # type: ignore[index]
    assert [f["fill_id"] for f in fills] == ["f10", "f9", "f8"]
    with pytest.raises(DataError, match="choose one of"):
        read_history(tmp_path, "secrets")
    projector.stop()
    journal.close()
    state.close()
    with pytest.raises(DataError, match="no such state directory"):
        read_status(tmp_path / "none")


def test_settings_are_bounded_and_unknown_keys_refused() -> None:
    assert StoreSettings().segment_bytes == 256 << 20
    with pytest.raises(ConfigError, match=r"\[store\] segment_mb must be between 1 and 4096, got 0"):
        StoreSettings(segment_mb=0)
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"segment_gb": 1}, StoreSettings)
