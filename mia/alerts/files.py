"""The alerts on disk: `alerts.jsonl` and its older files, what is held back for merging, and how far each channel came.

Everything here survives kill -9 (page cache). A disk that is full or read-only raises OSError to the caller, which goes on without.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from mia.alerts.message import CRITICAL, ID_DIGITS, Alert

FOLDER: Final = "alerts"
NAME: Final = "alerts.jsonl"
_HELD: Final = "held.json"
_SLICE_BYTES: Final = 64 * 1024  # read at a time on the event loop: well under a millisecond
_decode: Final = msgspec.json.Decoder(Alert).decode
_decode_held: Final = msgspec.json.Decoder(list[Alert]).decode


class AlertFiles:
    """The folder of one state directory, written by one process."""

    def __init__(self, state_dir: Path, *, file_bytes_max: int, files: int) -> None:
        """Nothing is opened or made before the first use."""
        self._folder: Final = state_dir / FOLDER
        self._path: Final = self._folder / NAME
        self._file_bytes_max: Final = file_bytes_max
        self._files: Final = files
        self._fd = -1
        self._bytes = 0
        self._is_torn = False
        self._cursor_fds: Final[dict[str, int]] = {}
        self.rotations = 0

    def append(self, alert: Alert) -> None:
        """Write one line at the end; starts a new file when this one is full. OSError: nothing that counts was written."""
        line = msgspec.json.encode(alert) + b"\n"
        if self._fd < 0:
            self._open()
        if self._bytes and self._bytes + len(line) > self._file_bytes_max:
            self._rotate()
        if self._is_torn:  # the rest of a line that the disk cut off must not swallow this one
            line = b"\n" + line
        written = os.write(self._fd, line)
        self._bytes += written
        self._is_torn = written != len(line)
        if self._is_torn:
            raise OSError(28, "No space left on device", str(self._path))

    def last_id(self) -> str:
        """Id of the newest alert on disk; "" when there is none."""
        for path in reversed(self.paths()):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _SLICE_BYTES))
                for line in reversed(file.read().splitlines()):
                    alert = parse(line)
                    if alert is not None:
                        return alert.id
        return ""

    async def critical_after(self, alert_id: str) -> AsyncIterator[Alert]:
        """Alerts of severity error and urgent with an id above this one, oldest first; lets the loop run between slices.

        What is appended while reading is found, too: there is no pause between the last line and the end. Only after a rotation on the
        way (`rotations` tells) does another call find the rest.
        """
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(path.open("rb")) for path in self.paths()]  # a rotation renames them, and we read on
            for i, file in enumerate(opened):
                rest = b""
                while data := file.read(_SLICE_BYTES):
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        alert = parse(line)
                        if alert is not None and alert.id > alert_id and alert.severity in CRITICAL:
                            yield alert
                    if len(data) == _SLICE_BYTES or i < len(opened) - 1:
                        await asyncio.sleep(0)

    def paths(self) -> list[Path]:
        """The files that exist, oldest first."""
        return alert_files(self._folder, self._files)

    def cursor(self, channel: str) -> str | None:
        """Id up to which a channel delivered everything critical; None when it never did."""
        try:
            text = (self._folder / f"delivered-{channel}").read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return None
        return text if len(text) in (0, ID_DIGITS) else None

    def set_cursor(self, channel: str, alert_id: str) -> None:
        """Remember it: one write of fixed length, so that no kill can tear it."""
        fd = self._cursor_fds.get(channel)
        if fd is None:
            self._make_folder()
            fd = os.open(self._folder / f"delivered-{channel}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._cursor_fds[channel] = fd
        os.pwrite(fd, f"{alert_id:<{ID_DIGITS}}\n".encode(), 0)

    def held(self) -> list[Alert]:
        """What an earlier process had held back for merging."""
        try:
            return _decode_held((self._folder / _HELD).read_bytes())
        except (OSError, msgspec.MsgspecError):
            return []

    def set_held(self, alerts: Sequence[Alert]) -> None:
        """Replace what `held` will find."""
        path = self._folder / _HELD
        if not alerts:
            path.unlink(missing_ok=True)
            return
        self._make_folder()
        draft = path.with_suffix(".tmp")
        draft.write_bytes(msgspec.json.encode(alerts))
        draft.rename(path)

    def close(self) -> None:
        """Let go of the files."""
        self._close_newest()
        for fd in self._cursor_fds.values():
            os.close(fd)
        self._cursor_fds.clear()

    def _close_newest(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _open(self) -> None:
        self._make_folder()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._bytes = os.fstat(self._fd).st_size
        self._is_torn = self._bytes > 0 and os.pread(self._fd, 1, self._bytes - 1) != b"\n"

    def _rotate(self) -> None:
        for n in range(self._files - 1, 0, -1):
            older = self._folder / f"{NAME}.{n}"
            newer = self._folder / (f"{NAME}.{n - 1}" if n > 1 else NAME)
            if newer.exists():
                newer.rename(older)
        self._close_newest()
        self._open()
        self.rotations += 1


def alert_files(folder: Path, files: int = 100) -> list[Path]:
    """alerts.jsonl and its older files, oldest first."""
    numbered = [folder / f"{NAME}.{n}" for n in range(files, 0, -1)] + [folder / NAME]
    return [path for path in numbered if path.exists()]


def parse(line: bytes) -> Alert | None:
    """One line as an alert; None for what is not one (a line that a full disk cut off)."""
    try:
        return _decode(line)
    except msgspec.MsgspecError:
        return None
