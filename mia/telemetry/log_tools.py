"""Wrappers around functions: exceptions that are logged on their way, and how long something took."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from inspect import iscoroutinefunction
from time import perf_counter_ns
from types import CodeType, TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

from mia.telemetry.log_levels import number_of
from mia.telemetry.log_logger import GATES, _getframe, emit
from mia.telemetry.log_record import Caught, Place

P = ParamSpec("P")
R = TypeVar("R")
_MARK = "__mia_logged__"


@overload
def log_exceptions(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def log_exceptions(*, event: str = ..., level: str = ...) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def log_exceptions(function: Callable[..., Any] | None = None, /, *, event: str = "call_failed", level: str = "error") -> Any:
    """Log an exception that leaves a function or coroutine function, once however many decorated callers it passes, and raise it on."""
    number = number_of(level)
    if function is None:
        return lambda f: _logging_exceptions(f, event, number)
    return _logging_exceptions(function, event, number)


def _logging_exceptions(function: Callable[..., Any], event: str, level: int) -> Callable[..., Any]:
    place = _place_of(function)
    gate = GATES.of(function.__module__)

    def report(error: Exception) -> None:
        if gate.level <= level and not getattr(error, _MARK, False):
            with contextlib.suppress(AttributeError):  # an exception with slots is logged by each caller
                setattr(error, _MARK, True)
            emit(level, gate.name, event, {"call": function.__qualname__}, place, caught=Caught(error, error.__traceback__))

    if iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapped_async(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except Exception as e:
                report(e)
                raise

        return wrapped_async

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as e:
            report(e)
            raise

    return wrapped


class log_execution_time:  # noqa: N801  # used like a function: @log_execution_time("checkpoint"), with log_execution_time("export"):
    """Log how long a block, function or coroutine function took, when it took threshold_ms or more; a failed one as well.

    name: of the operation; logger: whose level decides (default: the module of what is decorated, or of the caller).
    """

    def __init__(self, name: str, *, level: str = "debug", threshold_ms: float = 0.0, logger: str = "") -> None:
        self._name = name
        self._level = number_of(level)
        self._level_name = level
        self._threshold_ms = threshold_ms
        self._logger = logger
        self._started_ns = 0
        self._where: tuple[CodeType, int] | Place | None = None

    def __enter__(self) -> Self:
        frame = _getframe(1)
        self._logger = self._logger or str(frame.f_globals.get("__name__", ""))
        self._where = (frame.f_code, frame.f_lasti)
        self._started_ns = perf_counter_ns()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._report(self._started_ns, kind is None)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """A function or coroutine function that is timed at each call, also when several run at once."""
        self._logger = self._logger or function.__module__
        self._where = _place_of(function)
        if iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapped_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                started_ns, success = perf_counter_ns(), False
                try:
                    result = await function(*args, **kwargs)
                    success = True
                    return result
                finally:
                    self._report(started_ns, success)

            return wrapped_async  # type: ignore[return-value]  # R is the coroutine that it returns

        @functools.wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            started_ns, success = perf_counter_ns(), False
            try:
                result = function(*args, **kwargs)
                success = True
                return result
            finally:
                self._report(started_ns, success)

        return wrapped

    def _report(self, started_ns: int, success: bool) -> None:
        took_ms = (perf_counter_ns() - started_ns) / 1e6
        gate = GATES.of(self._logger)
        if took_ms < self._threshold_ms or gate.level > self._level:
            return
        where, offset = self._where if isinstance(self._where, tuple) and len(self._where) == 2 else (self._where, 0)
        emit(
            self._level,
            gate.name,
            "operation_timed",
            {"operation": self._name, "took_ms": round(took_ms, 3), "success": success},
            where,
            offset,
        )


def _place_of(function: Callable[..., Any]) -> Place:
    code = getattr(function, "__code__", None)
    return Place(function.__module__, function.__qualname__, code.co_firstlineno if code is not None else 0)
