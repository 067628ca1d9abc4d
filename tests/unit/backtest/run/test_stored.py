"""A run directory gives the figures that the run had in memory, to the last bit; what is missing is named."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from mia.backtest.run.artifacts import RUN_FILE, read, write
from mia.backtest.run.figures import columns_of, summary_from, summary_of
from mia.backtest.run.find import find_run, listed
from mia.backtest.run.result import Result
from mia.backtest.run.stored import StoredRun, stored
from mia.backtest.run.trips import Trip
from mia.backtest.stats.inputs import no_trips
from mia.domain.errors import DataError
from mia.execution.attribution import Parts
from mia.risk.windows import Windows


def test_the_files_give_the_summary_that_memory_gave(result: Result, run: StoredRun, windows: Windows) -> None:
    of_memory = summary_of(result, windows, samples=200)

    of_files = summary_from(run.columns, windows, samples=200)

    assert msgspec.json.encode(of_files) == msgspec.json.encode(of_memory)
    assert of_files.trades == len(result.trips)


def test_every_column_is_the_same_as_in_memory(result: Result, run: StoredRun) -> None:
    wanted = columns_of(result)

    for kind in ("track", "trips", "market"):
        for name, column in getattr(wanted, kind)._asdict().items():
            found = getattr(getattr(run.columns, kind), name)
            assert found.dtype == column.dtype, name
            np.testing.assert_array_equal(found, column, err_msg=f"{kind}.{name}")


def test_money_beyond_the_digits_of_a_float_comes_back_exactly(result: Result, tmp_path: Path) -> None:
    large = 9_007_199_254_740_993  # 2 ** 53 + 1
    trip = msgspec.structs.replace(result.trips[0], profit_e8=large, parts=Parts(gross_e8=large + 7), mae_e8=-large)
    write(msgspec.structs.replace(result, trips=[trip]), tmp_path / "run")

    trips = stored(read(tmp_path / "run")).columns.trips

    assert (trips.profit_e8[0], trips.cost_e8[0], trips.mae_e8[0]) == (large, 7, -large)


def test_trades_are_in_order_of_their_close(result: Result, tmp_path: Path) -> None:
    trips: list[Trip] = list(reversed(result.trips))
    write(msgspec.structs.replace(result, trips=trips), tmp_path / "run")

    closed = stored(read(tmp_path / "run")).columns.trips.closed_ns

    assert (np.diff(closed) >= 0).all()


def test_a_run_without_trades_has_none(result: Result, tmp_path: Path) -> None:
    write(msgspec.structs.replace(result, trips=[]), tmp_path / "run")

    trips = stored(read(tmp_path / "run")).columns.trips

    for found, wanted in zip(trips, no_trips(), strict=True):
        assert (len(found), found.dtype) == (0, wanted.dtype)


def test_codes_are_counted_by_what_they_came_to(result: Result, run: StoredRun) -> None:
    counted = {code: sum(verbs.values()) for code, verbs in run.came_to.items()}

    assert {code: n for code, n in counted.items() if code != "ok"} == result.gathered.counters["codes"]


def test_what_an_older_run_lacks_is_named(folder: Path) -> None:
    table = pl.read_parquet(folder / "equity.parquet")
    table.drop("mid2_0").write_parquet(folder / "equity.parquet")

    with pytest.raises(DataError, match=r"run\.json: made by another version, which lacks .*mid2_0.*: run it again"):
        stored(read(folder))


# --- finding one ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs abc1..., abc2..., def3..., written in this order."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    runs = tmp_path / "data" / "mia" / "runs"
    for k, name in enumerate(("abc111111111", "abc222222222", "def333333333")):
        (runs / name).mkdir(parents=True)
        (runs / name / RUN_FILE).write_bytes((folder / RUN_FILE).read_bytes())
        os.utime(runs / name / RUN_FILE, (1_700_000_000 + k, 1_700_000_000 + k))
    return runs


def test_a_run_is_found_by_its_first_digits_or_its_folder(home: Path, folder: Path) -> None:
    assert find_run("def") == home / "def333333333"
    assert find_run("abc2") == home / "abc222222222"
    assert find_run(str(folder)) == folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("abc", "run abc: could be abc111111111, abc222222222: give more digits"),
        ("fff", "run fff: no such folder, and no run whose id begins so; there is def333333333, abc222222222, abc111111111 in"),
        ("", r"run \(empty\): no such folder"),
        ("..", "no run: there is no run.json in it; there is def333333333"),
    ],
)
def test_what_names_no_run_is_told_which_there_are(home: Path, text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)

    with pytest.raises(DataError, match=said):
        find_run(text)


def test_without_a_run_the_way_to_make_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))

    with pytest.raises(DataError, match=r"there is none in .*: make one with `mia backtest run`"):
        find_run("abc")


def test_the_run_written_last_is_listed_first(home: Path, result: Result) -> None:
    found = listed()

    assert [run.folder for run in found] == [str(home / name) for name in ("def333333333", "abc222222222", "abc111111111")]
    assert (found[0].written, found[0].trades, found[0].end_equity) == (
        "2023-11-14T22:13:22Z", len(result.trips), result.gathered.marks.equity_e8[-1] / 1e8,
    )  # fmt: skip


def test_a_run_that_cannot_be_read_is_listed_with_its_problem(home: Path) -> None:
    (home / "abc222222222" / RUN_FILE).write_text("{")

    (broken,) = [run for run in listed() if run.problem]

    assert broken.id == "abc222222222"
    assert "run.json" in broken.problem


def test_a_page_written_into_a_run_does_not_make_it_newer(home: Path) -> None:
    (home / "abc111111111" / "report.html").write_text("a page written later")

    assert listed()[-1].folder == str(home / "abc111111111")
