"""The parts of metrics together: a real scrape, rows on the disk, orders timed, and what stays when metrics are off."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from mia.assemble import build_engine
from mia.control.messages import Status
from mia.domain import events as ev
from mia.domain.effects import SubmitOrder
from mia.domain.orders import OrderType, Purpose
from mia.settings import load_settings
from mia.telemetry.settings import MetricsSettings
from miad.latency import Latencies
from miad.metering import FILL, Metering

MS = 1_000_000


def status() -> Status:
    return Status(version="v", instance="mia", mode="paper", venue="sim", run=1, pid=1, state="READY", ts="")


@pytest.fixture(scope="module")
def engine() -> Any:
    return build_engine(load_settings(environ={}).settings, "sim")


def metering(engine: Any, logs: Path, on_listening: Callable[[str], None] = lambda url: None, **settings: Any) -> Metering:
    core: Any = SimpleNamespace(engine=engine, latencies=Latencies())
    given = MetricsSettings(**{"port": 0, "interval_s": 0.1, "performance_interval_s": 0.1, **settings})
    return Metering(given, core, logs=logs, status=status, warn=lambda code, text: None, on_listening=on_listening)


def submit(order: str) -> SubmitOrder:
    return SubmitOrder(order, 0, 1, OrderType.MARKET, 5, 0, 0, False, False, Purpose.ENTRY, 1, "")


def test_a_scrape_of_the_running_tasks_and_the_rows_they_write(engine: Any, tmp_path: Path) -> None:
    async def scenario() -> str:
        url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        meter = metering(engine, tmp_path, url.set_result)
        meter._core.latencies.add(3 * MS)
        tasks = [asyncio.create_task(make(), name=name) for name, make in meter.tasks().items()]
        host, port = (await url).split("/")[2].split(":")
        while not (tmp_path / "trading_loop_performance.csv").exists():
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /metrics HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        meter._core.latencies.add(5 * MS)
        await meter.close()
        return answer.partition(b"\r\n\r\n")[2].decode()

    text = asyncio.run(scenario())

    families = {f.name: f for f in text_string_to_metric_families(text)}
    assert families["mia_process_resident_memory_bytes"].samples[0].value > 1 << 20
    assert families["mia_loop_delay_seconds"].samples
    assert {s.labels["operation"] for s in families["mia_operation_seconds"].samples} >= {"live_trading.decision", "trading_loop.delay"}
    with (tmp_path / "live_trading_performance.csv").open(newline="") as file:
        first, last = csv.DictReader(file)
    assert (first["operation"], first["n"], first["latency"]) == ("decision", "1", "3.0")
    assert (last["n"], last["latency"]) == ("1", "5.0")  # written by close: nothing of the last interval is lost
    assert float(first["memory_usage_mb"]) > 1


def test_a_market_order_is_timed_to_its_first_fill_and_a_rejection_is_a_failure(engine: Any, tmp_path: Path) -> None:
    meter = metering(engine, tmp_path)
    resting = msgspec.structs.replace(submit("c"), order_type=OrderType.LIMIT)

    meter.effects(ev.Timer(1, 0, 1000), (submit("a"), submit("b"), resting))
    for ts, order in ((4, "a"), (9, "a"), (50, "c"), (60, "unknown")):
        meter.fill(ev.OrderFilled(3, 0, 1000 + ts * MS, order, f"F{ts}", 0, 1, 100, 5, 0, False))
    meter.effects(ev.OrderRejected(4, 0, 1000 + 6 * MS, "b", "no", "said no"), ())

    report = meter.tracker.report()[FILL]
    assert (report.n, report.failures, report.mean_ms, report.max_ms) == (2, 1, 5.0, 6.0)


def test_orders_that_are_never_answered_do_not_fill_the_memory(engine: Any, tmp_path: Path) -> None:
    meter = metering(engine, tmp_path)

    for i in range(3000):
        meter.effects(ev.Timer(i, 0, i), (submit(f"o{i}"),))

    assert len(meter._in_flight) == 1024


def test_off_means_no_files_and_no_endpoint_but_status_keeps_its_figures(engine: Any, tmp_path: Path) -> None:
    meter = metering(engine, tmp_path, enabled=False)

    assert set(meter.tasks()) == {"process-sampler", "loop-delay"}
    asyncio.run(meter.close())
    assert list(tmp_path.iterdir()) == []
    assert set(metering(engine, tmp_path, endpoint=False, probe_every_s=0.0).tasks()) == {"process-sampler", "loop-delay", "performance"}


def test_latencies_are_handed_out_once_the_last_ones_first_to_stay() -> None:
    latencies = Latencies()
    for i in range(70_000):
        latencies.add(i)

    assert latencies.since(69_997, 10) == [69_997, 69_998, 69_999]
    assert latencies.since(0, 2) == [69_998, 69_999]
    assert latencies.since(70_000, 10) == []
