"""The journal: what was appended is there, whatever became of the process; damage is found and named."""

from __future__ import annotations

import errno
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard

from mia.domain.effects import AnyEffect, CancelOrder, Halt, RaiseAlert
from mia.domain.errors import DataError, FailStop
from mia.domain.events import AnyEvent, BookDelta, Quote, Timer, Trade
from mia.store import journal as journal_module
from mia.store import segment as segment_module
from mia.store.journal import Journal
from mia.store.reader import JournalReader
from mia.store.retention import compress_segment, prune
from mia.store.segment import HEADER_BYTES, Segment, SegmentHeader, list_segments, read_header, segment_path

SMALL = 64 * 1024
REPEATS = 25
HEADER = SegmentHeader(b"", 0, 0, 0, 0, {})


def event(seq: int) -> AnyEvent:
    """Deterministic events of several sizes."""
    match seq % 4:
        case 0:
            return Timer(seq, 0, seq * 1000)
        case 1:
            return Quote(seq, seq, seq * 1000, 0, 100 + seq, 101 + seq, 5, 6)
        case 2:
            return Trade(seq, seq, seq * 1000, 0, 100, seq, 1, seq)
        case _:
            return BookDelta(seq, seq, seq * 1000, 0, bytes(16 * (seq % 11)), b"\x01" * 16)


def effects(seq: int) -> list[AnyEffect]:
    return [CancelOrder(f"mia{seq}", 0), RaiseAlert("info", "x", "y" * (seq % 50))] if seq % 3 == 0 else []


def fill(journal: Journal, first: int, last: int) -> None:
    for seq in range(first, last + 1):
        journal.append_event(event(seq))
        journal.append_effects(seq, effects(seq))


def contents(directory: Path, seq_min: int = 0) -> list[tuple[int, AnyEvent, list[AnyEffect]]]:
    return [(e.seq, e.event, list(e.effects)) for e in JournalReader(directory, seq_min)]


def expected(first: int, last: int) -> list[tuple[int, AnyEvent, list[AnyEffect]]]:
    return [(seq, event(seq), effects(seq)) for seq in range(first, last + 1)]


def make(directory: Path, last: int, **options: int) -> Path:
    """A closed journal with events 1..last in small segments."""
    journal = Journal(directory, segment_bytes=SMALL, **options)  # type: ignore[arg-type]
    fill(journal, 1, last)
    journal.close()
    return directory


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return make(tmp_path / "j", 300)


def last_file(directory: Path) -> Path:
    return list_segments(directory)[-1]


def used(path: Path) -> int:
    return len(path.read_bytes().rstrip(b"\0"))


def test_events_and_effects_read_back_over_many_segments(tmp_path: Path) -> None:
    make(tmp_path, 4000)

    assert len(list_segments(tmp_path)) > 3
    assert contents(tmp_path) == expected(1, 4000)


@pytest.mark.parametrize("seq_min", [1, 2, 999, 1000, 3999, 4000, 5000])
def test_reading_may_start_anywhere(tmp_path: Path, seq_min: int) -> None:
    make(tmp_path, 4000)

    assert contents(tmp_path, seq_min) == expected(seq_min, 4000)


def test_a_reopened_journal_goes_on_behind_its_last_record(tmp_path: Path) -> None:
    make(tmp_path, 1500)

    journal = Journal(tmp_path, segment_bytes=SMALL)
    assert (journal.last_seq, journal.recovery.has_effects, journal.recovery.dropped_bytes) == (1500, True, 0)
    fill(journal, 1501, 3000)
    journal.close()

    assert contents(tmp_path) == expected(1, 3000)


def test_effects_of_the_last_event_may_be_written_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL)
    journal.append_event(event(3))
    journal.close()

    journal = Journal(tmp_path, segment_bytes=SMALL)
    assert (journal.last_seq, journal.recovery.has_effects) == (3, False)
    journal.append_effects(3, effects(3))
    journal.close()

    assert contents(tmp_path) == expected(3, 3)


