"""Start-up and crash recovery, one path: newest snapshot, journal tail, agreement with the venue; then the run may begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from mia.domain.errors import DataError, FailStop, MiaError
from mia.domain.events import RunStarted
from mia.ports import NEVER_NS
from mia.sim.venue import SimVenue
from mia.store.reader import JournalReader
from mia.store.snapshots import Snapshot, SnapshotStore
from miad.core import Core
from miad.past import Build, Past

_TICK_MASK: Final = 0xFFF
_CHANGED: Final = "the state was made with other features, instruments, lanes or models"


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What recovery found."""

    snapshot_seq: int  # 0: none was usable, the journal was stepped from its beginning
    tail_events: int
    feed: bytes  # where the simulated feed stood at the snapshot
    feed_events: int  # market events since then
    notes: tuple[str, ...]


def _nothing() -> None:
    pass


def recover(core: Core, snapshots: SnapshotStore, present: Past, build: Build, tick: Callable[[], None] = _nothing) -> Recovered:
    """Bring the core to the state after the journal's last event. DataError or FailStop when that cannot be proved.

    The tail is stepped by an engine of the settings and calendar that wrote it; its state then goes on under `present`.
    tick: called every now and then; a long tail takes its time.
    """
    journal = core.journal
    notes = [journal.recovery.warning] if journal.recovery.warning else []
    walk = _Walk(core, present, build, notes)
    feed = _restore(walk, snapshots)
    seq, at_snapshot = walk.core.seq, walk.core.engine.state.counters.market_events
    tail = 0
    if journal.last_seq != seq:
        for entry in JournalReader(journal.directory, seq_min=seq + 1):
            if tail == 0 and entry.seq != seq + 1:
                raise DataError(
                    f"{journal.directory}: event {seq + 1} is not there (the first is {entry.seq}) and no snapshot covers it: "
                    "restore the older segments or a snapshot, or start with a new --state"
                )
            if isinstance(entry.event, RunStarted):
                walk.change(Past(entry.event.config, entry.event.versions.get("calendar", "")), f"run {entry.event.run}")
            walk.core.again(entry.event, entry.effects, is_last=entry.seq == journal.last_seq)
            tail += 1
            if not tail & _TICK_MASK:
                tick()
        if walk.core.seq != journal.last_seq:
            raise FailStop(f"{journal.directory}: ends with event {walk.core.seq}, expected {journal.last_seq}")
    walk.arrive()
    _agree(core)
    done = core.engine.state.counters.market_events - at_snapshot
    return Recovered(snapshot_seq=seq, tail_events=tail, feed=feed, feed_events=done, notes=tuple(notes))


class _Walk:
    """The engine that steps the tail: the present one, or one of then whose state is handed on."""

    def __init__(self, core: Core, present: Past, build: Build, notes: list[str]) -> None:
        self._target: Final = core
        self._present: Final = present
        self._build: Final = build
        self.notes: Final = notes
        self.core = core
        self._past = present

    def change(self, past: Past, whose: str) -> None:
        """Go on under other settings or another calendar; with those at hand when they cannot be built any more."""
        if past == self._past or not past.config:
            return
        try:
            core = self._target if past == self._present else self._build(past)
        except MiaError as e:
            self.notes.append(f"the settings of {whose} cannot be used any more ({e}); its events are stepped with the present ones")
            return
        if self.core.seq:
            _hand_over(self.core, core)
        self.core, self._past = core, past

    def arrive(self) -> None:
        """The state goes on under the present settings."""
        if self.core is not self._target:
            _hand_over(self.core, self._target)


def _hand_over(old: Core, new: Core) -> None:
    if new.engine.layout_hash != old.engine.layout_hash:
        raise DataError(f"{_CHANGED}: start with the settings and models of before, or with a new --state")
    new.engine.restore(*old.engine.snapshot())
    new.venue.restore(old.venue.snapshot())
    new.seq = old.seq


def _restore(walk: _Walk, snapshots: SnapshotStore) -> bytes:
    """Take over the newest snapshot that fits; the feed's part, or b"" when there is none."""
    journal = walk.core.journal
    stored = snapshots.latest(journal.last_seq)
    if snapshots.corrupt:
        walk.notes.append(
            f"{snapshots.directory}: {snapshots.corrupt} damaged snapshot(s) skipped; a longer part of the journal is stepped again"
        )
    if stored is None:
        return b""
    if stored.seq + 1 < journal.recovery.first_seq:  # the first one of a day may be older than what is left of the journal
        raise DataError(
            f"{snapshots.directory}: no snapshot is whole but that of event {stored.seq}, and the journal begins with event "
            f"{journal.recovery.first_seq}: restore the snapshots or the segments between from a backup, or start with a new --state"
        )
    if stored.feature_hash != walk.core.engine.layout_hash:
        if stored.seq == journal.last_seq or journal.recovery.first_seq > 1:
            raise DataError(f"{snapshots.directory}: {_CHANGED}: start with the settings and models of before, or with a new --state")
        return b""
    try:
        parts = msgspec.msgpack.decode(stored.blob, type=Snapshot)
        walk.change(Past(parts.config, parts.calendar), f"the snapshot of event {stored.seq}")
        walk.core.engine.restore(parts.arrays, parts.state)
    except (msgspec.MsgspecError, ValueError) as e:
        raise DataError(
            f"{snapshots.directory}: snapshot of event {stored.seq} does not fit this version ({e}): "
            "use the version that wrote it, or a new --state"
        ) from e
    walk.core.venue.restore(parts.venue)
    walk.core.seq = stored.seq
    return parts.feed


def _agree(core: Core) -> None:
    """The rebuilt paper venue and the rebuilt engine must hold the same positions once every report is in."""
    portfolio, venue = core.engine.state.portfolio, core.venue
    if not isinstance(venue, SimVenue):
        return  # a real venue is asked once it is connected
    for market in core.engine.markets:
        ours, theirs = portfolio.lots(market.index), venue.position_lots(market.index)
        if ours != theirs and venue.next_due_ns == NEVER_NS:
            raise FailStop(f"{market.symbol}: the engine holds {ours} lots, the paper venue {theirs}: start with a new --state")
