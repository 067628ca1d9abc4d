"""Trading at the demo exchange, a process of its own: its death and ours are survived, and it never outlives us."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mia.domain.effects import SubmitOrder
from mia.domain.events import HistoryLoaded, OrderFilled, TradingDisabled, TradingEnabled
from mia.store.reader import JournalReader
from tests.e2e.test_service import ask, status, until


def exchange_of(state: Path) -> int | None:
    """Pid of the exchange that serves a state directory."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if b"mia.sim.servers.demo" in words and str(state / "demo").encode() in words:
                return int(entry.parent.name)
    return None


def start(miad: Any, state: Path) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = miad.start("--venue", "demo", "--state", state)
    miad.wait_until_trading(process)
    return process


def protected(state: Path) -> Any:
    """The instrument once it is held, with its protective levels (a spot venue holds no stops, the engine watches)."""

    def look() -> Any:
        found = status(state)["instruments"][0]
        return found if float(found["position"]) > 0 and found["stop"] else None

    return until(look, "a protected position")


@pytest.fixture
def trading(miad: Any, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A daemon that bought at the demo exchange and holds."""
    miad.edit(r'^instrument = "demo:SIMUSDT"\nstrategy = .*\nparams = .*$', 'instrument = "demo:SIMUSDT"\nstrategy = "rule:buy_and_hold"')
    state = tmp_path / "state"
    process = start(miad, state)
    yield process, state
    if process.poll() is None:
        process.kill()
        process.communicate()


def all_up(state: Path) -> dict[str, str]:
    """The links by name once all are up; empty before."""
    links = {link["name"]: link["state"] for link in status(state)["links"]}
    return links if set(links.values()) == {"up"} else {}


def orders(state: Path) -> list[str]:
    return [o.client_order_id for e in JournalReader(state / "journal") for o in e.effects if isinstance(o, SubmitOrder)]


def test_it_trades_there_and_ends_it_with_itself(trading: tuple[subprocess.Popen[str], Path], miad: Any) -> None:
    process, state = trading
    protected(state)
    links = until(lambda: all_up(state), "every link up")
    exchange = exchange_of(state)

    ended = miad.end(process, signal.SIGTERM)

    assert ended.code == 0, ended.err
    assert links == {"exchange": "up", "broker": "up", "feed": "up"}
    assert exchange is not None
    assert exchange_of(state) is None
    events = [e.event for e in JournalReader(state / "journal")]
    assert sum(event.events for event in events if isinstance(event, HistoryLoaded)) > 100
    assert any(isinstance(event, OrderFilled) for event in events)
    times = [event.ts_recv_ns for event in events]
    assert times == sorted(times)


def test_an_exchange_that_dies_stops_openings_until_it_is_back_and_reconciled(
    trading: tuple[subprocess.Popen[str], Path], miad: Any
) -> None:
    process, state = trading
    held = protected(state)["position"]
    sent = orders(state)
    first = exchange_of(state)
    assert first is not None

    os.kill(first, signal.SIGKILL)
    until(lambda: status(state)["state"] == "NO_NEW", "NO_NEW")
    until(lambda: exchange_of(state) not in (None, first), "another exchange")
    until(lambda: status(state)["state"] == "READY", "READY")
    again = protected(state)["position"]
    ended = miad.end(process, signal.SIGTERM)

    assert ended.code == 0, ended.err
    assert again == held
    assert orders(state)[: len(sent)] == sent
    assert len(set(orders(state))) == len(orders(state))
    entries = [e.event for e in JournalReader(state / "journal")]
    assert [e.reason for e in entries if isinstance(e, TradingDisabled)] == ["broker_link", "shutdown"]
    assert [e.reason for e in entries if isinstance(e, TradingEnabled)] == ["", "broker_link"]
    assert "was killed by signal 9" in ended.err


def test_killed_it_leaves_no_exchange_behind_and_comes_back_to_its_position(trading: tuple[subprocess.Popen[str], Path], miad: Any) -> None:
    process, state = trading
    held = protected(state)["position"]
    sent = orders(state)

    assert miad.end(process).code == -9
    until(lambda: exchange_of(state) is None, "the exchange ended by itself")
    process = start(miad, state)
    again = protected(state)["position"]
    paused = ask(state, "pause")["result"]["after"]
    ended = miad.end(process, signal.SIGINT)

    assert ended.code == 0, ended.err
    assert again == held
    assert orders(state) == sent
    assert paused == "NO_NEW"


def test_the_speed_reaches_the_exchange_and_max_is_refused(miad: Any, tmp_path: Path) -> None:
    fast = miad.run("--venue", "demo", "--speed", "50", "--state", tmp_path / "fast", "--duration", "3", MIA__METRICS__PORT="0")
    refused = miad.run("--venue", "demo", "--speed", "max", "--state", tmp_path / "max")

    assert fast.code == 0, fast.err
    events = int(re.search(r"\((\d+) of the market\)", fast.out)[1])  # type: ignore[index]
    assert events > 5_000  # 150 s of market
    assert refused.code == 4
    assert "give a number" in refused.error
