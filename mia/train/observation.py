"""What a policy sees: which columns, in which order, under which masks, scaled how, weighed how in each regime. Built here alone.

The catalogue has 350 columns; a policy reads 150: the `account_self` columns that training can step, never ranked out, after the
best of the others by `feature_importance.csv`. A ranking that cannot be used is replaced by the last one that could, then by the
one that ships.
"""

from __future__ import annotations

import csv
import math
import os
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.domain.errors import ConfigError
from mia.features.catalogue import COUNTS, Catalogue

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
SIZE: Final = 150
OWN: Final = "account_self"
RANKING_FILE: Final = "feature_importance.csv"
RANKING_COLUMNS: Final = ("feature", "shap_value", "std", "folds", "rank_stability")
REGIMES: Final = ("range", "trend", "defensive")
_WEIGHT_MAX: Final = 10.0


class Ranked(msgspec.Struct, frozen=True):
    """One row of a ranking: shap_value is the mean |SHAP| over folds, std its spread; rank_stability in [0, 1], 1: the same rank in all."""

    feature: str
    shap_value: float
    std: float
    folds: int
    rank_stability: float


class Ranking(msgspec.Struct, frozen=True):
    """Names, best first; where they came from; and why a better source was passed over (empty: it was the first choice)."""

    names: tuple[str, ...]
    source: str
    problem: str = ""


def read_ranking(path: Path, catalogue: Catalogue) -> tuple[Ranked, ...]:
    """Rows of a feature_importance.csv; ConfigError names file, line and column.

    Wanted: the header of RANKING_COLUMNS (more may follow), names of the catalogue, each once, finite values of shap_value that
    fall from row to row.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ())[: len(RANKING_COLUMNS)] != RANKING_COLUMNS:
                raise ConfigError(f"{path}: line 1: the first columns must be {','.join(RANKING_COLUMNS)}")
            rows = tuple(_ranked(f"{path}: line {reader.line_num}", row, catalogue) for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from e
    seen: set[str] = set()
    last = math.inf
    for line, row in enumerate(rows, 2):
        if row.feature in seen:
            raise ConfigError(f"{path}: line {line}: feature {row.feature!r} is there twice")
        if row.shap_value > last:
            raise ConfigError(f"{path}: line {line}: shap_value must fall from row to row")
        seen.add(row.feature)
        last = row.shap_value
    if not rows:
        raise ConfigError(f"{path}: no rows")
    return rows


def _ranked(where: str, row: dict[str, str | None], catalogue: Catalogue) -> Ranked:
    name = row["feature"] or ""
    try:
        catalogue.get(name)
    except ConfigError as e:
        raise ConfigError(f"{where}: feature: {e}") from None
    numbers = []
    for column in RANKING_COLUMNS[1:]:
        text = row[column] or ""
        try:
            value = float(text)
        except ValueError:
            raise ConfigError(f"{where}: {column} is not a number: {text!r}") from None
        if not (math.isfinite(value) and value >= 0.0):
            raise ConfigError(f"{where}: {column} must be finite and not below 0, got {text!r}")
        numbers.append(value)
    if numbers[3] > 1.0:
        raise ConfigError(f"{where}: rank_stability must lie in [0, 1], got {numbers[3]:g}")
    return Ranked(name, numbers[0], numbers[1], int(numbers[2]), numbers[3])


def write_ranking(path: Path, rows: Sequence[Ranked]) -> None:
    """The file that `read_ranking` reads, replaced at once."""
    lines = [",".join(RANKING_COLUMNS)]
    lines += [f"{r.feature},{r.shap_value:.6g},{r.std:.6g},{r.folds},{r.rank_stability:.4f}" for r in rows]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    draft.replace(path)


def find_ranking(first: Path, last_good: Path, static: Path, catalogue: Catalogue) -> Ranking:
    """The ranking at `first`; where it cannot be used, the one kept at `last_good`; else the one that ships (`static`).

    A usable first choice is kept at last_good. ConfigError only when even the shipped one cannot be read.
    """
    problems = []
    for path, kind in ((first, "the ranking"), (last_good, "the last good ranking")):
        try:
            rows = read_ranking(path, catalogue)
        except ConfigError as e:
            problems.append(str(e))
            continue
        if path == first:
            write_ranking(last_good, rows)
        return Ranking(tuple(r.feature for r in rows), f"{kind} {path}", "; ".join(problems))
    rows = read_ranking(static, catalogue)
    return Ranking(tuple(r.feature for r in rows), f"the shipped ranking {static}", "; ".join(problems))


def choose_columns(ranking: Sequence[str], catalogue: Catalogue, usable: Collection[str], size: int = SIZE) -> tuple[str, ...]:
    """The observation's columns: the best of the others by rank, then all of `account_self`; `size` of them, fewer where fewer are usable.

    usable: columns whose inputs exist where the policy will run and that it was, or will be, trained on. A name that the
    ranking leaves out comes after all ranked ones, in the order of the catalogue.
    """
    own = [name for name in catalogue.category(OWN) if name in usable]
    others = dict.fromkeys(name for name in (*ranking, *catalogue.names) if name in usable and name not in own)
    return (*list(others)[: max(0, size - len(own))], *own)


class Normaliser(msgspec.Struct, frozen=True):
    """x = clip((obs - mean) * inv_std, +- clip) in float32, as the graph of a bundle does it; [n] each."""

    mean: F32
    inv_std: F32
    clip: float

    def apply(self, obs: F32) -> F32:
        """The policy's view of raw observations [N, n]."""
        out: F32 = np.clip((obs - self.mean) * self.inv_std, np.float32(-self.clip), np.float32(self.clip))
        return out


