"""A market in columns, run by the engine's compiled loop: the same state, effects and files as event by event."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mia.backtest.run import artifacts
from mia.backtest.run.collect import Collector
from mia.backtest.run.prepare import Prepared, Request, execute, prepare
from mia.backtest.run.runner import Runner, StrategyFailed
from mia.backtest.run.spec import RunSpec, build
from mia.domain.errors import DataError
from mia.domain.events import AnyEvent, BookDelta, BookSnapshot, FeedGap, Quote, Trade
from mia.engine.engine import Engine
from mia.features.columns import EventColumns, from_events
from mia.kernels.tape import Tape
from mia.policy.rules.base import Rule
from mia.policy.strategy import Target
from mia.settings import load_settings
from mia.shipped import config_file
from mia.sim.venue import SimVenue

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
STRATEGIES = ("rule:flat", "rule:ema_cross", "demo")


def prepared_of(strategy: str, seconds: float = 60.0) -> Prepared:
    settings = load_settings(config_file("miad.toml")).settings
    return prepare(Request(settings=settings, strategy=strategy, duration_s=seconds))


def each(trigger: str, interval_ns: int) -> Any:
    def make(spec: RunSpec) -> Engine:
        engine = build(spec)
        lane: Any = engine.lanes[0]
        lane.trigger, lane.min_interval_ns = trigger, interval_ns
        return engine

    return make


def files(prepared: Prepared, folder: Path, make: Any = build) -> dict[str, str]:
    artifacts.write(execute(prepared, make=make), folder)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def by_steps(prepared: Prepared) -> Prepared:
    assert prepared.events is not None
    assert prepared.events.columns is not None
    return msgspec.structs.replace(prepared, events=prepared.events._replace(columns=None))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_by_columns_writes_the_bytes_of_one_by_events(strategy: str, tmp_path: Path) -> None:
    prepared = prepared_of(strategy)

    assert files(prepared, tmp_path / "columns") == files(by_steps(prepared), tmp_path / "events")


@pytest.mark.parametrize(("trigger", "interval_ns"), [("quote", 0), ("quote", 250_000_000), ("trade", 0), ("trade", SECOND)])
def test_decisions_at_quotes_and_trades_fall_on_the_same_events(trigger: str, interval_ns: int, tmp_path: Path) -> None:
    prepared, make = prepared_of("rule:ema_cross"), each(trigger, interval_ns)
    found = execute(prepared, make=make).gathered.counters

    assert files(prepared, tmp_path / "columns", make) == files(by_steps(prepared), tmp_path / "events", make)
    assert found["decisions"] > 100
    assert found["orders"] > 0  # the loop was left for orders, and entered again


def level(ticks: int, lots: int) -> bytes:
    return struct.pack("<2q", ticks, lots)


def market(seed: int, n: int = 1_500) -> list[AnyEvent]:
    """A market that misbehaves: quotes one-sided, crossed and locked, trades of nothing, gaps, several events of one time, pauses."""
    rng = np.random.default_rng(seed)
    ts, mid, events = START, 10_000, []
    events.append(BookSnapshot(0, ts, ts, 0, level(mid - 1, 50), level(mid + 1, 50)))
    for _ in range(n):
        ts += int(rng.choice([0, 3_000_000, 40_000_000, 7 * SECOND], p=[0.2, 0.5, 0.295, 0.005]))
        mid += int(rng.integers(-2, 3))
        lots = int(rng.integers(0, 40)) if rng.random() < 0.05 else int(rng.integers(1, 40))
        kind = rng.random()
        if kind < 0.4:
            wide = int(rng.choice([1, 2, 0, -1], p=[0.6, 0.36, 0.02, 0.02]))
            events.append(Quote(0, ts - 1_000, ts, 0, mid - wide, mid + wide, lots, 30))
        elif kind < 0.6:
            events.append(Trade(0, ts - 1_000, ts, 0, mid, lots, int(rng.integers(-1, 2)), int(rng.integers(0, 1 << 40))))
        elif kind < 0.98:
            pair = level(mid - 5, lots), level(mid + 5, lots)
            side = int(rng.integers(0, 3))
            events.append(BookDelta(0, ts, ts, 0, pair[0] if side != 1 else b"", pair[1] if side != 0 else b""))
        elif kind < 0.99:
            events.append(FeedGap(0, ts, ts, 0, 5, 7))
        else:
            events.append(BookSnapshot(0, ts, ts, 0, level(mid - 1, 50) + level(mid - 3, 9), level(mid + 1, 50)))
    return events


def chunks(events: Sequence[AnyEvent], size: int) -> Iterator[EventColumns]:
    for start in range(0, len(events), size):
        yield from_events(events[start : start + size])


def runner_of(prepared: Prepared, make: Any = build) -> Runner:
    engine, spec = make(prepared.spec), prepared.spec
    venue = SimVenue(dict(enumerate(spec.instruments)), {m.index: m.book for m in engine.markets}, spec.settings.paper, spec.costs)
    return Runner(engine, venue, Collector(venue.moments), spec)


@pytest.mark.parametrize("size", [1, 7, 2_048])
@pytest.mark.parametrize("seed", range(3))
def test_a_market_that_misbehaves_leaves_the_engine_in_the_same_state(seed: int, size: int) -> None:
    prepared = prepared_of("rule:ema_cross")
    prepared = msgspec.structs.replace(prepared, spec=msgspec.structs.replace(prepared.spec, from_ns=0))
    events = market(seed)
    make = each("quote", 100_000_000)
    one, other = runner_of(prepared, make), runner_of(prepared, make)

    one.events(events, SECOND)
    other.columns(chunks(events, size), SECOND)

    assert other.engine.snapshot() == one.engine.snapshot()
    assert other.collector.gather(other.engine).counters == one.collector.gather(one.engine).counters
    assert one.engine.state.counters.market_events == len(events)
    assert one.engine.state.counters.gaps > 5


def test_a_clock_that_goes_back_is_refused_by_its_time_in_columns_too() -> None:
    late, early = Quote(0, START, START + 5, 0, 99, 101, 1, 1), Quote(0, START, START + 4, 0, 99, 101, 1, 1)
    runner = runner_of(prepared_of("rule:flat"))

    with pytest.raises(DataError, match=rf"the clock goes back: an event at {START + 4} ns after {START + 5} ns"):
        runner.columns(chunks([late, early], 10), SECOND)


def test_a_strategy_that_raises_in_the_loop_is_named_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Rule, *_: Any) -> Target:
        raise ZeroDivisionError("no spread left")

    monkeypatch.setattr(Rule, "evaluate", broken)
    prepared = prepared_of("rule:ema_cross")

    def said(asked: Prepared) -> str:
        with pytest.raises(StrategyFailed) as failed:
            execute(asked)
        return str(failed.value)

    assert said(prepared) == said(by_steps(prepared))
    assert "ema_cross" in said(prepared)
    assert "no spread left" in said(prepared)


def test_a_tape_refuses_levels_that_are_not_there() -> None:
    book = from_events([BookSnapshot(0, START, START, 0, level(99, 1), level(101, 1))])
    parts: list[Any] = [np.require(column, np.int64, ["C", "W"]).data for column in book[:8]]

    with pytest.raises(ValueError, match="row 0 points behind its levels"):
        Tape().load(*parts, bytes(16))
    with pytest.raises(ValueError, match="differ in length"):
        Tape().load(*parts[:-1], parts[-1][:0], bytes(32))
    with pytest.raises(IndexError, match="no event 0 of 0"):
        Tape().row(0)
