"""The registry of every configuration that was ever scored: trials.db in the data home, shared by all processes of a user.

An evaluation is opened before it runs and closed with its score: a process that dies between leaves an opened one, which counts.
A trial is a configuration on data (`Trial.key`); evaluating it again adds an evaluation and no trial.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import apsw
import msgspec

from mia.domain.errors import ConfigError, DataError
from mia.store.database import configure_wal
from mia.store.state_dir import data_home

By = Literal["user", "trainer", "strategist"]
VERSION: Final = 1
_BUSY_TIMEOUT_MS: Final = 60_000
_FULL: Final = 2  # synchronous: no journal stands behind this file
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS trials (key TEXT PRIMARY KEY, family TEXT NOT NULL, params TEXT NOT NULL, first_ns INTEGER NOT NULL,"
    " last_ns INTEGER NOT NULL, costs_sha256 TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS trial_data (key TEXT NOT NULL REFERENCES trials, place INTEGER NOT NULL, name TEXT NOT NULL,"
    " sha256 TEXT NOT NULL, PRIMARY KEY (key, place)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS evaluations (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL REFERENCES trials, by TEXT NOT NULL,"
    " opened_ns INTEGER NOT NULL, closed_ns INTEGER, metric TEXT, score REAL, sharpe REAL, periods INTEGER, periods_per_year REAL,"
    " skew REAL, kurtosis REAL)",
    "CREATE INDEX IF NOT EXISTS trials_family ON trials (family)",
    "CREATE INDEX IF NOT EXISTS trial_data_sha256 ON trial_data (sha256)",
    "CREATE INDEX IF NOT EXISTS evaluations_key ON evaluations (key)",
)
# The score of a trial is that of its last closed evaluation.
_TRIALS: Final = """
SELECT t.key, t.family, t.params, t.first_ns, t.last_ns, t.costs_sha256, COUNT(e.id), MIN(e.opened_ns), MAX(e.opened_ns),
       GROUP_CONCAT(DISTINCT e.by), MAX(CASE WHEN e.closed_ns IS NOT NULL THEN e.id END)
FROM trials t JOIN evaluations e ON e.key = t.key {where} GROUP BY t.key ORDER BY MAX(e.id) DESC {limit}
"""
_SCORE: Final = "SELECT metric, score, sharpe, periods, periods_per_year, skew, kurtosis FROM evaluations WHERE id = ?"


class DataRef(msgspec.Struct, frozen=True):
    """A file, or another source of history: its name for people, the sha256 of its bytes (of its description, when it is made)."""

    name: str
    sha256: str


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration on one stretch of data. params: JSON-ready. costs_sha256: of the costs and settings that matter."""

    family: str
    params: Mapping[str, Any]
    data: tuple[DataRef, ...]
    first_ns: int
    last_ns: int
    costs_sha256: str = ""

    @property
    def key(self) -> str:
        """sha256 of what makes it this trial; names of files are no part of it."""
        facts = [[d.sha256 for d in self.data], self.first_ns, self.last_ns, self.family, self.params, self.costs_sha256]
        return digest(facts)


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What came out: `value` of `metric`, and the moments of the return series that the deflated Sharpe ratio reads.

    sharpe: mean / standard deviation per period, not annualised; None where it has none. periods: returns. kurtosis: 3 for a normal.
    """

    metric: str
    value: float | None
    sharpe: float | None = None
    periods: int = 0
    periods_per_year: float | None = None
    skew: float | None = None
    kurtosis: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A trial as the registry has it. score: of its last closed evaluation; None: nothing was closed yet."""

    key: str
    family: str
    params: dict[str, Any]
    data: tuple[DataRef, ...]
    first_ns: int
    last_ns: int
    costs_sha256: str
    evaluations: int
    opened_ns: int
    reopened_ns: int
    by: tuple[str, ...]
    score: Score | None


class Count(NamedTuple):
    """Inputs of the deflated Sharpe ratio. variance_per_year: of the annualised Sharpe ratios of the `scored` trials, None below two."""

    trials: int
    evaluations: int
    unclosed: int  # trials without any score: they count
    scored: int  # with a finite Sharpe ratio
    variance_per_year: float | None

    def variance(self, periods_per_year: float) -> float | None:
        """Of Sharpe ratios per period."""
        return None if self.variance_per_year is None else self.variance_per_year / periods_per_year


def canonical(value: Any) -> str:
    """JSON that is the same for equal values: keys sorted, whole floats as ints. ConfigError for what JSON has not, NaN included."""
    try:
        return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as e:
        raise ConfigError(f"trial parameters: {e}: use numbers, text, lists and tables") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return _plain(msgspec.to_builtins(value, str_keys=True))