def test_a_seq_that_does_not_grow_and_effects_of_another_event_are_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL)
    fill(journal, 1, 5)

    with pytest.raises(FailStop, match="does not follow"):
        journal.append_event(event(5))
    with pytest.raises(FailStop, match="effects of event 4"):
        journal.append_effects(4, [Halt("x")])
    journal.close()


def test_a_record_larger_than_a_segment_is_refused_with_what_to_do(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL)

    with pytest.raises(FailStop, match="segment_mb"):
        journal.append_event(BookDelta(1, 0, 0, 0, bytes(SMALL), b""))
    journal.close()


def test_records_larger_than_the_readers_chunk_are_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=8 << 20)
    big = [BookDelta(seq, 0, 0, 0, os.urandom(1_500_000 * seq), b"") for seq in (1, 2)]
    for e in big:
        journal.append_event(e)
    journal.close()

    assert [e for _, e, _ in contents(tmp_path)] == big


# --- torn tails and damage -----------------------------------------------------------------------------------------
def test_a_torn_tail_is_dropped_counted_and_zeroed(small: Path) -> None:
    path = last_file(small)
    end = used(path)
    with path.open("r+b") as file:
        file.seek((end + 7) // 8 * 8)
        file.write(b"\x11\x00\x00\x01half a record")

    reader = JournalReader(small)
    assert [e.seq for e in reader] == list(range(1, 301))
    assert reader.torn_bytes > 0
    journal = Journal(small, segment_bytes=SMALL)

    assert journal.recovery.dropped_bytes > 0
    assert "torn tail" in (journal.recovery.warning or "")
    assert used(path) == end
    fill(journal, 301, 400)
    journal.close()
    assert contents(small) == expected(1, 400)


def test_a_damaged_last_record_is_a_torn_tail(small: Path) -> None:
    path = last_file(small)
    with path.open("r+b") as file:
        file.seek(used(path) - 1)
        file.write(b"\xff")

    journal = Journal(small, segment_bytes=SMALL)

    assert journal.recovery.dropped_bytes > 0
    assert journal.last_seq in (299, 300)
    journal.close()


def test_damage_with_valid_records_behind_it_is_named(small: Path) -> None:
    path = last_file(small)
    with path.open("r+b") as file:
        file.seek(HEADER_BYTES + 2000)
        file.write(b"\xff\xfe\xfd")

    with pytest.raises(DataError, match=rf"{path.name}: record \d+ at byte \d+ is damaged and valid records follow"):
        contents(small)
    with pytest.raises(DataError, match="restore the file from a backup"):
        Journal(small, segment_bytes=SMALL)


def test_any_flipped_bit_is_a_torn_tail_or_named_never_another_event(small: Path) -> None:
    path = last_file(small)
    whole = path.read_bytes()
    end = used(path)
    good = expected(1, 300)
    rng = random.Random(7)
    for _ in range(150):
        bit = rng.randrange(end * 8)
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)

        try:
            found = contents(small)
        except DataError:
            continue
        if HEADER_BYTES - 32 <= bit // 8 < HEADER_BYTES:  # marks outside of the CRC carry no records
            assert found == good
        else:
            assert [f[:2] for f in found] == [g[:2] for g in good[: len(found)]]
            assert len(found) in (299, 300)


def test_a_record_copied_from_elsewhere_breaks_the_chain(tmp_path: Path) -> None:
    for name in ("a", "b"):
        journal = Journal(tmp_path / name, segment_bytes=SMALL)
        for seq in range(1, 40):
            journal.append_event(Quote(seq, 0, seq, 0, 100 if name == "a" else 200, 300, 1, 1))
        journal.close()
    ours, theirs = last_file(tmp_path / "a"), last_file(tmp_path / "b")
    size = (used(ours) - HEADER_BYTES + 7) // 8 * 8 // 39
    with ours.open("r+b") as file:
        file.seek(HEADER_BYTES + 20 * size)
        file.write(theirs.read_bytes()[HEADER_BYTES + 20 * size : HEADER_BYTES + 21 * size])

    with pytest.raises(DataError, match="damaged"):
        Journal(tmp_path / "a", segment_bytes=SMALL)


