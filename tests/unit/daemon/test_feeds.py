"""Where a feed goes on after a restart, and what the command line takes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mia.settings import Settings, load_settings
from miad.clock import SystemClock
from miad.feeds import SimSource
from miad.options import parse
from miad.recovery import Recovered

ROOT = Path(__file__).resolve().parents[3]


def settings() -> Settings:
    return load_settings(ROOT / "config" / "miad.toml", environ={"HOME": "/nonexistent"}).settings


def recovered(feed: bytes = b"", events: int = 0) -> Recovered:
    return Recovered(snapshot_seq=1 if feed else 0, tail_events=0, feed=feed, feed_events=events, notes=())


def payloads(source: SimSource, n: int, done: int = 0, feed: bytes = b"", since: int = 0) -> list[bytes]:
    """n frames' contents without their times, which move with the clock."""
    _, frames, _, _ = source.resume(done, recovered(feed, since), SystemClock(), 1)
    return [body(next(frames)[1]) for _ in range(n)]


def body(payload: bytes) -> bytes:
    return payload[:8] + payload[16:]


@pytest.fixture(scope="module")
def expected() -> list[bytes]:
    return payloads(SimSource(settings()), 5000)


@pytest.mark.parametrize("done", [0, 1, 2, 500, 2047, 2048, 2049, 2050, 4500])
@pytest.mark.parametrize("is_held", [False, True], ids=["all used", "one held back"])
def test_a_checkpoint_knows_what_was_used_not_what_was_fetched(expected: list[bytes], done: int, is_held: bool) -> None:
    source = SimSource(settings())
    _, frames, _, _ = source.resume(0, recovered(), SystemClock(), 1)
    for _ in range(done + is_held):
        next(frames)
    blob = source.snapshot(done)

    assert payloads(SimSource(settings()), 300, done, blob) == expected[done : done + 300]


def test_events_after_the_checkpoint_are_not_sent_again(expected: list[bytes]) -> None:
    source = SimSource(settings())
    _, frames, _, _ = source.resume(0, recovered(), SystemClock(), 1)
    for _ in range(1000):
        next(frames)
    blob = source.snapshot(1000)

    assert payloads(SimSource(settings()), 100, 1700, blob, since=700) == expected[1700:1800]


def test_without_a_checkpoint_the_market_is_brought_to_its_place(expected: list[bytes]) -> None:
    assert payloads(SimSource(settings()), 100, 3210) == expected[3210:3310]


def test_a_resumed_market_goes_on_now_and_never_in_the_past() -> None:
    source = SimSource(settings())
    clock = SystemClock(floor_ns=4_000_000_000_000_000_000)
    before = clock.now_ns()

    _, frames, _, start_ns = source.resume(100, recovered(), clock, 1)
    first, second = next(frames)[0], next(frames)[0]

    assert start_ns >= before
    assert start_ns <= first <= second


def test_paper_is_the_default_and_speed_takes_max_or_a_number() -> None:
    options = parse([])

    assert (options.live, options.replay, options.speed, options.duration) == (False, None, 1.0, None)
    assert parse(["--speed", "max"]).speed == math.inf
    assert parse(["--speed", "2.5"]).speed == 2.5


def test_recordings_may_be_given_in_sequence() -> None:
    assert parse(["--replay", "a", "--replay", "b"]).replay == [Path("a"), Path("b")]


@pytest.mark.parametrize(
    "bad",
    [["--speed", "0"], ["--speed", "-1"], ["--speed", "nan"], ["--speed", "inf"], ["--speed", "fast"], ["--duration", "0"],
     ["--duration", "nan"], ["--paper", "--live"], ["--replay", "a", "--live"], ["--replay", "a", "--venue", "sim"], ["--nonsense"], ["x"]],
)  # fmt: skip
def test_wrong_use_is_exit_2(bad: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(bad)

    assert caught.value.code == 2
    assert "usage: miad" in capsys.readouterr().err
