"""Measurements of the daemon as a service, one part per process: `python -m miad.measure_service PART`, JSON on stdout.

Which question each part answers: latency: how long from a frame that the exchange writes to the order that it receives, at the demo
market's own pace? hour: does the daemon keep its memory, its loop and its alerts while an hour of market passes at 20 x? start: how soon
does it trade on the demo exchange, fresh and after kill -9? All processes are real and talk over loopback; settings are the shipped ones.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import statistics
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from mia.assemble import build_engine
from mia.domain.effects import SubmitOrder
from mia.domain.events import AnyEvent, Quote, Trade
from mia.domain.instruments import Instrument
from mia.ports import Venue
from mia.settings import Loaded, load_settings
from mia.shipped import shipped
from mia.sim.servers.wire import Texts
from mia.store.reader import JournalReader
from mia.store.state_dir import StateDir
from mia.telemetry import log as telemetry
from miad import eventloop
from miad.daemon import Daemon
from miad.measure import percentiles, throw_away
from miad.measure_hour import Hour, until_trading
from miad.options import parse
from miad.understudy import ChangingSides

_WARM_S: Final = 15.0  # of the run, not counted: 10 s of quotes make the features warm
_MIN_INTERVAL_NS: Final = 100_000_000
_INTERRUPTED: Final = 130
# Nothing stands in the way of an order, nothing goes anywhere but to the exchange.
_OPEN: Final = {
    "instance.venue": "demo",
    "risk.orders_per_minute_max": "4096",
    "risk.daily_loss_max": "1.0",
    "risk.drawdown_max": "1.0",
    "risk.overtrade_trades_per_hour": "4096",
    "execution.dead_band_share": "0.0",
    "demo.port": "0",
    "demo.orders_per_10s": "10000",
    "metrics.port": "0",
    "mqtt.enabled": "false",
}


# --- frame to order -------------------------------------------------------------------------------------------------------
class TimedDaemon(Daemon):
    """The daemon, with a stamp on each order just before its bytes are written."""

    def _build(self, venue: Venue) -> None:
        super()._build(venue)
        self.posted_ns: dict[str, int] = {}
        api, posted = self._connection._api, self.posted_ns
        post = api.post

        def stamped(method: str, request_id: str, *rest: Any) -> bool:
            posted[request_id] = time.monotonic_ns()
            return bool(post(method, request_id, *rest))

        api.post = stamped

    async def _trade(self) -> None:
        self.trading_ns = time.monotonic_ns()
        await super()._trade()

    @property
    def clock_offset_ns(self) -> int:
        """Receive time minus the monotonic clock."""
        return self._clock.now_ns() - time.monotonic_ns()

    @property
    def loop_delay_p99_ms(self) -> float:
        """Of its last 30 to 60 s."""
        return round(self._metering.latency_of_loop().p99_ms, 2)

    @property
    def stop_reason(self) -> str:
        """Why it ended."""
        return self._stop.reason


class Trace:
    """What the exchange noted: when frames left, when orders came."""

    def __init__(self, text: str) -> None:
        self.frames: dict[str, list[int]] = {}
        self.orders: dict[str, int] = {}
        for line in text.splitlines():
            kind, ns, rest = line.split(" ", 2)
            if kind == "O":
                self.orders[rest.split(" ", 1)[0]] = int(ns)
                continue
            stream, numbers = rest.split(" ", 1)
            if stream.endswith("@bookTicker"):
                numbers = numbers.split(" ", 1)[1]  # a quote does not carry the update's number
            self.frames.setdefault(f"{stream.split('@')[1]} {numbers}", []).append(int(ns))

    def sent_ns(self, key: str, before_ns: int) -> int:
        """When the last frame with these numbers left before a moment; 0 when there is none."""
        sent = self.frames.get(key, [])
        at = bisect_right(sent, before_ns)
        return sent[at - 1] if at else 0


def key_of(event: AnyEvent, texts: Texts) -> str:
    """What the trace calls the frame of this event; empty when no frame brought it."""
    if type(event) is Quote:
        return (
            f"bookTicker {texts.price(event.bid_ticks)} {texts.size(event.bid_lots)} "
            f"{texts.price(event.ask_ticks)} {texts.size(event.ask_lots)}"
        )
    return f"trade {event.venue_trade_id}" if type(event) is Trade else ""


def attribute(
    journal: Path, trace: Trace, instrument: Instrument, posted_ns: Mapping[str, int], offset_ns: int, from_ns: int
) -> dict[str, Any]:
    """Each order of the journal after from_ns (monotonic) with the frame that caused it; what has none is counted by its reason."""
    texts, left = Texts(instrument), Counter[str]()
    rows: list[tuple[int, int, int, int]] = []  # monotonic: frame written, in our callback, order about to be written, order received
    for entry in JournalReader(journal):
        called_ns = entry.event.ts_recv_ns - offset_ns
        for order in entry.effects:
            if type(order) is not SubmitOrder:
                continue
            name, key = order.client_order_id, key_of(entry.event, texts)
            sent_ns = trace.sent_ns(key, called_ns) if key else 0
            if called_ns < from_ns:
                left["warm_up"] += 1
            elif not key:
                left[f"caused_by_{type(entry.event).__name__}"] += 1
            elif not sent_ns:
                left["frame_not_found"] += 1
            elif name not in posted_ns:
                left["not_sent"] += 1
            elif name not in trace.orders:
                left["not_received"] += 1
            else:
                rows.append((sent_ns, called_ns, posted_ns[name], trace.orders[name]))
    parts = {
        "exchange_to_callback": [b - a for a, b, _, _ in rows],
        "inside_the_daemon": [c - b for _, b, c, _ in rows],
        "daemon_to_exchange": [d - c for _, _, c, d in rows],
    }
    whole = [d - a for a, _, _, d in rows]
    return {
        "order_latency_us": percentiles(whole),
        "order_latency_max_us": round(max(whole, default=0) / 1000, 1),
        "parts_us": {name: percentiles(values) for name, values in parts.items()},
        "left_out": dict(left),
    }


def measure_latency(seconds: float, warm_s: float = _WARM_S) -> dict[str, Any]:
    """Every decision on a quote sends a signed order to the exchange, at most ten a second."""
    with throw_away() as folder:
        state, trace = folder / "state", folder / "trace"
        config = shipped("config") / "miad.toml"

        def load() -> Loaded:
            return load_settings(config, _OPEN)

        loaded = load()
        engine = build_engine(loaded.settings, "demo")
        for lane in engine.lanes:
            lane.strategy = ChangingSides(lane.strategy, _MIN_INTERVAL_NS)  # type: ignore[misc]
            lane.alpha_min, lane.min_interval_ns, lane.trigger = 0.0, _MIN_INTERVAL_NS, "quote"  # type: ignore[misc]
        options = parse(["--paper", "--venue", "demo", "--state", str(state), "--duration", str(warm_s + seconds)])
        state_dir = StateDir(state)
        try:
            telemetry.configure(msgspec.structs.replace(loaded.settings.logging, level="error"), state_dir=state_dir.path)
            daemon = TimedDaemon(options, loaded, load, None, engine, state_dir, time.monotonic())
            daemon.exchange_trace = trace
            eventloop.run(daemon.live())
        finally:
            telemetry.shutdown()
            state_dir.close()
        if daemon.stop_reason != "duration":
            raise KeyboardInterrupt(daemon.stop_reason)
        gc.unfreeze()
        found = attribute(
            state / "journal", Trace(trace.read_text()), engine.config.instruments[0], daemon.posted_ns, daemon.clock_offset_ns,
            daemon.trading_ns + int(warm_s * 1e9),
        )  # fmt: skip
    return {**found, "loop_delay_p99_ms": daemon.loop_delay_p99_ms, "seconds": seconds}


# --- start ------------------------------------------------------------------------------------------------------------------
def measure_start(times: int = 3) -> dict[str, Any]:
    """Process start to trading on the demo exchange, and kill -9 to trading again: medians of wall time."""
    starts: list[float] = []
    recovers: list[float] = []
    with throw_away() as folder:
        state = folder / "state"
        for turn in range(times + 1):  # the first one reads files into the page cache
            for figures in (starts, recovers):  # the second begins on what the kill of the first left
                with until_trading(state) as (miad, _, took_s):
                    if turn:
                        figures.append(took_s)
                    time.sleep(0.5)
                    miad.kill()
            shutil.rmtree(state)
    return {"start_s": round(statistics.median(starts), 3), "recover_s": round(statistics.median(recovers), 3)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part; 130 when it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m miad.measure_service")
    parser.add_argument("part", choices=("latency", "hour", "start"))
    parser.add_argument("--seconds", type=float, default=45.0, help="of wall time (latency, hour)")
    parser.add_argument("--speed", type=float, default=20.0, help="market seconds per second (hour)")
    parser.add_argument("--times", type=int, default=3, help="how often (start)")
    options = parser.parse_args(arguments)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "latency": lambda: measure_latency(options.seconds),
        "hour": lambda: Hour(options.seconds, options.speed).measure(),
        "start": lambda: measure_start(options.times),
    }
    try:
        print(msgspec.json.encode(parts[options.part]()).decode())
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
