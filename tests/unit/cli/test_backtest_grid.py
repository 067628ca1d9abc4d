"""`mia backtest grid` from the command line: the table, JSON, what it says of bias, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mia.cli.backtest import app
from mia.domain.errors import ConfigError

FEE = ["--fee", "0.0005", "--tick", "0.01", "--jobs", "1"]


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    draw = np.random.default_rng(4)
    close = np.round(100.0 * np.exp(np.cumsum(draw.normal(0.0, 0.01, 1200))), 2)
    opens = np.concatenate([close[:1], close[:-1]])
    lines = ["ts_ms,open,high,low,close,volume"]
    for k, (o, c) in enumerate(zip(opens, close, strict=True)):
        lines.append(f"{1_700_006_400_000 + k * 3_600_000},{o:.2f},{max(o, c) + 0.05:.2f},{min(o, c) - 0.05:.2f},{c:.2f},10")
    path = tmp_path / "made.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(autouse=True)
def _own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def run(*arguments: str) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["grid", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_the_table_names_the_trials_the_deflated_ratio_and_the_bias(candles: Path) -> None:
    axes = ["--param", "fast_period=3:12:3", "--param", "slow_period=20,40", "--best", "3"]
    out, err = run("--strategy", "ema_cross", *axes, "--data", str(candles), *FEE)
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["fast_period", "slow_period"]
    assert len(lines[: lines.index("")]) == 4
    assert "8, 8 of them evaluated now" in out
    assert "8 (of all strategies, ever), 8 evaluations" in out
    assert "deflated Sharpe of the best" in out
    assert "8 configurations were tried: the best of many is biased upwards" in err


def test_json_has_the_same_and_a_second_run_evaluates_nothing(candles: Path) -> None:
    arguments = ["--strategy", "ema_cross", "--param", "fast_period=3:12:3", "--data", str(candles), "--json", *FEE]
    first, again = (json.loads(run(*arguments)[0]) for _ in range(2))
    assert (first["configurations"], first["evaluated_now"], again["evaluated_now"]) == (4, 4, 0)
    assert first["best"] == again["best"]
    assert again["trials_on_this_data"] == again["evaluations_on_this_data"] == 4
    ratios = [row["sharpe_per_year"] for row in first["best"]]
    assert ratios == sorted(ratios, reverse=True)
    assert (Path(first["folder"]) / "results.parquet").is_file()


@pytest.mark.parametrize("how", ["--random", "--tpe"])
def test_random_and_tpe_evaluate_as_many_as_they_are_told(candles: Path, how: str) -> None:
    axes = ["--param", "fast_period=2:20", "--param", "slow_period=21:60"]
    out, _ = run("--strategy", "ema_cross", *axes, how, "9", "--data", str(candles), "--json", *FEE)
    assert json.loads(out)["trials_on_this_data"] == 9


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--param", "fast_period=20:5:5"], "bounds reversed: 20 is above 5"),
        (["--param", "fast=5"], "unknown parameter 'fast'"),
        (["--param", "fast_period=0:5"], "must lie in"),
    ],
)
def test_a_wrong_axis_is_a_named_error(candles: Path, arguments: list[str], why: str) -> None:
    with pytest.raises(ConfigError) as e:
        run("--strategy", "ema_cross", *arguments, "--data", str(candles), *FEE)
    assert why in str(e.value)


def test_two_searches_at_once_another_metric_and_no_data_are_refused(candles: Path) -> None:
    for arguments in (["--random", "5", "--tpe", "5"], ["--metric", "luck"]):
        result = CliRunner().invoke(app, ["grid", "--strategy", "ema_cross", *arguments, "--data", str(candles), *FEE])
        assert result.exit_code == 2
    assert CliRunner().invoke(app, ["grid", "--strategy", "ema_cross"]).exit_code == 2
