"""The files logs/<name>_performance.csv: one row per operation and interval, written in the slow lane, rotated by size.

The tracker's operation `inference.evaluate` is the row `evaluate` of inference_performance.csv. A row tells the past and nothing reads
it back: what cannot be written (disk full, read-only) is dropped and counted, and said once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from mia.domain.text import csv_line, iso_time, number
from mia.telemetry.histogram import Distribution

# Of the daemon; mia-train writes more files of the same kind.
PERFORMANCE_NAMES: Final = (
    "live_trading",
    "trading_loop",
    "trade_executor",
    "inference",
    "trade_probability",
    "risk",
    "trade_window_filter",
)
PERFORMANCE_COLUMNS: Final = (
    "timestamp",
    "operation",
    "latency",  # mean of the interval, ms
    "success",  # 1 when none of the interval failed
    "memory_usage_mb",
    "cpu_percent",
    "n",
    "failures",
    "p50",
    "p95",
    "p99",
    "max",
)
_ASIDE_MAX: Final = 1000


def performance_path(folder: Path, name: str) -> Path:
    """folder: the state directory's logs/."""
    return folder / f"{name}_performance.csv"


class RotatedCsv:
    """One append-only CSV of bounded size. What is not ours, or was cut in the middle of a line, is set aside, never overwritten."""

    def __init__(self, path: Path, columns: tuple[str, ...], *, max_bytes: int, keep: int) -> None:
        """keep: old files PATH.1 (newest) to PATH.<keep>."""
        self.path: Final = path
        self._header: Final = csv_line(columns).encode()
        self._max_bytes: Final = max_bytes
        self._keep: Final = keep
        self._known: tuple[int, int] | None = None  # inode and size that we left behind
        self.set_aside = 0

    def append(self, lines: bytes) -> None:
        """Write whole lines, all or none; OSError leaves the file as it was."""
        size = self._look()
        if size + len(lines) > self._max_bytes and size > len(self._header):
            self._rotate()
            size = 0
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            data = lines if size else self._header + lines
            self._write(fd, data, size)
            found = os.fstat(fd)
            self._known = (found.st_ino, found.st_size)
        finally:
            os.close(fd)

    @staticmethod
    def _write(fd: int, data: bytes, size: int) -> None:
        """One write, so that a reader and a crash see all lines or none of them."""
        written = 0
        try:
            while written < len(data):
                written += os.write(fd, data[written:])
        except OSError:
            if written:
                os.ftruncate(fd, size)
            raise

    def _look(self) -> int:
        """Bytes of the file that is to be continued; 0 when a new one begins."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return 0
        if self._known != (found.st_ino, found.st_size) and found.st_size and not self._is_ours(found.st_size):
            self._set_aside()
            return 0
        return found.st_size

    def _is_ours(self, size: int) -> bool:
        """The header is this version's and the last line is whole."""
        if not self.path.is_file():
            return False
        with self.path.open("rb") as file:
            if file.read(len(self._header)) != self._header:
                return False
            file.seek(size - 1)
            return file.read(1) == b"\n"

    def _set_aside(self) -> None:
        for number_ in range(1, _ASIDE_MAX):
            aside = self.path.with_name(f"{self.path.name}.bak{number_}")
            if not os.path.lexists(aside):
                self.path.rename(aside)
                self.set_aside += 1
                return
        raise FileExistsError(17, "too many files set aside beside it", str(self.path))

    def _rotate(self) -> None:
        for number_ in range(self._keep, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number_}")
            newer = self.path if number_ == 1 else self.path.with_name(f"{self.path.name}.{number_ - 1}")
            if newer.exists():
                newer.replace(older)


class PerformanceCsvs:
    """All performance files of the daemon. `rows` is made by the loop, `write` may run in any thread."""

    def __init__(self, folder: Path, *, max_bytes: int, keep: int, warn: Callable[[str, str], None]) -> None:
        """folder: the state directory's logs/. warn(code, text): said once, until writing works again."""
        self._folder: Final = folder
        self._files: Final = {
            name: RotatedCsv(performance_path(folder, name), PERFORMANCE_COLUMNS, max_bytes=max_bytes, keep=keep)
            for name in PERFORMANCE_NAMES
        }
        self._warn: Final = warn
        self._lock: Final = threading.Lock()  # at the end a thread of a canceled task may still write
        self._is_blocked = False
        self._aside_told = 0
        self.rows_dropped = 0

    def write(self, rows: Mapping[str, list[bytes]]) -> None:
        """Append rows by file name. Never raises OSError: rows that cannot be written are counted."""
        with self._lock:
            self._write(rows)

    def _write(self, rows: Mapping[str, list[bytes]]) -> None:
        problem: OSError | None = None
        for name, lines in rows.items():
            try:
                self._files[name].append(b"".join(lines))
            except OSError as e:
                problem = e
                self.rows_dropped += len(lines)
        if problem is not None and not self._is_blocked:
            self._warn(
                "performance_blocked",
                f"{self._folder}: performance files cannot be written ({problem.strerror}); trading goes on, rows are dropped and counted",
            )
        self._is_blocked = problem is not None if rows else self._is_blocked
        aside = sum(file.set_aside for file in self._files.values())
        if aside > self._aside_told:
            self._aside_told = aside
            self._warn("performance_set_aside", f"{self._folder}: a performance file was damaged or not ours: kept beside it as .bak<n>")


def performance_rows(ts_ns: int, taken: Mapping[str, Distribution], rss_mb: float, cpu_percent: float) -> dict[str, list[bytes]]:
    """Lines by file name of one interval; operations of no known file are left out.

    ts_ns: Unix, end of the interval; taken: of `OperationTracker.take_interval`.
    """
    rows: dict[str, list[bytes]] = {}
    timestamp = iso_time(ts_ns)
    for operation, d in sorted(taken.items()):
        name, _, stage = operation.partition(".")
        if name not in PERFORMANCE_NAMES or not stage:
            continue
        fields = (
            timestamp, stage, number(d.mean_ms), int(d.failures == 0), number(rss_mb), number(cpu_percent), d.n, d.failures,
            number(d.p50_ms), number(d.p95_ms), number(d.p99_ms), number(d.max_ms),
        )  # fmt: skip
        rows.setdefault(name, []).append(csv_line(fields).encode())
    return rows
