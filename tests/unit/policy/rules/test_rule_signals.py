"""The signals of each rule on a made market are those of its formula, computed here plainly from the bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from mia.policy.rules import RULES, Rule, make_rule

Signals = Iterator[float | None]
Hear = Callable[[Rule], Any]
DAY_NS = 86_400 * 10**9
YEAR_S = 365.25 * 86_400


def ema(x: Any, n: int) -> list[float]:
    out = [float(x[0])]
    for value in x[1:]:
        out.append(out[-1] + 2 / (n + 1) * (value - out[-1]))
    return out


def wilder(x: list[float], n: int) -> list[float]:
    """Mean of the first n, then smoothed; nothing before."""
    out = [math.nan] * len(x)
    for k in range(n - 1, len(x)):
        out[k] = math.fsum(x[:n]) / n if k == n - 1 else out[k - 1] + (x[k] - out[k - 1]) / n
    return out


def sign(x: float) -> int:
    return int(x > 0) - int(x < 0)


def flat(m: Any) -> Signals:
    yield from [0.0] * len(m.close)


def buy_and_hold(m: Any, size: float) -> Signals:
    yield from [size] * len(m.close)


def hashed(x: int) -> int:
    """lowbias32 of Wellons."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ x >> shift) * factor % 2**32
    return x ^ x >> 16


