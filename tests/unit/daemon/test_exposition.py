"""What a scrape says: valid OpenMetrics, every metric documented, labels bounded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from mia.control.messages import InstrumentStatus, LaneStatus, Latency, LinkStatus, Status
from mia.telemetry.histogram import Distribution
from mia.telemetry.process import ChildSample, GpuSample, ProcessSample
from miad.exposition import SPECS, STATES, Figures, render, table

ROOT = Path(__file__).resolve().parents[3]
STATUS = Status(
    version="0.1.0", instance="mia", mode="paper", venue="sim", run=3, pid=7, state="NO_NEW", reasons=("paused by the operator",),
    ts="2026-01-01T00:00:00Z", uptime_s=12.5, currency="USDT", equity="10012.5", cash="9000", day_profit="-3.25", drawdown=0.01,
    reconciled_day="2026-01-02", reconciled_difference="-1.5", reconciled_trades=4,
    events=100, decisions=50, orders=4, fills=3, trades=1, refused={"warm_up": 7, "made-up": 2, "also-made-up": 1},
    instruments=(InstrumentStatus(name='si"m:X\\Y', quote_age_ms=250.0, position="-0.5", unrealized="1.5", open_orders=2),
                 InstrumentStatus(name="sim:Z")),
    lanes=(LaneStatus(instrument="sim:Z", strategy="demo", decided_age_s=0.5), LaneStatus(instrument="sim:Z", strategy="demo")),
    links=(LinkStatus(name="feed", state="up"), LinkStatus(name="mqtt", state="degraded")),
    decision_latency=Latency(n=50, p50_ms=0.1, p99_ms=0.4, max_ms=2.0), queues={"alerts": 3}, dropped={"alerts": 1},
    journal_bytes=1 << 28, wal_bytes=4096, tasks=("a", "b"),
)  # fmt: skip
SAMPLE = ProcessSample(
    ts_ns=1, cpu_percent=25.0, rss_bytes=1 << 27, shared_bytes=1 << 26, threads=5, fds=20, switches_voluntary=10, switches_involuntary=2,
    children={"projection": ChildSample(cpu_percent=5.0, rss_bytes=1 << 25)},
    gpus=(GpuSample(name="H200", used_percent=40.0, memory_bytes=9),),
)  # fmt: skip
TIMES = Distribution(n=4, failures=1, mean_ms=2.0, p50_ms=1.0, p95_ms=3.0, p99_ms=3.5, max_ms=4.0)
FULL = Figures(
    status=STATUS, sample=SAMPLE, operations={"inference.evaluate": TIMES}, loop_delay=TIMES, loop_delay_recent=TIMES, rows_dropped=6
)  # fmt: skip


def samples(figures: Figures) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, labels) -> value, as the reference parser reads the text."""
    families = text_string_to_metric_families(render(figures).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_the_reference_parser_reads_every_value() -> None:
    found = samples(FULL)

    expected: dict[tuple[str, tuple[tuple[str, str], ...]], Any] = {
        ("mia_equity", (("currency", "USDT"),)): 10012.5,
        ("mia_day_profit", (("currency", "USDT"),)): -3.25,
        ("mia_reconciled_difference", (("currency", "USDT"),)): -1.5,
        ("mia_reconciled_day_seconds", ()): 1_767_312_000.0,
        ("mia_fills_total", ()): 3,
        ("mia_position", (("instrument", 'si"m:X\\Y'),)): -0.5,
        ("mia_quote_age_seconds", (("instrument", 'si"m:X\\Y'),)): 0.25,
        ("mia_link_up", (("link", "mqtt"),)): 0,
        ("mia_link_up", (("link", "feed"),)): 1,
        ("mia_decision_latency_seconds", (("quantile", "0.99"),)): 0.0004,
        ("mia_decision_latency_seconds_count", ()): 50,
        ("mia_operation_seconds", (("operation", "inference.evaluate"), ("quantile", "0.5"))): 0.001,
        ("mia_operation_seconds_sum", (("operation", "inference.evaluate"),)): 0.008,
        ("mia_operation_failures_total", (("operation", "inference.evaluate"),)): 1,
        ("mia_loop_delay_seconds_count", ()): 4,
        ("mia_dropped_total", (("what", "performance_rows"),)): 6,
        ("mia_process_resident_memory_bytes", ()): 1 << 27,
        ("mia_process_shared_memory_bytes", ()): 1 << 26,
        ("mia_process_cpu_ratio", ()): 0.25,
        ("mia_child_cpu_ratio", (("child", "projection"),)): 0.05,
        ("mia_gpu_memory_used_bytes", (("gpu", "0"), ("name", "H200"))): 9,
        ("mia_build_info", (("instance", "mia"), ("mode", "paper"), ("venue", "sim"), ("version", "0.1.0"))): 1,
    }
    assert {key: found.get(key) for key in expected} == pytest.approx(expected)


def test_exactly_one_state_is_set() -> None:
    for state in STATES:
        found = samples(Figures(status=msgspec.structs.replace(STATUS, state=state)))
        assert {key[1][0][1]: value for key, value in found.items() if key[0] == "mia_state"} == {s: float(s == state) for s in STATES}


def test_what_is_not_known_is_absent_not_zero() -> None:
    bare = Status(version="v", instance="i", mode="paper", venue="sim", run=1, pid=1, state="STARTING", ts="")

    names = {name for name, _ in samples(Figures(status=bare))}

    assert not names & {"mia_equity", "mia_cash", "mia_quote_age_seconds", "mia_decision_latency_seconds", "mia_loop_delay_seconds"}
    assert not {name for name in names if name.startswith("mia_process")}
    assert ("mia_quote_age_seconds", (("instrument", "sim:Z"),)) not in samples(FULL)


def test_labels_come_from_bounded_sets() -> None:
    status = msgspec.structs.replace(
        STATUS, refused={f"code {i}": 1 for i in range(500)}, queues={f"q{i}": 1 for i in range(500)}, dropped={}
    )

    found = samples(Figures(status=status))

    assert {key: value for key, value in found.items() if key[0] == "mia_refusals_total"} == {
        ("mia_refusals_total", (("code", "other"),)): 500
    }
    queues = {key: value for key, value in found.items() if key[0] == "mia_queue_depth"}
    assert len(queues) <= 65
    assert sum(queues.values()) == 500
    assert samples(FULL)["mia_refusals_total", (("code", "warm_up"),)] == 7
    assert samples(FULL)["mia_refusals_total", (("code", "other"),)] == 3


def test_every_metric_is_shown_when_all_is_known_and_none_is_without_a_definition() -> None:
    families = {family.name: family for family in text_string_to_metric_families(render(FULL).decode())}

    assert set(families) == {spec.name for spec in SPECS}
    assert {name: (f.type, f.unit, f.documentation) for name, f in families.items()} == {
        s.name: (s.kind, s.unit, s.meaning) for s in SPECS
    }  # fmt: skip


def test_names_end_in_their_unit_and_begin_with_mia() -> None:
    for spec in SPECS:
        assert re.fullmatch(r"mia_[a-z_]+", spec.name)
        assert not spec.unit or spec.name.endswith(f"_{spec.unit}")
        assert spec.unit in ("", "seconds", "bytes", "ratio")


def test_the_documentation_has_the_table_of_the_metrics() -> None:
    assert table() in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
