"""The opening of a run at a venue that we are connected to."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from mia.domain.errors import FeedLost
from mia.domain.events import AnyEvent, HistoryLoaded, Trade, TradingDisabled, TradingEnabled
from mia.ports import Link
from miad import connected
from miad.connected import ConnectedRun
from miad.signals import StopFlag
from miad.states import BROKER_LINK

NOW_NS = 1_000_000_000_000


class Core:
    def __init__(self) -> None:
        self.engine = SimpleNamespace(state=SimpleNamespace(now_ns=0, blocks=[]), markets=[])
        self.told: list[AnyEvent] = []
        self.seq = 0

    def advance(self, until_ns: int) -> None:
        self.engine.state.now_ns = max(self.engine.state.now_ns, until_ns)

    def market(self, events: tuple[Trade, ...], ts_ns: int) -> None:
        self.told += events
        self.advance(ts_ns)

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

    async def trades_since(self, instrument: int, from_ns: int) -> list[Trade]:
        if instrument == 2:
            raise FeedLost("no answer")
        return [Trade(0, ts, ts, instrument, 100, 1, 1, ts) for ts in range(NOW_NS - 10 + instrument, NOW_NS, 2)]

    async def reconcile(self) -> None:
        assert self.run is not None
        for link in self.links:
            self.run.on_link("broker", link)


def opened(monkeypatch: pytest.MonkeyPatch, *links: Link, markets: int = 0) -> tuple[ConnectedRun, list[AnyEvent]]:
    monkeypatch.setattr(connected, "open_run", lambda *_: None)
    core, venue = Core(), Venue(*links)
    core.engine.markets += [SimpleNamespace(index=i, lanes=[1], symbol=f"S{i}") for i in range(markets)]
    here: Any = SimpleNamespace(attach=lambda core: None, now_ns=lambda: NOW_NS, start=lambda *_: None)
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


def test_the_past_of_several_instruments_goes_in_by_time_each_trade_at_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _, told = opened(monkeypatch, Link.UP, markets=3)

    trades = [e for e in told if isinstance(e, Trade)]
    assert [(e.ts_recv_ns - NOW_NS, e.instrument) for e in trades] == [(n, n % 2) for n in range(-10, 0)]
    assert [(e.instrument, e.events) for e in told if isinstance(e, HistoryLoaded)] == [(0, 5), (1, 5)]
