"""Opening a journal that an earlier process left, however it ended: find the last valid record, judge what follows it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from mia.domain.errors import DataError
from mia.kernels.crc import BAD, END, S_NUMBER, S_STATUS, S_WORD
from mia.store.reader import JournalReader, bad_record, read_headers
from mia.store.records import EFFECTS, EVENT
from mia.store.segment import Segment, SegmentHeader, list_segments, sole_compressor

_WINDOW_WORDS: Final = 1 << 19


class Recovery(msgspec.Struct, frozen=True):
    """What opening found.

    last_seq: of the last event, 0 for an empty journal. has_effects: that event's effects are recorded, too.
    dropped_bytes: a torn tail that was removed. lost_to_power: the tail had whole records behind a hole (a new boot).
    """

    last_seq: int = 0
    has_effects: bool = False
    segments: int = 0
    first_seq: int = 0
    dropped_bytes: int = 0
    lost_to_power: bool = False

    @property
    def warning(self) -> str | None:
        """One line for the log, None when the end was clean."""
        if not self.dropped_bytes:
            return None
        cause = "the machine lost power before it was synced" if self.lost_to_power else "the process died while writing"
        return f"journal: dropped a torn tail of {self.dropped_bytes} bytes after event {self.last_seq} ({cause}); nobody had acted on it"


def recover(directory: Path, boot_id: bytes) -> tuple[Segment | None, Recovery]:
    """The last segment, positioned behind its last valid record, and what was found; (None, ...) for a new journal.

    DataError when records are missing or damaged in the middle, naming the place.
    """
    with sole_compressor(directory):
        headers = read_headers(directory)
        _remove_leftovers(directory, headers, boot_id)
    if not headers:
        return None, Recovery()
    path, header = headers[-1]
    if path.suffix == ".zst":
        raise DataError(f"{path}: the newest segment is compressed, so the one that followed it is missing: restore it from a backup")
    segment = Segment(path)
    last_event, last_effects = _walk(segment)
    dropped, by_power = _drop_tail(segment, is_new_boot=header.boot_id != boot_id)
    segment.mark_boot(boot_id)
    if last_event < 0:  # a fresh segment: the last event lies in the one before
        last_event, before = _last_of(headers[:-1], directory)
        last_effects = max(last_effects, before)
    return segment, Recovery(last_event, last_effects == last_event, len(headers), headers[0][1].first_seq, dropped, by_power)


def _remove_leftovers(directory: Path, headers: Sequence[tuple[Path, SegmentHeader]], boot_id: bytes) -> None:
    """Files of interrupted work: a last segment without a header, temporary files, a plain twin's unfinished .zst."""
    for path in list_segments(directory)[len(headers) :]:
        lost_power = not headers or headers[-1][1].boot_id != boot_id
        if not lost_power and not _is_blank(path):
            raise DataError(f"{path}: the segment's header is gone, records follow: restore it from a backup")
        path.unlink()
    for path in directory.glob("journal-*.seg.zst"):
        if path.with_suffix("").exists():
            path.unlink()
    for path in directory.glob("*.tmp"):
        path.unlink()


def _is_blank(path: Path) -> bool:
    zeros = bytes(1 << 20)
    with path.open("rb") as file:
        while part := file.read(len(zeros)):
            if part != zeros[: len(part)]:
                return False
    return True


def _walk(segment: Segment) -> tuple[int, int]:
    """Move the segment's position behind its last valid record; (seq of the last event, seq of the last effects), -1 for none."""
    index = memoryview(array("q", bytes(32 * 8192)))
    last = {EVENT: -1, EFFECTS: -1}
    end, total = 0, len(segment.words)
    while True:
        end = min(total, max(segment.state[S_WORD] + _WINDOW_WORDS, end))
        before = segment.state[S_WORD]
        n = segment.log.scan(end, 0, index)
        for i in range(4 * (n - 1), -1, -4):  # backwards to the last event: what follows it are its effects
            kind, seq = index[i + 2], index[i + 3]
            last[kind] = max(last.get(kind, -1), seq)
            if kind == EVENT:
                break
        if segment.state[S_STATUS] in (END, BAD) or (segment.state[S_WORD] == before and end == total):
            break
        if segment.state[S_WORD] == before:
            end = min(total, end + _WINDOW_WORDS)
        segment.release(segment.used_bytes)
    return last[EVENT], last[EFFECTS]


def _drop_tail(segment: Segment, *, is_new_boot: bool) -> tuple[int, bool]:
    """Remove what follows the last valid record; (bytes dropped, whether whole records were among them)."""
    start = segment.used_bytes
    end = segment.end_of_data(start)
    if end == start:
        return 0, False
    at = segment.log.find(start // 8, (end + 7) // 8)
    if at >= 0 and not (is_new_boot and start >= segment.header.synced_bytes):
        raise bad_record(segment.path, start, segment.state[S_NUMBER])
    segment.zero(start, end)
    return end - start, at >= 0


def _last_of(headers: Sequence[tuple[Path, SegmentHeader]], directory: Path) -> tuple[int, int]:
    """(seq of the last event or 0, seq of the last effects or -1) in earlier segments, by reading the newest of them."""
    last = {EVENT: 0, EFFECTS: -1}
    for record in JournalReader(directory, headers[-1][1].first_seq if headers else 0).records():
        last[record.kind] = record.seq
    return last[EVENT], last[EFFECTS]
