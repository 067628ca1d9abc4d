"""The other end: ask a running daemon one thing and wait for its answer. Blocking, for tools; imports next to nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from pathlib import Path
from typing import Final

import msgspec

from mia.control.messages import LINE_BYTES_MAX, SOCKET_NAME, Answer, Request, Status
from mia.domain.errors import DataError, NotPermitted, NotRunning

_NOBODY: Final = (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED)
_RETRY_S: Final = 0.02  # between tries while the daemon's queue of connections is full


def ask(state_dir: Path, request: Request, timeout_s: float) -> Answer:
    """The daemon's answer, good or bad.

    NotRunning: nobody listens, or the daemon went away. TimeoutError: no whole answer in timeout_s. NotPermitted: not our daemon.
    DataError: what came back is no answer.
    """
    deadline_s = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        try:
            _connect(connection, state_dir, deadline_s)
            _set_timeout(connection, deadline_s)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who is refused at the door has an answer waiting
                connection.sendall(msgspec.json.encode(request) + b"\n")
            line = _receive_line(connection, deadline_s)
        except TimeoutError:
            raise TimeoutError(f"miad did not answer `{request.verb}` within {timeout_s:g} s ({state_dir})") from None
    if not line.endswith(b"\n"):
        raise NotRunning(f"miad went away before it answered `{request.verb}`: whether it acted on it is not known ({state_dir})")
    try:
        return msgspec.json.decode(line, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise DataError(f"{state_dir / SOCKET_NAME}: what came back is no answer of miad ({e}): is it another version?") from e


def ask_status(state_dir: Path, timeout_s: float = 2.0) -> Status:
    """What the daemon says of itself; errors as of `ask`, and DataError when it refuses or speaks another version."""
    answer = ask(state_dir, Request(verb="status"), timeout_s)
    if not answer.ok:
        raise DataError(f"miad does not tell its status: {answer.error}")
    try:
        return msgspec.convert(answer.result, Status)
    except msgspec.ValidationError as e:
        raise DataError(f"miad's status does not fit this version of mia ({e}): use the mia of its version") from e


def _connect(connection: socket.socket, state_dir: Path, deadline_s: float) -> None:
    """Through /proc/self/fd, because an address holds 107 bytes and state directories have longer names."""
    try:
        dir_fd = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise _translated(e, state_dir) from e
    try:
        while True:
            _set_timeout(connection, deadline_s)
            try:
                connection.connect(f"/proc/self/fd/{dir_fd}/{SOCKET_NAME}")
                return
            except BlockingIOError:
                time.sleep(_RETRY_S)
    except TimeoutError:
        raise
    except OSError as e:
        raise _translated(e, state_dir) from e
    finally:
        os.close(dir_fd)


def _translated(error: OSError, state_dir: Path) -> Exception:
    if error.errno in _NOBODY:
        return NotRunning(f"miad is not running with {state_dir}: start it, or name another directory with --state")
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotPermitted(f"{state_dir / SOCKET_NAME}: belongs to another user: run mia as the user that runs miad, or as root")
    return DataError(f"{state_dir / SOCKET_NAME}: cannot be reached ({error.strerror})")


def _set_timeout(connection: socket.socket, deadline_s: float) -> None:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    connection.settimeout(left_s)


def _receive_line(connection: socket.socket, deadline_s: float) -> bytes:
    """Up to the newline, or what there was when the other end closed; DataError when it does not end."""
    line = bytearray()
    while not line.endswith(b"\n"):
        _set_timeout(connection, deadline_s)
        try:
            part = connection.recv(1 << 16)
        except ConnectionResetError:
            break
        if not part:
            break
        line += part
        if len(line) > LINE_BYTES_MAX:
            raise DataError(f"miad's answer is longer than {LINE_BYTES_MAX} bytes")
    return bytes(line)
