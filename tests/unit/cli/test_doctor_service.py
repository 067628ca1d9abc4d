"""`mia doctor` on what a service needs: clocks, links, ports, what a killed daemon left."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from mia.cli.doctor_service import clock_skew_ms

Mia = Callable[..., Any]


@pytest.fixture
def config(tmp_path: Path, make_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("MIA__INSTANCE__VENUE", "sim")
    monkeypatch.setenv("MIA__METRICS__PORT", "0")
    return make_config(tmp_path / "miad.toml")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def late_server() -> Iterator[int]:
    """A venue whose clock is ten seconds behind ours."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"serverTime": time.time_ns() // 1_000_000 - 10_000}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def examine(mia: Mia, config: Path) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in json.loads(mia("doctor", "--json", "--config", config).out)["checks"]}


def test_a_sound_machine_has_nothing_to_say(config: Path, mia: Mia) -> None:
    checks = examine(mia, config)

    for name in ("venue", "mqtt", "metrics port", "daemon", "unit"):
        assert checks[name]["state"] == "ok", checks[name]
    assert checks["daemon"]["text"] == "not running"


def test_a_taken_metrics_port_is_named_with_its_key(config: Path, mia: Mia, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIA__METRICS__PORT", str(taken))

    check = examine(mia, config)["metrics port"]

    assert check["state"] == "warn"
    assert f"127.0.0.1:{taken}" in check["text"]
    assert "[metrics] port" in check["text"]


def test_a_broker_is_reached_or_said_to_be_away(config: Path, mia: Mia, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIA__MQTT__ENABLED", "true")
    monkeypatch.setenv("MIA__MQTT__PORT", str(taken))
    reached = examine(mia, config)["mqtt"]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening
        monkeypatch.setenv("MIA__MQTT__PORT", str(unused.getsockname()[1]))
        away = examine(mia, config)["mqtt"]

    assert (reached["state"], away["state"]) == ("ok", "warn")
    assert "start the broker" in away["text"]


def test_a_password_file_that_others_can_read_fails(config: Path, mia: Mia, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("canary")
    (tmp_path / "password").chmod(0o644)
    monkeypatch.setenv("MIA__MQTT__ENABLED", "true")
    monkeypatch.setenv("MIA__MQTT__USERNAME", "mia")
    monkeypatch.setenv("MIA__MQTT__PASSWORD_FILE", str(tmp_path / "password"))

    check = examine(mia, config)["mqtt password"]

    assert check["state"] == "fail"
    assert "chmod" in check["text"]
    assert "canary" not in check["text"]


def test_a_clock_that_is_off_fails(config: Path, mia: Mia, late_server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIA__INSTANCE__VENUE", "demo")
    monkeypatch.setenv("MIA__DEMO__PORT", str(late_server))

    skew_ms, _ = clock_skew_ms(f"http://127.0.0.1:{late_server}/api/v3/time")
    check = examine(mia, config)["venue clock"]

    assert 9_000 < skew_ms < 11_000
    assert check["state"] == "fail"
    assert "time service" in check["text"]


def test_a_demo_exchange_that_does_not_answer_is_said(config: Path, mia: Mia, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MIA__INSTANCE__VENUE", "demo")
        monkeypatch.setenv("MIA__DEMO__PORT", str(unused.getsockname()[1]))

        check = examine(mia, config)["venue clock"]

    assert check["state"] == "warn"
    assert "mia venue demo" in check["text"]


def test_what_a_killed_daemon_left_is_no_fault(config: Path, mia: Mia, tmp_path: Path) -> None:
    state = tmp_path / "state" / "miad" / "mia-paper"
    state.mkdir(parents=True, mode=0o700)
    (state / "lock").write_text(json.dumps({"pid": 999_999_999, "process_start": 1}))

    check = examine(mia, config)["daemon"]

    assert check["state"] == "ok"
    assert "cleared at the next start" in check["text"]


def test_a_log_folder_without_rights_is_warned_of(config: Path, mia: Mia, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = tmp_path / "state" / "miad" / "mia-paper" / "logs"
    logs.mkdir(parents=True)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != logs and access(path, mode))

    assert examine(mia, config)["log folder"]["state"] == "warn"