def test_a_segment_missing_in_the_middle_is_named(tmp_path: Path) -> None:
    make(tmp_path, 4000)
    list_segments(tmp_path)[1].unlink()

    with pytest.raises(DataError, match=r"journal-00000002\.seg: this segment is missing"):
        Journal(tmp_path, segment_bytes=SMALL)


def test_a_segment_cut_short_in_the_middle_is_named(tmp_path: Path) -> None:
    make(tmp_path, 4000)
    second = list_segments(tmp_path)[1]
    os.truncate(second, second.stat().st_size - 200)

    with pytest.raises(DataError, match=r"journal-0000000[23]"):
        contents(tmp_path)


def test_a_segment_of_another_journal_is_named(tmp_path: Path) -> None:
    make(tmp_path / "a", 4000)
    make(tmp_path / "b", 4000)
    shutil.copy(list_segments(tmp_path / "b")[2], list_segments(tmp_path / "a")[2])

    with pytest.raises(DataError, match="belongs to another journal"):
        Journal(tmp_path / "a", segment_bytes=SMALL)


def test_another_format_version_is_named(small: Path) -> None:
    with last_file(small).open("r+b") as file:
        file.seek(8)
        file.write(b"\x09")

    with pytest.raises(DataError, match="journal format 9, this version reads 1"):
        Journal(small, segment_bytes=SMALL)


def test_holes_after_power_loss_are_dropped_only_behind_the_synced_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module.Segment, "sync", lambda self: None)  # nothing reaches the disk
    make(tmp_path, 300)
    path = last_file(tmp_path)
    with path.open("r+b") as file:  # a page that was never written back
        file.seek(2 * HEADER_BYTES)
        file.write(bytes(HEADER_BYTES))
    monkeypatch.undo()
    with pytest.raises(DataError):
        Journal(tmp_path, segment_bytes=SMALL)

    monkeypatch.setattr(journal_module, "boot_id", lambda: b"another boot  ..")
    journal = Journal(tmp_path, segment_bytes=SMALL)

    assert journal.recovery.lost_to_power
    assert 0 < journal.last_seq < 300
    last = journal.last_seq
    fill(journal, last + 1, last + 50)
    journal.close()
    assert [e.seq for e in JournalReader(tmp_path)] == list(range(1, last + 51))


@pytest.mark.parametrize("leftover", ["next.partial", "journal-00000009.seg", "journal-00000002.seg"])
def test_an_interrupted_creation_of_a_segment_is_survived(small: Path, leftover: str) -> None:
    assert len(list_segments(small)) == 1
    for size in (0, 5000, SMALL):
        path = small / leftover
        path.write_bytes(bytes(size))
        if leftover.startswith("journal-00000009"):
            with pytest.raises(DataError, match="missing"):
                Journal(small, segment_bytes=SMALL)
            path.unlink()
            continue
        journal = Journal(small, segment_bytes=SMALL)
        assert journal.last_seq == 300
        journal.close()


