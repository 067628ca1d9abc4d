"""miad: the one place that builds things, top to bottom, and takes them apart again.

Exit codes: 0 ok, 1 error, 2 usage, 4 config, 6 refused (a second instance, live without its conditions).
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from contextlib import closing
from typing import Any, Final, Literal

from mia.assemble import build_engine, model_names, versions
from mia.domain.errors import AlreadyRunning, ConfigError, FailStop, MiaError, NotPermitted
from mia.domain.events import TradingDisabled
from mia.engine.engine import Engine
from mia.kernels.build_info import interpreted_modules, stale_modules
from mia.settings import Loaded, load_settings
from mia.sim.venue import SimVenue
from mia.store.journal import Journal
from mia.store.projection import Projector
from mia.store.snapshots import SnapshotStore
from mia.store.state_dir import StateDir, resolve_state_dir
from miad import eventloop
from miad.core import Core
from miad.feeds import Source, open_source
from miad.options import parse
from miad.past import Past, builder, keep_calendar
from miad.pulled import PulledRun
from miad.recovery import recover
from miad.signals import Signals, StopFlag
from miad.slow_lane import SnapshotWriter
from miad.summary import state_word, summarise, text
from miad.tasks import Supervisor
from miad.upkeep import Upkeep

_FOREVER: Final = float("inf")


def main(argv: list[str] | None = None) -> int:
    """Run the daemon; the exit code. Every refusal is one line on stderr."""
    options = parse(argv)
    try:
        return run(options)
    except ConfigError as e:
        return _fail(4, str(e))
    except (AlreadyRunning, NotPermitted) as e:
        return _fail(6, str(e))
    except MiaError as e:
        return _fail(1, str(e))
    except Exception as e:  # the process's edge: a fault of ours is one line, too
        if os.environ.get("MIA_TRACEBACK"):
            raise
        return _fail(1, f"unexpected {type(e).__name__}: {e} (a fault of ours; MIA_TRACEBACK=1 shows where)")


def _fail(code: int, text: str) -> int:
    print(f"miad: {text}", file=sys.stderr, flush=True)
    return code


def say(line: str) -> None:
    """One line of what is going on, on stderr; stdout carries the summary."""
    print(f"miad: {line}", file=sys.stderr, flush=True)


def run(options: Any) -> int:
    """Check everything that can refuse a start, then hold the state directory and trade."""
    started_s = time.monotonic()
    if options.live:
        raise NotPermitted("live trading is not part of this version: use --paper")
    loaded = load_settings(options.config, {"instance.venue": options.venue} if options.venue else None)
    _check_kernels()
    source = open_source(loaded.settings, options.replay or [])
    engine = build_engine(loaded.settings, source.venue)
    mode: Literal["replay", "paper"] = "replay" if source.is_replay else "paper"
    path = resolve_state_dir(options.state, instance=loaded.settings.instance.name, mode=mode, environment=os.environ)
    with closing(StateDir(path)) as state_dir:
        source.claim(state_dir.path)
        daemon = Daemon(loaded, source, engine, state_dir)
        try:
            eventloop.run(daemon.live(options, started_s))
        finally:
            daemon.close()
        daemon.report()
    return 0


def _check_kernels() -> None:
    stale = stale_modules()
    if stale:
        raise ConfigError(f"compiled kernels are older than their sources ({', '.join(stale)}): run `make kernels` or install again")
    interpreted = interpreted_modules()
    if interpreted:
        say(f"warning: {len(interpreted)} kernels run interpreted, tens of times slower; fine for a look, not for trading")


class Daemon:
    """The parts, in the order in which they are built; one run."""

    def __init__(self, loaded: Loaded, source: Source, engine: Engine, state_dir: StateDir) -> None:
        """Opens the journal, recovers, starts the projection; DataError or FailStop when the state is not usable."""
        settings = loaded.settings
        self._loaded: Final = loaded
        self._source: Final = source
        self._engine: Final = engine
        self._state_dir: Final = state_dir
        self._stop: Final = StopFlag()
        self._signals: Final = Signals(self._stop)
        self._signals.catch()
        self._word = ""
        self._journal: Final = Journal(
            state_dir.journal,
            segment_bytes=settings.store.segment_bytes,
            versions=versions(),
            sync_interval_ms=settings.store.sync_interval_ms,
            on_failure=lambda e: self._stop.set(str(e)),
        )
        self._projector: Projector | None = None
        try:
            venue = SimVenue(dict(enumerate(engine.config.instruments)), {m.index: m.book for m in engine.markets}, settings.paper)
            self._core: Final = Core(engine, self._journal, venue, 0)
            self._snapshots: Final = SnapshotStore(state_dir.snapshots)
            self._past: Final = Past.of(loaded)
            keep_calendar(state_dir.path)
            build = builder(self._journal, state_dir.path, source.venue, venue)
            self._recovered: Final = recover(self._core, self._snapshots, self._past, build)
            self._projector = Projector(
                state_dir.path,
                mode="paper",
                journal_last_seq=self._journal.last_seq,
                on_warning=lambda code, line: say(f"warning: {line}"),
                on_failure=self._stop.set,
            )
            self._projector.start()
        except BaseException:
            self.close()
            raise

    async def live(self, options: Any, started_s: float) -> None:
        """One life on the event loop: open the run, trade until something ends it, stop in stages."""
        self._stop.bind()
        tasks = Supervisor(self._stop.fail, lambda name, trouble: None)
        self.start(options, started_s)
        try:
            await self.trade(tasks, options.duration)
            self.stop()
        finally:
            await tasks.close()

    def start(self, options: Any, started_s: float) -> None:
        """Open the run: who we are, what we trade, then TradingEnabled."""
        core, engine, source, loaded = self._core, self._engine, self._source, self._loaded
        for note in self._recovered.notes:
            say(f"warning: {note}")
        done = engine.state.counters.market_events
        core.waits_for_disk = loaded.settings.store.intent_durability == "disk"
        name, run = loaded.settings.instance.name, self._state_dir.next_run()
        self._state_dir.describe({"run": run, "mode": "paper", "venue": source.venue, "instance": name})
        self._run = PulledRun(core, source, loaded, options.speed, self._stop)
        self._run.open(self._recovered, run)
        self._writer = SnapshotWriter(core, source, self._snapshots, loaded.settings.store, self._stop, self._past, say)
        models = ", ".join(model for model, _ in model_names(engine))
        again = f"; recovered {self._recovered.snapshot_seq + self._recovered.tail_events} events" if done else ""
        if os.geteuid() == 0:
            say("warning: runs as root; a user of its own is safer, and --live would refuse")
        say(f"trading {source.venue} with {models} after {time.monotonic() - started_s:.2f} s; state {self._state_dir.path}{again}")

    async def trade(self, tasks: Supervisor, duration_s: float | None) -> None:
        """Until the frames end, the duration is over, or somebody asks to stop; raises what ended the decision loop."""
        projector, writer = self._projector, self._writer
        assert projector is not None
        store, is_replay = self._loaded.settings.store, self._source.is_replay
        upkeep = Upkeep(self._core, store, say, lambda: min(writer.stored_seq, projector.applied_seq), is_replay=is_replay)

        def between() -> None:
            writer.between()
            upkeep.between()

        deadline_s = time.monotonic() + duration_s if duration_s else _FOREVER
        sys.setswitchinterval(0.0002)
        gc.collect()
        gc.freeze()  # what lives from here to the end is not looked at again
        await asyncio.wait([tasks.start("decisions", lambda: self._run.run(between, deadline_s), is_critical=True)])
        if self._stop.failure is not None:
            raise self._stop.failure

    def stop(self) -> None:
        """In stages: no more openings, working entries canceled, last checkpoint, projection up to date. A replay is only interrupted.

        FailStop when the journal, a snapshot or the projection failed on the way.
        """
        core, projector = self._core, self._projector
        assert projector is not None
        if self._stop.reason:
            say(f"stopping ({self._stop.reason})")
        self._word = state_word(self._engine)
        if not self._source.is_replay:
            core.accept(TradingDisabled(core.seq + 1, 0, self._engine.state.now_ns, "shutdown"))
        self._writer.final()
        if not projector.flush(self._journal.last_seq) and projector.failed is None:
            say("warning: the projection did not finish in time; it goes on at the next start")
        broken = projector.failed or self._writer.failed
        failure = self._journal.failure or (FailStop(broken) if broken else None)
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Let go of threads, processes and files; safe at any stage."""
        if self._projector is not None:
            self._projector.stop()
        self._journal.close()

    def report(self) -> None:
        """Print what was set aside and the summary."""
        for line in self._source.warnings():
            say(f"warning: {line}")
        recovered = self._recovered.snapshot_seq + self._recovered.tail_events
        print(text(summarise(self._core, self._source.venue, self._source.counters(), recovered, self._word)))


if __name__ == "__main__":
    raise SystemExit(main())
