"""The fitted arrays behind the regime, latent and memory columns of a plan: plain numbers, checked before a kernel sees them.

Owns their shapes, their JSON and their refusals; how they are fitted is mia.train.feature_models.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from mia.domain.errors import ConfigError
from mia.domain.regime import RegimeParams
from mia.features.catalogue import shipped_catalogue

FORMAT: Final = 1
CLUSTERS_MAX: Final = 32
CONTEXTS_MAX: Final = 256
NEAREST: Final = 20
_INPUTS_MAX: Final = 64
_READABLE: Final = frozenset({"bars", "trades"})


class Scaled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Columns that a model reads as z = clip((x - center) / scale, -clip, clip); center, scale [d]."""

    columns: list[str]
    center: list[float]
    scale: list[float]
    clip: float

    def check(self, where: str) -> None:
        """ConfigError with the key when the columns cannot be read or the numbers cannot be."""
        d = len(self.columns)
        _check_columns(self.columns, where)
        _check_vector(self.center, d, f"{where}.center")
        _check_vector(self.scale, d, f"{where}.scale")
        if min(self.scale) < 1e-12:
            raise ConfigError(f"{where}.scale: must be above 0")
        if not (0.0 < self.clip <= 100.0):
            raise ConfigError(f"{where}.clip: must lie above 0, 100 at most")


