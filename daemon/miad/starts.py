"""What a state directory remembers of lives before this one: bad ends in a row, and the operator's kill.

A life that does not say how it ended (kill -9, an error, power) ended badly. The third within ten minutes makes the next
start SAFE, until the operator resets. The kill flag is a file of its own, so that a damaged journal does not undo it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path
from typing import Final

import msgspec

from mia.domain.events import AnyEvent, Kill, TradingDisabled
from mia.engine.engine import SAFE_MODE

_WITHIN_S: Final = 600.0
_ENDS_MAX: Final = 3
_log = logging.getLogger("miad.starts")


class _Lives(msgspec.Struct):
    is_running: bool = False
    is_safe: bool = False
    bad_ends_s: list[float] = []  # wall seconds at which each was noticed: the start that followed


class Starts:
    """`starts.json` of a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._path: Final = state_dir / "starts.json"
        self._has_begun = False
        try:
            self._lives = msgspec.json.decode(self._path.read_bytes(), type=_Lives)
        except FileNotFoundError:
            self._lives = _Lives()
        except (OSError, msgspec.MsgspecError) as e:
            _log.warning("%s: cannot be read (%s): bad ends are counted anew", self._path, e)
            self._lives = _Lives()

    def begin(self, now_s: float | None = None) -> bool:
        """A life begins; True when it has to be SAFE."""
        now_s = time.time() if now_s is None else now_s
        lives = self._lives
        lives.bad_ends_s = [s for s in lives.bad_ends_s if 0 <= now_s - s <= _WITHIN_S]
        if lives.is_running:
            lives.bad_ends_s.append(now_s)
            _log.warning(
                "the run before ended without a word (killed, power lost?), bad end %d within %g minutes; number %d makes it SAFE",
                len(lives.bad_ends_s), _WITHIN_S / 60, _ENDS_MAX,
            )  # fmt: skip
        lives.is_safe = lives.is_safe or len(lives.bad_ends_s) >= _ENDS_MAX
        lives.is_running = self._has_begun = True
        self._write()
        return lives.is_safe

    def end(self) -> None:
        """This life ends well. One that was refused before it began leaves the end of the last one as it was."""
        if self._has_begun:
            self._lives.is_running = False
            self._write()

    def reset(self) -> None:
        """The operator's word: what was is forgiven."""
        self._lives.is_safe = False
        self._lives.bad_ends_s = []
        self._write()

    def _write(self) -> None:
        try:
            durable(self._path, msgspec.json.encode(self._lives))
        except OSError as e:
            _log.warning("%s: cannot be written (%s): a crash loop would not be noticed", self._path, e.strerror)


class KillFlag:
    """The file `killed`: there while the operator's kill holds; its text is the reason."""

    def __init__(self, state_dir: Path) -> None:
        self._path: Final = state_dir / "killed"

    @property
    def reason(self) -> str | None:
        """Why; None when not killed."""
        try:
            return self._path.read_text(encoding="utf-8", errors="replace").strip() or "killed"
        except FileNotFoundError:
            return None
        except OSError:
            return "the kill flag cannot be read"  # then it holds

    def set(self, reason: str) -> None:
        """On the disk when it returns; OSError."""
        durable(self._path, reason.encode() + b"\n")

    def clear(self) -> None:
        """The operator's reset; OSError."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
            _sync_folder(self._path.parent)


def first_events(starts: Starts, flag: KillFlag, *, is_killed: bool) -> list[AnyEvent]:
    """A life begins: what stands before anything is decided in it: SAFE after bad ends, a kill that the journal may have lost."""
    first: list[AnyEvent] = []
    if starts.begin():
        first.append(TradingDisabled(0, 0, 0, SAFE_MODE))
    why = flag.reason
    if why is not None and not is_killed:
        first.append(Kill(0, 0, 0, "daemon", why))
    return first


def durable(path: Path, data: bytes) -> None:
    """Replace a small file, on the disk when it returns; OSError."""
    draft = path.with_suffix(".tmp")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
