"""A small real state directory: a rule trades a short simulated market through engine, paper venue, journal and projector."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from mia.assemble import build_engine, model_names, versions
from mia.cli.main import main
from mia.control.messages import SOCKET_NAME
from mia.control.server import ControlServer, Handler
from mia.domain.effects import AnyEffect
from mia.domain.events import AnyEvent, InstrumentDefined, ModelReady, RunStarted, TradingEnabled
from mia.settings import Loaded, load_settings
from mia.shipped import config_file
from mia.sim.market import SimFeed, SimMarket
from mia.sim.venue import SimVenue
from mia.store.journal import Journal
from mia.store.projection import Projector
from mia.store.reader import JournalReader
from mia.store.snapshots import Snapshot, SnapshotStore
from mia.store.state_dir import StateDir
from miad.core import Core
from miad.past import Past, builder
from miad.recovery import recover

T0 = 1_723_075_200_000_000_000
FRAMES = 6000
Edit = Callable[[AnyEvent, Sequence[AnyEffect]], tuple[AnyEvent, Sequence[AnyEffect]]]


class Result(NamedTuple):
    """What a call of `mia` gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def mia(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run `mia ARGUMENTS` in this process."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return Result(code, *capsys.readouterr())

    return run


def write_config(path: Path, **replaced: str) -> Path:
    """The shipped settings with a quick rule on every lane; `replaced`: key -> new TOML value, where the key stands."""
    text = (
        config_file("miad.toml")
        .read_text()
        .replace('strategy = "demo"', 'strategy = "rule:ema_cross"\nparams = { fast_period = 3, slow_period = 8 }')
    )
    lines = []
    for line in text.splitlines():
        key = line.partition("=")[0].strip()
        lines.append(f"{key} = {replaced[key]}" if key in replaced else line)
    path.write_text("\n".join(lines) + "\n")
    return path


def record(folder: Path, loaded: Loaded, frames: int, *, segment_bytes: int = 1 << 20, snapshot_at: int = -1) -> None:
    """One run of a paper session with a checkpoint at frame `snapshot_at`; called again on its folder it is a restart."""
    engine = build_engine(loaded.settings, "sim")
    with closing(StateDir(folder)) as state_dir:
        journal = Journal(state_dir.journal, segment_bytes=segment_bytes, versions=versions())
        venue = SimVenue(dict(enumerate(engine.config.instruments)), {m.index: m.book for m in engine.markets}, loaded.settings.paper)
        core = Core(engine, journal, venue, 0)
        recover(core, SnapshotStore(state_dir.snapshots), Past.of(loaded), builder(journal, folder, "sim", venue))
        projector = Projector(folder, mode="paper", journal_last_seq=journal.last_seq)
        projector.start()
        ts = max(T0, engine.state.now_ns)
        run = state_dir.next_run()
        core.accept(RunStarted(core.seq + 1, 0, ts, run, "mia", "paper", versions(), loaded.canonical_json(), loaded.hash()))
        for market in engine.markets:
            core.accept(InstrumentDefined(core.seq + 1, 0, ts, market.index, market.definition))
        for name, sha256 in model_names(engine):
            core.accept(ModelReady(core.seq + 1, 0, ts, name, sha256))
        core.accept(TradingEnabled(core.seq + 1, 0, ts))
        feed = SimFeed(SimMarket(loaded.settings.sim, engine.config.instruments[0]), ts)
        codec = feed.codec()
        for i, (ts_recv_ns, payload) in enumerate(islice(feed.frames(), frames)):
            core.on_frame(codec, payload, ts_recv_ns)
            if i == snapshot_at:
                parts = Snapshot(*engine.snapshot(), venue.snapshot(), b"")
                SnapshotStore(state_dir.snapshots).write(core.seq, engine.layout_hash, msgspec.msgpack.encode(parts))
        assert projector.flush(journal.last_seq)
        projector.stop()
        journal.close()


def rewrite(folder: Path, edit: Edit) -> None:
    """Replace the journal by an edited copy with good checksums, as a defect or another code version would have written it."""
    old = folder / "journal"
    entries = list(JournalReader(old))
    shutil.rmtree(old)
    journal = Journal(old, segment_bytes=1 << 20)
    for entry in entries:
        event, effects = edit(entry.event, entry.effects)
        journal.append_event(event)
        journal.append_effects(event.seq, list(effects))
    journal.close()


@contextmanager
def serving(folder: Path, handler: Handler) -> Iterator[None]:
    """A control server in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = ControlServer(folder / SOCKET_NAME, handler)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def control_server() -> Callable[..., AbstractContextManager[None]]:
    """The function `serving`."""
    return serving


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Settings in which a rule trades."""
    return load_settings(write_config(tmp_path_factory.mktemp("config") / "miad.toml"), environ={})


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, loaded: Loaded) -> Path:
    """The state directory of a finished session; do not change it."""
    folder = tmp_path_factory.mktemp("recorded") / "state"
    record(folder, loaded, FRAMES)
    return folder


@pytest.fixture
def session(recorded: Path, tmp_path: Path) -> Path:
    """A copy of it to do anything with."""
    return Path(shutil.copytree(recorded, tmp_path / "state"))


@pytest.fixture(scope="session")
def record_run() -> Callable[..., None]:
    """The function `record`."""
    return record


@pytest.fixture(scope="session")
def rewrite_journal() -> Callable[[Path, Edit], None]:
    """The function `rewrite`."""
    return rewrite


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Path]:
    """The function `write_config`."""
    return write_config
