"""One journal segment: a numbered, preallocated file mapped into memory, with a header page and records behind it."""

from __future__ import annotations

import contextlib
import fcntl
import io
import itertools
import mmap
import os
import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec
import zstandard

from mia.domain.errors import DataError
from mia.kernels.crc import S_CRC, S_NUMBER, S_SEQ, S_WORD, STATE_LONGS, RecordLog, crc32c

MAGIC: Final = b"MIAJRNL\n"
FORMAT: Final = 1
HEADER_BYTES: Final = 4096
SEGMENT_BYTES_MIN: Final = 64 * 1024
SUFFIX: Final = ".seg"
_FIXED: Final = struct.Struct("<8sII8sQqQIH")  # the fields of SegmentHeader, then the versions as JSON
_CRC_AT: Final = HEADER_BYTES - 32
_BOOT_AT: Final = HEADER_BYTES - 24  # these two are outside of the header's CRC: they move on while the segment is in use
_SYNCED_AT: Final = HEADER_BYTES - 8
_RELEASE_BYTES: Final = 1 << 20


class SegmentHeader(NamedTuple):
    """What a segment says about itself."""

    journal_id: bytes  # 8 random bytes shared by all segments of one journal
    number: int
    first_seq: int  # seq of its first record
    first_record: int
    previous_crc: int  # of the last record of the segment before: the chain goes on over files
    versions: dict[str, str]
    boot_id: bytes = bytes(16)  # of the machine's boot that wrote last: only a new boot can have lost pages that were not synced
    synced_bytes: int = HEADER_BYTES

    def pack(self) -> bytes:
        """The header page."""
        versions = msgspec.json.encode(self.versions, order="deterministic")
        used = _FIXED.size + len(versions)
        if used > _CRC_AT:
            raise ValueError(f"versions take {len(versions)} bytes, at most {_CRC_AT - _FIXED.size} fit in a segment header")
        page = bytearray(HEADER_BYTES)
        _FIXED.pack_into(
            page, 0, MAGIC, FORMAT, used, self.journal_id, self.number, self.first_seq, self.first_record,
            self.previous_crc, len(versions),
        )  # fmt: skip
        page[_FIXED.size : used] = versions
        struct.pack_into("<I", page, _CRC_AT, crc32c(bytes(page[:used])))
        struct.pack_into("<16sQ", page, _BOOT_AT, self.boot_id, self.synced_bytes)
        return bytes(page)


def unpack_header(page: bytes, path: Path) -> SegmentHeader | None:
    """The header, or None when the page was never written; DataError when it is damaged or of another format."""
    if not any(page):
        return None
    magic, version, used, journal_id, number, first_seq, first_record, previous_crc, n = (
        _FIXED.unpack_from(page) if len(page) == HEADER_BYTES else (b"",) + (0,) * 8
    )
    if magic != MAGIC:
        raise DataError(f"{path}: not a journal segment (or its header is damaged): move it away or restore it from a backup")
    if version != FORMAT:
        raise DataError(f"{path}: journal format {version}, this version reads {FORMAT}: use the version of mia that wrote it")
    if used != _FIXED.size + n or used > _CRC_AT or crc32c(page[:used]) != struct.unpack_from("<I", page, _CRC_AT)[0]:
        raise DataError(f"{path}: the segment's header is damaged (CRC): restore it from a backup, or move the journal away")
    versions = msgspec.json.decode(page[_FIXED.size : used], type=dict[str, str])
    boot_id, synced = struct.unpack_from("<16sQ", page, _BOOT_AT)
    return SegmentHeader(journal_id, number, first_seq, first_record, previous_crc, versions, boot_id, synced)


def segment_path(directory: Path, number: int) -> Path:
    """Where segment `number` lies."""
    return directory / f"journal-{number:08d}{SUFFIX}"


def segment_number(path: Path) -> int | None:
    """The number in a segment's name (plain or .zst); None for any other file."""
    name = path.name.removesuffix(".zst")
    digits = name.removeprefix("journal-").removesuffix(SUFFIX)
    return int(digits) if name == f"journal-{digits}{SUFFIX}" and digits.isdigit() else None


def list_segments(directory: Path) -> list[Path]:
    """Segments in order, one path for each number (the plain file where an interrupted compression left both).

    DataError when one is missing in the middle: retention only ever removes the oldest.
    """
    found: dict[int, Path] = {}
    for path in sorted(directory.glob("journal-*"), reverse=True):  # .seg.zst sorts after .seg: the plain one wins
        number = segment_number(path)
        if number is not None:
            found[number] = path
    numbers = sorted(found)
    for before, after in itertools.pairwise(numbers):
        if after != before + 1:
            missing = segment_path(directory, before + 1)
            raise DataError(f"{missing}: this segment is missing, {found[after].name} follows: restore it, or move all up to it away")
    return [found[n] for n in numbers]


@contextmanager
def sole_compressor(directory: Path) -> Iterator[None]:
    """Hold the right to compress segments, or to judge what an interrupted compression left; waits for who holds it.

    A compressor may outlive the daemon that started it: without this lock a restart takes its finished file for a leftover,
    and then the compressor removes the plain one.
    """
    fd = os.open(directory / "compressor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def open_segment(path: Path) -> BinaryIO:
    """A segment as a stream from its header on, decompressed when it is .zst; DataError when it cannot be read."""
    try:
        raw = path.open("rb", buffering=0)
    except FileNotFoundError as e:
        compressed = path.with_name(path.name + ".zst")  # since it was listed
        if path.suffix == ".zst" or not compressed.exists():
            raise DataError(f"{path}: is gone: restore it from a backup") from e
        return open_segment(compressed)
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror}): check its rights") from e
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(raw, closefd=True)
    return raw


