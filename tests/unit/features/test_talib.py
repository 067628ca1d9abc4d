"""Our columns against TA-Lib, a foreign implementation in C, on recorded 1-minute bars.

Agreement is 1e-9 of TA-Lib's value, or of the natural unit of the indicator (100 for an index, ATR for a difference of prices)
where the value passes through 0. What we do differently on purpose:
- scales: indices of 0 .. 100 are shares in [0, 1] or [-1, 1], differences of prices are in ATR (clipped at 20);
- an EMA starts from its first value, TA-Lib's from the mean of the first n: the difference dies as (1 - 2 / (n + 1))^bars;
- +DI, -DI and ADX start from means of 14, TA-Lib's from Wilder's sums of 13: it dies as (13 / 14)^bars;
- standard deviations are those of the population (TA-Lib's, too);
- a flat window is the middle of its range (0.5 or 0), TA-Lib says 0.
Where an indicator does not depend on the level of prices TA-Lib gets them as differences from a nearby close: its running sums of
squares of prices lose up to nine digits, ours are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import talib

from mia.features.bars import BarSpec
from mia.features.batch import bars_from_ohlcv, compute_bars
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book

pytestmark = pytest.mark.data
Array = Any
COLUMNS = (
    "ema(20)", "sma(20)", "sma(200)", "std(20)", "rsi(14)", "atr(14)", "highest(20)", "lowest(20)", "rsi_14", "rsi_7", "rsi_28",
    "adx_14", "plus_di_14", "minus_di_14", "macd_line_12_26", "macd_hist_12_26_9", "ppo_12_26", "stoch_k_14", "stoch_d_14_3",
    "stoch_rsi_14", "cci_20", "mfi_14", "linreg_slope_20", "linreg_slope_60", "linreg_r2_20", "aroon_osc_20", "bollinger_pct_b_20",
    "bollinger_width_20", "trix_15", "kama_gap_10", "hull_slope_16", "tema_gap_20", "ret_1",
)  # fmt: skip


class Bars(NamedTuple):
    """Recorded bars in ticks and lots, and COLUMNS after each of them."""

    h: Array
    low: Array
    c: Array
    v: Array
    of: dict[str, Array]

    @property
    def atr(self) -> Array:
        return self.of["atr(14)"]

    def near(self, function: Callable[..., Array], *series: Array) -> Array:
        """The function of the series less a close that is at most 300 bars away."""
        out = np.full(len(self.c), np.nan)
        for start in range(0, len(self.c), 200):
            first = max(0, start - 100)
            part = function(*(x[first : start + 200] - self.c[first] for x in series))
            out[start : start + 200] = part[start - first :]
        return out


def load(market_data: Path, instrument: Any, n: int) -> Bars:
    table = pq.read_table(market_data / "bitfinex_btcusd_1m_2017-2018.parquet").slice(0, n)
    opens, h, low, c = (np.round(100.0 * table[name].to_numpy()) for name in ("open", "high", "low", "close"))
    v = np.round(1e8 * table["volume"].to_numpy())
    arena = Arena(64_000_000)
    plan = build_plan(COLUMNS, instrument, BarSpec.parse("time:1m"), arena, Book(arena))
    _, matrix = compute_bars(plan, table["ts_ms"].to_numpy() * 1_000_000, bars_from_ohlcv(opens, h, low, c, v), with_cold=True)
    return Bars(h, low, c, v, {name: matrix[:, k].copy() for k, name in enumerate(COLUMNS)})


@pytest.fixture(scope="module", params=[50_000, pytest.param(2_000_000, marks=pytest.mark.slow)])
def bars(request: Any, market_data: Path, instrument: Any) -> Bars:
    return load(market_data, instrument, request.param)


def agree(ours: Array, theirs: Array, unit: float | Array = 0.0, start: int = 15) -> None:
    """Equal to 1e-9 of theirs or of the unit wherever TA-Lib has a value, from bar `start` on."""
    known = np.isfinite(theirs)
    known[:start] = False
    assert known.mean() > 0.9
    error = np.abs(ours - theirs)[known] / np.maximum(np.abs(theirs), unit)[known]
    worst = error.argmax()
    assert error[worst] <= 1e-9, (error[worst], int(np.flatnonzero(known)[worst]))


def test_averages_agree(bars: Bars) -> None:
    c = bars.c

    agree(bars.of["sma(20)"], talib.SMA(c, 20))
    agree(bars.of["sma(200)"], talib.SMA(c, 200))
    agree(bars.of["ema(20)"], talib.EMA(c, 20), start=150)
    agree(c - bars.of["kama_gap_10"] * bars.atr, talib.KAMA(c, 10))
    agree(c - bars.of["tema_gap_20"] * bars.atr, talib.TEMA(c, 20), start=200)


def test_deviations_and_bands_agree(bars: Bars) -> None:
    flat = talib.MAX(bars.c, 20) == talib.MIN(bars.c, 20)

    def width_and_place(c: Array) -> tuple[Array, Array]:
        top, _, bottom = talib.BBANDS(c, 20, 2, 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            return top - bottom, (c - bottom) / (top - bottom)

    agree(bars.of["std(20)"], bars.near(lambda c: talib.STDDEV(c, 20), bars.c), bars.atr)
    agree(bars.of["std(20)"] ** 2, bars.near(lambda c: talib.VAR(c, 20), bars.c), bars.atr**2)
    agree(bars.of["bollinger_width_20"] * talib.SMA(bars.c, 20), bars.near(lambda c: width_and_place(c)[0], bars.c), bars.atr)
    agree(bars.of["bollinger_pct_b_20"], np.where(flat, np.nan, bars.near(lambda c: width_and_place(c)[1], bars.c)), 1.0)
    assert (bars.of["bollinger_pct_b_20"][flat] == 0.5).all()


def test_extremes_are_equal(bars: Bars) -> None:
    assert (bars.of["highest(20)"] == talib.MAX(bars.h, 20))[19:].all()
    assert (bars.of["lowest(20)"] == talib.MIN(bars.low, 20))[19:].all()


def test_true_range_and_direction_agree(bars: Bars) -> None:
    hlc = (bars.h, bars.low, bars.c)

    agree(bars.atr, talib.ATR(*hlc, 14))
    agree(100 * bars.of["plus_di_14"], talib.PLUS_DI(*hlc, 14), 1.0, start=300)
    agree(100 * bars.of["minus_di_14"], talib.MINUS_DI(*hlc, 14), 1.0, start=300)
    agree(100 * bars.of["adx_14"], talib.ADX(*hlc, 14), 1.0, start=330)


@pytest.mark.parametrize("n", [7, 14, 28])
def test_rsi_agrees_from_the_first_value(bars: Bars, n: int) -> None:
    agree(50 + 50 * bars.of[f"rsi_{n}"], talib.RSI(bars.c, n), 1.0, start=n)
    if n == 14:
        agree(bars.of["rsi(14)"], talib.RSI(bars.c, 14), 1.0, start=n)


def test_rsi_within_its_range_agrees(bars: Bars) -> None:
    rsi = talib.RSI(bars.c, 14)
    fast_k, _ = talib.STOCHRSI(bars.c, 14, 14, 1)
    still = talib.MAX(rsi, 14) - talib.MIN(rsi, 14) <= 5e-8

    # The range divides the rounding of RSI; below 1e-9 (of 1, not of 100) nothing but rounding is left.
    agree(100 * bars.of["stoch_rsi_14"], np.where(still, np.nan, fast_k), 100.0)
    assert (bars.of["stoch_rsi_14"][still] == 0.5).all()


def test_macd_and_its_relatives_agree(bars: Bars) -> None:
    line, _, histogram = talib.MACD(bars.c, 12, 26, 9)
    triple = talib.EMA(talib.EMA(talib.EMA(bars.c, 15), 15), 15)
    before = np.concatenate(([np.nan], triple[:-1]))

    agree(bars.of["macd_line_12_26"] * bars.atr, line, bars.atr, start=300)
    agree(bars.of["macd_hist_12_26_9"] * bars.atr, histogram, bars.atr, start=300)
    agree(100 * bars.of["ppo_12_26"], talib.PPO(bars.c, 12, 26, 1), 0.1, start=300)
    agree(bars.of["trix_15"] * bars.atr, triple - before, bars.atr, start=250)
    agree(100 * bars.of["trix_15"] * bars.atr / before, talib.TRIX(bars.c, 15), 0.1, start=250)


def test_stochastic_agrees_where_the_range_is_not_flat(bars: Bars) -> None:
    fast_k, fast_d = talib.STOCHF(bars.h, bars.low, bars.c, 14, 3)
    flat = talib.MAX(bars.h, 14) == talib.MIN(bars.low, 14)
    near_flat = np.convolve(flat, np.ones(3))[: len(flat)] > 0

    agree(100 * bars.of["stoch_k_14"], np.where(flat, np.nan, fast_k), 100.0)
    agree(100 * bars.of["stoch_d_14_3"], np.where(near_flat, np.nan, fast_d), 100.0)


def test_channel_and_flow_indices_agree(bars: Bars) -> None:
    typical = (bars.h + bars.low + bars.c) / 3
    still = talib.SUM(np.concatenate(([0.0], np.diff(typical) != 0)).astype(float), 14) == 0

    agree(100 * bars.of["cci_20"], bars.near(lambda *hlc: talib.CCI(*hlc, 20), bars.h, bars.low, bars.c), 100.0, start=20)
    agree(50 + 50 * bars.of["mfi_14"], np.where(still, np.nan, talib.MFI(bars.h, bars.low, bars.c, bars.v, 14)), 1.0)
    assert (bars.of["mfi_14"][still] == 0.0).all()
    agree(np.cumsum(np.sign(bars.of["ret_1"]) * bars.v) + bars.v[0], talib.OBV(bars.c, bars.v), bars.v.mean())


def test_lines_agree(bars: Bars) -> None:
    count = np.arange(len(bars.c), dtype=float)

    for n in (20, 60):
        theirs = bars.near(lambda c, n=n: talib.LINEARREG_SLOPE(c, n), bars.c)
        agree(bars.of[f"linreg_slope_{n}"] * bars.atr, theirs, bars.atr)
    agree(bars.of["linreg_r2_20"], bars.near(lambda c: talib.CORREL(c, count[: len(c)], 20) ** 2, bars.c), 1.0)


def test_aroon_agrees(bars: Bars) -> None:
    agree(100 * bars.of["aroon_osc_20"], talib.AROONOSC(bars.h, bars.low, 20), 100.0, start=21)


def test_hull_average_agrees(bars: Bars) -> None:
    hull = talib.WMA(2 * talib.WMA(bars.c, 8) - talib.WMA(bars.c, 16), 4)

    agree(bars.of["hull_slope_16"] * bars.atr, np.concatenate(([np.nan], np.diff(hull))), bars.atr, start=20)
