"""`mia logs` on files as the daemon leaves them: rotated, damaged, growing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mia.cli.logs import Tail, newest


def line(event: str, level: str = "info", **more: Any) -> str:
    head = {"ts": "2026-11-20T14:15:43.123456789Z", "level": level, "logger": "miad.app", "event": event, **more}
    return json.dumps({**head, "module": "miad.app", "function": "run", "line": 1, "task": "main"}) + "\n"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "miad.log.2").write_text("".join(line(f"oldest_{i}") for i in range(3)))
    (tmp_path / "logs" / "miad.log.1").write_text("".join(line(f"older_{i}") for i in range(3)))
    (tmp_path / "logs" / "miad.log").write_text(
        line("target_refused", "warning", rule="quote_age_ms_max") + line("order_filled", side="buy")
    )
    return tmp_path


def test_the_newest_lines_come_last_over_rotated_files(mia: Callable[..., Any], state: Path) -> None:
    result = mia("logs", "--state", state, "-n", 4)

    assert result.code == 0
    assert [text.split(" info  ")[-1].split(" warn  ")[-1] for text in result.out.splitlines()] == [
        "older 1",
        "older 2",
        "target refused  rule=quote_age_ms_max",
        "order filled  side=buy",
    ]
    assert result.out.startswith("2026-11-20 14:15:43 ") or result.out.startswith("14:15:43 ")


def test_level_and_text_choose(mia: Callable[..., Any], state: Path) -> None:
    by_level = mia("logs", "--state", state, "--level", "WARNING").out
    by_text = mia("logs", "--state", state, "--grep", "Order Filled").out
    by_name = mia("logs", "--state", state, "--grep", "order_filled").out

    assert by_level.count("\n") == by_text.count("\n") == 1
    assert "target refused" in by_level
    assert by_text == by_name


def test_json_gives_the_lines_as_objects(mia: Callable[..., Any], state: Path) -> None:
    rows = [json.loads(text) for text in mia("logs", "--state", state, "--json").out.splitlines()]

    assert len(rows) == 8
    assert rows[-1]["event"] == "order_filled"


def test_damaged_lines_are_shown_and_harmless(mia: Callable[..., Any], state: Path) -> None:
    log = state / "logs" / "miad.log"
    log.write_bytes(
        b'{"event":"ha\n'
        + b"\x00\x00\n"
        + b"\xff\x1b[2Jx\n"
        + b"[1]\n"
        + b'{"event":"e","exception":"text"}\n'
        + line("whole").encode()
        + b'{"ev'
    )

    result = mia("logs", "--state", state, "-n", 6)
    rows = [json.loads(text) for text in mia("logs", "--state", state, "-n", 3, "--json").out.splitlines()]

    assert result.code == 0
    assert result.out.count("damaged: ") == 5
    assert "\x1b" not in result.out
    assert result.out.splitlines()[0] == 'damaged: {"event":"ha'
    assert "whole" in result.out
    assert rows[-1] == {"damaged": '{"ev'}


def test_no_log_no_state_and_a_bad_level_are_one_line_each(mia: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert mia("logs", "--state", tmp_path / "none").code == 1
    nothing = mia("logs", "--state", tmp_path / "empty")
    bad = mia("logs", "--state", tmp_path / "empty", "--level", "loud")

    assert (nothing.code, nothing.err.count("\n")) == (0, 1)
    assert (bad.code, bad.err.count("\n")) == (2, 1)
    assert "loud" in bad.err


def test_a_follower_loses_and_repeats_nothing_over_rotations(tmp_path: Path) -> None:
    log = tmp_path / "miad.log"
    log.write_bytes(b"0\n1\n")
    tail = Tail(log)
    past = newest(log, 10, bytes.decode, until=tail.position())
    seen: list[bytes] = []

    with log.open("ab") as file:
        file.write(b"2\n3")  # half a line
    seen += tail.lines()
    with log.open("ab") as file:
        file.write(b"3\n4\n")
    for n in range(5, 9):  # two rotations between two looks, twice
        if log.with_name("miad.log.1").exists():
            log.with_name("miad.log.1").rename(log.with_name("miad.log.2"))
        log.rename(log.with_name("miad.log.1"))
        log.write_bytes(f"{n}\n".encode())
        if n % 2 == 0:
            seen += tail.lines()

    assert past == ["0", "1"]
    assert seen == [b"2", b"33", b"4", b"5", b"6", b"7", b"8"]


def test_a_follower_waits_for_the_first_file_and_notices_an_emptied_one(tmp_path: Path) -> None:
    log = tmp_path / "miad.log"
    tail = Tail(log)
    assert list(tail.lines()) == []

    log.write_bytes(b"first line\n")
    seen = list(tail.lines())
    log.write_bytes(b"new\n")
    seen += tail.lines()

    assert seen == [b"first line", b"new"]


def test_a_long_file_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "miad.log"
    log.write_bytes(b"".join(b"%07d %s\n" % (i, b"x" * (i % 300)) for i in range(20_000)))

    shown = newest(log, 3000, lambda text: text[:7].decode())

    assert shown == [f"{i:07d}" for i in range(17_000, 20_000)]
