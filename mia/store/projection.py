"""The projector: one thread that turns journal records into SQLite rows and exports, behind the loop's back.

It may lag, never block: what does not fit in its queue is read from the journal again. The first error of the database
other than a lock ends it for good (an fsync error is reported once, then commits succeed): `failed` says so, the process ends.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import apsw

from mia.domain.effects import RecordRisk, RecordTrade
from mia.domain.errors import DataError, FailStop
from mia.domain.events import Event
from mia.store.database import Applied, Database
from mia.store.exports import Exports
from mia.store.reader import JournalPosition, JournalReader, Record
from mia.store.records import EVENT, decode_effects, decode_event, tag_prefix
from mia.store.schema import ORDINALS
from mia.store.tables import EVENT_TYPES, PROJECTED, Tables

Published = tuple[int, int, object]  # seq, engine time, record

_BATCH: Final = 1000
_EXPORT_RETRY_S: Final = 1.0
_PAUSE_S: Final = 0.001  # between batches of a catch-up: lets the loop have the interpreter
_EVENT_TAGS: Final = frozenset(tag_prefix(t) for t in EVENT_TYPES)

_log = logging.getLogger("mia.store")


def _log_warning(code: str, text: str) -> None:
    _log.warning("%s: %s", code, text)


class Projector:
    """The slow lane's Store: `publish` from the loop, rows and files from its own thread."""

    def __init__(
        self,
        state_dir: Path,
        *,
        mode: str,
        journal_last_seq: int,
        journal_position: Callable[[], JournalPosition] | None = None,
        queue_max: int = 200_000,
        interval_s: float = 0.05,
        on_warning: Callable[[str, str], None] = _log_warning,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        """Open state_dir/miad.db beside state_dir/journal; DataError when it is not usable. `start` begins the work.

        mode: paper | live. journal_last_seq, journal_position: `Journal.last_seq` and `.position` (without the latter:
        nobody writes the journal). on_warning(code, text), on_failure(reason): called from the projector's thread.
        """
        self._journal = state_dir / "journal"
        self._position = journal_position
        self._interval_s = interval_s
        self._on_warning = on_warning
        self._on_failure = on_failure
        self._queue: deque[Published] = deque()
        self._queue_max = queue_max
        self._overflowed = True  # begin with what the journal has
        self._wake = threading.Event()
        self._stopping = False
        self._done = threading.Condition()
        self._flushes_wanted = 0
        self._flushes_done = 0
        self._ordinal: tuple[int, int] = (-1, 0)
        self._retry_at = 0.0
        self.failed: str | None = None
        self.is_lagging = False
        self.overflows = 0
        self.rows = 0
        self._database = Database(state_dir / "miad.db")
        self._tables = Tables(self._database.connection)
        self._exports = Exports(state_dir, mode, self._database.connection, on_warning)
        self._applied = self._judge(journal_last_seq)
        self._exports.repair()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    def _judge(self, journal_last_seq: int) -> Applied:
        """Compare the database with the journal; where to go on from."""
        database, applied = self._database, self._database.applied
        if applied.seq > journal_last_seq == 0:
            raise DataError(
                f"{self._journal}: the journal is gone, but {database.path} holds events up to {applied.seq}: restore it, or move both"
            )
        if applied.seq > journal_last_seq:
            self._on_warning(
                "projection_cut", f"{database.path}: events after {journal_last_seq} were lost to a power failure; their rows go, too"
            )
            database.forget_after(journal_last_seq)
            return database.applied
        if database.missing and journal_last_seq > 0:
            names = ", ".join(database.missing)
            self._on_warning("projection_rebuilt", f"{database.path}: missing {names}; rebuilt from the journal")
        return applied

    # --- the loop's side ------------------------------------------------------------------------------------
    def publish(self, seq: int, ts_ns: int, record: object) -> None:
        """Hand over one record that is in the journal: every event, then its effects in order. ts_ns: engine time.

        Types without a table cost a look-up only. Never blocks; when the queue is full it is dropped and read from the journal.
        """
        if type(record) not in PROJECTED or self._overflowed:
            return
        queue = self._queue
        if len(queue) >= self._queue_max:
            self._overflowed = True
            self.overflows += 1
            queue.clear()
            return
        queue.append((seq, ts_ns, record))

    def start(self) -> None:
        """Begin: catch up with the journal, then follow `publish`."""
        self._thread.start()

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until all that was published is in SQLite and the files; False when it did not get there in time."""
        with self._done:
            self._flushes_wanted += 1
            target = self._flushes_wanted
            self._wake.set()
            return self._done.wait_for(lambda: self._flushes_done >= target or self.failed is not None, timeout_s) and self.failed is None

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write what is left, as far as it gets in time, and close; what is not written is caught up at the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if not self._thread.is_alive() and self.failed is None:
            self._database.close()

    @property
    def applied_seq(self) -> int:
        """Seq of the last record in the database."""
        return self._applied.seq

    @property
    def queued(self) -> int:
        """Records that wait."""
        return len(self._queue)

    # --- the thread -------------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            while True:
                wanted = self._flushes_wanted
                is_last = self._stopping
                self._drain()
                with self._done:
                    if not self.is_lagging:
                        self._flushes_done = wanted
                    self._done.notify_all()
                if is_last:
                    return
                if wanted == self._flushes_wanted and not self._stopping:
                    self._wake.wait(self._interval_s)
                self._wake.clear()
        except (apsw.Error, FailStop, DataError) as e:
            self._fail(f"{self._database.path}: the projection failed ({type(e).__name__}: {e}): check the disk, then restart")
        except Exception as e:  # the thread's edge: silence would be a projection that stands still unseen
            _log.exception("projector")
            self._fail(f"the projector stopped on {type(e).__name__}: {e}")

    def _fail(self, text: str) -> None:
        with self._done:
            self.failed = text
            self._done.notify_all()
        if self._on_failure is not None:
            self._on_failure(text)

    def _drain(self) -> None:
        """Everything that is there now."""
        if self._overflowed:
            self._queue.clear()
            self._overflowed = False  # from here on `publish` queues again; what it queues twice is recognised
            for chunk in _chunks(self._from_journal(), _BATCH):
                if not self._apply(chunk):
                    self._overflowed = True
                    return
                time.sleep(_PAUSE_S)
            self._ordinal = (-1, 0)
        while batch := self._take():
            if not self._apply(list(self._placed(batch))):
                self._overflowed = True
                return
        if self._exports.is_behind and time.monotonic() >= self._retry_at:
            self._retry_at = time.monotonic() + _EXPORT_RETRY_S
            self._apply([])

    def _take(self) -> list[Published]:
        """Up to one batch of the queue; the loop may clear it at any time."""
        batch: list[Published] = []
        with contextlib.suppress(IndexError):
            while len(batch) < _BATCH and not self._overflowed:
                batch.append(self._queue.popleft())
        return batch

    def _placed(self, batch: Iterable[Published]) -> Iterator[tuple[int, int, object]]:
        """(row id, ts_ns, record) with the ordinal counted as in the journal: events 0, projected effects from 1."""
        for seq, ts_ns, record in batch:
            if isinstance(record, Event):
                yield seq * ORDINALS, ts_ns, record
                continue
            n = self._ordinal[1] + 1 if self._ordinal[0] == seq else 1
            self._ordinal = (seq, n)
            yield seq * ORDINALS + n, ts_ns, record

    def _from_journal(self) -> Iterator[tuple[int, int, object]]:
        """The same, of the journal from the last applied record on."""
        until = self._position() if self._position is not None else None
        reader = JournalReader(self._journal, self._applied.seq, until)
        last: Record | None = None
        n = 0
        for record in reader.records():
            if record.kind == EVENT:
                last, n = record, 0
                if bytes(record.payload[1 : 2 + (record.payload[1] & 31)]) in _EVENT_TAGS:
                    event = decode_event(record.payload)
                    yield record.seq * ORDINALS, event.ts_recv_ns, event
            elif last is not None and last.seq == record.seq:
                ts_ns = decode_event(last.payload).ts_recv_ns
                for effect in decode_effects(record.payload):
                    if type(effect) in PROJECTED:
                        n += 1
                        yield record.seq * ORDINALS + n, ts_ns, effect

    def _apply(self, batch: list[tuple[int, int, object]]) -> bool:
        """Write one batch in one transaction; False when the database stayed locked (nothing is lost: the journal has it)."""
        while True:
            try:
                self._write(batch)
            except apsw.BusyError:
                self._exports.forget()
                if not self.is_lagging:
                    self.is_lagging = True
                    self._on_warning(
                        "projection_lags", f"{self._database.path}: locked by another process; trading goes on, rows are written later"
                    )
                if self._stopping or self._overflowed:
                    return False  # the batch is read from the journal again
                time.sleep(self._interval_s)
            else:
                self.is_lagging = False
                return True

    def _write(self, batch: list[tuple[int, int, object]]) -> None:
        connection, tables = self._database.connection, self._tables
        start = self._applied.row_id
        last = start
        connection.execute("BEGIN IMMEDIATE")
        try:
            tables.counts.clear()
            for row_id, ts_ns, record in batch:
                if row_id <= start:
                    continue
                tables.project(row_id, ts_ns, record)
                last = row_id
                if isinstance(record, RecordTrade):
                    self._exports.trade_changed(record.trade_id)
                elif isinstance(record, RecordRisk):
                    self._exports.risk_changed(row_id)
            if tables.counts:
                tables.write_counts()
            applied = Applied(*divmod(last, ORDINALS))
            if applied != self._applied:
                self._database.set_applied(applied)
            self._exports.write()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._applied = applied
        self.rows += len(batch)


def _chunks(items: Iterator[tuple[int, int, object]], size: int) -> Iterator[list[tuple[int, int, object]]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk
