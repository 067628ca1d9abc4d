"""Reading a journal: (event, its effects) in order, streaming, from plain and compressed segments; changes nothing."""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import zstandard

from mia.domain.effects import AnyEffect
from mia.domain.errors import DataError
from mia.domain.events import AnyEvent
from mia.kernels.crc import BAD, END, MORE, S_CRC, S_NUMBER, S_SEQ, S_STATUS, S_WORD, STATE_LONGS, RecordLog
from mia.store.records import EFFECTS, EVENT, decode_effects, decode_event
from mia.store.segment import HEADER_BYTES, SegmentHeader, list_segments, open_segment, read_exactly, read_header, unpack_header

_CHUNK: Final = 1 << 20
_INDEX_RECORDS: Final = 8192
_ZEROS: Final = bytes(_CHUNK)


class JournalPosition(NamedTuple):
    """A place in the journal: the end of a record that is whole."""

    segment: int
    offset: int


class Record(NamedTuple):
    """One record, not yet decoded; its payload stays valid (at the cost of the chunk it was read in)."""

    kind: int
    seq: int
    payload: memoryview


class Entry(NamedTuple):
    """One event and what step gave back for it (empty also when the process died between the two)."""

    seq: int
    event: AnyEvent
    effects: Sequence[AnyEffect]


def read_headers(directory: Path) -> list[tuple[Path, SegmentHeader]]:
    """All segments with headers, checked to belong together; a last one without a header (interrupted creation) is left out."""
    paths = list_segments(directory)
    headers: list[tuple[Path, SegmentHeader]] = []
    for path in paths:
        header = read_header(path)
        if header is None:
            if path is paths[-1]:
                break
            raise DataError(f"{path}: the segment has no header, yet others follow: restore it from a backup")
        if headers and header.journal_id != headers[0][1].journal_id:
            raise DataError(f"{path}: belongs to another journal than {headers[0][0].name}: put the right file back")
        if headers and header.first_record < headers[-1][1].first_record:
            raise DataError(f"{path}: opens with record {header.first_record}, before {headers[-1][0].name}: put the right file back")
        headers.append((path, header))
    return headers


class JournalReader:
    """Iterates the entries of a journal directory with seq >= seq_min.

    until: stop at this place (reading a journal that is being written). A torn tail at the very end just ends the
    iteration (`torn_bytes` counts it); damage with valid records after it is a DataError that names the place.
    """

    def __init__(self, directory: Path, seq_min: int = 0, until: JournalPosition | None = None) -> None:
        self.directory = directory
        self.seq_min = seq_min
        self.until = until
        self.torn_bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        event: AnyEvent | None = None
        effects: list[AnyEffect] = []
        for record in self.records():
            if record.kind == EVENT:
                if event is not None:
                    yield Entry(event.seq, event, effects)
                event, effects = decode_event(record.payload), []
            elif record.kind == EFFECTS and event is not None and record.seq == event.seq:
                effects.extend(decode_effects(record.payload))
        if event is not None:
            yield Entry(event.seq, event, effects)

    def records(self) -> Iterator[Record]:
        """Records with seq >= seq_min, in order."""
        headers = read_headers(self.directory)
        # Effects may open a segment whose event closes the one before: start where first_seq is strictly below.
        start = max(bisect.bisect_left([h.first_seq for _, h in headers], self.seq_min) - 1, 0)
        state = memoryview(array("q", bytes(8 * STATE_LONGS)))
        for i, (path, header) in enumerate(headers[start:], start):
            if self.until is not None and header.number > self.until.segment:
                return
            if i > start and (state[S_NUMBER], state[S_CRC]) != (header.first_record, header.previous_crc):
                raise DataError(
                    f"{path}: begins with record {header.first_record}, but {headers[i - 1][0].name} ends before record {state[S_NUMBER]}"
                    " or with another checksum: records are missing or the file is a copy from elsewhere; restore it from a backup"
                )
            state[S_NUMBER], state[S_CRC], state[S_SEQ] = header.first_record, header.previous_crc, header.first_seq
            yield from self._segment(path, header, state, is_last=i == len(headers) - 1)

    def _segment(self, path: Path, header: SegmentHeader, state: memoryview, *, is_last: bool) -> Iterator[Record]:
        limit = self.until.offset if self.until is not None and header.number == self.until.segment else None
        with open_segment(path) as stream:
            try:
                unpack_header(read_exactly(stream, HEADER_BYTES), path)
                walker = _Walker(path, stream, state, limit)
                yield from walker.records(self.seq_min)
                if walker.status != END and limit is None:
                    self._judge_tail(walker, is_last)
            except zstandard.ZstdError as e:
                raise DataError(f"{path}: damaged zstd file ({e}): restore it from a backup") from e

    def _judge_tail(self, walker: _Walker, is_last: bool) -> None:
        if walker.rest_bytes == 0:
            return
        if not is_last or walker.has_valid_after():
            raise bad_record(walker.path, walker.offset, walker.state[S_NUMBER])
        self.torn_bytes = walker.rest_bytes


