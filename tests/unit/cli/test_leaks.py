"""`mia backtest lookahead` and `mia backtest leaks` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mia.backtest.run import fused

Mia = Callable[..., Any]  # the fixture `mia`: .code, .out, .err
RULE = ("--strategy", "ema_cross", "--param", "fast_period=3", "--param", "slow_period=8")


@pytest.fixture(autouse=True)
def _own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def candles(tmp_path: Path) -> tuple[str, ...]:
    """Options of a file of 400 five-minute bars."""
    rng = np.random.default_rng(1)
    close = np.round(60_000 * np.exp(np.cumsum(rng.normal(0, 0.002, 400))), 2)
    opens = np.concatenate([[60_000.0], close[:-1]])
    stamps = 1_714_521_600_000 + 300_000 * np.arange(400)
    path = tmp_path / "btcusdt_5m.csv"
    pl.DataFrame(
        {"ts_ms": stamps, "open": opens, "high": np.maximum(opens, close), "low": np.minimum(opens, close), "close": close, "volume": close}
    ).write_csv(path)
    return ("--data", str(path), "--instrument", "binance_spot:BTCUSDT")


def test_an_honest_rule_passes_with_exit_code_0(mia: Mia, candles: tuple[str, ...]) -> None:
    result = mia("backtest", "lookahead", *RULE, *candles, "--cuts", 3)

    assert result.code == 0
    assert "knows nothing of the future" in result.out


def test_a_cheat_is_exit_code_1_with_its_first_difference(mia: Mia, candles: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = fused.signals_of

    def shifted(*arguments: Any) -> Any:
        signals = honest(*arguments)
        return None if signals is None else np.concatenate([signals[5:], signals[-5:]])

    monkeypatch.setattr(fused, "signals_of", shifted)

    result = mia("backtest", "lookahead", *RULE, *candles, "--cuts", 6, "--json")

    found = json.loads(result.out)
    assert result.code == 1
    first = found["differences"][0]
    assert first["cut_ns"] - 5 * 300 * 10**9 <= first["ts_ns"] <= first["cut_ns"]
    assert first["kind"] in ("decision", "order")


def test_leaks_tells_the_shift_the_shuffle_and_the_data(mia: Mia, candles: tuple[str, ...]) -> None:
    result = mia("backtest", "leaks", *RULE, *candles, "--shuffles", 4)

    assert result.code == 0
    assert "one decision later" in result.out
    assert "do not beat flat after costs" in result.out
    assert json.loads(mia("backtest", "trials", "count", "--json").out) != []  # it showed a score, so it was counted


def test_a_table_alone_is_looked_through_without_a_strategy(mia: Mia, tmp_path: Path) -> None:
    x = np.cumsum(np.random.default_rng(1).normal(0, 1, 100))
    path = tmp_path / "features.csv"
    pl.DataFrame({"ts_ms": 1_714_521_600_000 + 60_000 * np.arange(100), "z": (x - x.mean()) / x.std()}).write_csv(path)

    result = mia("backtest", "leaks", "--table", path)

    assert result.code == 1
    assert "features.csv" in result.out
    assert "deviation 1 over all 100 rows" in result.out


def test_nothing_to_look_at_is_a_usage_error(mia: Mia) -> None:
    result = mia("backtest", "leaks")

    assert result.code == 2
    assert "--table" in result.err
