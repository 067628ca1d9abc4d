"""A run at an exchange that we are connected to: frames and reports are pushed into the core, time comes from our clock."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import chain
from typing import Any, Final, Protocol

import msgspec

from mia.domain.effects import SubmitOrder
from mia.domain.events import AnyEvent, HistoryLoaded, Trade, TradingDisabled, TradingEnabled
from mia.ports import Clock, Link
from mia.settings import Loaded
from miad.core import Core
from miad.host import EventHost
from miad.opening import open_run
from miad.signals import StopFlag
from miad.states import BROKER_LINK
from miad.tasks import Supervisor
from miad.understudy import Understudy

HISTORY_NS: Final = 75_000_000_000  # so much of the past makes the features warm before trading begins
_RECONCILE_EVERY_S: Final = 60.0
_CHECK_EVERY_S: Final = 0.05
_IDLE_S: Final = 0.02  # between timers when the decision path is not kept warm
_log = logging.getLogger("miad.connected")


class Rehearsal(Protocol):
    """The order path of a venue, up to its socket."""

    def play(self, order: SubmitOrder) -> None:
        """Take an order to nowhere."""
        ...


class Connection(Protocol):
    """What a run needs of the venue's connections (mia.venues.binance.connect.BinanceSpot)."""

    async def run_api(self) -> None:
        """Orders and account; until canceled."""
        ...

    async def run_feed(self) -> None:
        """Market data; until canceled."""
        ...

    async def wait_api(self) -> None:
        """Return when orders can be sent."""
        ...

    async def check_instruments(self) -> None:
        """ConfigError when the venue's grids are not ours."""
        ...

    async def trades_since(self, instrument: int, from_ns: int) -> Sequence[Trade]:
        """Public trades of the past, oldest first."""
        ...

    async def reconcile(self) -> None:
        """Report open orders, positions and balances through the host."""
        ...

    def rehearsal(self) -> Rehearsal:
        """What keeps its order path warm."""
        ...

    def counters(self) -> dict[str, int]:
        """What happened since the start, by name."""
        ...

    def warnings(self) -> list[str]:
        """One line for each thing that was skipped."""
        ...


