"""The file when the disk, the folder or somebody else interferes; crashes and missing terminals, in processes of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mia.telemetry.log_sinks import LogFile


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


def make(folder: Path, told: list[tuple[str, str]]) -> LogFile:
    return LogFile(folder, bytes_max=1 << 20, keep=2, tell=lambda level, text: told.append((level, text)))


def test_a_file_moved_away_by_somebody_is_opened_anew(tmp_path: Path, told: list[tuple[str, str]]) -> None:
    file = make(tmp_path, told)
    file.write([b"one\n"])
    file.path.rename(tmp_path / "moved")

    file._looked_s = 0.0  # the next look is due
    file.write([b"two\n"])

    assert file.path.read_bytes() == b"two\n"
    assert (tmp_path / "moved").read_bytes() == b"one\n"


def test_half_a_line_from_a_power_cut_does_not_swallow_the_next(tmp_path: Path, told: list[tuple[str, str]]) -> None:
    (tmp_path / "miad.log").write_bytes(b'{"event":"ha')

    make(tmp_path, told).write([b"whole\n"])

    assert (tmp_path / "miad.log").read_bytes() == b'{"event":"ha\nwhole\n'


def test_a_file_is_tried_again_and_says_how_much_is_missing(tmp_path: Path, told: list[tuple[str, str]]) -> None:
    folder = tmp_path / "logs"
    folder.write_text("in the way")
    file = make(folder, told)
    assert file.write([b"1\n", b"2\n"]) == 2
    assert file.write([b"3\n"]) == 1  # not tried yet: the next attempt has its time
    folder.unlink()

    file._retry_s = 0.0
    assert file.write([b"4\n"]) == 0

    assert file.path.read_bytes() == b"4\n"
    assert [level for level, _ in told] == ["error", "info"]
    assert "3 lines are missing" in told[1][1]
    assert file.failed == 3


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path) -> None:
    limit = 10_000
    code = f"""
        import resource, signal
        from pathlib import Path
        from mia.telemetry.log_sinks import LogFile
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        told = []
        file = LogFile(Path({str(tmp_path)!r}), bytes_max=1 << 20, keep=2, tell=lambda level, text: told.append(text))
        lost = file.write([b"x" * 998 + b"\\n"] * 20)
        print(lost, len(told), "No space left" in told[0])
    """

    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=True)

    assert result.stdout.split() == ["10", "1", "True"]
    lines = (tmp_path / "miad.log").read_bytes().splitlines(keepends=True)
    assert lines == [b"x" * 998 + b"\n"] * 10


def run(code: str, folder: Path, **more: object) -> subprocess.CompletedProcess[str]:
    head = f"""
        import os, sys, threading
        from pathlib import Path
        from mia.telemetry import log
        from mia.telemetry.settings import LoggingSettings
        STATE = Path({str(folder)!r})
        def start(**settings):
            log.configure(LoggingSettings(**settings), state_dir=STATE)
    """
    program = textwrap.dedent(head) + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, **more)  # type: ignore[call-overload, no-any-return]


def read(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "logs" / "miad.log").read_text().splitlines()]


def test_an_uncaught_exception_is_in_the_file_and_one_line_on_the_console(tmp_path: Path) -> None:
    result = run(
        """
        start()
        for i in range(100):
            log.get_logger("x").info("before", i=i)
        raise ValueError("the\\nend")
        """,
        tmp_path,
        env={k: v for k, v in os.environ.items() if k != "MIA_TRACEBACK"},
    )

    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 101
    assert r"FATAL uncaught exception  (ValueError: the\nend" in lines[-1]
    found = read(tmp_path)
    assert len(found) == 101
    assert found[-1]["exception"][0]["type"] == "ValueError"  # type: ignore[index]


def test_what_was_logged_before_the_end_is_written_without_being_asked(tmp_path: Path) -> None:
    result = run("start()\nfor i in range(1000): log.get_logger('x').info('e', i=i)\n", tmp_path)

    assert result.returncode == 0
    assert [r["i"] for r in read(tmp_path)] == list(range(1000))


def test_without_any_terminal_the_file_goes_on_and_nothing_else_is_written_to(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
state = Path({str(tmp_path)!r})
innocent = os.open(state / "database", os.O_RDWR | os.O_CREAT)
assert innocent <= 2, innocent
from mia.telemetry import log
from mia.telemetry.settings import LoggingSettings
log.configure(LoggingSettings(level="trace"), state_dir=state)
log.get_logger("x").info("alone")
os.write(innocent, b"rows")
"""
    closed = f'exec 0<&- 1>&- 2>&-; exec {sys.executable} -c "$PROGRAM"'

    result = subprocess.run(["bash", "-c", closed], env={**os.environ, "PROGRAM": program}, timeout=60, check=False)

    assert result.returncode == 0
    assert (tmp_path / "database").read_bytes() == b"rows"
    assert "alone" in (tmp_path / "logs" / "miad.log").read_text()


def test_a_terminal_that_goes_away_changes_nothing(tmp_path: Path) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)

    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "from pathlib import Path; from mia.telemetry import log; from mia.telemetry.settings import LoggingSettings\n"
            f"log.configure(LoggingSettings(), state_dir=Path({str(tmp_path)!r}))\n"
            "for i in range(10): log.get_logger('x').info('e', i=i); log.flush()\n"
            "assert log.counters()['failed'] == 10, log.counters()",
        ],
        stderr=write_fd,
        timeout=60,
        check=False,
    )
    os.close(write_fd)

    assert result.returncode == 0
    assert len(read(tmp_path)) == 10


def test_importing_it_brings_neither_rich_nor_pygments(tmp_path: Path) -> None:
    result = run(
        "start(); assert 'structlog' in sys.modules; assert not {'rich', 'pygments', 'attr'} & set(sys.modules); import rich", tmp_path
    )

    assert result.returncode == 0, result.stderr


def test_under_journald_the_time_is_left_to_it_and_the_priority_told(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    found = os.fstat(theirs.fileno())

    subprocess.run(
        [
            sys.executable,
            "-c",
            "from mia.telemetry import log; from mia.telemetry.settings import LoggingSettings\n"
            "log.configure(LoggingSettings()); log.get_logger('x').warning('feed_lost', attempt=3)",
        ],
        stderr=theirs.fileno(),
        env={**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
        timeout=60,
        check=True,
    )
    theirs.close()

    assert ours.recv(4096) == b"<4>warn  feed lost  attempt=3\n"
    ours.close()
