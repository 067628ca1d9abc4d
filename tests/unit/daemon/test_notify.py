"""What systemd hears, on a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from miad.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """(the listening end, its NOTIFY_SOCKET)."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@mia-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1) if request.param == "abstract" else address)
        listener.setblocking(False)
        yield listener, address


def lines(listener: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(listener.recv(4096).decode())
        except BlockingIOError:
            return found


def test_the_stages_are_told(heard: tuple[socket.socket, str]) -> None:
    listener, address = heard
    notifier = Notifier({"NOTIFY_SOCKET": address})

    notifier.extend(10)
    notifier.extend(10)  # not again so soon
    notifier.ready("READY")
    notifier.reloading()
    notifier.stopping(20)

    extend, ready, reloading, stopping = lines(listener)
    assert extend == "EXTEND_TIMEOUT_USEC=10000000"
    assert ready == "READY=1\nSTATUS=READY"
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert stopping == "STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000"


def test_a_reload_before_the_start_is_over_or_after_the_end_began_does_not_say_ready(heard: tuple[socket.socket, str]) -> None:
    listener, address = heard
    notifier = Notifier({"NOTIFY_SOCKET": address})

    notifier.reloading()
    notifier.reloaded("STARTING")
    assert lines(listener) == []
    notifier.ready("READY")
    notifier.reloading()
    notifier.reloaded("READY")
    assert [text.split("\n")[0] for text in lines(listener)] == ["READY=1", "RELOADING=1", "READY=1"]
    notifier.stopping(20)
    notifier.reloading()
    notifier.reloaded("STOPPING")
    assert [text.split("\n")[0] for text in lines(listener)] == ["STOPPING=1"]


def test_words_with_line_breaks_cannot_say_more_than_a_status(heard: tuple[socket.socket, str]) -> None:
    listener, address = heard

    Notifier({"NOTIFY_SOCKET": address}).status("HALTED: odd\nMAINPID=1\rWATCHDOG=1")

    assert lines(listener) == ["STATUS=HALTED: odd MAINPID=1 WATCHDOG=1"]


def test_the_watchdog_hears_nothing_while_engine_time_stands(heard: tuple[socket.socket, str]) -> None:
    listener, address = heard
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": str(os.getpid())})

    for engine_ns in (0, 100, 100, 100, 200, 200):
        notifier.beat(engine_ns)

    assert lines(listener) == ["WATCHDOG=1"] * 2


@pytest.mark.parametrize("environ", [{}, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
def test_without_a_watchdog_of_ours_there_are_no_beats(heard: tuple[socket.socket, str], environ: dict[str, str]) -> None:
    listener, address = heard

    Notifier({"NOTIFY_SOCKET": address, **environ}).beat(100)

    assert lines(listener) == []


def test_a_listener_that_is_gone_disturbs_nobody(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready("READY")
    Notifier({}).ready("READY")