def fit_normaliser(features: F64, own: Sequence[float], clip: float = 5.0) -> Normaliser:
    """Median and a robust scale of each market column [N, m]; own: inv_std of the account's columns and the masks that follow."""
    median = np.median(features, axis=0)
    low, high = np.quantile(features, [0.05, 0.95], axis=0)
    spread = (high - low) / 3.29  # of a normal distribution: its standard deviation
    spread = np.where(spread > 1e-9, spread, np.maximum(features.std(axis=0), 1e-3))
    mean = np.concatenate([median, np.zeros(len(own))]).astype(np.float32)
    inv_std = np.concatenate([1.0 / spread, own]).astype(np.float32)
    return Normaliser(mean, inv_std, clip)


def regime_weights(path: Path, columns: Sequence[str], catalogue: Catalogue) -> F32:
    """[3, n]: by how much each column counts in range, trend and defensive, from the table of weights per category.

    A policy sees x * (regime_probs @ weights): a diagonal gate. Categories that the file leaves out, masks and parametric
    columns weigh 1. ConfigError names file, table and key.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from e
    for regime, table in tree.items():
        if regime not in REGIMES or not isinstance(table, dict):
            raise ConfigError(f"{path}: unknown key {regime!r}: only the tables {', '.join(REGIMES)} are allowed")
        for category, weight in table.items():
            if category not in COUNTS:
                raise ConfigError(f"{path}: {regime}.{category}: no such category; known: {', '.join(COUNTS)}")
            if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0.0 <= weight <= _WEIGHT_MAX:
                raise ConfigError(f"{path}: {regime}.{category}: a number from 0 to {_WEIGHT_MAX:g} is wanted, got {weight!r}")
    of = {f.name: f.category for f in catalogue.features}
    rows = [[float(tree.get(regime, {}).get(of.get(c, ""), 1.0)) for c in columns] for regime in REGIMES]
    return np.array(rows, dtype=np.float32)


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """How raw columns become what a policy's networks read: x = clip((obs - mean) * inv_std) * (regime_probs @ weights).

    columns: market columns, then the account's, then masks; own: how many of them are not market columns, masks: how many of
    these are masks. weights: [3, n].
    A bundle's graph holds the same arithmetic, so that the daemon hands over raw columns.
    """

    columns: tuple[str, ...]
    own: int
    normaliser: Normaliser
    weights: F32
    masks: int = 0

    @property
    def market(self) -> int:
        """Number of market columns."""
        return len(self.columns) - self.own

    def apply(self, obs: F32, probs: F32) -> F32:
        """[N, n] of raw observations [N, n] and regime probabilities [N, 3]."""
        out: F32 = self.normaliser.apply(obs) * (probs @ self.weights)
        return out

    def apply_market(self, features: F32, probs: F32) -> F32:
        """The same for the market columns alone, [N, market]."""
        m, n = self.market, self.normaliser
        part = Observation(
            columns=self.columns[:m], own=0, normaliser=Normaliser(n.mean[:m], n.inv_std[:m], n.clip), weights=self.weights[:, :m]
        )
        return part.apply(features, probs)

    @classmethod
    def raw(cls, columns: Sequence[str]) -> Observation:
        """Changes nothing: for a bundle, which scales by itself."""
        n = len(columns)
        same = Normaliser(np.zeros(n, np.float32), np.ones(n, np.float32), 1e30)
        return cls(columns=tuple(columns), own=0, normaliser=same, weights=np.ones((3, n), np.float32))
