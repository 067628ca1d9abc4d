"""How values are written where people and other programs read them: times, numbers, lines of CSV."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime


def iso_time(ts_ns: int) -> str:
    """UTC ISO 8601 with microseconds, cut not rounded."""
    seconds, rest = divmod(ts_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def number(value: object) -> str:
    """A float to 6 digits, the shortest text that reads back; empty for NaN (SQLite stores it as NULL)."""
    if value is None or not isinstance(value, (int, float)) or value != value:
        return ""
    return repr(round(float(value), 6) + 0.0)


def csv_line(fields: Iterable[object]) -> str:
    """One RFC 4180 line."""
    out = []
    for field in fields:
        text = str(field)
        if any(c in text for c in ',"\r\n'):
            text = '"' + text.replace('"', '""') + '"'
        out.append(text)
    return ",".join(out) + "\n"
