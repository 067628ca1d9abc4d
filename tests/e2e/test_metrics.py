"""A daemon that is measured: scraped over its socket while it trades, its rows on the disk when it ended."""

from __future__ import annotations

import csv
import re
import socket
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def scrape(url: str) -> dict[str, Any]:
    """Families by name."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}


def test_a_trading_daemon_answers_a_scrape_and_leaves_its_rows(miad: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = miad.start("--venue", "sim", "--state", state, "--duration", "4", MIA__METRICS__PERFORMANCE_INTERVAL_S="3600")
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"metrics at (http://127\.0\.0\.1:\d+/metrics)", line):
            break
    assert found, "".join(lines)

    families = scrape(found.group(1))
    _, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert families["mia_process_resident_memory_bytes"].samples[0].value > 10 << 20
    assert sum(sample.value for sample in families["mia_state"].samples) == 1
    assert families["mia_events"].samples[0].value > 0
    with (state / "logs" / "live_trading_performance.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))  # written at the end: no interval was over
    assert rows[-1]["operation"] == "decision"
    assert float(rows[-1]["latency"]) > 0
    for name in ("trading_loop", "inference", "risk", "trade_probability", "trade_window_filter"):
        assert (state / "logs" / f"{name}_performance.csv").exists()


def test_a_taken_port_is_said_once_and_the_daemon_trades_on(miad: Any, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        ended = miad.run("--venue", "sim", "--state", tmp_path / "state", "--duration", "4", MIA__METRICS__PORT=str(port))

    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    said = [line for line in ended.err.splitlines() if f"cannot listen on 127.0.0.1:{port}" in line and " state " not in line]
    assert len(said) == 1, ended.err
    assert re.search(r"^decisions  [1-9]", ended.out, re.MULTILINE), ended.out
