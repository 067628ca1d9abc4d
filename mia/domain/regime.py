"""The three regimes, and the parameters of the model that tells them apart.

The arithmetic is `mia.kernels.hmm`; the columns it makes are the `regime` block of a feature plan.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from mia.domain.errors import ConfigError

STATES: Final = ("range", "trend", "defensive")
UNIFORM: Final = (1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0)
_TINY: Final = 1e-12  # the least variance and scale: a square of what is divided by it must stay finite


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
        if self.clip > 100.0 or min(*self.scale, *(v for row in self.var for v in row)) < _TINY:
            raise ConfigError(f"{where}: clip must be at most 100, scale and var at least {_TINY:g}")
        if any(abs(v) > 1000.0 for row in self.mean for v in row):
            raise ConfigError(f"{where}: a mean of scaled inputs must lie within +- 1000")
        if not all(abs(math.fsum(row) - 1.0) <= 1e-9 and min(row) > 0.0 for row in self.transition):
            raise ConfigError(f"{where}: rows of transition must be above 0 and sum to 1")
        if not (0 <= self.warm_bars <= 100_000):
            raise ConfigError(f"{where}: warm_bars must lie in 0 .. 100000, got {self.warm_bars}")
        calm, trend, wild = self.mean
        if not (wild[0] >= calm[0] and wild[0] >= trend[0] and trend[1] >= calm[1]):
            raise ConfigError(f"{where}: states are not in the order range, trend, defensive: fit the filter again")


def parse_params(data: bytes, where: str) -> RegimeParams | None:
    """The parameters in a bundle's regime.json, None for an empty file or object (no model); ConfigError names `where`."""
    if data.strip() in (b"", b"{}"):
        return None
    try:
        params = msgspec.json.decode(data, type=RegimeParams)
    except msgspec.DecodeError as e:
        raise ConfigError(f"{where}: {e}") from None
    params.check(where)
    return params
