"""Time of the process: monotonic, never below the journal's; a wall clock that jumps is noticed once."""

from __future__ import annotations

import time

import pytest

from miad.clock import SystemClock


def test_a_jump_of_the_wall_clock_is_told_once_and_moves_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before = clock.now_ns()
    wall = time.time_ns

    monkeypatch.setattr(time, "time_ns", lambda: wall() + 3_600_000_000_000)
    jumps = [clock.jump_ms(), clock.jump_ms()]

    assert jumps[0] == pytest.approx(3_600_000, abs=100)
    assert jumps[1] == 0
    assert clock.now_ns() - before < 60_000_000_000


def test_time_goes_on_after_the_journals_last() -> None:
    clock = SystemClock()
    floor = clock.now_ns() + 5_000_000_000

    clock.raise_to(floor)
    clock.raise_to(0)

    assert clock.now_ns() >= floor
