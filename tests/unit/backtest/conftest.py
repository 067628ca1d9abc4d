"""Small real runs: a rule on a random walk of candles, written as a run directory and changed where a test wants it changed."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from mia.assemble import calendar_files
from mia.backtest.run.artifacts import RUN_FILE, read, write
from mia.backtest.run.prepare import Request, execute, prepare
from mia.backtest.run.result import Result
from mia.backtest.run.stored import StoredRun, stored
from mia.risk.windows import Windows, load_windows
from mia.settings import load_settings
from mia.shipped import config_file

BARS = 2_500
MakeRun = Callable[..., Result]


@pytest.fixture(scope="session")
def windows() -> Windows:
    """The shipped sessions."""
    return load_windows(*calendar_files())


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """make_run(strategy, seed=1, name="walk.csv", **options of Request): a finished run on 2,500 bars of 5 minutes."""

    def make(strategy: str = "ema_cross", *, seed: int = 1, name: str = "walk.csv", bars: int = BARS, **options: Any) -> Result:
        draw = np.random.default_rng(seed)
        close = np.rint(100_000 * np.exp(np.cumsum(draw.normal(0, 0.003, bars)))) / 100
        opens = np.concatenate([[1000.0], close[:-1]])
        rows = ["timestamp,open,high,low,close,volume"]
        for k, (o, c) in enumerate(zip(opens.tolist(), close.tolist(), strict=True)):
            rows.append(f"{1_709_251_200 + 300 * k},{o:.2f},{max(o, c) + 0.5:.2f},{min(o, c) - 0.5:.2f},{c:.2f},1000")
        path = tmp_path_factory.mktemp("candles") / name
        path.write_text("\n".join(rows) + "\n")
        settings = load_settings(config_file("miad.toml")).settings
        options = {"fee": Decimal("0.0005"), "lot": Decimal("0.0001"), "timeframe": None, **options}
        return execute(prepare(Request(settings=settings, strategy=f"rule:{strategy}", data=(path,), **options)))

    return make


@pytest.fixture(scope="session")
def result(make_run: MakeRun) -> Result:
    """One of ema_cross with trades."""
    made = make_run()
    assert len(made.trips) >= 20
    return made


@pytest.fixture
def folder(result: Result, tmp_path: Path) -> Path:
    """Its directory."""
    write(result, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def run(folder: Path) -> StoredRun:
    """Its directory read back."""
    return stored(read(folder))


@pytest.fixture
def edited(folder: Path) -> Callable[..., StoredRun]:
    """edited(facts=..., equity=..., trades=...): the run after its files were changed by functions of what they hold."""

    def edit(
        facts: Callable[[dict[str, Any]], None] | None = None,
        equity: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
        trades: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    ) -> StoredRun:
        files = read(folder)
        if facts is not None:
            facts(files.facts)
            (folder / RUN_FILE).write_bytes(msgspec.json.encode(files.facts))
        if equity is not None:
            equity(files.equity).write_parquet(folder / "equity.parquet")
        if trades is not None:
            trades(files.trades).write_csv(folder / "trades.csv")
        return stored(read(folder))

    return edit
