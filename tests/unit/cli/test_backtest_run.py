"""`mia backtest run` with costs and presets: what it prints, and what a wrong option is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Mia = Callable[..., Any]


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    rows = ["date,open,high,low,close,volume"]
    for k in range(120):
        price = 100 + 5 * ((k // 15) % 2) + 0.1 * (k % 15)
        rows.append(f"2024-03-{1 + k // 24:02d}T{k % 24:02d}:00:00Z,{price},{price + 1},{price - 1},{price + 0.5},50")
    file = tmp_path / "made.csv"
    file.write_text("\n".join(rows) + "\n")
    return file


def test_costs_are_assumed_aloud_and_taken(mia: Mia, candles: Path, tmp_path: Path) -> None:
    done = mia(
        "backtest", "run", "--strategy", "sma_cross", "--param", "fast_period=2", "--param", "slow_period=5", "--data", str(candles),
        "--fee", "0.001", "--half-spread-ticks", "3", "--cost", "funding.kind=fixed", "--cost", "funding.rate=0.0001",
        "--out", str(tmp_path / "run"),
    )  # fmt: skip

    assert "  spread: half of it is 3 ticks on each side of a bar's price" in done.out
    assert "  funding: 0.0001 of notional at 00:00, 08:00, 16:00 UTC, on perpetuals" in done.out
    assert "- funding" in done.out


def test_a_preset_says_what_it_left_out(mia: Mia, candles: Path, tmp_path: Path) -> None:
    done = mia(
        "backtest", "run", "--preset", "backtesting.py", "--strategy", "sma_cross", "--data", str(candles), "--out", str(tmp_path / "run")
    )

    assert "protection: NONE" in done.out
    assert "windows: NONE" in done.out
    assert "not charged: fees, spread, latency" in done.out


@pytest.mark.data
def test_the_preset_of_backtesting_py_tells_the_figures_that_it_publishes(mia: Mia, market_data: Path, tmp_path: Path) -> None:
    params = ["--param", "fast_period=10", "--param", "slow_period=30"]
    file = market_data / "oracle" / "backtestingpy_GOOG.csv"

    done = mia(
        "backtest", "run", "--preset", "backtesting.py", "--strategy", "sma_cross", *params, "--data", str(file), "--no-report",
        "--out", str(tmp_path / "run"),
    )  # fmt: skip

    told = done.out[done.out.index("by the definitions of backtesting.py") :].splitlines()[1:6]
    assert [line.split()[-1] for line in told[:1]] == ["51,422.99"]
    assert [line.split()[-1] for line in told[3:]] == ["0.5806", "-47.980%"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cost", "impact.kind=cubic"], "impact"),
        (["--preset", "zipline"], "use one of backtesting.py, vectorbt"),
        (["--preset", "vectorbt", "--fill", "next_open"], "vectorbt fills at close: leave one of them out"),
        (["--costs", "absent.toml"], "costs cannot be read"),
        (["--cost", "queue.kind=x"], "--cost queue: changes nothing on candle files"),
        (["--cost", "latency.kind=x"], "--cost latency.kind=x: use one of off, fixed, measured"),
        (["--cost", "impact.eta=2", "--cost", "impact.eta=3"], "--cost impact.eta: given twice"),
        (["--half-spread-ticks", "2", "--cost", "spread.kind=off"], "each says what the spread is"),
        (["--from", "2024-03-02", "--days", "2"], "each says where the span begins"),
        (["--duration", "60"], "--duration: changes nothing on candle files: it is for the simulated market"),
        (["--seed", "4"], "--seed: changes nothing on candle files"),
        (["--warm-up", "4"], "--warm-up: changes nothing without --from or --days"),
        (["--signal-age", "4h"], "--signal-age: changes nothing without --signals"),
        (["--instrument", "binance_usdm:BTCUSDT", "--kind", "spot"], "--kind spot: binance_usdm:BTCUSDT is a perpetual"),
        (["--cash", "1e11"], "at most 10^10"),
    ],
)
def test_a_wrong_option_is_named(mia: Mia, candles: Path, options: list[str], message: str) -> None:
    done = mia("backtest", "run", "--strategy", "sma_cross", "--data", str(candles), "--fee", "0.001", *options)

    assert done.code in (2, 4)
    assert message in " ".join((done.out + done.err).split())


@pytest.mark.parametrize(
    "options",
    [
        ["--fill", "close"], ["--half-spread-ticks", "5"], ["--cost", "spread.half=2"], ["--kind", "spot"], ["--tick", "1"], ["--lot", "1"],
        ["--fee", "0"], ["--tz", "UTC"], ["--on-duplicate", "drop"], ["--exclude-sealed"], ["--warm-up", "3"],
    ],
)  # fmt: skip
def test_an_option_without_effect_on_the_simulated_market_is_refused(mia: Mia, options: list[str]) -> None:
    done = mia("backtest", "run", "--strategy", "flat", "--duration", "1", *options)

    assert done.code == 2
    assert "changes nothing on the simulated market" in " ".join(done.err.split())


def test_a_place_that_takes_no_run_is_refused_before_the_run_is_counted(mia: Mia, candles: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = mia("backtest", "trials", "count", "--json").out

    done = mia("backtest", "run", "--strategy", "flat", "--data", str(candles), "--fee", "0.001", "--out", str(tmp_path / "file" / "run"))

    assert done.code == 1
    assert f"no folder to write in at {tmp_path / 'file'}" in " ".join(done.err.split())
    assert mia("backtest", "trials", "count", "--json").out == before


def test_what_is_still_held_at_the_end_is_told_with_its_share_of_the_net(mia: Mia, candles: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    done = mia(
        "backtest", "run", "--strategy", "buy_and_hold", "--data", str(candles), "--fee", "0.001", "--samples", "0", "--out", str(out)
    )

    net = re.search(r"= net +(\S+)", done.out)
    still = re.search(r"still open +\+\S+ file:MADE: (\S+) of the net", done.out)
    assert net is not None
    assert still is not None
    profits = [float(line.split(",")[8]) for line in (out / "trades.csv").read_text().splitlines()[1:]]
    assert float(still[1]) == pytest.approx(float(net[1]) - sum(profits), abs=0.011)


def test_signals_on_bars_are_filled_as_bars_say_and_so_they_tell(mia: Mia, candles: Path, tmp_path: Path) -> None:
    signals = tmp_path / "s.csv"
    signals.write_text("ts,signal\n2024-03-01T05:00:00Z,1\n2024-03-02T05:00:00Z,-1\n")

    done = mia("backtest", "run", "--signals", str(signals), "--data", str(candles), "--fee", "0.001", "--out", str(tmp_path / "run"))

    assert "fills: market orders at the next bar's open" in done.out
    assert "queue" not in done.out
    assert (
        "A market order decided at a bar&#x27;s close fills at the next bar&#x27;s open" in (tmp_path / "run" / "report.html").read_text()
    )


def test_the_latency_and_the_walk_of_the_book_that_a_market_in_process_has_are_told(mia: Mia, tmp_path: Path) -> None:
    done = mia("backtest", "run", "--strategy", "flat", "--duration", "1", "--no-report", "--out", str(tmp_path / "run"))

    assert "latency: 5 ms to the venue, 5 ms back ([paper])" in done.out
    assert "impact: none beyond the depth that is walked" in done.out
    assert "not charged: participation, funding" in done.out


def test_a_folder_in_place_of_a_file_is_named(mia: Mia, tmp_path: Path) -> None:
    done = mia("backtest", "run", "--strategy", "flat", "--data", str(tmp_path), "--fee", "0.001")

    assert done.code != 0
    assert str(tmp_path) in " ".join(done.err.split())


def test_the_most_cash_that_is_allowed_can_be_traded_with(mia: Mia, candles: Path, tmp_path: Path) -> None:
    done = mia(
        "backtest", "run", "--strategy", "sma_cross", "--param", "fast_period=2", "--param", "slow_period=5", "--data", str(candles),
        "--fee", "0.001", "--cash", "1e10", "--no-report", "--samples", "0", "--out", str(tmp_path / "run"),
    )  # fmt: skip

    assert done.code == 0, done.err


def test_a_run_that_traded_nothing_says_nothing_of_chance(mia: Mia, candles: Path, tmp_path: Path) -> None:
    done = mia("backtest", "run", "--strategy", "flat", "--data", str(candles), "--fee", "0.001", "--out", str(tmp_path / "run"))

    assert "\nNo. It made nothing: it never closed a trade.\n" in done.out
    assert re.search(r"Longest time below a peak +n/a, no drawdown", done.out)
    assert "1 tick on" in done.out
    assert "-0.00" not in done.out


def test_bars_before_the_span_are_named_in_words_on_the_table_and_on_the_page(mia: Mia, candles: Path, tmp_path: Path) -> None:
    done = mia(
        "backtest", "run", "--strategy", "sma_cross", "--param", "fast_period=2", "--param", "slow_period=5", "--data", str(candles),
        "--fee", "0.001", "--from", "2024-03-03", "--out", str(tmp_path / "run"),
    )  # fmt: skip

    page = (tmp_path / "run" / "report.html").read_text()
    assert re.search(r"kept back by  .*warm-up before the span \d+", done.out)
    assert "trading_disabled" not in done.out
    assert "warm-up before the span <code>trading_disabled</code>" in page
    assert "it only teaches the features, and nothing is opened on it" in page
    assert "<p>Random entries: n/a, " in page
    assert "\nrandom entries: n/a, " in done.out


def test_a_run_names_the_commit_of_its_sources_and_no_path(mia: Mia, candles: Path, tmp_path: Path) -> None:
    done = mia("backtest", "run", "--strategy", "sma_cross", "--data", str(candles), "--fee", "0.001", "--out", str(tmp_path / "run"))

    text = (tmp_path / "run" / "run.json").read_text()
    assert done.code == 0
    assert re.fullmatch("[0-9a-f]{40}|unknown", json.loads(text)["git_commit"])
    assert str(tmp_path) not in text
