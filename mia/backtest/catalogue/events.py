"""Trades, quotes and depth of assets out of the catalogue, merged in order of arrival, as a backtest takes them.

Each level of detail brings the coarser ones with it: depth the quotes and trades beside it, quotes the trades.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mia.backtest.catalogue.assets import metas, stored_text
from mia.backtest.catalogue.columns import columns_of, lost_book
from mia.backtest.catalogue.layout import Asset, begin_ns, end_ns, missing_months, month_of, ranges
from mia.backtest.catalogue.months import Meta, RowsDigest, scanned
from mia.backtest.catalogue.rows import COLUMNS, SNAPSHOT, events_of
from mia.backtest.readers import utc
from mia.backtest.readers.frames import polars_module
from mia.backtest.run.sources import EventHistory
from mia.backtest.run.spec import DataFacts
from mia.backtest.validation.seal import Reading, Sealed, SealLog, names_in, seal_notes
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import AnyEvent, FeedGap
from mia.domain.instruments import Instrument
from mia.features.columns import EventColumns

if TYPE_CHECKING:
    import polars as pl

I64 = npt.NDArray[np.int64]
LEVELS: Final = {"trades": ("trades",), "quotes": ("quotes", "trades"), "depth": ("depth", "quotes", "trades")}
_NEEDED: Final = {"trades": {"trades"}, "quotes": {"quotes"}, "depth": {"depth", "quotes"}}  # one of them at least
_KEY: Final = "ts_recv_ns"
_END_NS: Final = (1 << 63) - 1
_DAY_NS: Final = 86_400_000_000_000
_PIECE: Final = 1 << 16


class _Stream(NamedTuple):
    """One kind of one asset: rows from first_ns to last_ns, less the sealed spans."""

    asset: Asset
    number: int
    kind: str
    first_ns: int
    last_ns: int
    months: tuple[str, ...]
    sealed: tuple[tuple[int, int], ...] = ()

    def rows(self, from_ns: int, to_ns: int, columns: Sequence[str]) -> pl.DataFrame:
        """Of [from_ns, to_ns]."""
        polars = polars_module()
        low, high = max(from_ns, self.first_ns), min(to_ns, self.last_ns)
        months = [m for m in self.months if month_of(low) <= m <= month_of(high)] if low <= high else []
        if not months:
            empty: pl.DataFrame = polars.DataFrame(schema=dict.fromkeys(columns, polars.Int64))
            return empty
        frame = scanned([self.asset.month_file(self.kind, m) for m in months], columns, _KEY, (low, high))
        for begin, end in self.sealed:
            frame = frame.filter((polars.col(_KEY) < begin) | (polars.col(_KEY) >= end))
        return frame

    def told(self) -> list[Meta]:
        """What the files of its rows say of themselves."""
        return metas(self.asset, self.kind, [m for m in self.months if month_of(self.first_ns) <= m <= month_of(self.last_ns)])


def event_history(
    assets: Sequence[tuple[Asset, Instrument]], read: str, from_ns: int, to_ns: int, sealed: Sealed = "refuse"
) -> EventHistory:
    """read: one of LEVELS. from_ns: what is told before it is left out, but for the book's last snapshot and what followed it.

    ConfigError and DataError name what is stored where something is missing; SealedError as from a recording.
    """
    streams: list[_Stream] = []
    facts: list[DataFacts] = []
    notes: list[str] = []
    gaps: list[tuple[int, int]] = []
    for number, (asset, instrument) in enumerate(assets):
        found = _streams(asset, number, instrument, read, from_ns, to_ns, notes)
        files = {sha256: name for stream in found for meta in stream.told() for sha256, name in meta.files().items()}
        found = _unsealed(asset, found, files, sealed, notes)
        facts.append(_facts(asset, read, found, sorted(files)))
        gaps += [(ts, number) for ts in _book_losses(found)]
        streams += found
    polars_module()
    return EventHistory(
        instruments=tuple(instrument for _, instrument in assets),
        events=lambda: _merged(streams, sorted(gaps)),
        facts=tuple(facts),
        first_ns=min(f.first_ns for f in facts),
        warnings=[],
        notes=tuple(notes),
        columns=(lambda: _columns(streams, sorted(ts for ts, _ in gaps))) if len(assets) == 1 else None,
    )


def last_ns(asset: Asset, read: str, to_ns: int) -> int:
    """The last time up to to_ns (0: all) of which something is stored; ConfigError when nothing is."""
    months = {m for kind in LEVELS[read] for m in asset.months(kind) if not to_ns or begin_ns(m) <= to_ns}
    told = [meta for kind in LEVELS[read] for meta in metas(asset, kind, [m for m in asset.months(kind) if m == max(months, default="")])]
    if not told:
        raise ConfigError(f"--assets {asset.text}: no {read} in the catalogue up to --to; stored: {stored_text(asset)}")
    return min(max(meta.last_ns for meta in told), to_ns or _END_NS)


def _streams(asset: Asset, number: int, instrument: Instrument, read: str, from_ns: int, to_ns: int, notes: list[str]) -> list[_Stream]:
    kinds = [kind for kind in LEVELS[read] if asset.months(kind)]
    if not set(kinds) & _NEEDED[read]:
        raise ConfigError(f"--assets {asset.text}: no {read} in the catalogue; stored: {stored_text(asset)}")
    found = []
    for kind in kinds:
        stream = _stream(asset, number, kind, from_ns, to_ns)
        if stream is None:
            notes.append(f"{asset.text}: no {kind} in the span in the catalogue; stored: {ranges(asset.months(kind))}")
            continue
        _check_grid(stream, instrument)
        found.append(stream)
        notes.append(f"{asset.text}: the catalogue's {kind}, {utc(stream.first_ns)} to {utc(stream.last_ns)}")
        if gone := missing_months(list(stream.months), max(from_ns, stream.first_ns), stream.last_ns):
            notes.append(f"{asset.text}: no {kind} of {ranges(gone)} in the catalogue: a gap in this run")
    if not found:
        begin, end = utc(from_ns) if from_ns else "the beginning", utc(to_ns) if to_ns else "the end"
        raise DataError(f"--assets {asset.text}: no {read} between {begin} and {end}; stored: {stored_text(asset)}")
    if read == "depth" and "depth" not in kinds:
        notes.append(f"{asset.text}: no depth in the catalogue: orders meet its best bid and ask alone")
    if read == "trades":
        notes.append(f"{asset.text}: trades alone have neither bid nor ask: nothing can be filled; --read quotes brings both")
    return found


def _stream(asset: Asset, number: int, kind: str, from_ns: int, to_ns: int) -> _Stream | None:
    last_ns = to_ns or _END_NS
    months = tuple(m for m in asset.months(kind) if begin_ns(m) <= last_ns)
    first_ns = _snapshot_before(asset, months, from_ns) if kind == "depth" and from_ns else from_ns
    inside = [m for m in months if end_ns(m) > first_ns]
    if not inside:
        return None
    told = metas(asset, kind, inside)
    ends = [scanned([asset.month_file(kind, m)], [_KEY], _KEY, (first_ns, last_ns))[_KEY] for m in (inside[0], inside[-1])]
    begins = [int(ends[0][0])] if len(ends[0]) else [meta.first_ns for meta in told[1:2]]
    stops = [int(ends[1][-1])] if len(ends[1]) else [meta.last_ns for meta in told[-2:-1]]
    if not (begins and stops) or begins[0] > stops[0]:
        return None
    return _Stream(asset, number, kind, begins[0], stops[0], months)


def _snapshot_before(asset: Asset, months: Sequence[str], from_ns: int) -> int:
    """The last time at or before from_ns at which the whole book was told; from_ns when it never was."""
    polars = polars_module()
    for month in reversed([m for m in months if begin_ns(m) <= from_ns]):
        rows = scanned([asset.month_file("depth", month)], [_KEY, "what"], _KEY, (0, from_ns)).filter(polars.col("what") == SNAPSHOT)
        if rows.height:
            return int(rows[_KEY][-1])
    return from_ns


def _check_grid(stream: _Stream, instrument: Instrument) -> None:
    have = stream.told()[-1].instrument
    if (have.tick_size, have.lot_size) != (instrument.tick_size, instrument.lot_size):
        raise ConfigError(
            f"--assets {stream.asset.text}: its {stream.kind} are stored in ticks of {have.tick_size} and lots of {have.lot_size}, not of "
            f"{instrument.tick_size} and {instrument.lot_size}: leave --tick and --lot out, or import anew"
        )


def _unsealed(asset: Asset, streams: list[_Stream], files: dict[str, str], sealed: Sealed, notes: list[str]) -> list[_Stream]:
    """Less what is sealed; the notes tell of it."""
    log, names = SealLog(), names_in([asset.symbol, *files.values()])
    if not log.seals():
        return streams
    times = np.sort(np.concatenate([stream.rows(0, _END_NS, [_KEY])[_KEY].to_numpy() for stream in streams]))
    reading = Reading(sha256=tuple(files), names=names, begin_ns=times, end_ns=times + 1)
    keep, told = log.allowed(reading, f"catalogue {asset.text}", sealed)
    notes += told
    if keep is not None:
        spans = tuple((seal.from_ns, seal.to_ns) for seal in log.applying(files, names))
        streams = [cut for stream in streams if (cut := _cut(stream._replace(sealed=spans))) is not None]
        reading = Reading(sha256=tuple(files), names=names, begin_ns=times[keep], end_ns=times[keep] + 1)
    notes += seal_notes(reading)
    return streams


def _cut(stream: _Stream) -> _Stream | None:
    times = stream.rows(0, _END_NS, [_KEY])[_KEY]
    return stream._replace(first_ns=int(times[0]), last_ns=int(times[-1])) if len(times) else None


def _facts(asset: Asset, read: str, streams: list[_Stream], sources: list[str]) -> DataFacts:
    whole, rows = RowsDigest(), 0
    for stream in streams:
        digest = RowsDigest()
        for from_ns, to_ns in _days([stream]):
            frame = stream.rows(from_ns, to_ns, COLUMNS[stream.kind])
            rows += frame.height
            digest.add_frame(frame)
        whole.add({stream.kind: [digest.hex().encode()]})
    name = f"catalogue {asset.text} {read}"
    SealLog().derived(whole.hex(), name, sources)  # what is counted or sealed for a source is so for these rows
    return DataFacts(
        instrument=asset.text, kind="events", files=(name,), sha256=(whole.hex(),), rows=rows,
        first_ns=min(s.first_ns for s in streams), last_ns=max(s.last_ns for s in streams),
    )  # fmt: skip


def _book_losses(streams: list[_Stream]) -> list[int]:
    """When a book that was told until then can no longer be trusted: where another import, or time after a hole, begins."""
    depth = next((stream for stream in streams if stream.kind == "depth"), None)
    if depth is None:
        return []
    starts = {source.first_ns for stream in streams for meta in stream.told() for source in meta.sources}
    starts |= {end for _, end in depth.sealed}
    starts |= {end_ns(month) for month in missing_months(list(depth.months), depth.first_ns, depth.last_ns)}
    return sorted(ts for ts in starts if depth.first_ns < ts <= max(stream.last_ns for stream in streams))


def _days(streams: Sequence[_Stream]) -> Iterator[tuple[int, int]]:
    """Spans of a day within the months that are stored: what is in memory at once."""
    months = sorted({m for s in streams for m in s.months if begin_ns(m) <= s.last_ns and end_ns(m) > s.first_ns})
    first_ns, last_ns = min(s.first_ns for s in streams), max(s.last_ns for s in streams)
    for month in months:
        for start in range(begin_ns(month), end_ns(month), _DAY_NS):
            if start + _DAY_NS > first_ns and start <= last_ns:
                yield start, start + _DAY_NS - 1


def _merged(streams: Sequence[_Stream], gaps: list[tuple[int, int]]) -> Iterator[AnyEvent]:
    """All events in order of arrival; gaps: (time, instrument) at which a book is lost, before what comes at that time."""
    waiting = iter(gaps)
    gap = next(waiting, None)
    for from_ns, to_ns in _days(streams):
        frames = [stream.rows(from_ns, to_ns, COLUMNS[stream.kind]) for stream in streams]
        if not any(frame.height for frame in frames):
            continue
        for event in _day(streams, frames):
            while gap is not None and gap[0] <= event.ts_recv_ns:
                yield FeedGap(0, 0, gap[0], gap[1], 0, 0)
                gap = next(waiting, None)
            yield event


def _day(streams: Sequence[_Stream], frames: Sequence[Any]) -> Iterator[AnyEvent]:
    there = [(stream, frame) for stream, frame in zip(streams, frames, strict=True) if frame.height]
    if len(there) == 1:
        stream, frame = there[0]
        return events_of(stream.kind, frame, stream.number)
    order = _order([frame for _, frame in there])
    following = [events_of(stream.kind, frame, stream.number).__next__ for stream, frame in there]
    pieces = (order[start : start + _PIECE].tolist() for start in range(0, len(order), _PIECE))
    return (following[k]() for k in chain.from_iterable(pieces))


def _order(frames: Sequence[pl.DataFrame]) -> I64:
    """The number of the frame that each row comes from, in order of arrival."""
    which = np.repeat(np.arange(len(frames)), [frame.height for frame in frames])
    if len(frames) == 1:
        return which
    times = np.concatenate([frame[_KEY].to_numpy() for frame in frames])
    places = np.concatenate([frame["n"].to_numpy() for frame in frames])
    return which[np.lexsort((which, places, times))]


def _columns(streams: Sequence[_Stream], gaps: list[int]) -> Iterator[EventColumns]:
    """As `_merged`, of one asset, in columns."""
    for from_ns, to_ns in _days(streams):
        frames = [stream.rows(from_ns, to_ns, COLUMNS[stream.kind]) for stream in streams]
        there = [k for k, frame in enumerate(frames) if frame.height]
        if not there:
            continue
        kinds, parts = [streams[k].kind for k in there], [frames[k] for k in there]
        for piece in columns_of(kinds, parts, _order(parts), _PIECE):
            while gaps and gaps[0] <= piece.ts_recv_ns[-1]:
                ts, *gaps = gaps
                at = int(np.searchsorted(piece.ts_recv_ns, ts, side="left"))
                if at:
                    yield piece.slice(0, at)
                yield lost_book(ts)
                piece = piece.slice(at, piece.events)
            yield piece
