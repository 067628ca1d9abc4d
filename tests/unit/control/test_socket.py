"""The control socket with both real ends: what is answered, who is refused, and what none of them can do to the daemon."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mia.control.client import ask, ask_status
from mia.control.messages import LINE_BYTES_MAX, SOCKET_NAME, Answer, Request, Status
from mia.control.server import REQUEST_BYTES_MAX, ControlServer, Handler
from mia.domain.errors import DataError, NotPermitted, NotRunning

NEW_LOOP = [asyncio.new_event_loop]


@pytest.fixture(autouse=True, params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def _event_loop_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "NEW_LOOP", [request.param])


def echo(request: Request) -> Answer:
    return Answer(ok=True, result={"verb": request.verb, "args": request.args})


@contextmanager
def serving(folder: Path, handler: Handler = echo, **options: Any) -> Iterator[asyncio.AbstractEventLoop]:
    """A ControlServer on a loop in a thread of its own; the loop."""
    loop = NEW_LOOP[-1]()
    server = ControlServer(folder / SOCKET_NAME, handler, **options)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def connect(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    connection.connect(str(folder / SOCKET_NAME))
    return connection


def lines(connection: socket.socket, n: int) -> list[dict[str, Any]]:
    with connection.makefile("rb") as file:
        return [json.loads(file.readline()) for _ in range(n)]


def test_a_request_gets_its_answer(tmp_path: Path) -> None:
    with serving(tmp_path):
        answer = ask(tmp_path, Request(verb="pause", args={"reason": "lunch"}), 5)

    assert answer == Answer(ok=True, result={"verb": "pause", "args": {"reason": "lunch"}})


def test_a_handler_may_take_its_time_without_holding_up_others(tmp_path: Path) -> None:
    release = threading.Event()

    async def handler(request: Request) -> Answer:
        if request.verb == "slow":
            while not release.is_set():
                await asyncio.sleep(0.005)
        return echo(request)

    with serving(tmp_path, handler), connect(tmp_path) as slow:
        slow.sendall(b'{"verb": "slow"}\n')
        fast = ask(tmp_path, Request(verb="fast"), 5)
        release.set()
        late = lines(slow, 1)[0]

    assert fast.result["verb"] == "fast"
    assert late["result"]["verb"] == "slow"


def test_one_connection_asks_many_times_and_in_bulk(tmp_path: Path) -> None:
    with serving(tmp_path), connect(tmp_path) as connection:
        connection.sendall(b"".join(json.dumps({"verb": f"v{i}"}).encode() + b"\n" for i in range(500)))
        found = [answer["result"]["verb"] for answer in lines(connection, 500)]

    assert found == [f"v{i}" for i in range(500)]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"verb": 1}',
        b'{"verb": "x", "more": 1}',
        b"\xff\xfe",
        b"[" * 60_000,
        b"x" * (3 * REQUEST_BYTES_MAX),
    ],
    ids=["empty", "text", "list", "no verb", "number", "unknown key", "bytes", "deep", "too long"],
)
def test_a_bad_line_is_explained_and_the_next_is_answered(tmp_path: Path, line: bytes) -> None:
    with serving(tmp_path), connect(tmp_path) as connection:
        connection.sendall(line + b'\n{"verb": "ping"}\n')
        bad, good = lines(connection, 2)

    assert (bad["ok"], bad["exit_code"]) == (False, 2)
    assert "not a request" in bad["error"] or "longer than" in bad["error"]
    assert good["result"]["verb"] == "ping"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [(NotPermitted("not while killed"), 6, "not while killed"), (DataError("odd"), 1, "odd"), (KeyError("oops"), 1, "KeyError")],
)
def test_a_verb_that_raises_is_an_answer(tmp_path: Path, error: Exception, code: int, text: str) -> None:
    def handler(request: Request) -> Answer:
        if request.verb == "bad":
            raise error
        return echo(request)

    with serving(tmp_path, handler):
        bad, good = ask(tmp_path, Request(verb="bad"), 5), ask(tmp_path, Request(verb="good"), 5)

    assert (bad.ok, bad.exit_code) == (False, code)
    assert text in bad.error
    assert good.ok


@pytest.mark.parametrize("result", [object(), "x" * LINE_BYTES_MAX], ids=["no JSON", "too long"])
def test_an_answer_that_cannot_be_sent_says_so(tmp_path: Path, result: object) -> None:
    with serving(tmp_path, lambda request: Answer(ok=True, result=result)):
        answer = ask(tmp_path, Request(verb="x"), 5)

    assert not answer.ok
    assert "answer" in answer.error


def test_only_the_owner_can_open_the_socket_and_it_goes_with_the_server(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with serving(tmp_path):
            mode = (tmp_path / SOCKET_NAME).lstat().st_mode
    finally:
        os.umask(old)

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert not (tmp_path / SOCKET_NAME).exists()


def test_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mia.control.server._UCRED", _SomebodyElse())
    with serving(tmp_path):
        answer = ask(tmp_path, Request(verb="kill"), 5)

    assert (answer.ok, answer.exit_code) == (False, 6)
    assert "4242" in answer.error


class _SomebodyElse:
    size = 12

    def unpack(self, data: bytes) -> tuple[int, int, int]:
        return 1, 4242, 4242


def test_connections_are_capped_and_come_free_again(tmp_path: Path) -> None:
    with serving(tmp_path, connections_max=2):
        held = [connect(tmp_path) for _ in range(2)]
        for connection in held:
            connection.sendall(b'{"verb": "ping"}\n')
            lines(connection, 1)
        refused = ask(tmp_path, Request(verb="status"), 5)
        for connection in held:
            connection.close()
        until(lambda: ask(tmp_path, Request(verb="status"), 5).ok)

    assert (refused.ok, refused.exit_code) == (False, 5)
    assert "2 control connections" in refused.error


def test_a_silent_connection_is_closed(tmp_path: Path) -> None:
    with serving(tmp_path, idle_s=0.05), connect(tmp_path) as silent, connect(tmp_path) as half:
        half.sendall(b'{"verb"')

        assert silent.recv(1) == b""
        assert half.recv(1) == b""


def test_a_client_that_does_not_read_is_dropped_and_others_are_served(tmp_path: Path) -> None:
    big = "x" * (LINE_BYTES_MAX // 2)
    with serving(tmp_path, lambda request: Answer(ok=True, result=big), idle_s=0.1), connect(tmp_path) as deaf:
        deaf.sendall(b'{"verb": "x"}\n' * 50)
        answers = [ask(tmp_path, Request(verb="y"), 5).ok for _ in range(3)]
        until(lambda: is_reset(deaf))

    assert answers == [True] * 3


def is_reset(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"\n")
    except OSError:
        return True
    return False


def until(claim: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(tmp_path / SOCKET_NAME))

    with pytest.raises(NotRunning):
        ask(tmp_path, Request(verb="ping"), 5)
    with serving(tmp_path):
        assert ask(tmp_path, Request(verb="ping"), 5).ok


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("/tmp")], ids=["folder", "file", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / SOCKET_NAME)

    with pytest.raises(DataError, match="not a socket"):
        asyncio.run(ControlServer(tmp_path / SOCKET_NAME, echo).start())

    assert os.path.lexists(tmp_path / SOCKET_NAME)


def test_a_state_directory_with_a_very_long_name_works(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120) / ("y" * 120)
    folder.mkdir(parents=True)

    with serving(folder):
        assert ask(folder, Request(verb="ping"), 5).ok
        assert stat.S_ISSOCK((folder / SOCKET_NAME).lstat().st_mode)
    assert not (folder / SOCKET_NAME).exists()


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_nobody_there_is_not_running(tmp_path: Path, folder: str) -> None:
    with pytest.raises(NotRunning, match="not running"):
        ask(tmp_path / folder, Request(verb="status"), 1)


def test_a_file_in_place_of_the_socket_is_not_running(tmp_path: Path) -> None:
    (tmp_path / SOCKET_NAME).touch()

    with pytest.raises(NotRunning):
        ask(tmp_path, Request(verb="status"), 1)


@contextmanager
def saying(folder: Path, text: bytes, *, stays: bool = False) -> Iterator[None]:
    """A server that answers anything with these bytes and hangs up, unless it `stays`."""
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(folder / SOCKET_NAME))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(1 << 16)
            connection.sendall(text)
            if stays:
                connection.recv(1)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def test_garbage_is_a_data_error(tmp_path: Path) -> None:
    with saying(tmp_path, b"HTTP/1.1 400\n"), pytest.raises(DataError, match="no answer of miad"):
        ask(tmp_path, Request(verb="status"), 5)


def test_a_daemon_that_dies_while_answering_is_not_running(tmp_path: Path) -> None:
    with saying(tmp_path, b'{"ok": tr'), pytest.raises(NotRunning, match="is not known"):
        ask(tmp_path, Request(verb="flatten"), 5)


def test_no_answer_in_time_is_a_timeout(tmp_path: Path) -> None:
    with saying(tmp_path, b'{"ok": tr', stays=True), pytest.raises(TimeoutError, match="did not answer `status`"):
        ask(tmp_path, Request(verb="status"), 0.05)


def test_a_stopped_daemon_is_a_timeout(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / SOCKET_NAME))
        listener.listen(0)
        with closing(connect(tmp_path)), pytest.raises(TimeoutError):  # the queue of connections is full
            ask(tmp_path, Request(verb="status"), 0.1)


def test_a_status_of_another_version_is_a_data_error(tmp_path: Path) -> None:
    with serving(tmp_path, lambda request: Answer(ok=True, result={"version": "9"})), pytest.raises(DataError, match="version"):
        ask_status(tmp_path)


def test_a_status_arrives_as_it_was_given(tmp_path: Path) -> None:
    status = Status(
        version="1",
        instance="mia",
        mode="paper",
        venue="demo",
        run=3,
        pid=7,
        state="READY",
        ts="2026-01-01T00:00:00Z",
        refused={"warm_up": 2},
    )
    with serving(tmp_path, lambda request: Answer(ok=True, result=status)):
        assert ask_status(tmp_path) == status


def test_closing_lets_an_answer_under_way_go_out(tmp_path: Path) -> None:
    async def handler(request: Request) -> Answer:
        await asyncio.sleep(0.1)
        return echo(request)

    with serving(tmp_path, handler):
        connection, idle = connect(tmp_path), connect(tmp_path)
        connection.sendall(b'{"verb": "kill"}\n')
        time.sleep(0.03)

    assert lines(connection, 1)[0]["result"]["verb"] == "kill"
    assert idle.recv(1) == b""
    connection.close()
    idle.close()
