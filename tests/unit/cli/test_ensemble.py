"""`mia backtest ensemble fit` and `mia backtest run --policy ensemble:FILE | --signals FILE`, on a small candle file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mia.backtest.trials import Registry

Mia = Callable[..., Any]
BARS = 500
NAME = "binance_usdm:BTCUSDT"
RULES = ("rule:ema_cross,fast_period=3,slow_period=9", "rule:donchian,entry_period=10,exit_period=4,size=0.8")
RUN_FILES = ("equity.parquet", "fills.parquet", "orders.parquet", "trades.csv")


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five-minute bars of a random walk on a grid of 0.10."""
    path = tmp_path_factory.mktemp("candles") / "bars.csv"
    draw = np.random.default_rng(11)
    close = np.rint(600_000 * np.exp(np.cumsum(draw.normal(0, 0.003, BARS)))).astype(int)
    opens = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opens, close) + draw.integers(0, 300, BARS), np.minimum(opens, close) - draw.integers(0, 300, BARS)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["ts_ms", "open", "high", "low", "close", "volume"])
        for k in range(BARS):
            out.writerow([1_709_251_200_000 + k * 300_000, *(f"{x / 10:.1f}" for x in (opens[k], high[k], low[k], close[k])), 10])
    return path


def fitted(mia: Mia, candles: Path, out: Path, *options: object) -> Any:
    members = [x for rule in RULES for x in ("--member", rule)]
    return mia("backtest", "ensemble", "fit", *members, "--data", candles, "--instrument", NAME, "--windows", 4, "--out", out, *options)


@pytest.fixture
def report(mia: Mia, candles: Path, tmp_path: Path) -> dict[str, Any]:
    result = fitted(mia, candles, tmp_path / "two.json", "--method", "inverse_volatility", "--json")
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


def test_the_file_holds_the_last_weights_and_runs(mia: Mia, candles: Path, tmp_path: Path, report: dict[str, Any]) -> None:
    file = json.loads((tmp_path / "two.json").read_bytes())

    result = mia(
        "backtest", "run", "--policy", f"ensemble:{tmp_path / 'two.json'}", "--data", candles, "--instrument", NAME, "--out",
        tmp_path / "run", "--json",
    )  # fmt: skip

    assert [m["weight"] for m in file["members"]] == report["last_weights"]["inverse_volatility"]
    assert file["fitted"]["out_of_sample"] == report["out_of_sample"]
    assert result.code == 0, result.err
    assert json.loads(result.out)[0]["strategies"][0]["name"] == "two"
    assert json.loads(result.out)[0]["counters"]["fills"] > 10


def test_the_same_fit_writes_the_same_bytes(mia: Mia, candles: Path, tmp_path: Path, report: dict[str, Any]) -> None:
    first = (tmp_path / "two.json").read_bytes()

    fitted(mia, candles, tmp_path / "two.json", "--method", "inverse_volatility")

    assert (tmp_path / "two.json").read_bytes() == first


def test_the_report_shows_members_blends_and_what_the_engine_made_of_it(mia: Mia, candles: Path, tmp_path: Path) -> None:
    result = fitted(mia, candles, tmp_path / "two.json", "--method", "likelihood")

    assert result.code == 0, result.err
    words = ("ema_cross(fast_period=3", "equal", "inverse_volatility", "min_variance", "likelihood", "traded", "the file", "added by")
    assert [w for w in words if w not in result.out] == []
    assert "no figure here is theirs" in result.err


