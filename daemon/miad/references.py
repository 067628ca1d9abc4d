"""The door of slow series: files that are looked at now and then, and whose rows enter as events once the world could know them.

A row enters once: the engine remembers, and so does its journal, what the newest one was. A file that cannot be used is an
alert; what was read of it before stays. In a replay the same rows enter at the recording's time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from mia.domain.errors import DataError
from mia.domain.events import AnyEvent, Reference
from mia.engine.engine import Engine
from mia.references.files import ROWS_MAX, read_rows
from mia.references.publication import Row
from mia.references.settings import ReferenceSettings
from miad.core import Core

_BATCH: Final = 50  # rows at a time: a first look at all files is thousands
_log = logging.getLogger("miad.references")
Frames = Iterator[tuple[int, bytes]]


class ReferenceFiles:
    """The files of [references]."""

    def __init__(self, settings: ReferenceSettings, engine: Engine, alert: Callable[[str, str, str], None]) -> None:
        """alert: takes severity, code and text."""
        self._poll_s: Final = settings.poll_s
        self._engine: Final = engine
        self._alert: Final = alert
        self._files: Final = [_File(name, path) for name, path in settings.files]

    @property
    def are_named(self) -> bool:
        """Is there any file at all?"""
        return bool(self._files)

    async def run(self, tell: Callable[[AnyEvent], None], now_ns: Callable[[], int]) -> None:
        """Until canceled, of a run that has begun: look at the files every poll_s."""
        while True:
            await self.look(tell, now_ns())
            await asyncio.sleep(self._poll_s)

    async def look(self, tell: Callable[[AnyEvent], None], now_ns: int) -> None:
        """Read what changed; rows that are known by now enter.

        A row that is in a file before it is known (the bar that is not over) waits for a look after that, and enters as it is then.
        """
        await asyncio.to_thread(self._read)
        due = [event for event in self._fresh() if event.known_at_ns <= now_ns]
        for k, event in enumerate(due):
            tell(event)
            if k % _BATCH == _BATCH - 1:
                await asyncio.sleep(0.01)

    def into(self, core: Core, frames: Frames) -> Frames:
        """The frames of a replay, with what was known before each of them given to the core first. The files are read once."""
        for file in self._files:
            file.read_whole()
        first = next(frames, None)
        if first is None:
            return
        fresh = self._fresh()
        surplus = Counter(event.series for event in fresh if event.known_at_ns < first[0])
        surplus.subtract(dict.fromkeys(surplus, ROWS_MAX))
        waiting: deque[Reference] = deque()
        for event in fresh:  # of what was known when the recording begins, the last ROWS_MAX of each series
            if surplus[event.series] > 0:
                surplus[event.series] -= 1
            else:
                waiting.append(event)
        for frame in chain((first,), frames):
            while waiting and waiting[0].known_at_ns < frame[0]:
                event = waiting.popleft()
                core.report(event, event.known_at_ns)
            yield frame

    def _read(self) -> None:
        """Read what changed since the last look (in a thread of its own: it only waits for the disk, and parses 64 KiB a file)."""
        for file in self._files:
            file.look()

    def _fresh(self) -> list[Reference]:
        """Rows that are new to the engine in the order in which they were known; what is wrong with a file is told once."""
        for file in self._files:
            if file.problem and not file.is_told:
                file.is_told = True
                _log.warning("reference %s: %s", file.name, file.problem)
                self._alert("warning", "reference_file", f"{file.problem}; {file.name} goes on with what was read before")
        newest = self._engine.state.references
        fresh = [
            (row.known_ns, k, row.event_ns, row)
            for k, file in enumerate(self._files)
            for row in file.rows
            if (row.known_ns, row.event_ns) > newest.get(file.name, (0, 0))
        ]
        return [Reference(0, row.event_ns, 0, self._files[k].name, row.value, row.known_ns, row.until_ns) for _, k, _, row in sorted(fresh)]


class _File:
    """One file as of the last look."""

    def __init__(self, name: str, path: Path) -> None:
        self.name: Final = name
        self.rows: list[Row] = []
        self.problem = ""
        self.is_told = False
        self._path: Final = path
        self._seen: tuple[int, int] | None = None  # time of the last change, size
        self._is_settled = False

    def look(self) -> None:
        """Read it when it changed, and once more when it did not change any more: then its last line is whole."""
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size)
            if seen == self._seen and self._is_settled:
                return
            self._is_settled = seen == self._seen
            self._seen = seen
            self.rows = read_rows(self.name, self._path, is_settled=self._is_settled)
            self.problem, self.is_told = "", False
        except OSError as e:
            self._failed(f"{self._path}: cannot be read: {e.strerror}")
        except DataError as e:
            self._failed(str(e))

    def read_whole(self) -> None:
        """All of it, however long: nothing is traded yet."""
        try:
            self.rows = read_rows(self.name, self._path, is_whole=True)
        except DataError as e:
            self._failed(str(e))

    def _failed(self, problem: str) -> None:
        if problem != self.problem:
            self.problem, self.is_told = problem, False
