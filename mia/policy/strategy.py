"""What the engine asks of a policy: an observation and regime probabilities in, a target out. Bundles and rules are implementations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

Trigger = Literal["bar", "quote", "trade"]
TRIGGERS: tuple[Trigger, ...] = ("bar", "quote", "trade")


class Target(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a strategy wants, raw: the engine refuses what is not finite or not in range, with a code.

    signal: wanted share of the lane's cap, [-1, 1]; 1 is fully long.
    alpha: probability in [0, 1] that the trade in the direction of `signal` makes money after costs; rules say 1.
    actions: what each of the three policies (range, trend, defensive) wanted before the blend.
    """

    signal: float
    alpha: float
    actions: tuple[float, float, float]


class Strategy(Protocol):
    """A pure function of what it is given, plus the constants a lane is built from.

    name, sha256: for the journal; columns: names of the features in the order of the observation.
    trigger, min_interval_ns, bar: when to decide, and the bars that the features are made of (`time:1s`).
    alpha_min: openings with a lower alpha are refused; lo, hi: values a column may take, one per column.
    regime: JSON of the regime filter's arrays; empty for the uniform filter.
    models: JSON of the models behind its columns (mia.features.models); empty when none of them needs one but the regime's.
    drift: JSON of how its most important columns were spread in training (mia.features.distribution); empty: their drift is not measured.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def trigger(self) -> Trigger: ...  # noqa: D102
    @property
    def min_interval_ns(self) -> int: ...  # noqa: D102
    @property
    def bar(self) -> str: ...  # noqa: D102
    @property
    def alpha_min(self) -> float: ...  # noqa: D102
    @property
    def lo(self) -> tuple[float, ...]: ...  # noqa: D102
    @property
    def hi(self) -> tuple[float, ...]: ...  # noqa: D102
    @property
    def regime(self) -> bytes: ...  # noqa: D102
    @property
    def models(self) -> bytes: ...  # noqa: D102
    @property
    def drift(self) -> bytes: ...  # noqa: D102

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        """The target for one observation.

        obs: float32, one value per column, finite (the engine looks before it calls).
        regime_probs: range, trend, defensive; sum 1.
        """
        ...