def test_members_and_methods_are_counted_as_trials(mia: Mia, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    fitted(mia, candles, tmp_path / "two.json")
    again = fitted(mia, candles, tmp_path / "two.json", "--method", "equal")
    other = fitted(mia, candles, tmp_path / "two.json", "--lookback", 1)

    with Registry(tmp_path / "data" / "mia" / "trials.db") as registry:
        assert (registry.count("ema_cross").trials, registry.count("donchian").trials, registry.count("ensemble").trials) == (1, 1, 8)
    assert "4 ensembles were tried on this data so far" in again.err
    assert "8 ensembles were tried on this data so far" in other.err


def test_an_ensemble_of_one_rule_runs_as_the_rule_does(mia: Mia, candles: Path, tmp_path: Path) -> None:
    """The whole way: fit, file, run; only names differ."""
    data = ("--data", candles, "--instrument", NAME)
    rule = ("--param", "entry_period=10", "--param", "exit_period=4", "--param", "size=0.8")
    mia("backtest", "ensemble", "fit", "--member", RULES[1], *data, "--windows", 3, "--out", tmp_path / "one.json")

    alone = mia("backtest", "run", "--strategy", "donchian", *rule, *data, "--out", tmp_path / "alone")
    one = mia("backtest", "run", "--policy", f"ensemble:{tmp_path / 'one.json'}", *data, "--out", tmp_path / "one")

    assert (alone.code, one.code) == (0, 0), one.err
    assert len((tmp_path / "alone" / "trades.csv").read_text().splitlines()) > 10
    for name in RUN_FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_signals_of_a_file_are_run(mia: Mia, candles: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("ts,signal\n2024-03-01T01:00:00Z,1\n2024-03-01T05:00:00Z,-1\n")

    result = mia(
        "backtest",
        "run",
        "--signals",
        tmp_path / "s.csv",
        "--signal-age",
        "1h",
        "--data",
        candles,
        "--instrument",
        NAME,
        "--out",
        tmp_path / "r",
    )

    assert result.code == 0, result.err
    assert "2 signals" in result.err
    assert "holds for 3600 s" in result.err
    trips = list(csv.DictReader((tmp_path / "r" / "trades.csv").open()))
    assert [t["side"] for t in trips][:1] == ["1"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--member", "rule:magic", "--out", "x.json"), 4, "'magic' is unknown"),
        (("--member", "rule:flat,size=1", "--out", "x.json"), 4, "unknown parameter 'size'"),
        (("--member", "demo,size=1", "--out", "x.json"), 2, "parameters belong to rules"),
        (("--member", "rule:flat", "--member", "rule:flat", "--out", "x.json"), 4, "named twice"),
        (("--member", "rule:flat", "--out", "x.toml"), 4, "ends in .json"),
        (("--member", "rule:flat", "--windows", "20", "--out", "x.json"), 1, "499 bars make no 20 windows"),
        (("--member", "rule:flat", "--method", "best", "--out", "x.json"), 4, "--method 'best'"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_named(
    options: tuple[str, ...], code: int, words: str, mia: Mia, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    result = mia("backtest", "ensemble", "fit", *options, "--data", candles, "--instrument", NAME)

    assert (result.code, words in result.err) == (code, True), result.err
    assert not (tmp_path / "x.json").exists()


def test_weights_of_a_window_stay_when_the_data_from_its_beginning_on_is_another(mia: Mia, candles: Path, tmp_path: Path) -> None:
    """The whole way, from the file: prices of the last of four windows are poisoned."""
    plain = json.loads(fitted(mia, candles, tmp_path / "a.json", "--json", "--samples", 0).out)
    begin = plain["windows"][-1]["from"].replace(" ", "T")
    poisoned = tmp_path / "poisoned.csv"
    rows = list(csv.reader(candles.open()))
    first = int(np.datetime64(begin, "ms").astype(np.int64))
    later = [k for k, row in enumerate(rows) if k and int(row[0]) >= first]
    for k in later[1:]:  # the first one's open is the close before it
        rows[k][1:5] = [f"{float(x) * (1.3 if k % 2 else 0.8):.1f}" for x in rows[k][1:5]]
    with poisoned.open("w", newline="") as file:
        csv.writer(file).writerows(rows)

    other = json.loads(fitted(mia, poisoned, tmp_path / "b.json", "--json", "--samples", 0).out)

    assert 100 < len(later) < 130
    assert other["windows"] == plain["windows"]
    for method in ("inverse_volatility", "min_variance", "likelihood"):
        assert other["last_weights"][method] != plain["last_weights"][method]


def test_figures_have_intervals_around_them_and_correlations_too(report: dict[str, Any]) -> None:
    sample = report["out_of_sample"]

    for figures in (*sample["members"].values(), *sample["blends"].values(), sample["traded"], *sample["added"].values()):
        for name in ("total", "volatility", "sharpe"):
            between = figures["interval"][name]
            assert between["low"] < between["high"]
            assert between["low"] - 0.2 * abs(figures[name]) < figures[name] < between["high"] + 0.2 * abs(figures[name])
    assert sample["bars"] == 375
    low, high = sample["correlation_interval"][0][1].values()
    assert low < sample["correlation"][0][1] < high


def test_weights_of_several_instruments_are_of_one_account(mia: Mia, candles: Path, tmp_path: Path) -> None:
    rows = list(csv.reader(candles.open()))
    with (tmp_path / "eth.csv").open("w", newline="") as file:  # backwards, and without some bars
        kept = [row for k, row in enumerate(rows) if k and k % 7]
        csv.writer(file).writerows([rows[0], *([a[0], *b[1:]] for a, b in zip(kept, reversed(kept), strict=True))])
    data = ("--data", candles, "--data", tmp_path / "eth.csv", "--fee", "0.0004", "--tick", "0.1", "--timeframe", "5m")
    members = [x for rule in RULES for x in ("--member", rule)]

    result = mia("backtest", "ensemble", "fit", *members, *data, "--windows", 4, "--out", tmp_path / "two.json", "--json")
    run = mia("backtest", "run", "--policy", f"ensemble:{tmp_path / 'two.json'}", *data, "--out", tmp_path / "run", "--json")

    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert len(found["instruments"]) == 2
    assert found["out_of_sample"]["bars"] == 375
    assert run.code == 0, run.err
    assert {row["instrument"] for row in csv.DictReader((tmp_path / "run" / "trades.csv").open())} == {"0", "1"}


def test_the_simulated_market_is_cut_into_windows_that_are_traded_apart(mia: Mia, tmp_path: Path) -> None:
    members = ("--member", "rule:ema_cross,fast_period=3,slow_period=9", "--member", "rule:rsi_reversion,period=5")
    sim = ("--duration", "1010", "--seed", "3")

    result = mia("backtest", "ensemble", "fit", *members, *sim, "--windows", 2, "--out", tmp_path / "sim.json", "--json")
    run = mia("backtest", "run", "--policy", f"ensemble:{tmp_path / 'sim.json'}", *sim, "--out", tmp_path / "run", "--json")

    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["instruments"] == ["sim:SIMUSD"]
    assert found["out_of_sample"]["bars"] == 50  # of 10 s, in the second half
    assert found["out_of_sample"]["traded"]["total"] != 0.0
    assert run.code == 0, run.err
    assert json.loads(run.out)[0]["counters"]["fills"] > 0


@pytest.mark.slow
def test_a_model_and_a_rule_are_fitted_on_the_simulated_market_and_run_there(mia: Mia, tmp_path: Path) -> None:
    members = ("--member", "demo", "--member", "rule:ema_cross,fast_period=30,slow_period=90")
    sim = ("--duration", "1010", "--seed", "3")

    result = mia("backtest", "ensemble", "fit", *members, *sim, "--windows", 2, "--out", tmp_path / "sim.json", "--json")
    run = mia("backtest", "run", "--policy", f"ensemble:{tmp_path / 'sim.json'}", *sim, "--out", tmp_path / "run", "--json")

    assert result.code == 0, result.err
    file = json.loads((tmp_path / "sim.json").read_bytes())
    assert (file["trigger"], file["bar"]) == ("quote", "time:1s")  # the model's, which the rule takes over
    assert run.code == 0, run.err
    assert json.loads(run.out)[0]["counters"]["fills"] > 0


def test_members_that_decide_on_other_bars_are_named(mia: Mia, tmp_path: Path) -> None:
    result = mia(
        "backtest", "ensemble", "fit", "--member", "demo", "--member", "rule:flat", "--timeframe", "5s", "--duration", "60", "--out",
        tmp_path / "x.json",
    )  # fmt: skip

    assert result.code == 4
    assert "rule:flat: bar time:5s, demo has time:1s" in result.err


@pytest.mark.parametrize(("age", "code"), [("1", 2), ("0s", 2), ("1w", 2), ("-1h", 2)])
def test_an_age_that_is_none_is_refused(age: str, code: int, mia: Mia, candles: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("ts,signal\n2024-03-01T01:00:00Z,1\n")

    assert mia("backtest", "run", "--signals", tmp_path / "s.csv", f"--signal-age={age}", "--data", candles).code == code
