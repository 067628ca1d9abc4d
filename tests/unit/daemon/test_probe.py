"""The probe times the stages of a decision and changes nothing: not the state, not one later decision."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from mia.assemble import build_engine, instruments_of
from mia.domain import events as ev
from mia.settings import load_settings
from mia.sim.market import SimFeed, SimMarket
from mia.sim.venue import SimVenue
from mia.telemetry.tracker import OperationTracker
from miad.core import Core
from miad.probe import EVALUATE, GATE, PLAN, REVIEW, WINDOW, StageProbe

START_NS = 1_750_000_000_000_000_000
FRAMES = 30_000


class Journal:
    """Keeps what was written."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    def append_event(self, event: Any) -> None:
        self.entries.append(event)

    def append_effects(self, seq: int, effects: Any) -> None:
        self.entries.append((seq, tuple(effects)))

    def sync(self) -> None:
        pass


def traded(tracker: OperationTracker | None = None, frames: int = FRAMES) -> Core:
    """The shipped model after `frames` of the simulated market; probed now and then when there is a tracker."""
    settings = load_settings(environ={}).settings
    engine = build_engine(settings, "sim")
    venue = SimVenue(dict(enumerate(engine.config.instruments)), {m.index: m.book for m in engine.markets}, settings.paper)
    core = Core(engine, Journal(), venue, 0)  # type: ignore[arg-type]
    probe = StageProbe(engine, tracker.record) if tracker is not None else None
    feed = SimFeed(SimMarket(settings.sim, instruments_of(settings, "sim")[0]), START_NS)
    core.accept(ev.RunStarted(1, 0, START_NS, 1, "mia", "paper", {}, "{}", "h"))
    core.accept(ev.TradingEnabled(2, 0, START_NS))
    codec = feed.codec()
    for i, (ts_ns, payload) in enumerate(islice(feed.frames(), frames)):
        core.on_frame(codec, payload, ts_ns)
        if probe is not None and i % 7 == 0:
            probe.probe()
    return core


def test_decisions_are_the_same_with_and_without_the_probe() -> None:
    tracker = OperationTracker()

    plain, probed = traded(), traded(tracker)

    assert plain.engine.state.counters.orders > 0
    assert repr(probed.journal.entries) == repr(plain.journal.entries)  # type: ignore[attr-defined]
    assert probed.engine.snapshot() == plain.engine.snapshot()
    report = tracker.report()
    assert set(report) == {EVALUATE, GATE, REVIEW, WINDOW, PLAN}
    assert all(d.n > 100 and d.failures == 0 for d in report.values())


def test_a_probe_leaves_the_engine_as_it_was() -> None:
    core = traded(frames=20_000)
    tracker = OperationTracker()
    before = core.engine.snapshot()

    for _ in range(20):
        StageProbe(core.engine, tracker.record).probe()

    assert core.engine.snapshot() == before
    assert tracker.report()[EVALUATE].n == 20


def test_nothing_is_timed_before_the_first_decision() -> None:
    tracker = OperationTracker()
    settings = load_settings(environ={}).settings

    StageProbe(build_engine(settings, "sim"), tracker.record).probe()

    assert tracker.report() == {}


@pytest.mark.parametrize("operation", [EVALUATE, GATE, REVIEW, WINDOW, PLAN])
def test_each_stage_has_a_performance_file(operation: str) -> None:
    from mia.telemetry.performance_csv import PERFORMANCE_NAMES

    assert operation.partition(".")[0] in PERFORMANCE_NAMES
