"""What leaves the core for the slow lane: one append on the hot path; a task carries it to alerts, channels and the log."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from mia.alerts.message import title_of
from mia.domain.effects import AnyEffect, Halt, RaiseAlert, RecordDecision, RecordTrade
from mia.domain.events import AnyEvent, OrderFilled
from mia.engine.engine import Engine
from mia.ports import Alerts

_ROOM: Final = 8192
_EVERY_S: Final = 0.05
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR, "urgent": logging.CRITICAL}
_log = logging.getLogger("miad.trading")


class Channels(Alerts, Protocol):
    """Where alerts, decisions and fills go (`mia.alerts.hub.AlertHub`)."""

    def publish_decision(self, decision: RecordDecision) -> None:
        """One decision."""
        ...

    def publish_fill(self, fill: OrderFilled) -> None:
        """One fill of ours."""
        ...


class Also(Protocol):
    """Another that wants to know (`miad.metering.Metering`)."""

    def effects(self, event: AnyEvent, effects: Sequence[AnyEffect]) -> None:
        """An event with its effects."""
        ...

    def fill(self, fill: OrderFilled) -> None:
        """A fill of ours."""
        ...


class Listener:
    """Bounded: when the slow lane cannot follow, the oldest are dropped and counted (journal and database have everything)."""

    def __init__(self, engine: Engine, channels: Channels) -> None:
        self._engine: Final = engine
        self._channels: Final = channels
        self._queue: Final[deque[tuple[AnyEvent, Sequence[AnyEffect]]]] = deque(maxlen=_ROOM)
        self._heard = 0
        self._taken = 0
        self.decisions: Final[dict[int, RecordDecision]] = {}  # the last one of each lane
        self.also: Also | None = None  # is given everything, in the slow lane

    def effects(self, event: AnyEvent, effects: Sequence[AnyEffect]) -> None:
        """`core.listener`."""
        self._heard += 1
        self._queue.append((event, effects))

    def report(self, event: AnyEvent) -> None:
        """`core.report_listener`."""
        self._heard += 1
        self._queue.append((event, ()))

    @property
    def waiting(self) -> int:
        """Queue depth."""
        return len(self._queue)

    @property
    def dropped(self) -> int:
        """What the queue had no room for."""
        return self._heard - self._taken - len(self._queue)

    async def run(self) -> None:
        """Until canceled."""
        while True:
            self.drain()
            await asyncio.sleep(_EVERY_S)

    def drain(self) -> None:
        """Everything that waits now."""
        queue, also = self._queue, self.also
        for _ in range(len(queue)):
            event, effects = queue.popleft()
            self._taken += 1
            if effects and also is not None:
                also.effects(event, effects)
            for effect in effects:
                self._effect(effect)
            if not effects and type(event) is OrderFilled:  # with effects it came before
                self._fill(event)
                if also is not None:
                    also.fill(event)

    def _effect(self, effect: AnyEffect) -> None:
        if type(effect) is RecordDecision:
            self.decisions[effect.lane] = effect
            self._channels.publish_decision(effect)
            if effect.order_ids:
                symbol = self._engine.markets[effect.instrument].symbol
                _log.info("%s %s: signal %+.3f, alpha %.3f", effect.decision, symbol, effect.signal, effect.alpha)
        elif type(effect) is RaiseAlert:
            _log.log(_LEVELS.get(effect.severity, logging.WARNING), "%s: %s", title_of(effect.code), effect.text)
            self._channels.raise_alert(effect.severity, effect.code, effect.text)
        elif type(effect) is Halt:
            self._channels.raise_alert("urgent", "halt", effect.reason)
        elif type(effect) is RecordTrade and effect.is_closed:
            currency = self._engine.state.portfolio.currency
            _log.info("trade %s closed: %+.2f %s after fees", effect.trade_id, effect.profit_e8 / 1e8, currency)

    def _fill(self, fill: OrderFilled) -> None:
        definition = self._engine.markets[fill.instrument].definition
        verb = "bought" if fill.side > 0 else "sold"
        _log.info("%s %s %s at %s", verb, definition.quantity(fill.qty_lots), definition.symbol, definition.price(fill.price_ticks))
        self._channels.publish_fill(fill)
