"""miad: the one place that builds things, top to bottom, and takes them apart again.

Exit codes: 0 ok, 1 error, 2 usage, 4 config, 6 refused (a second instance, live without its conditions).
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Final, Literal

from mia.assemble import build_engine, model_names, versions
from mia.domain.errors import AlreadyRunning, ConfigError, FailStop, MiaError
from mia.domain.events import InstrumentDefined, ModelReady, RunStarted, TradingDisabled, TradingEnabled
from mia.engine.engine import Engine
from mia.kernels.build_info import interpreted_modules, stale_modules
from mia.ports import Codec
from mia.settings import Loaded, load_settings
from mia.sim.venue import SimVenue
from mia.store.journal import Journal
from mia.store.projection import Projector
from mia.store.snapshots import SnapshotStore
from mia.store.state_dir import StateDir, resolve_state_dir
from miad.clock import SystemClock
from miad.core import Core
from miad.feeds import Source, open_source
from miad.loop import StopFlag, run_max, run_paced
from miad.options import parse
from miad.recovery import Recovered, recover
from miad.slow_lane import SnapshotWriter
from miad.summary import summarise, text
from miad.understudy import Understudy
from miad.upkeep import Upkeep

_FOREVER: Final = float("inf")


def main(argv: list[str] | None = None) -> int:
    """Run the daemon; the exit code. Every refusal is one line on stderr."""
    options = parse(argv)
    try:
        return run(options)
    except ConfigError as e:
        return _fail(4, e)
    except AlreadyRunning as e:
        return _fail(6, e)
    except MiaError as e:
        return _fail(1, e)


def _fail(code: int, error: Exception) -> int:
    print(f"miad: {error}", file=sys.stderr, flush=True)
    return code


def say(line: str) -> None:
    """One line of what is going on, on stderr; stdout carries the summary."""
    print(f"miad: {line}", file=sys.stderr, flush=True)


def run(options: Any) -> int:
    """Build, recover, trade, stop."""
    started_s = time.monotonic()
    if options.live:
        raise AlreadyRunning("live trading is not part of this version: use --paper")
    loaded = load_settings(options.config, {"instance.venue": options.venue} if options.venue else None)
    _check_kernels()
    source = open_source(loaded.settings, options.replay or [])
    engine = build_engine(loaded.settings, source.venue)
    mode: Literal["replay", "paper"] = "replay" if source.is_replay else "paper"
    path = resolve_state_dir(options.state, instance=loaded.settings.instance.name, mode=mode, environment=os.environ)
    with closing(StateDir(path)) as state_dir:
        return _trade(options, loaded, source, engine, state_dir, started_s)


def _check_kernels() -> None:
    stale = stale_modules()
    if stale:
        raise ConfigError(f"compiled kernels are older than their sources ({', '.join(stale)}): run `make kernels` or install again")
    interpreted = interpreted_modules()
    if interpreted:
        say(f"warning: {len(interpreted)} kernels run interpreted, 50-200 times slower; fine for a look, not for trading")


def _trade(options: Any, loaded: Loaded, source: Source, engine: Engine, state_dir: StateDir, started_s: float) -> int:
    store, stop = loaded.settings.store, StopFlag()
    stop.catch_signals()
    source.claim(state_dir.path)
    journal = Journal(
        state_dir.journal,
        segment_bytes=store.segment_bytes,
        versions=versions(),
        sync_interval_ms=store.sync_interval_ms,
        on_failure=lambda e: stop.set(str(e)),
    )
    projector: Projector | None = None
    try:
        venue = SimVenue(dict(enumerate(engine.config.instruments)), {m.index: m.book for m in engine.markets}, loaded.settings.paper)
        core = Core(engine, journal, venue, 0)
        snapshots = SnapshotStore(state_dir.snapshots)
        recovered = recover(core, snapshots)
        for note in recovered.notes:
            say(f"warning: {note}")
        projector = Projector(
            state_dir.path,
            mode="paper",
            journal_last_seq=journal.last_seq,
            on_warning=lambda code, line: say(f"warning: {line}"),
            on_failure=stop.set,
        )
        projector.start()
        core.waits_for_disk = store.intent_durability == "disk"
        code, codec, frames = _begin(loaded, source, core, recovered, state_dir)
        writer = SnapshotWriter(core, source, snapshots, store, stop, say)
        say(
            f"trading {source.venue} with {', '.join(name for name, _ in model_names(engine))} after {time.monotonic() - started_s:.2f} s; "
            f"state {state_dir.path}" + (f"; recovered {core.seq} events" if recovered.tail_events or recovered.snapshot_seq else "")
        )
        upkeep = Upkeep(core, store, say, lambda: min(writer.stored_seq, projector.applied_seq))

        def between() -> None:
            writer.between()
            upkeep.between()

        _loop(options, loaded, core, codec, frames, stop, between)
        _end(core, source, stop, writer)
        if not projector.flush(journal.last_seq):
            stop.set(projector.failed or "the projection did not finish in time; it goes on at the next start")
        broken = projector.failed or writer.failed
        failure = journal.failure or (FailStop(broken) if broken else None)
        if failure is not None:
            raise failure
    finally:
        if projector is not None:
            projector.stop()
        journal.close()
    for line in source.warnings():
        say(f"warning: {line}")
    recovered_events = recovered.snapshot_seq + recovered.tail_events
    summary = summarise(core, source.venue, source.counters(), recovered_events)
    print(text(summary))
    return code


def _begin(
    loaded: Loaded, source: Source, core: Core, recovered: Recovered, state_dir: StateDir
) -> tuple[int, Codec, Iterator[tuple[int, bytes]]]:
    """Open the run: who we are, what we trade, then TradingEnabled. In a resumed replay no time passes by it."""
    engine = core.engine
    clock = SystemClock(engine.state.now_ns)
    codec, frames, leftover, begin_ns = source.resume(engine.state.counters.market_events, recovered, clock, core.seq)
    ts = max(begin_ns, engine.state.now_ns) if not (source.is_replay and engine.state.now_ns) else engine.state.now_ns
    run = state_dir.next_run()
    state_dir.describe({"run": run, "mode": "paper", "venue": source.venue, "instance": loaded.settings.instance.name})
    core.accept(
        RunStarted(
            core.seq + 1,
            0,
            ts,
            run,
            loaded.settings.instance.name,
            "paper",
            versions(),
            loaded.canonical_json(),
            loaded.hash(),
        )
    )
    for market in engine.markets:
        core.accept(InstrumentDefined(core.seq + 1, 0, ts, market.index, market.definition))
    for name, sha256 in model_names(engine):
        core.accept(ModelReady(core.seq + 1, 0, ts, name, sha256))
    if not source.is_replay:
        frames = _warm_up(core, codec, frames, clock.now_ns())
    core.accept(TradingEnabled(core.seq + 1, 0, engine.state.now_ns))
    if leftover:  # the frame in which an earlier run ended
        core.market(leftover, max(leftover[0].ts_recv_ns, engine.state.now_ns))
    return 0, codec, frames


def _warm_up(core: Core, codec: Codec, frames: Iterator[tuple[int, bytes]], until_ns: int) -> Iterator[tuple[int, bytes]]:
    """What lies in the past goes by at once, before trading is enabled; the frames that follow."""
    for frame in frames:
        if frame[0] >= until_ns:
            return itertools.chain((frame,), frames)
        core.on_frame(codec, frame[1], frame[0])
    return frames


def _loop(
    options: Any, loaded: Loaded, core: Core, codec: Codec, frames: Iterator[tuple[int, bytes]], stop: StopFlag, between: Callable[[], None]
) -> None:
    deadline_s = time.monotonic() + options.duration if options.duration else _FOREVER
    sys.setswitchinterval(0.0002)
    gc.collect()
    gc.freeze()  # what lives from here to the end is not looked at again
    if options.speed == _FOREVER:
        run_max(core, codec, frames, stop, between, deadline_s)
        return
    understudy = Understudy(core.engine)
    warm_every_ms = loaded.settings.engine.warm_every_ms
    paced = run_paced(core, codec, frames, stop, between, deadline_s, options.speed, understudy.play, warm_every_ms)
    try:
        import uvloop
    except ImportError:
        asyncio.run(paced)
    else:
        uvloop.run(paced)


def _end(core: Core, source: Source, stop: StopFlag, writer: SnapshotWriter) -> None:
    """Stages of stopping: no more openings, working entries canceled, last checkpoint. A replay is only interrupted."""
    if stop.reason:
        say(f"stopping ({stop.reason})")
    if not source.is_replay:
        core.accept(TradingDisabled(core.seq + 1, 0, core.engine.state.now_ns, "shutdown"))
    writer.final()


if __name__ == "__main__":
    raise SystemExit(main())
