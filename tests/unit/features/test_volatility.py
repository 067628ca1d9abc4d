"""The volatility features that test_bar_features leaves out, against plain versions of their formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from mia.domain.events import Event, Quote, Trade
from mia.features.batch import compute_bars
from mia.features.catalogue import shipped_catalogue
from mia.kernels.trade_vol_block import SLOTS as TRADED
from mia.kernels.vol_block import SLOTS

NAMES = SLOTS[13:]
RECURSIVE = {"ewma_vol_94", "vol_surprise_94", "shock_age_60", "atr_ratio_60", "squeeze_20"}  # an EMA or the ATR is in them
SEC = 1_000_000_000
Array = Any


def clustered(n: int, seed: int) -> tuple[Array, Array]:
    """n bars of a market that is calm, then wild, with jumps, gaps, unchanged closes and bars of one price."""
    rng = np.random.default_rng(seed)
    size = np.clip(np.exp(np.cumsum(rng.normal(0, 0.25, n))), 0.1, 20)
    moves = rng.normal(0, 20, n) * size + (rng.random(n) < 0.03) * rng.choice([-600, 600], n)
    close = 500_000.0 + np.cumsum((moves * (rng.random(n) < 0.9)).round())
    opens = np.concatenate(([500_000.0], close[:-1])) + rng.integers(-9, 10, n) * (rng.random(n) < 0.4)
    still = rng.random(n) < 0.05
    opens[still] = close[still]
    high = np.maximum(opens, close) + np.where(still, 0, rng.integers(0, 30, n))
    low = np.minimum(opens, close) - np.where(still, 0, rng.integers(0, 30, n))
    bars = np.zeros((n, 11))
    bars[:, :4] = np.stack([opens, high, low, close], axis=1)
    bars[:, 4] = (rng.lognormal(5, 1, n) + np.abs(moves)).round()
    bars[:, 7] = bars[:, 4] * (high + low) / 2
    bars[:, 8] = 1.0
    return 1_700_000_000_000_000_000 + SEC * np.arange(n, dtype=np.int64), bars


def oracle(b: Array) -> dict[str, float]:
    """The columns after the last row of b (layout of BAR_FIELDS)."""
    o, h, low, c, v = b[:, :5].T
    r = np.diff(np.log(c))
    size = np.abs(r)
    tr = np.maximum(h[1:], c[:-1]) - np.minimum(low[1:], c[:-1])
    atr = 0.0
    for i, x in enumerate(tr):
        atr += (x - atr) / min(i + 1, 14)
    ewma = [r[0] ** 2]
    for x in r[1:]:
        ewma.append(0.94 * ewma[-1] + 0.06 * x**2)
    shocks = [i for i in range(1, len(r)) if r[i] ** 2 > 9 * ewma[i - 1] > 0]
    power, pairs = (r[-30:] ** 2).sum(), (size[-30:] * size[-31:-1]).sum()
    quads = (size[-30:] * size[-31:-1] * size[-32:-2] * size[-33:-3]).sum()
    bipower, quarticity = np.pi / 2 * pairs, 30 * np.pi**2 / 4 * quads
    theta = np.pi**2 / 4 + np.pi - 5
    d = r[-60:] - r[-60:].mean()
    s = np.sqrt(np.convolve(r**2, np.ones(10), "valid") / 10)
    blocks = s[-11:-240:-10]
    gap2, body2 = (np.log(o[1:] / c[:-1]) ** 2)[-20:].sum(), (np.log(c / o) ** 2)[-20:].sum()
    up2, down2 = (np.log(h / o) ** 2)[-20:].sum(), (np.log(low / o) ** 2)[-20:].sum()
    parkinson, closes = (np.log(h / low) ** 2)[-20:].mean() / (4 * np.log(2)), (r[-20:] ** 2).mean()
    assert len(blocks) == 23
    return {
        "ewma_vol_94": np.sqrt(ewma[-1]),
        "vol_surprise_94": min(20.0, size[-1] / np.sqrt(ewma[-2])),
        "shock_age_60": min(60, len(r) - 1 - shocks[-1]) / 60,
        "jump_z_30": np.clip((1 - bipower / power) / np.sqrt(theta * max(1, quarticity / bipower**2) / 30), -10, 10),
        "quarticity_ratio_30": np.clip(quarticity / bipower**2, 0, 30),
        "ret_skew_60": (d**3).mean() / (d**2).mean() ** 1.5,
        "ret_kurt_60": (d**4).mean() / (d**2).mean() ** 2 - 3,
        "abs_autocorr_60": np.corrcoef(size[-60:], size[-61:-1])[0, 1],
        "leverage_corr_60": np.corrcoef(size[-60:], r[-61:-1])[0, 1],
        "volume_vol_corr_60": np.corrcoef(size[-60:], v[-60:])[0, 1],
        "vol_of_vol_60": s[-60:].std() / s[-60:].mean(),
        "vol_rank_240": ((blocks < s[-1]).sum() + 0.5 * (blocks == s[-1]).sum()) / 23,
        "vol_change_10": (s[-1] - s[-11]) / (s[-1] + s[-11]),
        "vol_ratio_60_240": np.sqrt((r[-60:] ** 2).mean() / (r[-240:] ** 2).mean()),
        "atr_ratio_60": atr / tr[-60:].mean(),
        "squeeze_20": min(20.0, 2 * c[-20:].std() / (1.5 * atr)),
        "range_close_balance_20": (parkinson - closes) / (parkinson + closes),
        "gap_share_20": gap2 / (gap2 + body2),
        "range_down_share_20": down2 / (down2 + up2),
    }


def test_every_volatility_feature_of_bars_matches_its_formula(bench: Callable[..., Any]) -> None:
    ts, bars = clustered(520, 2)

    _, matrix = compute_bars(bench(NAMES).plan, ts, bars, with_cold=True)

    for row in range(240, 520, 7):
        expected = oracle(bars[: row + 1])
        assert set(expected) == set(NAMES)
        for column, name in enumerate(NAMES):
            assert matrix[row, column] == pytest.approx(expected[name], rel=1e-8, abs=1e-10), (name, row)


def test_small_numbers_match_to_the_last_digits(bench: Callable[..., Any]) -> None:
    ts, bars = clustered(120, 9)
    o, h, low, c = bars[:, :4].T
    r = np.diff(np.log(c))
    hl2, body = np.log(h / low)[-20:] ** 2, np.log(c / o)[-20:]
    rs = (np.log(h / c) * np.log(h / o) + np.log(low / c) * np.log(low / o))[-20:].mean()
    k = 0.34 / (1.34 + 21 / 19)
    expected = {
        "rv_30": np.sqrt((r[-30:] ** 2).sum()),
        "bipower_30": np.pi / 2 * np.abs(r[-30:] * r[-31:-1]).sum(),
        "parkinson_20": np.sqrt(hl2.mean() / (4 * np.log(2))),
        "garman_klass_20": np.sqrt((hl2 / 2 - (2 * np.log(2) - 1) * body**2).mean()),
        "rogers_satchell_20": np.sqrt(rs),
        "yang_zhang_20": np.sqrt(np.log(o[1:] / c[:-1])[-20:].var(ddof=1) + k * body.var(ddof=1) + (1 - k) * rs),
        "bollinger_width_20": 4 * c[-20:].std() / c[-20:].mean(),
    }

    _, matrix = compute_bars(bench(list(expected)).plan, ts, bars)

    assert dict(zip(expected, matrix[-1], strict=True)) == pytest.approx(expected, rel=1e-9, abs=0.0)


def test_volatility_is_36_columns_of_which_4_read_trades() -> None:
    catalogue = shipped_catalogue()
    names = catalogue.category("volatility")

    assert set(names) == {*SLOTS, *TRADED}
    assert len(names) == 36
    assert [n for n in names if "trades" in catalogue.get(n).inputs] == list(TRADED)


@pytest.mark.parametrize("name", NAMES)
def test_warm_up_is_as_long_as_the_catalogue_says(name: str, bench: Callable[..., Any]) -> None:
    needed = shipped_catalogue().get(name).warm_up.bars
    ts, bars = clustered(260, 5)

    warm_ts, _ = compute_bars(bench([name]).plan, ts, bars)

    assert len(warm_ts) == 260 - needed + 1
    assert warm_ts[0] == ts[needed - 1]


@pytest.mark.parametrize("name", [n for n in SLOTS if n not in RECURSIVE | {"atr_14"}])
def test_nothing_before_the_warm_up_leaves_a_trace(name: str, bench: Callable[..., Any]) -> None:
    needed = shipped_catalogue().get(name).warm_up.bars
    ts, bars = clustered(300 + needed, 12)
    bars[:300, :4] *= np.random.default_rng(1).choice([1.0, 1e6], (300, 1))

    _, long = compute_bars(bench([name]).plan, ts, bars, with_cold=True)
    _, short = compute_bars(bench([name]).plan, ts[300:], bars[300:])

    assert short[-1, 0] == long[-1, 0]


def test_volatility_features_know_no_unit_of_price_or_size(bench: Callable[..., Any]) -> None:
    ts, bars = clustered(300, 8)
    finer = bars.copy()
    finer[:, :4] *= 8.0
    finer[:, 4] *= 1000.0

    _, coarse = compute_bars(bench(SLOTS).plan, ts, bars)
    _, fine = compute_bars(bench(SLOTS).plan, ts, finer)

    assert fine == pytest.approx(coarse, rel=1e-9, abs=1e-12)


def test_a_straight_climb_has_no_shape_and_a_still_market_no_volatility(bench: Callable[..., Any]) -> None:
    n = 260
    ts = SEC * np.arange(1, n + 1, dtype=np.int64)
    climb, still = np.zeros((n, 11)), np.zeros((n, 11))
    climb[:, :4] = (1e12 + 1e6 * np.arange(n))[:, None]
    still[:, :4] = 700.0
    shape = ["ret_skew_60", "ret_kurt_60", "abs_autocorr_60", "leverage_corr_60", "volume_vol_corr_60"]

    _, climbing = compute_bars(bench(shape).plan, ts, climb)
    _, standing = compute_bars(bench(SLOTS).plan, ts, still)

    expected = dict.fromkeys(SLOTS, 0.0) | {"shock_age_60": 1.0, "vol_rank_240": 0.5}
    assert climbing.tolist() == [[0.0] * len(shape)] * len(climbing)
    assert dict(zip(SLOTS, standing[-1], strict=True)) == expected


def trade_oracle(trades: Sequence[Trade], ends: Sequence[int], closes: Array, now: int) -> dict[str, float]:
    """The columns of trades as of now; ends, closes: of the bars closed so far."""
    t = np.array([e.ts_recv_ns for e in trades])
    p = np.array([e.price_ticks for e in trades], dtype=float)
    one, five = np.concatenate(([0.0], np.diff(p) ** 2)), np.zeros(len(p))
    five[5:] = (p[5:] - p[:-5]) ** 2
    usual, jumped = 0.0, np.zeros(len(p), dtype=bool)
    for i in range(1, len(p)):
        jumped[i] = i >= 100 and one[i] > 16 * usual
        usual += (one[i] - usual) / min(i, 100)
    inside = (t >= ends[-20] - SEC) & (t < ends[-1])
    whole = inside & (np.arange(len(p)) >= 5)

    def rate(tau: float) -> float:
        return float((one * np.exp(-(now - t) / 1e9 / tau)).sum() / (tau * (1 - np.exp(-(now - t[0]) / 1e9 / tau))))

    return {
        "trade_vol_20": np.sqrt(max(0.0, (five - one)[whole].sum() / 4) / 20) / closes[-1],
        "trade_noise_20": 1 - five[whole].sum() / (5 * one[whole].sum()),
        "trade_jump_share_20": jumped[inside].sum() / inside.sum(),
        "trade_vol_burst_10s": np.sqrt(rate(10) / rate(60)),
    }


@pytest.mark.parametrize("stop", [1900, 2203, 2500, 2751])
def test_volatility_of_trades_matches_its_formulas(
    stop: int, market: list[Event], bench: Callable[..., Any], bars_of: Callable[..., Any]
) -> None:
    b = bench(TRADED)
    for e in market[:stop]:
        b.feed(e)
    now = market[stop - 1].ts_recv_ns + 12_345_678

    row = dict(zip(b.plan.columns, b.row(now), strict=True))

    bars, ends = bars_of(market[:stop], SEC)
    assert b.plan.first_cold() == -1
    trades = [e for e in market[:stop] if isinstance(e, Trade)]
    assert row == pytest.approx(trade_oracle(trades, ends, bars[:, 3], now), rel=1e-9)


def bounce(b: Any, seconds: int, half: int, step: float, seed: int) -> dict[str, float]:
    """Twenty trades a second at the touch of a wandering mid; the columns of trades after them."""
    rng = np.random.default_rng(seed)
    mid, t = 1_000_000.0, SEC
    for _ in range(20 * seconds):
        t += SEC // 20
        mid += rng.normal(0, step)
        side = int(rng.choice([-1, 1]))
        b.plan.on_trade(t, t, round(mid) + side * half, 5, side)
    return dict(zip(b.plan.columns, b.row(t), strict=True))


def test_the_bounce_is_noise_and_not_volatility(bench: Callable[..., Any]) -> None:
    names = ("trade_vol_20", "trade_noise_20")

    smooth, bouncing = ([bounce(bench(names), 40, half, 10.0, seed) for seed in range(20)] for half in (0, 40))

    truth = 10.0 * np.sqrt(20) / 1e6
    assert np.mean([x["trade_noise_20"] for x in smooth]) == pytest.approx(0.0, abs=0.05)
    assert min(x["trade_noise_20"] for x in bouncing) > 0.6
    for runs in (smooth, bouncing):
        assert np.mean([x["trade_vol_20"] ** 2 for x in runs]) == pytest.approx(truth**2, rel=0.2)


def test_a_jump_of_the_trade_price_is_counted_once_and_leaves_with_its_bar(bench: Callable[..., Any]) -> None:
    b = bench(("trade_jump_share_20",))
    bounce(b, 30, 1, 0.0, 1)
    t = 40 * SEC
    b.plan.on_trade(t, t, 1_000_300, 5, 1)
    b.plan.on_trade(t + 1, t, 1_000_301, 5, 1)

    b.plan.on_time(t + SEC)
    counted = b.row(t + SEC)[0]
    b.plan.on_time(t + 25 * SEC)

    assert counted > 0.0
    assert b.row(t + 25 * SEC)[0] == 0.0


def test_a_burst_shows_between_bars_and_fades_in_silence(bench: Callable[..., Any]) -> None:
    b = bench(("trade_vol_burst_10s",), "time:1h")
    bounce(b, 120, 2, 1.0, 4)
    t = 122 * SEC
    for k in range(20):
        b.plan.on_trade(t + k, t + k, 1_000_000 + 50 * (k % 2), 5, 1)

    at_once, later = b.row(t + 20)[0], b.row(t + 60 * SEC)[0]

    assert at_once > 1.5
    assert later < 0.3 * at_once


def test_a_past_of_bars_alone_says_nothing_of_trades(bench: Callable[..., Any]) -> None:
    b = bench((*TRADED[:3], "rv_30"))
    ts, bars = clustered(100, 3)
    compute_bars(b.plan, ts, bars)
    start = int(ts[-1]) // SEC * SEC + SEC
    there = []

    for second in range(25):
        for k in range(12):
            at = start + second * SEC + k * 50_000_000
            b.plan.on_trade(at, at, 500_000 + (k + second) % 5, 5, 1)
        b.plan.on_quote(start + second * SEC + 900_000_000, 0, 500_000, 500_001, 5, 5)
        b.row(start + second * SEC + 900_000_000)
        there.append([b.plan.is_there(j) for j in range(4)])

    assert there[0] == [False, False, False, True]
    assert there[19] == [False, False, False, True]
    assert there[20] == [True, True, True, True]


def test_quotes_do_not_move_the_columns_of_trades(market: list[Event], bench: Callable[..., Any]) -> None:
    with_quotes, without = bench(TRADED), bench(TRADED)
    for e in market[:1500]:
        with_quotes.feed(e)
        if not isinstance(e, Quote):
            without.feed(e)
    now = market[1499].ts_recv_ns

    assert with_quotes.row(now) == without.row(now)
