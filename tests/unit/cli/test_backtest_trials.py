"""`mia backtest trials`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mia.backtest.readers import file_sha256
from mia.backtest.trials import DataRef, Registry, Score, Trial
from mia.backtest.validation.seal import SealLog
from mia.cli.main import main


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def fill(file: Path) -> str:
    file.write_text("bars")
    data = (DataRef(file.name, file_sha256(file)),)
    trials = [Trial(family="ema_cross", params={"fast": k, "slow": 50}, data=data, first_ns=0, last_ns=10**18) for k in (5, 10, 20)]
    with Registry() as registry:
        first, second, _ = registry.open(trials, "strategist")
        registry.close(
            [
                (t, Score(metric="sharpe", value=s, sharpe=s / 16, periods=99, periods_per_year=256.0))
                for t, s in ((first, 1.0), (second, 2.0))
            ]
        )
    return trials[0].key


def test_without_any_trial_the_verbs_say_so_and_make_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", "trials", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["backtest", "trials", "count", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 0
    assert main(["backtest", "trials", "show", "aa"]) == 1
    assert not (tmp_path / "home").exists()


def test_list_count_and_show_tell_what_was_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = fill(tmp_path / "btc.csv")

    assert main(["backtest", "trials", "count", "--family", "ema_cross", "--data", str(tmp_path / "btc.csv"), "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted == {"trials": 3, "evaluations": 3, "unclosed": 1, "scored": 2, "variance_per_year": pytest.approx(0.5)}
    assert main(["backtest", "trials", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 4
    assert "fast=20 slow=50" in listed[1]
    assert "never closed" in listed[1]
    assert main(["backtest", "trials", "show", key[:8]]) == 0
    assert key in capsys.readouterr().out
    assert main(["backtest", "trials", "show", key[:8], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evaluations"][0]["by"] == "strategist"


def test_trials_on_a_file_that_another_was_made_of_count_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "btc.csv")
    hourly = tmp_path / "btc_1h.csv"
    hourly.write_text("longer bars")
    SealLog().derived(file_sha256(hourly), hourly.name, [file_sha256(tmp_path / "btc.csv")])

    assert main(["backtest", "trials", "count", "--data", str(hourly), "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["trials"] == 3
