"""Re-running a journal: the recorded events through a fresh engine, its effects compared byte for byte with the recorded ones.

Needs nothing but the journal when that begins with event 1; else the oldest snapshot that reaches back to it, and the settings of
the run from the database.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from mia.assemble import build_engine, model_names, versions
from mia.backtest.reconcile.journal import beginning_of, restored, traded, usable_snapshots
from mia.domain.effects import RecordDecision, SubmitOrder
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import AnyEvent, ModelReady, RunStarted
from mia.engine.engine import Engine
from mia.settings import Settings, settings_from_json
from mia.store.reader import JournalReader, journal_folder, read_headers
from mia.store.records import EFFECTS, EVENT, decode_effects, decode_event

_encode: Final = msgspec.msgpack.Encoder().encode


class Entry(NamedTuple):
    """One event and the very bytes that recorded its effects (none: b"")."""

    event: AnyEvent
    effects: bytes

    @property
    def seq(self) -> int:
        """Of the event."""
        return self.event.seq


def _entries(reader: JournalReader) -> Iterator[Entry]:
    event: AnyEvent | None = None
    effects = b""
    for record in reader.records():
        if record.kind == EVENT:
            if event is not None:
                yield Entry(event, effects)
            event, effects = decode_event(record.payload), b""
        elif record.kind == EFFECTS and event is not None and record.seq == event.seq:
            effects = bytes(record.payload)
    if event is not None:
        yield Entry(event, effects)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first event whose effects are not the recorded ones."""

    seq: int
    event: str
    recorded: Any  # effects as builtins
    now: Any


class Rerun(msgspec.Struct, kw_only=True):
    """What was compared and what came out."""

    journal: str
    verdict: str = "agrees"  # agrees | differs | other_machine_class
    begins: str = "event 1"
    first_seq: int = 0
    last_seq: int = 0
    events: int = 0
    effects: int = 0
    decisions: int = 0
    orders: int = 0
    runs: list[int] = []
    torn_bytes: int = 0
    difference: Difference | None = None
    versions_differ: dict[str, tuple[str, str]] = {}  # recorded, here
    notes: list[str] = []


def rerun(path: Path) -> Rerun:
    """Run the journal of a state directory (or a journal folder) again, up to the first difference.

    DataError: no journal, damage in its middle, or its beginning is gone and nothing replaces it. ConfigError: a model is missing
    or another one than then, or the recorded settings do not fit this version.
    """
    journal = journal_folder(path)
    if not read_headers(journal):
        raise DataError(f"{journal}: holds no journal segment: nothing to replay")
    reader = JournalReader(journal)
    entries = _entries(reader)
    first = next(entries, None)
    if first is None:
        raise DataError(f"{journal}: holds no event yet: nothing to replay")
    result = Rerun(journal=str(journal), first_seq=first.seq)
    if first.seq == 1:
        opening, engine, settings = _from_the_beginning(first, entries, journal)
        entries = itertools.chain(opening, entries)
    else:
        entries.close()  # type: ignore[attr-defined]  # a generator
        seq, engine, settings = _from_a_snapshot(journal, first.seq)
        result.begins, result.first_seq = f"the snapshot of event {seq}", seq + 1
        reader = JournalReader(journal, seq_min=seq + 1)
        entries = _entries(reader)
    _Comparison(result, engine, settings).run(entries)
    result.torn_bytes = reader.torn_bytes
    return result


def _from_the_beginning(first: Entry, entries: Iterator[Entry], journal: Path) -> tuple[list[Entry], Engine, Settings]:
    """(entries read ahead, the engine, its settings)."""
    _, opening, settings, venue = beginning_of(journal, first, entries)
    return opening, build_engine(settings, venue), settings


def _from_a_snapshot(journal: Path, first_seq: int) -> tuple[int, Engine, Settings]:
    """(event of the snapshot, the engine restored from it, its settings) for a journal whose first segments are gone."""
    stored = usable_snapshots(journal, first_seq)[0]
    engine, settings, _ = restored(journal, stored, of_then=False)
    return stored.seq, engine, settings


