"""Following a journal while another process writes it: each poll reads the new records only.

A place, the chain of checksums and the open file are kept between polls. What is not whole yet is looked at again by the
next poll; what does not become whole in time is damage. Changes nothing. Whole journals at once are `mia.store.reader`'s.
"""

from __future__ import annotations

import bisect
import io
import os
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import zstandard

from mia.domain.errors import DataError
from mia.kernels.crc import END, MORE, S_CRC, S_NUMBER, S_SEQ, S_STATUS, S_WORD, STATE_LONGS, RecordLog
from mia.store.reader import JournalPosition, Record, bad_record, read_headers
from mia.store.segment import HEADER_BYTES, SegmentHeader, open_segment, read_exactly, segment_path, unpack_header

_LOOK: Final = 1 << 14  # bytes of the first read of a poll: mostly there is little or nothing
_CHUNK: Final = 1 << 20
_INDEX_RECORDS: Final = 8192
_PATIENCE_S: Final = 2.0  # a record takes its writer microseconds


class _Source:
    """One segment, read onwards from a place; what was not used is given again, fresh, by the next read."""

    def __init__(self, path: Path) -> None:
        """Open behind the header; DataError when it cannot be read or its header is damaged."""
        self.path: Final = path
        self.offset = HEADER_BYTES
        self._stream: Final = open_segment(path)  # the compressed one where the plain one has gone
        self._is_plain: Final = isinstance(self._stream, io.FileIO)
        self._held = bytearray()  # of a compressed segment, which cannot be read twice
        try:
            self.header = unpack_header(read_exactly(self._stream, HEADER_BYTES), path)
        except (zstandard.ZstdError, DataError) as e:
            self.close()
            raise e if isinstance(e, DataError) else self._damaged(e) from e

    def read(self, n: int) -> bytearray:
        """Up to n bytes from `offset` on; fewer at the present end only."""
        if self._is_plain:
            return bytearray(os.pread(self._stream.fileno(), n, self.offset))
        try:
            return self._held + read_exactly(self._stream, n - len(self._held))
        except zstandard.ZstdError as e:
            raise self._damaged(e) from e

    def advance(self, buffer: bytearray, used: int) -> None:
        """The first `used` bytes of what `read` gave are done with."""
        self.offset += used
        if not self._is_plain:
            self._held = buffer[used:]

    def close(self) -> None:
        """Give the file back."""
        self._stream.close()

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self.path}: damaged zstd file ({error}): restore it from a backup")


class JournalTail:
    """The records of a journal directory with seq >= seq_min, as they come. Exhaust one poll before the next."""

    def __init__(self, directory: Path, seq_min: int = 0) -> None:
        """Nothing is opened before the first poll; the journal may not even exist yet."""
        self.directory: Final = directory
        self.seq = 0  # of the last record read, below seq_min too
        self._seq_min: Final = seq_min
        self._source: _Source | None = None
        self._number = 0
        self._is_clean = True
        self._state: Final = memoryview(array("q", bytes(8 * STATE_LONGS)))
        self._index: Final = memoryview(array("q", bytes(32 * _INDEX_RECORDS)))
        self._stuck_since_s: float | None = None

    @property
    def position(self) -> JournalPosition:
        """Where the next record will be."""
        return JournalPosition(self._number, self._source.offset if self._source is not None else HEADER_BYTES)

    def poll(self) -> Iterator[Record]:
        """Every record that is whole by now. DataError when something stands in the way and does not go away."""
        if self._source is None and not self._open_first():
            return
        while True:
            # Looked for before the rest is read: a segment that has a successor gets no further records.
            found, following = self._following()
            yield from self._rest()
            if following is None:
                if found and self._is_clean:
                    self._stuck_since_s = None
                elif not self._is_clean:
                    self._stuck(self._bad_here())
                return
            if not self._fits(following):
                following.close()
                return
            self._enter(following)

    def close(self) -> None:
        """Give the file back."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _rest(self) -> Iterator[Record]:
        """Records of the open segment from our place to the present end."""
        source, state, index = self._source, self._state, self._index
        assert source is not None
        want = _LOOK
        while True:
            buffer = source.read(want)
            words = len(buffer) // 8
            view = memoryview(buffer)
            log = RecordLog(view[: words * 8].cast("q"), state)
            state[S_WORD] = 0
            while True:
                n = log.scan(words, self._seq_min, index)
                places = index[: 4 * n].tolist()
                for at, length, kind, seq in zip(places[::4], places[1::4], places[2::4], places[3::4], strict=True):
                    yield Record(kind, seq, view[at : at + length])
                if n < _INDEX_RECORDS:
                    break
            used = state[S_WORD] * 8
            status = state[S_STATUS]
            source.advance(buffer, used)
            if used:
                self.seq = state[S_SEQ]
                self._stuck_since_s = None
            if status != MORE or len(buffer) < want:
                self._is_clean = status == END or used == words * 8
                return
            want = _CHUNK if used else max(2 * want, _CHUNK)  # a record may be larger than the chunk

    def _open_first(self) -> bool:
        try:
            headers = read_headers(self.directory)
            if not headers:
                return False
            # Effects may open a segment whose event closes the one before: start where first_seq is strictly below.
            start = max(bisect.bisect_left([h.first_seq for _, h in headers], self._seq_min) - 1, 0)
            source = _Source(headers[start][0])
        except DataError as e:  # a roll or a compression in this very moment also looks like this
            self._stuck(e)
            return False
        header = source.header
        assert header is not None
        self._state[S_NUMBER], self._state[S_CRC] = header.first_record, header.previous_crc
        self._enter(source)
        return True

    def _following(self) -> tuple[bool, _Source | None]:
        """(whether all is well, the next segment or None when it is not there yet)."""
        try:
            source = _Source(segment_path(self.directory, self._number + 1))
        except DataError as e:
            if isinstance(e.__cause__, FileNotFoundError):
                return True, None
            self._stuck(e)  # its header may be in the making
            return False, None
        if source.header is not None:
            return True, source
        source.close()
        return True, None

    def _fits(self, following: _Source) -> bool:
        """True when the segment goes on where we are."""
        header = following.header
        assert header is not None
        if (self._state[S_NUMBER], self._state[S_CRC]) == (header.first_record, header.previous_crc):
            return True
        self._stuck(self._bad_here() if not self._is_clean else self._gap(following.path, header))
        return False

    def _enter(self, source: _Source) -> None:
        assert source.header is not None
        if self._source is not None:
            self._source.close()
        self._source = source
        self._number = source.header.number
        self._stuck_since_s = None

    def _bad_here(self) -> DataError:
        assert self._source is not None
        return bad_record(self._source.path, self._source.offset, self._state[S_NUMBER])

    def _gap(self, path: Path, header: SegmentHeader) -> DataError:
        return DataError(
            f"{path}: begins with record {header.first_record}, but the segment before it ends before record {self._state[S_NUMBER]}"
            " or with another checksum: records are missing or the file is a copy from elsewhere; restore it from a backup"
        )

    def _stuck(self, error: DataError) -> None:
        """Raise `error` when nothing has moved for a while; until then the next poll tries again."""
        now_s = time.monotonic()
        if self._stuck_since_s is None:
            self._stuck_since_s = now_s
        elif now_s - self._stuck_since_s > _PATIENCE_S:
            raise error
