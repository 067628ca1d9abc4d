"""Timings: quantiles of known durations, bounded memory, failures, both kinds of functions."""

from __future__ import annotations

import asyncio
import random
import sys

import pytest

from mia.telemetry.histogram import BUCKETS, Histogram
from mia.telemetry.tracker import OPERATIONS_MAX, OTHER, OperationTracker


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        return self.now


def test_quantiles_are_at_most_a_sixteenth_above_the_true_ones_and_never_below() -> None:
    draw = random.Random(7)
    durations = [int(draw.lognormvariate(11, 2)) for _ in range(20_000)]
    histogram = Histogram()

    for duration in durations:
        histogram.add(duration)

    ordered = sorted(durations)
    shares = (0.0, 0.001, 0.5, 0.95, 0.99, 1.0)
    for share, got in zip(shares, histogram.quantiles_ns(*shares), strict=True):
        true = ordered[max(1, -int(-share * len(ordered) // 1)) - 1]
        assert true <= got <= true * (1 + 1 / 16)
    assert histogram.distribution().max_ms == ordered[-1] / 1e6
    assert histogram.distribution().mean_ms == pytest.approx(sum(durations) / len(durations) / 1e6)


@pytest.mark.parametrize("duration_ns", [-5, 0, 1, 15, 16, 17, 31, 32, (1 << 44) - 1, 1 << 44, 1 << 62])
def test_any_duration_has_a_bucket(duration_ns: int) -> None:
    histogram = Histogram()

    histogram.add(duration_ns)

    assert histogram.n == 1
    assert histogram.quantiles_ns(0.5)[0] <= max(0, duration_ns)
    assert BUCKETS * 8 < 6_000


def test_an_empty_histogram_says_zero() -> None:
    assert Histogram().quantiles_ns(0.5, 0.99) == [0, 0]
    assert Histogram().distribution().n == 0


def test_start_and_stop_measure_by_the_given_clock() -> None:
    clock = Clock()
    tracker = OperationTracker(clock)

    outer = tracker.start("outer")
    inner = tracker.start("inner")
    clock.now += 2_000_000
    tracker.stop(inner)
    clock.now += 1_000_000
    latency_ns = tracker.stop(outer, success=False)

    report = tracker.report()
    assert latency_ns == 3_000_000
    assert (report["inner"].n, report["inner"].failures, report["inner"].mean_ms) == (1, 0, 2.0)
    assert (report["outer"].n, report["outer"].failures, report["outer"].max_ms) == (1, 1, 3.0)


def test_a_measurement_is_counted_once() -> None:
    tracker = OperationTracker(Clock())
    token = tracker.start("once")
    tracker.stop(token)

    with pytest.raises(ValueError, match="'once' was stopped before"):
        tracker.stop(token)

    assert tracker.report()["once"].n == 1


def test_a_block_that_raises_is_a_failure_and_the_exception_goes_on() -> None:
    tracker = OperationTracker(Clock())

    with pytest.raises(KeyError), tracker.track("block"):
        raise KeyError("x")
    with tracker.track("block"):
        pass

    assert (tracker.report()["block"].n, tracker.report()["block"].failures) == (2, 1)


def test_decorated_functions_and_coroutines_keep_their_results_and_names() -> None:
    clock = Clock()
    tracker = OperationTracker(clock)

    @tracker.timed("plain")
    def plain(a: int, *, b: int) -> int:
        clock.now += 1_000_000
        return a + b

    @tracker.timed()
    async def waits(a: int) -> int:
        clock.now += 1_000_000
        await asyncio.sleep(0)
        clock.now += 4_000_000
        return a

    assert plain(1, b=2) == 3
    assert asyncio.run(waits(5)) == 5
    report = tracker.report()
    assert report["plain"].mean_ms == 1.0
    assert report[waits.__qualname__].mean_ms == 5.0
    assert waits.__name__ == "waits"


def test_an_interval_is_taken_once_and_stays_in_the_report() -> None:
    tracker = OperationTracker(Clock())
    tracker.record("a", 1_000_000)
    tracker.record("a", 3_000_000, success=False)

    first = tracker.take_interval()
    tracker.record("b", 5_000_000)
    second = tracker.take_interval()

    assert set(first) == {"a"}
    assert (first["a"].n, first["a"].failures, first["a"].mean_ms) == (2, 1, 2.0)
    assert set(second) == {"b"}
    assert set(tracker.report()) == {"a", "b"}
    assert tracker.report()["a"].n == 2
    assert tracker.take_interval() == {}


def test_reset_forgets() -> None:
    tracker = OperationTracker(Clock())
    tracker.record("a", 1)

    tracker.reset()

    assert tracker.report() == {}


def test_names_without_end_fill_one_operation_not_the_memory() -> None:
    tracker = OperationTracker(Clock())

    for i in range(1_000):
        tracker.record(f"order {i}", 1)

    report = tracker.report()
    assert len(report) == OPERATIONS_MAX + 1
    assert report[OTHER].n == 1_000 - OPERATIONS_MAX


def test_a_million_records_take_no_more_room_than_one() -> None:
    histogram = Histogram()
    histogram.add(5)
    size = sys.getsizeof(histogram._counts)

    for i in range(100_000):
        histogram.add(i * 1_000)

    assert sys.getsizeof(histogram._counts) == size
