"""Tasks under the supervisor: the death of one is never silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mia.domain.errors import Transient
from miad.tasks import Supervisor


class Heard:
    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self.troubles: list[tuple[str, str]] = []


def supervised(test: Callable[[Supervisor, Heard], Coroutine[Any, Any, None]]) -> Heard:
    """Run the test on a loop with a supervisor that restarts at once."""
    heard = Heard()

    async def whole() -> None:
        tasks = Supervisor(heard.failures.append, lambda name, text: heard.troubles.append((name, text)), again_s=0.0)
        await test(tasks, heard)
        await tasks.close()

    asyncio.run(whole())
    return heard


def test_a_critical_task_that_fails_stops_the_process() -> None:
    async def broken() -> None:
        raise ValueError("no")

    async def test(tasks: Supervisor, heard: Heard) -> None:
        await asyncio.wait([tasks.start("decisions", broken, is_critical=True)])

    (failure,) = supervised(test).failures
    assert isinstance(failure, ValueError)


def test_a_critical_task_canceled_from_outside_stops_the_process() -> None:
    async def test(tasks: Supervisor, heard: Heard) -> None:
        task = tasks.start("decisions", asyncio.Event().wait, is_critical=True)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    (failure,) = supervised(test).failures
    assert "canceled from outside" in str(failure)


def test_a_critical_task_that_ends_by_itself_is_no_failure() -> None:
    async def test(tasks: Supervisor, heard: Heard) -> None:
        await asyncio.wait([tasks.start("decisions", lambda: asyncio.sleep(0), is_critical=True)])

    assert supervised(test).failures == []


@pytest.mark.parametrize("by", ["error", "cancel"])
def test_another_task_starts_again_and_its_trouble_is_told_and_named(by: str, caplog: pytest.LogCaptureFixture) -> None:
    lives: list[asyncio.Task[Any] | None] = []
    named: list[tuple[str, ...]] = []

    async def part() -> None:
        lives.append(asyncio.current_task())
        if by == "error" and len(lives) == 1:
            raise OSError("port taken")
        await asyncio.Event().wait()

    async def test(tasks: Supervisor, heard: Heard) -> None:
        task = tasks.start("metrics", part)
        await asyncio.sleep(0)
        if by == "cancel":
            task.cancel()
        while len(lives) < 2:
            await asyncio.sleep(0)
        named.append(tasks.names())

    heard = supervised(test)

    assert heard.failures == []
    text = "OSError: port taken" if by == "error" else "canceled from outside"
    assert heard.troubles == [("metrics", text)]
    assert named == [(f"metrics: {text}",)]
    assert text in caplog.text


def test_the_same_trouble_again_is_said_once_and_in_our_own_words(caplog: pytest.LogCaptureFixture) -> None:
    lives = []

    async def part() -> None:
        lives.append(1)
        if len(lives) < 5:
            raise Transient("port 9477 is taken" if len(lives) < 4 else "port 9477 is forbidden")

    async def test(tasks: Supervisor, heard: Heard) -> None:
        await asyncio.wait([tasks.start("endpoint", part, may_end=True)])

    supervised(test)

    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said == [f"task endpoint ended (port 9477 is {why}); it starts again in 0 s" for why in ("taken", "forbidden")]


def test_a_task_that_ends_well_after_trouble_is_out_of_it() -> None:
    lives = []

    async def part() -> None:
        lives.append(1)
        if len(lives) == 1:
            raise OSError("first")

    async def test(tasks: Supervisor, heard: Heard) -> None:
        await asyncio.wait([tasks.start("once", part, may_end=True)])
        assert tasks.troubles == {}

    assert [text for _, text in supervised(test).troubles] == ["OSError: first", ""]


def test_a_task_that_just_ends_though_nobody_said_it_may_is_in_trouble_and_starts_again() -> None:
    lives = []

    async def part() -> None:
        lives.append(1)
        if len(lives) == 2:
            await asyncio.Event().wait()

    async def test(tasks: Supervisor, heard: Heard) -> None:
        tasks.start("feed", part)
        while len(lives) < 2:
            await asyncio.sleep(0)
        assert tasks.names() == ("feed: ended by itself",)

    assert supervised(test).troubles == [("feed", "ended by itself")]


def test_closing_names_what_does_not_end_in_time() -> None:
    async def deaf() -> None:
        while True:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                await asyncio.sleep(0.2)
                raise

    async def whole() -> list[str]:
        tasks = Supervisor(lambda e: None, lambda name, text: None)
        tasks.start("deaf", deaf)
        tasks.start("polite", asyncio.Event().wait)
        await asyncio.sleep(0)
        return await tasks.close(timeout_s=0.01)

    assert asyncio.run(whole()) == ["deaf"]


def test_a_task_that_is_stopped_on_purpose_does_not_start_again() -> None:
    lives = []

    async def part() -> None:
        lives.append(1)
        await asyncio.Event().wait()

    async def test(tasks: Supervisor, heard: Heard) -> None:
        tasks.start("alerts", part)
        await asyncio.sleep(0)
        assert await tasks.stop("alerts")
        await asyncio.sleep(0.01)
        assert tasks.names() == ()

    heard = supervised(test)

    assert (lives, heard.troubles, heard.failures) == ([1], [], [])
