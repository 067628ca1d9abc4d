"""Lives of a state directory: the third bad end within ten minutes makes the next start SAFE; a kill outlives a journal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mia.domain.events import Kill, TradingDisabled
from mia.engine.engine import SAFE_MODE
from miad.starts import KillFlag, Starts, durable, first_events


def lives(folder: Path, *starts_s: float, ends_well: bool = False) -> list[bool]:
    """Begin a life at each of the moments; whether each had to be SAFE."""
    found = []
    for s in starts_s:
        starts = Starts(folder)
        found.append(starts.begin(s))
        if ends_well:
            starts.end()
    return found


def test_the_third_bad_end_makes_the_next_start_safe(tmp_path: Path) -> None:
    assert lives(tmp_path, 0, 10, 20, 30) == [False, False, False, True]


def test_bad_ends_far_apart_are_forgiven(tmp_path: Path) -> None:
    assert lives(tmp_path, 0, 500, 1000, 1500, 2000) == [False] * 5


def test_good_ends_do_not_count(tmp_path: Path) -> None:
    assert lives(tmp_path, *range(10), ends_well=True) == [False] * 10


def test_safe_stays_over_good_ends_until_the_operator_resets(tmp_path: Path) -> None:
    lives(tmp_path, 0, 10, 20, 30)
    assert lives(tmp_path, 5000, 9000, ends_well=True) == [True, True]

    Starts(tmp_path).reset()

    assert lives(tmp_path, 9100) == [False]


def test_a_start_that_is_refused_does_not_hide_the_bad_end_before_it(tmp_path: Path) -> None:
    for s in (0, 10, 20):
        assert lives(tmp_path, s) == [False]
        Starts(tmp_path).end()  # refused before it began

    assert lives(tmp_path, 30) == [True]


@pytest.mark.parametrize("text", [b"", b"{", b"[1]"])
def test_a_damaged_memory_is_begun_anew(tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "starts.json").write_bytes(text)

    assert lives(tmp_path, 0) == [False]
    assert "starts.json" in caplog.text


def test_the_kill_flag_holds_until_it_is_cleared(tmp_path: Path) -> None:
    flag = KillFlag(tmp_path)
    assert flag.reason is None

    flag.set("fat finger")

    assert KillFlag(tmp_path).reason == "fat finger"
    flag.clear()
    flag.clear()
    assert KillFlag(tmp_path).reason is None


def test_a_kill_flag_that_cannot_be_read_holds(tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()

    assert KillFlag(tmp_path).reason is not None


def test_a_start_after_bad_ends_or_a_kill_begins_with_what_forbids_to_open(tmp_path: Path) -> None:
    assert first_events(Starts(tmp_path), KillFlag(tmp_path), is_killed=False) == []
    for _ in range(2):
        first_events(Starts(tmp_path), KillFlag(tmp_path), is_killed=False)
    KillFlag(tmp_path).set("fat finger")

    safe, kill = first_events(Starts(tmp_path), KillFlag(tmp_path), is_killed=False)

    assert isinstance(safe, TradingDisabled)
    assert safe.reason == SAFE_MODE
    assert isinstance(kill, Kill)
    assert kill.reason == "fat finger"
    (safe,) = first_events(Starts(tmp_path), KillFlag(tmp_path), is_killed=True)  # the journal has the kill
    assert isinstance(safe, TradingDisabled)


def test_a_small_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "killed"
    synced: list[tuple[str, bool]] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append((Path(f"/proc/self/fd/{fd}").readlink().name, path.exists())))

    durable(path, b"x")

    assert synced == [("killed.tmp", False), (tmp_path.name, True)]
