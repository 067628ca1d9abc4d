"""The journal: the record of what happened, written before anything leaves the process. Survives kill -9 at any moment.

Appending is a copy into a mapped, preallocated segment (the page cache outlives us); one thread brings it to the disk
within `sync_interval_ms` and prepares segments ahead. Reading is `mia.store.reader`, opening after a crash `mia.store.recovery`.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from mia.domain.effects import AnyEffect
from mia.domain.errors import DataError, FailStop
from mia.domain.events import AnyEvent
from mia.kernels.crc import PAYLOAD_BYTES_MAX, S_CRC, S_NUMBER
from mia.store.reader import JournalPosition
from mia.store.records import EFFECTS, EVENT
from mia.store.recovery import recover
from mia.store.segment import HEADER_BYTES, SEGMENT_BYTES_MIN, Segment, SegmentHeader, allocate, segment_path

_RETRY_S: Final = 1.0  # how often a failed allocation is tried again


def boot_id() -> bytes:
    """16 bytes that change with every boot of the machine; zeros where the system does not tell."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)


class SpareSegments:
    """Segments made ahead: `next` for the coming roll, `spare` so that exits go on when the disk is full."""

    def __init__(self, directory: Path, segment_bytes: int, *, with_spare: bool) -> None:
        self._next = directory / "next.ready"
        self._spare = directory / "spare.ready"
        self._bytes = segment_bytes
        self._with_spare = with_spare
        self._lock = threading.Lock()
        self.full_reason: str | None = None
        for path in directory.glob("*.partial"):  # an interrupted creation
            path.unlink()
        for path in (self._next, self._spare):
            if path.exists() and path.stat().st_size != segment_bytes:
                path.unlink()

    def prepare(self) -> None:
        """Make what is missing; a failure is kept in `full_reason` and tried again by the next call."""
        with self._lock:
            try:
                for path in (self._spare, self._next) if self._with_spare else (self._next,):
                    if not path.exists():
                        allocate(path, self._bytes)
            except OSError as e:
                self.full_reason = (
                    f"{path.parent}: no room for the next journal segment of {self._bytes >> 20} MiB ({e.strerror}): free disk space"
                )
            else:
                self.full_reason = None

    def take(self, target: Path) -> None:
        """Give `target` a fresh file: the one made ahead, else one made now, else the spare; FailStop when there is none left."""
        with self._lock:
            if not self._next.exists():
                try:
                    allocate(self._next, self._bytes)
                except OSError as e:
                    self.full_reason = f"{target.parent}: no room for the next journal segment ({e.strerror}): free disk space"
                    if not self._spare.exists():
                        raise FailStop(f"{self.full_reason}; the reserved spare segment is used up") from e
                    self._spare.rename(target)
                    return
            self._next.rename(target)

    def is_complete(self) -> bool:
        """True when nothing has to be made."""
        return self._next.exists() and (not self._with_spare or self._spare.exists())