# --- full disks and failing disks ------------------------------------------------------------------------------------
def wait_until(condition: object, seconds: float = 5.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def fill_until_refused(journal: Journal) -> None:
    """Append until the journal raises; while the spare is in use, is_full must be told."""
    for seq in range(1, 100_000):
        journal.append_event(event(seq))
        if not (journal.directory / "spare.ready").exists():
            assert journal.is_full
        time.sleep(0 if seq % 500 else 0.02)


def test_no_room_for_the_next_segment_is_told_and_the_spare_carries_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL)
    wait_until(journal._spares.is_complete)

    def no_room(path: Path, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(journal_module, "allocate", no_room)
    with pytest.raises(FailStop, match="spare segment is used up"):
        fill_until_refused(journal)
    written = journal.last_seq
    assert "free disk space" in (journal.full_reason or "")
    assert len(list_segments(tmp_path)) == 3
    monkeypatch.undo()
    journal._spares.prepare()
    assert not journal.is_full
    journal.close()

    assert [e.seq for e in JournalReader(tmp_path)] == list(range(1, written + 1))


def test_the_first_sync_error_ends_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[FailStop] = []
    journal = Journal(tmp_path, segment_bytes=SMALL, on_failure=told.append)
    calls = []

    def broken(fd: int) -> None:
        calls.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(segment_module.os, "fdatasync", broken)
    journal.append_event(event(1))
    wait_until(lambda: journal.failure is not None)
    monkeypatch.undo()

    with pytest.raises(FailStop, match="check the disk"):
        journal.append_event(event(2))
    with pytest.raises(FailStop):
        journal.sync()
    with pytest.raises(FailStop):
        journal.close()
    assert len(calls) == 1
    wait_until(lambda: len(told) == 1)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
def test_a_really_full_file_system_is_told_and_survived(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(mount)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount refused: {done.stderr.strip()}")
    try:
        journal = Journal(mount / "j", segment_bytes=SMALL)
        wait_until(journal._spares.is_complete)
        with pytest.raises(FailStop, match="spare"):
            fill_until_refused(journal)
        written = journal.last_seq
        assert journal.is_full
        journal.close()
        assert [e.seq for e in JournalReader(mount / "j")] == list(range(1, written + 1))
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_an_injected_eio_of_fdatasync_stops_the_process(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom mia.store.journal import Journal\nfrom mia.domain.events import Timer\n"
        f"j = Journal(Path({str(tmp_path / 'j')!r}), segment_bytes=65536)\n"
        "for seq in range(1, 100000):\n    j.append_event(Timer(seq, 0, seq)); time.sleep(0.001)\n"
    )
    command = ["strace", "-f", "-qq", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=5", "-o", str(tmp_path / "t")]
    done = subprocess.run([*command, sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    if "ptrace" in done.stderr or "PTRACE" in done.stderr:
        pytest.skip("ptrace is not permitted here")

    assert done.returncode == 1
    assert "FailStop" in done.stderr
    assert "Input/output error" in done.stderr


# --- kill -9 --------------------------------------------------------------------------------------------------------
WRITER = """
import mmap, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_journal_events import effects, event
from mia.store.journal import Journal
with open(sys.argv[2], "r+b") as file:
    told = memoryview(mmap.mmap(file.fileno(), 4096)).cast("q")
journal = Journal(Path(sys.argv[1]), segment_bytes=65536)
seq = journal.last_seq
journal.append_effects(seq, effects(seq)) if seq and not journal.recovery.has_effects else None
told[1] = 1
while True:
    seq += 1
    journal.append_event(event(seq))
    told[0] = seq
    journal.append_effects(seq, effects(seq))
    told[2] = seq
"""


@pytest.fixture
def writer_module(tmp_path: Path) -> Path:
    """The event factory of this file as a module that the writer process can import."""
    folder = tmp_path / "lib"
    folder.mkdir()
    shutil.copy(__file__, folder / "test_journal_events.py")
    return folder


def test_every_append_that_returned_is_there_after_sigkill(tmp_path: Path, writer_module: Path) -> None:
    directory, told = tmp_path / "j", tmp_path / "told"
    told.write_bytes(bytes(4096))
    rng = random.Random(11)
    with told.open("r+b") as file, mmap.mmap(file.fileno(), 4096) as shared:
        view = memoryview(shared).cast("q")
        for _ in range(REPEATS):
            view[1] = 0
            process = subprocess.Popen([sys.executable, "-c", WRITER, str(directory), str(told), str(writer_module)])
            wait_until(lambda: view[1] == 1, 20)
            time.sleep(rng.random() * 0.03)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            events, full = view[0], view[2]

            reader = JournalReader(directory, max(1, full - 200))
            found = [(e.seq, e.event, list(e.effects)) for e in reader]
            assert found[-1][0] in (events, events + 1)
            assert [f[0] for f in found] == list(range(found[0][0], found[-1][0] + 1))
            assert all(f[1] == event(f[0]) for f in found)
            assert all(f[2] == effects(f[0]) for f in found if f[0] <= full)
        view.release()
    assert contents(directory)[:-1] == expected(1, contents(directory)[-1][0])[:-1]


# --- closed segments ------------------------------------------------------------------------------------------------
def test_closed_segments_may_be_compressed_and_read_on(tmp_path: Path) -> None:
    make(tmp_path, 4000)
    for path in list_segments(tmp_path)[:-1]:
        packed = compress_segment(path)
        assert packed.suffix == ".zst"
        assert not path.exists()

    assert contents(tmp_path) == expected(1, 4000)
    journal = Journal(tmp_path, segment_bytes=SMALL)
    assert journal.last_seq == 4000
    journal.close()


def test_a_damaged_compressed_segment_is_named(tmp_path: Path) -> None:
    make(tmp_path, 4000)
    packed = compress_segment(list_segments(tmp_path)[1])
    raw = bytearray(zstandard.ZstdDecompressor().stream_reader(packed.read_bytes()).read())
    raw[HEADER_BYTES + 5000] ^= 4
    packed.write_bytes(zstandard.ZstdCompressor().compress(bytes(raw)))

    with pytest.raises(DataError, match=packed.name):
        contents(tmp_path)


def test_the_newest_segment_is_not_compressed(tmp_path: Path) -> None:
    make(tmp_path, 100)

    with pytest.raises(DataError, match="still being written"):
        compress_segment(last_file(tmp_path))


def test_retention_removes_the_oldest_and_keeps_what_recovery_needs(tmp_path: Path) -> None:
    make(tmp_path, 8000)
    before = list_segments(tmp_path)
    old_ns = 10 * 86_400 * 10**9
    for path in before[:4]:
        os.utime(path, ns=(0, 0))

    removed = prune(tmp_path, now_ns=old_ns, keep_days=7, max_bytes=1 << 40, keep_from_seq=(read_header(before[3]) or HEADER).first_seq + 1)

    assert removed == before[:3]
    assert list_segments(tmp_path) == before[3:]
    assert contents(tmp_path)[-1][0] == 8000
    removed = prune(tmp_path, now_ns=0, keep_days=7, max_bytes=3 * SMALL, keep_from_seq=10**9)
    assert sum(p.stat().st_size for p in list_segments(tmp_path)) <= 3 * SMALL


def test_reading_a_journal_that_is_being_written_stops_at_the_given_place(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SMALL)
    fill(journal, 1, 2500)
    place = journal.position
    fill(journal, 2501, 2600)

    assert [e.seq for e in JournalReader(tmp_path, until=place)] == list(range(1, 2501))
    journal.close()


def resident_kb(path: Path) -> int:
    """How much of a mapped file this process holds."""
    blocks = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
    return sum(int(re.search(r"Rss:\s+(\d+) kB", block)[1]) for block in blocks if str(path) in block)  # type: ignore[index]


def test_looking_for_the_end_of_a_segment_leaves_nothing_of_it_in_memory(tmp_path: Path) -> None:
    path = segment_path(tmp_path, 1)
    path.write_bytes(bytes(32 << 20))  # written zeros: no hole that could be skipped
    segment = Segment(path, SegmentHeader(bytes(8), 1, 1, 1, 0, {}))

    empty = segment.end_of_data(HEADER_BYTES)
    segment.words[(20 << 20) // 8 + 3] = 7
    used = segment.end_of_data(HEADER_BYTES)

    assert (empty, used) == (HEADER_BYTES, (20 << 20) + 32)
    assert resident_kb(path) <= 4096
