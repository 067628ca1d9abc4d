"""Where the demo exchange keeps what must survive `kill -9`: append-only record files, and a position in a mapped page.

A write that returned is in the page cache and outlives the process. What follows the last whole record is dropped at the start.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import secrets
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from mia.domain.errors import AlreadyRunning, DataError

_HEAD: Final = struct.Struct("<II")  # length, CRC32
_LONG: Final = struct.Struct("<q")
_RECORD_BYTES_MAX: Final = 1 << 24  # a length beyond it is no length


class Credentials(msgspec.Struct, frozen=True):
    """What signs requests."""

    api_key: str
    secret: str


class RecordFile:
    """Records one after the other; `append` is one write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._fd).st_size

    def read(self, *, is_precious: bool = False) -> list[bytes]:
        """All whole records; a torn tail is cut off. is_precious: DataError when what follows is damage and no torn write."""
        data = self._path.read_bytes()
        records, at = [], 0
        while (end := _record_end(data, at)) > at:
            records.append(data[at + _HEAD.size : end])
            at = end
        if at != len(data):
            if is_precious and not _is_torn(data, at):
                raise DataError(f"{self._path}: damaged at byte {at}: restore it from a backup, or begin anew with another --state")
            os.ftruncate(self._fd, at)
        self.size = at
        return records

    def append(self, record: bytes) -> None:
        """One record into the page cache."""
        _write(self._fd, _HEAD.pack(len(record), zlib.crc32(record)) + record)
        self.size += _HEAD.size + len(record)

    def rewrite(self, records: Iterable[bytes]) -> None:
        """Replace the content, whole or not at all."""
        data = b"".join(_HEAD.pack(len(r), zlib.crc32(r)) + r for r in records)
        fresh = self._path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        _write(fd, data)
        os.close(fd)
        fresh.replace(self._path)
        os.close(self._fd)
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        self.size = len(data)

    def close(self) -> None:
        """Done."""
        os.close(self._fd)


def _record_end(data: bytes, at: int) -> int:
    """Where the record at this place ends; `at` when there is none."""
    if at + _HEAD.size > len(data):
        return at
    length, crc = _HEAD.unpack_from(data, at)
    end: int = at + _HEAD.size + length
    return end if length and end <= len(data) and zlib.crc32(data[at + _HEAD.size : end]) == crc else at


def _is_torn(data: bytes, at: int) -> bool:
    """True for the beginning of one record, or for a tail of zeros (power loss): a write that nobody was told of."""
    rest = data[at:]
    if not any(rest) or len(rest) < _HEAD.size:
        return True
    length: int = _HEAD.unpack_from(rest)[0]
    return _HEAD.size + length > len(rest) and length <= _RECORD_BYTES_MAX


class Position:
    """One integer in a mapped page: storing it costs no call."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(fd, mmap.PAGESIZE)
        self._map = mmap.mmap(fd, mmap.PAGESIZE)
        os.close(fd)

    def get(self) -> int:
        """What was stored last."""
        return int(_LONG.unpack_from(self._map)[0])

    def set(self, value: int) -> None:
        """Store."""
        _LONG.pack_into(self._map, 0, value)


class StateDir:
    """The directory of one demo exchange: locked, private to the user."""

    def __init__(self, path: Path) -> None:
        """Create or open it; AlreadyRunning when another process holds it."""
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise AlreadyRunning(f"{path}: another demo exchange uses this directory; stop it or name another with --state") from e
        self.account = RecordFile(path / "account.log")
        self.market = RecordFile(path / "market.log")
        self.position = Position(path / "position")
        self.credentials = _credentials(path / "credentials.json")


def _write(fd: int, data: bytes) -> None:
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, "the disk took only a part of a record")


def fresh_credentials() -> Credentials:
    """Random ones."""
    return Credentials(secrets.token_hex(32), secrets.token_hex(32))


def _credentials(path: Path) -> Credentials:
    if path.exists():
        try:
            return msgspec.json.decode(path.read_bytes(), type=Credentials)
        except msgspec.MsgspecError as e:
            raise DataError(f"{path}: not the credentials of a demo exchange ({e}); remove the file to get new ones") from e
    made = fresh_credentials()
    fresh = path.with_suffix(".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    _write(fd, msgspec.json.encode(made))
    os.close(fd)
    fresh.replace(path)
    return made
