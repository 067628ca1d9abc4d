"""The opening of a run at a venue that we are connected to."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from mia.domain.events import AnyEvent, TradingDisabled, TradingEnabled
from mia.ports import Link
from miad import connected
from miad.connected import ConnectedRun
from miad.signals import StopFlag
from miad.states import BROKER_LINK


class Core:
    def __init__(self) -> None:
        self.engine = SimpleNamespace(state=SimpleNamespace(now_ns=0, blocks=[]), markets=[])
        self.told: list[AnyEvent] = []

    def report(self, event: AnyEvent, now_ns: int) -> None:
        self.told.append(event)
        if isinstance(event, TradingDisabled):
            self.engine.state.blocks.append(event.reason)


class Venue:
    """Its order connection changes while it is asked what is open and held."""

    def __init__(self, *links: Link) -> None:
        self.links, self.run = links, None

    async def nothing(self) -> None:
        pass

    run_api = run_feed = wait_api = check_instruments = nothing

    async def reconcile(self) -> None:
        assert self.run is not None
        for link in self.links:
            self.run.on_link("broker", link)


def opened(monkeypatch: pytest.MonkeyPatch, *links: Link) -> tuple[ConnectedRun, list[AnyEvent]]:
    monkeypatch.setattr(connected, "open_run", lambda *_: None)
    core, venue = Core(), Venue(*links)
    here: Any = SimpleNamespace(attach=lambda core: None, now_ns=lambda: 1, start=lambda *_: None)
    run = ConnectedRun(core, venue, here, here, here, StopFlag())  # type: ignore[arg-type]
    venue.run = run  # type: ignore[assignment]
    asyncio.run(run.open(here, 1, ()))
    return run, core.told


def test_trading_begins_when_the_venue_said_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    _, told = opened(monkeypatch, Link.UP)

    assert told == [TradingEnabled(0, 0, 0)]


def test_an_order_path_that_was_lost_during_the_opening_blocks_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    run, told = opened(monkeypatch, Link.UP, Link.CONNECTING)
    at_opening = list(told)

    run.on_link("broker", Link.UP)

    assert at_opening == [TradingDisabled(0, 0, 0, BROKER_LINK), TradingEnabled(0, 0, 0)]
    assert told[2:] == [TradingEnabled(0, 0, 0, BROKER_LINK)]
