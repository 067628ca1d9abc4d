"""The daemon's figures as OpenMetrics: which metrics there are, what they mean, and where each value comes from.

Every label takes values from a bounded set (settings, enums, our own names). `python -m miad.exposition` prints the
table of docs/metrics.md; a test compares them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest

from mia.control.messages import Latency, Status
from mia.domain.codes import Code
from mia.telemetry.histogram import Distribution
from mia.telemetry.process import ProcessSample

STATES: Final = ("STARTING", "READY", "DEGRADED", "NO_NEW", "SAFE", "HALTED", "KILLED", "STOPPING")
_CODES: Final = frozenset(str(code) for code in Code)
_NAMES_MAX: Final = 64  # of one label of ours, should a part invent names
_OTHER: Final = "other"


class Spec(NamedTuple):
    """One metric family: kind is info, stateset, gauge, counter or summary; the unit is the end of its name."""

    name: str
    kind: str
    unit: str
    labels: tuple[str, ...]
    meaning: str


SPECS: Final = (
    Spec("mia_build", "info", "", ("version", "instance", "mode", "venue"), "Which daemon answers; always 1."),
    Spec("mia_state", "stateset", "", ("mia_state",), "The daemon's state: 1 for the one it is in."),
    Spec("mia_reasons", "gauge", "", (), "Reasons in force against READY; `mia status` says them in words."),
    Spec("mia_uptime_seconds", "gauge", "seconds", (), "Since this process started."),
    Spec("mia_tasks", "gauge", "", (), "Named tasks of the loop that run."),
    Spec("mia_equity", "gauge", "", ("currency",), "Cash and open positions at the last mid, account currency."),
    Spec("mia_cash", "gauge", "", ("currency",), "Cash of the account."),
    Spec("mia_day_profit", "gauge", "", ("currency",), "Profit since the start of the UTC day, after fees."),
    Spec("mia_reconciled_difference", "gauge", "", ("currency",),
         "Live less backtest over the last UTC day that `mia backtest reconcile --record` compared; absent before."),
    Spec("mia_reconciled_day_seconds", "gauge", "seconds", (), "When that day began, Unix time."),
    Spec("mia_drawdown_ratio", "gauge", "ratio", (), "Fall of equity from its peak, 0 to 1."),
    Spec("mia_events", "counter", "", (), "Market events taken in, of all runs of this state directory."),
    Spec("mia_decisions", "counter", "", (), "Decisions, of all runs."),
    Spec("mia_orders", "counter", "", (), "Orders sent, of all runs."),
    Spec("mia_fills", "counter", "", (), "Fills received, of all runs."),
    Spec("mia_trades", "counter", "", (), "Round trips closed, of all runs."),
    Spec("mia_refusals", "counter", "", ("code",), "Decisions that were refused, held or shrunk, by code (docs/refusal_codes.md)."),
    Spec("mia_position", "gauge", "", ("instrument",), "Position, signed, in units of the base."),
    Spec("mia_unrealized_profit", "gauge", "", ("instrument", "currency"), "Of the open position, at the last mid."),
    Spec("mia_open_orders", "gauge", "", ("instrument",), "Orders at the venue."),
    Spec("mia_quote_age_seconds", "gauge", "seconds", ("instrument",), "Since the last quote; absent before the first one."),
    Spec("mia_decision_age_seconds", "gauge", "seconds", ("lane", "instrument"), "Since the lane's last decision; absent before it."),
    Spec("mia_link_up", "gauge", "", ("link",), "1 when a connection (feed, broker, mqtt, ...) is up."),
    Spec("mia_loop_delay_seconds", "summary", "seconds", ("quantile",), "Lateness of the loop; its quantiles are of the last minute."),
    Spec("mia_loop_delay_max_seconds", "gauge", "seconds", (), "Greatest lateness since the start."),
    Spec("mia_decision_latency_seconds", "summary", "seconds", ("quantile",), "Frame received to orders sent, of this process."),
    Spec("mia_operation_seconds", "summary", "seconds", ("operation", "quantile"),
         "Timed operations: FILE.OPERATION of logs/*_performance.csv."),
    Spec("mia_operation_failures", "counter", "", ("operation",), "Timed operations that failed."),
    Spec("mia_queue_depth", "gauge", "", ("queue",), "Waiting in the slow lane: alerts, log records, events not yet in the database, ..."),
    Spec("mia_dropped", "counter", "", ("what",), "Dropped by this process: alerts, log records, bad frames, rows of performance files."),
    Spec("mia_journal_bytes", "gauge", "bytes", (), "Size of the journal's files."),
    Spec("mia_wal_bytes", "gauge", "bytes", (), "Size of the database's write-ahead log."),
    Spec("mia_process_resident_memory_bytes", "gauge", "bytes", (), "RSS of the daemon at the last sample."),
    Spec("mia_process_shared_memory_bytes", "gauge", "bytes", (), "Of it, pages of mapped files: journal segment and libraries."),
    Spec("mia_process_cpu_ratio", "gauge", "ratio", (), "CPU of the daemon between the last two samples; 1 is one core."),
    Spec("mia_process_threads", "gauge", "", (), "Threads."),
    Spec("mia_process_open_fds", "gauge", "", (), "Open file descriptors."),
    Spec("mia_process_context_switches", "counter", "", ("kind",), "Voluntary (waited) and involuntary (was pushed aside)."),
    Spec("mia_child_resident_memory_bytes", "gauge", "bytes", ("child",), "RSS of a child process (projection, exchange)."),
    Spec("mia_child_cpu_ratio", "gauge", "ratio", ("child",), "CPU of a child process; 1 is one core."),
    Spec("mia_gpu_utilization_ratio", "gauge", "ratio", ("gpu", "name"), "Of a GPU, whoever uses it; absent without a driver."),
    Spec("mia_gpu_memory_used_bytes", "gauge", "bytes", ("gpu", "name"), "Memory in use on a GPU."),
)  # fmt: skip


class Figures(NamedTuple):
    """Everything a scrape shows, as its parts give it."""

    status: Status
    sample: ProcessSample | None = None
    operations: Mapping[str, Distribution] = {}
    loop_delay: Distribution | None = None  # since the start
    loop_delay_recent: Distribution | None = None
    rows_dropped: int = 0


class _Page:
    """Families by name, filled by the functions below."""

    def __init__(self) -> None:
        self._specs: Final = {spec.name: spec for spec in SPECS}
        self.families: Final = {spec.name: Metric(spec.name, spec.meaning, spec.kind, spec.unit) for spec in SPECS}

    def add(self, name: str, value: float | str | None, labels: tuple[str, ...] = (), suffix: str = "") -> None:
        """One sample; text that is empty, or None, is not known and left out."""
        if value is None or value == "":
            return
        spec = self._specs[name]
        suffix = suffix or ("_total" if spec.kind == "counter" else "_info" if spec.kind == "info" else "")
        self.families[name].add_sample(name + suffix, dict(zip(spec.labels, labels, strict=False)), float(value))

    def collect(self) -> Iterable[Metric]:
        """As a registry of prometheus_client would: families that hold something."""
        return (family for family in self.families.values() if family.samples)


def render(figures: Figures) -> bytes:
    """The text of one scrape."""
    page = _Page()
    _who(page, figures.status)
    _account(page, figures.status)
    _markets(page, figures.status)
    _machinery(page, figures)
    _timings(page, figures)
    _process(page, figures.sample)
    return bytes(generate_latest(page))  # type: ignore[no-untyped-call]  # all it asks of a registry is `collect`


def _who(page: _Page, s: Status) -> None:
    page.add("mia_build", 1, (s.version, s.instance, s.mode, s.venue))
    for state in STATES:
        page.add("mia_state", int(s.state == state), (state,))
    page.add("mia_reasons", len(s.reasons))
    page.add("mia_uptime_seconds", s.uptime_s)
    page.add("mia_tasks", len(s.tasks))


def _account(page: _Page, s: Status) -> None:
    currency = (s.currency,)
    page.add("mia_equity", s.equity, currency)
    page.add("mia_cash", s.cash, currency)
    page.add("mia_day_profit", s.day_profit, currency)
    page.add("mia_reconciled_difference", s.reconciled_difference, currency)
    if s.reconciled_day:
        page.add("mia_reconciled_day_seconds", datetime.fromisoformat(s.reconciled_day).replace(tzinfo=UTC).timestamp())
    page.add("mia_drawdown_ratio", s.drawdown)
    for name, count in (("events", s.events), ("decisions", s.decisions), ("orders", s.orders), ("fills", s.fills), ("trades", s.trades)):
        page.add(f"mia_{name}", count)
    for code, count in _folded(s.refused, lambda code: code in _CODES).items():
        page.add("mia_refusals", count, (code,))


def _markets(page: _Page, s: Status) -> None:
    for i in s.instruments:
        page.add("mia_position", i.position, (i.name,))
        page.add("mia_unrealized_profit", i.unrealized, (i.name, s.currency))
        page.add("mia_open_orders", i.open_orders, (i.name,))
        page.add("mia_quote_age_seconds", None if i.quote_age_ms is None else i.quote_age_ms / 1e3, (i.name,))
    for number, lane in enumerate(s.lanes):
        page.add("mia_decision_age_seconds", lane.decided_age_s, (str(number), lane.instrument))


def _machinery(page: _Page, figures: Figures) -> None:
    s = figures.status
    for link in s.links[:_NAMES_MAX]:
        page.add("mia_link_up", int(link.state == "up"), (link.name,))
    for name, depth in _folded(s.queues).items():
        page.add("mia_queue_depth", depth, (name,))
    for name, count in _folded({**s.dropped, "performance_rows": figures.rows_dropped}).items():
        page.add("mia_dropped", count, (name,))
    page.add("mia_journal_bytes", s.journal_bytes)
    page.add("mia_wal_bytes", s.wal_bytes)


def _timings(page: _Page, figures: Figures) -> None:
    recent, total = figures.loop_delay_recent, figures.loop_delay
    if recent is not None and total is not None:
        _quantiles(page, "mia_loop_delay_seconds", recent, total)
        page.add("mia_loop_delay_max_seconds", total.max_ms / 1e3)
    latency: Latency = figures.status.decision_latency
    if latency.n:
        page.add("mia_decision_latency_seconds", latency.p50_ms / 1e3, ("0.5",))
        page.add("mia_decision_latency_seconds", latency.p99_ms / 1e3, ("0.99",))
        page.add("mia_decision_latency_seconds", latency.n, suffix="_count")
    for operation, d in figures.operations.items():
        _quantiles(page, "mia_operation_seconds", d, d, (operation,))
        page.add("mia_operation_failures", d.failures, (operation,))


def _quantiles(page: _Page, name: str, recent: Distribution, total: Distribution, labels: tuple[str, ...] = ()) -> None:
    for quantile, ms in (("0.5", recent.p50_ms), ("0.95", recent.p95_ms), ("0.99", recent.p99_ms)):
        page.add(name, round(ms / 1e3, 9), (*labels, quantile))
    page.add(name, total.n, labels, "_count")
    page.add(name, round(total.n * total.mean_ms / 1e3, 9), labels, "_sum")


def _process(page: _Page, sample: ProcessSample | None) -> None:
    if sample is None:
        return
    page.add("mia_process_resident_memory_bytes", sample.rss_bytes)
    page.add("mia_process_shared_memory_bytes", sample.shared_bytes)
    page.add("mia_process_cpu_ratio", sample.cpu_percent / 100)
    page.add("mia_process_threads", sample.threads)
    page.add("mia_process_open_fds", sample.fds)
    page.add("mia_process_context_switches", sample.switches_voluntary, ("voluntary",))
    page.add("mia_process_context_switches", sample.switches_involuntary, ("involuntary",))
    for name, child in sample.children.items():
        page.add("mia_child_resident_memory_bytes", child.rss_bytes, (name,))
        page.add("mia_child_cpu_ratio", child.cpu_percent / 100, (name,))
    for index, gpu in enumerate(sample.gpus):
        page.add("mia_gpu_utilization_ratio", gpu.used_percent / 100, (str(index), gpu.name))
        page.add("mia_gpu_memory_used_bytes", gpu.memory_bytes, (str(index), gpu.name))


def _folded(counts: Mapping[str, int], is_known: Callable[[str], bool] = lambda name: True) -> dict[str, int]:
    """Counts by name; names that are not known, or beyond _NAMES_MAX, are summed as `other`."""
    found: dict[str, int] = {}
    for name, count in sorted(counts.items()):
        label = name if is_known(name) and len(found) < _NAMES_MAX else _OTHER
        found[label] = found.get(label, 0) + count
    return found


def table() -> str:
    """SPECS as a table in Markdown, one line per metric, with the names that a query uses."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for spec in SPECS:
        name = spec.name + {"counter": "_total", "info": "_info"}.get(spec.kind, "")
        lines.append(f"| `{name}` | {spec.kind} | {', '.join(f'`{label}`' for label in spec.labels)} | {spec.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