def digest(value: Any) -> str:
    """sha256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


class Registry:
    """trials.db, opened for reading and writing; many processes may have it open at once. A context manager."""

    def __init__(self, path: Path | None = None) -> None:
        """path: default trials.db in the data home, made when absent. DataError when it cannot be used, with what to do."""
        self.path = data_home() / "trials.db" if path is None else path
        self._pid = 0
        self._connection: apsw.Connection | None = None
        _ = self.connection

    @property
    def connection(self) -> apsw.Connection:
        """Of this process: SQLite's may not be carried over a fork."""
        if self._connection is None or self._pid != os.getpid():
            self._connection, self._pid = self._open(), os.getpid()
        return self._connection

    def _open(self) -> apsw.Connection:
        deadline = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                connection = apsw.Connection(str(self.path))
                try:
                    configure_wal(connection, self.path, busy_timeout_ms=_BUSY_TIMEOUT_MS, synchronous=_FULL)
                    self._ensure_schema(connection)
                    return connection
                except apsw.BusyError:  # the change to WAL of a new file does not wait for the busy time-out
                    connection.close()
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
        except (apsw.NotADBError, apsw.CorruptError) as e:
            raise DataError(f"{self.path}: damaged trial registry ({e}): restore a copy; without it no trial of the past counts") from e
        except OSError as e:
            raise DataError(f"{self.path}: cannot be used ({e.strerror}): check rights and disk, or set XDG_DATA_HOME") from e
        except apsw.Error as e:
            raise DataError(f"{self.path}: cannot be opened for writing ({e}): check rights and disk") from e

    def _ensure_schema(self, connection: apsw.Connection) -> None:
        version = int(str(connection.pragma("user_version")))
        if version > VERSION:
            raise DataError(f"{self.path}: written by a newer mia (format {version}, this one knows {VERSION}): use that one")
        if version < VERSION:
            with _immediate(connection):
                for text in _SCHEMA:
                    connection.execute(text)
                connection.pragma("user_version", VERSION)

    def open(self, trials: Sequence[Trial], by: By) -> list[int]:
        """Count these evaluations, in one transaction; a ticket each, for `close`. On disk when it returns."""
        now = time.time_ns()
        rows = [(trial, trial.key, canonical(trial.params)) for trial in trials]
        tickets = []
        connection = self.connection
        with self._writing():
            for trial, key, params in rows:
                connection.execute(
                    "INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (key, trial.family, params, trial.first_ns, trial.last_ns, trial.costs_sha256),
                )
                if connection.changes():
                    data = [(key, place, ref.name, ref.sha256) for place, ref in enumerate(trial.data)]
                    connection.executemany("INSERT INTO trial_data VALUES (?, ?, ?, ?)", data)
                connection.execute("INSERT INTO evaluations (key, by, opened_ns) VALUES (?, ?, ?)", (key, by, now))
                tickets.append(connection.last_insert_rowid())
        return tickets

    def close(self, scored: Iterable[tuple[int, Score]]) -> None:
        """Store scores by ticket, in one transaction. DataError for a ticket that is unknown or closed already."""
        now = time.time_ns()
        with self._writing():
            for ticket, s in scored:
                self.connection.execute(
                    "UPDATE evaluations SET closed_ns = ?, metric = ?, score = ?, sharpe = ?, periods = ?, periods_per_year = ?, skew = ?,"
                    " kurtosis = ? WHERE id = ? AND closed_ns IS NULL",
                    (now, s.metric, _real(s.value), _real(s.sharpe), s.periods, _real(s.periods_per_year), _real(s.skew), _real(s.kurtosis),
                     ticket),
                )  # fmt: skip
                if not self.connection.changes():
                    raise DataError(f"{self.path}: evaluation {ticket} is unknown or closed already: open it again")

    @contextmanager
    def counted(self, trial: Trial, by: By) -> Iterator[list[Score]]:
        """Around the evaluation of one trial: append its score to the list; an exception leaves it opened, and counted."""
        (ticket,) = self.open([trial], by)
        scores: list[Score] = []
        yield scores
        if scores:
            self.close([(ticket, scores[-1])])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with _immediate(self.connection):
                yield
        except apsw.BusyError as e:
            raise DataError(f"{self.path}: another process held it for {_BUSY_TIMEOUT_MS // 1000} s: try again") from e
        except apsw.Error as e:
            raise DataError(f"{self.path}: cannot be written ({e}): check the disk") from e

    def scores(self, keys: Iterable[str]) -> dict[str, Score]:
        """Those of the keys that have a score: what a search that goes on need not evaluate again."""
        found = {}
        for key in keys:
            where = " WHERE id = (SELECT MAX(id) FROM evaluations WHERE key = ? AND closed_ns IS NOT NULL)"
            for row in self.connection.execute(_SCORE.partition(" WHERE")[0] + where, (key,)):
                found[key] = _score(row)
        return found

    def trials(
        self, family: str | None = None, data: Sequence[str] = (), span: tuple[int, int] | None = None, limit: int | None = None
    ) -> list[Row]:
        """Newest first. data: only those on any of these sha256s. span: only those that overlap first_ns .. last_ns."""
        where, values = _where(family, data, span)
        bound = "" if limit is None else f"LIMIT {int(limit)}"
        rows = list(self.connection.execute(_TRIALS.format(where=where, limit=bound), values))
        return [self._row(row) for row in rows]

    def show(self, key: str) -> tuple[Row, list[dict[str, Any]]]:
        """The trial whose key begins with `key`, and each of its evaluations; DataError when there is none or more than one."""
        keys = [k for (k,) in self.connection.execute("SELECT key FROM trials WHERE substr(key, 1, ?) = ? LIMIT 2", (len(key), key))]
        if len(keys) != 1 or not key:
            raise DataError(f"trial {key!r}: {'more than one begins so' if keys else 'no such trial'}: see mia backtest trials list")
        (row,) = self.connection.execute(_TRIALS.format(where="WHERE t.key = ?", limit=""), (keys[0],))
        names = ("id", "by", "opened_ns", "closed_ns", "metric", "score", "sharpe", "periods", "periods_per_year", "skew", "kurtosis")
        evaluations = self.connection.execute(f"SELECT {', '.join(names)} FROM evaluations WHERE key = ? ORDER BY id", (keys[0],))
        return self._row(row), [dict(zip(names, values, strict=True)) for values in evaluations]

    def count(self, family: str | None = None, data: Sequence[str] = (), span: tuple[int, int] | None = None) -> Count:
        """How often the market was asked: every trial that was opened, closed or not. Arguments as `trials`."""
        where, values = _where(family, data, span)
        sql = f"""
        SELECT n, last.sharpe * sqrt(last.periods_per_year), last.id IS NULL FROM (
            SELECT COUNT(e.id) AS n, MAX(CASE WHEN e.closed_ns IS NOT NULL THEN e.id END) AS done
            FROM trials t JOIN evaluations e ON e.key = t.key {where} GROUP BY t.key
        ) LEFT JOIN evaluations last ON last.id = done"""
        rows = list(self.connection.execute(sql, values))
        sharpes = [float(s) for _, s, _ in rows if s is not None]
        mean = math.fsum(sharpes) / len(sharpes) if sharpes else 0.0
        variance = math.fsum((s - mean) ** 2 for s in sharpes) / (len(sharpes) - 1) if len(sharpes) > 1 else None
        return Count(
            trials=len(rows),
            evaluations=sum(int(n) for n, _, _ in rows),
            unclosed=sum(int(is_open) for _, _, is_open in rows),
            scored=len(sharpes),
            variance_per_year=variance,
        )

    def _row(self, row: Sequence[Any]) -> Row:
        key, family, params, first_ns, last_ns, costs, evaluations, opened_ns, again_ns, by, closed = row
        data = self.connection.execute("SELECT name, sha256 FROM trial_data WHERE key = ? ORDER BY place", (key,))
        return Row(
            key=key,
            family=family,
            params=json.loads(params),
            data=tuple(DataRef(name, sha256) for name, sha256 in data),
            first_ns=first_ns,
            last_ns=last_ns,
            costs_sha256=costs,
            evaluations=evaluations,
            opened_ns=opened_ns,
            reopened_ns=again_ns,
            by=tuple(sorted(str(by).split(","))),
            score=None if closed is None else _score(next(iter(self.connection.execute(_SCORE, (closed,))))),
        )

    def shut(self) -> None:
        """Close the connection; the next use opens it again."""
        if self._connection is not None and self._pid == os.getpid():
            self._connection.close()
        self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()


