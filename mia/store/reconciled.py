"""reconciled.json of a state directory: what each day made live and in the backtest of it, as `mia backtest reconcile --record` found.

The daemon shows the last of these days and decides nothing by them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Final

import msgspec

from mia.domain.errors import DataError

FILE: Final = "reconciled.json"
_DAYS_MAX: Final = 3660
_SIZE_MAX: Final = 4 << 20


class ReconciledDay(msgspec.Struct, frozen=True, kw_only=True):
    """A UTC day's trades, 1e-8 of the account's currency; difference_e8: live less backtest. begin_ns, end_ns: the part compared."""

    day: str
    begin_ns: int
    end_ns: int
    trades: int
    live_e8: int
    backtest_e8: int
    difference_e8: int
    classes_e8: dict[str, int] = {}


def read_reconciled(folder: Path) -> list[ReconciledDay]:
    """The days of a state directory, in order; none when there is no such file, or it is none of ours: nothing depends on it."""
    try:
        with (folder / FILE).open("rb") as file:
            days = msgspec.json.decode(file.read(_SIZE_MAX), type=list[ReconciledDay])
        for day in days:
            date.fromisoformat(day.day)
    except (OSError, ValueError):  # msgspec's errors are ValueErrors
        return []
    return days


class LastReconciled:
    """The last day of a state directory, read again only when the file changed: it is asked for on the daemon's one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        self._seen: tuple[int, int, int] | None = None
        self._day: ReconciledDay | None = None

    def look(self) -> ReconciledDay | None:
        """None when there is none."""
        try:
            stat = (self._folder / FILE).stat()
        except OSError:
            seen = None
        else:
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if seen != self._seen:
            self._seen = seen
            self._day = next(reversed(read_reconciled(self._folder)), None)
        return self._day


def record_reconciled(folder: Path, days: Iterable[ReconciledDay]) -> Path:
    """Add days, or replace those of which no more had been compared; returns the file.

    It is written whole or not at all; DataError when it cannot be.
    """
    known = {day.day: day for day in read_reconciled(folder)}
    for day in days:
        old = known.get(day.day)
        if old is None or old.end_ns - old.begin_ns <= day.end_ns - day.begin_ns:
            known[day.day] = day
    path = folder / FILE
    scratch = path.with_name(f".{FILE}.{os.getpid()}.tmp")
    try:
        scratch.write_bytes(
            msgspec.json.format(msgspec.json.encode([known[name] for name in sorted(known)][-_DAYS_MAX:]), indent=1) + b"\n"
        )
        scratch.replace(path)
    except OSError as e:
        raise DataError(f"{path}: cannot be written: {e.strerror or e}") from None
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()
    return path
