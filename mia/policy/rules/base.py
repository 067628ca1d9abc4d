"""What all rules share: how one is described, and the Strategy that a description and its parameters make."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from mia.kernels.rule import RuleKernel
from mia.policy.rules.params import Param, Values
from mia.policy.strategy import Target, Trigger

LAST: Final = "last_action"  # the account's column with the signal that the lane gave last


def _fits(_: Values) -> str:
    return ""


class RuleSpec(NamedTuple):
    """A rule by name. columns, kernel: of the checked values; check: what is wrong with values that do not go together, else "".

    The kernel reads the columns in this order, first to last. Its steps know nothing else but the signal given last.
    """

    name: str
    summary: str
    formula: str
    source: str
    params: tuple[Param, ...]
    columns: Callable[[Values], tuple[str, ...]]
    kernel: Callable[[Values], RuleKernel]
    check: Callable[[Values], str] = _fits


class Rule:
    """A strategy without learned weights: a pure function of its columns and of the signal that it gave last.

    spec, values: what it was made from; market_columns: what its kernel reads; columns: these, then `last_action` where the last
    signal matters (the engine keeps that one, over a restart, too); kernel: the compiled step, for loops over history.
    """

    def __init__(self, spec: RuleSpec, values: Values, trigger: Trigger, min_interval_ns: int, bar: str) -> None:
        """values: checked, one for each parameter. The hash is of everything that decides its behaviour."""
        self.spec = spec
        self.values = values
        self.kernel = spec.kernel(values)
        self.market_columns = spec.columns(values)
        self.columns = (*self.market_columns, LAST) if self.kernel.reads_last else self.market_columns
        self.name = f"{spec.name}({','.join(f'{key}={_text(value)}' for key, value in values.items())})" if values else spec.name
        self.trigger: Trigger = trigger
        self.min_interval_ns = min_interval_ns
        self.bar = bar
        self.alpha_min = 0.0
        self.lo = (float("-inf"),) * len(self.columns)
        self.hi = (float("inf"),) * len(self.columns)
        self.regime = b""
        self.models = b""
        self.drift = b""
        self.sha256 = hashlib.sha256(f"{self.name} {trigger} {min_interval_ns} {bar}".encode()).hexdigest()

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        """The target: certain of itself, the same whatever the regime; see Strategy."""
        signal = self.kernel.next_signal(obs, obs[-1] if self.kernel.reads_last else 0.0)
        return Target(signal, 1.0, (signal, signal, signal))


def _text(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
