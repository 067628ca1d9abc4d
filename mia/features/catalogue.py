"""The catalogue: what each feature is, in order, and the hash that a model's manifest must match.

The daemon reads the compiled form (config/feature_catalogue.json), written from config/feature_sets.yaml by
`python -m mia.features.compile_catalogue`.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from mia import shipped
from mia.domain.errors import ConfigError

COUNTS: Final = {  # columns per category, 350 in all
    "price": 24, "order_flow": 42, "book": 48, "trend": 44, "volatility": 36, "volume_profile": 22, "structure": 20, "cross_asset": 30,
    "calendar": 24, "news_predictions": 16, "regime": 10, "latent": 12, "memory": 8, "account_self": 14,
}  # fmt: skip


class WarmUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a column must have seen: closed bars, two-sided quotes, trades, states of the book, seconds since the first event."""

    bars: int = 0
    quotes: int = 0
    trades: int = 0
    books: int = 0
    seconds: int = 0


Input = Literal[
    "bars", "trades", "quotes", "depth", "clock", "account", "calendar", "reference", "funding", "news", "predicted", "model", "memory"
]
INPUTS: Final[tuple[str, ...]] = get_args(Input)


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column. `range` holds every value of finite input.

    missing: in words, when a value is not there; neutral: the number that then stands in its place, beside a mask that says so.
    series: the outside series that it reads (mia.features.series).
    """

    name: str
    formula: str
    unit: str
    range: tuple[float, float]
    source: str
    inputs: tuple[Input, ...]
    warm_up: WarmUp
    missing: str
    neutral: float = 0.0
    series: tuple[str, ...] = ()
    category: str = ""


class CompiledCatalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: features in order, and the sha256 of the yaml they were compiled from."""

    yaml_sha256: str
    features: tuple[Feature, ...]


class Catalogue:
    """Features by name, in the order of the file."""

    def __init__(self, features: Iterable[Feature]) -> None:
        self.features = tuple(features)
        self.by_name = {f.name: f for f in self.features}
        if len(self.by_name) != len(self.features):
            raise ConfigError("feature catalogue: a name is used twice")
        self.hash = hashlib.sha256(msgspec.json.encode(self.features, order="deterministic")).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """All names in order."""
        return tuple(self.by_name)

    def get(self, name: str) -> Feature:
        """The feature of that name; ConfigError with the nearest names otherwise."""
        try:
            return self.by_name[name]
        except KeyError:
            near = difflib.get_close_matches(name, self.by_name, 3)
            advice = f"did you mean: {', '.join(near)}" if near else "mia features list shows them all"
            raise ConfigError(f"unknown feature {name!r}; {advice}") from None

    def category(self, category: str) -> tuple[str, ...]:
        """Names of one category in order."""
        return tuple(f.name for f in self.features if f.category == category)

    def warm_within(self, seconds: float, bar_seconds: float) -> tuple[str, ...]:
        """Names that are warm after that time on a market that trades and quotes all the time, with time bars of bar_seconds.

        One bar is allowed for the part of an interval before the first cut.
        """
        return tuple(
            f.name
            for f in self.features
            if f.warm_up.seconds <= seconds and (f.warm_up.bars + 1 if f.warm_up.bars else 0) * bar_seconds <= seconds
        )


def read_catalogue(path: Path) -> Catalogue:
    """The compiled catalogue at path; ConfigError when it is not one."""
    try:
        return Catalogue(msgspec.json.decode(path.read_bytes(), type=CompiledCatalogue).features)
    except (OSError, msgspec.DecodeError) as e:
        raise ConfigError(f"feature catalogue {path}: {e}; run python -m mia.features.compile_catalogue") from e


@functools.cache
def shipped_catalogue() -> Catalogue:
    """The catalogue that ships with us."""
    return read_catalogue(shipped.config_file("feature_catalogue.json"))
