"""`miad` as a child of `mia paper`: it gets our signals once, its lines are kept, and it does not outlive us.

It runs in a process group of its own. A Ctrl-C reaches the whole foreground group; were the daemon in it, it would get the signal twice
(from the terminal and from us) and take the second for the operator's impatience. The kernel sends it SIGTERM when we die without a
word (PR_SET_PDEATHSIG): unlike a pipe that it would have to watch, this needs no code in the daemon and holds before its first line.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO, Final

_PR_SET_PDEATHSIG: Final = 1
_LINES_KEPT: Final = 1000
# The terminal is gone (SIGHUP) means an orderly end; to the daemon itself SIGHUP means to read its settings again.
_FORWARDED: Final = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM, signal.SIGHUP: signal.SIGTERM}


class Child:
    """A running `miad`; its stderr comes in lines, its stdout is kept for the end."""

    def __init__(self, arguments: Sequence[str], on_line: Callable[[str], None] | None = None) -> None:
        """on_line: gets each line of the log in a thread, without its end."""
        self.lines: Final[deque[str]] = deque(maxlen=_LINES_KEPT)
        self.line_count = 0
        self.asked_to_end = 0  # signals that were passed on
        self.terminal_is_gone = False
        self._summary: Final[list[str]] = []
        self._on_line: Final = on_line
        prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

        def in_child() -> None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # we died before it was set
                os._exit(1)

        self._old_handlers = {number: signal.signal(number, self._on_signal) for number in _FORWARDED}
        self._process: Final = subprocess.Popen(
            [sys.executable, "-m", "miad.app", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,
            preexec_fn=in_child,
        )
        if self.asked_to_end:  # asked while it was being made
            self._process.send_signal(signal.SIGTERM)
        self._readers: Final = [
            threading.Thread(target=self._read, args=(self._process.stderr, self._keep), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stdout, self._summary.append), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Of the daemon."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """False once it has ended."""
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> None:
        """Until it ends, at most timeout_s."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return

    def end(self) -> tuple[int, str]:
        """Wait for it; its exit code as a shell gives it, and what it printed on stdout."""
        code = self._process.wait()
        for reader in self._readers:
            reader.join(timeout=5)  # longer only when somebody it started holds the pipe
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        return (128 - code if code < 0 else code), "".join(self._summary)

    def _on_signal(self, number: int, frame: object) -> None:
        self.asked_to_end += 1
        self.terminal_is_gone = self.terminal_is_gone or number == signal.SIGHUP
        process: subprocess.Popen[str] | None = getattr(self, "_process", None)
        if process is not None:
            process.send_signal(_FORWARDED[signal.Signals(number)])

    def _keep(self, line: str) -> None:
        line = line.rstrip("\n")
        self.lines.append(line)
        self.line_count += 1
        if self._on_line is not None:
            self._on_line(line)

    @staticmethod
    def _read(stream: IO[str], take: Callable[[str], object]) -> None:
        for line in stream:
            take(line)
