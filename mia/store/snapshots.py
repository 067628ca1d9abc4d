"""Engine snapshots: whole files, the newest valid one wins; a damaged one costs a longer replay, never a wrong state."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

MAGIC: Final = b"MIASNAP\n"
FORMAT: Final = 1
_HEADER: Final = struct.Struct("<8sIqIQI")  # magic, format, seq, length of the hash, length of the blob, CRC32 of all behind and the seq
KEEP: Final = 2
DAYS_KEPT: Final = 8  # of each of so many days the first one: what `mia backtest reconcile --from DAY` begins with
_DAY_S: Final = 86_400


class StoredSnapshot(NamedTuple):
    """One snapshot as it was written."""

    seq: int
    feature_hash: str
    blob: bytes


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """What the blob of a checkpoint holds; the sequence number and the layout hash are the store's header."""

    arrays: bytes
    state: bytes
    venue: bytes
    feed: bytes
    config: str = ""  # settings of the run that took it, as RunStarted has them
    calendar: str = ""  # first digits of the calendar files' digest


class SnapshotStore:
    """Snapshots of one engine in one folder: the last KEEP, and the first of each of the last DAYS_KEPT days (UTC, of their files).

    `write` blocks: the slow lane calls it.
    """

    def __init__(self, directory: Path) -> None:
        """Create the folder; OSError when that is not permitted."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self.corrupt = 0
        for path in directory.glob("*.tmp"):
            path.unlink()

    def write(self, seq: int, feature_hash: str, blob: bytes) -> Path:
        """Store the state after event `seq`; whole or not at all. OSError as the system gives it."""
        name = feature_hash.encode()
        body_crc = zlib.crc32(blob, zlib.crc32(name, zlib.crc32(seq.to_bytes(8, "little", signed=True))))
        path = self.directory / f"snapshot-{seq:016d}.bin"
        partial = path.with_suffix(".tmp")
        with partial.open("wb") as file:
            file.write(_HEADER.pack(MAGIC, FORMAT, seq, len(name), len(blob), body_crc))
            file.write(name)
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        paths = self._paths()
        kept = _first_of_days(paths)
        for old in paths[KEEP:]:
            if old not in kept:
                old.unlink(missing_ok=True)
        return path

    def latest(self, max_seq: int | None = None) -> StoredSnapshot | None:
        """The newest valid snapshot with seq <= max_seq (the journal's last event); damaged ones are skipped and counted.

        One beyond the journal's end is of no use: power loss took events that it has seen.
        """
        for path in self._paths():
            found = _read(path)
            if found is None:
                self.corrupt += 1
            elif max_seq is None or found.seq <= max_seq:
                return found
        return None

    def _paths(self) -> list[Path]:
        return sorted(self.directory.glob("snapshot-*.bin"), reverse=True)


def _first_of_days(paths: list[Path]) -> set[Path]:
    """paths: newest first."""
    first: dict[int, Path] = {}
    for path in paths:
        with contextlib.suppress(OSError):
            first[int(path.stat().st_mtime) // _DAY_S] = path
    return {first[day] for day in sorted(first)[-DAYS_KEPT:]}


def read_snapshots(directory: Path) -> list[StoredSnapshot]:
    """The valid snapshots of a folder, oldest first; changes nothing, for readers beside a running daemon."""
    return [found for path in sorted(directory.glob("snapshot-*.bin")) if (found := _read(path)) is not None]


def _read(path: Path) -> StoredSnapshot | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if len(data) < _HEADER.size:
        return None
    magic, version, seq, name_length, blob_length, crc = _HEADER.unpack_from(data)
    start = _HEADER.size + name_length
    if magic != MAGIC or version != FORMAT or len(data) != start + blob_length:
        return None
    name, blob = data[_HEADER.size : start], data[start:]
    if zlib.crc32(blob, zlib.crc32(name, zlib.crc32(seq.to_bytes(8, "little", signed=True)))) != crc:
        return None
    return StoredSnapshot(seq, name.decode(), blob)
