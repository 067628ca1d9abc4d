"""The one writer connection to miad.db: opened the one safe way, its schema checked, missing tables made."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import apsw

from mia.domain.errors import DataError
from mia.store.schema import BY_JOURNAL_ID, MIGRATIONS, ORDINALS, RECOUNT, TABLES, VERSION, VIEWS, newer_schema

_BUSY_TIMEOUT_MS: Final = 500
_WAL_BYTES_MAX: Final = 64 << 20


class Applied(NamedTuple):
    """The last journal place that the projection holds."""

    seq: int
    ordinal: int

    @property
    def row_id(self) -> int:
        """The same place as a row id."""
        return self.seq * ORDINALS + self.ordinal


def configure_wal(connection: apsw.Connection, path: Path, *, busy_timeout_ms: int, synchronous: int) -> None:
    """WAL with a bounded log; synchronous: 1 NORMAL (what can be rebuilt), 2 FULL (what is a record itself). DataError without WAL."""
    connection.set_busy_timeout(busy_timeout_ms)
    connection.pragma("journal_mode", "wal")
    mode = connection.pragma("journal_mode")  # an I/O error may leave another mode than the one reported
    if mode != "wal":
        raise DataError(f"{path}: SQLite refuses WAL mode (journal_mode is {mode}): use a local file system")
    connection.pragma("synchronous", synchronous)
    connection.pragma("journal_size_limit", _WAL_BYTES_MAX)


class Database:
    """miad.db for its one writer. `missing` names what was made anew; "database" when there was no file."""

    def __init__(self, path: Path) -> None:
        """Open or create; DataError when it is not ours to use, naming the file and what to do; apsw.BusyError while it is locked."""
        self.path = path
        existed = path.exists()
        try:
            self.connection = apsw.Connection(str(path))
            self._configure()
            self.missing = self._ensure_schema()
        except (apsw.NotADBError, apsw.CorruptError) as e:
            raise DataError(f"{path}: damaged database ({e}): move it away, it is rebuilt from the journal") from e
        except apsw.BusyError:
            raise
        except apsw.Error as e:
            raise DataError(f"{path}: cannot be opened for writing ({e}): check its rights and the disk") from e
        if not existed:
            self.missing = ["database"]

    def _configure(self) -> None:
        # NORMAL: the journal is the record, this file can be rebuilt
        configure_wal(self.connection, self.path, busy_timeout_ms=_BUSY_TIMEOUT_MS, synchronous=1)

    def _ensure_schema(self) -> list[str]:
        version = int(str(self.connection.pragma("user_version")))
        if version > VERSION:
            raise DataError(newer_schema(self.path, version))
        if version:
            with self.connection:
                for text in (text for older in range(version, VERSION) for text in MIGRATIONS.get(older, ())):
                    self.connection.execute(text)
                self.connection.pragma("user_version", VERSION)
        present = {str(name) for (name,) in self.connection.execute("SELECT name FROM sqlite_schema")}
        missing = [name for name in TABLES if name not in present]
        with self.connection:
            for name in missing:
                self.connection.execute(TABLES[name])
            for name, text in VIEWS.items():
                if name not in present:
                    self.connection.execute(text)
            if missing:  # read the journal again from its start; rows that are there stay as they are
                self.connection.execute("DELETE FROM meta WHERE key LIKE 'applied%'")
                self.recount()
            self.connection.pragma("user_version", VERSION)
        if version != VERSION:  # into the file's header, where the daemon reads it before it trades
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return missing

    @property
    def applied(self) -> Applied:
        """Where the projection stands; (0, 0) when it is new."""
        found = dict(self.connection.execute("SELECT key, value FROM meta WHERE key IN ('applied_seq', 'applied_ordinal')"))
        return Applied(int(str(found.get("applied_seq", 0))), int(str(found.get("applied_ordinal", 0))))

    def set_applied(self, applied: Applied) -> None:
        """Within the caller's transaction."""
        rows = (("applied_seq", applied.seq), ("applied_ordinal", applied.ordinal))
        self.connection.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", rows)

    def forget_after(self, seq: int) -> None:
        """Remove rows of events that the journal lost to a power failure: their numbers will be given again."""
        last = seq * ORDINALS + ORDINALS - 1
        with self.connection:
            for table in BY_JOURNAL_ID:
                self.connection.execute(f"DELETE FROM {table} WHERE id > ?", (last,))  # names from our own list
            self.connection.execute("UPDATE trades SET close_id = NULL, closed_ns = 0 WHERE close_id > ?", (last,))
            self.connection.execute("DELETE FROM exports WHERE last_id > ?", (last,))
            self.set_applied(Applied(seq, ORDINALS - 1))
            self.recount()

    def recount(self) -> None:
        """Within the caller's transaction: the counters from the rows."""
        self.connection.execute("DELETE FROM counters")
        self.connection.execute(f"INSERT INTO counters (name, value) {RECOUNT}")

    def close(self) -> None:
        """Close; the last connection checkpoints the WAL."""
        self.connection.close()
