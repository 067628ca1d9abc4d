"""The projection's process: journal -> SQLite rows and exports. `python -m mia.store.project STATE_DIR --mode paper`, started by miad.

It follows the journal; what it has written is known by the database itself, so it may be killed at any moment. It takes
lines on stdin (`flush SEQ`, `stop`; the end of stdin means that the daemon is gone) and says lines on stdout (`ready`,
`applied SEQ`, `done SEQ`, `warning CODE TEXT`, `failed TEXT`). The first error of the database other than a lock ends it for
good (an fsync error is reported once, then commits succeed): `failed` says so, and the daemon ends, too.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import itertools
import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import apsw

from mia.domain.effects import RecordRisk, RecordTrade
from mia.domain.errors import DataError, FailStop
from mia.domain.events import RunStarted
from mia.store.database import Applied, Database
from mia.store.exports import Exports
from mia.store.reader import Record
from mia.store.records import EVENT, decode_effects, decode_event, tag_prefix
from mia.store.schema import ORDINALS
from mia.store.tables import EVENT_TYPES, PROJECTED, Tables
from mia.store.tail import JournalTail

Row = tuple[int, int, object]  # row id, engine time, record

_BATCH: Final = 1000
_POLL_S: Final = 0.05
_APPLIED_EVERY_S: Final = 0.2
_LOOK_EVERY_S: Final = 1.0
_EXPORT_RETRY_S: Final = 1.0
_LOCK_WAIT_S: Final = 10.0
_NICE: Final = 5
_EVENT_TAGS: Final = frozenset(tag_prefix(t) for t in EVENT_TYPES)

_log = logging.getLogger("mia.store")


class Control:
    """What the daemon wants, from a pipe."""

    def __init__(self, fd: int) -> None:
        self.flushes: list[int] = []  # wanted and not answered yet, in order
        self.is_stopping = False
        self.is_closed = False  # the daemon is gone
        self._fd: Final = fd
        self._part = b""

    @property
    def is_over(self) -> bool:
        """True when this process should end."""
        return self.is_stopping or self.is_closed

    def wait(self, seconds: float) -> None:
        """Take in what was said; when nothing was, wait at most so long for it."""
        if self.is_closed or not select.select([self._fd], [], [], seconds)[0]:
            return
        data = os.read(self._fd, 1 << 16)
        self.is_closed = not data
        *lines, self._part = (self._part + data).split(b"\n")
        for line in lines:
            word, _, value = line.partition(b" ")
            if word == b"flush":
                self.flushes.append(int(value))
            elif word == b"stop":
                self.is_stopping = True


class Projection:
    """The rows and files of one state directory. Live, catching up and rebuilding are one path: the journal from the last applied row."""

    def __init__(self, state_dir: Path, *, mode: str, journal_last_seq: int | None, control: Control, say: Callable[[str], None]) -> None:
        """Open miad.db; DataError when it is not usable, apsw.BusyError when another process locks it.

        journal_last_seq: of the journal when this run opened it; None: an earlier process of this run has compared already.
        """
        self._journal: Final = state_dir / "journal"
        self._control: Final = control
        self._say: Final = say
        self._database: Final = Database(state_dir / "miad.db")
        self._tables: Final = Tables(self._database.connection)
        self._exports: Final = Exports(state_dir, mode, self._database.connection, self._warn)
        self._applied = self._judge(journal_last_seq)
        self._exports.repair()
        self._tail: Final = JournalTail(self._journal, self._applied.seq)
        self._event: Record | None = None  # the last one, for the time of its effects
        self._ordinal = 0
        self._is_lagging = False
        self._said_seq, self._said_at_s = -1, 0.0
        self._retry_at_s = 0.0
        self._look_at_s = 0.0

    def _warn(self, code: str, text: str) -> None:
        self._say(f"warning {code} {text}")

    def _judge(self, journal_last_seq: int | None) -> Applied:
        """Compare the database with the journal; where to go on from."""
        database, applied = self._database, self._database.applied
        if journal_last_seq is not None and applied.seq > journal_last_seq:
            if journal_last_seq == 0:
                raise DataError(
                    f"{self._journal}: the journal is gone, but {database.path} holds events up to {applied.seq}: restore it, or move both"
                )
            self._warn(
                "projection_cut", f"{database.path}: events after {journal_last_seq} were lost to a power failure; their rows go, too"
            )
            database.forget_after(journal_last_seq)
            return database.applied
        if database.missing and journal_last_seq != 0:
            names = ", ".join(database.missing)
            self._warn("projection_rebuilt", f"{database.path}: missing {names}; rebuilt from the journal")
        return applied

    def run(self) -> None:
        """Until the daemon says stop or is gone."""
        while True:
            is_last = self._control.is_over
            if not is_last and self._is_gone():  # what we write nobody can read; the next process rebuilds it
                self._warn("projection_removed", f"{self._database.path}: was removed while miad runs")
                return
            wanted = len(self._control.flushes)
            if not self._catch_up():  # and never again: rows that were read and not written are the next process's
                return
            self._report(force=is_last)
            self._answer(wanted)
            if is_last or self._control.is_closed:
                return
            if len(self._control.flushes) == wanted and not self._control.is_over:
                self._control.wait(_POLL_S)

    def close(self) -> None:
        """Close; the last connection checkpoints the WAL."""
        self._tail.close()
        self._database.close()

    def _is_gone(self) -> bool:
        """Somebody deleted the database; looked at once a second."""
        now_s = time.monotonic()
        if now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + _LOOK_EVERY_S
        return not self._database.path.exists()

    def _report(self, *, force: bool) -> None:
        now_s = time.monotonic()
        if force or (self._tail.seq != self._said_seq and now_s - self._said_at_s >= _APPLIED_EVERY_S):
            self._said_seq, self._said_at_s = self._tail.seq, now_s
            self._say(f"applied {self._tail.seq}")

    def _answer(self, wanted: int) -> None:
        """What was asked before the last look at the journal is done when the journal was there already."""
        flushes = self._control.flushes
        for seq in flushes[:wanted]:
            if seq > self._tail.seq:
                return
            flushes.pop(0)
            self._say(f"done {seq}")

    def _catch_up(self) -> bool:
        """Everything that the journal has now; False when we should end before it is written."""
        rows = self._rows()
        while batch := list(itertools.islice(rows, _BATCH)):
            if not self._apply(batch):
                return False
            self._control.wait(0)
            if self._control.is_closed:
                return False
            self._report(force=False)
        if self._exports.is_behind and time.monotonic() >= self._retry_at_s:
            self._retry_at_s = time.monotonic() + _EXPORT_RETRY_S
            return self._apply([])
        return True

    def _rows(self) -> Iterator[Row]:
        """New projected records at their place: an event has ordinal 0, its projected effects count from 1."""
        for record in self._tail.poll():
            payload = record.payload
            if record.kind == EVENT:
                self._event, self._ordinal = record, 0
                if payload[1 : 2 + (payload[1] & 31)].tobytes() in _EVENT_TAGS:
                    event = decode_event(payload)
                    if type(event) is RunStarted and self._is_foreign():
                        return
                    yield record.seq * ORDINALS, event.ts_recv_ns, event
            elif self._event is not None and self._event.seq == record.seq:
                ts_ns = decode_event(self._event.payload).ts_recv_ns
                for effect in decode_effects(payload):
                    if type(effect) in PROJECTED:
                        self._ordinal += 1
                        yield record.seq * ORDINALS + self._ordinal, ts_ns, effect

    def _is_foreign(self) -> bool:
        """A run that begins when our daemon is gone is the next daemon's, and its projection's to compare and write."""
        self._control.wait(0)
        return self._control.is_closed

    def _apply(self, batch: list[Row]) -> bool:
        """Write one batch in one transaction; False when the database stayed locked until we should end (the journal has it)."""
        while True:
            try:
                self._write(batch)
            except apsw.BusyError:
                self._exports.forget()
                if not self._is_lagging:
                    self._is_lagging = True
                    self._warn("projection_lags", lag_text(self._database.path))
                self._control.wait(_POLL_S)
                if self._control.is_over:
                    return False
            else:
                if self._is_lagging:
                    self._is_lagging = False
                    self._report(force=True)
                return True

    def _write(self, batch: list[Row]) -> None:
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


def lag_text(path: Path) -> str:
    """The warning of a locked database."""
    return f"{path}: locked by another process; trading goes on, rows are written later"


def serve(state_dir: Path, mode: str, journal_last_seq: int | None, control: Control, say: Callable[[str], None]) -> int:
    """Project until the daemon ends it; the exit code. Whatever goes wrong is said as `failed`."""
    database = state_dir / "miad.db"
    try:
        with _only_one(state_dir / "projector.lock", control) as is_ours:
            projection = _open(state_dir, mode, journal_last_seq, control, say) if is_ours else None
            if projection is not None:
                say("ready")
                projection.run()
                projection.close()
    except DataError as e:
        say(f"failed {e}")
    except (apsw.Error, OSError, FailStop) as e:
        say(f"failed {database}: the projection failed ({type(e).__name__}: {e}): check the disk, then restart")
    except Exception as e:  # the process's edge: silence would be a projection that stands still unseen
        _log.exception("projection")
        say(f"failed {database}: the projection stopped on {type(e).__name__}: {e}")
    else:
        return 0
    return 1


@contextlib.contextmanager
def _only_one(path: Path, control: Control) -> Iterator[bool]:
    """Hold the lock; False when we should end before we have it.

    The projection of a daemon that was killed may still finish its last batch: it is waited for.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline_s = time.monotonic() + _LOCK_WAIT_S
        while not (is_ours := _take(fd)) and not control.is_over:
            if time.monotonic() > deadline_s:
                raise DataError(f"{path}: another projection works in this directory: end it and start again")
            control.wait(_POLL_S)
        yield is_ours
    finally:
        os.close(fd)


