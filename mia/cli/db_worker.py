"""Reads a database with sqlite-utils in a process of its own: `python -m mia.cli.db_worker`, a request on stdin, an answer on stdout.

Never in the process of the caller: that has apsw's SQLite, and two SQLite libraries on one file in one process break its locks.
Read-only three times over: mode=ro, query_only, and an authorizer that knows reading alone.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import sqlite_utils

_PAGE: Final = 500  # rows of one transaction of an export: a few milliseconds
_STEPS: Final = 1000  # of SQLite's machine between looks at the clock
_READS: Final = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_TRANSACTION)
)
_PRAGMAS: Final = frozenset(("table_info", "table_xinfo", "table_list", "index_list", "index_info"))


class Refusal(Exception):
    """What the caller may tell its user, and the exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def _authorize(action: int, first: str | None, second: str | None, *rest: str | None) -> int:
    is_reading = action in _READS or (action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS)
    return sqlite3.SQLITE_OK if is_reading else sqlite3.SQLITE_DENY


def _open(path: Path) -> sqlite_utils.Database:
    quoted = str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(f"file:{quoted}?mode=ro", uri=True, timeout=1.0, isolation_level=None)
    connection.execute("PRAGMA query_only = 1")
    return sqlite_utils.Database(connection)


def query(path: Path, sql: str, *, limit: int, budget_ms: int) -> dict[str, Any]:
    """The first `limit` rows of one SELECT, read within budget_ms; Refusal when it writes, is no SQL, or takes longer."""
    database = _open(path)
    database.conn.set_authorizer(_authorize)
    deadline_s = time.monotonic() + budget_ms / 1000
    database.conn.set_progress_handler(lambda: int(time.monotonic() > deadline_s), _STEPS)
    try:
        cursor = database.conn.execute(sql)
        rows = cursor.fetchmany(limit + 1)
        head = [column[0] for column in cursor.description or ()]
    except sqlite3.Error as e:
        raise _explained(e, budget_ms) from e
    except (sqlite3.Warning, ValueError) as e:
        raise Refusal(2, f"{e}") from e
    if not head:
        raise Refusal(2, "this gives no rows: write one SELECT")
    return {"head": head, "rows": [[_plain(value) for value in row] for row in rows[:limit]], "truncated": len(rows) > limit}


def _explained(error: sqlite3.Error, budget_ms: int) -> Refusal:
    text = str(error)
    if "interrupted" in text:
        return Refusal(5, f"stopped after {budget_ms} ms")
    if any(word in text for word in ("not authorized", "authorization denied", "prohibited", "readonly database", "read-only")):
        return Refusal(6, "only reading is possible here: write one SELECT (the daemon alone writes)")
    if isinstance(error, sqlite3.ProgrammingError):
        return Refusal(2, text)
    if isinstance(error, sqlite3.OperationalError) and ("syntax" in text or "no such" in text or "incomplete" in text):
        return Refusal(2, text)
    return Refusal(1, text)


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def tables(path: Path) -> dict[str, Any]:
    """Name, kind, rows and columns of each table and view."""
    database = _open(path)
    found = []
    for name in sorted(database.table_names()) + sorted(database.view_names()):
        entity = database.table(name) if name in database.table_names() else database.view(name)
        found.append({"name": name, "rows": entity.count, "columns": [column.name for column in entity.columns]})
    return {"tables": found}


def export(path: Path, names: Sequence[str], to: str, form: str) -> dict[str, Any]:
    """Write each table to its file (`to` holds {table} when there are several); a page of rows a transaction."""
    database = _open(path)
    known = [*database.table_names(), *database.view_names()]
    wanted = sorted(known) if list(names) == ["all"] else list(names)
    for name in wanted:
        if name not in known:
            raise Refusal(2, f"no table {name!r}: there are {', '.join(sorted(known))}")
    written = []
    for name in wanted:
        target = Path(to.replace("{table}", name))
        partial = target.with_name(target.name + ".tmp")
        with partial.open("w", encoding="utf-8", newline="") as file:
            rows = _WRITERS[form](file, _columns(database, name), _pages(database, name))
        partial.replace(target)
        written.append({"table": name, "rows": rows, "file": str(target)})
    return {"written": written}


