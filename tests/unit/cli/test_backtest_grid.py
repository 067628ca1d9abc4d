"""`mia backtest grid` from the command line: the table, JSON, what it says of bias, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer import BadParameter
from typer.testing import CliRunner

from mia.backtest.trials import Registry
from mia.cli.backtest import app
from mia.domain.errors import ConfigError, DataError

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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--folds", "7"], "--folds: changes nothing without --validate"),
        (["--embargo", "2d"], "--embargo: changes nothing without --validate"),
        (["--validate", "cpcv", "--train-folds", "3"], "--train-folds: changes nothing without --validate rolling"),
        (["--validate", "rolling", "--tested", "3"], "--tested: changes nothing without --validate cpcv"),
        (["--search-seed", "3"], "--search-seed: changes nothing on a full grid"),
    ],
)
def test_an_option_of_another_search_or_scheme_is_refused(candles: Path, options: list[str], message: str) -> None:
    asked = ["grid", "--strategy", "ema_cross", "--param", "fast_period=3,6", "--data", str(candles), *FEE, *options]

    with pytest.raises(BadParameter, match=message):
        CliRunner().invoke(app, asked, catch_exceptions=False, standalone_mode=False)


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


def test_the_table_tells_overfitting_and_the_choice_out_of_sample_with_what_it_means(candles: Path) -> None:
    axes = ["--param", "fast_period=3:12:3", "--param", "slow_period=20,40"]
    out, err = run("--strategy", "ema_cross", *axes, "--data", str(candles), "--validate", "walk_forward", "--folds", "4", *FEE)
    assert "probability of overfitting   " in out
    assert "of 12,870 halvings of the days (16 blocks) the best Sharpe of one half was in the lower half of all in the other" in out
    assert "better than flat (SPA)       p = " in out
    assert "better than holding (SPA)    p = " in out
    assert "validation     walk_forward: each fold chosen on all days before it" in out
    assert "every block begins flat, with all the cash and fresh stops" in err


def test_json_has_the_validation_and_so_has_the_folder(candles: Path) -> None:
    axes = ["--param", "fast_period=3:12:3", "--param", "slow_period=20,40"]
    found = json.loads(
        run("--strategy", "ema_cross", *axes, "--data", str(candles), "--validate", "cpcv", "--folds", "4", "--json", *FEE)[0]
    )
    stored = json.loads((Path(found["folder"]) / "trust.json").read_text())
    assert len(found["trust"]["validation"]["rows"]) == 6
    assert set(found["trust"]["validation"]["rows"][0]["params"]) == set(found["best"][0]["params"])
    assert stored["overfit"] == found["trust"]["overfit"]
    assert stored["validation"]["net_returns"] == found["trust"]["validation"]["net_returns"]


@pytest.mark.parametrize(
    ("arguments", "error", "why"),
    [
        (["--validate", "holdout"], BadParameter, "use one of walk_forward, rolling, purged_k_fold, cpcv"),
        (["--validate", "walk_forward", "--folds", "20"], ConfigError, "50 days cannot be cut into 21 blocks of at least 5"),
        (["--validate", "rolling", "--folds", "3", "--train-folds", "4"], ConfigError, "4 blocks to train on: give 1 to 3"),
        (["--validate", "cpcv", "--folds", "4", "--tested", "4"], ConfigError, "4 of 4 blocks tested: give 1 to 3"),
        (["--validate", "rolling", "--embargo", "x"], BadParameter, "write a time such as 90s, 15m, 4h or 1d"),
        (["--validate", "rolling", "--embargo", "60d"], DataError, "purge and embargo leave no sample to train on"),
    ],
)
def test_a_scheme_that_cannot_be_is_refused_before_anything_is_counted(
    candles: Path, tmp_path: Path, arguments: list[str], error: type[Exception], why: str
) -> None:
    result = CliRunner().invoke(app, ["grid", "--strategy", "ema_cross", "--data", str(candles), *arguments, *FEE], catch_exceptions=True)
    assert why in str(result.exception) or why in " ".join(result.output.replace("│", " ").split())
    assert isinstance(result.exception, (error, SystemExit))
    with Registry(tmp_path / "home" / "mia" / "trials.db") as registry:
        assert registry.count().trials == 0
