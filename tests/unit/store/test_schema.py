"""The schema over versions, and what its views compute."""

from __future__ import annotations

from pathlib import Path

import apsw

from mia.store.database import Database
from mia.store.schema import TABLES, VERSION, VIEWS

_OLD_FILLS = TABLES["fills"].replace(" base_fee_e8 INTEGER DEFAULT 0,", "")
_OLD_TRADES = TABLES["trades"].replace(", flows_e8 INTEGER DEFAULT 0", "")
_OLD_POSITIONS = "CREATE VIEW positions AS SELECT instrument, SUM(side * qty_lots) AS position_lots, MAX(ts_ns) AS ts_ns FROM fills"


def positions(connection: apsw.Connection) -> list[object]:
    return [lots for (lots,) in connection.execute("SELECT position_lots FROM positions ORDER BY instrument")]


def filled(connection: apsw.Connection, number: int, side: int, lots: int, base_fee_e8: int, instrument: int = 0) -> None:
    values = (number, "o", f"f{number}", number, instrument, side, 600_000, lots, 0, False, base_fee_e8)
    connection.execute("INSERT INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def test_fees_in_the_base_take_whole_lots_of_a_position(tmp_path: Path) -> None:
    connection = Database(tmp_path / "miad.db").connection
    connection.execute("INSERT INTO instruments VALUES (0, 'demo', 'X', 'spot', 'USDT', '0.1', '0.00001', '1')")
    filled(connection, 1, 1, 1000, 500)
    one_fee = positions(connection)
    filled(connection, 2, 1, 1000, 500)
    two_fees = positions(connection)
    filled(connection, 3, -1, 1999, 0)

    assert (one_fee, two_fees, positions(connection)) == ([999], [1999], [0])


def test_an_instrument_that_is_not_known_has_its_plain_sum(tmp_path: Path) -> None:
    connection = Database(tmp_path / "miad.db").connection
    filled(connection, 1, -1, 7, 0, instrument=3)

    assert positions(connection) == [-7]


def test_a_database_of_the_first_version_is_brought_up_to_date_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "miad.db"
    old = apsw.Connection(str(path))
    older = {**TABLES, "fills": _OLD_FILLS, "trades": _OLD_TRADES}
    del older["flows"]
    for text in older.values():
        old.execute(text)
    assert "base_fee" not in _OLD_FILLS
    assert "flows" not in _OLD_TRADES
    old.execute(_OLD_POSITIONS)
    old.execute("INSERT INTO fills VALUES (1, 'o', 'f', 5, 0, 1, 100, 42, 9, 0)")
    old.pragma("user_version", 1)
    old.close()

    database = Database(path)

    assert database.missing == []
    assert positions(database.connection) == [42]
    assert list(database.connection.execute("SELECT fee_e8, base_fee_e8 FROM fills")) == [(9, 0)]
    assert database.connection.pragma("user_version") == VERSION
    assert (
        list(database.connection.execute("SELECT flows_e8 FROM trades")) == list(database.connection.execute("SELECT * FROM flows")) == []
    )
    assert [sql for (sql,) in database.connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'positions'")] == [VIEWS["positions"]]
