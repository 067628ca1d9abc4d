"""The configurations of a grid: axes as they are written on the command line, the valid points of their product, random draws of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec
import numpy as np

from mia.domain.errors import ConfigError
from mia.policy.rules import Param, rule_spec

AXIS_MAX: Final = 100_000
FULL_MAX: Final = 1_000_000
_DRAWS_A_POINT: Final = 100  # how often a random search draws before it calls the space exhausted
Values = dict[str, float]


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """The product of axes; a point is its flat index, the last axis running fastest. values: of each axis, in its order."""

    rule: str
    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]

    @property
    def points(self) -> int:
        """Of the product, valid or not."""
        return math.prod(len(v) for v in self.values)

    def at(self, point: int) -> Mapping[str, float]:
        """The named values of one point."""
        found = {}
        for name, values in zip(reversed(self.names), reversed(self.values), strict=True):
            point, k = divmod(point, len(values))
            found[name] = values[k]
        return dict(reversed(found.items()))

    def point(self, places: Sequence[int]) -> int:
        """The flat index of places on the axes."""
        flat = 0
        for k, values in zip(places, self.values, strict=True):
            flat = flat * len(values) + k
        return flat

    def config(self, point: int) -> Values | None:
        """All parameters of one point, defaults for those without an axis; None where they do not go together."""
        values = {**_defaults(self.rule), **self.at(point)}
        return None if rule_spec(self.rule).check(values) else values

    def full(self) -> list[int]:
        """Every valid point; ConfigError when there is none, or the product is beyond FULL_MAX."""
        if self.points > FULL_MAX:
            raise ConfigError(f"grid: {self.points} configurations are more than {FULL_MAX}: use wider steps, or --random N or --tpe N")
        found = [point for point in range(self.points) if self.config(point) is not None]
        if not found:
            why = rule_spec(self.rule).check({**_defaults(self.rule), **self.at(0)})
            raise ConfigError(f"grid: none of {self.points} configurations of {self.rule} is valid: {why}")
        return found

    def random(self, count: int, seed: int) -> list[int]:
        """`count` valid points without repeats, in the order of their draw; fewer when that many are not found."""
        draw = np.random.default_rng(seed)
        found: dict[int, None] = {}
        for _ in range(_DRAWS_A_POINT * count):
            point = int(draw.integers(self.points))
            if point not in found and self.config(point) is not None:
                found[point] = None
                if len(found) == count:
                    break
        if not found:
            raise ConfigError(f"grid: no valid configuration of {self.rule} among {_DRAWS_A_POINT * count} draws")
        return list(found)


def _defaults(rule: str) -> Values:
    return {p.name: p.checked(rule, p.default) for p in rule_spec(rule).params}


def space_of(rule: str, texts: Sequence[str]) -> Space:
    """The space that `name=a:b:step`, `name=a:b` (whole numbers), `name=a,b,c` and `name=a` span; ConfigError says what is wrong where."""
    params = {p.name: p for p in rule_spec(rule).params}
    axes: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, equals, body = text.partition("=")
        if not (equals and name and body):
            raise ConfigError(f"--param {text}: write NAME=A:B:STEP or NAME=A,B,C")
        if name not in params:
            raise ConfigError(f"rule {rule}: unknown parameter {name!r}: use {', '.join(params) or 'none'}")
        if name in axes:
            raise ConfigError(f"--param {name}: given twice")
        values = tuple(params[name].checked(rule, value) for value in _values(text, body, params[name]))
        if len(set(values)) < len(values):
            raise ConfigError(f"--param {text}: names a value twice: it would be counted twice")
        axes[name] = values
    return Space(rule=rule, names=tuple(axes), values=tuple(axes.values()))


def _values(text: str, body: str, param: Param) -> Iterator[object]:
    if ":" not in body:
        yield from (_value(text, word) for word in body.split(","))
        return
    words = body.split(":")
    if param.kind == "bool" or len(words) > 3:
        raise ConfigError(f"--param {text}: write NAME=A:B:STEP of numbers" if param.kind != "bool" else f"--param {text}: use true,false")
    if len(words) == 2 and param.kind != "int":
        raise ConfigError(f"--param {text}: needs a step, as {param.name} is no whole number: NAME=A:B:STEP")
    low, high, *rest = (_decimal(text, word) for word in words)
    step = rest[0] if rest else Decimal(1)
    if low > high:
        raise ConfigError(f"--param {text}: bounds reversed: {low} is above {high}")
    if step <= 0:
        raise ConfigError(f"--param {text}: the step must be above 0, got {step}")
    count = int((high - low) / step) + 1
    if count > AXIS_MAX:
        raise ConfigError(f"--param {text}: {count} values are more than {AXIS_MAX}: use a wider step")
    for k in range(count):
        value = low + k * step
        yield int(value) if value == int(value) else float(value)


def _value(text: str, word: str) -> object:
    if word in ("true", "false"):
        return word == "true"
    value = _decimal(text, word)
    return int(value) if value == int(value) else float(value)


def _decimal(text: str, word: str) -> Decimal:
    try:
        value = Decimal(word)
    except InvalidOperation:
        raise ConfigError(f"--param {text}: {word!r} is no number") from None
    if not value.is_finite():
        raise ConfigError(f"--param {text}: {word!r} is not finite")
    return value