def _columns(database: sqlite_utils.Database, name: str) -> list[str]:
    entity = database.table(name) if name in database.table_names() else database.view(name)
    return [column.name for column in entity.columns]


def _pages(database: sqlite_utils.Database, name: str) -> Iterator[tuple[object, ...]]:
    """All rows that were there at the start; those with an id a page at a time, the few others at once."""
    if "id" not in _columns(database, name):
        yield from database.conn.execute(f'SELECT * FROM "{name}"').fetchall()
        return
    last = database.conn.execute(f'SELECT MAX(id) FROM "{name}"').fetchone()[0]
    after = -1
    while last is not None:
        rows = database.conn.execute(f'SELECT * FROM "{name}" WHERE id > ? AND id <= ? ORDER BY id LIMIT {_PAGE}', (after, last)).fetchall()
        if not rows:
            return
        yield from rows
        after = rows[-1][_columns(database, name).index("id")]


def _write_csv(file: IO[str], columns: list[str], rows: Iterator[tuple[object, ...]]) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    n = 0
    for row in rows:
        writer.writerow([_plain(value) for value in row])
        n += 1
    return n


def _write_lines(file: IO[str], columns: list[str], rows: Iterator[tuple[object, ...]]) -> int:
    n = 0
    for row in rows:
        file.write(json.dumps(dict(zip(columns, map(_plain, row), strict=True))) + "\n")
        n += 1
    return n


def _write_json(file: IO[str], columns: list[str], rows: Iterator[tuple[object, ...]]) -> int:
    n = 0
    file.write("[")
    for n, row in enumerate(rows, 1):
        file.write(("," if n > 1 else "") + "\n" + json.dumps(dict(zip(columns, map(_plain, row), strict=True))))
    file.write("\n]\n")
    return n


_WRITERS: Final[dict[str, Callable[[IO[str], list[str], Iterator[tuple[object, ...]]], int]]] = {
    "csv": _write_csv,
    "ndjson": _write_lines,
    "json": _write_json,
}


def backup(path: Path, to: Path) -> dict[str, Any]:
    """A whole copy by SQLite's backup API, checked; `held_ms` is how long the one read transaction lasted."""
    database = _open(path)
    partial = to.with_name(to.name + ".tmp")
    partial.unlink(missing_ok=True)
    copy = sqlite3.connect(partial)
    try:
        started_s = time.monotonic()
        database.conn.backup(copy)
        held_ms = (time.monotonic() - started_s) * 1000
        copy.execute("PRAGMA journal_mode = delete")  # one file, without a -wal beside it
        verdict = str(copy.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        copy.close()
    if verdict != "ok":
        partial.unlink()
        raise Refusal(1, f"the copy is damaged ({verdict}): so is the database; stop miad, remove miad.db, start it: it is made anew")
    partial.chmod(0o600)
    partial.replace(to)
    return {"file": str(to), "bytes": to.stat().st_size, "integrity": verdict, "held_ms": round(held_ms, 1)}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked; an `error` with its exit code instead of an exception."""
    path = Path(request["path"])
    try:
        match request["verb"]:
            case "query":
                return query(path, request["sql"], limit=request["limit"], budget_ms=request["budget_ms"])
            case "tables":
                return tables(path)
            case "export":
                return export(path, request["tables"], request["to"], request["format"])
            case "backup":
                return backup(path, Path(request["to"]))
            case verb:
                return {"error": f"unknown verb {verb!r}", "code": 2}
    except Refusal as e:
        return {"error": str(e), "code": e.code}
    except sqlite3.Error as e:
        return {"error": f"{path}: cannot be read ({e}): run mia doctor", "code": 1}
    except OSError as e:
        return {"error": f"{e.filename}: {e.strerror}", "code": 1}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
