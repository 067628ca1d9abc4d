"""Following a journal: each record once, in order, as soon as it is whole, through rolls and compression, and only new bytes are read."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mia.store.tail as module
from mia.domain.effects import RaiseAlert
from mia.domain.errors import DataError
from mia.domain.events import BalanceReported
from mia.store.journal import Journal
from mia.store.reader import JournalReader
from mia.store.retention import compress_segment
from mia.store.segment import HEADER_BYTES, list_segments
from mia.store.tail import JournalTail

Seen = list[tuple[int, int, bytes]]


def write(journal: Journal, count: int, text: str = "x" * 40) -> None:
    for seq in range(journal.last_seq + 1, journal.last_seq + 1 + count):
        journal.append_event(BalanceReported(seq, 0, seq, "USDT", seq))
        if seq % 3 == 0:
            journal.append_effects(seq, [RaiseAlert("info", "code", text)])


def take(tail: JournalTail) -> Seen:
    return [(r.kind, r.seq, bytes(r.payload)) for r in tail.poll()]


def everything(directory: Path, seq_min: int = 0) -> Seen:
    return [(r.kind, r.seq, bytes(r.payload)) for r in JournalReader(directory, seq_min).records()]


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.integers(0, 700), min_size=1, max_size=8), seq_min=st.integers(0, 1500))
def test_polls_give_every_record_once_whatever_is_written_between_them(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], seq_min: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder, segment_bytes=65536, spare=False)
    tail = JournalTail(folder, seq_min)
    seen: Seen = []
    for count in steps:
        write(journal, count)
        seen += take(tail)
    tail.close()
    journal.close()

    assert seen == everything(folder, seq_min)
    assert tail.seq == journal.last_seq


def test_a_journal_that_does_not_exist_yet_is_followed_from_its_first_record(tmp_path: Path) -> None:
    tail = JournalTail(tmp_path / "journal")
    (tmp_path / "journal").mkdir()
    assert take(tail) == []

    journal = Journal(tmp_path / "journal", segment_bytes=65536)
    write(journal, 5)

    assert [seq for _, seq, _ in take(tail)] == [1, 2, 3, 3, 4, 5]
    journal.close()


def test_a_poll_reads_the_new_bytes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, segment_bytes=4 << 20)
    tail = JournalTail(tmp_path)
    write(journal, 20_000)
    take(tail)
    reads: list[tuple[int, int]] = []

    def pread(fd: int, n: int, offset: int) -> bytes:
        reads.append((offset, n))
        return real(fd, n, offset)

    real = os.pread
    monkeypatch.setattr(os, "pread", pread)
    end = tail.position.offset
    assert end == journal.position.offset
    write(journal, 3)

    assert len(take(tail)) in (4, 5)
    assert reads == [(end, 1 << 14)]
    assert tail.position == journal.position
    journal.close()


def test_compressed_segments_are_read_before_and_while_the_journal_is_followed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=65536)
    write(journal, 1500)
    for path in list_segments(tmp_path)[:2]:
        compress_segment(path)
    tail = JournalTail(tmp_path, 10)
    seen: Seen = []
    poll = tail.poll()
    for record in poll:
        seen.append((record.kind, record.seq, bytes(record.payload)))
        if len(seen) == 1:
            for path in list_segments(tmp_path)[2:-1]:
                compress_segment(path)
    write(journal, 1500)
    for path in list_segments(tmp_path)[:-1]:
        if path.suffix != ".zst":
            compress_segment(path)
    seen += take(tail)
    journal.close()

    assert seen == everything(tmp_path, 10)


def test_a_record_larger_than_a_read_is_given_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=32 << 20, spare=False)
    tail = JournalTail(tmp_path)
    write(journal, 4, text="y" * 5_000_000)

    assert take(tail) == everything(tmp_path)
    journal.close()


def test_a_record_that_is_being_written_is_given_when_it_is_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a", segment_bytes=65536)
    write(journal, 60)
    end = journal.position.offset
    journal.close()
    whole = list_segments(tmp_path / "a")[0].read_bytes()
    (tmp_path / "b").mkdir()
    copy = tmp_path / "b" / list_segments(tmp_path / "a")[0].name
    copy.write_bytes(whole[:HEADER_BYTES] + bytes(len(whole) - HEADER_BYTES))
    tail, seen, rng, at = JournalTail(tmp_path / "b"), [], random.Random(3), HEADER_BYTES

    while at < end:
        at = min(at + rng.randrange(1, 60), end)
        with copy.open("r+b") as file:
            file.write(whole[:at])
        seen += take(tail)
        assert seen == everything(tmp_path / "a")[: len(seen)]

    assert seen == everything(tmp_path / "a")


def damage(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x40]))


def test_what_does_not_become_whole_is_damage_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", -1.0)
    journal = Journal(tmp_path, segment_bytes=65536)
    tail = JournalTail(tmp_path)
    write(journal, 10)
    take(tail)
    at = journal.position.offset
    write(journal, 10)
    damage(list_segments(tmp_path)[0], at + 30)

    assert take(tail) == []
    with pytest.raises(DataError, match=rf"journal-00000001\.seg: record 13 at byte {at} is damaged"):
        take(tail)
    journal.close()


def test_damage_that_goes_away_in_time_is_a_record_that_was_being_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=65536)
    tail = JournalTail(tmp_path)
    write(journal, 10)
    damage(list_segments(tmp_path)[0], HEADER_BYTES + 30)
    assert take(tail) == []

    damage(list_segments(tmp_path)[0], HEADER_BYTES + 30)

    assert take(tail) == everything(tmp_path)
    journal.close()


def test_a_segment_of_another_journal_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", -1.0)
    for name in ("a", "b"):
        journal = Journal(tmp_path / name, segment_bytes=65536)
        write(journal, 500 if name == "a" else 2000)
        journal.close()
    tail = JournalTail(tmp_path / "a")
    take(tail)
    last = list_segments(tmp_path / "a")[-1]
    name = last.name.replace(last.name[8:16], f"{int(last.name[8:16]) + 1:08d}")
    (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())

    assert take(tail) == []
    with pytest.raises(DataError, match="records are missing or the file is a copy from elsewhere"):
        take(tail)
