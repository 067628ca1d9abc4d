"""Every feature of closed bars against a plain numpy version of its formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mia.features.batch import compute_bars
from mia.features.catalogue import shipped_catalogue
from mia.kernels.flow_block import SLOTS as FLOW
from mia.kernels.line_block import SLOTS as LINES
from mia.kernels.price_block import SLOTS as PRICE
from mia.kernels.trend_block import SLOTS as TREND
from mia.kernels.vol_block import SLOTS as VOL

BAR_COLUMNS = [*PRICE[:16], *FLOW[:9], *TREND[:13], *LINES[:3], *VOL[:13]]
Array = Any


def div(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0


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


def oracle(b: Array) -> dict[str, float]:
    """All bar features after the last row of b (layout of BAR_FIELDS)."""
    o, h, low, c, v, buy, sell, notional, n, nb, ns = b.T
    r = np.diff(np.log(c))
    tr = np.maximum(h[1:], c[:-1]) - np.minimum(low[1:], c[:-1])
    atr = wilder(tr, 14)[-1]
    gains = wilder(np.clip(np.diff(c), 0, None), 14)[-1]
    losses = wilder(np.clip(-np.diff(c), 0, None), 14)[-1]
    up_move, down_move = np.diff(h), -np.diff(low)
    up = wilder(np.where((up_move > down_move) & (up_move > 0), up_move, 0.0), 14)
    down = wilder(np.where((down_move > up_move) & (down_move > 0), down_move, 0.0), 14)
    dx = np.array([div(abs(p - m), p + m) for p, m in zip(up, down, strict=True)])
    macd = ema(c, 12) - ema(c, 26)
    typical = (h + low + c) / 3
    deviation = np.abs(typical[-20:] - typical[-20:].mean()).mean()
    x = np.arange(20.0)
    slope = np.polyfit(x, c[-20:] - c[-1], 1)[0]
    corr = np.corrcoef(x, c[-20:])[0, 1] if c[-20:].std() > 0 else 0.0
    window_h, window_l = h[-21:][::-1], low[-21:][::-1]
    hl, co, oc1 = np.log(h / low)[-20:], np.log(c / o)[-20:], np.log(o[1:] / c[:-1])[-20:]
    rs = (np.log(h / c) * np.log(h / o) + np.log(low / c) * np.log(low / o))[-20:].mean()
    k = 0.34 / (1.34 + 21 / 19)
    bipower = np.pi / 2 * np.abs(r[-30:] * r[-31:-1]).sum()
    power = (r[-30:] ** 2).sum()
    sv = buy - sell
    traded = notional[-20:] > 0

    def sums(q: int, m: int) -> float:
        rolled = np.convolve(r[-m:], np.ones(q), "valid")
        return div(rolled.var(), q * r[-m:].var())

    def rms(m: int) -> float:
        return float(np.sqrt((r[-m:] ** 2).mean()))

    moved = int((r[-20:] != 0).sum())
    cov = np.mean((sv[-50:] - sv[-50:].mean()) * (np.diff(c)[-50:] - np.diff(c)[-50:].mean()))
    return {
        "ret_1": np.log(c[-1] / c[-2]), "ret_5": np.log(c[-1] / c[-6]), "ret_10": np.log(c[-1] / c[-11]),
        "ret_20": np.log(c[-1] / c[-21]), "ret_z_50": np.clip(div(r[-1], r[-50:].std()), -10, 10),
        "body_ratio": div(c[-1] - o[-1], h[-1] - low[-1]), "close_location": div(2 * c[-1] - h[-1] - low[-1], h[-1] - low[-1]),
        "upper_wick": div(h[-1] - max(o[-1], c[-1]), h[-1] - low[-1]),
        "lower_wick": div(min(o[-1], c[-1]) - low[-1], h[-1] - low[-1]), "gap": np.log(o[-1] / c[-2]),
        "dist_high_20": np.log(c[-1] / h[-20:].max()), "dist_low_20": np.log(c[-1] / low[-20:].min()),
        "dist_high_60": np.log(c[-1] / h[-60:].max()), "dist_low_60": np.log(c[-1] / low[-60:].min()),
        "up_share_20": div(np.sign(r[-20:]).sum(), moved),
        "close_vwap_gap": np.clip(div(c[-1] - notional[-1] / v[-1], atr), -20, 20) if v[-1] else 0.0,
        "delta_volume": np.clip(div(sv[-1], v[-20:].mean()), -20, 20), "delta_ratio": div(sv[-1], v[-1]),
        "trade_imbalance_20": div(sv[-20:].sum(), v[-20:].sum()), "count_imbalance": div(nb[-1] - ns[-1], n[-1]),
        "bar_toxicity_30": div(np.abs(sv[-30:]).sum(), v[-30:].sum()),
        "kyle_lambda_50": np.clip(div(div(cov, sv[-50:].var()) * v[-50:].mean(), atr), -20, 20),
        "amihud_20": np.clip((np.abs(r[-20:])[traded] / notional[-20:][traded]).mean() * notional[-20:][traded].mean(), 0, 1),
        "rel_bar_volume_20": np.clip(div(v[-1], v[-20:].mean()), 0, 20),
        "trade_size_ratio_20": np.clip(div(div(v[-1], n[-1]), div(v[-20:].mean(), n[-20:].mean())), 0, 20),
        "rsi_14": div(gains - losses, gains + losses), "adx_14": wilder(dx[13:], 14)[-1],
        "plus_di_14": np.clip(div(up[-1], atr), 0, 1), "minus_di_14": np.clip(div(down[-1], atr), 0, 1),
        "macd_hist_12_26_9": np.clip(div(macd[-1] - ema(macd, 9)[-1], atr), -20, 20),
        "stoch_k_14": (c[-1] - low[-14:].min()) / (h[-14:].max() - low[-14:].min()),
        "ema_gap_10_20": np.clip(div(ema(c, 10)[-1] - ema(c, 20)[-1], atr), -20, 20),
        "ema_gap_20_50": np.clip(div(ema(c, 20)[-1] - ema(c, 50)[-1], atr), -20, 20),
        "cci_20": np.clip(div(typical[-1] - typical[-20:].mean(), 1.5 * deviation), -10, 10),
        "linreg_slope_20": np.clip(div(slope, atr), -20, 20), "linreg_r2_20": corr**2,
        "variance_ratio_5_60": np.clip(sums(5, 60), 0, 20), "variance_ratio_2_30": np.clip(sums(2, 30), 0, 20),
        "efficiency_20": div(c[-1] - c[-21], np.abs(np.diff(c))[-20:].sum()),
        "sma_gap_20": np.clip(div(c[-1] - c[-20:].mean(), atr), -20, 20),
        "aroon_osc_20": (int(window_l.argmin()) - int(window_h.argmax())) / 20,
        "atr_14": atr / c[-1], "rv_30": np.sqrt(power), "parkinson_20": np.sqrt((hl**2).mean() / (4 * np.log(2))),
        "garman_klass_20": np.sqrt(max(0.0, (hl**2 / 2 - (2 * np.log(2) - 1) * co**2).mean())),
        "rogers_satchell_20": np.sqrt(rs), "yang_zhang_20": np.sqrt(oc1.var(ddof=1) + k * co.var(ddof=1) + (1 - k) * rs),
        "bollinger_width_20": 4 * c[-20:].std() / c[-20:].mean(), "bipower_30": bipower,
        "jump_share_30": max(0.0, div(power - bipower, power)), "semivar_down_30": div((r[-30:][r[-30:] < 0] ** 2).sum(), power),
        "vol_ratio_10_60": np.clip(div(rms(10), rms(60)), 0, 20), "vol_ratio_5_30": np.clip(div(rms(5), rms(30)), 0, 20),
        "range_ratio_20": np.clip(div(h[-1] - low[-1], (h - low)[-20:].mean()), 0, 20),
    }  # fmt: skip


def random_bars(n: int, seed: int) -> tuple[Array, Array]:
    """n bars of a random walk with gaps, doji bars and bars without trades."""
    rng = np.random.default_rng(seed)
    close = 6_000_000 + np.cumsum(rng.integers(-40, 41, n) * (rng.random(n) < 0.8)).astype(float)
    opens = np.concatenate(([6_000_000.0], close[:-1])) + rng.integers(-3, 4, n)
    empty = rng.random(n) < 0.1
    for i in np.flatnonzero(empty):
        close[i] = opens[i] = close[i - 1] if i else 6_000_000.0
    high = np.maximum(opens, close) + np.where(empty, 0, rng.integers(0, 30, n))
    low = np.minimum(opens, close) - np.where(empty, 0, rng.integers(0, 30, n))
    nb, ns, nu = (np.where(empty, 0, rng.integers(1, 9, n)) for _ in range(3))
    buy, sell, unknown = (rng.integers(1, 100_000, n) * m for m in (nb, ns, nu))
    volume = buy + sell + unknown
    notional = volume * (low + rng.random(n) * (high - low))
    bars = np.stack([opens, high, low, close, volume, buy, sell, notional, nb + ns + nu, nb, ns], axis=1).astype(float)
    return 1_700_000_000_000_000_000 + 1_000_000_000 * np.arange(n, dtype=np.int64), bars


def test_every_bar_feature_matches_its_formula(bench: Callable[..., Any]) -> None:
    ts, bars = random_bars(220, 3)

    _, matrix = compute_bars(bench(BAR_COLUMNS).plan, ts, bars, with_cold=True)

    for row in (62, 90, 133, 164, 199, 219):
        expected = oracle(bars[: row + 1])
        assert set(expected) == set(BAR_COLUMNS)
        for column, name in enumerate(BAR_COLUMNS):
            assert matrix[row, column] == pytest.approx(expected[name], rel=1e-7, abs=1e-9), (name, row)


@pytest.mark.parametrize("name", BAR_COLUMNS)
def test_warm_up_is_as_long_as_the_catalogue_says(name: str, bench: Callable[..., Any]) -> None:
    bars_needed = shipped_catalogue().get(name).warm_up.bars
    ts, bars = random_bars(80, 5)

    warm_ts, _ = compute_bars(bench([name]).plan, ts, bars)

    assert len(warm_ts) == 80 - bars_needed + 1
    assert warm_ts[0] == ts[bars_needed - 1]


RECURSIVE = {"rsi_14", "adx_14", "plus_di_14", "minus_di_14", "macd_hist_12_26_9", "ema_gap_10_20", "ema_gap_20_50", "atr_14"}
SCALED_BY_ATR = {"close_vwap_gap", "kyle_lambda_50", "linreg_slope_20", "sma_gap_20"}


def test_finite_windows_forget_everything_before_their_warm_up(bench: Callable[..., Any]) -> None:
    ts, bars = random_bars(200, 11)
    finite = [n for n in BAR_COLUMNS if n not in RECURSIVE | SCALED_BY_ATR]

    _, long = compute_bars(bench(finite).plan, ts, bars, with_cold=True)

    for column, name in enumerate(finite):
        start = 200 - shipped_catalogue().get(name).warm_up.bars
        _, short = compute_bars(bench([name]).plan, ts[start:], bars[start:])
        assert short[-1, 0] == long[-1, column], name


def test_flat_market_gives_finite_values_everywhere(bench: Callable[..., Any]) -> None:
    ts, bars = random_bars(150, 1)
    bars[:, :4] = 6_000_000.0
    bars[:, 4:] = 0.0

    _, matrix = compute_bars(bench(BAR_COLUMNS).plan, ts, bars)

    assert len(matrix) > 0
    assert np.isfinite(matrix).all()


def test_bar_features_do_not_drift_over_30_000_bars(bench: Callable[..., Any]) -> None:
    _, bars = random_bars(1000, 9)
    bars[:, :4] += np.linspace(0, 5e5, 1000).round()[:, None]
    many_ts = np.arange(30_000, dtype=np.int64) * 1_000_000_000 + 1
    many = np.tile(bars, (30, 1))
    plan = bench(["bollinger_width_20", "rv_30", "sma_gap_20"]).plan

    _, long = compute_bars(plan, many_ts, many, with_cold=True)

    expected = oracle(many[-400:])
    assert long[-1] == pytest.approx([expected[n] for n in plan.columns], rel=1e-9)
