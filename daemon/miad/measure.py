"""Measurements of the daemon's own path, one part per process: `python -m miad.measure PART`, JSON on stdout.

Which question each part answers: hot, paced: how long from the bytes of a frame to the bytes of the order it causes?
replay: how many recorded frames a second go through decode, book, features, engine and journal? start, recover: how soon
does a fresh, and a killed daemon trade? memory: does it grow? rows: what do rows and snapshots cost the loop?
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

import msgspec

from mia.assemble import build_engine, numbered
from mia.domain.effects import AnyEffect, RecordDecision, SubmitOrder
from mia.domain.events import Quote, RunStarted, TradingEnabled
from mia.engine.engine import Engine
from mia.ports import Codec
from mia.risk.review import review as judge
from mia.settings import Settings, load_settings
from mia.sim.market import SimFeed, SimMarket
from mia.sim.venue import SimVenue
from mia.store.journal import Journal
from mia.store.projection import Projector
from mia.venues.binance.orders import OrderEncoder
from mia.venues.replay.feed import ReplayFeed
from miad.core import Core
from miad.eventloop import run as run_loop
from miad.loop import run_max, run_paced
from miad.signals import StopFlag
from miad.understudy import ChangingSides, Understudy

_NEVER: Final = float("inf")
_PACED_S: Final = 15.0
_SIM_FRAMES: Final = 60_000
_SIM_START_NS: Final = 1_700_000_000_000_000_000
Frame = tuple[int, bytes]


class EncodingVenue(SimVenue):
    """The paper venue behind the encoder of a real one: orders become signed bytes before they are taken."""

    encoder: OrderEncoder
    encoded: int = 0

    def send(self, effects: Sequence[Any], now_ns: int) -> None:
        """Encode, then match."""
        for effect in effects:
            if type(effect) is SubmitOrder:
                self.encoded += len(self.encoder.encode(effect, now_ns // 1_000_000))
        super().send(effects, now_ns)


class Rig:
    """An engine with everything around it that the daemon has, on a throw-away state directory."""

    def __init__(
        self, settings: Settings, venue: str, frames: list[Frame], codec: Callable[[], Codec], folder: Path, *, orders: bool
    ) -> None:
        self.frames = frames
        self.codec = codec()
        if orders:
            risk = msgspec.structs.replace(settings.risk, orders_per_minute_max=4096, daily_loss_max=1.0, drawdown_max=1.0)
            execution = msgspec.structs.replace(settings.execution, dead_band_share=0.0)
            settings = msgspec.structs.replace(settings, risk=risk, execution=execution)
        self.engine: Engine = build_engine(settings, venue)
        if orders:
            for lane in self.engine.lanes:
                lane.strategy = ChangingSides(lane.strategy, lane.min_interval_ns)  # type: ignore[misc]
                lane.alpha_min = 0.0  # type: ignore[misc]
        self.journal = Journal(folder / "journal", segment_bytes=64 << 20)
        self.sim = EncodingVenue(
            dict(enumerate(self.engine.config.instruments)), {m.index: m.book for m in self.engine.markets}, settings.paper
        )
        self.sim.encoder = OrderEncoder(dict(enumerate(self.engine.config.instruments)), "usdm", "K" * 64, b"S" * 64)
        self.projector = Projector(folder, mode="paper", journal_last_seq=0)
        self.projector.start()
        self.samples: list[int] = []
        self.core = TimedCore(self.engine, self.journal, self.sim, 0) if orders else Core(self.engine, self.journal, self.sim, 0)
        if isinstance(self.core, TimedCore):
            self.core.samples = self.samples
        ts = frames[0][0]
        self.core.accept(RunStarted(1, 0, ts, 1, "bench", "paper", {}, "{}", ""))
        self.core.accept(TradingEnabled(2, 0, ts))

    def close(self) -> None:
        """Stop the threads and let the files go."""
        self.projector.flush(self.core.seq)
        self.projector.stop()
        self.journal.close()


@contextmanager
def throw_away() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mia-bench-"))
    try:
        yield folder
    finally:
        for _ in range(50):  # the projection's process may still write its last rows
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)


def inputs(data: Path | None) -> tuple[Settings, str, list[Frame], Callable[[], Codec], Path | None]:
    """Settings, venue, frames and a maker of codecs: the USD-M recording in `data`, else the simulated market."""
    settings = load_settings().settings
    found = sorted(data.glob("binance_usdm_*_ws_*.gz")) if data is not None else []
    if found:
        frames = list(ReplayFeed([found[0]], numbered(settings)).frames())
        return settings, "binance_usdm", frames, lambda: ReplayFeed([found[0]], numbered(settings)).codec(), found[0]
    instrument = next(i for i in settings.instruments if i.venue == "sim")
    feed = SimFeed(SimMarket(settings.sim, instrument), _SIM_START_NS)
    stream = feed.frames()
    return settings, "sim", [next(stream) for _ in range(_SIM_FRAMES)], feed.codec, None


def percentiles(ns: Sequence[int]) -> dict[str, float]:
    """p50 and p99 in us, and how many samples."""
    ordered = sorted(ns)
    if not ordered:
        return {"p50": 0.0, "p99": 0.0, "n": 0}
    rank = min(len(ordered) - 1, int(0.99 * len(ordered)))
    return {"p50": round(ordered[len(ordered) // 2] / 1000, 2), "p99": round(ordered[rank] / 1000, 2), "n": len(ordered)}


class TimedCore(Core):
    """A core that times the frames whose decision sent an order."""

    samples: list[int]

    def on_frame(self, codec: Codec, payload: bytes, ts_recv_ns: int) -> None:
        """Core.on_frame, timed; timers and reports that were due before are work of their own moments, not of this frame."""
        self.advance(ts_recv_ns)
        counters = self.engine.state.counters
        before = (counters.decisions, counters.orders)
        started = perf_counter_ns()
        super().on_frame(codec, payload, ts_recv_ns)
        took = perf_counter_ns() - started
        if counters.decisions != before[0] and counters.orders != before[1]:
            self.samples.append(took)


def measure_hot(data: Path | None) -> dict[str, Any]:
    """Back to back: every frame as fast as it goes; samples are frames whose decision sent an order."""
    settings, venue, frames, codec, _ = inputs(data)
    with throw_away() as folder:
        rig = Rig(settings, venue, frames, codec, folder, orders=True)
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(0.0002)
        for ts, payload in frames:
            rig.core.on_frame(rig.codec, payload, ts)
        result = {"hot": percentiles(rig.samples[50:]), "stages_us": stages(rig)}
        rig.close()
    return result


def measure_paced(data: Path | None, seconds: float) -> dict[str, Any]:
    """At recorded speed with its idle gaps, the decision path kept warm."""
    settings, venue, frames, codec, _ = inputs(data)
    until = next((i for i, (ts, _) in enumerate(frames) if ts > frames[0][0] + 65_000_000_000), len(frames))
    with throw_away() as folder:
        rig = Rig(settings, venue, frames, codec, folder, orders=True)
        for ts, payload in frames[:until]:  # warm-up of the features, not timed
            rig.core.on_frame(rig.codec, payload, ts)
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(0.0002)
        rig.samples.clear()
        deadline = time.monotonic() + seconds
        understudy = Understudy(rig.engine, lambda order: rig.sim.encoder.encode(order, 0))
        paced = run_paced(
            rig.core,
            rig.codec,
            iter(frames[until:]),
            StopFlag(),
            lambda: None,
            deadline,
            1.0,
            understudy.play,
            settings.engine.warm_every_ms,
        )
        run_loop(paced)
        result = {"paced": percentiles(rig.samples)}
        rig.close()
    return result


def stages(rig: Rig) -> dict[str, float]:
    """Median us of each stage on live objects, called alone and warm (so their sum is below the whole)."""
    engine, lane = rig.engine, rig.engine.lanes[0]
    state = engine.state
    quotes = [p for _, p in rig.frames if b"bookTicker" in p][:2000] or [p for _, p in rig.frames][:2000]
    codec = rig.codec
    ts = state.now_ns
    event = Quote(rig.core.seq + 10, ts, ts, 0, 600_000, 600_001, 5, 5)
    encode = msgspec.msgpack.Encoder().encode_into
    buffer = bytearray(65_536)
    order = SubmitOrder("mia0000000000000", 0, 1, "market", 10, 0, 0, False, False, "entry", 1, "")
    nan3 = (0.1, 0.2, 0.7)
    record = RecordDecision(1, ts, 0, 0, "mia-1", "buy", 0.5, 0.5, nan3, nan3, "ok", 0.0, 0.0, 0, 1, 1, ("mia0000000000000",))
    effects: list[AnyEffect] = [record, order]
    ticker = iter(quotes * 4)

    def review() -> None:
        judge(lane.question, state.risk)

    calls: dict[str, Callable[[], object]] = {
        "decode": lambda: codec.decode(next(ticker), ts, 1),
        "encode_event": lambda: encode(event, buffer),
        "features_quote": lambda: lane.plan.on_quote(ts, ts, event.bid_ticks, event.ask_ticks, 5, 5),
        "observe": lambda: lane.plan.observe(ts),
        "check_inputs": lane.check_inputs,
        "infer": lambda: lane.strategy.evaluate(lane.obs, lane.state.regime_probs),
        "risk": review,
        "encode_effects": lambda: encode(effects, buffer),
        "encode_order": lambda: rig.sim.encoder.encode(order, ts // 1_000_000),
    }
    return {name: _median_us(call) for name, call in calls.items()}


def _median_us(call: Callable[[], object], n: int = 2000) -> float:
    samples = []
    for _ in range(n):
        started = perf_counter_ns()
        call()
        samples.append(perf_counter_ns() - started)
    return round(statistics.median(samples) / 1000, 3)


def measure_replay(data: Path | None) -> dict[str, Any]:
    """`--speed max` in process: read, decode, book, features, engine, journal, projection; best and median of three."""
    settings, venue, frames, codec, path = inputs(data)
    count = len(frames)
    rates = []
    for _ in range(3):
        with throw_away() as folder:
            rig = Rig(settings, venue, frames[:1], codec, folder, orders=False)
            stream = ReplayFeed([path], numbered(settings)).frames() if path is not None else iter(frames)
            gc.collect()
            started = time.perf_counter()
            run_loop(run_max(rig.core, rig.codec, stream, StopFlag(), lambda: None, _NEVER))
            rates.append(count / (time.perf_counter() - started))
            rig.close()
    return {"replay_frames_per_s": round(statistics.median(rates)), "best": round(max(rates)), "frames": count}


def measure_memory(data: Path | None, replays: int, frames_max: int) -> dict[str, Any]:
    """RSS over many replays in one process: growth over the second half, in percent."""
    settings, venue, frames, codec, _ = inputs(data)
    frames = frames[:frames_max]
    rss: list[int] = []
    for _ in range(replays):
        with throw_away() as folder:
            rig = Rig(settings, venue, frames, codec, folder, orders=False)
            run_loop(run_max(rig.core, rig.codec, iter(frames), StopFlag(), lambda: None, _NEVER))
            rig.close()
        del rig
        gc.collect()
        rss.append(_rss_kb())
    half = rss[len(rss) // 2 :]
    return {
        "rss_slope_pct": round(100 * (half[-1] - half[0]) / half[0], 2),
        "rss_mb": [round(kb / 1024, 1) for kb in (rss[0], half[0], half[-1])],
    }


def _rss_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def measure_rows(data: Path | None) -> dict[str, Any]:
    """What the loop pays for a row (its record in the journal, which the projection follows), and for a snapshot."""
    settings, venue, frames, codec, _ = inputs(data)
    with throw_away() as folder:
        rig = Rig(settings, venue, frames, codec, folder, orders=False)
        run_loop(run_max(rig.core, rig.codec, iter(frames), StopFlag(), lambda: None, _NEVER))
        nan3 = (0.1, 0.2, 0.7)
        record = RecordDecision(1, 1, 0, 0, "mia-1", "buy", 0.5, 0.5, nan3, nan3, "ok", 0.0, 0.0, 0, 1, 1, ("mia0000000000000",))
        seq = rig.core.seq
        row_us = _median_us(lambda: rig.journal.append_effects(seq, (record,)))
        engine = rig.engine
        size = sum(map(len, engine.snapshot())) + len(rig.sim.snapshot())  # ints
        arrays_us = _median_us(engine.arena.snapshot, 300)
        state_us = max(0.0, _median_us(engine.snapshot, 300) - arrays_us)
        venue_us = _median_us(rig.sim.snapshot, 300)
        rig.close()
    mb = size / 1e6
    return {
        "row_us": row_us,
        "snapshot_us_per_mb": round((arrays_us + state_us + venue_us) / mb, 1),
        "snapshot": {"mb": round(mb, 3), "arrays_us": arrays_us, "state_us": round(state_us, 1), "venue_us": venue_us},
    }


def measure_start(data: Path | None) -> dict[str, Any]:
    """Process start to trading, peak RSS of the daemon, kill -9 to trading again: real processes, wall time."""
    _, _, _, _, path = inputs(data)
    what = ["--replay", str(path), "--speed", "1"] if path is not None else ["--venue", "sim", "--speed", "1"]
    with throw_away() as folder:
        command = [sys.executable, "-m", "miad.app", "--paper", *what, "--state", str(folder / "state")]
        _until_trading(command, 0.5)  # files into the page cache, bytecode written
        shutil.rmtree(folder / "state")
        starts = []
        for _ in range(3):
            shutil.rmtree(folder / "state", ignore_errors=True)
            starts.append(_until_trading(command, 0.2)[0])
        shutil.rmtree(folder / "state")
        fast = [word if word != "1" else "max" for word in command] if path is not None else command
        recovers = []
        _until_trading(fast, 0.4)
        for _ in range(3):
            recovers.append(_until_trading(command, 0.3)[0])
        shutil.rmtree(folder / "state")
        peak = _peak_rss([*fast, "--duration", "5"])
    return {
        "start_s": round(statistics.median(starts), 3),
        "recover_s": round(statistics.median(recovers), 3),
        "rss_peak_mb": round(peak, 1),
    }


def _until_trading(command: list[str], then_s: float) -> tuple[float, str]:
    """Seconds until the daemon says that it trades; it is killed then_s later, as by kill -9."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = ""
    try:
        for line in process.stderr:
            if " trading " in line:
                took = time.monotonic() - started
                time.sleep(then_s)
                return took, line
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.read()  # until the projection's process, which shares it, has gone, too
        process.stderr.close()
    raise RuntimeError(f"miad did not start trading: {line.strip()}")


def _peak_rss(command: list[str]) -> float:
    """Peak RSS in MB of one daemon that runs to its end, by the kernel's own account of the child."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_maxrss / 1024


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(prog="python -m miad.measure")
    parser.add_argument("part", choices=("hot", "paced", "replay", "memory", "rows", "start"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seconds", type=float, default=_PACED_S)
    parser.add_argument("--replays", type=int, default=30)
    parser.add_argument("--frames", type=int, default=1 << 40)
    options = parser.parse_args()
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "hot": lambda: measure_hot(options.data),
        "paced": lambda: measure_paced(options.data, options.seconds),
        "replay": lambda: measure_replay(options.data),
        "memory": lambda: measure_memory(options.data, options.replays, options.frames),
        "rows": lambda: measure_rows(options.data),
        "start": lambda: measure_start(options.data),
    }
    print(msgspec.json.encode(parts[options.part]()).decode())


if __name__ == "__main__":
    main()
