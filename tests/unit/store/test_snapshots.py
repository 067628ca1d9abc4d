"""Snapshots: the newest valid one, whatever lies beside it."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from mia.store.snapshots import SnapshotStore


def test_the_newest_snapshot_comes_back_and_the_last_two_and_the_first_of_the_day_are_kept(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    for seq in (5, 70, 800, 900):
        store.write(seq, "hash", bytes([seq % 256]) * 1000)

    found = store.latest()

    assert found == (900, "hash", bytes([900 % 256]) * 1000)
    assert kept(tmp_path) == [5, 800, 900]
    assert store.latest(899) is not None
    assert store.latest(4) is None


def kept(folder: Path) -> list[int]:
    return sorted(int(path.stem.partition("-")[2]) for path in folder.iterdir())


def test_the_first_of_each_of_the_last_eight_days_is_kept(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    today = int(time.time()) // 86_400
    for day in range(12):
        for part in range(3):
            path = store.write(10 * day + part, "hash", b"x")
            at = (today - 12 + day) * 86_400 + 3600 * part
            os.utime(path, (at, at))
    store.write(200, "hash", b"x")  # today

    assert kept(tmp_path) == [50, 60, 70, 80, 90, 100, 110, 112, 200]


def test_a_damaged_snapshot_is_skipped_and_counted(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    store.write(1, "h", b"old" * 100)
    path = store.write(2, "h", b"new" * 100)
    whole = path.read_bytes()
    rng = random.Random(3)
    for i in range(100):
        bad = bytearray(whole)
        if i % 2:
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        else:
            del bad[rng.randrange(len(bad)) :]
        path.write_bytes(bad)

        assert store.latest() == (1, "h", b"old" * 100)
    assert store.corrupt == 100


def test_an_interrupted_write_leaves_the_older_one(tmp_path: Path) -> None:
    SnapshotStore(tmp_path).write(1, "h", b"x")
    (tmp_path / "snapshot-0000000000000002.tmp").write_bytes(b"half")

    store = SnapshotStore(tmp_path)

    assert store.latest() == (1, "h", b"x")
    assert store.corrupt == 0
