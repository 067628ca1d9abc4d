"""Where a journal is gone through again from: its first event or a snapshot, with the settings, instruments and calendar of the run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from mia.assemble import build_engine, calendar_files, versions
from mia.domain.errors import ConfigError, DataError, MiaError
from mia.domain.events import AnyEvent, InstrumentDefined, OrderFilled, RunStarted
from mia.domain.instruments import Instrument
from mia.engine.engine import Engine
from mia.settings import Settings, settings_from_json
from mia.store.queries import read_configs
from mia.store.reader import Entry, JournalReader, read_headers
from mia.store.snapshots import Snapshot, StoredSnapshot, read_snapshots

_UNREAD: Final = ("paper", "sim", "store", "live", "demo", "alerts", "mqtt", "telemetry", "log")  # sections that no decision reads


class Start(NamedTuple):
    """A place in a journal: the engine as it was there, and the entries that follow. seq: of the snapshot, 0 for the first event."""

    seq: int
    engine: Engine
    settings: Settings
    calendar: tuple[Path, Path] | None
    reader: JournalReader
    entries: Iterator[Entry]

    def fork(self, engine: Engine) -> Engine:
        """Another engine in the state of `engine`."""
        made = build_engine(self.settings, engine.config.instruments[0].venue, self.calendar)
        made.restore(*engine.snapshot())
        return made


def start_for(journal: Path, from_ns: int = 0) -> Start:
    """The nearest place before from_ns (0: the journal's beginning) that an engine can be had for.

    DataError: no event yet, or what is before the journal's first event is gone with all snapshots. ConfigError: see `restored`.
    """
    reader = JournalReader(journal)
    entries = iter(reader)
    first = next(entries, None)
    if first is None:
        raise DataError(f"{journal}: holds no event yet: nothing to compare")
    stored = _nearest(journal, first.seq, from_ns)
    if stored is None:
        start, opening, settings, venue = beginning_of(journal, first, entries)
        calendar = _calendar(journal, start.versions.get("calendar", ""))
        return Start(0, build_engine(settings, venue, calendar), settings, calendar, reader, itertools.chain(opening, entries))
    engine, settings, calendar = restored(journal, stored, of_then=True)
    reader = JournalReader(journal, seq_min=stored.seq + 1)
    return Start(stored.seq, engine, settings, calendar, reader, iter(reader))


def _nearest(journal: Path, first_seq: int, from_ns: int) -> StoredSnapshot | None:
    """The newest snapshot before from_ns; when there is none and the journal's beginning is gone, the oldest that reaches back to it."""
    found = usable_snapshots(journal, first_seq) if first_seq != 1 or from_ns else []
    for stored in reversed(found):
        following = next(iter(JournalReader(journal, seq_min=stored.seq + 1)), None)
        if following is not None and following.event.ts_recv_ns <= from_ns:
            return stored
    return found[0] if first_seq != 1 else None


def usable_snapshots(journal: Path, first_seq: int) -> list[StoredSnapshot]:
    """Snapshots that the journal goes on from, oldest first. DataError when there is none and it does not begin with event 1."""
    folder = journal.parent / "snapshots"
    found = sorted((s for s in read_snapshots(folder) if s.seq >= first_seq - 1), key=lambda s: s.seq)
    if not found and first_seq != 1:
        raise DataError(
            f"{journal}: begins with event {first_seq}, the segments before it are gone, and {folder} holds no snapshot of event "
            f"{first_seq - 1} or later: restore one of them from a backup"
        )
    return found


def restored(journal: Path, stored: StoredSnapshot, *, of_then: bool) -> tuple[Engine, Settings, tuple[Path, Path] | None]:
    """(the engine of a snapshot, its settings, its calendar files); of_then: with the calendar of then, not the one in force.

    DataError when its settings are not known; ConfigError when it was made with other features, instruments, lanes or models.
    """
    parts = msgspec.msgpack.decode(stored.blob, type=Snapshot)
    configs = [parts.config] if parts.config else [text for seq, text in read_configs(journal.parent) if seq <= stored.seq]
    if not configs:
        raise DataError(
            f"{journal}: miad.db does not hold the settings of the run that took the snapshot of event {stored.seq}: "
            "restore the database or the segments from a backup"
        )
    settings = settings_from_json(configs[-1])
    calendar = _calendar(journal, parts.calendar) if of_then else None
    for venue in dict.fromkeys(i.venue for i in settings.instruments):
        try:
            engine = build_engine(settings, venue, calendar)
        except MiaError:
            continue  # a venue that nothing trades
        if engine.layout_hash == stored.feature_hash:
            engine.restore(parts.arrays, parts.state)
            return engine, settings, calendar
    raise ConfigError(
        f"{journal.parent / 'snapshots'}: the snapshot of event {stored.seq} was made with other features, instruments, lanes or models "
        "than are here: put the models of then back, or use the version that wrote it"
    )


def last_seq(journal: Path) -> int:
    """Of the last whole record."""
    headers = read_headers(journal)
    return max((record.seq for record in JournalReader(journal, seq_min=headers[-1][1].first_seq).records()), default=0) if headers else 0


class _HasEvent(Protocol):
    @property
    def event(self) -> AnyEvent: ...


E = TypeVar("E", bound=_HasEvent)


def beginning_of(journal: Path, first: E, entries: Iterator[E]) -> tuple[RunStarted, list[E], Settings, str]:
    """(its first event, entries read ahead, settings of the run, venue) of a journal that is whole; DataError when it begins otherwise."""
    start = first.event
    if not isinstance(start, RunStarted):
        raise DataError(f"{journal}: event 1 is {type(start).__name__}, not RunStarted: this is not a journal of miad")
    opening, instruments = [first], []
    for entry in entries:
        opening.append(entry)
        if not isinstance(entry.event, InstrumentDefined):
            break
        instruments.append(entry.event.definition)
    if not instruments:
        raise DataError(f"{journal}: no InstrumentDefined follows RunStarted: the run ended before it began")
    venue = instruments[0].venue
    settings = settings_from_json(start.config)
    if instruments != [i for i in settings.instruments if i.venue == venue]:  # the events outrank the settings
        others = [i for i in settings.instruments if i.venue != venue]
        settings = msgspec.structs.replace(settings, instruments=(*instruments, *others))
    return start, opening, settings, venue


def _calendar(journal: Path, sha256: str) -> tuple[Path, Path] | None:
    """(trade_windows.toml, macro_events.csv) of then, which the daemon keeps; None: those in force are the same."""
    if not sha256 or sha256 == versions()["calendar"]:
        return None
    folder = journal.parent / "calendars" / sha256
    if not folder.is_dir():
        raise ConfigError(
            f"{journal}: trade_windows.toml or macro_events.csv are not those of the run, and {folder} is gone: put them back"
        )
    windows, macro = (folder / path.name for path in calendar_files())
    return windows, macro


def pays_in_base(journal: Path, instruments: Sequence[Instrument], seq_min: int = 0) -> bool:
    """Whether the first buy paid its fee in the coins that it bought, as spot exchanges have it."""
    if all(instrument.kind != "spot" for instrument in instruments):
        return False
    buys = (e.event for e in JournalReader(journal, seq_min=seq_min) if type(e.event) is OrderFilled and e.event.side > 0)
    first = next(buys, None)
    return first is not None and first.base_fee_e8 > 0


def traded(settings: Settings) -> bytes:
    """What the engine is built from, as bytes."""
    tree: dict[str, Any] = {k: v for k, v in msgspec.to_builtins(settings).items() if k not in _UNREAD}
    return msgspec.json.encode([tree, settings.paper.cash, settings.paper.currency], order="deterministic")