@contextmanager
def _immediate(connection: apsw.Connection) -> Iterator[None]:
    """A transaction that holds the write lock from its start: two that read first and write then would fail each other."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _where(family: str | None, data: Sequence[str], span: tuple[int, int] | None) -> tuple[str, tuple[Any, ...]]:
    parts: list[str] = []
    values: list[Any] = []
    if family is not None:
        parts.append("t.family = ?")
        values.append(family)
    if data:
        parts.append(f"t.key IN (SELECT key FROM trial_data WHERE sha256 IN ({', '.join('?' * len(data))}))")
        values.extend(data)
    if span is not None:
        parts.append("t.first_ns <= ? AND t.last_ns >= ?")
        values.extend((span[1], span[0]))
    return ("WHERE " + " AND ".join(parts) if parts else ""), tuple(values)


def _real(value: float | None) -> float | None:
    """SQLite has no NaN, and an infinite score tells nothing: both are no score."""
    return None if value is None or not math.isfinite(value) else float(value)


def _score(row: Sequence[Any]) -> Score:
    metric, value, sharpe, periods, periods_per_year, skew, kurtosis = row
    return Score(
        metric=metric, value=value, sharpe=sharpe, periods=periods, periods_per_year=periods_per_year, skew=skew, kurtosis=kurtosis
    )
