"""reconciled.json: days are added, replaced only by as much, and a file that is none of ours is as none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mia.domain.errors import DataError
from mia.store.reconciled import FILE, ReconciledDay, read_reconciled, record_reconciled


def day(name: str, difference_e8: int, begin_ns: int = 0, end_ns: int = 100) -> ReconciledDay:
    return ReconciledDay(
        day=name, begin_ns=begin_ns, end_ns=end_ns, trades=1, live_e8=difference_e8, backtest_e8=0, difference_e8=difference_e8
    )


def test_days_are_kept_in_order_and_a_part_does_not_replace_the_whole(tmp_path: Path) -> None:
    record_reconciled(tmp_path, [day("2026-01-02", 2), day("2026-01-01", 1)])

    record_reconciled(tmp_path, [day("2026-01-02", 7, begin_ns=50), day("2026-01-03", 3)])
    record_reconciled(tmp_path, [day("2026-01-01", 5)])

    assert [(d.day, d.difference_e8) for d in read_reconciled(tmp_path)] == [("2026-01-01", 5), ("2026-01-02", 2), ("2026-01-03", 3)]
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_file_that_is_none_of_ours_reads_as_none_and_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"a": 1}')

    before = read_reconciled(tmp_path)
    record_reconciled(tmp_path, [day("2026-01-01", 1)])

    assert before == []
    assert len(read_reconciled(tmp_path)) == 1


def test_a_folder_that_is_not_there_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        record_reconciled(tmp_path / "gone", [day("2026-01-01", 1)])
