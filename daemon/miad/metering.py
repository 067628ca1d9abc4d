"""What the daemon measures of itself, put together: samples, timings, the loop's delay, the probe, performance files, the endpoint.

Everything here is slow lane: bounded, read-only towards trading, and a failure of it is said, never felt.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from mia.control.messages import Latency, Status
from mia.domain.effects import AnyEffect, SubmitOrder
from mia.domain.events import AnyEvent, OrderFilled, OrderRejected
from mia.domain.orders import OrderType
from mia.telemetry.histogram import Distribution
from mia.telemetry.loop_delay import LoopDelay
from mia.telemetry.openmetrics import OpenMetricsEndpoint
from mia.telemetry.performance_csv import PerformanceCsvs, performance_rows
from mia.telemetry.process import Children, ProcessSampler
from mia.telemetry.settings import MetricsSettings
from mia.telemetry.tracker import OperationTracker
from miad.core import Core
from miad.probe import StageProbe

DECISION: Final = "live_trading.decision"  # frame received to orders sent
LOOP_DELAY: Final = "trading_loop.delay"
FILL: Final = "trade_executor.fill"  # market order sent to its first fill
_DRAIN_S: Final = 1.0
_DRAIN_MAX: Final = 2000  # decisions counted per drain: 0.6 ms of the loop
_IN_FLIGHT_MAX: Final = 1024
_STOOD_STILL_NS: Final = 1_000_000_000  # not a hiccup any more: quotes are old, links may be lost
Make = Callable[[], Coroutine[Any, Any, None]]


class Metering:
    """Built once per run of the daemon. `tasks` names what is to be run; `close` writes the last rows."""

    def __init__(
        self,
        settings: MetricsSettings,
        core: Core,
        *,
        logs: Path,
        status: Callable[[], Status],
        warn: Callable[[str, str], None],
        children: Children = dict,
        on_listening: Callable[[str], None] = lambda url: None,
    ) -> None:
        """logs: of the state directory. status: asked at each scrape. children: name -> pid. on_listening: is told the endpoint's URL."""
        self._settings: Final = settings
        self._core: Final = core
        self._status: Final = status
        self._decisions_seen = core.latencies.count
        self._in_flight: Final[dict[str, int]] = {}
        self.tracker: Final = OperationTracker()
        self.sampler: Final = ProcessSampler(interval_s=settings.interval_s, keep_samples=settings.keep_samples, children=children)
        self.loop_delay: Final = LoopDelay(on_delay=self._loop_was_late)
        self._warn: Final = warn
        self.probe: Final = StageProbe(core.engine, self.tracker.record, every_s=settings.probe_every_s)
        self.csvs: Final = PerformanceCsvs(logs, max_bytes=settings.csv_max_bytes, keep=settings.csv_keep, warn=warn)
        if settings.enabled and settings.endpoint:
            importlib.import_module("miad.exposition")  # now, not in the first scrape: it would hold the loop for 14 ms
        self.endpoint: Final = OpenMetricsEndpoint(settings.address, settings.port, self._scrape, on_listening=on_listening)

    def tasks(self) -> dict[str, Make]:
        """Name -> coroutine function, for the supervisor. Each runs until canceled.

        `metrics-endpoint` raises Transient when its port cannot be had: nothing else depends on it.
        """
        settings = self._settings
        # What status and the heartbeat show is measured always.
        tasks: dict[str, Make] = {"process-sampler": self.sampler.run, "loop-delay": self.loop_delay.run}
        if not settings.enabled:
            return tasks
        tasks["performance"] = self._run_performance
        if settings.probe_every_s > 0:
            tasks["stage-probe"] = self.probe.run
        if settings.endpoint:
            tasks["metrics-endpoint"] = self.endpoint.run
        return tasks

    def effects(self, event: AnyEvent, effects: Sequence[AnyEffect]) -> None:
        """A listener of the core: market orders are timed from leaving to their first fill, in receive time; a rejection is a failure."""
        for effect in effects:
            if type(effect) is SubmitOrder and effect.order_type is OrderType.MARKET:
                if len(self._in_flight) >= _IN_FLIGHT_MAX:
                    del self._in_flight[next(iter(self._in_flight))]
                self._in_flight[effect.client_order_id] = event.ts_recv_ns
        if type(event) is OrderRejected:
            self._answered(event, success=False)

    def fill(self, fill: OrderFilled) -> None:
        """A listener of the core, for fills: they may have no effects."""
        self._answered(fill, success=True)

    def _answered(self, report: OrderFilled | OrderRejected, *, success: bool) -> None:
        sent_ns = self._in_flight.pop(report.client_order_id, None)
        if sent_ns is not None:
            self.tracker.record(FILL, report.ts_recv_ns - sent_ns, success)

    def _loop_was_late(self, delay_ns: int) -> None:
        self.tracker.record(LOOP_DELAY, delay_ns)
        if delay_ns >= _STOOD_STILL_NS:
            self._warn("stood_still", f"miad stood still for {delay_ns / 1e9:.1f} s (machine suspended, swapping or overloaded?)")

    def latency_of_loop(self) -> Latency:
        """The loop's delay of the last minute, as status shows it."""
        return _latency(self.loop_delay.recent())

    async def close(self) -> None:
        """The last rows; takes as long as the disk does."""
        if self._settings.enabled:
            await asyncio.to_thread(self.csvs.write, self._rows())

    async def _run_performance(self) -> None:
        interval_s = self._settings.performance_interval_s
        due_s = time.monotonic() + interval_s
        while True:
            await asyncio.sleep(max(0.0, min(_DRAIN_S, due_s - time.monotonic())))
            self._drain()
            if time.monotonic() >= due_s:
                due_s += interval_s
                await asyncio.to_thread(self.csvs.write, self._rows())

    def _drain(self) -> None:
        """Count the decisions since the last look."""
        latencies = self._core.latencies
        for latency_ns in latencies.since(self._decisions_seen, _DRAIN_MAX):
            self.tracker.record(DECISION, latency_ns)
        self._decisions_seen = latencies.count

    def _rows(self) -> dict[str, list[bytes]]:
        self._drain()
        sample = self.sampler.last or self.sampler.sample()
        rss_mb, cpu_percent = (sample.rss_bytes / (1 << 20), sample.cpu_percent) if sample is not None else (float("nan"),) * 2
        return performance_rows(time.time_ns(), self.tracker.take_interval(), rss_mb, cpu_percent)

    def _scrape(self) -> bytes:
        from miad.exposition import Figures, render  # prometheus_client: 1.9 MB, only where there is an endpoint

        return render(
            Figures(
                status=self._status(),
                sample=self.sampler.last,
                operations=self.tracker.report(),
                loop_delay=self.loop_delay.total(),
                loop_delay_recent=self.loop_delay.recent(),
                rows_dropped=self.csvs.rows_dropped,
            )
        )


def _latency(d: Distribution) -> Latency:
    return Latency(n=d.n, p50_ms=d.p50_ms, p99_ms=d.p99_ms, max_ms=d.max_ms)