class ConnectedRun:
    """Opens the run against the exchange, then keeps time while its frames come."""

    def __init__(
        self,
        core: Core,
        connection: Connection,
        host: EventHost,
        clock: Clock,
        loaded: Loaded,
        stop: StopFlag,
    ) -> None:
        self._core: Final = core
        self._connection: Final = connection
        self._host: Final = host
        self._clock: Final = clock
        self._loaded: Final = loaded
        self._stop: Final = stop
        self._is_begun = False  # RunStarted is in
        self._is_open = False  # TradingEnabled is in
        self._broker = Link.CONNECTING
        self._waiting: Final[list[AnyEvent]] = []

    async def open(self, tasks: Supervisor, run: int, first: Sequence[AnyEvent]) -> None:
        """RunStarted to TradingEnabled: connect, load the past, ask the venue what is open and held. Ends early when asked to stop.

        first: what stands before anything is decided.
        """
        core, connection = self._core, self._connection
        tasks.start("broker", connection.run_api)
        await self._unless_stopped(connection.wait_api())
        await self._unless_stopped(connection.check_instruments())
        if self._stop.reason:
            return
        begin_ns = max(core.engine.state.now_ns, self._clock.now_ns() - HISTORY_NS)
        open_run(core, self._loaded, run, begin_ns, (*first, *self._waiting))
        self._is_begun = True
        await self._unless_stopped(self._load_history(begin_ns))
        self._host.attach(core)
        tasks.start("feed", connection.run_feed)
        await self._unless_stopped(connection.reconcile())
        if self._stop.reason:
            return
        self._is_open = True
        if self._broker is not Link.UP:  # lost again since the venue said what is held
            self.tell(TradingDisabled(0, 0, 0, BROKER_LINK))
        self.tell(TradingEnabled(0, 0, 0))

    async def _load_history(self, from_ns: int) -> None:
        """Trades of the past go in as market events of their own time, all instruments together; without them features warm up live."""
        core, state = self._core, self._core.engine.state
        past: dict[int, Sequence[Trade]] = {}
        for market in core.engine.markets:
            if market.lanes or market.followers:
                try:
                    past[market.index] = await self._connection.trades_since(market.index, from_ns)
                except Exception as e:  # the past is a convenience
                    _log.warning("no history (%s: %s): the features warm up on live data", type(e).__name__, e)
        fed: dict[int, list[int]] = {}  # receive times by instrument
        now_ns = self._clock.now_ns()
        for trade in sorted(chain.from_iterable(past.values()), key=lambda trade: trade.ts_event_ns):
            ts = max(trade.ts_event_ns, state.now_ns)
            if trade.ts_event_ns < from_ns or ts > now_ns:
                continue
            core.advance(ts)
            core.market((msgspec.structs.replace(trade, seq=core.seq + 1, ts_recv_ns=ts),), ts)
            fed.setdefault(trade.instrument, []).append(ts)
        for instrument in past:
            times = fed.get(instrument, [0])
            symbol, count = core.engine.markets[instrument].symbol, len(fed.get(instrument, ()))
            core.report(HistoryLoaded(0, 0, 0, instrument, symbol, count, times[0], times[-1]), self._clock.now_ns())
            _log.info("history: %d trades of %s, %.0f s", count, symbol, (times[-1] - times[0]) / 1e9)

    async def _unless_stopped(self, what: Coroutine[Any, Any, Any] | Awaitable[Any]) -> None:
        """Await it, or the wish to stop, whichever comes first."""
        work = asyncio.ensure_future(what)
        if self._stop.reason:
            work.cancel()
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not work.done():
                work.cancel()
        if work.done() and not work.cancelled():
            work.result()

    async def run(self, between: Callable[[], None], deadline_s: float) -> None:
        """Timers, keeping warm, and what is looked at now and then; frames come by themselves in the meantime."""
        core, stop, clock, host = self._core, self._stop, self._clock, self._host
        warm_every_s = self._loaded.settings.engine.warm_every_ms / 1000
        warm_s = warm_every_s if warm_every_s > 0 else math.inf
        sleep_s = min(warm_s, _IDLE_S)
        understudy = Understudy(core.engine, self._connection.rehearsal().play) if warm_s < math.inf else None
        next_check = time.monotonic()
        while not stop.reason:
            await asyncio.sleep(sleep_s)
            core.advance(clock.now_ns())
            now = time.monotonic()
            if understudy is not None and now - host.last_frame_s >= warm_s:
                understudy.play()
            if now >= next_check:
                next_check = now + _CHECK_EVERY_S
                between()
                if now >= deadline_s:
                    stop.set("duration")

    async def reconcile_often(self) -> None:
        """Once a minute the venue's word on orders, positions and cash is taken; until canceled."""
        while True:
            await asyncio.sleep(_RECONCILE_EVERY_S)
            if BROKER_LINK not in self._core.engine.state.blocks:
                await self._connection.reconcile()

    def tell(self, event: AnyEvent) -> None:
        """Give the engine what the shell or the operator has to say (seq and ts_recv_ns are set here), now; else when the run begins."""
        if self._is_begun:
            self._core.report(event, self._clock.now_ns())
        else:
            self._waiting.append(event)

    def now_ns(self) -> int:
        """Receive time."""
        return self._clock.now_ns()

    def let_time_pass(self) -> None:
        """Timers that are due; reports come by themselves."""
        if self._is_begun:
            self._core.advance(self._clock.now_ns())

    def on_link(self, name: str, state: Link) -> None:
        """Without the order path nothing opens, until it is back (the connection reconciles before it says so)."""
        if name != "broker":
            return
        self._broker = state
        if not self._is_open:
            return
        is_blocked = BROKER_LINK in self._core.engine.state.blocks
        if state is Link.UP and is_blocked:
            self.tell(TradingEnabled(0, 0, 0, BROKER_LINK))
        elif state is not Link.UP and not is_blocked:
            self.tell(TradingDisabled(0, 0, 0, BROKER_LINK))
