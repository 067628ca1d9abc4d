"""A catalogue of its own for each test, and files to import: made candles, made recordings of Binance spot."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from mia.backtest.run.prepare import Request
from mia.domain.instruments import Instrument
from mia.settings import Settings, load_settings
from mia.shipped import config_file

START_NS = 1_709_078_400_000_000_000  # 2024-02-28 00:00 UTC: two days before a month's end
Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data home."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "mia"


@pytest.fixture(scope="session")
def settings() -> Settings:
    """The shipped ones with limits wide enough to trade."""
    shipped = load_settings(config_file("miad.toml"), environ={}).settings
    wide = {"drawdown_max": 1.0, "daily_loss_max": 1.0, "order_notional_max": 1e9, "exposure_notional_max": 1e9}
    return msgspec.structs.replace(shipped, risk=msgspec.structs.replace(shipped.risk, **wide))


@pytest.fixture(scope="session")
def instrument(settings: Settings) -> Callable[[str], Instrument]:
    """instrument("binance_spot:BTCUSDT"): of the settings."""
    return lambda name: next(i for i in settings.instruments if f"{i.venue}:{i.symbol}" == name)


@pytest.fixture
def candles(tmp_path: Path) -> Make:
    """candles(name="btcusdt_5m.parquet", bars=2000, minutes=5, seed=1, skip=0): part of one random walk in ticks of 0.1."""

    def make(name: str = "btcusdt_5m.parquet", *, bars: int = 2000, minutes: int = 5, seed: int = 1, skip: int = 0) -> Path:
        draw, n = np.random.default_rng(seed), 20_000
        close = np.rint(600_000 * np.exp(np.cumsum(draw.normal(0, 0.001, n)))) / 10
        opens = np.concatenate([[60_000.0], close[:-1]])
        volume = draw.integers(1, 5000, n) / 1000
        frame = pl.DataFrame(
            {
                "ts_ns": START_NS + np.arange(n) * minutes * 60_000_000_000,
                "open": opens,
                "high": np.maximum(opens, close) + 0.5,
                "low": np.minimum(opens, close) - 0.5,
                "close": close,
                "volume": volume,
                "trades": draw.integers(1, 99, n).astype(float),
                "quote_volume": volume * (opens + close) / 2,
            }
        )[skip : skip + bars]
        path = tmp_path / name
        frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)
        return path

    return make


@pytest.fixture
def recording(tmp_path: Path) -> Make:
    """recording(name=..., start_ns=START_NS, frames=3000, seed=5, book=True): frames of Binance spot, many of them at one time."""

    def make(
        name: str = "binance_spot_btcusdt_ws_1.gz", *, start_ns: int = START_NS, frames: int = 3000, seed: int = 5, book: bool = True
    ) -> Path:
        draw = np.random.default_rng(seed)
        t, mid, update = start_ns, 60_000.0, 100
        lines = []
        levels = {side: [[f"{mid + sign * 0.01 * k:.2f}", "1.0"] for k in range(1, 40)] for side, sign in (("bids", -1), ("asks", 1))}
        if book:
            lines.append(f"{t} {json.dumps({'lastUpdateId': update, **levels})}")
        for i in range(frames):
            t += int(draw.exponential(3e7)) * int(draw.random() < 0.6)
            ms, kind = t // 1_000_000, draw.random()
            mid += 0.01 * int(draw.integers(-3, 4))
            if kind < 0.4:
                sizes = [f"{x:.5f}" for x in draw.random(2) + 1e-5]
                data = {"u": update + 1, "s": "BTCUSDT", "b": f"{mid - 0.01:.2f}", "B": sizes[0], "a": f"{mid + 0.01:.2f}", "A": sizes[1]}
                lines.append(f"{t} {json.dumps({'stream': 'btcusdt@bookTicker', 'data': data})}")
            elif kind < 0.7:
                update += 1
                changes = {
                    side: [[f"{mid + sign * 0.01 * int(draw.integers(1, 30)):.2f}", f"{draw.random():.5f}"] for _ in range(2)]
                    for side, sign in (("b", -1), ("a", 1))
                }
                lines.append(f"{t} {json.dumps({'e': 'depthUpdate', 'E': ms, 's': 'BTCUSDT', 'U': update, 'u': update, **changes})}")
            else:
                trade = {"e": "trade", "E": ms, "s": "BTCUSDT", "t": i, "p": f"{mid:.2f}", "q": f"{draw.exponential() + 1e-5:.5f}", "T": ms}
                lines.append(f"{t} {json.dumps({**trade, 'm': bool(draw.random() < 0.5)})}")
        path = tmp_path / name
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
        return path

    return make


@pytest.fixture
def asked(settings: Settings) -> Make:
    """asked(**fields): a request for ema_cross(3, 8)."""

    def make(**fields: Any) -> Request:
        return Request(**{"settings": settings, "strategy": "rule:ema_cross", "params": {"fast_period": 3, "slow_period": 8}} | fields)

    return make
