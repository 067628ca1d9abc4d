"""Range, trend and defensive probabilities, filtered forward in time from a few feature columns at each bar close.

Owns the parameters (JSON beside a policy) and the order of the states; the arithmetic is `mia.kernels.hmm`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mia.domain.errors import ConfigError
from mia.kernels.arena import Arena
from mia.kernels.hmm import HmmFilter

STATES: Final = ("range", "trend", "defensive")
UNIFORM: Final = (1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0)


class RegimeParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A three-state Gaussian HMM over scaled columns.

    columns: inputs; the first measures volatility, the second the strength of a trend: they order the states.
    center, scale [d]: inputs become (x - center) / scale, clipped to +- clip. mean, var [3][d] of scaled inputs.
    transition [3][3]: row = from, per bar. warm_bars: bars before the probabilities are used.
    """

    columns: list[str]
    center: list[float]
    scale: list[float]
    mean: list[list[float]]
    var: list[list[float]]
    transition: list[list[float]]
    clip: float
    warm_bars: int

    def check(self, where: str) -> None:
        """ConfigError when a number cannot be, or when the states are not in the order range, trend, defensive.

        The order, so that labels cannot switch from one fit to the next: defensive has the highest mean of the first
        column (volatility); of the other two, trend has the higher mean of the second (strength of a trend).
        """
        d = len(self.columns)
        rows = (*self.mean, *self.var)
        if d < 2 or len(self.center) != d or len(self.scale) != d or any(len(r) != d for r in rows):
            raise ConfigError(f"{where}: two columns or more, and one number for each in center, scale, mean and var")
        if len(self.mean) != 3 or len(self.var) != 3 or [len(r) for r in self.transition] != [3, 3, 3]:
            raise ConfigError(f"{where}: mean, var and transition must have three rows: range, trend, defensive")
        numbers = [self.clip, *self.center, *self.scale, *(v for row in (*rows, *self.transition) for v in row)]
        if not all(math.isfinite(v) for v in numbers):
            raise ConfigError(f"{where}: every number must be finite")
        if not (self.clip > 0.0 and all(v > 0.0 for v in self.scale) and all(v > 0.0 for row in self.var for v in row)):
            raise ConfigError(f"{where}: clip, scale and var must be above 0")
        if not all(abs(math.fsum(row) - 1.0) <= 1e-9 and min(row) > 0.0 for row in self.transition):
            raise ConfigError(f"{where}: rows of transition must be above 0 and sum to 1")
        if not (0 <= self.warm_bars <= 100_000):
            raise ConfigError(f"{where}: warm_bars must lie in 0 .. 100000, got {self.warm_bars}")
        calm, trend, wild = self.mean
        if not (wild[0] >= calm[0] and wild[0] >= trend[0] and trend[1] >= calm[1]):
            raise ConfigError(f"{where}: states are not in the order range, trend, defensive: fit the filter again")


def parse_params(data: bytes, where: str) -> RegimeParams | None:
    """The parameters in a bundle's regime.json, None for an empty file or object (uniform filter); ConfigError names `where`."""
    if data.strip() in (b"", b"{}"):
        return None
    try:
        params = msgspec.json.decode(data, type=RegimeParams)
    except msgspec.DecodeError as e:
        raise ConfigError(f"{where}: {e}") from None
    params.check(where)
    return params


class RegimeFilter:
    """Probabilities of range, trend and defensive. All of its state is in the arena."""

    def __init__(self, params: RegimeParams, arena: Arena, index: Mapping[str, int]) -> None:
        """index: where each of the parameters' columns lies in the values that `update` is given."""
        params.check("regime filter")
        self.columns = tuple(params.columns)
        missing = [c for c in self.columns if c not in index]
        if missing:
            raise ConfigError(f"regime filter: column {missing[0]!r} is not computed by the lane's feature plan")
        var = [v for row in params.var for v in row]
        offset = [-0.5 * math.fsum(math.log(v) for v in row) for row in params.var]
        self._kernel = HmmFilter(
            arena,
            array("d", params.center),
            array("d", [1.0 / s for s in params.scale]),
            array("d", [v for row in params.mean for v in row]),
            array("d", [1.0 / v for v in var]),
            array("d", offset),
            array("d", [v for row in params.transition for v in row]),
            array("q", [index[c] for c in self.columns]),
            params.clip,
            params.warm_bars,
        )

    def update(self, values: memoryview[Any]) -> bool:
        """Take the columns of a bar that just closed (float64, the plan's row); False when one is not finite: nothing changes."""
        return bool(self._kernel.step(values))

    @property
    def probs(self) -> tuple[float, float, float]:
        """Range, trend, defensive; a third each until warm."""
        if not self._kernel.is_warm():
            return UNIFORM
        p = self._kernel.state()
        return p[0], p[1], p[2]


class UniformFilter:
    """For lanes without a regime model: a third each, always."""

    columns: tuple[str, ...] = ()
    probs: tuple[float, float, float] = UNIFORM

    def update(self, values: memoryview[Any]) -> bool:
        """Nothing to learn."""
        return True


def make_filter(params: RegimeParams | None, arena: Arena, index: Mapping[str, int]) -> RegimeFilter | UniformFilter:
    """The filter of a lane; None gives the uniform one."""
    return UniformFilter() if params is None else RegimeFilter(params, arena, index)
