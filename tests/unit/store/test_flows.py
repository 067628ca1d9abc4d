"""Cash flows in miad.db: one row each, counted, gone again with what a power failure took, and part of their trade."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mia.domain.effects import RecordTrade
from mia.domain.events import CashFlow
from mia.store.database import Database
from mia.store.queries import read_history
from mia.store.schema import ORDINALS
from mia.store.tables import Tables

PROBS = (0.5, 0.25, 0.25)


def project(database: Database, *records: object) -> dict[str, object]:
    """Write the records as events 1, 2, ...; the counters after it."""
    tables = Tables(database.connection)
    with database.connection:
        for seq, record in enumerate(records, 1):
            tables.project(seq * ORDINALS, 1_000 + seq, record)
        tables.write_counts()
    return counters(database)


def counters(database: Database) -> dict[str, object]:
    return dict(list(database.connection.execute("SELECT name, value FROM counters")))  # type: ignore[arg-type]


def flow(flow_id: str, amount_e8: int, kind: str = "funding") -> CashFlow:
    return CashFlow(0, 0, 0, flow_id, 0, kind, amount_e8)


def test_a_repeated_flow_is_one_row_and_nameless_ones_are_each_their_own(tmp_path: Path) -> None:
    database = Database(tmp_path / "miad.db")

    counted = project(database, flow("C1", -5), flow("C1", -5), flow("C1", -7, "borrow"), flow("", 2), flow("", 2))
    running = counted["flows_e8"]
    with database.connection:
        database.recount()

    assert running == counters(database)["flows_e8"] == -8
    rows: list[Any] = list(database.connection.execute("SELECT kind, amount_e8 FROM flows ORDER BY id"))
    assert rows == [("funding", -5), ("borrow", -7), ("funding", 2), ("funding", 2)]


def test_flows_beyond_the_journals_end_are_forgotten(tmp_path: Path) -> None:
    database = Database(tmp_path / "miad.db")
    project(database, flow("C1", -5), flow("C2", -6))

    database.forget_after(1)

    assert counters(database)["flows_e8"] == -5


def test_a_trade_keeps_what_flowed_while_it_was_open_and_history_lists_flows(tmp_path: Path) -> None:
    database = Database(tmp_path / "miad.db")
    opened = RecordTrade("t-1", 0, False, 1, 5, 0, 100.0, 0.0, 3, 0, 0, 1, PROBS)
    closed = RecordTrade("t-1", 0, True, 1, 5, 9, 100.0, 101.0, 3, 12, 2, 2, PROBS, -5)

    project(database, opened, flow("C1", -5), closed)
    database.close()

    assert read_history(tmp_path, "trades")[0]["flows_e8"] == -5
    assert [(row["kind"], row["amount_e8"], row["ts_ns"]) for row in read_history(tmp_path, "flows")] == [("funding", -5, 1_002)]


def test_a_rebuild_without_flows_counts_none(tmp_path: Path) -> None:
    assert "flows_e8" not in counters(Database(tmp_path / "miad.db"))
