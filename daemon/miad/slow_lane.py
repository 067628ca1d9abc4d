"""What the loop hands to threads that only wait: snapshots. One copy between frames, the writing elsewhere."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

from mia.domain.errors import FailStop
from mia.store.settings import StoreSettings
from mia.store.snapshots import Snapshot, SnapshotStore
from miad.core import Core
from miad.crash import crashpoint
from miad.past import Past
from miad.signals import StopFlag

_JOIN_S: Final = 7.0  # twice within the budget of the last checkpoint
_log = logging.getLogger("miad.snapshots")


class SnapshotWriter:
    """Takes a checkpoint every so many seconds or events, whichever comes first; the newest waits while one is written."""

    def __init__(
        self,
        core: Core,
        feed: Callable[[int], bytes],
        store: SnapshotStore,
        settings: StoreSettings,
        stop: StopFlag,
        past: Past,
    ) -> None:
        """feed: what a checkpoint after so many market events holds of the feed. past: what this run is built from, for a recovery
        under other settings."""
        self._past: Final = past
        self._core: Final = core
        self._feed: Final = feed
        self._store: Final = store
        self._every_s: Final = settings.snapshot_every_s
        self._every_events: Final = settings.snapshot_every_events
        self._stop: Final = stop
        self._is_warned = False
        self.failed: str | None = None
        self._last_s = time.monotonic()
        self._last_seq = core.seq
        self.stored_seq = 0  # of the newest snapshot of this process that is on the disk
        self._layout: Final = core.engine.layout_hash
        self._thread: threading.Thread | None = None

    def between(self) -> None:
        """Called between frames: take a checkpoint when it is time and the last one is on disk."""
        core = self._core
        due = core.seq - self._last_seq >= self._every_events or time.monotonic() - self._last_s >= self._every_s
        if not due or core.seq == self._last_seq or (self._thread is not None and self._thread.is_alive()):
            return
        self._take()

    def final(self) -> None:
        """The last checkpoint, waited for."""
        self._join()
        if self._core.seq != self._last_seq:
            self._take()
            self._join()

    def _take(self) -> None:
        core = self._core
        self._last_seq, self._last_s = core.seq, time.monotonic()
        arrays, state = core.engine.snapshot()
        feed = self._feed(core.engine.state.counters.market_events)
        parts = Snapshot(arrays, state, core.venue.snapshot(), feed, self._past.config, self._past.calendar)
        self._thread = threading.Thread(target=self._write, args=(core.seq, parts), name="snapshot", daemon=True)
        self._thread.start()

    def _write(self, seq: int, parts: Snapshot) -> None:
        try:
            self._core.journal.sync()  # a snapshot must never be ahead of the journal on the disk
            crashpoint("in_snapshot")
            self._store.write(seq, self._layout, msgspec.msgpack.encode(parts))
            self.stored_seq = seq
        except FailStop as e:  # the journal's disk failed
            self._stop.fail(e)
        except OSError as e:
            if not self._is_warned:
                self._is_warned = True
                _log.warning(
                    "the snapshot of event %d could not be written (%s); the journal has everything, a restart takes longer", seq, e
                )
        except Exception as e:
            self.failed = f"the snapshot of event {seq} could not be made ({type(e).__name__}: {e})"
            self._stop.set(self.failed)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join(_JOIN_S)
