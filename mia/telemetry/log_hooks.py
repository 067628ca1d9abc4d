"""Everything that others report ends in our log: the standard library's loggers, warnings, and exceptions that nobody caught."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import warnings
from types import TracebackType
from typing import Any, Final, TextIO

from mia.telemetry.log_levels import TRACE
from mia.telemetry.log_logger import WRITER, emit
from mia.telemetry.log_record import Caught, Place, module_of

_FLUSH_S: Final = 2.0
_CRITICAL: Final = 50
_PLAIN: Final = len(logging.makeLogRecord({}).__dict__)
_KNOWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class StandardHandler(logging.Handler):
    """Takes the records of `logging` (ours from packages below, and every library's)."""

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: a message whose arguments do not fit is logged as it stands."""
        try:
            event = record.getMessage()
        except Exception:
            event = f"{record.msg} {record.args}"
        found = record.__dict__
        values = {key: value for key, value in found.items() if key not in _KNOWN} if len(found) > _PLAIN else {}  # `extra`
        error = record.exc_info[1] if record.exc_info else None
        caught = Caught(error, error.__traceback__) if error is not None else None
        where = Place(module_of(record.pathname), record.funcName or "", record.lineno)
        emit(record.levelno, record.name, event, values, where, caught=caught)


class Hooks:
    """The hooks of one process; `install` and `uninstall` may be called again."""

    def __init__(self) -> None:
        self._handler: Final = StandardHandler()
        self._before: tuple[Any, ...] | None = None

    def install(self) -> None:
        """Root handler, warnings, and the three hooks for uncaught exceptions."""
        if self._before is not None:
            return
        self._before = (sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning)
        logging.addLevelName(TRACE, "TRACE")
        # What LogRecord would look up for each record and nobody here reads.
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
        logging.getLogger().addHandler(self._handler)
        sys.excepthook = self._uncaught
        threading.excepthook = _in_thread
        sys.unraisablehook = _unraisable
        warnings.showwarning = self._warning

    def uninstall(self) -> None:
        """As it was before."""
        if self._before is None:
            return
        sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning = self._before
        logging.getLogger().removeHandler(self._handler)
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = True
        self._before = None

    def _uncaught(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if self._before is not None and (issubclass(kind, KeyboardInterrupt) or os.environ.get("MIA_TRACEBACK")):
            self._before[0](kind, error, traceback)
        if not issubclass(kind, KeyboardInterrupt):
            emit(_CRITICAL, "uncaught", "uncaught_exception", {}, _end_of(traceback), caught=Caught(error, traceback))
        WRITER.flush(_FLUSH_S)

    def _warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if file is not None and self._before is not None:
            self._before[3](message, category, filename, lineno, file, line)
            return
        where = Place(module_of(filename), "", lineno)
        emit(30, "py.warnings", str(message), {"category": category.__name__, "file": filename, "at_line": lineno}, where)


def _in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread is not None else "unknown"
    caught = Caught(args.exc_value, args.exc_traceback)
    emit(_CRITICAL, "uncaught", "thread_died", {"thread": name}, _end_of(args.exc_traceback), caught=caught)
    WRITER.flush(_FLUSH_S)


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    # May run inside any allocation: it only captures.
    if args.exc_value is None:
        return
    values = {"object": type(args.object).__name__} if args.object is not None else {}
    event = args.err_msg or "exception ignored"
    emit(40, "uncaught", event, values, _end_of(args.exc_traceback), caught=Caught(args.exc_value, args.exc_traceback))


def install_for(loop: asyncio.AbstractEventLoop) -> None:
    """Log what an event loop would print: a task that died unwatched, a callback that raised."""
    loop.set_exception_handler(_in_loop)


def _in_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    caught = Caught(error, error.__traceback__) if isinstance(error, BaseException) else None
    source = context.get("task") or context.get("future")
    values: dict[str, Any] = {}
    if isinstance(source, asyncio.Task):
        values["of_task"] = source.get_name()
    if context.get("handle") is not None:
        with contextlib.suppress(Exception):
            values["handle"] = repr(context["handle"])
    where = _end_of(caught.traceback) if caught is not None else None
    emit(40, "asyncio", str(context.get("message") or "unhandled exception in the event loop"), values, where, caught=caught)


def _end_of(traceback: TracebackType | None) -> Place | None:
    """The innermost place of a traceback."""
    if traceback is None:
        return None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    module = traceback.tb_frame.f_globals.get("__name__", "")
    return Place(str(module), code.co_qualname, traceback.tb_lineno or code.co_firstlineno)
