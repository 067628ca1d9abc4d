"""New rows into a month that is stored: equal ones once, and none that contradicts what is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from mia.backtest.catalogue.layout import EVENTS, bars_of, key_of
from mia.backtest.catalogue.months import Meta, Source, read_meta, read_rows
from mia.backtest.readers import utc
from mia.backtest.readers.frames import polars_module
from mia.domain.errors import DataError
from mia.domain.instruments import Instrument

if TYPE_CHECKING:
    import polars as pl

ROW: Final = "row"  # of new rows: their number in the file, from 1
_OPTIONAL: Final = ("trades", "quote_volume")  # of bars: not every file has them


class Merged(NamedTuple):
    """A month with the new rows in it. added: rows that were not there; is_new: something changed."""

    frame: pl.DataFrame
    sources: tuple[Source, ...]
    added: int
    is_new: bool


def merged(path: Path, kind: str, instrument: Instrument, new: pl.DataFrame, source: Source) -> Merged:
    """new: rows in order with their numbers (ROW). DataError names the row and the month that contradict each other."""
    rows = new.drop(ROW)
    if not path.is_file():
        _check_distance(path, kind, rows, new, source)
        return Merged(rows, (source,), rows.height, True)
    meta, stored = read_meta(path), read_rows(path)
    _check_grid(path, kind, meta, instrument)
    keys = _keys(kind)
    both = new.join(stored, on=keys, how="inner", suffix="_stored", maintain_order="left")
    _check_equal(path, both, [c for c in rows.columns if c not in keys], keys[0], source)
    fresh = new.join(stored, on=keys, how="anti", maintain_order="left")
    if kind in EVENTS:
        _check_whole(path, stored, new, fresh, meta, source)
    filled = _filled(stored, rows, keys) if bars_of(kind) is not None else stored
    frame = filled.select(rows.columns).extend(fresh.drop(ROW)).sort(keys)
    _check_distance(path, kind, frame, fresh, source)
    is_new = bool(fresh.height) or not filled.equals(stored) or meta.instrument != instrument
    sources = meta.sources if source in meta.sources or not is_new else (*meta.sources, source)
    return Merged(frame, sources, fresh.height, is_new)


def _keys(kind: str) -> list[str]:
    return [key_of(kind), *(("n",) if kind in EVENTS else ())]


def _name(source: Source) -> str:
    return ", ".join(source.files)


def _where(source: Source, row: int, ns: int) -> str:
    return f"{_name(source)}: row {row} ({utc(ns)})"


def _check_grid(path: Path, kind: str, meta: Meta, instrument: Instrument) -> None:
    if kind not in EVENTS:
        return
    have, want = meta.instrument, instrument
    if (have.tick_size, have.lot_size) != (want.tick_size, want.lot_size):
        raise DataError(
            f"{path.parent.name} {path.stem}: is stored in ticks of {have.tick_size} and lots of {have.lot_size}, this would be "
            f"{want.tick_size} and {want.lot_size}: import with the stored ones, or remove {path.parent} first"
        )


def _check_equal(path: Path, both: pl.DataFrame, columns: Sequence[str], key: str, source: Source) -> None:
    polars = polars_module()
    for name in columns:
        other = f"{name}_stored"
        bad = both.filter(polars.col(name).is_not_null() & polars.col(other).is_not_null() & (polars.col(name) != polars.col(other)))
        if bad.height:
            first = bad.row(0, named=True)
            more = f" (and {bad.height - 1} rows more)" if bad.height > 1 else ""
            values = "" if isinstance(first[name], bytes) else f": {first[name]:.12g}, stored is {first[other]:.12g}"
            raise DataError(
                f"{_where(source, first[ROW], first[key])}{more} contradicts {path.parent.name} {path.stem} in {name}{values}; "
                f"nothing of this month was changed: import the right file, or remove {path} first"
            )


def _check_whole(path: Path, stored: pl.DataFrame, new: pl.DataFrame, fresh: pl.DataFrame, meta: Meta, source: Source) -> None:
    """Where a stored import and this one were both listening, one must hold all that the other holds: else it is counted twice."""
    polars = polars_module()
    gone = stored.join(new, on=["ts_recv_ns", "n"], how="anti", maintain_order="left")
    for old in meta.sources:
        inside = polars.col("ts_recv_ns").is_between(max(old.first_ns, source.first_ns), min(old.last_ns, source.last_ns))
        extra, lacking = fresh.filter(inside), gone.filter(inside)
        if extra.height and lacking.height:
            first = extra.row(0, named=True)
            raise DataError(
                f"{_where(source, first[ROW], first['ts_recv_ns'])} is not in {path.parent.name} {path.stem}, which lacks {extra.height} "
                f"rows of this file and holds {lacking.height} that the file lacks, in the time of both ({_name(old)}): two recordings "
                "of one time are not merged"
            )


def _filled(stored: pl.DataFrame, rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Counts and turnover of bars that were not known before."""
    polars = polars_module()
    joined = stored.join(rows.select([*keys, *_OPTIONAL]), on=keys, how="left", suffix="_new", maintain_order="left")
    return joined.with_columns([polars.coalesce(name, f"{name}_new").alias(name) for name in _OPTIONAL]).select(stored.columns)


def _check_distance(path: Path, kind: str, frame: pl.DataFrame, fresh: pl.DataFrame, source: Source) -> None:
    """Of the new bars to all others, those at the ends of the months beside this one, too."""
    bars = bars_of(kind)
    if bars is None or not bars.interval_ns:
        return
    months = sorted(path.parent.glob("????-??.parquet"))
    before = [read_meta(month).last_ns for month in [m for m in months if m.stem < path.stem][-1:]]
    after = [read_meta(month).first_ns for month in [m for m in months if m.stem > path.stem][:1]]
    times = np.concatenate([np.array(before, np.int64), frame["ts_ns"].to_numpy(), np.array(after, np.int64)])
    is_new = np.isin(times, fresh["ts_ns"].to_numpy())
    close = np.flatnonzero((np.diff(times) < bars.interval_ns) & (is_new[1:] | is_new[:-1]))
    if len(close):
        pair = times[close[0]], times[close[0] + 1]
        at = np.flatnonzero(np.isin(fresh["ts_ns"].to_numpy(), pair))[0]
        raise DataError(
            f"{_where(source, int(fresh[ROW][int(at)]), int(fresh['ts_ns'][int(at)]))} begins within another bar of {kind} {path.stem}: "
            f"{utc(pair[0])} and {utc(pair[1])} lie closer than {bars.text}"
        )
