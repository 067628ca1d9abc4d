"""Our columns against tables of indicators that third-party charting tools computed on daily bars (LEAN's test data).

A value agrees when it is within half a unit of the last printed digit (seven at most are meant), plus two roundings of a price to
single precision, which is what the tools reckon in. Bars enter in units of 1e-4, so that all of them are whole ticks. What the
tables define otherwise than we do:
- EMA, MACD and its signal start from a mean, ours from the first value: compared after the start has died away;
- ATR counts the high - low of the very first bar, ours needs a previous close; ADX, +DI, -DI start from Wilder's sums: the same;
- Keltner is SMA20 of (h + l + c) / 3 -+ 1.5 SMA20 of the true range, ours is an EMA of closes in ATR: built from our sma(n);
- the moving VWAP weighs (o + h + l + c) / 4 over 50 bars, ours runs by session: built from our sma(n);
- Stochastic %K is of 12 bars, smoothed by 3, %D by 5 more: built from our highest(n), lowest(n), sma(n).
Not compared: "RSI 14" (plain means of gains and losses, no column of ours) and ADXR.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mia.features.batch import bars_from_ohlcv, compute_bars

pytestmark = pytest.mark.data
Array = Any
TICKS = 1e4
SINGLE = 2.0**-23  # two roundings to single precision, relative to the number


class Table:
    """One file: its columns as numbers (NaN where empty) and half the last printed digit of each."""

    def __init__(self, path: Path) -> None:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            head, *rows = [row for row in csv.reader(lines) if row]
        cells = [[row[k].strip() if k < len(row) else "" for row in rows] for k in range(len(head))]
        self.value = {name.strip(): np.array([float(x or "nan") for x in column]) for name, column in zip(head[1:], cells[1:], strict=True)}
        self.half = {name.strip(): np.array([half_digit(x) for x in column]) for name, column in zip(head[1:], cells[1:], strict=True)}

    def bars(self) -> Array:
        """float64[n, 11] in ticks; a table of closes alone has bars without a range."""
        close = self.value["Close"]
        o, h, low, c = (np.round(TICKS * self.value.get(name, close)) for name in ("Open", "High", "Low", "Close"))
        return bars_from_ohlcv(o, h, low, c, self.value.get("Volume", np.zeros(len(close))))


def half_digit(text: str) -> float:
    if not text:
        return float("nan")
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return 0.5 * 10.0 ** max(exponent, number.adjusted() - 6)


@pytest.fixture
def table(market_data: Path) -> Callable[[str], Table]:
    return lambda name: Table(market_data / "oracle" / name)


@pytest.fixture
def columns(bench: Callable[..., Any]) -> Callable[..., dict[str, Array]]:
    def compute(bars: Array, *names: str) -> dict[str, Array]:
        ts = 1_700_000_000_000_000_000 + 86_400_000_000_000 * np.arange(len(bars), dtype=np.int64)
        return dict(zip(names, compute_bars(bench(names).plan, ts, bars, with_cold=True)[1].T, strict=True))

    return compute


@pytest.fixture
def sma(columns: Callable[..., dict[str, Array]]) -> Callable[[Array, int], Array]:
    """Our sma(n) of any series: as closes of bars, lifted above 0, where prices begin; a zero that marks a hole stays one."""

    def smoothed(x: Array, n: int) -> Array:
        lifted = x + 1_000.0
        found = columns(bars_from_ohlcv(lifted, lifted, lifted, lifted, 0.0 * x), f"sma({n})")[f"sma({n})"]
        return np.where(found > 0.0, found - 1_000.0, 0.0)

    return smoothed


def agree(ours: Array, t: Table, name: str, start: int = 0, slack: Array | None = None, rows: int = 300) -> None:
    """Equal to the printed digits in every row that has a value, from row `start` on; slack: instead of two roundings of a price."""
    known = np.isfinite(t.value[name])
    known[:start] = False
    assert known.sum() >= rows
    excess = (np.abs(ours - t.value[name]) - t.half[name] - (SINGLE * t.value["Close"] if slack is None else slack))[known]
    assert excess.max() <= 0.0, (float(excess.max()), int(np.flatnonzero(known)[excess.argmax()]))


def test_sma_ema_macd_and_wilders_rsi(table: Callable[[str], Table], columns: Callable[..., dict[str, Array]]) -> None:
    t = table("lean_spy_with_indicators.txt")

    ours = columns(t.bars(), "sma(14)", "ema(14)", "ema(12)", "ema(26)", "macd_line_12_26", "atr(14)", "rsi(14)", "rsi_14")

    agree(ours["sma(14)"] / TICKS, t, "SMA14")
    agree(ours["ema(14)"] / TICKS, t, "EMA14", start=110)
    agree((ours["ema(12)"] - ours["ema(26)"]) / TICKS, t, "MACD 12 26", start=190)
    agree(ours["macd_line_12_26"] * ours["atr(14)"] / TICKS, t, "MACD 12 26", start=190)
    agree(ours["rsi(14)"], t, "RSI 14 Wilder")
    agree(50 + 50 * ours["rsi_14"], t, "RSI 14 Wilder")


def test_macd_with_signal_and_histogram(table: Callable[[str], Table], columns: Callable[..., dict[str, Array]]) -> None:
    t = table("lean_spy_with_macd.txt")

    ours = columns(t.bars(), "macd_line_12_26", "macd_hist_12_26_9", "atr(14)")

    line, histogram = (ours[name] * ours["atr(14)"] / TICKS for name in ("macd_line_12_26", "macd_hist_12_26_9"))
    agree(line, t, "MACD", start=230, rows=130)
    agree(line - histogram, t, "Signal", start=230, rows=130)
    agree(histogram, t, "Histogram", start=230, rows=130)


def test_bollinger_bands(table: Callable[[str], Table], columns: Callable[..., dict[str, Array]]) -> None:
    t = table("lean_spy_bollinger_bands.txt")

    ours = columns(t.bars(), "sma(20)", "std(20)", "bollinger_width_20", "bollinger_pct_b_20")

    middle, deviation = ours["sma(20)"] / TICKS, ours["std(20)"] / TICKS
    agree(middle, t, "Moving Average 20")
    agree(middle + 2 * deviation, t, "Bollinger Bands® 20 2 Top")
    agree(middle - 2 * deviation, t, "Bollinger Bands® 20 2 Bottom")
    # The table takes these two from its printed bands, each half a digit off.
    half = t.half["Bollinger Bands® 20 2 Top"]
    agree(100 * ours["bollinger_width_20"], t, "BandWidth", slack=100 * 2 * half / np.maximum(middle, 1.0))
    agree(ours["bollinger_pct_b_20"], t, "%B", slack=2 * half / np.maximum(4 * deviation, 1e-9))


def test_average_true_range(table: Callable[[str], Table], columns: Callable[..., dict[str, Array]]) -> None:
    t = table("lean_spy_atr_wilder.txt")

    ours = columns(t.bars(), "atr(14)")

    agree(ours["atr(14)"] / TICKS, t, "Average True Range 14", start=150)


def test_directional_movement(table: Callable[[str], Table], columns: Callable[..., dict[str, Array]]) -> None:
    t = table("lean_spy_with_adx.txt")

    ours = columns(t.bars(), "plus_di_14", "minus_di_14", "adx_14")

    agree(100 * ours["plus_di_14"], t, "+DI14", start=200)
    agree(100 * ours["minus_di_14"], t, "-DI14", start=200)
    agree(100 * ours["adx_14"], t, "ADX 14", start=200)


def test_on_balance_volume(table: Callable[[str], Table], columns: Callable[..., dict[str, Array]]) -> None:
    t = table("lean_spy_with_obv.txt")

    ours = columns(t.bars(), "ret_1")

    obv = t.value["Volume"][0] + np.cumsum(np.sign(ours["ret_1"]) * t.value["Volume"])
    agree(obv, t, "OBV", slack=np.cumsum(t.half["Volume"]))


def test_moving_vwap(table: Callable[[str], Table], sma: Callable[[Array, int], Array]) -> None:
    t = table("lean_spy_with_vwap.txt")
    price = (t.value["Open"] + t.value["High"] + t.value["Low"] + t.value["Close"]) / 4

    with np.errstate(invalid="ignore"):  # no value before the 50th bar
        vwap = sma(price * t.value["Volume"], 50) / sma(t.value["Volume"], 50)

    agree(vwap, t, "Moving VWAP 50")


def test_keltner_channel(table: Callable[[str], Table], sma: Callable[[Array, int], Array]) -> None:
    t = table("lean_spy_with_keltner.csv")
    h, low, c = t.value["High"], t.value["Low"], t.value["Close"]
    before = np.concatenate(([c[0]], c[:-1]))
    before[0] = h[0]  # the first bar has no previous close: high - low

    middle = sma((h + low + c) / 3, 20)
    width = 1.5 * sma(np.maximum(h, before) - np.minimum(low, before), 20)

    agree(middle, t, "Middle Band")
    agree(middle + width, t, "Keltner Channels 20 Top")
    agree(middle - width, t, "Keltner Channels 20 Bottom")


def test_slow_stochastic(
    table: Callable[[str], Table], columns: Callable[..., dict[str, Array]], sma: Callable[[Array, int], Array]
) -> None:
    t = table("lean_spy_with_stoch12k3.txt")

    ours = columns(t.bars(), "highest(12)", "lowest(12)", "close")

    span = np.where(ours["highest(12)"] > 0, ours["highest(12)"] - ours["lowest(12)"], np.inf)  # no value before the 12th bar
    raw = 100 * (ours["close"] - ours["lowest(12)"]) / span
    k = sma(raw, 3)
    slack = sma(100 * SINGLE * ours["close"] / span, 3)
    agree(k, t, "Stochastics 12 %K 3", slack=slack)
    agree(sma(k, 5), t, "%D 5", slack=sma(slack, 5))
