"""Range, trend and defensive probabilities from rows of columns: the kernel of a plan's regime block, for history kept as rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mia.domain.errors import ConfigError
from mia.domain.regime import STATES, UNIFORM, RegimeParams, parse_params
from mia.kernels.arena import Arena
from mia.kernels.hmm import filter_of

__all__ = ["STATES", "UNIFORM", "RegimeFilter", "RegimeParams", "parse_params"]


class RegimeFilter:
    """Probabilities of range, trend and defensive. All of its state is in the arena."""

    def __init__(self, params: RegimeParams, arena: Arena, index: Mapping[str, int]) -> None:
        """index: where each of the parameters' columns lies in the values that `update` is given."""
        params.check("regime filter")
        self.columns = tuple(params.columns)
        missing = [c for c in self.columns if c not in index]
        if missing:
            raise ConfigError(f"regime filter: column {missing[0]!r} is not among the values that it is given")
        self._kernel = filter_of(params, arena, index)

    def update(self, values: memoryview[Any]) -> bool:
        """Take the columns of a bar that just closed (float64); False when one is not finite: nothing changes."""
        return bool(self._kernel.step(values))

    @property
    def probs(self) -> tuple[float, float, float]:
        """Range, trend, defensive; a third each until warm."""
        if not self._kernel.is_warm():
            return UNIFORM
        p = self._kernel.state()
        return p[0], p[1], p[2]