def _take(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(state_dir: Path, mode: str, journal_last_seq: int | None, control: Control, say: Callable[[str], None]) -> Projection | None:
    """The projection, as soon as nobody locks the database; None when we should end before that."""
    is_lagging = False
    while not control.is_closed:
        try:
            return Projection(state_dir, mode=mode, journal_last_seq=journal_last_seq, control=control, say=say)
        except apsw.BusyError:
            if not is_lagging:
                is_lagging = True
                say(f"warning projection_lags {lag_text(state_dir / 'miad.db')}")
            if control.is_stopping:
                return None
            control.wait(_POLL_S)
    return None


def _say(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # the daemon is gone: the end of stdin says the same
        os.write(1, " ".join(line.splitlines()).encode() + b"\n")


def main() -> int:
    """Parse, step back behind the trading loop, serve."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the daemon stops us, after its own last words are in the journal
        signal.signal(number, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog="python -m mia.store.project")
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("--mode", choices=("paper", "live"), required=True)
    parser.add_argument("--journal-last-seq", type=int)
    options = parser.parse_args()
    with contextlib.suppress(PermissionError):  # a service manager may forbid it; then it works at the daemon's priority
        os.nice(_NICE)
    return serve(options.state_dir, options.mode, options.journal_last_seq, Control(0), _say)


if __name__ == "__main__":
    raise SystemExit(main())
