"""The one place alerts go through: numbered, merged when they repeat, kept on disk, handed to the channels.

`raise_alert` may be called from anywhere at any time: it neither waits nor fails. A channel that is away, slow or broken is the
channel's own trouble. Time comes from the caller's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from mia.alerts.files import AlertFiles
from mia.alerts.message import RANK, Alert, alert_id, make_alert
from mia.alerts.outbox import Outbox
from mia.alerts.settings import AlertSettings
from mia.domain.effects import RecordDecision
from mia.domain.events import OrderFilled

_log: Final = logging.getLogger(__name__)
_WINDOWS_MAX: Final = 1000  # keys that are looked at for repeats at a time
_UNWRITTEN_MAX: Final = 256  # alerts of one burst before they are written where they are raised
_FLUSH_POLL_S: Final = 0.01
_CHANNEL_RESTART_S: Final = 60.0
_COUNTERS: Final = ("raised", "merged", "written", "delivered", "waiting", "disk_errors", *(f"dropped_{severity}" for severity in RANK))


class Channel(Protocol):
    """A way to a human, or to a machine that tells one. The publish methods return at once and never fail."""

    @property
    def name(self) -> str:
        """A short word: names the file that tells how far it came."""
        ...

    @property
    def severity_min(self) -> str:
        """The lowest severity that it wants."""
        ...

    async def run(self, outbox: Outbox) -> None:
        """Deliver for ever, whatever the far end does; when canceled, say good-bye within a second."""
        ...

    def publish_status(self, state: str, reasons: Sequence[str]) -> None:
        """The daemon's state; the newest wins."""
        ...

    def publish_decision(self, decision: RecordDecision) -> None:
        """One decision; bounded, the oldest goes."""
        ...

    def publish_fill(self, fill: OrderFilled) -> None:
        """One fill; bounded, the oldest goes."""
        ...

    def publish_health(self, health: dict[str, Any]) -> None:
        """How the daemon does; the newest wins."""
        ...

    def counters(self) -> dict[str, int]:
        """What was dropped and how often the far end was lost."""
        ...


class _Window:
    """The time after a message of one key: repeats are held back until it ends."""

    def __init__(self, ends_ns: int, rank: int) -> None:
        self.ends_ns = ends_ns
        self.rank = rank  # of the message that opened it
        self.held: Alert | None = None  # all repeats as one


