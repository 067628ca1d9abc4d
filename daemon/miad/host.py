"""What a connection of a real venue may ask of the process: time, and a way in for frames, reports and its own condition."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from mia.domain.errors import FailStop
from mia.domain.events import AnyEvent
from mia.ports import Clock, Codec, Link
from miad.core import Core

_LEVELS: Final = {Link.CONNECTING: logging.INFO, Link.UP: logging.INFO, Link.DEGRADED: logging.WARNING, Link.DOWN: logging.INFO}
_log = logging.getLogger("miad.link")


class EventHost:
    """`mia.ports.Host` on the event loop's thread. An error of the core ends the process: its caller, a socket, must not swallow it."""

    def __init__(self, clock: Clock, fail: Callable[[BaseException], None], on_link: Callable[[str, Link, str], None]) -> None:
        """fail: ends the process. on_link: a connection changed."""
        self._clock: Final = clock
        self._fail: Final = fail
        self._on_link: Final = on_link
        self._core: Core | None = None
        self._early: list[AnyEvent] = []  # reports that came before the core; a fill is told only once
        self._is_over = False
        self._has_failed = False
        self.last_frame_s = 0.0  # monotonic

    def attach(self, core: Core) -> None:
        """The core has recovered: from now on events are taken, the reports that came while it did so first."""
        self._core = core
        early, self._early = self._early, []
        for event in early:
            self.report(event)

    def detach(self) -> None:
        """Nothing is taken any more: the journal is about to close."""
        self._core = None
        self._is_over = True

    def now_ns(self) -> int:
        """See mia.ports.Host."""
        return self._clock.now_ns()

    def frame(self, codec: Codec, payload: bytes) -> None:
        """See mia.ports.Host."""
        core = self._core
        if core is None or self._has_failed:
            return
        self.last_frame_s = monotonic()
        try:
            core.on_frame(codec, payload, self._clock.now_ns())
        except Exception as e:
            self._failed(e)

    def report(self, event: AnyEvent) -> None:
        """See mia.ports.Host."""
        core = self._core
        if core is None and not self._is_over:
            self._early.append(event)
        if core is None or self._has_failed:
            return
        try:
            core.report(event, self._clock.now_ns())
        except Exception as e:
            self._failed(e)

    def link(self, name: str, state: Link, detail: str = "") -> None:
        """See mia.ports.Host."""
        _log.log(_LEVELS[state], "link %s %s%s", name, state.value, f": {detail}" if detail else "")
        self._on_link(name, state, detail)

    def _failed(self, error: Exception) -> None:
        self._has_failed = True
        self._fail(error if isinstance(error, FailStop) else FailStop(f"the decision path failed: {type(error).__name__}: {error}"))
