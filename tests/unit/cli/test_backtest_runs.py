"""`mia backtest runs`, `mia backtest compare` and `mia report backtest` on runs of the simulated market."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mia.backtest.run.artifacts import read
from mia.backtest.run.find import strategy_name
from mia.cli.main import main

Mia = Callable[..., Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ema_cross and buy_and_hold have run."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(home))
        for strategy in ("ema_cross", "buy_and_hold"):
            assert main(["backtest", "run", "--strategy", strategy, "--duration", "120", "--samples", "0"]) == 0
    return home


@pytest.fixture
def runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Their ids, ema_cross first."""
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    found = {strategy_name(read(path).facts): path.name for path in (home / "mia" / "runs").iterdir()}
    return [found[name] for name in sorted(found, reverse=True)]


def test_the_runs_are_listed_with_what_came_of_them(mia: Mia, runs: list[str]) -> None:
    table, listed = mia("backtest", "runs"), json.loads(mia("backtest", "runs", "--json").out)

    assert table.code == 0
    assert {run["id"] for run in listed} == set(runs)
    for run in listed:
        assert any(line.startswith(run["id"]) and run["strategy"] in line for line in table.out.splitlines())


def test_without_runs_the_way_to_make_one_is_named(mia: Mia, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    result = mia("backtest", "runs")

    assert (result.code, result.out) == (0, "")
    assert "make one with `mia backtest run`" in result.err
    assert mia("backtest", "runs", "--in", tmp_path / "none").code == 1


def test_the_page_lies_in_the_run_and_the_answer_is_printed(mia: Mia, runs: list[str], home: Path) -> None:
    result = mia("report", "backtest", runs[0][:6])

    file = home / "mia" / "runs" / runs[0] / "report.html"
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == str(file)
    assert result.out.splitlines()[0] in file.read_text().replace("</strong>", "").replace("<strong>", "")
    assert "The market is simulated" in file.read_text()


def test_the_page_goes_where_it_is_told_beside_another_run(mia: Mia, runs: list[str], tmp_path: Path) -> None:
    result = mia("report", "backtest", runs[0], "--out", tmp_path / "page.html", "--against", runs[1], "--json")

    told = json.loads(result.out)
    assert told["page"] == str(tmp_path / "page.html")
    assert told["answer"] in ("no", "not shown")
    assert f"(run {runs[1]})" in (tmp_path / "page.html").read_text()


def test_a_page_that_cannot_be_written_and_a_run_that_is_not_there_are_said(mia: Mia, runs: list[str], tmp_path: Path) -> None:
    nowhere = mia("report", "backtest", runs[0], "--out", tmp_path / "no" / "page.html")
    nothing = mia("report", "backtest", "zzz")

    assert (nowhere.code, nothing.code) == (1, 1)
    assert "page.html: cannot be written" in nowhere.err
    assert "no run whose id begins so; there is" in nothing.err


def test_runs_are_compared_or_it_is_said_why_not(mia: Mia, runs: list[str]) -> None:
    result = mia("backtest", "compare", *runs, "--samples", "200")
    told = json.loads(mia("backtest", "compare", *runs, "--samples", "200", "--json").out)

    assert result.code == 0, result.err
    assert [run["id"] for run in told["runs"]] == runs
    assert f"{runs[0]} - {runs[1]}: not tested: 3 minutes in common, 20 are needed" in result.out
    assert told["pairs"][0]["refused"] == "3 minutes in common, 20 are needed"


def test_one_run_cannot_be_compared(mia: Mia, runs: list[str]) -> None:
    result = mia("backtest", "compare", runs[0])

    assert result.code == 4
    assert "needs two runs at least" in result.err


def test_a_run_is_deflated_by_the_trials_of_its_family_on_its_data(mia: Mia, runs: list[str], home: Path) -> None:
    def counted(run: str) -> int:
        figures = json.loads(mia("report", "backtest", run, "--samples", "0", "--json").out)["summary"]["figures"]
        return next(f["value"] for f in figures if f["name"] == "trials")

    before = counted(runs[0])
    options = ("--strategy", "ema_cross", "--param", "fast_period=5", "--duration", "120", "--samples", "0", "--out", home / "other")
    told = json.loads(mia("backtest", "run", *options, "--json").out)
    mia("backtest", "run", "--strategy", "ema_cross", "--duration", "240", "--samples", "0", "--out", home / "longer")

    assert (before, counted(runs[0]), counted(home / "other")) == (1, 2, 2)
    assert told[0]["trials"]["trials"] == 2
    assert counted(runs[1]) == 1


def test_a_page_counts_no_trial_and_makes_no_registry(mia: Mia, runs: list[str], home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    folder = home / "mia" / "runs" / runs[0]
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    told = json.loads(mia("report", "backtest", folder, "--out", tmp_path / "page.html", "--json").out)

    assert told["answers"][-1]["word"] == "not shown"
    assert not (tmp_path / "mia").exists()