class Journal:
    """Appends events and effects. One writer: the loop. Opening recovers what an earlier process left."""

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = 256 << 20,
        spare: bool = True,
        versions: Mapping[str, str] | None = None,
        sync_interval_ms: int = 10,
        on_failure: Callable[[FailStop], None] | None = None,
    ) -> None:
        """Open or create; DataError when the directory cannot be used or the journal is damaged.

        segment_bytes: at least 64 KiB, a multiple of 4096. versions: what byte-identical replay depends on, kept in each header.
        on_failure: called once, from the sync thread, when the disk failed; every later append raises the same FailStop.
        """
        if segment_bytes < SEGMENT_BYTES_MIN or segment_bytes % HEADER_BYTES:
            raise ValueError(f"segment_bytes must be a multiple of {HEADER_BYTES}, at least {SEGMENT_BYTES_MIN}, got {segment_bytes}")
        self.directory = directory
        self._versions = dict(versions or {})
        self._on_failure = on_failure
        self._failure: FailStop | None = None
        self._boot_id = boot_id()
        self._encode_into = msgspec.msgpack.Encoder().encode_into
        self._buffer = bytearray(1 << 16)
        self._retired: deque[Segment] = deque()
        self._sync_lock = threading.Lock()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._spares = SpareSegments(directory, segment_bytes, with_spare=spare)
            segment, self.recovery = recover(directory, self._boot_id)
        except OSError as e:
            raise DataError(f"{directory}: the journal cannot be opened ({e.strerror}): check its rights and the disk") from e
        self._journal_id = segment.header.journal_id if segment else os.urandom(8)
        try:
            self._segment = segment if segment else self._fresh(1, 0, 0, 0)
        except FailStop as e:
            raise DataError(str(e)) from e
        self._last_seq = self.recovery.last_seq
        self._append = self._segment.log.append
        self._directory_dirty = True
        self._stopping = threading.Event()
        self._interval_s = sync_interval_ms / 1000
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)
        self._thread.start()

    # --- the hot path ---------------------------------------------------------------------------------------
    def append_event(self, event: AnyEvent) -> None:
        """Write one event, before step sees it; FailStop when the disk failed or its seq does not grow."""
        seq = event.seq
        if self._failure is not None:
            raise self._failure
        if seq <= self._last_seq:
            raise FailStop(f"event seq {seq} does not follow {self._last_seq}")
        buffer = self._buffer
        self._encode_into(event, buffer)
        if self._append(EVENT, seq, buffer) < 0:
            self._roll(EVENT, seq)
        self._last_seq = seq

    def append_effects(self, seq: int, effects: Sequence[AnyEffect]) -> None:
        """Write what step gave back for event `seq`, before anything of it leaves the process. Empty: nothing is written."""
        if self._failure is not None:
            raise self._failure
        if not effects:
            return
        if seq != self._last_seq:
            raise FailStop(f"effects of event {seq} after event {self._last_seq}")
        buffer = self._buffer
        self._encode_into(effects, buffer)
        if self._append(EFFECTS, seq, buffer) < 0:
            self._roll(EFFECTS, seq)

    # --- what the core asks -----------------------------------------------------------------------------------
    @property
    def last_seq(self) -> int:
        """Seq of the last event, 0 when there is none."""
        return self._last_seq

    @property
    def is_full(self) -> bool:
        """True while no further segment can be made: no new exposure; exits go on in what is left and the spare."""
        return self._spares.full_reason is not None

    @property
    def full_reason(self) -> str | None:
        """Why `is_full`, as one line that says what to do."""
        return self._spares.full_reason

    @property
    def failure(self) -> FailStop | None:
        """The disk error after which this process must end."""
        return self._failure

    @property
    def position(self) -> JournalPosition:
        """End of the last record: everything before it is whole and may be read by a JournalReader."""
        while True:
            segment = self._segment
            found = JournalPosition(segment.header.number, segment.used_bytes)
            if segment is self._segment:
                return found

    def sync(self) -> None:
        """Return once every record so far is on the disk (`intent_durability = "disk"`); FailStop when the disk failed."""
        self._sync()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Sync and close; FailStop when the last sync failed."""
        self._stopping.set()
        self._thread.join()
        self._sync()
        with self._sync_lock:
            del self._append
            self._segment.close(trim=False)
        if self._failure is not None:
            raise self._failure
        self._failure = FailStop("the journal is closed")

    # --- rolling ----------------------------------------------------------------------------------------------
    def _roll(self, kind: int, seq: int) -> None:
        """The record in the buffer does not fit: go on in the next segment."""
        if not 0 < len(self._buffer) <= PAYLOAD_BYTES_MAX:
            raise FailStop(f"a record of {len(self._buffer)} bytes is larger than a journal record may be")
        old = self._segment
        try:
            fresh = self._fresh(old.header.number + 1, seq, old.state[S_NUMBER], old.state[S_CRC])
        except OSError as e:
            raise self._fail(f"{self.directory}: the next journal segment cannot be opened ({e.strerror})") from e
        self._retired.append(old)
        self._segment = fresh
        self._append = fresh.log.append
        self._directory_dirty = True
        if self._append(kind, seq, self._buffer) < 0:
            raise FailStop(f"a record of {len(self._buffer)} bytes does not fit in a journal segment: raise [store] segment_mb")

    def _fresh(self, number: int, first_seq: int, first_record: int, previous_crc: int) -> Segment:
        path = segment_path(self.directory, number)
        self._spares.take(path)
        header = SegmentHeader(self._journal_id, number, first_seq, first_record, previous_crc, self._versions, self._boot_id)
        return Segment(path, header)

    # --- the sync thread ----------------------------------------------------------------------------------------
    def _run(self) -> None:
        wait_s, since_try_s = self._interval_s, _RETRY_S
        while not self._stopping.wait(wait_s) and self._failure is None:
            self._sync()
            since_try_s += wait_s
            if since_try_s >= _RETRY_S and not self._spares.is_complete():
                self._spares.prepare()
                since_try_s = 0.0

    def _sync(self) -> None:
        """One round: closed segments first, then the current one. The first error is the last: never tried again."""
        with self._sync_lock:
            if self._failure is not None:
                return
            path = self.directory
            try:
                while self._retired:
                    segment = self._retired[0]
                    path = segment.path
                    segment.sync()
                    segment.close(trim=True)
                    self._retired.popleft()
                path = self._segment.path
                self._segment.sync()
                if self._directory_dirty:
                    self._directory_dirty = False
                    path = self.directory
                    _sync_directory(path)
            except OSError as e:
                failure = self._fail(f"{path}: the journal could not be brought to the disk ({e.strerror}): check the disk, then restart")
            else:
                return
        if self._on_failure is not None:
            self._on_failure(failure)

    def _fail(self, text: str) -> FailStop:
        self._failure = FailStop(text)
        return self._failure


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