class AlertHub:
    """Implements `mia.ports.Alerts` over any number of channels. One per process, on the event loop's thread.

    The first of an alert goes out at once. Repeats (same dedup_key) within merge_window_s are held back and become one message with
    their count when the window ends, or as soon as one is more severe than what went out. The counts of the messages of a key add up
    to how often it was raised.
    """

    def __init__(
        self,
        settings: AlertSettings,
        *,
        instance: str,
        state_dir: Path,
        now_ns: Callable[[], int],
        channels: Sequence[Channel] = (),
    ) -> None:
        """Picks up what an earlier process of this state directory left undelivered. Never fails: a bad disk is counted."""
        self._instance: Final = instance
        self._now_ns: Final = now_ns
        self._window_ns: Final = int(settings.merge_window_s * 1e9)
        self._files: Final = AlertFiles(state_dir, file_bytes_max=settings.file_mb << 20, files=settings.files)
        self._channels: Final = tuple(channels)
        self._windows: dict[str, _Window] = {}  # in order of their ends: all are of one length
        self._unwritten: Final[deque[Alert]] = deque()
        self._counts: Final[Counter[str]] = Counter()
        self._disk_is_bad = False
        self._held_changed = False
        self._wake: Final = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.get_ident()
        self._last_ns = 0
        self._outboxes: Final = tuple(
            Outbox(c.name, self._files, size_max=settings.outbox_max, severity_min=c.severity_min, on_trouble=self._on_disk_trouble)
            for c in channels
        )
        self._pick_up()

    def raise_alert(self, severity: str, code: str, text: str, *, title: str = "", dedup_key: str = "") -> None:
        """Queue one alert; see `mia.ports.Alerts`. From another thread it is handed to the loop's."""
        try:
            now_ns = self._now_ns()
            alert = make_alert(now_ns, severity, str(code), str(text), title=title, instance=self._instance, dedup_key=dedup_key)
            if self._loop is not None and threading.get_ident() != self._thread:
                with contextlib.suppress(RuntimeError):  # the loop has ended: then this thread is the only one left
                    self._loop.call_soon_threadsafe(self._take, alert, now_ns)
                    return
            self._take(alert, now_ns)
        except Exception:  # an alert must not take down what it is about
            self._counts["failed"] += 1
            _log.exception("alert_failed")

    def publish_status(self, state: str, reasons: Sequence[str] = ()) -> None:
        """The daemon's state, retained at the broker; the newest wins."""
        for channel in self._channels:
            channel.publish_status(state, reasons)

    def publish_decision(self, decision: RecordDecision) -> None:
        """One decision; when a channel's queue is full its oldest one goes."""
        for channel in self._channels:
            channel.publish_decision(decision)

    def publish_fill(self, fill: OrderFilled) -> None:
        """One fill; when a channel's queue is full its oldest one goes."""
        for channel in self._channels:
            channel.publish_fill(fill)

    def publish_health(self, health: dict[str, Any]) -> None:
        """How the daemon does, as builtins; the newest wins."""
        for channel in self._channels:
            channel.publish_health(health)

    async def run(self) -> None:
        """Write, release what was merged, deliver; until canceled. Cancel it after `flush`: channels then say good-bye."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        try:
            async with asyncio.TaskGroup() as group:
                for channel, outbox in zip(self._channels, self._outboxes, strict=True):
                    group.create_task(self._deliver(channel, outbox), name=f"alerts-{channel.name}")
                while True:
                    self.work()
                    await self._sleep()
        finally:
            self._loop = None

    async def flush(self, timeout_s: float) -> bool:
        """Release what is held back and wait until all channels have delivered; False when time ran out (what is critical persists)."""
        self._release_all()
        self.work()
        try:
            async with asyncio.timeout(timeout_s):
                while not all(outbox.is_empty for outbox in self._outboxes):
                    await asyncio.sleep(_FLUSH_POLL_S)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Write what is not written yet and let go of the files; for the very end, with or without a loop."""
        self._release_all()
        self.work()
        self._files.close()

    def work(self) -> None:
        """Whatever is due now: windows that ended, lines to write, hand-over to the channels. `run` calls it."""
        self._expire(self._now_ns())
        while self._unwritten:
            self._emit(self._unwritten.popleft())
        if self._held_changed:
            self._held_changed = False
            held = [w.held for w in self._windows.values() if w.held is not None and w.held.is_critical]
            self._on_disk(lambda: self._files.set_held(held))

    def counters(self) -> dict[str, int]:
        """raised, merged, written, delivered, waiting, disk_errors, dropped_<severity>, and what each channel counts."""
        found: Counter[str] = Counter(dict.fromkeys(_COUNTERS, 0))
        found.update(self._counts)
        for outbox in self._outboxes:
            found["delivered"] += outbox.delivered
            found["waiting"] += len(outbox)
            found.update({f"dropped_{severity}": n for severity, n in outbox.dropped.items()})
        for channel in self._channels:
            found.update({f"{channel.name}_{name}": n for name, n in channel.counters().items()})
        return dict(found)

    def _take(self, alert: Alert, now_ns: int) -> None:
        self._counts["raised"] += 1
        self._expire(now_ns)
        window = self._windows.get(alert.dedup_key)
        if window is None:
            self._send(alert, now_ns)
        else:
            self._counts["merged"] += 1
            held = alert if window.held is None else _merged(window.held, alert)
            if RANK[alert.severity] > window.rank:
                del self._windows[alert.dedup_key]
                self._held_changed = True
                self._send(held, now_ns)
            else:
                window.held = held
                # Written when the count doubles: a kill loses no critical alert, a storm costs no writes.
                self._held_changed |= held.is_critical and held.count & (held.count - 1) == 0
        self._wake.set()

    def _expire(self, now_ns: int) -> None:
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if window.ends_ns > now_ns:
                return
            del self._windows[key]
            self._release(window, now_ns)

    def _release(self, window: _Window, now_ns: int) -> None:
        if window.held is not None:
            self._held_changed |= window.held.is_critical
            self._send(window.held, now_ns)

    def _release_all(self) -> None:
        windows, self._windows = self._windows, {}
        for window in windows.values():
            self._release(window, self._now_ns())

    def _send(self, alert: Alert, now_ns: int) -> None:
        """Let it go and open its window."""
        if self._window_ns:
            if len(self._windows) >= _WINDOWS_MAX:
                oldest = self._windows.pop(next(iter(self._windows)))
                if oldest.held is not None:
                    self._held_changed |= oldest.held.is_critical
                    self._let_go(oldest.held, now_ns)
            self._windows[alert.dedup_key] = _Window(now_ns + self._window_ns, RANK[alert.severity])
        self._let_go(alert, now_ns)

    def _let_go(self, alert: Alert, now_ns: int) -> None:
        """Number it and have it written: in a moment by `run`, or here when a burst outgrows the queue."""
        self._last_ns = max(now_ns, self._last_ns + 1)
        self._unwritten.append(msgspec.structs.replace(alert, id=alert_id(self._last_ns)))
        while len(self._unwritten) > _UNWRITTEN_MAX:
            self._emit(self._unwritten.popleft())

    def _emit(self, alert: Alert) -> None:
        is_on_disk = self._on_disk(lambda: self._files.append(alert))
        self._counts["written"] += is_on_disk
        for outbox in self._outboxes:
            outbox.put(alert, is_on_disk=is_on_disk)

    def _on_disk(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as e:
            self._on_disk_trouble(e)
            return False
        if self._disk_is_bad:
            self._disk_is_bad = False
            _log.warning("alert_file_recovered: alerts are kept on disk again")
        return True

    def _on_disk_trouble(self, error: OSError) -> None:
        self._counts["disk_errors"] += 1
        if not self._disk_is_bad:
            self._disk_is_bad = True
            _log.error("alert_file_failed: %s; alerts go out, but are not kept over a restart until the disk is well", error)

    async def _deliver(self, channel: Channel, outbox: Outbox) -> None:
        """One channel for ever: a fault of ours in it stops neither the others nor the file."""
        while True:
            try:
                await channel.run(outbox)
            except Exception as e:
                _log.exception("alert_channel_failed")
                self.raise_alert("error", "alert_channel_failed", f"{channel.name}: {type(e).__name__}: {e}; it starts again in a minute")
            await asyncio.sleep(_CHANNEL_RESTART_S)

    async def _sleep(self) -> None:
        """Until something is raised or the first window ends."""
        self._wake.clear()
        first = next(iter(self._windows.values()), None)
        timeout_s = None if first is None else max(0.0, (first.ends_ns - self._now_ns()) / 1e9)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()

    def _pick_up(self) -> None:
        """Number on after the newest alert on disk; send what was held back when the last process ended."""
        try:
            self._last_ns = int(self._files.last_id() or "0", 32)
            left = self._files.held()
        except (OSError, ValueError) as e:
            self._on_disk_trouble(OSError(str(e)))
            return
        for alert in left:
            self._send(alert, self._now_ns())
        self._held_changed = bool(left)


def _merged(held: Alert, alert: Alert) -> Alert:
    """One more occurrence: the words of the newest among the most severe, the number of all."""
    words = alert if RANK[alert.severity] >= RANK[held.severity] else held
    return msgspec.structs.replace(words, ts=alert.ts, count=held.count + 1, first_ts=held.first_ts)
