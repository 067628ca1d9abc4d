"""The pipeline in this process: records through files and a pipe as the console."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from mia.telemetry import log
from mia.telemetry.log_hooks import StandardHandler
from mia.telemetry.log_logger import WRITER
from mia.telemetry.redact import HIDDEN
from mia.telemetry.settings import LoggingSettings

Start = Callable[..., None]


class Console:
    """A pipe in the place of the terminal."""

    def __init__(self) -> None:
        self.read_fd, self.fd = os.pipe()
        os.set_blocking(self.read_fd, False)

    def text(self) -> str:
        found = b""
        while True:
            try:
                data = os.read(self.read_fd, 1 << 16)
            except BlockingIOError:
                return found.decode()
            if not data:
                return found.decode()
            found += data


@pytest.fixture
def console() -> Iterator[Console]:
    made = Console()
    yield made
    os.close(made.read_fd)
    os.close(made.fd)


@pytest.fixture
def start(tmp_path: Path, console: Console) -> Iterator[Start]:
    WRITER.queue.clear()

    def begin(**settings: Any) -> None:
        log.configure(LoggingSettings(**settings), state_dir=tmp_path, console_fd=console.fd, environ={})

    yield begin
    log.shutdown(0.2)
    log.configure(LoggingSettings(), console_fd=None, hooks=False)
    log.shutdown()


def records(folder: Path) -> list[dict[str, Any]]:
    assert log.flush(10)
    return [json.loads(line) for line in (folder / "logs" / "miad.log").read_text().splitlines()]


def test_a_record_names_its_time_place_task_and_values(start: Start, tmp_path: Path, console: Console) -> None:
    start()

    async def trade() -> None:
        log.get_logger("miad.app", run=7).bind(side="buy").info("order_submitted", qty_lots=3)

    asyncio.run(trade())

    (record,) = (r for r in records(tmp_path) if r["logger"] == "miad.app")
    assert list(record) == ["ts", "level", "logger", "event", "run", "side", "qty_lots", "module", "function", "line", "task"]
    assert (record["run"], record["side"], record["qty_lots"], record["level"]) == (7, "buy", 3, "info")
    assert record["function"].endswith("trade")
    assert record["line"] == trade.__code__.co_firstlineno + 1
    assert record["task"].startswith("Task-")
    assert record["ts"].endswith("Z")
    assert len(record["ts"]) == len("2026-11-20T14:15:43.123456789Z")
    assert console.text().endswith("order submitted  run=7 side=buy qty_lots=3\n")


def test_levels_follow_the_longest_prefix_and_a_reload_reaches_every_logger(start: Start, tmp_path: Path) -> None:
    start(level="warning", levels={"a.b": "trace", "lib": "error"})
    ours, deep, library = log.get_logger("a"), log.get_logger("a.b.c"), logging.getLogger("lib.x")

    ours.info("hidden")
    deep.trace("shown")
    library.warning("hidden")
    log.configure(LoggingSettings(level="info"), state_dir=tmp_path, console_fd=None)
    ours.info("shown after reload")
    deep.trace("hidden")
    library.warning("shown after reload")

    assert [r["event"] for r in records(tmp_path)] == ["shown", "shown after reload", "shown after reload"]


def test_what_is_logged_before_settings_are_known_is_written_later(start: Start, tmp_path: Path) -> None:
    log.get_logger("early").info("before")

    start()

    assert [r["event"] for r in records(tmp_path)] == ["before"]


def test_containers_are_written_as_they_were_when_logged(start: Start, tmp_path: Path) -> None:
    start()
    levels = {"bids": [1, 2]}
    view = bytearray(b"frame")

    log.get_logger("x").info("book", levels=levels, frame=memoryview(view))
    levels["bids"].append(3)
    view[:] = b"other"

    (record,) = records(tmp_path)
    assert record["levels"] == {"bids": [1, 2]}
    assert "frame" in record["frame"]


def test_a_callers_key_cannot_replace_ours(start: Start, tmp_path: Path) -> None:
    start()

    log.get_logger("x").info("e", level="none", line=-1, ts=0)

    (record,) = records(tmp_path)
    assert (record["level"], record["level_"], record["line_"], record["ts_"]) == ("info", "none", -1, 0)


def test_the_standard_library_and_structlog_come_the_same_way(start: Start, tmp_path: Path) -> None:
    start()

    logging.getLogger("aiomqtt").warning("lost %s 100%%", "broker", extra={"attempt": 2})
    careless = logging.getLogger("careless")
    careless.handlers, careless.propagate = [StandardHandler()], False  # pytest's own handler would raise
    careless.error("bad %d", "not a number")
    structlog.get_logger("library").warning("hello", x=1)

    first, second, third = records(tmp_path)
    assert (first["event"], first["attempt"], first["logger"]) == ("lost broker 100%", 2, "aiomqtt")
    assert first["function"] == "test_the_standard_library_and_structlog_come_the_same_way"
    assert first["module"] == "test_log"
    assert "bad %d" in second["event"]
    assert (third["event"], third["x"], third["logger"]) == ("hello", 1, "library")


def test_warnings_unraisable_errors_and_threads_are_records(start: Start, tmp_path: Path, console: Console) -> None:
    start()

    class Bad:
        def __del__(self) -> None:
            raise OSError("in del")

    def dies() -> None:
        raise KeyError("in thread")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log._HOOKS.uninstall()
        log._HOOKS.install()
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        log._HOOKS.uninstall()
    log._HOOKS.install()
    Bad()
    thread = threading.Thread(target=dies, name="snapshot")
    thread.start()
    thread.join()

    found = {r["event"]: r for r in records(tmp_path)}
    assert found["old"]["category"] == "DeprecationWarning"
    assert found["thread_died"]["exception"][0]["type"] == "KeyError"
    assert found["thread_died"]["thread"] == "snapshot"
    assert any(r.get("exception", [{}])[0].get("message") == "in del" for r in found.values())
    assert len(console.text().splitlines()) == 3


def test_a_task_that_dies_unwatched_is_a_record(start: Start, tmp_path: Path) -> None:
    start()

    async def main() -> None:
        log.install_for(asyncio.get_running_loop())

        async def reader() -> None:
            raise ValueError("bad frame")

        task = asyncio.create_task(reader(), name="feed-reader")
        await asyncio.wait([task])
        del task
        gc.collect()

    asyncio.run(main())

    (record,) = (r for r in records(tmp_path) if r["logger"] == "asyncio")
    assert record["of_task"] == "feed-reader"
    assert record["exception"][0]["message"] == "bad frame"
    assert record["exception"][0]["frames"][-1]["function"].endswith("reader")


def test_a_full_queue_drops_counts_keeps_errors_and_says_so(start: Start, tmp_path: Path, console: Console) -> None:
    start(queue_max=100)
    hold, held = threading.Event(), threading.Event()

    def pause() -> None:
        held.set()
        hold.wait(30)

    before = log.counters()["dropped"]
    WRITER.queue.append(pause)
    assert held.wait(30)

    logger = log.get_logger("flood")
    for i in range(150):
        logger.info("many", i=i)
    logger.error("still seen")
    hold.set()

    found = records(tmp_path)
    log.flush(10)
    found = records(tmp_path)
    assert log.counters()["dropped"] - before == 50
    assert sum(r["event"] == "many" for r in found) == 100
    assert any(r["event"] == "still seen" for r in found)
    assert [r["dropped"] for r in found if r["event"] == "log_records_dropped"] == [50]


@pytest.mark.parametrize("form", ["plain", "detailed", "json"])
def test_a_registered_secret_leaves_by_no_path(start: Start, tmp_path: Path, console: Console, form: str) -> None:
    secret = "c4n4ry-s3cr3t"
    start(format=form, file_format=form, level="trace")
    log.register_secret(secret)
    logger = log.get_logger("x", bound=secret)

    class Holder:
        def __repr__(self) -> str:
            return f"Holder({secret})"

    def fails() -> None:
        c4n4ry = f"inner {secret}"
        raise ValueError(c4n4ry)

    def in_thread() -> None:
        raise RuntimeError(secret)

    logger.info(f"message {secret}", value=secret, nest={"a": [secret, {secret: 1}], "b": Holder()}, raw=secret.encode())
    try:
        try:
            fails()
        except ValueError as e:
            e.add_note(f"note {secret}")
            raise OSError(f"outer {secret}") from e
    except OSError:
        logger.exception("failed")
        logging.getLogger(f"lib.{secret}").exception("lib %s", secret, extra={"more": secret})
    try:
        raise ExceptionGroup(f"group {secret}", [ValueError(secret)])
    except ExceptionGroup:
        logger.exception("grouped")
    thread = threading.Thread(target=in_thread, name=secret)
    thread.start()
    thread.join()
    warnings.showwarning(secret, UserWarning, "x.py", 1)
    assert log.flush(10)

    written = (tmp_path / "logs" / "miad.log").read_text() + console.text()
    assert secret not in written
    assert written.count(HIDDEN) > 20


def test_the_console_has_one_line_and_the_file_the_traceback(start: Start, tmp_path: Path, console: Console) -> None:
    start()

    try:
        raise OSError("gone\nFORGED LINE")
    except OSError:
        log.get_logger("x").exception("link_failed")

    (record,) = records(tmp_path)
    assert record["exception"][0]["frames"][0]["source"] == 'raise OSError("gone\\nFORGED LINE")'
    (line,) = console.text().splitlines()
    assert r"(OSError: gone\nFORGED LINE, at test_log.py:" in line


def test_a_reader_that_stopped_costs_lines_but_no_time(start: Start, tmp_path: Path, console: Console) -> None:
    start(level="trace")
    failed = log.counters()["failed"]
    logger = log.get_logger("x")

    for i in range(9000):  # a pipe holds 64 kB, we keep 256 kB more
        logger.info("a line of some length, so that the pipe is full soon enough", i=i)
        if i % 1000 == 999:
            log.flush(10)

    assert len(records(tmp_path)) == 9000
    assert log.counters()["failed"] > failed
    first = console.text()
    assert first.count("\n") > 100
    logger.info("after")
    log.flush(10)
    assert all(line.startswith(("1", "0", "2")) for line in (first + console.text()).splitlines())  # whole lines


def test_log_exceptions_logs_once_and_raises_on(start: Start, tmp_path: Path) -> None:
    start()

    @log.log_exceptions
    def inner() -> None:
        raise ValueError("x")

    @log.log_exceptions(event="start_failed", level="critical")
    async def outer() -> None:
        inner()

    with pytest.raises(ValueError, match="x"):
        asyncio.run(outer())

    (record,) = (r for r in records(tmp_path) if r["logger"] == __name__)
    assert (record["event"], record["level"]) == ("call_failed", "error")
    assert record["call"].endswith("inner")


def test_log_execution_time_as_block_and_decorator(start: Start, tmp_path: Path) -> None:
    start(level="debug")

    @log.log_execution_time("compute", level="info")
    async def compute(x: int) -> int:
        return x + 1

    @log.log_execution_time("fails", level="info")
    def fails() -> None:
        raise OSError

    with log.log_execution_time("export"):
        pass
    with log.log_execution_time("quick", threshold_ms=1e6):
        pass
    assert asyncio.run(compute(1)) == 2
    with pytest.raises(OSError):
        fails()

    found = [r for r in records(tmp_path) if r["event"] == "operation_timed"]
    assert [(r["operation"], r["success"], r["level"]) for r in found] == [
        ("export", True, "debug"),
        ("compute", True, "info"),
        ("fails", False, "info"),
    ]
    assert all(r["took_ms"] >= 0 for r in found)


def test_the_file_rotates_by_size_and_keeps_so_many(start: Start, tmp_path: Path) -> None:
    start(file_mb_max=1, files_keep=2)
    logger = log.get_logger("x")

    for i in range(2200):
        logger.info("big", i=i, text="x" * 2000)
        if i % 100 == 99:
            assert log.flush(10)

    folder = tmp_path / "logs"
    assert sorted(p.name for p in folder.iterdir()) == ["miad.log", "miad.log.1", "miad.log.2"]
    parts = [[json.loads(line)["i"] for line in (folder / n).read_text().splitlines()] for n in ("miad.log.2", "miad.log.1", "miad.log")]
    kept = [i for part in parts for i in part]
    assert kept == list(range(kept[0], 2200))
    assert all((folder / n).stat().st_size <= 1 << 20 for n in ("miad.log", "miad.log.1", "miad.log.2"))


def test_a_file_that_cannot_be_written_is_one_clear_line_and_no_more(start: Start, tmp_path: Path, console: Console) -> None:
    (tmp_path / "logs").write_text("not a folder")
    start()

    for i in range(5):
        log.get_logger("x").info("tick", i=i)
        log.flush(10)
    log.flush(10)

    lines = console.text().splitlines()
    assert sum("tick" in line for line in lines) == 5
    (told,) = (line for line in lines if "cannot be written" in line)
    assert "miad.log" in told
    assert "console goes on" in told
    assert log.counters()["failed"] > 0


def test_a_processor_never_sees_a_secret(tmp_path: Path) -> None:
    seen: list[Any] = []

    def keep(logger: Any, level: str, event_dict: Any) -> Any:
        seen.append(dict(event_dict))
        return event_dict

    log.configure(LoggingSettings(), state_dir=tmp_path, console_fd=None, hooks=False, processors=[keep], environ={})
    try:
        log.get_logger("test").info("connected", api_key="canary-of-the-key")
        assert log.flush(10)
    finally:
        log.shutdown()

    (found,) = [event_dict for event_dict in seen if event_dict["event"] == "connected"]
    assert found["api_key"] == HIDDEN
    assert "canary" not in str(found)
