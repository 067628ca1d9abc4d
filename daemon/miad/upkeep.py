"""The journal's housekeeping beside the loop: no room -> NO_NEW, closed segments compressed by another process, old ones removed."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

from mia.domain.errors import DataError
from mia.domain.events import TradingDisabled, TradingEnabled
from mia.store.retention import prune
from mia.store.segment import list_segments
from mia.store.settings import StoreSettings
from miad.core import Core
from miad.states import DISK_FULL

_LOOK_EVERY_S: Final = 5.0
_GB: Final = 1 << 30
_log = logging.getLogger("miad.upkeep")


class Upkeep:
    """Called between frames; does next to nothing most of the time."""

    def __init__(self, core: Core, settings: StoreSettings, oldest_needed_seq: Callable[[], int], *, is_replay: bool) -> None:
        """oldest_needed_seq: recovery and the projection need the journal from this event on."""
        self._core: Final = core
        self._is_replay: Final = is_replay
        self._settings: Final = settings
        self._oldest_needed_seq: Final = oldest_needed_seq
        self._is_full = False
        self._next_look_s = 0.0
        self._compressor: subprocess.Popen[bytes] | None = None

    def between(self) -> None:
        """Look at the journal's room at once, at its old segments every few seconds."""
        if self._core.journal.is_full != self._is_full:
            self._room_changed()
        now_s = time.monotonic()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_EVERY_S
            self._tidy()

    def _room_changed(self) -> None:
        core = self._core
        self._is_full = core.journal.is_full
        now_ns = core.engine.state.now_ns
        if self._is_full and self._is_replay:
            raise DataError(
                f"{core.journal.full_reason}; a replay without room would decide by the disk, so it stops: run it again, it goes on"
            )
        if self._is_full:
            # Cancels and exits go on in the reserved spare segment.
            core.accept(TradingDisabled(core.seq + 1, 0, now_ns, DISK_FULL))
            _log.warning("no openings: %s", core.journal.full_reason)
        else:
            core.accept(TradingEnabled(core.seq + 1, 0, now_ns, DISK_FULL))
            _log.info("the journal has room again: openings go on")

    def _tidy(self) -> None:
        directory = self._core.journal.directory
        closed = list_segments(directory)[:-1]
        if not closed:
            return
        settings = self._settings
        prune(
            directory,
            now_ns=time.time_ns(),
            keep_days=settings.journal_keep_days,
            max_bytes=settings.journal_max_gb * _GB,
            keep_from_seq=self._oldest_needed_seq(),
        )
        plain = [path for path in closed if path.suffix != ".zst" and path.exists()]
        if plain and (self._compressor is None or self._compressor.poll() is not None):
            command = [sys.executable, "-m", "mia.store.retention", str(plain[0])]
            self._compressor = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=True)
