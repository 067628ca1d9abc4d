"""The rules that everything else is compared with: do nothing, hold, follow two averages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mia.policy.rules.base import Rule, whole
from mia.policy.strategy import Target, Trigger

_FLAT: Final = whole(0.0)


class Flat(Rule):
    """Never holds anything."""

    def __init__(self, *, trigger: Trigger, min_interval_ns: int, bar: str) -> None:
        super().__init__("flat", (), trigger, min_interval_ns, bar)

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        """Zero."""
        return _FLAT


class BuyAndHold(Rule):
    """Holds `size` of the lane's cap from the first decision on."""

    def __init__(self, *, size: float = 1.0, trigger: Trigger, min_interval_ns: int, bar: str) -> None:
        super().__init__(f"buy_and_hold(size={size!r})", (), trigger, min_interval_ns, bar)
        self._target = whole(size)

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        """The constant."""
        return self._target


class EmaCross(Rule):
    """Long `size` while the fast average of closes is above the slow one, short while below, flat while equal."""

    def __init__(
        self,
        *,
        fast: int = 20,
        slow: int = 50,
        size: float = 1.0,
        long_only: bool = False,
        trigger: Trigger,
        min_interval_ns: int,
        bar: str,
    ) -> None:
        """fast, slow: bars; columns are the parametric `ema(n)`, outside the catalogue's fixed list."""
        name = f"ema_cross(fast={fast},slow={slow},size={size!r},long_only={str(long_only).lower()})"
        super().__init__(name, (f"ema({fast})", f"ema({slow})"), trigger, min_interval_ns, bar)
        self._above = whole(size)
        self._below = _FLAT if long_only else whole(-size)

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        """By the sign of fast - slow."""
        fast, slow = obs[0], obs[1]
        if fast > slow:
            return self._above
        if fast < slow:
            return self._below
        return _FLAT
