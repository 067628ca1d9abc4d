"""Commands to the daemon: what is sent, the one line of what happened, and the exit code of everything that can go wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mia.control.messages import COMMANDS, Answer, Done, Request

Mia = Callable[..., Any]
Server = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (("pause", "--reason", "lunch"), Request(verb="pause", args={"reason": "lunch"})),
        (("resume",), Request(verb="resume", args={"reset": False})),
        (("resume", "--reset"), Request(verb="resume", args={"reset": True})),
        (("flatten",), Request(verb="flatten", args={"reason": ""})),
        (("kill", "--reason", "odd fills"), Request(verb="kill", args={"reason": "odd fills"})),
        (("reload",), Request(verb="reload")),
    ],
)
def test_a_command_is_sent_once_and_told_in_one_line(
    tmp_path: Path, control_server: Server, mia: Mia, arguments: Any, sent: Request
) -> None:
    asked = []

    def handler(request: Request) -> Answer:
        asked.append(request)
        return Answer(ok=True, result=Done(before="READY", after="NO_NEW", reasons=("operator: lunch",)))

    with control_server(tmp_path, handler):
        result = mia(*arguments, "--state", tmp_path)

    assert asked == [sent]
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{sent.verb}: READY -> NO_NEW (operator: lunch); ")
    assert result.out.count("\n") == 1


def test_what_the_daemon_says_will_follow_is_told(tmp_path: Path, control_server: Server, mia: Mia) -> None:
    done = Done(before="NO_NEW", after="NO_NEW", follows="closes 0.02 BTCUSDT\x1b at market")
    with control_server(tmp_path, lambda request: Answer(ok=True, result=done)):
        result = mia("flatten", "--state", tmp_path)

    assert result.out == "flatten: NO_NEW as before; closes 0.02 BTCUSDT  at market\n"


def test_a_resume_that_did_not_make_it_trade_says_what_would(tmp_path: Path, control_server: Server, mia: Mia) -> None:
    done = Done(before="KILLED", after="KILLED", reasons=("operator",))
    with control_server(tmp_path, lambda request: Answer(ok=True, result=done)):
        result = mia("resume", "--state", tmp_path)

    assert result.out == "resume: KILLED as before (operator); still killed: `mia resume --reset` clears it\n"


def test_a_refusal_is_one_line_with_the_daemons_exit_code(tmp_path: Path, control_server: Server, mia: Mia) -> None:
    with control_server(tmp_path, lambda request: Answer(ok=False, error="killed: use --reset", exit_code=6)):
        result = mia("resume", "--state", tmp_path)
        as_json = mia("resume", "--state", tmp_path, "--json")

    assert (result.code, result.out, result.err) == (6, "", "mia: killed: use --reset\n")
    assert as_json.code == 6
    assert json.loads(as_json.out) == {"ok": False, "result": None, "error": "killed: use --reset", "exit_code": 6}


@pytest.mark.parametrize("verb", COMMANDS)
def test_without_a_daemon_it_is_exit_3(tmp_path: Path, mia: Mia, verb: str) -> None:
    result = mia(verb, "--state", tmp_path)

    assert (result.code, result.out) == (3, "")
    assert "not running" in result.err
    assert result.err.count("\n") == 1


def test_a_daemon_that_does_not_answer_is_exit_5(tmp_path: Path, control_server: Server, mia: Mia) -> None:
    async def handler(request: Request) -> Answer:
        await asyncio.sleep(0.5)
        return Answer(ok=True)

    with control_server(tmp_path, handler):
        result = mia("kill", "--timeout", "0.1", "--state", tmp_path)

    assert (result.code, result.out) == (5, "")
    assert "not known" in result.err


def test_an_answer_of_another_version_is_exit_1_and_says_that_the_command_was_taken(
    tmp_path: Path, control_server: Server, mia: Mia
) -> None:
    with control_server(tmp_path, lambda request: Answer(ok=True, result=[1])):
        result = mia("pause", "--state", tmp_path)

    assert result.code == 1
    assert "took `pause`" in result.err


def test_json_is_the_answer_itself(tmp_path: Path, control_server: Server, mia: Mia) -> None:
    done = Done(before="READY", after="KILLED")
    with control_server(tmp_path, lambda request: Answer(ok=True, result=done)):
        found = json.loads(mia("kill", "--state", tmp_path, "--json").out)

    assert found["ok"] is True
    assert found["result"] == {"before": "READY", "after": "KILLED", "reasons": [], "follows": ""}
