"""What systemd is told (sd_notify), over the datagram socket that it names; nothing at all without one.

WATCHDOG=1 comes from the decision loop alone, and only while engine time moves: a daemon that hangs is restarted.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

_EXTEND_EVERY_S: Final = 2.0


class Notifier:
    """Never blocks, never raises: a message that does not fit is lost."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """environ: NOTIFY_SOCKET (a path, or @name in the abstract space), WATCHDOG_USEC, WATCHDOG_PID."""
        address = environ.get("NOTIFY_SOCKET", "")
        self._address: Final = "\0" + address[1:] if address.startswith("@") else address
        self._socket: Final = (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) if address else None
        )
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s: Final = int(usec) / 1e6 if usec.isdecimal() and is_ours and address else 0.0  # 0: none asked for
        self._beat_next_s = 0.0
        self._beat_seen_ns = 0
        self._extend_next_s = 0.0
        self._is_ready = False

    def ready(self, status: str) -> None:
        """Started; status is the line that `systemctl status` shows."""
        self._is_ready = True
        self._send("READY=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """A new line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def reloading(self) -> None:
        """A reload begins; `reloaded` ends it. Nothing before the start is over: that would say that we are ready."""
        if self._is_ready:
            self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self, status: str) -> None:
        """The reload is over."""
        if self._is_ready:
            self.ready(status)

    def stopping(self, seconds: float) -> None:
        """The end begins and may take so long."""
        self._is_ready = False
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def extend(self, seconds: float) -> None:
        """Recovery goes on: give us so long from now. May be called often."""
        now_s = time.monotonic()
        if self._socket is not None and now_s >= self._extend_next_s:
            self._extend_next_s = now_s + _EXTEND_EVERY_S
            self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def beat(self, engine_ns: int) -> None:
        """Called by the decision loop with the time of the engine's last timer: a sign of life when it moved."""
        if not self.watchdog_s or engine_ns == self._beat_seen_ns:
            return
        now_s = time.monotonic()
        if now_s >= self._beat_next_s:
            self._beat_next_s = now_s + self.watchdog_s / 4
            self._beat_seen_ns = engine_ns
            self._send("WATCHDOG=1")

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, *assignments: str) -> None:
        """One a line; a line break in the words of an error would begin another assignment."""
        if self._socket is not None:
            text = "\n".join(" ".join(assignment.splitlines()) for assignment in assignments)
            with contextlib.suppress(OSError):  # systemd is away or slow; it will ask why by itself
                self._socket.sendto(text.encode(errors="replace"), self._address)