class Projection(Scaled, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Three linear components: weights [3][d] of scaled inputs, each component of standard deviation 1 on the training rows."""

    weights: list[list[float]]

    def check(self, where: str) -> None:
        """ConfigError with the key."""
        Scaled.check(self, where)
        _check_matrix(self.weights, 3, len(self.columns), f"{where}.weights")


class Autoencoder(Scaled, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """z -> tanh(w1 z + b1) -> y = w2 h + b2 -> w3 y + b3: w1 [h][d], b1 [h], w2 [3][h], b2 [3], w3 [d][3], b3 [d].

    error_p99: the 99th percentile of the mean squared error on the training rows.
    """

    w1: list[list[float]]
    b1: list[float]
    w2: list[list[float]]
    b2: list[float]
    w3: list[list[float]]
    b3: list[float]
    error_p99: float

    def check(self, where: str) -> None:
        """ConfigError with the key."""
        Scaled.check(self, where)
        d, h = len(self.columns), len(self.b1)
        if not (1 <= h <= 64):
            raise ConfigError(f"{where}.b1: 1 to 64 hidden units, got {h}")
        _check_vector(self.b1, h, f"{where}.b1")
        _check_vector(self.b2, 3, f"{where}.b2")
        _check_vector(self.b3, d, f"{where}.b3")
        _check_matrix(self.w1, h, d, f"{where}.w1")
        _check_matrix(self.w2, 3, h, f"{where}.w2")
        _check_matrix(self.w3, d, 3, f"{where}.w3")
        if not (1e-12 <= self.error_p99 < math.inf):
            raise ConfigError(f"{where}.error_p99: must be above 0 and finite")


class Distance(Scaled, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mahalanobis distance |whiten z|: whiten [d][d] is lower triangular, whiten' whiten the inverse covariance."""

    whiten: list[list[float]]

    def check(self, where: str) -> None:
        """ConfigError with the key."""
        Scaled.check(self, where)
        d = len(self.columns)
        _check_matrix(self.whiten, d, d, f"{where}.whiten")
        if any(self.whiten[i][j] != 0.0 for i in range(d) for j in range(i + 1, d)):
            raise ConfigError(f"{where}.whiten: must be lower triangular")


class Latent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The models of the latent columns; None: that column is absent."""

    pca_flow: Projection | None = None
    pca_price: Projection | None = None
    ae_vol: Autoencoder | None = None
    stress: Distance | None = None

    def check(self, where: str) -> None:
        """ConfigError with the key."""
        for name in self.__struct_fields__:
            part = getattr(self, name)
            if part is not None:
                part.check(f"{where}.{name}")


class Memory(Scaled, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Past situations by kind. All times ns; returns net of costs, from the long side, over their standard deviation return_std.

    centers [k][d] of scaled inputs; counts, hits, mean_returns, last_ns [k]: outcomes seen, those above 0, their mean, the last visit.
    contexts [m][d], later_returns [m], ended_ns [m]: single situations, what followed, and when that was known. outcome: what a return is.
    """

    centers: list[list[float]]
    counts: list[int]
    hits: list[int]
    mean_returns: list[float]
    last_ns: list[int]
    contexts: list[list[float]]
    later_returns: list[float]
    ended_ns: list[int]
    return_std: float
    outcome: str

    def check(self, where: str) -> None:
        """ConfigError with the key."""
        Scaled.check(self, where)
        d, k, m = len(self.columns), len(self.centers), len(self.contexts)
        if not (2 <= k <= CLUSTERS_MAX):
            raise ConfigError(f"{where}.centers: 2 to {CLUSTERS_MAX} clusters, got {k}")
        if m > CONTEXTS_MAX:
            raise ConfigError(f"{where}.contexts: at most {CONTEXTS_MAX}, got {m}")
        _check_matrix(self.centers, k, d, f"{where}.centers")
        _check_matrix(self.contexts, m, d, f"{where}.contexts")
        _check_vector(self.mean_returns, k, f"{where}.mean_returns")
        _check_vector(self.later_returns, m, f"{where}.later_returns")
        for name, length in (("counts", k), ("hits", k), ("last_ns", k), ("ended_ns", m)):
            values = getattr(self, name)
            if len(values) != length or any(not (0 <= v < 1 << 62) for v in values):
                raise ConfigError(f"{where}.{name}: {length} numbers of 0 or more")
        if any(hits > n for hits, n in zip(self.hits, self.counts, strict=True)):
            raise ConfigError(f"{where}.hits: more than counts")
        if not (0.0 < self.return_std < math.inf):
            raise ConfigError(f"{where}.return_std: must be above 0 and finite")


class Linear(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A linear forecast, intercept + weights . inputs. inputs: names of mia.backtest.forecasts.

    last_ns: when the newest value that the weights were fitted on was known; forecasts made before it are no forecasts.
    """

    inputs: list[str]
    intercept: float
    weights: list[float]
    target: str
    last_ns: int
    errors: dict[str, float]  # out of sample, walk-forward: of this model and of what it was compared with

    def check(self, where: str) -> None:
        """ConfigError with the key."""
        _check_vector(self.weights, len(self.inputs), f"{where}.weights")
        _check_vector([self.intercept], 1, f"{where}.intercept")
        _check_vector(list(self.errors.values()), len(self.errors), f"{where}.errors")
        if not (0 <= self.last_ns < 1 << 62):
            raise ConfigError(f"{where}.last_ns: must be a time in ns")


class Fit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the models saw: rows with times in first_ns .. last_ns, the seed, and where they came from.

    last_ns: nothing later was used, outcomes included; rows that the models are applied to must be later. seeds: of the simulated
    markets among them, whose times are made up.
    """

    source: str
    bar: str
    first_ns: int
    last_ns: int
    rows: int
    seed: int
    seeds: list[int] = []


class FeatureModels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All models of a plan; None: their columns are absent."""

    format: int = FORMAT
    fit: Fit | None = None
    regime: RegimeParams | None = None
    latent: Latent | None = None
    memory: Memory | None = None
    predicted_vix: Linear | None = None

    def check(self, where: str) -> None:
        """ConfigError that names the file and the key."""
        if self.format != FORMAT:
            raise ConfigError(f"{where}: format: {self.format}, this version reads {FORMAT}: fit the models again")
        if self.fit is not None and not (0 <= self.fit.first_ns <= self.fit.last_ns < 1 << 62):
            raise ConfigError(f"{where}: fit.first_ns: must not be after fit.last_ns")
        if self.regime is not None:
            _check_columns(self.regime.columns, f"{where}: regime")
            self.regime.check(f"{where}: regime")
        for name in ("latent", "memory", "predicted_vix"):
            part = getattr(self, name)
            if part is not None:
                part.check(f"{where}: {name}")
        if self.fit is not None and self.memory is not None:
            late = [t for t in (*self.memory.last_ns, *self.memory.ended_ns) if t > self.fit.last_ns]
            if late:
                raise ConfigError(f"{where}: memory.ended_ns: {late[0]} lies after fit.last_ns")

    def reads(self, block: str) -> tuple[str, ...]:
        """Columns that the models of a block (regime, latent, memory) read, each once, in order."""
        parts: list[RegimeParams | Scaled | None] = []
        if block == "regime":
            parts = [self.regime]
        elif block == "latent" and self.latent is not None:
            parts = [self.latent.pca_flow, self.latent.pca_price, self.latent.ae_vol, self.latent.stress]
        elif block == "memory":
            parts = [self.memory]
        return tuple(dict.fromkeys(column for part in parts if part is not None for column in part.columns))

    def behind(self, column: str) -> list[RegimeParams | Scaled] | None:
        """What computes a column of the catalogue, of these models; None for a column that needs no model."""
        parts = _parts_behind(column)
        if parts is None:
            return None
        holders = (self, self.latent)
        found = [getattr(holder, name, None) for name in parts for holder in holders]
        return [part for part in found if part is not None]

    def lacks(self, columns: Iterable[str]) -> str:
        """The first of these columns whose model is not among these, "" when all are there."""
        return next((name for name in columns if self.behind(name) == []), "")

    def encode(self) -> bytes:
        """Canonical JSON: the same models, the same bytes."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=0) + b"\n"


def parse_models(data: bytes, where: str) -> FeatureModels:
    """The checked models in a file's bytes; ConfigError names `where`, the key and what is wrong with it."""
    try:
        models = msgspec.json.decode(data, type=FeatureModels)
    except msgspec.DecodeError as e:
        raise ConfigError(f"{where}: {e}") from None
    models.check(where)
    return models


def _parts_behind(column: str) -> tuple[str, ...] | None:
    """Names of the models that a column may come from; of an account's memory and drift it is none."""
    feature = shipped_catalogue().by_name.get(column)
    if feature is None or "account" in feature.inputs or not {"model", "memory"} & set(feature.inputs):
        return None
    if feature.category in ("regime", "memory"):
        return (feature.category,)
    of_several = {"novelty": ("ae_vol",), "latent_shift": ("pca_flow", "pca_price", "ae_vol")}
    return of_several.get(column, (column.rstrip("_0123456789"),))


def bars_of(columns: Iterable[str]) -> int:
    """Closed bars after which all of these columns are warm."""
    catalogue = shipped_catalogue()
    return max(catalogue.get(name).warm_up.bars for name in columns)


def is_readable(name: str) -> bool:
    """May a model read this column? It must be written when a bar closes, from bars and their trades alone, and wait for bars only."""
    feature = shipped_catalogue().by_name.get(name)
    if feature is None or not feature.inputs or not set(feature.inputs) <= _READABLE:
        return False
    w = feature.warm_up
    return w.bars >= 1 and w.quotes == w.trades == w.books == w.seconds == 0


def _check_columns(columns: Sequence[str], where: str) -> None:
    if not (1 <= len(columns) <= _INPUTS_MAX) or len(set(columns)) != len(columns):
        raise ConfigError(f"{where}.columns: 1 to {_INPUTS_MAX} different columns")
    for name in columns:
        shipped_catalogue().get(name)
        if not is_readable(name):
            raise ConfigError(f"{where}.columns: {name!r} cannot be an input: only columns of closed bars that wait for bars alone")


def _check_vector(values: Sequence[float], n: int, where: str) -> None:
    if len(values) != n:
        raise ConfigError(f"{where}: {n} numbers, got {len(values)}")
    if not all(abs(v) <= 1e9 for v in values):  # NaN and inf fail, too; what is far larger would overflow when it is squared
        raise ConfigError(f"{where}: every number must be finite, 1e9 at most")


def _check_matrix(rows: Sequence[Sequence[float]], n: int, d: int, where: str) -> None:
    if len(rows) != n:
        raise ConfigError(f"{where}: {n} rows, got {len(rows)}")
    for k, row in enumerate(rows):
        _check_vector(row, d, f"{where}[{k}]")
