"""What a logging call captures, and how the writer turns it into the event dict of the processor chain.

The capture keeps references and makes no text: names of functions, line numbers, tasks and tracebacks are looked up by the writer.
"""

from __future__ import annotations

import functools
import linecache
import time
from asyncio import Task
from collections.abc import MutableMapping
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, Final, NamedTuple

from mia.telemetry.log_levels import name_of
from mia.telemetry.redact import Redactor

EventDict = MutableMapping[str, Any]
# Keys of a line that are ours; a value of the caller with such a name gets a trailing underscore.
HEAD: Final = ("ts", "level", "logger", "event")
TAIL: Final = ("module", "function", "line", "task", "exception")
RESERVED: Final = frozenset(HEAD + TAIL)
_FRAMES_MAX: Final = 50
_CHAIN_MAX: Final = 8


class Place(NamedTuple):
    """Where a record of the standard library was made."""

    module: str
    function: str
    line: int


class Caught(NamedTuple):
    """An exception with the traceback that it had when it was logged (it grows as it is raised on)."""

    error: BaseException
    traceback: TracebackType | None


# ts_ns, level, logger, event, bound context, values, code or Place, offset of the instruction, task or name of the thread, exception
Record = tuple[int, int, str, Any, dict[str, Any], dict[str, Any], CodeType | Place | None, int, "Task[Any] | str", Caught | None]


class Expander:
    """Records -> event dicts of plain, redacted data: the first processor's work, before any other sees a value."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor: Final = redactor
        self._places: Final[dict[tuple[CodeType, int], Place]] = {}
        self._second = -1
        self._second_text = ""

    def event_dict(self, record: Record) -> EventDict:
        """The values of the caller as they are, redaction to come; `_record` carries the rest to `redact`."""
        _, _, _, event, context, values, _, _, _, _ = record
        return {**context, **values, "event": event, "_record": record}

    def redact(self, logger: Any, method: str, event_dict: EventDict) -> EventDict:
        """structlog processor: everything of an event dict as plain data without secrets, in the order in which it is written."""
        record: Record = event_dict.pop("_record")
        ts_ns, level, name, _, _, _, where, offset, task, caught = record
        text, value = self._redactor.text, self._redactor.value
        event = event_dict.pop("event")
        plain: EventDict = {
            "ts": self._iso(ts_ns),
            "level": name_of(level),
            "logger": text(name),
            "event": text(event) if type(event) is str else text(str(value("", event))),
        }
        for key, item in event_dict.items():
            shown = text(key)
            plain[f"{shown}_" if shown in RESERVED else shown] = value(key, item)
        place = where if isinstance(where, Place) else self._place(where, offset)
        plain["module"], plain["function"], plain["line"] = place
        plain["task"] = text(task if isinstance(task, str) else task.get_name())
        if caught is not None:
            plain["exception"] = self._exception(caught)
        return plain

    def _iso(self, ts_ns: int) -> str:
        second, ns = divmod(ts_ns, 1_000_000_000)
        if second != self._second:
            self._second, self._second_text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{ns:09d}Z"

    def _place(self, code: CodeType | None, offset: int) -> Place:
        if code is None:
            return Place("", "", 0)
        place = self._places.get((code, offset))
        if place is None:
            line = next((n for start, end, n in code.co_lines() if start <= offset < end and n), code.co_firstlineno)
            place = Place(module_of(code.co_filename), code.co_qualname, line)
            if len(self._places) < 4096:
                self._places[code, offset] = place
        return place

    def _exception(self, caught: Caught) -> list[dict[str, Any]]:
        """The exception and what caused it, the outermost first, each with its frames, the innermost last."""
        chain: list[dict[str, Any]] = []
        seen: set[int] = set()
        error: BaseException | None = caught.error
        traceback = caught.traceback
        relation = ""
        while error is not None and id(error) not in seen and len(chain) < _CHAIN_MAX:
            seen.add(id(error))
            entry: dict[str, Any] = {
                "type": type(error).__name__,
                "message": self._message(error),
                "frames": self._frames(traceback),
            }
            if relation:
                entry["relation"] = relation
            notes = getattr(error, "__notes__", None)
            if isinstance(notes, list) and notes:
                entry["notes"] = [self._redactor.text(str(note)) for note in notes[:_FRAMES_MAX]]
            if isinstance(error, BaseExceptionGroup):
                entry["group"] = [self._exception(Caught(e, e.__traceback__)) for e in error.exceptions[:_CHAIN_MAX]]
            chain.append(entry)
            if error.__cause__ is not None:
                error, relation = error.__cause__, "cause"
            else:
                error, relation = (None if error.__suppress_context__ else error.__context__), "context"
            traceback = error.__traceback__ if error is not None else None
        return chain

    def _message(self, error: BaseException) -> str:
        try:
            return self._redactor.text(str(error))
        except Exception as e:
            return f"<text raised {type(e).__name__}>"

    def _frames(self, traceback: TracebackType | None) -> list[dict[str, Any]]:
        frames: list[dict[str, Any]] = []
        while traceback is not None:
            code = traceback.tb_frame.f_code
            line = traceback.tb_lineno or code.co_firstlineno
            source = linecache.getline(code.co_filename, line, traceback.tb_frame.f_globals).strip()
            frames.append({"file": code.co_filename, "line": line, "function": code.co_qualname, "source": self._redactor.text(source)})
            traceback = traceback.tb_next
        half = _FRAMES_MAX // 2
        if len(frames) > _FRAMES_MAX:  # endless recursion: both ends tell the story
            skipped = {"file": "…", "line": 0, "function": f"{len(frames) - _FRAMES_MAX} frames", "source": ""}
            frames = [*frames[:half], skipped, *frames[-half:]]
        return frames


@functools.lru_cache(1024)
def module_of(file_name: str) -> str:
    """mia.venues.binance.link for .../mia/venues/binance/link.py, else the file's name."""
    path = Path(file_name)
    parts = path.with_suffix("").parts
    for root in ("mia", "miad"):
        if root in parts:
            at = len(parts) - 1 - parts[::-1].index(root)
            return ".".join(parts[at:]).removesuffix(".__init__")
    return path.stem
