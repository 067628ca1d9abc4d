"""Candles that were made up, as the fits see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mia.features.bars import BarSpec
from mia.features.batch import bars_from_ohlcv
from mia.train.feature_models.rows import FeatureFitSettings, Stretch, from_bars
from mia.train.settings import perpetual

QUICK = FeatureFitSettings(steps=60, starts=2, iterations=12, clusters=4, contexts=40)
START_NS = 1_700_000_000_000_000_000
MINUTE_NS = 60_000_000_000


def candles(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    phase = np.repeat(rng.integers(0, 3, n // 60 + 1), 60)[:n]
    r = rng.normal(0, np.array([0.001, 0.0012, 0.006])[phase]) + np.array([0.0, 0.001, 0.0])[phase]
    c = 50_000.0 * np.exp(np.cumsum(r - r.mean()))
    o = np.concatenate([[50_000.0], c[:-1]])
    h, low = np.maximum(o, c) * (1 + rng.exponential(0.0005, n)), np.minimum(o, c) * (1 - rng.exponential(0.0005, n))
    return bars_from_ohlcv(np.rint(o), np.rint(h), np.rint(low), np.rint(c), rng.integers(1, 1000, n).astype(float))


def stretch(n: int = 3_000, seed: int = 1) -> Stretch:
    times = START_NS + MINUTE_NS * np.arange(n)
    return from_bars("made up", perpetual(), BarSpec.parse("time:1m"), times, candles(n, seed))


def candle_file(path: Path, n: int, seed: int) -> Path:
    """The same candles as a file of one-minute bars."""
    lines = ["ts_ms,open,high,low,close,volume"]
    rows = candles(n, seed)[:, :5].tolist()
    lines += [f"{START_NS // 10**6 + 60_000 * k},{o},{h},{low},{c},{v}" for k, (o, h, low, c, v) in enumerate(rows)]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def made_up() -> Stretch:
    return stretch()