def bad_record(path: Path, offset: int, number: int) -> DataError:
    """The error for damage in the middle of a journal."""
    return DataError(
        f"{path}: record {number} at byte {offset} is damaged and valid records follow it: restore the file from a backup,"
        " or move the journal folder away to start from the venue's word"
    )


class _Walker:
    """Walks the records of one stream in chunks of bounded size."""

    def __init__(self, path: Path, stream: BinaryIO, state: memoryview, limit: int | None) -> None:
        self.path = path
        self.state = state
        self.offset = HEADER_BYTES  # of the buffer's start in the segment
        self.rest_bytes = 0  # not zero, not valid, after the last valid record
        self.status = MORE
        self._stream = stream
        self._limit = limit
        self._index = memoryview(array("q", bytes(32 * _INDEX_RECORDS)))
        self._buffer = bytearray()
        self._at_end = False

    def records(self, seq_min: int) -> Iterator[Record]:
        """All valid records up to the end, the first bad one or the limit."""
        want = _CHUNK
        while True:
            self._fill(want)
            buffer = self._buffer
            view = memoryview(buffer)
            log = RecordLog(view[: len(buffer) // 8 * 8].cast("q"), self.state)
            self.state[S_WORD] = 0
            while True:
                n = log.scan(len(buffer) // 8, seq_min, self._index)
                for i in range(0, 4 * n, 4):
                    at, length, kind, seq = self._index[i : i + 4]
                    yield Record(kind, seq, view[at : at + length])
                if n * 4 < len(self._index):
                    break
            used = self.state[S_WORD] * 8
            self.status = self.state[S_STATUS]
            # A record larger than the chunk: ask for more at a time until it fits or the file ends.
            want = _CHUNK if used else max(len(buffer), _CHUNK)
            del log, view
            self._buffer = buffer[used:]
            self.offset += used
            if self.status != MORE or self._at_end:
                break
        self._measure_rest()

    def _fill(self, want: int) -> None:
        if self._limit is not None:
            want = min(want, self._limit - self.offset - len(self._buffer))
        part = read_exactly(self._stream, want)
        self._at_end = len(part) < want or (self._limit is not None and self.offset + len(self._buffer) + len(part) >= self._limit)
        self._buffer += part

    def _measure_rest(self) -> None:
        """After the last valid record: END is only an end when everything behind it is zero."""
        if self._limit is not None:
            return
        rest = self._buffer
        used = len(rest.rstrip(b"\0"))
        seen = len(rest)
        while part := self._stream.read(_CHUNK):
            if part != _ZEROS[: len(part)]:
                # Rare: a torn tail is short. Keep it all, so that a valid record can be searched in it.
                rest += bytes(seen - len(rest)) + part
                used = len(rest.rstrip(b"\0"))
            seen += len(part)
        self._buffer = rest
        self.rest_bytes = used
        self.status = END if used == 0 else BAD

    def has_valid_after(self) -> bool:
        """True when a record valid by itself follows the damage."""
        n = (self.rest_bytes + 7) // 8 * 8
        words = memoryview(bytearray(self._buffer[:n].ljust(n, b"\0"))).cast("q")
        return bool(RecordLog(words, self.state).find(0, len(words)) >= 0)


def journal_folder(path: Path) -> Path:
    """The journal below a state directory, or the folder itself; DataError when there is none."""
    if not path.is_dir():
        raise DataError(f"{path}: no such folder: name a state directory or its journal folder")
    if any(path.glob("journal-*.seg*")):
        return path
    if (path / "journal").is_dir():
        return path / "journal"
    raise DataError(f"{path}: holds no journal: name a state directory or its journal folder")
