"""How the values of columns were spread in training: the format of distribution.json and drift.json, and its checks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

import msgspec

from mia.domain.errors import ConfigError

FORMAT: Final = 1
_BINS_MAX: Final = 64


class Spread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column: shares[i] of its values lies in edges[i - 1] <= x < edges[i], the first and last bin being open.

    present: share of rows with a value.
    """

    edges: list[float]
    shares: list[float]
    present: float


class Distribution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deciles of columns of a data set, and on which catalogue and bars it was computed."""

    format: int
    catalogue_sha256: str
    bars: str
    rows: int
    columns: dict[str, Spread]


def parse_drift(data: bytes, columns: Sequence[str], where: str) -> Distribution:
    """The columns whose drift a daemon watches, the most important first; ConfigError begins with `where`.

    columns: of the model; only they can be watched.
    """
    try:
        found = msgspec.json.decode(data, type=Distribution)
    except msgspec.DecodeError as e:
        raise ConfigError(f"{where}: {e}") from None
    if found.format != FORMAT:
        raise ConfigError(f"{where}: format {found.format} is not {FORMAT}: export the model again with this version")
    if not found.columns:
        raise ConfigError(f"{where}: columns: name at least one")
    for name, spread in found.columns.items():
        if name not in columns:
            raise ConfigError(f"{where}: columns: {name!r} is not read by the model")
        if not _is_sound(spread):
            raise ConfigError(f"{where}: {name}: edges must rise, with one share more than edges, shares within 0 and 1 and 1 in all")
    return found


def _is_sound(spread: Spread) -> bool:
    edges, shares = spread.edges, spread.shares
    if not (len(shares) == len(edges) + 1 and 0 < len(edges) < _BINS_MAX):
        return False
    rise = all(a < b for a, b in itertools.pairwise(edges))
    return rise and all(math.isfinite(x) for x in edges) and all(0 <= p <= 1 for p in shares) and abs(math.fsum(shares) - 1) < 1e-6
