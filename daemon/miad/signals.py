"""How the process is asked to end, to reload and to show its stacks.

SIGINT and SIGTERM ask once, politely; the same one again, half a second later or more, is the operator's kill. SIGHUP means "reload" for a
daemon without a terminal (systemd, nohup-less scripts) and while the terminal is there; when the terminal that started us is gone, it
means "stop".
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Final

_AWAITS_MAX: Final = 32
_SAME_WISH_S: Final = 0.5  # the kernel tells a child of a parent's death once for each of its threads
_log = logging.getLogger("miad.signals")


class StopFlag:
    """Set by a signal, the end of --duration, or a failure: what runs looks at `reason`, what sleeps awaits `wait`."""

    def __init__(self) -> None:
        self.reason = ""
        self.failure: BaseException | None = None  # the process ends with this error, and the engine is not touched again
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None

    def bind(self) -> None:
        """Called on the event loop that is to be woken."""
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        if self.reason:
            self._event.set()

    def set(self, reason: str) -> None:
        """Ask for the end after the frame in hand; the first reason stays. From any thread, or a signal handler."""
        self.reason = self.reason or reason
        if self._loop is not None and self._event is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    def fail(self, error: BaseException) -> None:
        """Ask for the end because of an error; the first one stays."""
        self.failure = self.failure or error
        self.set(str(error))

    async def wait(self) -> None:
        """Return once the end was asked for."""
        assert self._event is not None, "bind first"
        await self._event.wait()


class Signals:
    """Installs the handlers. They only set flags; Python runs them between two instructions of the main thread."""

    def __init__(self, stop: StopFlag) -> None:
        self._stop = stop
        self._had_terminal = has_terminal()
        self._asked: dict[int, float] = {}  # signal -> monotonic seconds of the first
        self.on_reload: Callable[[], object] | None = None  # called in a signal handler: it may only schedule

    def catch(self) -> None:
        """SIGINT, SIGTERM, SIGUSR1 and, unless we were started by nohup, SIGHUP."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._hang_up)
        signal.signal(signal.SIGUSR1, lambda number, frame: dump_stacks())

    def _end(self, number: int, frame: object) -> None:
        first_s = self._asked.setdefault(number, time.monotonic())  # a Ctrl-C that a viewer passes on as SIGTERM is one wish, not two
        if time.monotonic() - first_s > _SAME_WISH_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._stop.set(signal.Signals(number).name)

    def _hang_up(self, number: int, frame: object) -> None:
        if self._had_terminal and not has_terminal():
            self._stop.set("SIGHUP: the terminal is gone")
        elif self.on_reload is not None:
            self.on_reload()


def has_terminal() -> bool:
    """True while this process has a controlling terminal that still exists."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def dump_stacks() -> None:
    """Every thread's and every task's stack into the log, one record a line: where it hangs, when it hangs."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # no loop runs
        tasks = set()
    lines = [f"stacks of {len(names)} threads and {len(tasks)} tasks:"]
    for ident, frame in sys._current_frames().items():
        lines += [f"thread {names.get(ident, ident)}:", *"".join(traceback.format_stack(frame)).splitlines()]
    for task in sorted(tasks, key=lambda t: t.get_name()):
        lines += [f"task {task.get_name()}:", *_awaits(task.get_coro())]
    for line in lines:
        _log.warning("%s", line)


def _awaits(coroutine: Any) -> list[str]:
    """The chain of coroutines that a task waits in, outermost first."""
    found: list[str] = []
    while coroutine is not None and len(found) < _AWAITS_MAX:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None:
            found.append(f"  {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}")
        coroutine = getattr(coroutine, "cr_await", None)
    return found
