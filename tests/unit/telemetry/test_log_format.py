"""What a line looks like, and that no value can forge another line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mia.telemetry.log_format import detailed_line, escape, json_line, plain_line, with_priority

EVIL = "a\nb\r\x1b[2J\x9b31m\u202egpj.exe\u2028\x7f\x00"


def event(**more: Any) -> dict[str, Any]:
    head = {"ts": "2026-11-20T14:15:43.123456789Z", "level": "info", "logger": "miad.app", "event": "order_submitted"}
    return {**head, **more, "module": "miad.app", "function": "run", "line": 12, "task": "feed"}


def failed(message: str = "gone") -> list[dict[str, Any]]:
    frame = {"file": "/x/link.py", "line": 41, "function": "connect", "source": "raise OSError"}
    return [{"type": "OSError", "message": message, "frames": [frame]}]


def test_plain_is_short_and_in_words() -> None:
    line = plain_line(event(side="buy", price=61250.1, note="two words", ok=True, none=None))

    assert line == '14:15:43 info  order submitted  side=buy price=61250.1 note="two words" ok=yes none=-'


def test_plain_shows_an_exception_in_one_line_with_its_place() -> None:
    line = plain_line(event(exception=failed()))

    assert line == "14:15:43 info  order submitted  (OSError: gone, at link.py:41 in connect)"


def test_plain_folds_at_the_width_of_the_terminal() -> None:
    lines = plain_line(event(text="many words " * 10, price=1), width=60).splitlines()

    assert len(lines) > 1
    assert all(len(line) <= 60 for line in lines)
    assert all(line.startswith(" " * 15) for line in lines[1:])


def test_detailed_names_the_place_and_the_task_and_indents_the_traceback() -> None:
    lines = detailed_line(event(side="buy", exception=failed("a\nFORGED"))).splitlines()

    assert lines[0] == "2026-11-20T14:15:43.123456Z info     miad.app: order_submitted side=buy [miad.app:run:12 feed]"
    assert all(line.startswith("  | ") for line in lines[1:])
    assert lines[-1] == r"  | OSError: a\nFORGED"


def test_json_is_one_object_with_all_of_it() -> None:
    made = event(side="buy", qty_lots=3, nest={"a": [1, None]}, exception=failed())

    assert json.loads(json_line(made)) == made


@pytest.mark.parametrize("colours", [False, True])
def test_no_value_can_end_a_line_or_command_the_terminal(colours: bool) -> None:
    made = event(**{EVIL: EVIL, "nest": {EVIL: [EVIL]}, "exception": failed(EVIL)})
    made["event"] = made["logger"] = made["task"] = EVIL

    texts = [plain_line(made), detailed_line(made), json_line(made)]
    if colours:
        texts = [plain_line(made, colours=True), detailed_line(made, colours=True)]

    for text in texts:
        bare = text.replace("\x1b[0m", "").replace("\n  | ", "") if not colours else text.replace("\n  | ", "")
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u202e" for c in bare)
    assert json.loads(json_line(made))["event"] == EVIL  # escaped, not lost


def test_escape_leaves_other_alphabets_alone() -> None:
    assert escape("Zürich 東京 €") == "Zürich 東京 €"


def test_braces_and_percents_are_text() -> None:
    assert "{0.__class__} %s %(x)s" in plain_line(event(text="{0.__class__} %s %(x)s"))


def test_journald_learns_the_priority_of_each_line() -> None:
    made = event(level="error", exception=failed())

    lines = with_priority(made, detailed_line(made, with_time=False)).splitlines()

    assert all(line.startswith("<3>") for line in lines)
    assert "2026" not in lines[0]
