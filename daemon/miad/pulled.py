"""A run on frames that we pull ourselves: recordings, and the market simulated in this process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from mia.domain.events import AnyEvent, TradingEnabled
from mia.ports import Codec
from mia.settings import Loaded
from miad.clock import SystemClock
from miad.core import Core
from miad.feeds import Source
from miad.loop import run_max, run_paced
from miad.opening import open_run
from miad.recovery import Recovered
from miad.references import ReferenceFiles
from miad.signals import StopFlag
from miad.understudy import Understudy

_FOREVER: Final = float("inf")


class PulledRun:
    """Opens the run, then drives the core from the source's frames."""

    def __init__(self, core: Core, source: Source, loaded: Loaded, speed: float, stop: StopFlag, references: ReferenceFiles) -> None:
        """references: their rows enter a replay at the recording's time."""
        self._core: Final = core
        self._source: Final = source
        self._loaded: Final = loaded
        self._speed: Final = speed
        self._stop: Final = stop
        self._references: Final = references

    async def open(self, recovered: Recovered, run: int, first: Sequence[AnyEvent]) -> None:
        """RunStarted to TradingEnabled; `first` stands before anything is decided. In a resumed replay no time passes by it."""
        core, engine, source = self._core, self._core.engine, self._source
        clock = self._clock = SystemClock(engine.state.now_ns)
        done = engine.state.counters.market_events
        self._codec, self._frames, leftover, begin_ns = source.resume(done, recovered, clock, core.seq)
        now_ns = engine.state.now_ns
        open_run(core, self._loaded, run, now_ns if source.is_replay and now_ns else max(begin_ns, now_ns), first)
        if not source.is_replay:
            self._frames = _warm_up(core, self._codec, self._frames, clock.now_ns())
        elif self._references.are_named:
            self._frames = self._references.into(core, self._frames)
        core.accept(TradingEnabled(core.seq + 1, 0, engine.state.now_ns))
        if leftover:  # the frame in which an earlier run ended
            core.market(leftover, max(leftover[0].ts_recv_ns, engine.state.now_ns))

    async def run(self, between: Callable[[], None], deadline_s: float) -> None:
        """Until the frames end, the duration is over, or somebody asks to stop."""
        core, stop = self._core, self._stop
        if self._speed == _FOREVER:
            await run_max(core, self._codec, self._frames, stop, between, deadline_s)
            return
        understudy = Understudy(core.engine)
        warm_every_ms = self._loaded.settings.engine.warm_every_ms
        await run_paced(core, self._codec, self._frames, stop, between, deadline_s, self._speed, understudy.play, warm_every_ms)

    def now_ns(self) -> int:
        """Engine time: a replay has no other, and the simulated market keeps its own pace."""
        return self._core.engine.state.now_ns

    def let_time_pass(self) -> None:
        """After the last frame, the venue's answers become due by our clock."""
        if not self._source.is_replay:
            self._core.advance(max(self._clock.now_ns(), self._core.engine.state.now_ns))

    def tell(self, event: AnyEvent) -> None:
        """Give the engine what the shell or the operator has to say (seq and ts_recv_ns are set here), in engine time."""
        self._core.report(event, self._core.engine.state.now_ns)


def _warm_up(core: Core, codec: Codec, frames: Iterator[tuple[int, bytes]], until_ns: int) -> Iterator[tuple[int, bytes]]:
    """What lies in the past goes by at once, before trading is enabled; the frames that follow."""
    for frame in frames:
        if frame[0] >= until_ns:
            return itertools.chain((frame,), frames)
        core.on_frame(codec, frame[1], frame[0])
    return frames
