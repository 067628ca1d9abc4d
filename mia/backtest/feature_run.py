"""Features of files, chunk by chunk through the plan that live uses: one run over a source.

A matrix holds NaN where a column has no value and inf where a kernel gave no number (which a file never takes).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from mia.backtest.feature_cuts import counts, head, in_memory, of_events, tail
from mia.backtest.feature_merge import joined, with_timers
from mia.backtest.feature_sources import NEVER_HERE, Given, Piece, Request, Source, open_source
from mia.domain.errors import ConfigError
from mia.features import batch
from mia.features.catalogue import shipped_catalogue
from mia.features.models import FeatureModels
from mia.features.parametric import parse_parametric
from mia.features.plan import build_plan, mask_input
from mia.kernels.arena import Arena
from mia.kernels.book import Book

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

__all__ = (
    "NEVER_HERE", "Given", "Piece", "Request", "Run", "Source", "chosen", "counts", "head", "in_memory", "joined", "lacking", "of_events",
    "open_source", "rows", "table", "tail", "with_timers",
)  # fmt: skip
_ARENA_BYTES: Final = 256 << 20  # reserved, not used: only what the plan asks for is touched
_BOOK_LEVELS: Final = 4096
_ABSENT: Final = -1e300  # stands where a column has no value; outside of every range, so that a NaN of a kernel shows


class Run:
    """One plan; it takes pieces in order. All state is in `arena`: a snapshot of it, restored into a new Run, goes on alike."""

    def __init__(self, source: Source, columns: Sequence[str]) -> None:
        """ConfigError for an unknown column."""
        self.arena = Arena(_ARENA_BYTES)
        self.columns = tuple(columns)
        book = Book(self.arena, _BOOK_LEVELS)
        self.plan = build_plan(
            self.columns, source.instrument, source.bars, self.arena, book, source.calendar, neutral=_ABSENT, models=source.models
        )
        self._source = source
        self._not_here = [j for j, name in enumerate(columns) if lacking(name, source.lacks, source.models)]

    def take(self, piece: Piece) -> tuple[I64, F64]:
        """(ts int64[m], matrix float64[m, columns]) of every decision in the piece."""
        if piece.close_ns is not None and piece.bars is not None:
            ts, matrix = batch.compute_bars(self.plan, piece.close_ns, piece.bars, with_cold=True, outside=piece.events)
        else:
            ts, matrix = batch.compute(self.plan, piece.events, self._source.every_ns, self._source.trigger, with_cold=True)
        if self._not_here:
            matrix[:, self._not_here] = _ABSENT
        if not math.isfinite(matrix.sum()):
            matrix[~np.isfinite(matrix)] = math.inf
        np.putmask(matrix, matrix == _ABSENT, math.nan)
        return ts, matrix

    def observe(self, ts_ns: int) -> F64:
        """The columns as of ts_ns, float64[columns], masked as in take."""
        self.plan.observe(ts_ns)
        values = np.array(self.plan.values, dtype=np.float64)
        values[self._not_here] = _ABSENT
        values[~np.isfinite(values)] = math.inf
        values[values == _ABSENT] = math.nan
        return values


def lacking(name: str, lacks: Sequence[str], models: FeatureModels | None = None) -> bool:
    """Does the column, or one that its model reads, read an input that is not there?"""
    feature = shipped_catalogue().by_name.get(name)
    if feature is None:
        return False
    behind = models.behind(name) if models is not None else None
    return any(i in lacks for i in feature.inputs) or any(lacking(column, lacks) for part in behind or () for column in part.columns)


def rows(source: Source, columns: Sequence[str]) -> Iterator[tuple[I64, F64]]:
    """The columns over the whole source, piece by piece."""
    run = Run(source, columns)
    for piece in source.pieces():
        yield run.take(piece)


def table(source: Source, columns: Sequence[str]) -> tuple[I64, F64]:
    """The same at once."""
    parts = list(rows(source, columns))
    if not parts:
        return np.zeros(0, np.int64), np.zeros((0, len(columns)))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def chosen(columns: str | None, category: str | None) -> tuple[str, ...]:
    """Names from `a,b,c` or of a category, else all; ConfigError for an unknown or repeated one."""
    catalogue = shipped_catalogue()
    if columns is not None and category is not None:
        raise ConfigError("--columns and --category: give one of them")
    if category is not None:
        names = catalogue.category(category)
        if not names:
            known = sorted({f.category for f in catalogue.features})
            near = difflib.get_close_matches(category, known, 1) or known
            raise ConfigError(f"unknown category {category!r}; did you mean: {', '.join(near)}")
        return names
    if columns is None:
        return catalogue.names
    wanted = tuple(name.strip() for name in columns.split(",") if name.strip())
    if not wanted:
        raise ConfigError("--columns: no name given")
    if twice := [name for name in wanted if wanted.count(name) > 1]:
        raise ConfigError(f"--columns: {twice[0]!r} is named twice")
    for name in wanted:
        if mask_input(name) is not None:
            raise ConfigError(f"--columns: {name!r}: masks belong to models; a value that is not there is null")
        if parse_parametric(name) is None:
            catalogue.get(name)
    return wanted
