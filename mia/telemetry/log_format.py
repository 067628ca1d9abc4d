"""The three forms of a line: plain for a trader, detailed for a developer, JSON for machines. `mia logs` prints with them, too.

All take the event dict that `log_record` makes: plain, redacted data. Text is never evaluated; control characters are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from mia.telemetry.log_record import RESERVED

Format = Callable[[Mapping[str, Any]], str]

# C0 and C1 control characters, DEL, line and paragraph separators, and marks that turn the direction of text.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_BARE: Final = re.compile(r"[^\s\"'=\\]+")
_SNAKE: Final = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)+")
_NAMED: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

_LEVEL: Final = {"trace": "trace", "debug": "debug", "info": "info", "warning": "warn", "error": "error", "critical": "FATAL"}
_COLOUR: Final = {"trace": "2", "debug": "2", "warning": "33", "error": "31", "critical": "1;31"}
_INDENT: Final = " " * 15  # below the message of a plain line
_PRIORITY: Final = {"trace": 7, "debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def escape(text: str) -> str:
    """Text in which no character moves the cursor, ends the line or turns its direction."""
    return _UNSAFE.sub(_escaped, text) if _UNSAFE.search(text) else text


def _escaped(found: re.Match[str]) -> str:
    character = found.group()
    return _NAMED.get(character) or (f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}")


def json_line(event: Mapping[str, Any]) -> str:
    """One object a line. What JSON would pass through and a terminal would obey is written as \\uXXXX: lossless."""
    line = msgspec.json.encode(event).decode()
    return line if line.isascii() and "\x7f" not in line else _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", line)


def plain_line(event: Mapping[str, Any], *, colours: bool = False, width: int = 0, with_time: bool = True, with_date: bool = False) -> str:
    """`14:15:43 info  order filled  side=buy price=61250.1`: UTC, level, message, values; folded at `width` columns when given."""
    level = str(event.get("level", "info"))
    head = f"{_LEVEL.get(level, level):5} "
    if with_time:
        ts = str(event.get("ts", ""))
        head = f"{ts[:10]} {ts[11:19]} {head}" if with_date else f"{ts[11:19]:8} {head}"
    message = str(event.get("event", ""))
    message = escape(message.replace("_", " ") if _SNAKE.fullmatch(message) else message)
    parts = [f"{escape(str(key))}={_shown(value)}" for key, value in event.items() if key not in RESERVED]
    exception = event.get("exception")
    if exception:
        parts.append(f"({_summary(exception)})")
    text = _fold([message, *parts], width - len(head)) if width > 0 else f"{message}  {' '.join(parts)}".rstrip()
    colour = _COLOUR.get(level, "") if colours else ""
    return f"\x1b[{colour}m{head}{text}\x1b[0m" if colour else head + text


def detailed_line(event: Mapping[str, Any], *, colours: bool = False, with_time: bool = True) -> str:
    """Time to the microsecond, level, logger, message, values, then [module:function:line task]; a traceback below, indented."""
    level = str(event.get("level", "info"))
    colour = _COLOUR.get(level, "") if colours else ""
    head = f"{level:8} {escape(str(event.get('logger', '')) or '-')}: "
    if with_time:
        head = f"{str(event.get('ts', ''))[:26]}Z {head}"
    parts = [escape(str(event.get("event", "")))]
    parts += [f"{escape(str(key))}={_shown(value)}" for key, value in event.items() if key not in RESERVED]
    where = ":".join(escape(str(event.get(key, ""))) for key in ("module", "function", "line"))
    line = f"{head}{' '.join(parts)} [{where} {escape(str(event.get('task', '')))}]"
    if colour:
        line = f"\x1b[{colour}m{line}\x1b[0m"
    exception = event.get("exception")
    return "\n".join([line, *traceback_lines(exception)]) if exception else line


def traceback_lines(chain: Any, indent: str = "  | ") -> list[str]:
    """A structured exception as Python shows one, each line indented and escaped, so that none passes for a record."""
    lines: list[str] = []
    for entry in reversed(chain):
        lines.append("Traceback (most recent call last):")
        for frame in entry.get("frames", ()):
            lines.append(f'  File "{frame.get("file")}", line {frame.get("line")}, in {frame.get("function")}')
            if frame.get("source"):
                lines.append(f"    {frame['source']}")
        lines.append(f"{entry.get('type')}: {entry.get('message')}")
        lines.extend(str(note) for note in entry.get("notes", ()))
        for i, part in enumerate(entry.get("group", ()), 1):
            lines.append(f"-- {i} of the group:")
            lines.extend(traceback_lines(part, "  "))
        if entry.get("relation"):
            lines.append("-- which led to:" if entry["relation"] == "cause" else "-- while it was handled:")
    return [indent + escape(line) for line in lines]


def with_priority(event: Mapping[str, Any], line: str) -> str:
    """The line with the prefix by which journald learns its priority; each line of a traceback carries it."""
    prefix = f"<{_PRIORITY.get(str(event.get('level')), 6)}>"
    return prefix + line.replace("\n", f"\n{prefix}")


def _summary(chain: Any) -> str:
    """`ValueError: text, at link.py:41 in connect`: the exception of the record and the innermost place of it."""
    entry = chain[0]
    text = escape(f"{entry.get('type')}: {entry.get('message')}").rstrip(": ")
    text = text if len(text) <= 300 else text[:300] + "…"
    frames = entry.get("frames") or ()
    if not frames:
        return text
    last = frames[-1]
    return f"{text}, at {escape(str(last.get('file')).rpartition('/')[2])}:{last.get('line')} in {escape(str(last.get('function')))}"


def _shown(value: Any) -> str:
    """A value for people: bare when that is unambiguous, else quoted."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        return escape(msgspec.json.encode(value).decode())
    if _BARE.fullmatch(value):
        return escape(value)
    return escape('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"')


def _fold(parts: list[str], width: int) -> str:
    """Parts on lines of at most `width` columns, broken between parts or at spaces; later lines lie below the first."""
    room = max(20, width)
    first, *values = parts
    lines = [""]
    for n, word in enumerate([*first.split(" "), *(word for part in values for word in part.split(" "))]):
        gap = "" if not lines[-1] else "  " if n == first.count(" ") + 1 else " "  # the message stands apart from its values
        if lines[-1] and len(lines[-1]) + len(gap) + len(word) > room:
            lines.append(word)
        else:
            lines[-1] += gap + word
    return f"\n{_INDENT}".join(lines)
