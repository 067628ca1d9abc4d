"""The file of seals: one record a line, each with the hash of the one before it, and a head that says how many there are and the last hash.

A record that was changed, removed or cut off is noticed, and then nothing is read. What records mean is `seal`'s.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mia.domain.errors import DataError, SealedError

_START: Final = "0" * 64


class SealFile:
    """seals.jsonl and seals.head in a data home, read anew by each call."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.path = home / "seals.jsonl"
        self._head = home / "seals.head"

    @contextmanager
    def appending(self) -> Iterator[Any]:
        """A function that adds a record, while no other process does."""
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            with (self._home / "seals.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self._append
        except OSError as e:
            raise DataError(f"{self.path}: cannot be written ({e.strerror or e}): check rights and disk") from None

    def _append(self, fact: dict[str, Any]) -> dict[str, Any]:
        records = self.records()
        prev = records[-1]["hash"] if records else _START
        record = {"n": len(records) + 1, "at_ns": time.time_ns(), "by": _user(), **fact, "prev": prev}
        record["hash"] = hash_of(record)
        line = json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n"
        with self.path.open("ab") as file:
            if file.tell() and self._torn():
                line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        scratch = self._head.with_suffix(".tmp")
        with scratch.open("w", encoding="utf-8") as file:
            file.write(f"{record['n']} {record['hash']}\n")
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._head)
        return record

    def _torn(self) -> bool:
        """Did a writer die in the middle of the last line? Its verb never said that it was done."""
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"

    def records(self) -> list[dict[str, Any]]:
        """All, with the chain and the head checked."""
        head = self._read_head()  # before the log: a writer appends to that first, so the head never knows of more
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            lines = [b""]
        except OSError as e:
            raise DataError(f"{self.path}: cannot be read ({e.strerror}): no history is read without it") from None
        records: list[dict[str, Any]] = []
        prev = _START
        for number, line in enumerate(lines, 1):
            record = _decoded(line)
            if record is None:
                if line and number < len(lines) and not self._was_torn(lines, number, prev):
                    raise self._broken(f"line {number} is no record")
                continue
            if record.get("prev") != prev or record.get("hash") != hash_of(record) or record.get("n") != len(records) + 1:
                raise self._broken(f"line {number} was changed, or one before it removed")
            prev = record["hash"]
            records.append(record)
        if head is None:
            # A writer that died before its first head leaves one record; one that was at work just now has written it since.
            if len(records) > 1 and self._read_head() is None:
                raise self._broken(f"{self._head.name} is missing")
        elif not 0 < head[0] <= len(records) or records[head[0] - 1]["hash"] != head[1]:
            raise self._broken(f"it has {len(records)} records, {self._head.name} knows of {max(head[0], 0)}")
        return records

    @staticmethod
    def _was_torn(lines: Sequence[bytes], number: int, prev: str) -> bool:
        """A half line is harmless when the next record goes on from the one before it."""
        following = _decoded(lines[number]) if number < len(lines) else None
        return following is not None and following.get("prev") == prev

    def _read_head(self) -> tuple[int, str] | None:
        """(records, last hash); (-1, "") when it is no such thing, None when there is none."""
        try:
            text = self._head.read_text(encoding="utf-8", errors="replace").split()
        except FileNotFoundError:
            return None
        except OSError as e:
            raise DataError(f"{self._head}: cannot be read ({e.strerror}): no history is read without it") from None
        return (int(text[0]), text[1]) if len(text) == 2 and text[0].isdecimal() else (-1, "")

    def _broken(self, what: str) -> SealedError:
        return SealedError(
            f"{self.path}: the log of sealed holdouts is not as it was written: {what}: restore a copy; until then no history is read"
        )


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line) if line.strip() else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def hash_of(record: dict[str, Any]) -> str:
    """Of everything in a record but its hash."""
    body = {k: v for k, v in record.items() if k != "hash"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user: a container
        return str(os.getuid())
