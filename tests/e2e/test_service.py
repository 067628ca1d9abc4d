"""The daemon as a service: commands, signals, systemd's datagrams, states with reasons, and parts that fail beside trading."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mia.domain.effects import CancelOrder, SubmitOrder
from mia.domain.events import ConfigChanged, Kill, TradingDisabled
from mia.store.reader import JournalReader

Exports = Callable[[Path], dict[str, bytes]]


def ask(state: Path, verb: str, **args: Any) -> dict[str, Any]:
    """One request over the control socket; the answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(state / "control.sock"))
        client.sendall(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
        with client.makefile("rb") as answers:
            found: dict[str, Any] = json.loads(answers.readline())
    return found


def status(state: Path) -> dict[str, Any]:
    return ask(state, "status")["result"]  # type: ignore[no-any-return]


def until(claim: Callable[[], Any], what: str) -> Any:
    """Wait for a claim to become true; what it gave."""
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        found = claim()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")


def holder(miad: Any) -> None:
    """Trade so that a position with stop and take is open almost at once and stays."""
    miad.edit(r'^instrument = "sim:SIMUSD"\nstrategy = .*\nparams = .*$', 'instrument = "sim:SIMUSD"\nstrategy = "rule:buy_and_hold"')


@pytest.fixture
def running(miad: Any, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A daemon on the simulated market that holds a protected position."""
    holder(miad)
    state = tmp_path / "state"
    process = miad.start("--venue", "sim", "--state", state)
    miad.wait_until_trading(process)
    until(lambda: status(state)["instruments"][0]["open_orders"] == 2, "a protected position")
    yield process, state
    if process.poll() is None:
        process.kill()
        process.communicate()


# --- control ------------------------------------------------------------------------------------------------------------
def test_status_tells_everything_an_operator_asks(running: tuple[subprocess.Popen[str], Path]) -> None:
    process, state = running

    found = status(state)

    assert (found["pid"], found["state"], found["mode"], found["venue"], found["run"]) == (process.pid, "READY", "paper", "sim", 1)
    assert found["reasons"] == []
    (instrument,) = found["instruments"]
    assert float(instrument["position"]) > 0
    assert float(instrument["stop"]) < float(instrument["entry"]) < float(instrument["take"])
    assert float(instrument["bid"]) < float(instrument["ask"])
    assert float(found["equity"]) > 0
    assert found["lanes"][0]["last_decision"] in ("buy", "hold", "refused")
    assert {"decisions", "listener", "alerts", "heartbeat"} <= set(found["tasks"])
    assert found["decision_latency"]["n"] > 0
    assert found["journal_bytes"] > 0
    assert found["rss_mb"] > 10


def test_pause_and_resume(running: tuple[subprocess.Popen[str], Path]) -> None:
    _, state = running

    paused = ask(state, "pause", reason="lunch")["result"]
    word, reasons = status(state)["state"], status(state)["reasons"]
    alerts = until(lambda: status(state)["alerts"].get("warning"), "an alert of the pause")
    resumed = ask(state, "resume")["result"]

    assert alerts >= 1
    assert (paused["after"], word, resumed["after"]) == ("NO_NEW", "NO_NEW", "READY")
    assert (paused["before"], resumed["before"]) == ("READY", "NO_NEW")
    assert "lunch" in reasons[0]
    assert status(state)["reasons"] == []


def test_flatten_closes_the_position_and_opens_nothing(running: tuple[subprocess.Popen[str], Path]) -> None:
    _, state = running

    assert ask(state, "flatten")["result"]["after"] == "NO_NEW"

    until(lambda: float(status(state)["instruments"][0]["position"]) == 0, "flat")
    assert until(lambda: status(state)["instruments"][0]["open_orders"] == 0, "no orders")


def test_a_kill_is_durable_and_holds_until_the_reset(running: tuple[subprocess.Popen[str], Path], miad: Any) -> None:
    process, state = running
    position = status(state)["instruments"][0]["position"]

    killed = ask(state, "kill", reason="fat finger")
    miad.end(process)  # as by kill -9, at once

    assert killed["result"]["after"] == "KILLED"
    entries = list(JournalReader(state / "journal"))
    assert [e.event.reason for e in entries if isinstance(e.event, Kill)] == ["fat finger"]
    assert not any(isinstance(effect, CancelOrder) for e in entries for effect in e.effects)  # protection stays
    orders = sum(isinstance(effect, SubmitOrder) for e in entries for effect in e.effects)
    process = miad.start("--venue", "sim", "--state", state)
    miad.wait_until_trading(process)
    again = status(state)
    assert again["state"] == "KILLED"
    assert "fat finger" in again["reasons"][0]
    assert again["instruments"][0]["position"] == position
    refused = ask(state, "resume")
    assert (refused["ok"], refused["exit_code"]) == (False, 6)
    assert ask(state, "resume", reset=True)["result"]["after"] == "READY"
    assert miad.end(process, signal.SIGTERM).code == 0
    after = sum(isinstance(effect, SubmitOrder) for e in JournalReader(state / "journal") for effect in e.effects)
    assert after == orders
    assert not (state / "killed").exists()


def test_a_kill_outlives_the_journal(running: tuple[subprocess.Popen[str], Path], miad: Any) -> None:
    process, state = running
    ask(state, "kill")
    miad.end(process)
    for name in ("journal", "snapshots"):
        shutil.rmtree(state / name)
    (state / "miad.db").unlink()

    process = miad.start("--venue", "sim", "--state", state)
    miad.wait_until_trading(process)

    assert status(state)["state"] == "KILLED"
    assert miad.end(process, signal.SIGTERM).code == 0


@pytest.mark.parametrize(("verb", "code"), [("pause", 6), ("kill", 6), ("dance", 2)])
def test_a_replay_answers_and_takes_no_commands(miad: Any, recording: Path, tmp_path: Path, verb: str, code: int) -> None:
    state = tmp_path / "state"
    process = miad.start("--replay", recording, "--speed", "1", "--state", state)
    miad.wait_until_trading(process)

    answer = ask(state, verb)

    assert (answer["ok"], answer["exit_code"]) == (False, code)
    assert status(state)["mode"] == "replay"
    assert miad.end(process, signal.SIGINT).code == 0


# --- signals --------------------------------------------------------------------------------------------------------------
def test_without_a_terminal_a_hang_up_reloads_what_may_change_and_names_the_rest(running: Any, miad: Any) -> None:
    process, state = running
    miad.edit(r"^quote_age_ms_max = .*", "quote_age_ms_max = 1500")
    miad.edit(r"^drawdown_max = .*", "drawdown_max = 0.5")
    miad.edit(r"^merge_window_s = .*", "merge_window_s = 30.0")
    miad.edit(r'^cash = "10000"', 'cash = "5000"')

    process.send_signal(signal.SIGHUP)
    until(lambda: any(isinstance(e.event, ConfigChanged) for e in JournalReader(state / "journal")), "ConfigChanged")
    answer = ask(state, "reload")
    ended = miad.end(process, signal.SIGTERM)

    assert ended.code == 0, ended.err
    assert "reload: risk.quote_age_ms_max = 1500" in ended.err
    assert "reload: alerts.merge_window_s = 30.0" in ended.err
    assert "reload: paper.cash: waits for a restart" in ended.err
    assert "reload: risk.drawdown_max: a limit may only become tighter" in ended.err
    assert all(key in answer["result"]["follows"] for key in ("paper.cash", "risk.drawdown_max"))  # the two that wait


def test_a_file_that_does_not_load_changes_nothing(running: Any, miad: Any) -> None:
    process, state = running
    miad.edit(r"^drawdown_max = .*", "drawdown_max = nan")

    answer = ask(state, "reload")
    ended = miad.end(process, signal.SIGTERM)

    assert (answer["ok"], answer["exit_code"]) == (False, 4)
    assert "nothing changed" in ended.err
    assert not any(isinstance(e.event, ConfigChanged) for e in JournalReader(state / "journal"))


def test_when_the_terminal_is_gone_it_stops_in_order(miad: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    pid, terminal = pty.fork()
    if pid == 0:  # a session of its own, with this pseudo-terminal as its controlling one
        from tests.e2e.conftest import ROOT

        environment = {**os.environ, "HOME": str(miad.home), "PYTHONPATH": f"{ROOT}:{ROOT / 'daemon'}"}
        command = ["-m", "miad.app", "--paper", "--config", str(miad.config), "--state", str(state)]
        os.execve(sys.executable, [sys.executable, *command], environment)
    seen = b""
    while b" trading " not in seen:
        seen += os.read(terminal, 4096)

    os.close(terminal)

    code = until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, "the end")
    assert code
    kinds = [e.event.reason for e in JournalReader(state / "journal") if isinstance(e.event, TradingDisabled)]
    assert kinds == ["shutdown"]


def test_a_dump_shows_tasks_and_threads(running: Any, miad: Any) -> None:
    process, _ = running

    process.send_signal(signal.SIGUSR1)
    time.sleep(0.3)
    ended = miad.end(process, signal.SIGTERM)

    assert ended.code == 0
    for word in ("task decisions", "task heartbeat", "thread journal-sync", "run_paced"):
        assert word in ended.err


# --- systemd ----------------------------------------------------------------------------------------------------------------
def test_systemd_hears_ready_signs_of_life_and_the_end(miad: Any, tmp_path: Path) -> None:
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(0.02)

        def hears(start: str) -> bool:
            """Read on, as systemd does: what waits in the socket is soon full, and a daemon does not wait for its reader."""
            with contextlib.suppress(TimeoutError):
                while True:
                    heard.append(listener.recv(4096).decode())
            return any(text.startswith(start) for text in heard)

        process = miad.start("--state", tmp_path / "state", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        until(lambda: hears("READY=1\nSTATUS="), "READY")
        until(lambda: hears("-") or heard.count("WATCHDOG=1") >= 5, "signs of life")
        process.send_signal(signal.SIGHUP)
        until(lambda: hears("RELOADING=1\nMONOTONIC_USEC="), "RELOADING")
        until(lambda: hears("-") or heard[-1].startswith("WATCHDOG=1"), "a sign of life after the reload")
        process.send_signal(signal.SIGTERM)
        until(lambda: hears("STOPPING=1"), "STOPPING")
        process.communicate(timeout=30)
        assert process.returncode == 0

    ready, reloading, stopping = (
        next(i for i, text in enumerate(heard) if text.startswith(start))
        for start in ("READY=1\nSTATUS=", "RELOADING=1\nMONOTONIC_USEC=", "STOPPING=1")
    )
    assert ready < reloading < stopping
    assert heard[reloading + 1].startswith("READY=1")


# --- bad ends and parts that fail -----------------------------------------------------------------------------------------------
def test_after_three_bad_ends_it_only_manages_exits_until_the_reset(miad: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for _ in range(3):
        process = miad.start("--state", state)
        miad.wait_until_trading(process)
        miad.end(process)

    process = miad.start("--state", state)
    miad.wait_until_trading(process)

    found = status(state)
    assert found["state"] == "SAFE"
    assert "mia resume --reset" in found["reasons"][0]
    assert ask(state, "resume", reset=True)["result"]["after"] in ("READY", "DEGRADED")
    assert miad.end(process, signal.SIGTERM).code == 0


def test_a_part_that_cannot_start_makes_it_degraded_and_nothing_more(miad: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "control.sock").mkdir(parents=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        miad.edit(r"^port = 0 .*two daemons.*", f"port = {taken.getsockname()[1]}")
        ended = miad.run("--state", state, "--duration", "0.5")

    assert ended.code == 0, ended.err
    assert re.search(r"DEGRADED.*control.*in the way", ended.err)
    assert re.search(r"metrics: cannot listen on .*give another", ended.err)
    assert re.search(r"state DEGRADED\(.*metrics-endpoint", ended.out)
    assert "Traceback" not in ended.err


def test_an_old_socket_file_is_no_trouble(running: Any, miad: Any) -> None:
    process, state = running
    miad.end(process)
    assert (state / "control.sock").is_socket()

    process = miad.start("--state", state)
    miad.wait_until_trading(process)

    assert ask(state, "ping")["ok"]
    assert miad.end(process, signal.SIGTERM).code == 0
    assert not (state / "control.sock").exists()


# --- both loops -------------------------------------------------------------------------------------------------------------------
@pytest.mark.data
@pytest.mark.parametrize("speed", ["max", "100"])
def test_asyncio_without_uvloop_writes_the_same_bytes(
    miad: Any, recording: Path, reference: Path, tmp_path: Path, exports: Exports, speed: str
) -> None:
    ended = miad.run("--replay", recording, "--speed", speed, "--state", tmp_path / "state", MIA_EVENT_LOOP="asyncio")

    assert ended.code == 0, ended.err
    assert exports(tmp_path / "state") == exports(reference)


def test_asyncio_without_uvloop_trades_and_ends_in_order(miad: Any, tmp_path: Path) -> None:
    holder(miad)
    process = miad.start("--state", tmp_path / "state", MIA_EVENT_LOOP="asyncio")
    miad.wait_until_trading(process)
    until(lambda: status(tmp_path / "state")["fills"] > 0, "a fill")

    ended = miad.end(process, signal.SIGTERM)

    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err


def test_a_reload_brings_alerts_to_another_broker(running: Any, miad: Any) -> None:
    process, state = running
    miad.edit(r"^\[mqtt\]\nenabled = false", "[mqtt]\nenabled = true")
    miad.edit(r"^port = 1883", "port = 1")  # nobody listens there

    follows = ask(state, "reload")["result"]["follows"]

    assert follows == "mqtt.enabled = True; mqtt.port = 1"
    until(lambda: [link for link in status(state)["links"] if link["name"] == "mqtt"], "the link to the broker")
    assert "alerts" in status(state)["tasks"]
    assert miad.end(process, signal.SIGTERM).code == 0
