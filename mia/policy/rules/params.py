"""Typed parameters of rules: what a value may be, and one clear ConfigError for one that it may not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from mia.domain.errors import ConfigError

Values = Mapping[str, float]  # by name; a flag is a bool, a whole number an int
PERIOD_MAX: Final = 10_000


class Param(NamedTuple):
    """One parameter. kind: `bool` has no bounds (0 .. 1); lo, hi: the smallest and largest value allowed; unit: "" for a plain number."""

    name: str
    kind: Literal["int", "float", "bool"]
    default: float
    lo: float
    hi: float
    unit: str
    doc: str

    def checked(self, rule: str, value: object) -> float:
        """The value in the parameter's own type; a whole number may come as a float, as settings files give it."""
        if self.kind == "bool":
            if isinstance(value, bool):
                return value
            raise ConfigError(f"rule {rule}: {self.name} must be true or false, got {value!r}")
        is_whole = self.kind == "int"
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (is_whole and value % 1 != 0):
            raise ConfigError(f"rule {rule}: {self.name} must be a {'whole number' if is_whole else 'number'}, got {value!r}")
        if not (math.isfinite(value) and self.lo <= value <= self.hi):
            unit = f" {self.unit}" if self.unit else ""
            raise ConfigError(f"rule {rule}: {self.name} must lie in {self.lo:.15g} .. {self.hi:.15g}{unit}, got {value:.15g}")
        return int(value) if is_whole else float(value)


def checked_params(rule: str, params: Sequence[Param], given: Mapping[str, object]) -> dict[str, float]:
    """A value for every parameter, in their order, else its default; ConfigError names rule, key and what is allowed."""
    names = [p.name for p in params]
    if unknown := [key for key in given if key not in names]:
        raise ConfigError(f"rule {rule}: unknown parameter {unknown[0]!r}: use {', '.join(names) or 'none'}")
    return {p.name: p.checked(rule, given.get(p.name, p.default)) for p in params}


def period(name: str, default: int, doc: str, lo: int = 1) -> Param:
    """A number of bars."""
    return Param(name, "int", default, lo, PERIOD_MAX, "bars", doc)


def size(doc: str = "position while in the market, share of the lane's cap") -> Param:
    """How much of the lane's cap a rule asks for."""
    return Param("size", "float", 1.0, 0.01, 1.0, "share of the cap", doc)


LONG_ONLY: Final = Param("long_only", "bool", False, 0, 1, "", "be flat where it would be short")
TARGET: Final = Param(
    "target_volatility", "float", 0.4, 0.001, 100.0, "a year", "volatility of the position, 0.4 is 40 % of the cap a year"
)
BAND: Final = Param(
    "rebalance_band", "float", 0.1, 0.0, 1.0, "share of the cap", "a size on the same side that is this near to the wanted one is kept"
)


def sides(p: Values) -> tuple[float, float]:
    """(signal when long, signal when short) of `size` and `long_only`."""
    return p["size"], 0.0 if p["long_only"] else -p["size"]


def below(p: Values, *names: str) -> str:
    """What is wrong when the named parameters do not rise strictly; "" when they do."""
    for low, high in pairwise(names):
        if not (p[low] < p[high]):
            return f"{low} ({p[low]:g}) must be below {high} ({p[high]:g})"
    return ""
