"""Performance files: their columns, rotation, what is set aside, and a disk that takes nothing."""

from __future__ import annotations

import csv
import os
from datetime import datetime
from pathlib import Path

import pytest

from mia.telemetry.performance_csv import PERFORMANCE_COLUMNS, PERFORMANCE_NAMES, PerformanceCsvs, RotatedCsv, performance_rows
from mia.telemetry.tracker import OperationTracker

TS_NS = 1_750_000_000_123_456_789
HEADER = ",".join(PERFORMANCE_COLUMNS) + "\n"


class Warned(list[tuple[str, str]]):
    """What was said."""

    def __call__(self, code: str, text: str) -> None:
        self.append((code, text))


def _writer(folder: Path, warn: Warned | None = None) -> PerformanceCsvs:
    return PerformanceCsvs(folder, max_bytes=1 << 20, keep=2, warn=warn if warn is not None else Warned())


def _rows() -> dict[str, list[bytes]]:
    tracker = OperationTracker()
    tracker.record("inference.evaluate", 1_000_000)
    tracker.record("inference.evaluate", 3_000_000, success=False)
    tracker.record("risk.review", 20_000)
    tracker.record("heartbeat", 5)
    return performance_rows(TS_NS, tracker.take_interval(), 101.25, 7.5)


def test_a_row_has_the_promised_columns_first(tmp_path: Path) -> None:
    _writer(tmp_path / "logs").write(_rows())

    with (tmp_path / "logs" / "inference_performance.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row)[:6] == ["timestamp", "operation", "latency", "success", "memory_usage_mb", "cpu_percent"]
    assert row["timestamp"] == "2025-06-15T15:06:40.123456Z"
    assert datetime.fromisoformat(row["timestamp"]).utcoffset() is not None
    assert (row["operation"], row["latency"], row["success"], row["n"], row["failures"], row["max"]) == (
        "evaluate",
        "2.0",
        "0",
        "2",
        "1",
        "3.0",
    )
    assert (row["memory_usage_mb"], row["cpu_percent"]) == ("101.25", "7.5")
    assert sorted(p.name for p in (tmp_path / "logs").iterdir()) == ["inference_performance.csv", "risk_performance.csv"]


def test_the_names_are_those_of_the_design() -> None:
    assert set(PERFORMANCE_NAMES) == {
        "live_trading", "trading_loop", "trade_executor", "inference", "trade_probability", "risk", "trade_window_filter",
    }  # fmt: skip


def test_another_process_goes_on_in_the_same_file(tmp_path: Path) -> None:
    _writer(tmp_path).write(_rows())
    _writer(tmp_path).write(_rows())

    text = (tmp_path / "risk_performance.csv").read_text()
    assert text.count(HEADER) == 1
    assert len(text.splitlines()) == 3
    assert not list(tmp_path.glob("*.bak*"))


@pytest.mark.parametrize("found", ["date,price\n2020,1\n", HEADER + "2025-06-15T15:06:40.1234", "\x00\x01\x02", HEADER[:-5]])
def test_a_foreign_or_damaged_file_is_kept_aside(tmp_path: Path, found: str) -> None:
    path = tmp_path / "risk_performance.csv"
    path.write_text(found)
    warned = Warned()

    _writer(tmp_path, warned).write(_rows())

    assert path.read_text().startswith(HEADER)
    assert path.with_name(path.name + ".bak1").read_text() == found
    assert [code for code, _ in warned] == ["performance_set_aside"]


def test_what_was_set_aside_before_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "risk_performance.csv"
    for text in ("one\n", "two\n"):
        path.write_text(text)
        _writer(tmp_path).write(_rows())

    assert [path.with_name(f"{path.name}.bak{i}").read_text() for i in (1, 2)] == ["one\n", "two\n"]


def test_a_file_that_an_editor_replaced_while_we_run_is_looked_at_again(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    writer.write(_rows())
    path = tmp_path / "risk_performance.csv"
    path.unlink()
    path.write_text("mine\n")

    writer.write(_rows())

    assert path.with_name(path.name + ".bak1").read_text() == "mine\n"
    assert path.read_text().startswith(HEADER)


def test_size_is_bounded_and_old_files_go(tmp_path: Path) -> None:
    log = RotatedCsv(tmp_path / "x.csv", ("a", "b"), max_bytes=100, keep=2)

    for i in range(100):
        log.append(f"{i},{'y' * 20}\n".encode())

    files = sorted(tmp_path.iterdir())
    assert [p.name for p in files] == ["x.csv", "x.csv.1", "x.csv.2"]
    assert all(p.stat().st_size <= 100 and p.read_text().startswith("a,b\n") for p in files)
    assert (tmp_path / "x.csv").read_text().splitlines()[-1].startswith("99,")
    newest_old = (tmp_path / "x.csv.1").read_text().splitlines()
    assert int((tmp_path / "x.csv").read_text().splitlines()[1].split(",")[0]) == int(newest_old[-1].split(",")[0]) + 1


def test_lines_larger_than_the_bound_are_written_once_not_rotated_for_ever(tmp_path: Path) -> None:
    log = RotatedCsv(tmp_path / "x.csv", ("a",), max_bytes=10, keep=2)

    log.append(b"y" * 50 + b"\n")

    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


def test_a_disk_that_takes_nothing_is_one_warning_and_counted_rows(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.write_text("a file where the folder should be")  # fails for root, too
    warned = Warned()
    writer = _writer(folder, warned)

    writer.write(_rows())
    writer.write(_rows())
    folder.unlink()
    writer.write(_rows())
    (folder / "risk_performance.csv").unlink()
    (folder / "risk_performance.csv").mkdir()
    (folder / "risk_performance.csv" / "x").write_text("")
    writer.write(_rows())

    assert [code for code, _ in warned] == ["performance_blocked", "performance_set_aside"]
    assert "trading goes on" in warned[0][1]
    assert writer.rows_dropped == 4
    assert (folder / "inference_performance.csv").read_text().count("\n") == 3


def test_a_disk_that_fills_up_in_the_middle_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RotatedCsv(tmp_path / "x.csv", ("a",), max_bytes=1000, keep=2)
    log.append(b"1\n")
    real = os.write
    calls = iter((lambda fd, data: real(fd, data[:3]), _full))
    monkeypatch.setattr(os, "write", lambda fd, data: next(calls)(fd, data))

    with pytest.raises(OSError, match="No space"):
        log.append(b"22222\n")
    monkeypatch.undo()
    log.append(b"3\n")

    assert (tmp_path / "x.csv").read_text() == "a\n1\n3\n"


def _full(fd: int, data: bytes) -> int:
    raise OSError(28, "No space left on device")
