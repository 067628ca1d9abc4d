"""Start-up and crash recovery, one path: newest snapshot, journal tail, agreement with the venue; then the run may begin."""

from __future__ import annotations

import msgspec

from mia.domain.errors import DataError, FailStop
from mia.ports import NEVER_NS
from mia.sim.venue import SimVenue
from mia.store.reader import JournalReader
from mia.store.snapshots import Snapshot, SnapshotStore
from miad.core import Core


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What recovery found."""

    snapshot_seq: int  # 0: none was usable, the journal was stepped from its beginning
    tail_events: int
    feed: bytes  # where the simulated feed stood at the snapshot
    feed_events: int  # market events since then
    notes: tuple[str, ...]


def recover(core: Core, snapshots: SnapshotStore) -> Recovered:
    """Bring the core to the state after the journal's last event. DataError or FailStop when that cannot be proved."""
    engine, journal = core.engine, core.journal
    notes = [journal.recovery.warning] if journal.recovery.warning else []
    seq, feed = _restore(core, snapshots, notes)
    at_snapshot = engine.state.counters.market_events
    if journal.last_seq == seq:
        core.seq = seq
        _agree(core)
        return Recovered(snapshot_seq=seq, tail_events=0, feed=feed, feed_events=0, notes=tuple(notes))
    tail = 0
    for entry in JournalReader(journal.directory, seq_min=seq + 1):
        if tail == 0 and entry.seq != seq + 1:
            raise DataError(
                f"{journal.directory}: event {seq + 1} is not there (the first is {entry.seq}) and no snapshot covers it: "
                "restore the older segments or a snapshot, or start with a new --state"
            )
        core.again(entry.event, entry.effects, is_last=entry.seq == journal.last_seq)
        tail += 1
    if core.seq != journal.last_seq:
        raise FailStop(f"{journal.directory}: ends with event {core.seq}, expected {journal.last_seq}")
    _agree(core)
    done = engine.state.counters.market_events - at_snapshot
    return Recovered(snapshot_seq=seq, tail_events=tail, feed=feed, feed_events=done, notes=tuple(notes))


def _restore(core: Core, snapshots: SnapshotStore, notes: list[str]) -> tuple[int, bytes]:
    """Take over the newest snapshot that fits; (its seq, the feed's part), or (0, b"") when there is none."""
    stored = snapshots.latest(core.journal.last_seq)
    if snapshots.corrupt:
        notes.append(
            f"{snapshots.directory}: {snapshots.corrupt} damaged snapshot(s) skipped; a longer part of the journal is stepped again"
        )
    if stored is None:
        return 0, b""
    if stored.feature_hash != core.engine.layout_hash:
        if stored.seq == core.journal.last_seq or core.journal.recovery.first_seq > 1:
            raise DataError(
                f"{snapshots.directory}: the state was made with other features, instruments, lanes or models: "
                "start with the settings and models of before, or with a new --state"
            )
        return 0, b""
    try:
        parts = msgspec.msgpack.decode(stored.blob, type=Snapshot)
        core.engine.restore(parts.arrays, parts.state)
    except (msgspec.MsgspecError, ValueError) as e:
        raise DataError(
            f"{snapshots.directory}: snapshot of event {stored.seq} does not fit this version ({e}): "
            "use the version that wrote it, or a new --state"
        ) from e
    core.venue.restore(parts.venue)
    core.seq = stored.seq
    return stored.seq, parts.feed


def _agree(core: Core) -> None:
    """The rebuilt paper venue and the rebuilt engine must hold the same positions once every report is in."""
    portfolio, venue = core.engine.state.portfolio, core.venue
    if not isinstance(venue, SimVenue):
        return  # a real venue is asked once it is connected
    for market in core.engine.markets:
        ours, theirs = portfolio.lots(market.index), venue.position_lots(market.index)
        if ours != theirs and venue.next_due_ns == NEVER_NS:
            raise FailStop(f"{market.symbol}: the engine holds {ours} lots, the paper venue {theirs}: start with a new --state")