def by_lot(m: Any, turnover: float, seed: int, size: float, long_only: bool) -> Signals:
    last = 0.0
    for t in m.closed_ns:
        day, rest = divmod(int(t), DAY_NS)
        u = (hashed((hashed((hashed(seed + 1) + day) % 2**32) + rest // 10_000_000) % 2**32) + 0.5) / 2**32
        chance = turnover / (size / 2 if long_only else size)
        if u < chance / 2:
            last = size
        elif u < chance:
            last = 0.0 if long_only else -size
        yield last


def ema_cross(m: Any, fast_period: int, slow_period: int, size: float) -> Signals:
    for k, (fast, slow) in enumerate(zip(ema(m.close, fast_period), ema(m.close, slow_period), strict=True)):
        yield None if k + 1 < slow_period else size * sign(fast - slow)


def sma_cross(m: Any, fast_period: int, slow_period: int, long_only: bool = False) -> Signals:
    side = None  # of the last bar that had one; in the market once it has changed
    state = 0.0
    for k in range(len(m.close)):
        if k < slow_period:
            yield None
            continue
        now, before = (
            sign(
                math.fsum(m.close[j + 1 - fast_period : j + 1]) * slow_period
                - math.fsum(m.close[j + 1 - slow_period : j + 1]) * fast_period
            )
            for j in (k, k - 1)
        )
        side = before if side is None else side
        if now and (state or now != side or (long_only and state == 0.0 and now < 0 < side)):
            state = float(now)
        side = now or side
        yield max(0.0, state) if long_only else state


def macd(m: Any, fast_period: int, slow_period: int, signal_period: int) -> Signals:
    line = [a - b for a, b in zip(ema(m.close, fast_period), ema(m.close, slow_period), strict=True)]
    for k, (a, b) in enumerate(zip(line, ema(line, signal_period), strict=True)):
        yield None if k + 1 < slow_period + signal_period else float(sign(a - b))


def donchian(m: Any, entry_period: int, exit_period: int, long_only: bool = False) -> Signals:
    state = 0
    for k, c in enumerate(m.close):
        if k < entry_period:
            yield None
            continue
        before, near = slice(k - entry_period, k), slice(k - exit_period, k)
        if (state > 0 and c < m.low[near].min()) or (state < 0 and c > m.high[near].max()):
            state = 0
        if c > m.high[before].max():
            state = 1
        elif c < m.low[before].min():
            state = 0 if long_only else -1
        yield float(state)


def volatility(m: Any, n: int) -> list[float]:
    """Exponentially weighted standard deviation of log returns a year."""
    r = np.diff(np.log(m.close))
    seconds = np.diff(m.closed_ns) / 1e9
    out = [math.nan]
    for k in range(1, len(m.close)):
        w = (n / (n + 1)) ** np.arange(k - 1, -1, -1.0)
        mean = np.average(r[:k], weights=w)
        out.append(math.sqrt(np.average((r[:k] - mean) ** 2, weights=w) * YEAR_S / np.average(seconds[:k], weights=w)))
    return out


def banded(sides: Any, sigma: list[float], warm: int, target: float, band: float, size: float) -> Signals:
    last = 0.0
    for k, side in enumerate(sides):
        if k < warm:
            yield None
            continue
        wanted = side * math.floor(min(size, target / sigma[k]) * 1024) / 1024
        if not (wanted * last > 0 and abs(wanted - last) <= band):
            last = wanted
        yield last


def ts_momentum(m: Any, lookback: int, volatility_period: int, target_volatility: float, rebalance_band: float, size: float) -> Signals:
    sides = [sign(c - m.close[k - lookback]) if k >= lookback else 0 for k, c in enumerate(m.close)]
    warm = max(lookback, volatility_period)
    return banded(sides, volatility(m, volatility_period), warm, target_volatility, rebalance_band, size)


def vol_target(m: Any, volatility_period: int, target_volatility: float, rebalance_band: float, size: float) -> Signals:
    ones = [1] * len(m.close)
    return banded(ones, volatility(m, volatility_period), volatility_period, target_volatility, rebalance_band, size)


def opening_range(m: Any, range_minutes: int, exit_minutes: int) -> Signals:
    state = 0
    for k, t in enumerate(m.closed_ns):
        since = (int(t) - 1) % DAY_NS + 1  # the bar that closes at midnight belongs to the day before
        first = k - round(since / 600e9) + 1  # the first bar of the day
        if first < 0:
            yield None
            continue
        formed = slice(first, first + range_minutes // 10)
        if since <= range_minutes * 60e9 or DAY_NS - since <= exit_minutes * 60e9:
            state = 0
        elif m.close[k] > m.high[formed].max():
            state = 1
        elif m.close[k] < m.low[formed].min():
            state = -1
        yield float(state)


def bollinger_atr(m: Any, period: int, band_stds: float, atr_period: int, stop_atrs: float) -> Signals:
    ranges = [max(h, before) - min(low, before) for h, low, before in zip(m.high[1:], m.low[1:], m.close[:-1], strict=True)]
    atr = [math.nan, *wilder(ranges, atr_period)]
    state = 0
    for k, c in enumerate(m.close):
        if k < max(period - 1, atr_period):
            yield None
            continue
        window = m.close[k - period + 1 : k + 1]
        distance, band, stop = c - window.mean(), band_stds * window.std(), stop_atrs * atr[k]
        if abs(distance) > band:
            state = -sign(distance) if abs(distance) <= band + stop else 0
        elif state * distance >= 0:
            state = 0
        yield float(state)


def rsi_reversion(m: Any, period: int, oversold: float, middle: float, overbought: float) -> Signals:
    steps = [float(d) for d in np.diff(m.close)]
    up = wilder([max(d, 0.0) for d in steps], period)
    down = wilder([max(-d, 0.0) for d in steps], period)
    state = 0
    for k in range(len(m.close)):
        if k < period:
            yield None
            continue
        rsi = 100 * up[k - 1] / (up[k - 1] + down[k - 1])
        if rsi < oversold or rsi > overbought:
            state = 1 if rsi < oversold else -1
        elif (state > 0 and rsi >= middle) or (state < 0 and rsi <= middle):
            state = 0
        yield float(state)


def vwap_reversion(m: Any, entry_stds: float, exit_stds: float, start_minutes: int) -> Signals:
    state = 0
    for k, t in enumerate(m.closed_ns):
        since = (int(t) - 1) % DAY_NS + 1
        first = max(k - round(since / 600e9) + 1, 0)
        v = m.volume[first : k + 1]
        if k == 0 or v.sum() == 0:
            yield None
            continue
        price = np.divide(m.notional[first : k + 1], v, where=v > 0, out=np.zeros(len(v)))
        vwap = np.average(price, weights=v)
        s = math.sqrt(np.average((price - vwap) ** 2, weights=v))
        z = (m.close[k] - vwap) / s if s > 1e-9 else 0.0
        if since < start_minutes * 60e9:
            state = 0
        elif abs(z) > entry_stds:
            state = -sign(z)
        elif state * z >= -exit_stds:
            state = 0
        yield float(state)


CASES: list[tuple[str, Callable[..., Signals], Mapping[str, Any]]] = [
    ("flat", flat, {}),
    ("buy_and_hold", buy_and_hold, {"size": -0.3}),
    ("random", by_lot, {"turnover": 0.07, "seed": 42, "size": 0.7, "long_only": False}),
    ("random", by_lot, {"turnover": 0.1, "seed": 7, "size": 1.0, "long_only": True}),
    ("ema_cross", ema_cross, {"fast_period": 5, "slow_period": 21, "size": 0.4}),
    ("sma_cross", sma_cross, {"fast_period": 5, "slow_period": 21}),
    ("sma_cross", sma_cross, {"fast_period": 3, "slow_period": 34, "long_only": True}),
    ("macd", macd, {"fast_period": 6, "slow_period": 13, "signal_period": 4}),
    ("donchian", donchian, {"entry_period": 20, "exit_period": 7}),
    ("donchian", donchian, {"entry_period": 12, "exit_period": 12, "long_only": True}),
    (
        "ts_momentum",
        ts_momentum,
        {"lookback": 48, "volatility_period": 20, "target_volatility": 0.12, "rebalance_band": 0.05, "size": 0.9},
    ),
    ("vol_target", vol_target, {"volatility_period": 30, "target_volatility": 0.1, "rebalance_band": 0.0, "size": 1.0}),
    ("vol_target", vol_target, {"volatility_period": 10, "target_volatility": 0.2, "rebalance_band": 0.15, "size": 0.8}),
    ("opening_range", opening_range, {"range_minutes": 60, "exit_minutes": 30}),
    ("opening_range", opening_range, {"range_minutes": 30, "exit_minutes": 0}),
    ("bollinger_atr", bollinger_atr, {"period": 15, "band_stds": 1.5, "atr_period": 10, "stop_atrs": 0.5}),
    ("rsi_reversion", rsi_reversion, {"period": 9, "oversold": 30.0, "middle": 45.0, "overbought": 72.0}),
    ("vwap_reversion", vwap_reversion, {"entry_stds": 1.5, "exit_stds": 0.25, "start_minutes": 60}),
]


@pytest.mark.parametrize(("name", "oracle", "params"), CASES, ids=lambda x: x if isinstance(x, str) else "")
def test_signals_are_those_of_the_formula(
    name: str, oracle: Callable[..., Signals], params: Mapping[str, Any], market: Any, hear: Hear
) -> None:
    expected = list(oracle(market, **params))

    heard = hear(make_rule(name, params))

    wrong = [k for k, (said, wanted) in enumerate(zip(heard.signals, expected, strict=True)) if said != wanted]
    assert not wrong, f"bar {wrong[0]}: {heard.signals[wrong[0]]}, not {expected[wrong[0]]} (and {len(wrong) - 1} more)"
    if params and name != "buy_and_hold":
        assert len({x for x in expected if x is not None}) > 1  # the made market lets it change its mind


def test_every_rule_is_held_to_its_formula() -> None:
    assert {name for name, _, _ in CASES} == set(RULES)


@pytest.mark.parametrize(("name", "params"), [(name, params) for name, _, params in CASES], ids=lambda x: x if isinstance(x, str) else "")
def test_history_in_one_call_gives_what_was_said_row_by_row(name: str, params: Mapping[str, Any], hear: Hear) -> None:
    rule = make_rule(name, params)
    heard = hear(rule)
    rows = heard.rows[[signal is not None for signal in heard.signals]]
    said = np.array([signal for signal in heard.signals if signal is not None])
    out, in_parts = np.zeros(len(rows)), np.zeros(len(rows))

    rule.kernel.run(np.ascontiguousarray(rows[:, : len(rule.market_columns)]), 0.0, out)
    cut = len(rows) // 3
    last = rule.kernel.run(rows[:cut], 0.0, in_parts[:cut])
    rule.kernel.run(rows[cut:], last, in_parts[cut:])

    assert out.tobytes() == said.tobytes()
    assert in_parts.tobytes() == said.tobytes()


SHORT = [(name, {**params, "long_only": False}) for name, _, params in CASES if "long_only" in [p.name for p in RULES[name].params]]


@pytest.mark.parametrize(("name", "params"), SHORT, ids=lambda x: x if isinstance(x, str) else "")
def test_long_only_is_flat_where_it_would_be_short(name: str, params: Mapping[str, Any], hear: Hear) -> None:
    both = [x or 0.0 for x in hear(make_rule(name, params)).signals]
    turnover = {"turnover": 0.03} if name == "random" else {}
    long = [x or 0.0 for x in hear(make_rule(name, {**params, **turnover, "long_only": True})).signals]

    assert min(both) < 0.0 < max(both)
    assert min(long) == 0.0 < max(long)
    if name != "random":  # which needs more draws for the same turnover
        assert [x for x in long if x] == [x for x, held in zip(both, long, strict=True) if held]
