"""CSV and JSON exports of miad.db: for people and other programs, never read by the engine.

A CSV holds the rows up to `last_id` in `bytes` bytes; both lie in the database, in the transaction of the rows. So after
a crash the file is cut to that length and goes on; when it is missing, shorter or edited it is written anew from the rows.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import apsw
import orjson

from mia.domain.text import csv_line, iso_time, number

Row = Sequence[object]  # of SQLite

_TAIL_BYTES: Final = 4096
_ROWS: Final = 2000
_RISK_SNAPSHOTS_KEEP: Final = 1440  # a day of minutes
_TRADES_REPAIRED: Final = 200


def money(value_e8: object) -> str:
    """Exact decimal text of an amount in 1e-8, without idle zeros."""
    amount = int(str(value_e8))
    whole, rest = divmod(abs(amount), 100_000_000)
    return f"{'-' if amount < 0 else ''}{whole}.{f'{rest:08d}'.rstrip('0') or '0'}"


def regime_json(probs: Row) -> str:
    """`{"range": 0.7, "trend": 0.2, "defensive": 0.1}`; empty when one is not known."""
    texts = [number(p) for p in probs]
    if "" in texts:
        return ""
    return f'{{"range": {texts[0]}, "trend": {texts[1]}, "defensive": {texts[2]}}}'


class CsvSpec(NamedTuple):
    """One CSV: where, which columns, from which rows (first column: id, growing) and how a row becomes fields."""

    path: str
    columns: tuple[str, ...]
    sql: str
    fields: Callable[[Row], Iterable[object]]


_P: Final = "p_range, p_trend, p_defensive"

DECISIONS: Final = CsvSpec(
    "logs/trading/decision_log.csv",
    ("timestamp", "trade_id", "decision", "signal_score", "regime_probs", "code", "lane", "instrument", "position_lots", "target_lots"),
    f"SELECT id, ts_ns, trade_id, decision, signal, {_P}, code, lane, instrument, position_lots, target_lots FROM decisions"
    " WHERE id > ? ORDER BY id LIMIT ?",
    lambda r: (iso_time(int(str(r[1]))), r[2], r[3], number(r[4]), regime_json(r[5:8]), *r[8:]),
)
ALPHA: Final = CsvSpec(
    "logs/trading/alpha_scores.csv",
    ("timestamp", "alpha_score", "regime_probs", "lane", "instrument"),
    f"SELECT id, ts_ns, alpha, {_P}, lane, instrument FROM decisions WHERE id > ? ORDER BY id LIMIT ?",
    lambda r: (iso_time(int(str(r[1]))), number(r[2]), regime_json(r[3:6]), *r[6:]),
)
PENALTY: Final = CsvSpec(
    "logs/trading/penalty_log.csv",
    ("timestamp", "penalty_active", "overtrade_risk_score"),
    "SELECT id, ts_ns, penalty_active, overtrade_risk_score FROM risk WHERE id > ? ORDER BY id LIMIT ?",
    lambda r: (iso_time(int(str(r[1]))), r[2], number(r[3])),
)


def trades_spec(mode: str) -> CsvSpec:
    """Closed trades: trades_real.csv when live, else trades_simulated.csv."""
    return CsvSpec(
        "trades/trades_real.csv" if mode == "live" else "trades/trades_simulated.csv",
        (
            "trade_id",
            "timestamp",
            "entry_price",
            "profit",
            "regime_probs",
            "side",
            "instrument",
            "max_lots",
            "exit_price",
            "fees",
            "fills",
            "opened",
        ),
        f"SELECT close_id, trade_id, closed_ns, entry_price, profit_e8, {_P}, side, instrument, max_lots, exit_price, fees_e8, fills,"
        " opened_ns FROM trades WHERE close_id > ? ORDER BY close_id LIMIT ?",
        lambda r: (
            r[1],
            iso_time(int(str(r[2]))),
            number(r[3]),
            money(r[4]),
            regime_json(r[5:8]),
            "buy" if int(str(r[8])) > 0 else "sell",
            r[9],
            r[10],
            number(r[11]),
            money(r[12]),
            r[13],
            iso_time(int(str(r[14]))),
        ),
    )


class CsvExport:
    """One CSV file kept in step with its rows."""

    def __init__(self, folder: Path, spec: CsvSpec, connection: apsw.Connection) -> None:
        self.path = folder / spec.path
        self._spec = spec
        self._connection = connection
        self._header = csv_line(spec.columns).encode()
        self.is_checked = False
        self._last_id, self._bytes, self._tail = 0, 0, b""

    def append(self) -> None:
        """Within the caller's transaction: bring the file up to the rows. OSError leaves both as they were."""
        if not self.is_checked or self._size() != self._bytes:
            self._repair()
            self.is_checked = True
        last_id, part = self._rows_after(self._last_id)
        while part:
            with self.path.open("r+b", buffering=0) as file:
                file.truncate(self._bytes)  # what a failed write left behind
                file.seek(self._bytes)
                _write_all(file.fileno(), part)
            self._keep(last_id, self._bytes + len(part), self._tail + part)
            last_id, part = self._rows_after(last_id)

    def forget(self) -> None:
        """The transaction was rolled back: compare with the database before the next write."""
        self.is_checked = False

    def _repair(self) -> None:
        """Cut what was written beyond the last commit; write anew what is missing, shorter or not ours."""
        found = self._connection.execute("SELECT last_id, bytes, tail_crc FROM exports WHERE name = ?", (self._spec.path,)).fetchone()
        if found is not None:
            last_id, size, crc = (int(str(value)) for value in found)
            tail = self._read_tail(size)
            if tail is not None and zlib.crc32(tail) == crc:
                os.truncate(self.path, size)
                self._last_id, self._bytes, self._tail = last_id, size, tail
                return
        self._rebuild()

    def _rebuild(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self.path.with_name(self.path.name + ".tmp")
        last_id, size, tail = 0, len(self._header), self._header
        with partial.open("wb") as file:
            file.write(self._header)
            while True:
                next_id, part = self._rows_after(last_id)
                if not part:
                    break
                file.write(part)
                last_id, size, tail = next_id, size + len(part), (tail + part)[-_TAIL_BYTES:]
        if self.path.is_file() and not self._is_prefix(partial):
            self.path.replace(self.path.with_name(self.path.name + ".bak"))  # somebody's edit, or rows that the journal has no more
        partial.replace(self.path)
        self._keep(last_id, size, tail)

    def _is_prefix(self, fresh: Path) -> bool:
        """True when the file on disk only lacks rows: nothing in it would be lost."""
        with self.path.open("rb") as old, fresh.open("rb") as new:
            while part := old.read(1 << 20):
                if new.read(len(part)) != part:
                    return False
        return True

    def _keep(self, last_id: int, size: int, tail: bytes) -> None:
        self._last_id, self._bytes, self._tail = last_id, size, tail[-_TAIL_BYTES:]
        values = (self._spec.path, last_id, size, zlib.crc32(self._tail))
        self._connection.execute("INSERT OR REPLACE INTO exports VALUES (?, ?, ?, ?)", values)

    def _rows_after(self, last_id: int) -> tuple[int, bytes]:
        rows = self._connection.execute(self._spec.sql, (last_id, _ROWS)).fetchall()
        if not rows:
            return last_id, b""
        return int(str(rows[-1][0])), "".join([csv_line(self._spec.fields(row)) for row in rows]).encode()

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return -1

    def _read_tail(self, size: int) -> bytes | None:
        if self._size() < size:
            return None
        with self.path.open("rb") as file:
            start = max(0, size - _TAIL_BYTES)
            file.seek(start)
            return file.read(size - start)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_json(path: Path, value: object) -> None:
    """Replace a small JSON file, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    partial.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    partial.replace(path)


class Exports:
    """All exports of one state directory. A file that cannot be written is warned of once and written later."""

    def __init__(self, folder: Path, mode: str, connection: apsw.Connection, warn: Callable[[str, str], None]) -> None:
        self._folder = folder
        self._connection = connection
        self._warn = warn
        self._blocked: set[Path] = set()
        self._files = [CsvExport(folder, spec, connection) for spec in (trades_spec(mode), DECISIONS, ALPHA, PENALTY)]
        self._trades_waiting: dict[str, None] = {}  # a set that keeps its order
        self._risk_waiting: list[int] = []

    @property
    def is_behind(self) -> bool:
        """True while a file lacks rows that the database has, or was not looked at yet."""
        return bool(self._blocked or self._trades_waiting or self._risk_waiting) or not all(f.is_checked for f in self._files)

    def trade_changed(self, trade_id: str) -> None:
        """A trade opened or closed in the running transaction."""
        self._trades_waiting[trade_id] = None

    def risk_changed(self, row_id: int) -> None:
        """A risk row was added in the running transaction."""
        self._risk_waiting.append(row_id)

    def write(self) -> None:
        """Within the caller's transaction: bring every file up to the rows."""
        for file in self._files:
            self._guarded(file.path, file.append)
        for trade_id in list(self._trades_waiting):
            path = self._folder / "trade_snapshots" / f"trade_{trade_id}.json"
            if self._guarded(path, lambda t=trade_id, p=path: self._write_trade(t, p)):  # type: ignore[misc]
                del self._trades_waiting[trade_id]
        folder = self._folder / "risk_snapshots"
        waiting = self._risk_waiting[-_RISK_SNAPSHOTS_KEEP:]
        if waiting and self._guarded(folder, lambda: self._write_risks(waiting, folder)):
            self._risk_waiting = []

    def forget(self) -> None:
        """The transaction was rolled back."""
        for file in self._files:
            file.forget()

    def repair(self) -> None:
        """At start: snapshots of recent trades that are missing or empty are written again."""
        for (trade_id,) in self._connection.execute("SELECT trade_id FROM trades ORDER BY id DESC LIMIT ?", (_TRADES_REPAIRED,)):
            path = self._folder / "trade_snapshots" / f"trade_{trade_id}.json"
            if not path.is_file() or path.stat().st_size == 0:
                self.trade_changed(str(trade_id))

    def _guarded(self, path: Path, action: Callable[[], None]) -> bool:
        try:
            action()
        except OSError as e:
            if path not in self._blocked:
                self._blocked.add(path)
                self._warn("export_blocked", f"{path}: cannot be written ({e.strerror}); trading goes on, the rows are written later")
            return False
        self._blocked.discard(path)
        return True

    def _write_trade(self, trade_id: str, path: Path) -> None:
        sql = (
            f"SELECT close_id, opened_ns, closed_ns, entry_price, exit_price, profit_e8, fees_e8, side, instrument, max_lots, {_P}"
            " FROM trades WHERE trade_id = ?"
        )
        found = self._connection.execute(sql, (trade_id,)).fetchone()
        if found is None:  # rolled back with its transaction
            return
        is_closed = found[0] is not None
        probs = regime_json(found[10:13])
        value = {
            "trade_id": trade_id,
            "timestamp": iso_time(int(str(found[2] if is_closed else found[1]))),
            "entry_price": found[3],
            "profit": float(money(found[5])),
            "regime_probs": orjson.loads(probs) if probs else None,
            "status": "closed" if is_closed else "open",
            "opened": iso_time(int(str(found[1]))),
            "exit_price": found[4] if is_closed else None,
            "fees": float(money(found[6])),
            "side": "buy" if int(str(found[7])) > 0 else "sell",
            "instrument": found[8],
            "max_lots": found[9],
        }
        write_json(path, value)

    def _write_risks(self, row_ids: list[int], folder: Path) -> None:
        for row_id in row_ids:
            self._write_risk(row_id, folder)
        self._prune_risk(row_ids[-1], len(row_ids), folder)

    def _write_risk(self, row_id: int, folder: Path) -> None:
        sql = "SELECT ts_ns, drawdown, overtrade_risk_score, penalty_active, equity_e8, cash_e8 FROM risk WHERE id = ?"
        found = self._connection.execute(sql, (row_id,)).fetchone()
        if found is None:
            return
        value = {
            "timestamp": iso_time(int(str(found[0]))),
            "drawdown": found[1],
            "overtrade_risk_score": found[2],
            "penalty_active": bool(found[3]),
            "equity": float(money(found[4])),
            "cash": float(money(found[5])),
        }
        write_json(folder / f"risk_{_compact_time(int(str(found[0])))}.json", value)

    def _prune_risk(self, newest_id: int, added: int, folder: Path) -> None:
        """Remove the snapshots that `added` new ones pushed beyond the last _RISK_SNAPSHOTS_KEEP."""
        sql = "SELECT ts_ns FROM risk WHERE id <= ? ORDER BY id DESC LIMIT ? OFFSET ?"
        for (ts_ns,) in self._connection.execute(sql, (newest_id, added, _RISK_SNAPSHOTS_KEEP)):
            (folder / f"risk_{_compact_time(int(str(ts_ns)))}.json").unlink(missing_ok=True)


def _compact_time(ts_ns: int) -> str:
    """A timestamp fit for a file name."""
    return iso_time(ts_ns).replace("-", "").replace(":", "").replace(".", "")
