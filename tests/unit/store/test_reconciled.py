"""reconciled.json: days are added, replaced only by as much, and a file that is none of ours is as none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mia.domain.errors import DataError
from mia.store.reconciled import FILE, LastReconciled, ReconciledDay, read_reconciled, record_reconciled


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


@pytest.mark.parametrize(
    "text", ['{"a": 1}', "", b"\xff", msgspec.json.encode([day("2026-13-01", 1)]), msgspec.json.encode([day("today", 1)])]
)
def test_a_file_that_is_none_of_ours_reads_as_none_and_is_written_anew(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / FILE).write_bytes(text if isinstance(text, bytes) else text.encode())

    before = read_reconciled(tmp_path)
    record_reconciled(tmp_path, [day("2026-01-01", 1)])

    assert before == []
    assert len(read_reconciled(tmp_path)) == 1


def test_a_folder_that_is_not_there_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        record_reconciled(tmp_path / "gone", [day("2026-01-01", 1)])


def test_the_last_day_follows_its_file_and_is_not_read_again_while_that_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = LastReconciled(tmp_path)
    seen = [last.look()]
    record_reconciled(tmp_path, [day("2026-01-01", 1)])
    seen.append(last.look())
    record_reconciled(tmp_path, [day("2026-01-02", 2)])
    seen.append(last.look())
    with monkeypatch.context() as patch:
        patch.delattr("mia.store.reconciled.read_reconciled")
        seen.append(last.look())
    (tmp_path / FILE).unlink()
    seen.append(last.look())

    assert [d and d.day for d in seen] == [None, "2026-01-01", "2026-01-02", "2026-01-02", None]
