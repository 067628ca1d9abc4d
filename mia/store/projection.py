"""The daemon's handle on the projection: another process turns the journal into SQLite rows and exports (`mia.store.project`).

The loop hands nothing over: the journal is the record, the process follows it. One thread here waits for the process's
lines. The projection may lag, never block; when it fails, `failed` says so and the daemon ends; when it dies, it is started again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mia.domain.errors import DataError
from mia.store.schema import VERSION, newer_schema

_RESTARTS_MAX: Final = 3
_RESTARTS_WITHIN_S: Final = 60.0
_ANSWER_S: Final = 20.0
_PACKAGES: Final = str(Path(__file__).resolve().parents[2])  # the process runs the very code that we run

_log = logging.getLogger("mia.store")


def _log_warning(code: str, text: str) -> None:
    _log.warning("%s: %s", code, text)


class Projector:
    """Starts, watches, flushes and stops the projection's process."""

    def __init__(
        self,
        state_dir: Path,
        *,
        mode: str,
        journal_last_seq: int,
        on_warning: Callable[[str, str], None] = _log_warning,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        """Look at state_dir/miad.db without opening it as a database; DataError when it is not ours to use.

        mode: paper | live. journal_last_seq: `Journal.last_seq` as opened, before anything is appended.
        on_warning(code, text), on_failure(reason): called from the thread that waits for the process.
        """
        self._path: Final = state_dir / "miad.db"
        self._command: Final = [sys.executable, "-X", "utf8", "-m", "mia.store.project", str(state_dir), "--mode", mode]
        self._journal_last_seq: int | None = journal_last_seq
        self._on_warning: Final = on_warning
        self._on_failure: Final = on_failure
        self._changed: Final = threading.Condition()
        self._flushes: Final[list[int]] = []  # asked for, in order; the process answers each once
        self._flushes_done = 0
        self._restarts: Final[deque[float]] = deque(maxlen=_RESTARTS_MAX)
        self._is_stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: Final = threading.Thread(target=self._follow, name="projector", daemon=True)
        self.failed: str | None = None
        self.is_ready = False
        self.is_lagging = False
        self.applied_seq = 0  # events below it are in the database with their effects; 0 until the process has said so
        version = _schema_version(self._path)
        # The file's header tells the schema. Only the process can tell what the rows hold, and what an unfinished start left.
        self._waits_for_answer: Final = version is not None and (journal_last_seq == 0 or version != VERSION)

    @property
    def pid(self) -> int | None:
        """Of the process; None before `start`."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Begin. Returns at once unless the database has to be judged before trading; DataError when it is refused."""
        try:
            self._launch()
        except OSError as e:
            raise DataError(f"{self._path}: the projection's process cannot be started ({e.strerror})") from e
        self._thread.start()
        if not self._waits_for_answer:
            return
        with self._changed:
            self._changed.wait_for(lambda: self.is_ready or self.is_lagging or self.failed is not None, _ANSWER_S)
        if self.failed is not None:
            raise DataError(self.failed)
        if not self.is_ready:
            raise DataError(f"{self._path}: another process locks the database: end it and start again")

    def flush(self, seq: int, timeout_s: float = 30.0) -> bool:
        """Wait until events up to `seq` and their effects are in SQLite and the files; False when it did not get there in time."""
        with self._changed:
            self._flushes.append(seq)
            target = len(self._flushes)
            self._tell(f"flush {seq}")
            self._changed.wait_for(lambda: self._flushes_done >= target or self.failed is not None, timeout_s)
            return self._flushes_done >= target and self.failed is None

    def stop(self, timeout_s: float = 10.0) -> None:
        """Let it write what is left, as far as it gets in time; what is not written is caught up at the next start."""
        with self._changed:
            self._is_stopping = True
            self._tell("stop")
        if self._process is None:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._process.kill()
            self._thread.join()

    def _launch(self) -> None:
        """Start a process and ask it what the last one did not answer. Called under the lock, or before the thread runs."""
        command = list(self._command)
        if self._journal_last_seq is not None:
            command += ["--journal-last-seq", str(self._journal_last_seq)]
        paths = os.pathsep.join(filter(None, (_PACKAGES, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # a Ctrl-C is meant for the daemon, which then stops us in order
        )
        for seq in self._flushes[self._flushes_done :]:
            self._tell(f"flush {seq}")

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it died: the thread sees that, too
                os.write(self._process.stdin.fileno(), line.encode() + b"\n")

    # --- the thread -------------------------------------------------------------------------------------------
    def _follow(self) -> None:
        """Take in lines; when the process ends without a word, start another."""
        try:
            while self._process is not None:
                process = self._process
                assert process.stdin is not None
                assert process.stdout is not None
                for line in process.stdout:
                    self._hear(*line.decode().rstrip("\n").partition(" ")[::2])
                code = process.wait()
                with self._changed:
                    process.stdin.close()
                    process.stdout.close()
                    if self._is_stopping or self.failed is not None:
                        self._changed.notify_all()
                        return
                    if not self._may_restart():
                        break
                    self._launch()
                self._on_warning("projector_restarted", f"{self._path}: the projection's process {_ending(code)}; another goes on")
            self._fail(
                f"{self._path}: the projection's process ended {_RESTARTS_MAX + 1} times within a minute: see what ends it, then restart"
            )
        except Exception as e:  # the thread's edge: silence would be a projection that stands still unseen
            _log.exception("projector")
            self._fail(f"{self._path}: the projection is out of control ({type(e).__name__}: {e})")

    def _may_restart(self) -> bool:
        now_s = time.monotonic()
        if len(self._restarts) == _RESTARTS_MAX and now_s - self._restarts[0] < _RESTARTS_WITHIN_S:
            return False
        self._restarts.append(now_s)
        return True

    def _hear(self, word: str, value: str) -> None:
        if word == "warning":
            code, _, text = value.partition(" ")
            self._on_warning(code, text)
            if code != "projection_lags":
                return
        elif word == "failed":
            self._fail(value)
            return
        with self._changed:
            if word == "done":
                self._flushes_done += 1
            elif word == "ready":
                self.is_ready = True
                self._journal_last_seq = None  # compared once a run: from now on the database follows the journal
            elif word == "applied":
                self.applied_seq = int(value)
            self.is_lagging = word == "warning"
            self._changed.notify_all()

    def _fail(self, text: str) -> None:
        with self._changed:
            self.failed = text
            self._changed.notify_all()
        if self._on_failure is not None:
            self._on_failure(text)


def _ending(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _schema_version(path: Path) -> int | None:
    """user_version as the database file's header has it; None when there is no database yet. DataError when it is not usable."""
    try:
        with path.open("r+b") as file:
            head = file.read(100)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise DataError(f"{path}: cannot be opened for writing ({e.strerror}): check its rights and the disk") from e
    if not head:
        return None
    if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
        raise DataError(f"{path}: damaged database (not an SQLite file): move it away, it is rebuilt from the journal")
    version = int.from_bytes(head[60:64], "big")
    if version > VERSION:
        raise DataError(newer_schema(path, version))
    return version
