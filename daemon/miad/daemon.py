"""One life of the process: its parts in the order in which they are built, and how they are taken apart again."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from mia.assemble import model_names, versions
from mia.control.messages import SOCKET_NAME, Request
from mia.control.server import ControlServer
from mia.domain.errors import ConfigError, FailStop, MiaError, NotPermitted
from mia.domain.events import AnyEvent, ClockSkewed, TradingDisabled
from mia.engine.engine import Engine
from mia.ports import Venue
from mia.settings import Loaded
from mia.sim.venue import SimVenue
from mia.store.journal import Journal
from mia.store.projection import Projector
from mia.store.snapshots import SnapshotStore
from mia.store.state_dir import StateDir
from mia.telemetry import log as telemetry
from miad import shutdown
from miad.alerting import Alerting, opener
from miad.clock import SystemClock
from miad.commands import Commands
from miad.connected import ConnectedRun
from miad.core import Core
from miad.feeds import Source
from miad.figures import Figures, set_aside
from miad.heartbeat import heartbeat
from miad.host import EventHost
from miad.links import Links
from miad.listen import Listener
from miad.metering import Metering
from miad.notify import Notifier
from miad.past import Past, builder, keep_calendar
from miad.pulled import PulledRun
from miad.recovery import recover
from miad.references import ReferenceFiles
from miad.reload import Reload
from miad.shutdown import entries_gone, stage
from miad.signals import Signals, StopFlag
from miad.slow_lane import SnapshotWriter
from miad.starts import KillFlag, Starts, first_events
from miad.states import SHUTDOWN, Condition, Health, StateKeeper
from miad.status import Identity, Reporter
from miad.summary import summarise, text
from miad.tasks import Supervisor
from miad.upkeep import Upkeep

_FOREVER: Final = float("inf")
_EXTEND_S: Final = 30.0
_SWAP: Final = "alerts-replace"
_log = logging.getLogger("miad")


class Daemon:
    """The parts, in the order in which they are built; one life."""

    exchange_trace: Path | None = None  # the demo exchange notes frames and orders there (miad.measure_service)

    def __init__(
        self, options: Any, loaded: Loaded, load: Any, source: Source | None, engine: Engine, state_dir: StateDir, started_s: float
    ) -> None:
        """Nothing here touches a disk but what remembers earlier lives. load: reads the settings again."""
        path = state_dir.path
        self._options, self._loaded, self._source, self._engine = options, loaded, source, engine
        self._settings: Final = loaded.settings
        self._state_dir: Final = state_dir
        self._started_s: Final = started_s
        self._is_replay: Final = source is not None and source.is_replay
        self._venue_name: Final = source.venue if source is not None else self._settings.instance.venue
        self._stop: Final = StopFlag()
        self._signals: Final = Signals(self._stop)
        self._notifier: Final = Notifier(os.environ)
        self._starts: Final = Starts(path)
        self._kill_flag: Final = KillFlag(path)
        self._health: Final = Health()
        self._keeper: Final = StateKeeper(lambda: engine.state, self._health, self._state_changed)
        self._tasks: Final = Supervisor(self._stop.fail, self._task_trouble)
        self._hub: Final = Alerting(
            opener(path, engine, self._health, self._on_link, is_replay=self._is_replay), self._settings, self._tasks
        )
        self._links: Final = Links(self._health, self._hub)
        self._listener: Final = Listener(engine, self._hub)
        self._references: Final = ReferenceFiles(self._settings.references, engine, self._hub.raise_alert)
        self._clock: Final = SystemClock()
        self._demo: Any = None
        self._connection: Any = None
        self._control: ControlServer | None = None
        self._journal: Journal | None = None
        self._projector: Projector | None = None
        self._is_built = False
        self._reload: Final = Reload(loaded, load, self._tell)
        self._reload.on_section["alerts"] = self._reload.on_section["mqtt"] = lambda settings: self._replace_alerts()
        self._reload.on_section["logging"] = lambda settings: telemetry.configure(settings, state_dir=path)

    async def live(self) -> None:
        """One life on the event loop: recover, open the run, trade until something ends it, stop in stages."""
        self._stop.bind()
        self._signals.catch()
        try:
            self._build(await self._open_venue())
            await self._open()
            await self._trade()
            await self._end()
        except (ConfigError, NotPermitted):
            self._starts.end()  # starting again would not help, and nothing crashed
            raise
        except Exception as e:
            self._keeper.stage = "stopping"  # what still asks hears no READY, and no command is taken
            self._hub.raise_alert("urgent", "fail_stop", f"miad ends: {e}")
            raise
        finally:
            await self._close()

    # --- built top to bottom --------------------------------------------------------------------------------------------
    async def _open_venue(self) -> Venue:
        """The simulated venue in this process, or the connections to the demo exchange, whose process begins here."""
        engine = self._engine
        if self._source is not None:
            books = {m.index: m.book for m in engine.markets}
            return SimVenue(dict(enumerate(engine.config.instruments)), books, self._settings.paper)
        from miad.demo import DemoVenue  # aside: websockets and TLS are of no use to a replay

        self._host = EventHost(self._clock, self._stop.fail, self._on_link)
        self._demo = DemoVenue(self._settings, engine, self._state_dir.path, self._host, self._links.set, self.exchange_trace)
        self._connection = await self._demo.start()
        return self._connection  # type: ignore[no-any-return]

    def _build(self, venue: Venue) -> None:
        """Journal, recovery, projection, and everything that looks at them; DataError or FailStop when the state is not usable."""
        settings, path, engine, stop = self._settings, self._state_dir.path, self._engine, self._stop
        journal = self._journal = Journal(
            self._state_dir.journal,
            segment_bytes=settings.store.segment_bytes,
            versions=versions(),
            sync_interval_ms=settings.store.sync_interval_ms,
            on_failure=stop.fail,
        )
        core = self._core = Core(engine, journal, venue, 0)
        core.on_failure = stop.fail
        snapshots = SnapshotStore(self._state_dir.snapshots)
        past = Past.of(self._loaded)
        keep_calendar(path)
        build = builder(journal, path, self._venue_name, venue)
        self._recovered = recover(core, snapshots, past, build, lambda: self._notifier.extend(_EXTEND_S))
        for note in self._recovered.notes:
            _log.warning("%s", note)
        projector = self._projector = Projector(
            path,
            mode="paper",
            journal_last_seq=journal.last_seq,
            on_warning=lambda code, line: _log.warning("%s", line),
            on_failure=stop.set,
        )
        projector.start()
        core.waits_for_disk = settings.store.intent_durability == "disk"
        self._clock.raise_to(engine.state.now_ns)
        self._run: PulledRun | ConnectedRun
        if self._source is not None:
            self._run = PulledRun(core, self._source, self._loaded, self._options.speed, stop, self._references)
        else:
            self._run = ConnectedRun(core, self._connection, self._host, self._clock, self._loaded, stop)
        feed = self._source.snapshot if self._source is not None else (lambda events_done: b"")
        self._writer = SnapshotWriter(core, feed, snapshots, settings.store, stop, past)
        self._upkeep = Upkeep(core, settings.store, lambda: min(self._writer.stored_seq, projector.applied_seq), is_replay=self._is_replay)
        exchange = self._demo.exchange if self._demo is not None else None
        self._figures = Figures(journal, projector, self._hub, self._listener, exchange, self._counters)
        self._metering = Metering(
            settings.metrics,
            core,
            logs=path / "logs",
            status=lambda: self._reporter.status(),
            warn=lambda code, line: _log.warning("%s", line),
            children=self._figures.children,
            on_listening=lambda url: _log.info("metrics at %s", url),
        )
        self._listener.also = self._metering
        self._is_built = True

    async def _open(self) -> None:
        """The run begins: control answers, the run is opened, trading is enabled, systemd knows."""
        core, engine, settings = self._core, self._engine, self._settings
        done = engine.state.counters.market_events
        name, run = settings.instance.name, self._state_dir.next_run()
        self._state_dir.describe({"run": run, "mode": "paper", "venue": self._venue_name, "instance": name})
        identity = Identity(
            instance=name, mode="replay" if self._is_replay else "paper", venue=self._venue_name, run=run,
            state_dir=self._state_dir.path, config_file=self._loaded.path, start_cash=settings.paper.cash,
        )  # fmt: skip
        self._reporter = Reporter(
            identity, core, self._keeper, self._links, now_ns=self._run.now_ns, loop_delay=self._metering.latency_of_loop,
            tasks=self._tasks.names, decisions=self._listener.decisions, queues=self._figures.queues, dropped=self._figures.dropped,
            alerts=lambda: (dict(self._hub.raised), self._hub.last),
        )  # fmt: skip
        await self._start_aside()
        self._keeper.why_killed = self._kill_flag.reason or ""
        first = [] if self._is_replay else first_events(self._starts, self._kill_flag, is_killed=engine.state.risk.is_killed)
        if isinstance(self._run, PulledRun):
            await self._run.open(self._recovered, run, first)
        else:
            self._tasks.start("exchange", self._demo.exchange.watch)
            await self._run.open(self._tasks, run, first)
            self._tasks.start("reconcile", self._run.reconcile_often)
        if self._references.are_named and not self._is_replay:
            self._tasks.start("references", lambda: self._references.run(self._tell, self._run.now_ns))
        if os.geteuid() == 0:
            _log.warning("runs as root; a user of its own is safer, and --live would refuse")
        models = ", ".join(model for model, _ in model_names(engine))
        again = f"; recovered {self._recovered.snapshot_seq + self._recovered.tail_events} events" if done else ""
        took_s = time.monotonic() - self._started_s
        if not self._stop.reason:
            self._keeper.stage = "running"
            _log.info(
                "trading %s, strategy %s, ready after %.2f s; state %s%s", self._venue_name, models, took_s, self._state_dir.path, again
            )
            self._notifier.ready(self._keeper.look().line)

    async def _start_aside(self) -> None:
        """What trading does not depend on: control, alerts, metrics, heartbeat. One that fails is one line and DEGRADED."""
        journal = self._journal
        assert journal is not None
        commands = Commands(
            self._tell, journal, self._keeper, self._reporter, self._kill_flag, self._starts, self._do_reload, is_replay=self._is_replay
        )
        self._control = ControlServer(self._state_dir.path / SOCKET_NAME, commands)
        try:
            await self._control.start()
        except MiaError as e:
            _log.error("%s", e)
            self._health.degrade("control", str(e))
        loop = asyncio.get_running_loop()
        self._signals.on_reload = lambda: loop.call_soon_threadsafe(self._reload_by_signal, commands)
        if self._is_replay:
            self._tasks.start("loop-delay", self._metering.loop_delay.run)
            return
        self._core.listener, self._core.report_listener = self._listener.effects, self._listener.report
        self._tasks.start("listener", self._listener.run)
        self._hub.start()
        if self._source is None:
            self._tasks.start("extend-start", self._extend_start, may_end=True)
        for name, make in self._metering.tasks().items():
            self._tasks.start(name, make)
        publish = self._hub.publish_health
        self._tasks.start("heartbeat", lambda: heartbeat(self._reporter.status, lambda status: publish(msgspec.to_builtins(status))))

    async def _extend_start(self) -> None:
        """A venue that is away makes the start long; systemd is asked for patience meanwhile."""
        while self._keeper.stage == "starting":
            self._notifier.extend(_EXTEND_S)
            await asyncio.sleep(1.0)

    # --- trading --------------------------------------------------------------------------------------------------------
    async def _trade(self) -> None:
        """Until the frames end, the duration is over, or somebody asks to stop; raises what ended the decision loop."""
        if self._stop.failure is not None:
            raise self._stop.failure
        if self._stop.reason:
            return
        duration_s = self._options.duration
        deadline_s = time.monotonic() + duration_s if duration_s else _FOREVER
        sys.setswitchinterval(0.0002)
        gc.collect()
        gc.freeze()  # what lives from here to the end is not looked at again
        decisions = self._tasks.start("decisions", lambda: self._run.run(self._between, deadline_s), is_critical=True)
        await asyncio.wait([decisions])
        if self._stop.failure is not None:
            raise self._stop.failure

    def _between(self) -> None:
        """Called by the decision loop some 20 times a second."""
        self._writer.between()
        self._upkeep.between()
        self._notifier.beat(self._engine.state.last_timer_ns)
        self._keeper.look()
        jump_ms = 0 if self._is_replay else self._clock.jump_ms()
        if jump_ms:
            self._tell(ClockSkewed(0, 0, 0, jump_ms))

    # --- the end --------------------------------------------------------------------------------------------------------
    async def _end(self) -> None:
        """In stages: no more openings, working entries canceled, last checkpoint, projection and alerts up to date.

        A replay is only interrupted. FailStop when the journal, a snapshot or the projection failed on the way.
        """
        journal, projector = self._journal, self._projector
        assert journal is not None
        assert projector is not None
        if self._stop.reason:
            _log.info("stopping (%s)", self._stop.reason)
        for line in (self._source or self._connection).warnings():
            _log.warning("%s", line)
        self._word = self._keeper.look().short
        self._keeper.stage = "stopping"
        self._keeper.look()
        self._notifier.stopping(shutdown.TOTAL_S)
        if not self._is_replay and self._engine.state.run:
            self._tell(TradingDisabled(0, 0, 0, SHUTDOWN))
            await stage("canceling entries", shutdown.CANCEL_S, entries_gone(self._engine, self._run.let_time_pass))
        if self._source is None:
            self._host.detach()
        await stage("the last checkpoint", shutdown.CHECKPOINT_S, asyncio.to_thread(self._writer.final))
        await stage("the projection", shutdown.PROJECTION_S, self._flush_projection(projector, journal.last_seq))
        if not self._is_replay:
            await stage("the last performance rows", shutdown.PERFORMANCE_S, self._metering.close())
        broken = projector.failed or self._writer.failed
        failure = self._stop.failure or journal.failure or (FailStop(broken) if broken else None)
        if failure is not None:
            raise failure
        if not self._is_replay:
            self._starts.end()

    async def _flush_projection(self, projector: Projector, seq: int) -> None:
        if not await asyncio.to_thread(projector.flush, seq, shutdown.PROJECTION_S - 1) and projector.failed is None:
            _log.warning("the projection did not finish in time; it goes on at the next start")

    async def _close(self) -> None:
        """Let go of tasks, threads, processes and files; safe at any stage."""
        if not self._is_replay:
            self._listener.drain()
            self._hub.publish_status("STOPPING", [])
            await stage("alerts", shutdown.ALERTS_S + 0.5, self._hub.hub.flush(shutdown.ALERTS_S))
        if self._control is not None:
            await self._control.close()
        late = await self._tasks.close(shutdown.TASKS_S)
        if late:
            _log.warning("shutdown: still running: %s", ", ".join(late))
        if self._demo is not None:
            await stage("the demo exchange", shutdown.EXCHANGE_S, self._demo.exchange.stop())
        if self._projector is not None:
            self._projector.stop(shutdown.REST_S)
        self._hub.hub.close()
        if self._journal is not None:
            self._journal.close()
        self._notifier.close()

    def report(self) -> None:
        """Print the summary."""
        recovered = self._recovered.snapshot_seq + self._recovered.tail_events
        print(text(summarise(self._core, self._venue_name, set_aside(self._counters()), recovered, self._word)))

    def _counters(self) -> dict[str, int]:
        """Of the feed or the connection."""
        found: dict[str, int] = (self._source or self._connection).counters()
        return found

    # --- what the parts call ----------------------------------------------------------------------------------------------
    def _tell(self, event: AnyEvent) -> None:
        self._run.tell(event)

    def _state_changed(self, now: Condition, severity: str) -> None:
        self._notifier.status(now.line)
        if not self._is_replay:
            self._hub.publish_status(now.word, now.reasons)
            self._hub.raise_alert(severity, f"state_{now.word.lower()}", now.line)

    def _task_trouble(self, name: str, text: str) -> None:
        self._health.degrade(name, text)
        if text:
            self._hub.raise_alert("error", "task_failed", f"task {name}: {text}; it starts again", dedup_key=f"task_{name}")

    def _on_link(self, name: str, state: Any, detail: str) -> None:
        self._links.set(name, state, detail)
        run = self._run if self._is_built else None
        if isinstance(run, ConnectedRun) and self._keeper.stage != "stopping":
            run.on_link(name, state)

    def _do_reload(self) -> list[str]:
        self._notifier.reloading()
        try:
            return self._reload()
        finally:
            self._notifier.reloaded(self._keeper.look().line)

    def _replace_alerts(self) -> None:
        """After a reload of [alerts] and [mqtt]: once for both."""
        if _SWAP not in self._tasks.names():
            self._tasks.start(_SWAP, lambda: self._hub.follow(lambda: self._reload.loaded.settings), may_end=True)

    def _reload_by_signal(self, commands: Commands) -> None:
        try:
            commands(Request(verb="reload"))
        except NotPermitted as e:
            _log.warning("SIGHUP: %s", e)
        except MiaError:
            pass  # said: the file does not load and the settings in force stay, or the process ends
