"""`mia windows sessions`: a table that the daemon can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mia.cli.main import main
from mia.risk.windows import load_windows
from mia.shipped import config_file

WEEK = ("windows", "sessions", "--exchange", "XNYS", "--from", "2024-11-25", "--to", "2024-12-02")


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("exchange_calendars")


def test_the_table_is_printed_and_can_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trade_windows.toml"

    assert main([*WEEK, "--family", "stocks"]) == 0
    printed = capsys.readouterr().out
    assert main([*WEEK, "--family", "stocks", "--out", str(path)]) == 0

    assert path.read_text() == printed
    assert load_windows(path, config_file("macro_events.csv")).families == ("stocks",)
    assert "5 sessions, 1 days without one" in capsys.readouterr().out


def test_a_file_that_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trade_windows.toml"
    path.write_text("mine")

    assert main([*WEEK, "--out", str(path)]) == 1

    assert path.read_text() == "mine"
    assert "cannot be written: File exists" in capsys.readouterr().err


def test_json_names_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WEEK, "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["rules"], found["holidays"]) == (["mon-fri 09:30-16:00"], ["2024-11-28"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--exchange", "NOWHERE", "--from", "2024-11-25", "--to", "2024-12-02"), 1, "NOWHERE"),
        (("--exchange", "XNYS", "--from", "25.11.2024", "--to", "2024-12-02"), 2, "25.11.2024"),
        (("--exchange", "XNYS", "--from", "2024-11-25", "--to", "2024-12-02", "--family", "a b"), 2, "use letters, digits and _"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: tuple[str, ...], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["windows", "sessions", *arguments]) == code

    assert words in capsys.readouterr().err
