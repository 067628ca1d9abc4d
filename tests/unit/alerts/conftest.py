"""A real Mosquitto on a free port of this machine, and what its own client hears there."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
MOSQUITTO_SUB = shutil.which("mosquitto_sub")
MOSQUITTO_PUB = shutil.which("mosquitto_pub")
WAIT_S = 15.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(is_true: Callable[[], Any], what: str = "", limit_s: float = WAIT_S) -> None:
    """Return as soon as it is; fail after limit_s."""
    deadline = time.monotonic() + limit_s
    while not is_true():
        assert time.monotonic() < deadline, f"waited {limit_s} s in vain for {what or is_true}"
        time.sleep(0.01)


class Broker:
    """One Mosquitto process that can be killed, stopped for a while, and started again on its port."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join((f"listener {self.port} 127.0.0.1", "persistence false", "user root", *lines)) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._listens, "mosquitto to listen")

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "mosquitto ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True


class Subscriber:
    """`mosquitto_sub -t '#'`: every message that it prints. It listens when the constructor returns."""

    def __init__(self, port: int, folder: Path, *options: str) -> None:
        assert MOSQUITTO_SUB is not None
        self._out = folder / f"heard-{time.monotonic_ns()}"
        form = '{"topic":"%t","qos":%q,"retain":%r,"payload":%p}'
        with self._out.open("wb") as file:
            self._process = subprocess.Popen(
                [MOSQUITTO_SUB, "-h", "127.0.0.1", "-p", str(port), "-t", "#", "-q", "1", "-F", form, *options], stdout=file
            )
        assert MOSQUITTO_PUB is not None
        subprocess.run([MOSQUITTO_PUB, "-h", "127.0.0.1", "-p", str(port), "-t", "probe", "-r", "-m", "1"], check=True)
        wait_for(lambda: b"probe" in self._out.read_bytes(), "mosquitto_sub to listen")

    def heard(self, leaf: str = "") -> list[dict[str, Any]]:
        """Messages so far whose topic ends so."""
        lines = self._out.read_bytes().split(b"\n")[:-1]
        return [m for m in map(msgspec.json.decode, lines) if m["topic"].startswith("mia/") and m["topic"].endswith(leaf)]

    def alerts(self) -> list[dict[str, Any]]:
        return [m["payload"] for m in self.heard() if "/alert/" in m["topic"]]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """A broker with further configuration lines; not started."""
    if MOSQUITTO is None or MOSQUITTO_SUB is None:
        pytest.skip("mosquitto and mosquitto-clients are not installed")
    made: list[Broker] = []

    def make(*lines: str) -> Broker:
        made.append(Broker(tmp_path, *(lines or ("allow_anonymous true",))))
        return made[-1]

    yield make
    for broker in made:
        broker.kill()


@pytest.fixture
def subscribe(tmp_path: Path) -> Iterator[Callable[..., Subscriber]]:
    """A mosquitto_sub at a port; ended with the test."""
    made: list[Subscriber] = []

    def start(port: int, *options: str) -> Subscriber:
        made.append(Subscriber(port, tmp_path, *options))
        return made[-1]

    yield start
    for subscriber in made:
        subscriber.close()
