"""The trend features that test_bar_features does not know, against plain numpy versions of their formulas."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mia.features.batch import bars_from_ohlcv, compute_bars
from mia.features.catalogue import shipped_catalogue
from mia.kernels.line_block import SLOTS as LINES
from mia.kernels.oscillator_block import SLOTS as OSCILLATOR
from mia.kernels.trend_block import SLOTS as TREND

Array = Any
NEW = [*TREND[13:], *LINES[3:], *OSCILLATOR]
ALL = [*TREND, *LINES, *OSCILLATOR]
ROOT = Path(__file__).resolve().parents[3]


def div(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0


def scaled(a: float, b: float, bound: float = 20.0) -> float:
    return float(np.clip(div(a, b), -bound, bound))


def wilder(x: Array, n: int) -> Array:
    out = np.zeros(len(x))
    for i in range(len(x)):
        out[i] = x[: i + 1].mean() if i < n else out[i - 1] + (x[i] - out[i - 1]) / n
    return out


def ema(x: Array, n: int) -> Array:
    out = np.array(x, dtype=float)
    for i in range(1, len(x)):
        out[i] = out[i - 1] * (1 - 2 / (n + 1)) + x[i] * 2 / (n + 1)
    return out


def wma(x: Array, n: int) -> float:
    return float(np.average(x[-n:], weights=np.arange(1, n + 1)))


def line(y: Array) -> tuple[float, float, Array]:
    """(slope, R^2, residuals) of the least squares line through y."""
    x = np.arange(len(y))
    slope, start = np.polyfit(x, y - y[-1], 1)
    rest = y - y[-1] - (slope * x + start)
    total = ((y - y.mean()) ** 2).sum()
    return float(slope), float(1 - (rest**2).sum() / total) if total > 0 else 0.0, rest


def supertrend(h: Array, low: Array, c: Array, atr: Array) -> float:
    """The band that the newest close is measured from; atr[k] belongs to bar k + 1."""
    up, lower, upper = True, -np.inf, np.inf
    for k in range(1, len(c)):
        middle = (h[k] + low[k]) / 2
        fresh_lower, fresh_upper = middle - 3 * atr[k - 1], middle + 3 * atr[k - 1]
        lower = max(fresh_lower, lower) if c[k - 1] >= lower else fresh_lower
        upper = min(fresh_upper, upper) if c[k - 1] <= upper else fresh_upper
        up = c[k] >= lower if up else c[k] > upper
    return lower if up else upper


def kama(c: Array) -> float:
    value = c[9]
    for k in range(10, len(c)):
        path = np.abs(np.diff(c[k - 10 : k + 1])).sum()
        efficiency = abs(c[k] - c[k - 10]) / path if path > 0 else 1.0
        value += (efficiency * (2 / 3 - 2 / 31) + 2 / 31) ** 2 * (c[k] - value)
    return float(value)


def oracle(b: Array) -> dict[str, float]:
    """All of NEW after the last row of b (layout of BAR_FIELDS); b has 250 rows or more."""
    _, h, low, c, v = b[:, :5].T
    r = np.diff(np.log(c))
    change = np.diff(c)
    tr = np.maximum(h[1:], c[:-1]) - np.minimum(low[1:], c[:-1])
    atr = wilder(tr, 14)[-1]

    def rsi(n: int) -> Array:
        gains, losses = wilder(np.clip(change, 0, None), n), wilder(np.clip(-change, 0, None), n)
        return np.array([div(g - s, g + s) for g, s in zip(gains, losses, strict=True)])

    r14 = rsi(14)[-14:]
    up_move, down_move = np.diff(h), -np.diff(low)
    up = wilder(np.where((up_move > down_move) & (up_move > 0), up_move, 0.0), 14)
    down = wilder(np.where((down_move > up_move) & (down_move > 0), down_move, 0.0), 14)
    adx = wilder(np.array([div(abs(p - m), p + m) for p, m in zip(up, down, strict=True)])[13:], 14)
    macd = (ema(c, 12) - ema(c, 26))[-1]
    averages = [ema(c, n)[-1] for n in (10, 20, 50, 100, 200)]
    pairs = [np.sign(averages[i] - averages[j]) for i in range(5) for j in range(i + 1, 5)]

    def stoch(k: int) -> float:
        part_h, part_l = h[len(c) - k - 14 : len(c) - k].max(), low[len(c) - k - 14 : len(c) - k].min()
        return (c[len(c) - k - 1] - part_l) / (part_h - part_l) if part_h > part_l else 0.5

    span = h[-14:].max() - low[-14:].min()
    vortex = np.abs(h[-14:] - low[-15:-1]).sum() - np.abs(low[-14:] - h[-15:-1]).sum()
    slope, r2, rest = line(c[-60:])
    t_values = []
    for n in (10, 20, 40, 60):
        s, fit, _ = line(c[-n:])
        t_values.append(np.sign(s) * np.sqrt((n - 2) * fit / max(1 - fit, 1e-9)))
    last = r[-60:] - r[-60:].mean()
    power = np.sqrt((r[-60:] ** 2).sum())
    scales = np.array([1, 2, 4, 8, 16])
    powers = [ema(np.array([r[k - q : k].sum() ** 2 for k in range(16, len(r) + 1)]), 128)[-1] for q in scales]
    typical = (h + low + c) / 3
    flow = (np.sign(np.diff(typical)) * typical[1:] * v[1:])[-14:]
    triple = ema(ema(ema(c, 15), 15), 15)
    e1 = ema(c, 20)
    e2 = ema(e1, 20)
    hulls = [wma([2 * wma(c[: len(c) - k - j], 8) - wma(c[: len(c) - k - j], 16) for j in (3, 2, 1, 0)], 4) for k in (0, 1)]
    top, bottom = h[-55:].max(), low[-55:].min()
    sma, deviation = c[-20:].mean(), c[-20:].std()
    return {
        "stoch_rsi_14": (r14[-1] - r14.min()) / (r14.max() - r14.min()) if r14.max() > r14.min() else 0.5,
        "adx_slope_5": adx[-1] - adx[-6], "macd_line_12_26": scaled(macd, atr), "ppo_12_26": macd / ema(c, 26)[-1],
        "keltner_pos_20": scaled(c[-1] - averages[1], 2 * atr), "ma_ribbon_order": float(np.mean(pairs)),
        "stoch_d_14_3": (stoch(0) + stoch(1) + stoch(2)) / 3, "vortex_14": scaled(vortex, tr[-14:].sum(), 2),
        "choppiness_14": float(np.clip(np.log(tr[-14:].sum() / span) / np.log(14), 0, 2)) if span > 0 else 1.0,
        "bollinger_pct_b_20": float(np.clip((c[-1] - sma + 2 * deviation) / (4 * deviation), -1, 2)) if deviation > 0 else 0.5,
        "dpo_20": scaled(c[-12] - sma, atr), "linreg_slope_60": scaled(slope, atr),
        "linreg_resid_60": scaled(rest[-1], rest.std(), 10) if 1 - r2 > 1e-9 else 0.0,
        "trend_scan_t": float(np.clip(max(t_values, key=abs), -50, 50)),
        "autocorr_1_60": scaled((last[1:] * last[:-1]).sum(), (last**2).sum(), 1),
        "autocorr_5_60": scaled((last[5:] * last[:-5]).sum(), (last**2).sum(), 1),
        "tsmom_60": scaled(np.log(c[-1] / c[-61]), power, 8), "tsmom_240": scaled(np.log(c[-1] / c[-241]), 2 * power, 10),
        "hurst_ema_128": float(np.clip(np.polyfit(np.log(scales), np.log(powers), 1)[0] / 2, 0, 1)) if powers[0] > 1e-30 else 0.5,
        "rsi_7": rsi(7)[-1], "rsi_28": rsi(28)[-1], "mfi_14": div(flow.sum(), np.abs(flow).sum()),
        "donchian_pos_55": div(2 * c[-1] - top - bottom, top - bottom),
        "supertrend_dist_10_3": scaled(c[-1] - supertrend(h, low, c, wilder(tr, 10)), atr),
        "trix_15": scaled(triple[-1] - triple[-2], atr), "kama_gap_10": scaled(c[-1] - kama(c), atr),
        "hull_slope_16": scaled(hulls[0] - hulls[1], atr),
        "tema_gap_20": scaled(c[-1] - (3 * e1 - 3 * e2 + ema(e2, 20))[-1], atr),
    }  # fmt: skip


def random_bars(n: int, seed: int, step: int = 40) -> tuple[Array, Array]:
    """n bars of a random walk whose drift changes, with gaps, and with bars without trades."""
    rng = np.random.default_rng(seed)
    drift = np.repeat(rng.integers(-12, 13, n // 50 + 1), 50)[:n]
    close = 6_000_000.0 + np.cumsum(rng.integers(-step, step + 1, n) * (rng.random(n) < 0.8) + drift)
    opens = np.concatenate(([6_000_000.0], close[:-1])) + rng.integers(-3, 4, n)
    high = np.maximum(opens, close) + rng.integers(0, 30, n)
    low = np.minimum(opens, close) - rng.integers(0, 30, n)
    volume = rng.integers(0, 100_000, n).astype(float)
    for i in np.flatnonzero(rng.random(n) < 0.1)[1:]:
        opens[i] = high[i] = low[i] = close[i] = close[i - 1]
        volume[i] = 0.0
    return 1_700_000_000_000_000_000 + 1_000_000_000 * np.arange(n, dtype=np.int64), bars_from_ohlcv(opens, high, low, close, volume)


@pytest.mark.parametrize("seed", [3, 4])
def test_every_new_trend_feature_matches_its_formula(seed: int, bench: Callable[..., Any]) -> None:
    ts, bars = random_bars(700, seed)

    _, matrix = compute_bars(bench(NEW).plan, ts, bars, with_cold=True)

    for row in (250, 251, 255, 256, 257, 300, 333, 400, 511, 512, 640, 699):
        expected = oracle(bars[: row + 1])
        assert set(expected) == set(NEW)
        for column, name in enumerate(NEW):
            assert matrix[row, column] == pytest.approx(expected[name], rel=1e-7, abs=1e-9), (name, row)


@pytest.mark.parametrize("name", NEW)
def test_warm_up_is_as_long_as_the_catalogue_says(name: str, bench: Callable[..., Any]) -> None:
    bars_needed = shipped_catalogue().get(name).warm_up.bars
    ts, bars = random_bars(260, 5)

    warm_ts, _ = compute_bars(bench([name]).plan, ts, bars)

    assert warm_ts[0] == ts[bars_needed - 1]
    assert len(warm_ts) == 260 - bars_needed + 1


FINITE = (
    "stoch_d_14_3", "vortex_14", "choppiness_14", "bollinger_pct_b_20", "linreg_resid_60", "trend_scan_t", "autocorr_1_60",
    "autocorr_5_60", "tsmom_60", "tsmom_240", "mfi_14", "donchian_pos_55",
)  # fmt: skip


def test_finite_windows_forget_everything_before_their_warm_up(bench: Callable[..., Any]) -> None:
    ts, bars = random_bars(600, 11)

    _, long = compute_bars(bench(FINITE).plan, ts, bars, with_cold=True)

    for column, name in enumerate(FINITE):
        start = 600 - shipped_catalogue().get(name).warm_up.bars
        _, short = compute_bars(bench([name]).plan, ts[start:], bars[start:])
        assert short[-1, 0] == long[-1, column], name


def test_every_other_trend_feature_forgets_its_start_within_20_000_bars(bench: Callable[..., Any]) -> None:
    ts, bars = random_bars(24_000, 12)

    _, long = compute_bars(bench(ALL).plan, ts, bars, with_cold=True)
    _, short = compute_bars(bench(ALL).plan, ts[4000:], bars[4000:], with_cold=True)

    assert short[-1] == pytest.approx(long[-1], rel=1e-9, abs=1e-12)


def flat(n: int) -> tuple[Array, Array]:
    ts, bars = random_bars(n, 1)
    bars[:, :4] = 6_000_000.0
    bars[:, 4:] = 0.0
    return ts, bars


def test_a_flat_market_shows_what_the_formulas_say_of_it(bench: Callable[..., Any]) -> None:
    ts, bars = flat(300)

    _, matrix = compute_bars(bench(NEW).plan, ts, bars)

    not_zero = {"stoch_rsi_14": 0.5, "stoch_d_14_3": 0.5, "choppiness_14": 1.0, "bollinger_pct_b_20": 0.5, "hurst_ema_128": 0.5}
    assert len(matrix) == 60
    assert dict(zip(NEW, matrix[-1], strict=True)) == {name: not_zero.get(name, 0.0) for name in NEW}


def test_a_straight_climb_shows_the_strongest_trend_everywhere(bench: Callable[..., Any]) -> None:
    close = 6_000_000.0 + 10.0 * np.arange(400)
    bars = bars_from_ohlcv(close - 10, close, close - 10, close, np.full(400, 5.0))
    ts, _ = flat(400)

    _, matrix = compute_bars(bench(NEW).plan, ts, bars)

    value = dict(zip(NEW, matrix[-1], strict=True))
    assert value["trend_scan_t"] == 50.0
    assert value["linreg_resid_60"] == 0.0
    assert value["choppiness_14"] == pytest.approx(0.0, abs=1e-12)
    for name in ("ma_ribbon_order", "rsi_7", "rsi_28", "mfi_14", "donchian_pos_55", "stoch_d_14_3"):
        assert value[name] == 1.0, name
    assert value["hurst_ema_128"] == pytest.approx(1.0, abs=1e-3)
    assert value["tsmom_60"] == pytest.approx(np.sqrt(60), rel=1e-6)
    assert value["supertrend_dist_10_3"] == pytest.approx(3.5)
    assert value["linreg_slope_60"] == pytest.approx(1.0)
    assert value["trix_15"] == pytest.approx(1.0)
    assert value["hull_slope_16"] == pytest.approx(1.0)
    assert value["autocorr_1_60"] != 0.0 or value["autocorr_5_60"] != 0.0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_wild_bars_stay_finite_and_inside_the_ranges_of_the_catalogue(scale: float, bench: Callable[..., Any]) -> None:
    rng = np.random.default_rng(8)
    n = 1500
    close = scale * np.exp(np.cumsum(rng.standard_t(2, n) * np.where(rng.random(n) < 0.02, 0.5, 0.01)))
    opens = close * np.exp(rng.normal(0, 0.01, n))
    high, low = np.maximum(opens, close) * 1.2, np.minimum(opens, close) * 0.8
    for start in range(100, n, 300):
        close[start : start + 90] = opens[start : start + 90] = high[start : start + 90] = low[start : start + 90] = close[start]
    ts, _ = random_bars(n, 1)

    _, matrix = compute_bars(bench(ALL).plan, ts, bars_from_ohlcv(opens, high, low, close, rng.lognormal(0, 5, n)), with_cold=True)

    assert np.isfinite(matrix).all()
    for column, name in enumerate(ALL):
        low_bound, high_bound = shipped_catalogue().get(name).range
        assert low_bound <= matrix[:, column].min() <= matrix[:, column].max() <= high_bound, name


@pytest.mark.parametrize("bad", [0.0, -5.0])
def test_a_bar_of_prices_that_are_not_positive_gives_finite_values(bad: float, bench: Callable[..., Any]) -> None:
    ts, bars = random_bars(400, 2)
    bars[300, :4] = bad

    _, matrix = compute_bars(bench(ALL).plan, ts, bars, with_cold=True)

    assert np.isfinite(matrix).all()


def test_the_category_has_44_columns_and_the_ten_of_the_specification() -> None:
    names = shipped_catalogue().category("trend")

    assert len(names) == 44
    assert set(names) == set(ALL)
    assert {
        "rsi_14", "adx_14", "plus_di_14", "macd_hist_12_26_9", "stoch_k_14", "ema_gap_10_20", "cci_20", "linreg_slope_20",
        "linreg_r2_20", "variance_ratio_5_60",
    } <= set(names)  # fmt: skip


@pytest.mark.data
def test_no_two_trend_columns_are_the_same_thing_on_recorded_bars(market_data: Path, bench: Callable[..., Any]) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(market_data / "bitfinex_btcusd_1m_2017-2018.parquet").slice(500_000, 20_000)
    opens, high, low, close = (100.0 * table[name].to_numpy() for name in ("open", "high", "low", "close"))
    ts = table["ts_ms"].to_numpy() * 1_000_000

    _, matrix = compute_bars(bench(ALL).plan, ts, bars_from_ohlcv(opens, high, low, close, table["volume"].to_numpy()))

    assert (matrix.std(axis=0) > 0).all()
    corr = np.abs(np.corrcoef(matrix.T)) - np.eye(len(ALL))
    i, j = np.unravel_index(corr.argmax(), corr.shape)
    assert corr[i, j] < 0.99, (ALL[i], ALL[j])


BITS = """
import sys; sys.path.insert(0, "tests/unit/features")
from test_trend import ALL, compute_bars, random_bars
from decimal import Decimal
from conftest import Bench
from mia.domain.instruments import Instrument
import hashlib, mia
i = Instrument(venue="v", symbol="S", kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
               lot_size=Decimal("0.001"), maker_fee=Decimal("0.001"), taker_fee=Decimal("0.001"))
ts, bars = random_bars(700, 21)
bars[:, :5] *= 1.000001
print(mia.KERNELS_MODE, hashlib.sha256(compute_bars(Bench(ALL, i).plan, ts, bars, with_cold=True)[1].tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_the_interpreted_source_gives_the_bits_of_the_compiled_one() -> None:
    outputs = [
        subprocess.run([sys.executable, "-c", BITS], capture_output=True, text=True, check=True, cwd=ROOT, env=env).stdout.split()
        for env in (dict(os.environ, PYTHONPATH=str(ROOT)), dict(os.environ, PYTHONPATH=str(ROOT), MIA_KERNELS="interpreted"))
    ]

    assert [o[0] for o in outputs] == ["compiled", "interpreted"]
    assert outputs[0][1] == outputs[1][1]
