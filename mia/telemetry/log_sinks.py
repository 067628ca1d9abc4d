"""Where lines go: the terminal (or journald) and a rotated file. Neither can block trading or raise; what is lost is counted."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

FILE_NAME: Final = "miad.log"
_CHUNK: Final = 4096  # a pipe that poll calls writable takes so much without blocking
_PENDING_MAX: Final = 1 << 18
_RETRY_S_MAX: Final = 60.0
_LOOK_AGAIN_S: Final = 1.0


class Console:
    """A descriptor of a terminal, pipe, journal or file. A reader that has stopped costs lines, never time."""

    def __init__(self, fd: int) -> None:
        """Keeps a duplicate, so that a descriptor closed and given again is never written to."""
        self._fd: Final = os.dup(fd)
        os.set_inheritable(self._fd, False)
        self.is_terminal: Final = os.isatty(self._fd)
        self._poll: Final = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._pending = bytearray()
        self.failed = 0

    def is_journal(self, environ_value: str) -> bool:
        """Whether the descriptor is the journal's stream, as $JOURNAL_STREAM (device:inode) says."""
        found = os.fstat(self._fd)
        return stat.S_ISSOCK(found.st_mode) and environ_value == f"{found.st_dev}:{found.st_ino}"

    def columns(self) -> int:
        """Width of the terminal; 0 when it is none or does not say."""
        try:
            return os.get_terminal_size(self._fd).columns if self.is_terminal else 0
        except OSError:
            return 0

    def write(self, lines: list[bytes]) -> int:
        """Write lines and what still waits; how many were given up."""
        lost = 0
        was_waiting = bool(self._pending)
        for line in lines:
            if len(self._pending) + len(line) > _PENDING_MAX:
                lost += 1
            else:
                self._pending += line
        lost += self._push(0.0 if was_waiting else 0.05)
        self.failed += lost
        return lost

    def flush(self, timeout_s: float) -> None:
        """Wait up to so long for a slow reader."""
        deadline_s = time.monotonic() + timeout_s
        while self._pending and (left_s := deadline_s - time.monotonic()) > 0:
            self.failed += self._push(left_s)

    def _push(self, wait_s: float) -> int:
        while self._pending:
            try:
                ready = self._poll.poll(wait_s * 1000)
                if not ready:
                    return 0
                if not ready[0][1] & select.POLLOUT:
                    raise BrokenPipeError
                written = os.write(self._fd, self._pending[:_CHUNK])
            except (BlockingIOError, InterruptedError):
                return 0
            except OSError:  # the terminal is gone
                lost = self._pending.count(b"\n")
                self._pending.clear()
                return lost
            del self._pending[:written]
        return 0

    def close(self) -> None:
        """Let go of the duplicate."""
        self.failed += self._push(0.0)
        with contextlib.suppress(OSError):
            os.close(self._fd)


class LogFile:
    """miad.log and its older parts miad.log.1, .2, ...: whole lines only. When it cannot be written it is tried again, later and later."""

    def __init__(self, folder: Path, *, bytes_max: int, keep: int, tell: Callable[[str, str], None]) -> None:
        """tell(level, text): one line to the operator when the file fails and when it is written again."""
        self.path: Final = folder / FILE_NAME
        self.bytes_max = bytes_max
        self.keep = keep
        self._tell: Final = tell
        self._fd = -1
        self._size = 0
        self._inode = (0, 0)
        self._looked_s = 0.0
        self._attempts = 0
        self._retry_s = 0.0
        self._lost_since = 0
        self._kept = 0  # lines of the present call that are in the file
        self.failed = 0

    def write(self, lines: list[bytes]) -> int:
        """Append lines; how many were lost."""
        if not lines:
            return 0
        now_s = time.monotonic()
        if self._attempts and now_s < self._retry_s:
            return self._lose(len(lines))
        self._kept = 0
        try:
            self._open(now_s)
            data = b"".join(lines)
            if self._size and self._size + len(data) > self.bytes_max:
                self._rotate()
            self._append(data)
        except OSError as e:
            self._fail(e, now_s)
            return self._lose(len(lines) - self._kept)
        if self._attempts:
            lost, self._attempts, self._lost_since = self._lost_since, 0, 0
            self._tell("info", f"the log file {self.path} is written again; {lost} lines are missing in it")
        return 0

    def _append(self, data: bytes) -> None:
        """Write it all, or raise with only whole lines left; `_kept` counts them."""
        written = os.write(self._fd, data)
        if written < len(data):  # a disk that fills up takes a part
            whole = data.rfind(b"\n", 0, written) + 1
            os.ftruncate(self._fd, self._size + whole)
            self._size += whole
            self._kept = data.count(b"\n", 0, whole)
            data = data[whole:]
            written = os.write(self._fd, data)  # most often says why, by raising
            if written < len(data):
                os.ftruncate(self._fd, self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def _open(self, now_s: float) -> None:
        if self._fd >= 0 and now_s - self._looked_s >= _LOOK_AGAIN_S:  # removed or moved by somebody else?
            self._looked_s = now_s
            try:
                found = self.path.stat()
                if (found.st_dev, found.st_ino) != self._inode:
                    self.close()
            except FileNotFoundError:
                self.close()
        if self._fd < 0:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            found = os.fstat(self._fd)
            self._size, self._inode, self._looked_s = found.st_size, (found.st_dev, found.st_ino), now_s
            self._end_torn_line()

    def _end_torn_line(self) -> None:
        """A power cut may have left half a line: it stays, ended, and the next begins on its own."""
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._size += os.write(self._fd, b"\n")

    def _rotate(self) -> None:
        def name(n: int) -> Path:
            return self.path.with_name(f"{FILE_NAME}.{n}")

        self.close()
        if self.keep == 0:
            self.path.unlink(missing_ok=True)
        else:
            for n in range(self.keep, 0, -1):
                older = name(n - 1) if n > 1 else self.path
                with contextlib.suppress(FileNotFoundError):
                    older.rename(name(n))
            n = self.keep + 1
            while name(n).exists():  # fewer are kept than before
                name(n).unlink()
                n += 1
        self._open(time.monotonic())

    def _fail(self, error: OSError, now_s: float) -> None:
        self.close()
        self._attempts += 1
        wait_s = min(_RETRY_S_MAX, 2.0 ** min(self._attempts, 6)) * random.uniform(0.8, 1.0)
        self._retry_s = now_s + wait_s
        if self._attempts == 1:
            self._tell(
                "error",
                f"the log file {self.path} cannot be written ({error.strerror or error}); the console goes on, the file is tried again",
            )

    def _lose(self, lines: int) -> int:
        self.failed += lines
        self._lost_since += lines
        return lines

    def close(self) -> None:
        """Let go of the file; the next write opens it again."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1
