"""`mia status` and `mia history` tell what a state directory holds, and whether it is live."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mia.cli.history import Kind
from mia.store.state_dir import StateDir

Mia = Callable[..., Any]  # the fixture `mia`: .code, .out, .err


def test_what_a_stopped_daemon_left_is_shown_as_not_live(recorded: Path, mia: Mia) -> None:
    result = mia("status", "--state", recorded)

    assert result.code == 3
    assert result.out.startswith("state          not running; below is what was recorded, not live\n")
    assert "1 of mia, paper" in result.out
    assert "USDT from 10,000.00" in result.out
    assert "not live data" in result.err


def test_a_daemon_that_does_not_listen_is_told_apart_from_none(session: Path, mia: Mia) -> None:
    with closing(StateDir(session)) as held:
        held.describe({"run": 1})

        result = mia("status", "--state", session)

    assert result.code == 5
    assert result.out.startswith("state          does not answer;")
    assert "control socket is not open" in result.err
    assert "not live" in result.err


def test_status_as_json_agrees_with_the_rows(recorded: Path, mia: Mia) -> None:
    found = json.loads(mia("status", "--state", recorded, "--json").out)

    with closing(sqlite3.connect(f"file:{recorded / 'miad.db'}?mode=ro", uri=True)) as connection:
        decisions, fills = (connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in ("decisions", "fills"))
    assert (found["counters"]["decisions"], found["counters"]["fills"]) == (decisions, fills)
    assert found["instruments"][0]["symbol"] == "SIMUSD"
    assert found["is_live"] is False
    assert found["age_s"] == pytest.approx(time.time() - found["last_ns"] / 1e9, abs=60)


def test_a_directory_that_does_not_exist_is_not_running_and_others_are_named(recorded: Path, mia: Mia) -> None:
    result = mia("status", "--state", recorded.parent / "elsewhere")

    assert (result.code, result.out) == (3, "")
    assert str(recorded) in result.err


def test_the_configured_paper_directory_is_the_default(recorded: Path, tmp_path: Path, mia: Mia, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("MIA__INSTANCE__NAME", "other")
    (tmp_path / "other-paper").symlink_to(recorded)

    result = mia("status")

    assert result.code == 3
    assert str(tmp_path / "other-paper") in result.out


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_is_listed_with_the_newest_last(kind: Kind, recorded: Path, mia: Mia) -> None:
    rows = json.loads(mia("history", kind.value, "--state", recorded, "--json", "--limit", "5").out)
    result = mia("history", kind.value, "--state", recorded, "--limit", "5")

    assert result.code == 0
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert len(result.out.splitlines()) == (len(rows) + 1 if rows else 0)
    assert rows or kind in (Kind.alerts, Kind.flows)


def test_fills_are_shown_in_prices_and_sizes_not_ticks(recorded: Path, mia: Mia) -> None:
    row = json.loads(mia("history", "fills", "--state", recorded, "--json", "-n", "1").out)[0]

    line = mia("history", "fills", "--state", recorded, "-n", "1").out.splitlines()[1]

    assert f" {row['price_ticks'] / 10:.2f} " in line
    assert f" {row['qty_lots'] / 1000:.3f} " in line


@pytest.mark.parametrize("arguments", [("history", "nonsense"), ("history", "--limit", "0"), ("status", "--nonsense"), ("nonsense",)])
def test_wrong_usage_is_one_line_and_exit_2(arguments: tuple[str, ...], mia: Mia) -> None:
    result = mia(*arguments)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("mia: ")
    assert result.err.count("\n") == 1


def test_history_of_a_damaged_database_is_one_line(session: Path, mia: Mia) -> None:
    for path in session.glob("miad.db*"):
        path.unlink()
    (session / "miad.db").write_bytes(b"not a database, but long enough to be looked at" * 40)

    result = mia("history", "--state", session)

    assert (result.code, result.out) == (1, "")
    assert "miad.db" in result.err
    assert result.err.count("\n") == 1


def test_profit_is_counted_from_the_first_runs_cash(session: Path, mia: Mia) -> None:
    database = sqlite3.connect(session / "miad.db")
    database.execute(
        "INSERT INTO runs SELECT id + 1000000000, run + 1, ts_ns, instance, mode, versions,"
        " json_set(config, '$.paper.cash', '500'), config_hash FROM runs"
    )
    database.commit()
    database.close()

    assert "USDT from 10,000.00" in mia("status", "--state", session).out
