"""The queue between those who log and the thread that formats and writes.

Callers append to a bounded deque and go on; they wake nobody (that would be a syscall), the writer looks every POLL_S. It works in
batches of at most BATCH_NS, so that the event loop never waits longer for the interpreter lock, and rests as long when more is waiting.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from mia.telemetry.log_levels import name_of
from mia.telemetry.log_record import Caught, EventDict, Expander, Place, Record

POLL_S: Final = 0.05
BATCH_NS: Final = 400_000
BATCH_RECORDS: Final = 64
_ERROR: Final = 40

Processor = Callable[[Any, str, EventDict], EventDict]
Job = Callable[[], None]


class Sink(Protocol):
    """Takes finished lines; never raises OSError, never blocks for long."""

    def write(self, lines: list[bytes]) -> int:
        """Write lines (none: what an earlier call could not); how many were lost."""
        ...

    def close(self) -> None:
        """Let go of the descriptor."""
        ...


class Output(NamedTuple):
    """One form of the lines and where they go."""

    render: Callable[[EventDict], bytes]
    sink: Sink


class Writer:
    """Queue, counters and thread. `queue` and `room` are public for the capture, which has no time for a call."""

    def __init__(self, expander: Expander) -> None:
        self.queue: Final[deque[Record | Job]] = deque()
        self.room = 1000  # until settings say more: what is logged before that waits for them
        self.dropped = 0
        self.written = 0
        self.failed = 0
        self._dropped_told = 0
        self._expander: Final = expander
        self._processors: Sequence[Processor] = (expander.redact,)
        self._outputs: Sequence[Output] = ()
        self._wake: Final = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._pid = 0

    @property
    def outputs(self) -> Sequence[Output]:
        """Where lines go now."""
        return self._outputs

    def use(self, processors: Sequence[Processor], outputs: Sequence[Output]) -> Sequence[Output]:
        """Chain and outputs from the next record on; call in the writer's thread (by `submit`) or before it starts. The old ones."""
        before, self._processors, self._outputs = self._outputs, processors, outputs
        return before

    def overflow(self, record: Record) -> None:
        """The queue is full: errors still have an eighth more room, the rest is dropped and counted."""
        # += of an attribute is one step between the points where threads change, so that it needs no lock.
        if record[1] >= _ERROR and len(self.queue) < self.room + (self.room >> 3):
            self.queue.append(record)
        else:
            self.dropped += 1

    def tell(self, level: int, event: str, values: dict[str, Any] | None = None, caught: Caught | None = None) -> None:
        """A record of the logging itself."""
        where = Place("mia.telemetry.log", "", 0)
        self.queue.append((time.time_ns(), level, "mia.telemetry.log", event, {}, values or {}, where, 0, "log-writer", caught))

    def start(self) -> None:
        """Start the thread, once."""
        if not self.is_alive():
            self._is_stopping = False
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._work, name="log-writer", daemon=True)
            self._thread.start()

    def is_alive(self) -> bool:
        """Whether the thread writes, in this process."""
        return self._thread is not None and self._thread.is_alive() and self._pid == os.getpid()

    def submit(self, job: Job) -> None:
        """Run a job in the writer's thread after what is queued now, without waiting for it; at once while no thread runs."""
        if self.is_alive():
            self.queue.append(job)
        else:
            job()

    def flush(self, timeout_s: float) -> bool:
        """Wait until what is queued now is written; False when that took longer."""
        if not self.is_alive():
            while self.queue and self._outputs and self._pid == os.getpid():  # the thread has ended: the caller writes
                self._batch()
            return not self.queue
        done = threading.Event()
        self.queue.append(done.set)
        if self._thread is threading.current_thread():
            return False
        self._wake.set()
        return done.wait(timeout_s)

    def stop(self, timeout_s: float) -> bool:
        """Flush and end the thread; False when records may be missing."""
        deadline_s = time.monotonic() + timeout_s
        is_complete = self.flush(timeout_s)
        self._is_stopping = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.1, deadline_s - time.monotonic()))
        return is_complete

    def _work(self) -> None:
        while not self._is_stopping:
            if not self.queue:
                for output in self._outputs:
                    self._put(output, [])  # a slow terminal may take more now
                self._wake.wait(POLL_S)
                self._wake.clear()
                continue
            started_ns = time.perf_counter_ns()
            self._batch()
            if self.queue and not self._wake.is_set():
                time.sleep((time.perf_counter_ns() - started_ns) * 1e-9)
        while self.queue:
            self._batch()

    def _batch(self) -> None:
        """Format and write some records: few enough that nobody waits for it."""
        until_ns = time.perf_counter_ns() + BATCH_NS
        queue = self.queue
        lines: list[list[bytes]] = [[] for _ in self._outputs]
        job: Job | None = None
        count = 0
        while queue and count < BATCH_RECORDS and time.perf_counter_ns() < until_ns:
            item = queue.popleft()
            if callable(item):
                job = item
                break
            count += 1
            self._format(item, lines)
        for output, batch in zip(self._outputs, lines, strict=True):
            if batch:
                self._put(output, batch)
        self.written += count
        if job is not None:
            try:
                job()
            except Exception as e:
                self.failed += 1
                self.tell(_ERROR, "logging could not be changed", {}, Caught(e, e.__traceback__))
        if self.dropped != self._dropped_told and len(queue) < self.room:
            missing, self._dropped_told = self.dropped - self._dropped_told, self.dropped
            self.tell(30, "log_records_dropped", {"dropped": missing, "why": "more was logged than could be written"})

    def _format(self, record: Record, lines: list[list[bytes]]) -> None:
        try:
            event_dict = self._expander.event_dict(record)
            for process in self._processors:
                event_dict = process(None, name_of(record[1]), event_dict)
            rendered = [output.render(event_dict) for output in self._outputs]
        except Exception as e:  # a value that changed under us, or a fault of ours: the record still leaves a trace, without its values
            self.failed += 1
            line = f'{{"level":"error","logger":"mia.telemetry.log","event":"a log record could not be written ({type(e).__name__})"}}\n'
            rendered = [line.encode() for _ in self._outputs]
        for batch, line_bytes in zip(lines, rendered, strict=True):
            batch.append(line_bytes)

    def _put(self, output: Output, batch: list[bytes]) -> None:
        try:
            self.failed += output.sink.write(batch)
        except Exception:  # a sink counts its own failures; nothing may end the writer
            self.failed += len(batch)