def read_exactly(stream: BinaryIO, n: int) -> bytes:
    """Up to n bytes; fewer only at the end."""
    out = io.BytesIO()
    while n > 0 and (part := stream.read(n)):
        n -= out.write(part)
    return out.getvalue()


def read_header(path: Path) -> SegmentHeader | None:
    """Header of one segment file; None when it was never written."""
    try:
        with open_segment(path) as stream:
            return unpack_header(read_exactly(stream, HEADER_BYTES), path)
    except zstandard.ZstdError as e:
        raise DataError(f"{path}: damaged zstd file ({e}): restore it from a backup") from e


def allocate(path: Path, size: int) -> None:
    """Make a zero-filled file of `size` bytes whose blocks exist, whole or not at all; OSError when there is no room."""
    partial = path.with_suffix(".partial")
    fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
        os.fsync(fd)
    except OSError:
        os.close(fd)
        partial.unlink(missing_ok=True)
        raise
    os.close(fd)
    partial.rename(path)


class Segment:
    """A segment open for appending. `log.append` writes; `sync` and `release` belong to the sync thread."""

    def __init__(self, path: Path, header: SegmentHeader | None = None) -> None:
        """Map an existing file; with `header`, write that header first (a fresh segment). OSError as the system gives it."""
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self.size = os.fstat(self.fd).st_size // 8 * 8
        self._map = mmap.mmap(self.fd, self.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        if header is not None:
            self._map[:HEADER_BYTES] = header.pack()
        found = unpack_header(self._map[:HEADER_BYTES], path)
        if found is None:
            raise DataError(f"{path}: the segment has no header")
        self.header = found
        self.words = memoryview(self._map).cast("B").cast("q")
        self.state = memoryview(array("q", bytes(8 * STATE_LONGS)))
        self.state[S_WORD] = HEADER_BYTES // 8
        self.state[S_CRC] = found.previous_crc
        self.state[S_NUMBER] = found.first_record
        self.state[S_SEQ] = -1
        self.log = RecordLog(self.words, self.state)
        self.synced_bytes = HEADER_BYTES
        self._released = 0

    def mark_boot(self, boot_id: bytes) -> None:
        """Note that this boot of the machine writes from here on, over a tail that was judged."""
        struct.pack_into("<16sQ", self._map, _BOOT_AT, boot_id, self.used_bytes)

    @property
    def used_bytes(self) -> int:
        """Bytes up to the end of the last record."""
        return self.state[S_WORD] * 8

    def sync(self) -> None:
        """Bring all records written so far to the disk; OSError means that the disk failed: never retry."""
        used = self.used_bytes
        if used > self.synced_bytes:
            os.fdatasync(self.fd)
            self.synced_bytes = used
            struct.pack_into("<Q", self._map, _SYNCED_AT, used)
        self.release(self.synced_bytes)

    def release(self, upto_bytes: int, least: int = _RELEASE_BYTES) -> None:
        """Drop the mapping's pages before upto_bytes from our RSS (they stay in the page cache and in the file)."""
        upto = upto_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        if upto - self._released >= least:
            self._map.madvise(mmap.MADV_DONTNEED, self._released, upto - self._released)
            self._released = upto

    def zero(self, start: int, end: int) -> None:
        """Overwrite bytes [start, end) with zeros (a dropped tail)."""
        while start < end:
            n = min(end - start, 1 << 20)
            self._map[start : start + n] = bytes(n)
            start += n

    def end_of_data(self, start: int) -> int:
        """One past the last byte at or after `start` that may differ from zero: holes of the preallocated rest are skipped."""
        end = start
        at = start
        while at < self.size:
            try:
                begin = os.lseek(self.fd, at, os.SEEK_DATA)
                at = os.lseek(self.fd, begin, os.SEEK_HOLE)
            except OSError:  # ENXIO: no data behind `at`
                break
            end = max(end, self._last_used(max(begin, start), min(at, self.size)))
        return max(end, start)

    def _last_used(self, low: int, high: int) -> int:
        """One past the last byte of [low, high) that may differ from zero, 0 when there is none; leaves nothing of it in our RSS."""
        while high > low:
            begin = max(low, (high - 1) // _RELEASE_BYTES * _RELEASE_BYTES)
            used: int = self.log.last_used(begin // 8, high // 8)
            page = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
            if high > page:
                self._map.madvise(mmap.MADV_DONTNEED, page, high - page)
            if used * 8 > begin:
                return used * 8
            high = begin
        return 0

    def close(self, *, trim: bool) -> None:
        """Unmap; with trim the preallocated rest is given back (a closed segment)."""
        used = self.used_bytes
        del self.log
        self.words.release()
        with contextlib.suppress(BufferError):  # a method of the log is still referenced somewhere: the map goes with it
            self._map.close()
        if trim:
            os.ftruncate(self.fd, used)
        os.close(self.fd)
