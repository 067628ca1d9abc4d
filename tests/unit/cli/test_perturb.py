"""`mia backtest perturb` from the command line: its table, JSON, and that only the run itself is counted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Mia = Callable[..., Any]


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    rows = ["date,open,high,low,close,volume"]
    last = 100.0
    for k in range(1_000):
        close = 100 + 5 * math.sin(k / 12)
        stamp = f"2024-03-{1 + k // 24:02d}T{k % 24:02d}:00:00Z" if k < 31 * 24 else f"2024-04-{1 + k // 24 - 31:02d}T{k % 24:02d}:00:00Z"
        rows.append(f"{stamp},{last:.2f},{max(last, close) + 0.1:.2f},{min(last, close) - 0.1:.2f},{close:.2f},50")
        last = round(close, 2)
    file = tmp_path / "made.csv"
    file.write_text("\n".join(rows) + "\n")
    return file


@pytest.mark.parametrize("by", ["noise", "blocks"])
def test_the_table_says_where_the_run_lies_and_only_the_run_is_counted(mia: Mia, candles: Path, by: str) -> None:
    asked = ["--strategy", "ema_cross", "--data", str(candles), "--fee", "0.0005", "--draws", "20"]

    done = mia("backtest", "perturb", *asked, "--by", by)
    told = mia("backtest", "perturb", *asked, "--by", by, "--json")

    assert done.code == told.code == 0
    assert done.out.splitlines()[0].split() == ["figure", "run", "5", "%", "median", "95", "%", *"draws at or above the run".split()]
    assert "20 draws, seed 1" in done.out
    assert "are no trials, the run itself is counted" in done.err
    found = json.loads(told.out)
    assert (found["method"], found["draws"], found["trials"]["trials"]) == (by, 20, 1)
    assert [figure["name"] for figure in found["figures"]] == ["net_return", "sharpe", "max_drawdown", "trades", "fees"]


@pytest.mark.parametrize(
    "options",
    [
        ["--by", "blocks", "--noise", "0.3"],
        ["--by", "blocks", "--noise-ticks", "3"],
        ["--block", "9"],
        ["--noise", "0.3", "--noise-ticks", "3"],
    ],
)
def test_an_option_of_the_other_kind_of_perturbing_is_refused(mia: Mia, candles: Path, options: list[str]) -> None:
    done = mia("backtest", "perturb", "--strategy", "ema_cross", "--data", str(candles), "--fee", "0.0005", *options)

    assert done.code == 2
    assert options[-2] in done.err


def test_without_candles_it_says_what_it_needs(mia: Mia) -> None:
    done = mia("backtest", "perturb", "--strategy", "ema_cross")

    assert done.code == 2
    assert "name candles with --data FILE" in " ".join((done.out + done.err).split())
