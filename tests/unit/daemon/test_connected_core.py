"""A run at an exchange, with a real core: a lost order path keeps openings back, a failure in a socket's callback ends the process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mia.domain.errors import FailStop
from mia.domain.events import Pause
from mia.ports import Link
from mia.settings import load_settings
from miad.connected import ConnectedRun
from miad.host import EventHost
from miad.signals import StopFlag
from miad.states import BROKER_LINK
from tests.unit.daemon.test_core import START_NS, Frames, names, new_core, quote


class Clock:
    """Stands still."""

    def now_ns(self) -> int:
        return START_NS

    def jump_ms(self) -> int:
        return 0


class Venue:
    """An exchange that is there at once and knows nothing."""

    def __init__(self) -> None:
        self.run: Any = None

    async def run_api(self) -> None:
        await asyncio.Event().wait()

    run_feed = run_api

    async def wait_api(self) -> None:
        self.run.on_link("broker", Link.UP)

    async def check_instruments(self) -> None: ...

    async def trades_since(self, instrument: int, from_ns: int) -> list[Any]:
        return []

    async def reconcile(self) -> None: ...


class Tasks:
    """Starts nothing."""

    def start(self, name: str, make: Any) -> None: ...


def run_at(venue: Venue, *first: Any) -> tuple[ConnectedRun, Any, EventHost, StopFlag]:
    core, stop = new_core(), StopFlag()
    host = EventHost(Clock(), stop.fail, lambda name, state, detail: None)
    run = ConnectedRun(core, venue, host, Clock(), load_settings(), stop)  # type: ignore[arg-type]
    venue.run = run
    for event in first:
        run.tell(event)

    async def opened() -> None:
        stop.bind()
        await run.open(Tasks(), 1, [])  # type: ignore[arg-type]

    asyncio.run(opened())
    return run, core, host, stop


def test_without_the_order_path_nothing_opens_until_it_is_back() -> None:
    run, core, _, _ = run_at(Venue())
    state = core.engine.state
    assert state.is_enabled

    run.on_link("feed", Link.DEGRADED)
    assert state.is_enabled
    run.on_link("broker", Link.CONNECTING)
    run.on_link("broker", Link.DEGRADED)
    assert (state.is_enabled, state.blocks) == (False, [BROKER_LINK])
    run.on_link("broker", Link.UP)

    assert (state.is_enabled, state.blocks) == (True, [])
    assert names(core).count("TradingDisabled") == 1


def test_what_the_operator_said_before_the_run_began_stands_before_the_first_decision() -> None:
    _, core, _, _ = run_at(Venue(), Pause(0, 0, 0, "lunch"))

    assert names(core).index("Pause") < names(core).index("TradingEnabled")
    assert not core.engine.state.is_enabled


def test_a_failure_in_a_sockets_callback_ends_the_process_and_takes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    _, core, host, stop = run_at(Venue())
    monkeypatch.setattr(core.engine, "step", lambda event: 1 / 0)

    host.frame(Frames(quote()), b"")  # its caller, a socket, must not see the error
    taken = len(names(core))
    host.frame(Frames(quote()), b"")
    host.report(Pause(0, 0, 0, "lunch"))

    assert isinstance(stop.failure, FailStop)
    assert "ZeroDivisionError" in stop.reason
    assert len(names(core)) == taken


def test_the_first_failure_is_the_one_that_is_told() -> None:
    stop = StopFlag()

    stop.fail(FailStop("the disk"))
    stop.fail(FailStop("what followed"))
    stop.set("duration")

    assert (str(stop.failure), stop.reason) == ("the disk", "the disk")
