"""`mia logs`: the daemon's log file for people, also while it is being written and rotated. Needs no running daemon."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mia.cli.places import ConfigOption, JsonOption, StateOption

_BLOCK: Final = 1 << 16
_LINE_MAX: Final = 1 << 22
_POLL_S: Final = 0.2
Keep = Callable[[bytes], str | None]


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on, over rotations.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, max=1_000_000, help="How many, the newest.")] = 50,
    level: Annotated[
        str, typer.Option("--level", metavar="LEVEL", help="At least: trace, debug, info, warning, error, critical.")
    ] = "trace",
    grep: Annotated[str, typer.Option("--grep", metavar="TEXT", help="Only lines with this text, in any case of letters.")] = "",
    detailed: Annotated[bool, typer.Option("--detailed", help="With logger, place, task and tracebacks.")] = False,
    state: StateOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the newest lines of the daemon's log, the newest last. --json prints them as they lie, one object a line."""
    from mia.cli.output import print_note
    from mia.cli.places import missing, state_dir
    from mia.domain.errors import DataError
    from mia.telemetry.log_levels import number_of

    path = state_dir(state, config)
    if not path.is_dir():
        raise DataError(missing(path))
    try:
        keep = _keep(number_of(level), grep.lower(), detailed, as_json)
    except ValueError as e:
        raise typer.BadParameter(str(e), param_hint="--level") from e
    log = path / "logs" / "miad.log"
    tail = Tail(log) if follow else None  # opened first: what is written while the past is read is not missed
    shown = newest(log, lines, keep, until=tail.position() if tail is not None else None)
    for text in shown:
        print(text)
    if not shown and not follow:
        print_note(f"no lines in {log}" if log.exists() else f"{log}: not there; [logging] file = false, or miad has not run with it yet")
    if tail is not None:
        try:
            _follow(tail, keep)
        except KeyboardInterrupt:
            return


def _follow(tail: Tail, keep: Keep) -> None:
    sys.stdout.flush()
    while True:
        found = False
        for line in tail.lines():
            text = keep(line)
            if text is not None:
                found = True
                print(text)
        if found:
            sys.stdout.flush()
        time.sleep(_POLL_S)


def _keep(level: int, grep: str, detailed: bool, as_json: bool) -> Keep:
    """How a line is shown; None when it was not asked for. A line that is no record is shown as it is, escaped."""
    import msgspec

    from mia.telemetry.log_format import detailed_line, escape, json_line, plain_line
    from mia.telemetry.log_levels import NUMBERS

    is_terminal = sys.stdout.isatty()
    colours = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = os.get_terminal_size(sys.stdout.fileno()).columns if is_terminal else 0
    today = time.strftime("%Y-%m-%d", time.gmtime())

    def show(event: dict[str, Any]) -> str:
        if detailed:
            return detailed_line(event, colours=colours)
        return plain_line(event, colours=colours, width=width, with_date=not str(event.get("ts", "")).startswith(today))

    def keep(line: bytes) -> str | None:
        raw = line.decode("utf-8", "backslashreplace").rstrip("\n")
        try:
            event = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            event = None
        try:
            text = show(event) if isinstance(event, dict) and "event" in event else ""
        except (TypeError, ValueError, LookupError, AttributeError):  # JSON, but not as we write it
            text = ""
        if not text:
            if not raw.strip("\0 ") or grep not in raw.lower():
                return None
            return json_line({"damaged": raw}) if as_json else f"damaged: {escape(raw)}"
        if NUMBERS.get(str(event.get("level")), 100) < level:
            return None
        if grep and grep not in raw.lower() and grep not in text.lower():
            return None
        return json_line(event) if as_json else text

    return keep


def newest(log: Path, n: int, keep: Keep, until: tuple[int, int] | None = None) -> list[str]:
    """The last n lines that keep takes, oldest first, over the rotated files. until: (inode, offset) where a follower goes on."""
    shown: list[str] = []
    for path in (log, *_older(log)):
        for line in _backwards(path, until):
            if len(shown) >= n:
                return shown[::-1]
            text = keep(line)
            if text is not None:
                shown.append(text)
    return shown[::-1]


def _older(log: Path) -> Iterator[Path]:
    n = 1
    while (path := log.with_name(f"{log.name}.{n}")).exists():
        yield path
        n += 1


def _backwards(path: Path, until: tuple[int, int] | None) -> Iterator[bytes]:
    """Lines of a file, the last one first."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        found = os.fstat(file.fileno())
        end = min(found.st_size, until[1]) if until is not None and until[0] == found.st_ino else found.st_size
        rest = b""
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            head, *whole = (file.read(end - start) + rest).split(b"\n")
            yield from (line for line in reversed(whole) if line)
            rest, end = head[-_LINE_MAX:], start
        if rest:
            yield rest


class Tail:
    """What is appended to a log from now on. Knows its file by inode: one that was rotated is read to its end, then the next."""

    def __init__(self, log: Path) -> None:
        """Begins at the end of what is there; a file that is not there yet is read from its beginning."""
        self._log = log
        self._file = self._open()
        self._rest = b""
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def position(self) -> tuple[int, int] | None:
        """(inode, offset) of the next byte; None when there is no file."""
        return (os.fstat(self._file.fileno()).st_ino, self._file.tell()) if self._file is not None else None

    def lines(self) -> Iterator[bytes]:
        """Whole lines that were added since the last call."""
        if self._file is None:
            self._file = self._open()
            if self._file is None:
                return
        yield from self._read()
        while (following := self._next()) is not None:
            yield from self._read()  # what was written before it was rotated
            if self._rest:
                yield self._rest
                self._rest = b""
            self._file.close()
            self._file = following
            yield from self._read()

    def _read(self) -> Iterator[bytes]:
        assert self._file is not None
        if os.fstat(self._file.fileno()).st_size < self._file.tell():  # emptied in place
            self._file.seek(0)
            self._rest = b""
        while data := self._file.read(_BLOCK):
            *whole, self._rest = (self._rest + data).split(b"\n")
            self._rest = self._rest[-_LINE_MAX:]
            yield from (line for line in whole if line)

    def _open(self, path: Path | None = None) -> Any:
        try:
            return (path or self._log).open("rb")
        except FileNotFoundError:
            return None

    def _next(self) -> Any:
        """The file that came after ours, opened; None while ours is the newest."""
        inode = os.fstat(self._file.fileno()).st_ino
        newer: Path | None = None
        for path in (self._log, *_older(self._log)):
            try:
                if path.stat().st_ino == inode:
                    return self._open(newer) if newer is not None else None
            except FileNotFoundError:
                continue
            newer = path
        return self._open(newer) if newer is not None else None  # ours is gone: on with the oldest that is there
