"""How long operations take, and how often they fail: counted by name, in bounded memory.

`record` takes 0.3 us, so it is for what is already timed and for the slow lane; the hot path itself is timed by
`miad.latency`. One thread (the event loop's) records and reads.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, ParamSpec, TypeVar

from mia.telemetry.histogram import Distribution, Histogram

OPERATIONS_MAX: Final = 128
OTHER: Final = "other"  # takes what comes beyond OPERATIONS_MAX names

P = ParamSpec("P")
R = TypeVar("R")


class Token:
    """One running measurement; `OperationTracker.stop` ends it."""

    __slots__ = ("is_stopped", "operation", "started_ns")

    def __init__(self, operation: str, started_ns: int) -> None:
        self.operation: Final = operation
        self.started_ns: Final = started_ns
        self.is_stopped = False


class _Operation:
    """Durations since the last `take_interval`, and of all time before it."""

    __slots__ = ("before", "interval")

    def __init__(self) -> None:
        self.interval: Final = Histogram()
        self.before: Final = Histogram()


class OperationTracker:
    """Durations and failures by operation."""

    def __init__(self, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        """clock_ns: ns that never step back."""
        self._clock_ns: Final = clock_ns
        self._operations: Final[dict[str, _Operation]] = {}

    def record(self, operation: str, latency_ns: int, success: bool = True) -> None:
        """Count one that was timed elsewhere."""
        found = self._operations.get(operation)
        if found is None:
            found = self._open(operation)
        interval = found.interval
        interval.add(latency_ns)
        if not success:
            interval.failures += 1

    def start(self, operation: str) -> Token:
        """Begin to measure; what is never stopped is never counted."""
        return Token(operation, self._clock_ns())

    def stop(self, token: Token, success: bool = True) -> int:
        """End a measurement and count it; its ns. ValueError when it was stopped before."""
        latency_ns = self._clock_ns() - token.started_ns
        if token.is_stopped:
            raise ValueError(f"the measurement of {token.operation!r} was stopped before: start another one")
        token.is_stopped = True
        self.record(token.operation, latency_ns, success)
        return latency_ns

    @contextmanager
    def track(self, operation: str) -> Iterator[None]:
        """Measure a block; an exception counts as a failure and goes on."""
        token = self.start(operation)
        success = False
        try:
            yield
            success = True
        finally:
            self.stop(token, success)

    def timed(self, operation: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorator: measure each call of a function or coroutine function, by its qualified name when none is given."""

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            name = operation or function.__qualname__
            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def timed_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
                    with self.track(name):
                        return await function(*args, **kwargs)

                return timed_coroutine  # type: ignore[return-value]

            @functools.wraps(function)
            def timed_function(*args: P.args, **kwargs: P.kwargs) -> R:
                with self.track(name):
                    return function(*args, **kwargs)

            return timed_function

        return decorate

    def take_interval(self) -> dict[str, Distribution]:
        """What was counted since the last call, by operation; for one caller (the performance CSVs)."""
        taken = {}
        for name, operation in self._operations.items():
            if operation.interval.n:
                taken[name] = operation.interval.distribution()
                operation.before.merge(operation.interval)
                operation.interval.clear()
        return taken

    def report(self) -> dict[str, Distribution]:
        """Everything since the start (or `reset`), by operation."""
        found = {}
        for name, operation in sorted(self._operations.items()):
            whole = Histogram()
            whole.merge(operation.before)
            whole.merge(operation.interval)
            if whole.n:
                found[name] = whole.distribution()
        return found

    def reset(self) -> None:
        """Forget all operations."""
        self._operations.clear()

    def _open(self, operation: str) -> _Operation:
        name = operation if len(self._operations) < OPERATIONS_MAX else OTHER
        return self._operations.setdefault(name, _Operation())
