"""The daemon's end of the control socket: who may connect, how much they may send, and that none of them can hold up trading.

What a verb does is the handler's matter; here lines become requests and answers become lines.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from mia.control.messages import LINE_BYTES_MAX, Answer, Request
from mia.domain.errors import AlreadyRunning, ConfigError, DataError, MiaError, NotPermitted

Handler = Callable[[Request], Answer | Awaitable[Answer]]

REQUEST_BYTES_MAX: Final = 1 << 16  # requests are short; answers may be longer (LINE_BYTES_MAX)
_LAST_ANSWERS_S: Final = 1.0  # what `close` grants to answers under way
_UCRED: Final = struct.Struct("3i")  # pid, uid, gid
_EXAMPLE: Final = '{"verb": "status"}'
_log = logging.getLogger(__name__)


class ControlServer:
    """Listens on a socket file; each connection may ask several times, one JSON object a line, and gets one line for each."""

    def __init__(self, path: Path, handler: Handler, *, idle_s: float = 60.0, connections_max: int = 32) -> None:
        """handler: what a request does; it runs on the loop, so it must be short or awaitable.

        idle_s: a connection that sends or takes nothing for so long is closed.
        """
        self._path: Final = path
        self._handler: Final = handler
        self._idle_s: Final = idle_s
        self._connections_max: Final = connections_max
        self._decoder: Final = msgspec.json.Decoder(Request)
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._answering: Final[set[asyncio.Task[None]]] = set()
        self._server: asyncio.Server | None = None
        self._dir_fd = -1
        self._inode = 0

    async def start(self) -> None:
        """Bind and listen. DataError when something else than an old socket lies at the path, or the folder refuses."""
        try:
            self._dir_fd = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            listener = self._bind()
        except OSError as e:
            self._let_go()
            raise DataError(f"{self._path}: the control socket cannot be made ({e.strerror}): check the folder and its rights") from e
        except DataError:
            self._let_go()
            raise
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=REQUEST_BYTES_MAX)

    def _bind(self) -> socket.socket:
        """A listening socket of mode 0600. Bound through /proc, because the address holds 107 bytes and folders have longer names."""
        name = self._path.name
        self._remove_old(name)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            os.fchmod(listener.fileno(), 0o600)  # before bind: the file is never wider than this
            listener.bind(f"/proc/self/fd/{self._dir_fd}/{name}")
            self._inode = os.stat(name, dir_fd=self._dir_fd, follow_symlinks=False).st_ino
            listener.listen(self._connections_max)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener

    def _remove_old(self, name: str) -> None:
        """Whoever starts a server holds the state directory's lock, so a socket that is there belongs to a dead daemon."""
        try:
            mode = os.stat(name, dir_fd=self._dir_fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise DataError(f"{self._path}: is in the way of the control socket and is not a socket: move it away")
        os.unlink(name, dir_fd=self._dir_fd)

    async def close(self) -> None:
        """Stop listening, let answers under way go out, remove the socket file. Safe to call twice and without `start`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks - self._answering:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_ANSWERS_S)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_ANSWERS_S)
        self._let_go()

    def _let_go(self) -> None:
        if self._dir_fd < 0:
            return
        try:
            if self._inode and os.stat(self._path.name, dir_fd=self._dir_fd, follow_symlinks=False).st_ino == self._inode:
                os.unlink(self._path.name, dir_fd=self._dir_fd)
        except OSError:
            pass  # somebody removed it before us
        os.close(self._dir_fd)
        self._dir_fd = -1

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        refusal = self._refusal(writer)
        if refusal is not None:
            _log.warning("control_refused %s", refusal.error)
            writer.write(encode(refusal))
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="control-connection")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._answering.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("control_connection_failed", exc_info=task.exception())

    def _refusal(self, writer: asyncio.StreamWriter) -> Answer | None:
        peer = writer.get_extra_info("socket")
        _, uid, _ = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid not in (0, os.geteuid()):
            return Answer(ok=False, error=f"user id {uid} may not command this daemon: use the user it runs as, or root", exit_code=6)
        if len(self._tasks) >= self._connections_max:
            return Answer(ok=False, error=f"{len(self._tasks)} control connections are open already: close some", exit_code=5)
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            while self._server is not None:
                async with asyncio.timeout(self._idle_s):
                    line = await _read_line(reader)
                if line is None:
                    break
                self._answering.add(task)
                writer.write(encode(await self._answer(line)))
                async with asyncio.timeout(self._idle_s):
                    await writer.drain()
                self._answering.discard(task)
                await asyncio.sleep(0)  # many lines at once take turns with everything else on the loop
            writer.close()
        except (TimeoutError, ConnectionError):
            writer.transport.abort()  # silent, gone, or does not read: it gets no more of our memory
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Answer:
        if len(line) > REQUEST_BYTES_MAX:
            return Answer(ok=False, error=f"the line is longer than {REQUEST_BYTES_MAX} bytes", exit_code=2)
        try:
            request = self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            return Answer(ok=False, error=f"not a request ({e}): send one JSON object a line, such as {_EXAMPLE}", exit_code=2)
        try:
            answer = self._handler(request)
            return await answer if inspect.isawaitable(answer) else answer
        except MiaError as e:
            return Answer(ok=False, error=str(e), exit_code=_exit_code(e))
        except Exception as e:  # a verb's fault ends in its answer, not in the daemon
            _log.exception("control_verb_failed %s", request.verb)
            return Answer(ok=False, error=f"{request.verb} failed inside the daemon ({type(e).__name__}: {e})", exit_code=1)


def encode(answer: Answer) -> bytes:
    """One line. An answer that is no JSON or too long becomes one that says so."""
    try:
        line = msgspec.json.encode(answer)
    except (TypeError, ValueError, RecursionError) as e:
        line = msgspec.json.encode(Answer(ok=False, error=f"the answer cannot be sent ({e})", exit_code=1))
    if len(line) >= LINE_BYTES_MAX:
        line = msgspec.json.encode(Answer(ok=False, error=f"the answer has {len(line)} bytes, more than a line may have", exit_code=1))
    return line + b"\n"


async def _read_line(reader: asyncio.StreamReader) -> bytes | None:
    """The next line; None at the end. One that is too long is read to its end and given cut, one byte above the limit."""
    is_too_long = False
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError as e:
            await reader.readexactly(e.consumed)
            is_too_long = True
            await asyncio.sleep(0)
            continue
        return b" " * (REQUEST_BYTES_MAX + 1) if is_too_long else line


def _exit_code(error: MiaError) -> int:
    match error:
        case NotPermitted() | AlreadyRunning():
            return 6
        case ConfigError():
            return 4
        case _:
            return 1
