"""Reading a state directory from another process: read-only, short, and harmless beside a running daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw

from mia.domain.errors import DataError
from mia.store.schema import ORDINALS
from mia.store.state_dir import is_running, read_lock

HISTORY_KINDS: Final = ("trades", "orders", "fills", "flows", "decisions", "alerts", "risk", "runs")
_BUSY_TIMEOUT_MS: Final = 1000
_RUN: Final = (
    "SELECT run, ts_ns, instance, mode, config_hash,"
    " (SELECT json_extract(config, '$.paper.cash') FROM runs ORDER BY id LIMIT 1) AS cash_start,"
    " EXISTS (SELECT 1 FROM decisions WHERE decisions.id > runs.id) AS has_decided FROM runs ORDER BY id DESC LIMIT 1"
)
_LAST_NS: Final = (
    "SELECT MAX(ts_ns) AS last_ns FROM ("
    + " UNION ALL ".join(
        f"SELECT * FROM (SELECT ts_ns FROM {table} ORDER BY id DESC LIMIT 1)"
        for table in ("runs", "decisions", "orders", "fills", "flows", "risk", "alerts")
    )
    + ")"
)


@contextlib.contextmanager
def open_read_only(state_dir: Path) -> Iterator[apsw.Connection]:
    """miad.db for reading; DataError when there is none or it cannot be read."""
    path = state_dir / "miad.db"
    if not path.is_file():
        raise DataError(f"{path}: no such database: has miad run with this state directory?")
    try:
        connection = apsw.Connection(f"file:{_quoted(path)}?mode=ro", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        try:
            yield connection
        finally:
            connection.close()
    except apsw.Error as e:
        raise DataError(f"{path}: cannot be read ({e}): run mia doctor") from e


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def read_status(state_dir: Path) -> dict[str, object]:
    """Facts about a state directory, JSON-ready: is it running, its last run, counters, positions, balances, risk, sizes."""
    if not state_dir.is_dir():
        raise DataError(f"{state_dir}: no such state directory: start miad first, or name it with --state")
    journal = list((state_dir / "journal").glob("journal-*"))
    found: dict[str, object] = {
        "state_dir": str(state_dir),
        "is_running": is_running(state_dir),
        "lock": read_lock(state_dir),
        "journal": {"segments": len(journal), "bytes": sum(p.stat().st_size for p in journal)},
    }
    wal = state_dir / "miad.db-wal"
    with open_read_only(state_dir) as connection:
        found["applied_seq"] = dict(_pairs(connection, "SELECT key, value FROM meta")).get("applied_seq", 0)
        found["counters"] = dict(_pairs(connection, "SELECT name, value FROM counters ORDER BY name"))
        found["positions"] = _rows(connection, "SELECT instrument, position_lots, ts_ns FROM positions ORDER BY instrument")
        found["balances"] = _rows(connection, "SELECT currency, cash_e8, ts_ns FROM balances ORDER BY currency")
        found["risk"] = _first(connection, "SELECT * FROM risk ORDER BY id DESC LIMIT 1")
        found["run"] = _first(connection, _RUN)
        found["instruments"] = _rows(connection, "SELECT * FROM instruments ORDER BY instrument")
        found["last_decision"] = _first(connection, "SELECT * FROM decisions ORDER BY id DESC LIMIT 1")
        found["last_ns"] = (_first(connection, _LAST_NS) or {}).get("last_ns")
        found["last_alert"] = _first(connection, "SELECT ts_ns, severity, code, text FROM alerts ORDER BY id DESC LIMIT 1")
        open_orders = "SELECT COUNT(*) FROM orders WHERE status IN ('created', 'in_flight', 'working', 'cancel_in_flight', 'unknown')"
        found["open_orders"] = sum(int(str(n)) for (n,) in connection.execute(open_orders))
    found["database"] = {"bytes": (state_dir / "miad.db").stat().st_size, "wal_bytes": wal.stat().st_size if wal.exists() else 0}
    return found


def read_instruments(state_dir: Path) -> dict[int, dict[str, object]]:
    """The instruments of a state directory by id: venue, symbol, tick_size, lot_size, ..."""
    with open_read_only(state_dir) as connection:
        return {int(str(row["instrument"])): row for row in _rows(connection, "SELECT * FROM instruments")}


def read_configs(state_dir: Path) -> list[tuple[int, str]]:
    """(seq, settings as JSON) of each run that was started, oldest first."""
    with open_read_only(state_dir) as connection:
        return [(int(str(i)) // ORDINALS, str(text)) for i, text in connection.execute("SELECT id, config FROM runs ORDER BY id")]


def read_history(state_dir: Path, kind: str, limit: int = 50) -> list[dict[str, object]]:
    """The newest `limit` rows of one table (HISTORY_KINDS), newest first, as column -> value."""
    if kind not in HISTORY_KINDS:
        raise DataError(f"history of {kind!r}: choose one of {', '.join(HISTORY_KINDS)}")
    with open_read_only(state_dir) as connection:
        return _rows(connection, f"SELECT * FROM {kind} ORDER BY id DESC LIMIT ?", (limit,))


def _pairs(connection: apsw.Connection, sql: str) -> list[tuple[str, object]]:
    return [(str(name), value) for name, value in connection.execute(sql)]


def _rows(connection: apsw.Connection, sql: str, values: tuple[int, ...] = ()) -> list[dict[str, object]]:
    cursor = connection.cursor()
    out: list[dict[str, object]] = []
    names: list[str] = []
    for row in cursor.execute(sql, values):
        names = names or [str(d[0]) for d in cursor.get_description()]
        out.append(dict(zip(names, row, strict=True)))
    return out


def _first(connection: apsw.Connection, sql: str) -> dict[str, object] | None:
    rows = _rows(connection, sql)
    return rows[0] if rows else None
