"""Recordings on disk: plain, gzip or zstd files of lines `<receive ns> <payload>`, read in bounded memory.

What is readable is delivered; damage is counted and told (`warnings`). What is no recording at all raises DataError.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import zstandard

from mia.domain.errors import DataError
from mia.venues.replay.wire import LineSplitter

CHUNK_BYTES: Final = 65_536  # compressed bytes a read; a chunk inflates to about half a megabyte
LINE_BYTES_MAX: Final = 16 * 1024 * 1024
FILES_APART_NS_MAX: Final = 1_000_000_000  # a file may begin this much before the end of the last one
HEAD_FRAMES: Final = 500  # kept of each file, to recognise it
_INFLATED_MAX: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


class _Plain:
    """No compression."""

    def inflate(self, data: bytes) -> Iterator[bytes]:
        yield data

    def is_whole(self) -> bool:
        return True


class _Gzip:
    """One or more gzip members."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(31)
        self._is_fresh = True  # between members

    def inflate(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream.eof:
                if not data.strip(b"\0"):  # zero padding behind the last member is allowed
                    return
                self._stream = zlib.decompressobj(31)
            yield self._stream.decompress(data, _INFLATED_MAX)
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail

    def is_whole(self) -> bool:
        return self._stream.eof


class _Zstd:
    """One or more zstd frames."""

    def __init__(self) -> None:
        self._stream = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()

    def inflate(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream.eof:
                self._stream = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            yield self._stream.decompress(data)
            data = self._stream.unused_data if self._stream.eof else b""

    def is_whole(self) -> bool:
        return self._stream.eof


class _Inflater(Protocol):
    def inflate(self, data: bytes) -> Iterator[bytes]: ...

    def is_whole(self) -> bool: ...


def _inflater(path: Path, head: bytes) -> _Inflater:
    """By the first bytes; DataError when the name promises a compression that is not there."""
    if head.startswith(_GZIP):
        return _Gzip()
    if head.startswith(_ZSTD):
        return _Zstd()
    if head and path.suffix in (".gz", ".zst"):
        promised = "gzip" if path.suffix == ".gz" else "zstd"
        raise DataError(f"{path}: is not {promised} although its name says so; rename it or copy it again")
    return _Plain()


class Recording:
    """Files in sequence as one stream of (ts_recv_ns, payload) whose receive time never steps back."""

    def __init__(self, paths: list[Path]) -> None:
        """Opens the beginning of each file, so that a wrong one is known before anything trades."""
        if not paths:
            raise DataError("no recording given; name at least one file")
        self.paths = paths
        self.damaged: list[str] = []
        self._lines = LineSplitter()
        self.heads = [self._peek(path) for path in paths]
        last_ns, last_path = 0, paths[0]
        for path, head in zip(paths, self.heads, strict=True):
            if not (head[0][0] >= last_ns - FILES_APART_NS_MAX):
                raise DataError(f"{path}: begins before {last_path}; give recordings in the order of time")
            last_ns, last_path = head[0][0], path

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """All frames from the beginning; counters start anew."""
        self.damaged = []
        self._lines = LineSplitter()
        for path, head in zip(self.paths, self.heads, strict=True):
            self._lines.begin_file()
            if head[0][0] < self._lines.last_recv_ns() - FILES_APART_NS_MAX:
                raise DataError(f"{path}: begins before the end of the file given before it; give recordings in the order of time")
            for batch in _batches(path, self._lines, self.damaged):
                yield from batch

    def counters(self) -> dict[str, int]:
        """Lines read, lines dropped, receive times clamped, files with damage."""
        return {
            "lines": self._lines.lines(),
            "bad_lines": self._lines.bad(),
            "clamped": self._lines.clamped(),
            "damaged_files": len(self.damaged),
        }

    def warnings(self) -> list[str]:
        """One line for each kind of damage."""
        lines = list(self.damaged)
        names = ", ".join(path.name for path in self.paths)
        if self._lines.bad():
            share = f"{self._lines.bad()} of {self._lines.lines()}"
            lines.append(f"{names}: {share} lines were torn or not '<receive ns> <payload>' and were skipped")
        if self._lines.clamped():
            lines.append(f"{names}: receive time stepped back in {self._lines.clamped()} lines; the last time was used")
        return lines

    @staticmethod
    def _peek(path: Path) -> list[tuple[int, bytes]]:
        """The first frames of a file (at least one)."""
        lines = LineSplitter()
        damaged: list[str] = []
        for batch in _batches(path, lines, damaged):
            if lines.lines() and not batch and lines.lines() >= 10:
                break
            if batch:
                return batch[:HEAD_FRAMES]
        if damaged:
            raise DataError(f"{damaged[0]}; nothing in it can be read")
        if not lines.lines():
            raise DataError(f"{path}: is empty; record again or leave it out")
        raise DataError(f"{path}: line 1: is not a recording of lines '<receive ns> <payload>'; only such files can be replayed")


def _batches(path: Path, lines: LineSplitter, damaged: list[str]) -> Iterator[list[tuple[int, bytes]]]:
    """Frames of one file, a chunk at a time. Damage ends the file and is appended to `damaged`."""
    try:
        with path.open("rb") as file:
            data = file.read(CHUNK_BYTES)
            inflater = _inflater(path, data)
            while data:
                for text in inflater.inflate(data):
                    yield lines.split(text)
                    if lines.pending() > LINE_BYTES_MAX:
                        raise DataError(f"{path}: line {lines.lines() + 1}: longer than {LINE_BYTES_MAX} bytes; not a recording")
                data = file.read(CHUNK_BYTES)
    except FileNotFoundError:
        raise DataError(f"{path}: no such recording; check the path") from None
    except (zlib.error, zstandard.ZstdError) as e:
        damaged.append(f"{path}: damaged after line {lines.lines()} ({e}); what comes before it was read")
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror}); check the path and its rights") from e
    else:
        if not inflater.is_whole():
            damaged.append(f"{path}: truncated after line {lines.lines()}; what comes before it was read")
    yield lines.finish()
