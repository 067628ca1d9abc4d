"""Strategies around a strategy: one that notes what it saw and said, one that says what it is told to."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from mia.backtest.run.spec import RunSpec, build
from mia.engine.engine import Engine, EngineConfig
from mia.policy.strategy import Strategy, Target

NOTHING: Final = Target(0.0, 1.0, (0.0, 0.0, 0.0))
Wrap = Callable[[int, Strategy], Strategy]  # number of the lane, its strategy -> the one that trades
Change = Callable[[EngineConfig], EngineConfig]


class Asked(NamedTuple):
    """One question: when, the observation as its bytes (float32), the answer."""

    ts_ns: int
    obs: bytes
    target: Target


class Around:
    """Is asked in the place of another strategy, and like it in everything else. engine: set once it is built."""

    def __init__(self, inner: Strategy) -> None:
        self.inner: Final = inner
        self.engine: Engine | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def now_ns(self) -> int:
        """The engine's time."""
        return self.engine.state.now_ns if self.engine is not None else 0


class Noted(Around):
    """Says what the inner one says, and keeps all of it."""

    def __init__(self, inner: Strategy) -> None:
        super().__init__(inner)
        self.asked: Final[list[Asked]] = []
        self.first_mids2: tuple[int, ...] = ()  # doubled marks of all instruments at the first question

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        """See Strategy."""
        target = self.inner.evaluate(obs, regime_probs)
        if not self.asked and self.engine is not None:
            self.first_mids2 = tuple(self.engine.state.marks2)
        self.asked.append(Asked(self.now_ns, obs.tobytes(), target))
        return target


class Played(Around):
    """Answers from a list: the target whose time is the last at or before now; nothing before the first."""

    def __init__(self, inner: Strategy, times_ns: Sequence[int], targets: Sequence[Target]) -> None:
        super().__init__(inner)
        self._times: Final = times_ns
        self._targets: Final = targets

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        """See Strategy."""
        i = bisect.bisect_right(self._times, self.now_ns) - 1
        return self._targets[i] if i >= 0 else NOTHING


def engine_with(spec: RunSpec, wrap: Wrap, change: Change | None = None) -> Engine:
    """The engine of a run with other strategies in its lanes, and other parts where `change` says so."""
    config = build(spec).config
    lanes = tuple(msgspec.structs.replace(lane, strategy=wrap(i, lane.strategy)) for i, lane in enumerate(config.lanes))
    config = msgspec.structs.replace(config, lanes=lanes)
    engine = Engine(change(config) if change is not None else config)
    for lane in engine.lanes:
        strategy: Any = lane.strategy
        while isinstance(strategy, Around):
            strategy.engine = engine
            strategy = strategy.inner
    return engine
