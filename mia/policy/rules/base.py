"""What all rules share: the constants of a lane, no trade-probability gate, no regime filter."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

from mia.policy.strategy import Target, Trigger


class Rule(ABC):
    """A strategy without learned weights; subclasses say what they read and what they want."""

    def __init__(self, name: str, columns: tuple[str, ...], trigger: Trigger, min_interval_ns: int, bar: str) -> None:
        """name: with its parameters, as it appears in the journal; the hash is of everything that decides its behaviour."""
        self.name = name
        self.columns = columns
        self.trigger: Trigger = trigger
        self.min_interval_ns = min_interval_ns
        self.bar = bar
        self.alpha_min = 0.0
        self.lo = (float("-inf"),) * len(columns)
        self.hi = (float("inf"),) * len(columns)
        self.regime = b""
        self.models = b""
        self.drift = b""
        self.sha256 = hashlib.sha256(f"{name} {trigger} {min_interval_ns} {bar}".encode()).hexdigest()

    @abstractmethod
    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        """The target; see Strategy."""


def whole(signal: float) -> Target:
    """A rule's target: certain of itself, the same whatever the regime."""
    return Target(signal, 1.0, (signal, signal, signal))
