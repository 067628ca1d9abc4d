"""Secrets that the daemon is given are known to the log before anything can write of them; so is what dies unwatched on its loop."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mia.alerts.settings import MqttSettings
from mia.settings import load_settings
from mia.telemetry import log_hooks
from mia.telemetry.redact import HIDDEN, REDACTOR
from miad import demo, eventloop
from miad.alerting import opener
from miad.states import Health
from tests.unit.daemon.test_core import started


def test_the_brokers_password_is_in_no_log(tmp_path: Path) -> None:
    secret = "hunter2-canary-of-the-broker"
    file = tmp_path / "password"
    file.write_text(secret)
    file.chmod(0o400)
    mqtt = MqttSettings(enabled=True, username="mia", password_file=str(file))
    settings = msgspec.structs.replace(load_settings().settings, mqtt=mqtt)
    health = Health()

    opener(tmp_path, started().engine, health, lambda name, state, detail: None, is_replay=False)(settings).close()

    assert health.degraded == {}
    assert REDACTOR.text(f"sent {secret} to the broker") == f"sent {HIDDEN} to the broker"


def test_the_exchanges_key_is_in_no_log() -> None:
    ready = {"stream": "ws://127.0.0.1:1", "api": "ws://127.0.0.1:2", "api_key": "canary-key-0123456789", "secret": "canary-9876543210"}

    demo._places(ready)

    assert REDACTOR.text(f"{ready['secret']} {ready['api_key']}") == f"{HIDDEN} {HIDDEN}"


@pytest.mark.parametrize("wanted", ["", "asyncio"])
def test_a_callback_that_fails_on_the_daemons_loop_is_a_record(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setattr(eventloop, "WANTED", wanted)
    seen: list[Any] = []
    monkeypatch.setattr(log_hooks, "emit", lambda *args, **more: seen.append(args[2]))

    async def main() -> int:
        asyncio.get_running_loop().call_soon(os.stat, "/nobody/here")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return 7

    assert eventloop.run(main()) == 7
    assert len(seen) == 1
    assert "callback" in seen[0]