class _Comparison:
    """Steps the entries and keeps count; stops at the first difference."""

    def __init__(self, result: Rerun, engine: Engine, settings: Settings) -> None:
        self._result = result
        self._engine = engine
        self._settings = settings
        self._here = versions()
        self._unanswered: Difference | None = None  # an event without recorded effects: fine at the very end only

    def run(self, entries: Iterator[Entry]) -> None:
        """Compare all entries."""
        result = self._result
        for entry in entries:
            if self._unanswered is not None:
                break
            if isinstance(entry.event, RunStarted):
                self._begin_run(entry.event)
            elif isinstance(entry.event, ModelReady):
                self._check_model(entry.event)
            if not self._compare(entry):
                break
        else:
            if self._unanswered is not None:
                result.notes.append(
                    f"event {self._unanswered.seq} is the last and its effects are not recorded: the process died in between, nobody acted"
                )
                self._unanswered = None
        result.difference = result.difference or self._unanswered
        if result.difference is not None:
            machine = [name for name in result.versions_differ if name != "calendar"]
            result.verdict = "other_machine_class" if machine else "differs"

    def _compare(self, entry: Entry) -> bool:
        result = self._result
        try:
            effects = list(self._engine.step(entry.event))
        except Exception as e:  # a fault of the engine is a finding, too
            result.difference = _difference(entry, [f"the engine failed: {type(e).__name__}: {e}"])
            return False
        result.events += 1
        result.last_seq = entry.seq
        if effects or entry.effects:
            if not entry.effects:
                self._unanswered = _difference(entry, effects)
                return True
            if _encode(effects) != entry.effects:
                result.difference = _difference(entry, effects)
                return False
        for effect in effects:
            result.effects += 1
            if type(effect) is RecordDecision:
                result.decisions += 1
            elif type(effect) is SubmitOrder:
                result.orders += 1
        return True

    def _begin_run(self, event: RunStarted) -> None:
        """A restart goes on with the same state; other settings make another engine around it, as in the daemon."""
        result = self._result
        result.runs.append(event.run)
        for name in sorted(event.versions.keys() | self._here.keys()):
            then, here = event.versions.get(name, "absent"), self._here.get(name, "absent")
            if then != here:
                result.versions_differ[name] = (then, here)
        settings = settings_from_json(event.config)
        if not result.events or event.config_hash == _hash_of(self._settings):
            return
        if traded(settings) == traded(self._settings):
            return
        result.notes.append(f"run {event.run} (event {event.seq}) began with other settings: {_changed(self._settings, settings)}")
        fresh = build_engine(settings, self._engine.config.instruments[0].venue)
        if fresh.layout_hash != self._engine.layout_hash:
            raise ConfigError(
                f"{result.journal}: run {event.run} (event {event.seq}) began with other lanes, instruments or models;"
                f" the {result.events} events before it agree: replay what follows from its own state directory"
            )
        fresh.restore(*self._engine.snapshot())
        self._engine, self._settings = fresh, settings

    def _check_model(self, event: ModelReady) -> None:
        here = dict(model_names(self._engine))
        if here.get(event.name) != event.bundle_sha256:
            found = f"the one here has {here[event.name][:12]}..." if event.name in here else "the settings now load another"
            raise ConfigError(
                f"model {event.name!r}: the journal was made with sha256 {event.bundle_sha256[:12]}..., {found}: put that bundle back"
            )


def _difference(entry: Entry, now: Any) -> Difference:
    return Difference(
        seq=entry.seq,
        event=type(entry.event).__name__,
        recorded=_plain(decode_effects(entry.effects) if entry.effects else ()),
        now=_plain(now),
    )


def _plain(effects: Any) -> list[Any]:
    """Effects with the names of their fields, for people and JSON."""
    return [
        {"type": type(e).__name__, **msgspec.to_builtins(msgspec.structs.asdict(e))} if isinstance(e, msgspec.Struct) else e
        for e in effects
    ]


def _hash_of(settings: Settings) -> str:
    import hashlib

    return hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest()


def _changed(before: Settings, after: Settings) -> str:
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    return ", ".join(f"[{name}]" for name in new if old.get(name) != new[name])
