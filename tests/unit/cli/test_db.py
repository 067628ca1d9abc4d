"""`mia db` reads, in a process of its own, and can do nothing else."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mia.store.state_dir import process_start

Mia = Callable[..., Any]


def test_rows_of_a_select_come_as_table_json_and_csv(recorded: Path, mia: Mia) -> None:
    sql = "SELECT decision, COUNT(*) AS n FROM decisions GROUP BY decision ORDER BY decision"

    table = mia("db", "query", sql, "--state", recorded)
    rows = json.loads(mia("db", "query", sql, "--state", recorded, "--json").out)
    lines = mia("db", "query", sql, "--state", recorded, "--csv").out.splitlines()

    assert table.out.splitlines()[0].split() == ["decision", "n"]
    assert sum(row["n"] for row in rows) > 0
    assert lines == ["decision,n", *(f"{row['decision']},{row['n']}" for row in rows)]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM fills",
        "DROP TABLE fills",
        "UPDATE orders SET status = 'filled'",
        "ATTACH '{folder}/new.db' AS other",
        "PRAGMA query_only = 0",
        "PRAGMA journal_mode = delete",
        "VACUUM INTO '{folder}/new.db'",
        "CREATE TEMP TABLE t (a)",
    ],
)
def test_nothing_but_reading_is_possible(sql: str, session: Path, mia: Mia) -> None:
    before = (session / "miad.db").read_bytes()

    result = mia("db", "query", sql.format(folder=session), "--state", session)

    assert result.code == 6
    assert "reading" in result.err
    assert (session / "miad.db").read_bytes() == before
    assert not (session / "new.db").exists()


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT 1; SELECT 2", "SELECT * FROM nowhere", ""])
def test_bad_sql_is_a_usage_error_of_one_line(sql: str, recorded: Path, mia: Mia) -> None:
    result = mia("db", "query", sql, "--state", recorded)

    assert result.code == 2
    assert result.err.count("\n") == 1


def test_a_long_query_beside_a_running_daemon_is_stopped_and_told_where_to_go(session: Path, mia: Mia) -> None:
    (session / "lock").write_text(json.dumps({"pid": os.getpid(), "process_start": process_start(os.getpid())}))
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c"

    result = mia("db", "query", endless, "--state", session)

    assert result.code == 5
    assert "mia db backup" in result.err


def test_more_rows_than_the_limit_are_said_to_be_cut(recorded: Path, mia: Mia) -> None:
    result = mia("db", "query", "SELECT id FROM decisions", "-n", "3", "--state", recorded)

    assert len(result.out.splitlines()) == 1 + 3
    assert "only the first 3 rows" in result.err


def test_an_export_has_every_row_in_every_format(tmp_path: Path, mia: Mia) -> None:
    with sqlite3.connect(tmp_path / "large.db") as connection:  # several pages of rows, with gaps between their ids
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        connection.executemany("INSERT INTO notes VALUES (?, ?)", [(7 * i, f'"{i}",\n') for i in range(1234)])

    for ending in ("csv", "json", "ndjson"):
        assert mia("db", "export", "notes", "--to", tmp_path / f"n.{ending}", "--file", tmp_path / "large.db").code == 0

    with (tmp_path / "n.csv").open(newline="") as file:
        rows = [(int(row["id"]), row["text"]) for row in csv.DictReader(file)]
    whole = json.loads((tmp_path / "n.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "n.ndjson").read_text().splitlines()]
    assert rows == [(7 * i, f'"{i}",\n') for i in range(1234)]
    assert [(row["id"], row["text"]) for row in whole] == rows
    assert lines == whole


def test_all_tables_go_to_a_folder(recorded: Path, tmp_path: Path, mia: Mia) -> None:
    tables = json.loads(mia("db", "tables", "--state", recorded, "--json").out)

    result = mia("db", "export", "all", "--to", tmp_path / "out", "--state", recorded)

    assert result.code == 0
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {table["name"] for table in tables}


def test_an_unknown_table_or_ending_is_named(recorded: Path, tmp_path: Path, mia: Mia) -> None:
    unknown = mia("db", "export", "nowhere", "--to", tmp_path / "a.csv", "--state", recorded)
    odd = mia("db", "export", "fills", "--to", tmp_path / "a.xls", "--state", recorded)

    assert (unknown.code, odd.code) == (2, 2)
    assert "decisions" in unknown.err
    assert ".ndjson" in odd.err


def test_a_backup_is_one_sound_file_with_the_same_rows(recorded: Path, tmp_path: Path, mia: Mia) -> None:
    copy = tmp_path / "copy.db"

    made = mia("db", "backup", copy, "--state", recorded)
    again = mia("db", "backup", copy, "--state", recorded)

    assert (made.code, again.code) == (0, 6)
    assert [path.name for path in tmp_path.iterdir()] == ["copy.db"]
    connection = sqlite3.connect(copy)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    [count] = json.loads(mia("db", "query", "SELECT COUNT(*) AS n FROM decisions", "--state", recorded, "--json").out)
    assert connection.execute("SELECT COUNT(*) FROM decisions").fetchone() == (count["n"],)
    connection.close()
    assert json.loads(mia("db", "query", "SELECT COUNT(*) AS n FROM decisions", "--file", copy, "--json").out) == [count]


def test_a_missing_database_and_a_file_that_is_none_are_told(tmp_path: Path, mia: Mia) -> None:
    (tmp_path / "junk.db").write_text("no database at all, only words " * 100)

    missing = mia("db", "tables", "--state", tmp_path / "nowhere")
    junk = mia("db", "tables", "--file", tmp_path / "junk.db")

    assert (missing.code, junk.code) == (1, 1)
    assert "junk.db" in junk.err
