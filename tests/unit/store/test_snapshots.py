"""Snapshots: the newest valid one, whatever lies beside it."""

from __future__ import annotations

import random
from pathlib import Path

from mia.store.snapshots import SnapshotStore


def test_the_newest_snapshot_comes_back_and_only_two_are_kept(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    for seq in (5, 70, 900):
        store.write(seq, "hash", bytes([seq % 256]) * 1000)

    found = store.latest()

    assert found == (900, "hash", bytes([900 % 256]) * 1000)
    assert len(list(tmp_path.iterdir())) == 2
    assert store.latest(899) is not None
    assert store.latest(69) is None


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
