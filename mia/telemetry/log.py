"""Logging as the shells use it: `configure` once, `get_logger` anywhere, `flush` and `shutdown` at the end.

Callers only capture (log_logger); a thread formats and writes (log_writer) through structlog processors, redaction first.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mia.telemetry import log_format
from mia.telemetry.log_hooks import Hooks, install_for
from mia.telemetry.log_levels import TRACE
from mia.telemetry.log_logger import EXPANDER, GATES, WRITER, Logger
from mia.telemetry.log_record import EventDict
from mia.telemetry.log_sinks import Console, LogFile
from mia.telemetry.log_tools import log_exceptions, log_execution_time
from mia.telemetry.log_writer import Output, Processor
from mia.telemetry.redact import register_secret
from mia.telemetry.settings import LoggingSettings

__all__ = [
    "TRACE", "Logger", "LoggingSettings", "configure", "counters", "flush", "get_logger", "install_for", "log_exceptions",
    "log_execution_time", "queue_depth", "register_secret", "shutdown",
]  # fmt: skip

_HOOKS: Final = Hooks()
_SHUTDOWN_S: Final = 2.0


def get_logger(name: str = "", /, **context: Any) -> Logger:
    """The logger of a module (`get_logger(__name__)`), with values that all of its records carry. May be taken before `configure`."""
    return Logger(GATES.of(name), (), context)


def configure(
    settings: LoggingSettings,
    *,
    state_dir: Path | None = None,
    console_fd: int | None = 2,
    hooks: bool = True,
    processors: Sequence[Processor] = (),
    environ: Mapping[str, str] | None = None,
) -> None:
    """Start logging, or go on with other settings (SIGHUP): nothing that was logged before is lost.

    state_dir: `logs/miad.log` lies in it; None: no file. console_fd: None, or one that is closed: no console.
    hooks: uncaught exceptions, warnings and the standard library's loggers come here, too.
    processors: structlog processors between redaction and the renderers.
    """
    import structlog

    environ = os.environ if environ is None else environ
    GATES.set(settings.level, settings.levels)
    WRITER.room = settings.queue_max
    chain = (EXPANDER.redact, *processors)
    outputs: list[Output] = []
    if state_dir is not None and settings.file:
        file = LogFile(state_dir / "logs", bytes_max=settings.file_mb_max << 20, keep=settings.files_keep, tell=_tell)
        outputs.append(Output(_file_renderer(settings.file_format), file))
    console = _console(console_fd)
    if console is not None:
        outputs.append(Output(_console_renderer(settings.format, console, environ), console))
    structlog.configure(wrapper_class=Logger, logger_factory=_gate, processors=chain, context_class=dict)
    if hooks:
        _HOOKS.install()
    else:
        _HOOKS.uninstall()
    WRITER.submit(functools.partial(_swap, chain, outputs))  # in its thread, after what was logged so far; nobody waits
    if not WRITER.is_alive():
        WRITER.start()
        atexit.register(shutdown)


def flush(timeout_s: float = _SHUTDOWN_S) -> bool:
    """Wait until everything logged so far is written; False when it took longer."""
    return WRITER.flush(timeout_s)


def shutdown(timeout_s: float = _SHUTDOWN_S) -> bool:
    """Write what waits and end the thread; False when records may be missing. What is logged later is written by `flush`, if at all."""
    atexit.unregister(shutdown)
    deadline_s = time.monotonic() + timeout_s
    is_complete = WRITER.stop(timeout_s)
    for output in WRITER.outputs:
        if isinstance(output.sink, Console):
            output.sink.flush(max(0.0, deadline_s - time.monotonic()))
    _HOOKS.uninstall()
    return is_complete


def counters() -> dict[str, int]:
    """Records since the start: written, dropped (the queue was full), failed (lines that a file or the console did not take)."""
    return {"written": WRITER.written, "dropped": WRITER.dropped, "failed": WRITER.failed}


def queue_depth() -> int:
    """Records that wait for the writer."""
    return len(WRITER.queue)


def _gate(*args: Any) -> Any:
    """structlog's logger factory: `structlog.get_logger(name)` of a library ends here."""
    return GATES.of(str(args[0]) if args else "structlog")


def _swap(chain: Sequence[Processor], outputs: Sequence[Output]) -> None:
    for old in WRITER.use(chain, outputs):
        old.sink.close()


def _tell(level: str, text: str) -> None:
    WRITER.tell({"info": 20, "error": 40}[level], text)


def _console(fd: int | None) -> Console | None:
    """None when the process was started without it: a file may have got its number since."""
    if fd is None or (fd == 2 and sys.__stderr__ is None):
        return None
    try:
        return Console(fd)
    except OSError:
        return None


def _file_renderer(form: str) -> Callable[[EventDict], bytes]:
    if form == "plain":
        return lambda event: (
            "\n".join([log_format.plain_line(event), *log_format.traceback_lines(event.get("exception") or ())]) + "\n"
        ).encode()
    render = log_format.json_line if form == "json" else log_format.detailed_line
    return lambda event: (render(event) + "\n").encode()


def _console_renderer(form: str, console: Console, environ: Mapping[str, str]) -> Callable[[EventDict], bytes]:
    colours = console.is_terminal and not environ.get("NO_COLOR") and environ.get("TERM", "") != "dumb"
    journal = console.is_journal(environ.get("JOURNAL_STREAM", ""))

    def render(event: EventDict) -> bytes:
        if form == "json":
            line = log_format.json_line(event)
        elif form == "detailed":
            line = log_format.detailed_line(event, colours=colours, with_time=not journal)
        else:
            line = log_format.plain_line(event, colours=colours, width=console.columns(), with_time=not journal)
        return ((log_format.with_priority(event, line) if journal else line) + "\n").encode()

    return render
