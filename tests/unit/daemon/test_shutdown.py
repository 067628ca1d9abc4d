"""The end in stages: what is waited for, what is not, and what a second request to end does."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from mia.domain.effects import SubmitOrder
from miad import shutdown
from miad.listen import _ROOM, Listener
from miad.shutdown import entries_gone, stage
from miad.signals import Signals, StopFlag
from tests.unit.daemon.test_core import MS, START_NS, Frames, entries, quote, started


def test_entries_are_waited_for_and_protection_is_not() -> None:
    core = started()
    core.on_frame(Frames(quote()), b"", START_NS + MS)
    sent = [effect for _, effects in entries(core) for effect in effects if isinstance(effect, SubmitOrder)]
    assert len(sent) == 1  # an entry is on its way
    turns = []

    def pass_time() -> None:
        turns.append(len(turns))
        core.advance(START_NS + (2 + 10 * len(turns)) * MS)

    asyncio.run(asyncio.wait_for(entries_gone(core.engine, pass_time), 10))

    assert turns  # it was waited for
    assert core.engine.state.table.exposure(0).open_ids  # the stop is still there


def test_a_stage_that_overruns_or_fails_is_named_and_the_next_begins(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise OSError("no disk")

    async def main() -> list[bool]:
        return [await stage("slow", 0.01, asyncio.sleep(60)), await stage("broken", 1, broken()), await stage("well", 1, asyncio.sleep(0))]

    assert asyncio.run(main()) == [False, False, True]
    assert "slow not done" in caplog.text
    assert "no disk" in caplog.text


def test_systemd_is_told_no_less_than_all_stages_may_take() -> None:
    budgets = {name: value for name, value in vars(shutdown).items() if name.endswith("_S") and name != "TOTAL_S"}

    assert len(budgets) == 8
    assert sum(budgets.values()) <= shutdown.TOTAL_S


def test_the_same_signal_twice_is_the_operators_kill_and_two_kinds_are_one_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(number))
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    stop = StopFlag()
    signals = Signals(stop)

    signals._end(signal.SIGINT, None)
    signals._end(signal.SIGTERM, None)  # a viewer passes Ctrl-C on
    assert (stop.reason, killed) == ("SIGINT", [])
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 1)
    signals._end(signal.SIGINT, None)

    assert killed == [signal.SIGINT]


def test_what_the_slow_lane_cannot_follow_is_dropped_and_counted() -> None:
    core = started()
    listener = Listener(core.engine, None)  # type: ignore[arg-type]
    event, _ = entries(core)[0]

    for _ in range(_ROOM + 10):
        listener.effects(event, ())

    assert (listener.waiting, listener.dropped) == (_ROOM, 10)
