"""The logger that the daemon holds: a structlog logger whose methods only capture. Formatting is the writer's.

A record costs its caller a level check, one frame, a time stamp and an append to a deque; a level that is off only the check.
"""

from __future__ import annotations

import sys
from asyncio import _get_running_loop, current_task
from decimal import Decimal
from threading import current_thread
from time import time_ns
from types import CodeType, FrameType
from typing import Any, Final

from mia.telemetry.log_levels import Gates
from mia.telemetry.log_record import Caught, Expander, Place, Record
from mia.telemetry.log_writer import Writer
from mia.telemetry.redact import REDACTOR

# structlog's developer renderer imports rich and pygments when it finds them: 80 ms and 5.5 MB that a daemon never uses.
_hidden: Final = "rich" not in sys.modules
if _hidden:
    sys.modules["rich"] = None  # type: ignore[assignment]  # documented: makes `import rich` raise ModuleNotFoundError
try:
    from structlog import BoundLoggerBase
finally:
    if _hidden:
        del sys.modules["rich"]

GATES: Final = Gates()
EXPANDER: Final = Expander(REDACTOR)
WRITER: Final = Writer(EXPANDER)

_queue: Final = WRITER.queue
_getframe: Final = sys._getframe
# Values of these types cannot change before the writer reads them.
_FIXED: Final = frozenset({int, str, float, bool, type(None), Decimal, bytes})
_COPY_CHARS: Final = 16_384
_COPY_DEPTH: Final = 6


class Logger(BoundLoggerBase):
    """`log.info("order_submitted", side="buy", qty_lots=3)`: a fixed event name, then values; `bind` adds values to all that follow.

    Values are read later, by the writer: containers are copied now, other mutable objects must not change.
    """

    def trace(self, event: str, /, **values: Any) -> None:
        """Finer than debug: every frame, every decision's inputs."""
        if self._logger.level <= 5:
            _capture(self._logger.name, 5, event, self._context, values, _getframe(1))

    def debug(self, event: str, /, **values: Any) -> None:
        """For whoever looks into a fault."""
        if self._logger.level <= 10:
            _capture(self._logger.name, 10, event, self._context, values, _getframe(1))

    def info(self, event: str, /, **values: Any) -> None:
        """The day's story."""
        if self._logger.level <= 20:
            _capture(self._logger.name, 20, event, self._context, values, _getframe(1))

    def warning(self, event: str, /, **values: Any) -> None:
        """Not as it should be; trading goes on."""
        if self._logger.level <= 30:
            _capture(self._logger.name, 30, event, self._context, values, _getframe(1))

    def error(self, event: str, /, **values: Any) -> None:
        """Something failed; somebody should look."""
        if self._logger.level <= 40:
            _capture(self._logger.name, 40, event, self._context, values, _getframe(1))

    def critical(self, event: str, /, **values: Any) -> None:
        """The daemon cannot go on as it is."""
        if self._logger.level <= 50:
            _capture(self._logger.name, 50, event, self._context, values, _getframe(1))

    def exception(self, event: str, /, **values: Any) -> None:
        """An error with the exception that is being handled."""
        if self._logger.level <= 40:
            values.setdefault("exc_info", True)
            _capture(self._logger.name, 40, event, self._context, values, _getframe(1))

    def log(self, level: int, event: str, /, **values: Any) -> None:
        """At a level by its number."""
        if self._logger.level <= level:
            _capture(self._logger.name, level, event, self._context, values, _getframe(1))

    warn = warning
    fatal = critical
    msg = info

    def is_enabled_for(self, level: int) -> bool:
        """Whether a record of this level would be written: asked before values that cost something are gathered."""
        return bool(self._logger.level <= level)


def _capture(name: str, level: int, event: Any, context: dict[str, Any], values: dict[str, Any], frame: FrameType) -> None:
    for key, value in values.items():
        if value.__class__ not in _FIXED:
            values[key] = _copy(value, 0)  # `values` is this call's own
    loop = _get_running_loop()  # None outside a loop; current_task alone would raise there, which costs more than all the rest
    task = current_task(loop) if loop is not None else None
    caught = _caught(values.pop("exc_info")) if "exc_info" in values else None
    record: Record = (
        time_ns(), level, name, event, context, values, frame.f_code, frame.f_lasti, task or current_thread().name, caught,
    )  # fmt: skip
    if len(_queue) < WRITER.room:
        _queue.append(record)
    else:
        WRITER.overflow(record)


def emit(
    level: int, name: str, event: Any, values: dict[str, Any], where: Place | CodeType | None, offset: int = 0,
    caught: Caught | None = None,
) -> None:  # fmt: skip
    """A record whose origin is known by other means: the standard library's loggers, hooks, decorators. `values` becomes its own."""
    for key, value in values.items():
        if value.__class__ not in _FIXED:
            values[key] = _copy(value, 0)
    loop = _get_running_loop()
    task = current_task(loop) if loop is not None else None
    record: Record = (
        time_ns(), level, name, event, {}, values, where, offset, task or current_thread().name, caught,
    )  # fmt: skip
    if len(_queue) < WRITER.room:
        _queue.append(record)
    else:
        WRITER.overflow(record)


def _caught(exc_info: Any) -> Caught | None:
    """What `exc_info=` was given: True, an exception, or the triple of sys.exc_info()."""
    error = exc_info
    if isinstance(exc_info, tuple):
        error = exc_info[1]
    elif exc_info and not isinstance(exc_info, BaseException):
        error = sys.exc_info()[1]
    return Caught(error, error.__traceback__) if isinstance(error, BaseException) else None


def _copy(value: Any, depth: int) -> Any:
    """A copy of what may change before the writer reads it; other objects as they are."""
    kind = value.__class__
    if kind is dict and depth < _COPY_DEPTH:
        copy = value.copy()
        for key, item in copy.items():
            if item.__class__ not in _FIXED:
                copy[key] = _copy(item, depth + 1)
        return copy
    if (kind is list or kind is tuple) and depth < _COPY_DEPTH:
        return [item if item.__class__ in _FIXED else _copy(item, depth + 1) for item in value]
    if kind is set or kind is frozenset:
        return sorted(value, key=str)
    if kind is bytearray or kind is memoryview:
        return bytes(value[:_COPY_CHARS])
    return value
