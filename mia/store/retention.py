"""What becomes of closed journal segments: compressed by another process, removed by age and size, never while needed."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from pathlib import Path
from typing import Final

import zstandard

from mia.domain.errors import DataError
from mia.store.segment import list_segments, read_header, sole_compressor

_DAY_NS: Final = 86_400 * 10**9


def compress_segment(path: Path, level: int = 3) -> Path:
    """Replace a closed segment by its .zst; returns the new path. DataError for the newest one: it is still being written.

    Whole or not at all: the plain file goes after the compressed one lies safely on the disk. Takes the CPU: another process's work.
    """
    with sole_compressor(path.parent):
        segments = list_segments(path.parent)
        if path not in segments or path.suffix == ".zst" or path == segments[-1]:
            raise DataError(f"{path}: not a closed plain segment (the newest one is still being written): nothing to compress")
        return _compress(path, level)


def _compress(path: Path, level: int) -> Path:
    target = path.with_name(path.name + ".zst")
    partial = path.with_name(path.name + ".zst.tmp")
    with path.open("rb") as source, partial.open("wb") as out:
        zstandard.ZstdCompressor(level=level, write_checksum=True).copy_stream(source, out)
        out.flush()
        os.fsync(out.fileno())
    partial.rename(target)
    os.utime(target, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))  # its age is that of the last record
    path.unlink()
    return target


def prune(directory: Path, *, now_ns: int, keep_days: float, max_bytes: int, keep_from_seq: int) -> list[Path]:
    """Remove the oldest closed segments that are older than keep_days or beyond max_bytes in all; returns what was removed.

    keep_from_seq: recovery and the projection still need events from this seq on; a segment that may hold one stays.
    """
    segments = list_segments(directory)
    total = sum(p.stat().st_size for p in segments)
    removed: list[Path] = []
    for path, following in itertools.pairwise(segments):
        header = read_header(following)
        is_old = now_ns - path.stat().st_mtime_ns > keep_days * _DAY_NS
        if header is None or not header.first_seq < keep_from_seq or not (is_old or total > max_bytes):
            break
        total -= path.stat().st_size
        path.unlink()
        removed.append(path)
    return removed


if __name__ == "__main__":  # the daemon starts this as a process of its own: compression takes the CPU
    with contextlib.suppress(PermissionError):  # a service manager may forbid it
        os.nice(19)
    compress_segment(Path(sys.argv[1]))
