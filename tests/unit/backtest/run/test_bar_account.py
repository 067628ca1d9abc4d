"""The compiled account and the interpreted one: the same bits, whatever the size of the account and the fee."""

from __future__ import annotations

import hashlib
import math
import os
import random
import subprocess
import sys
from array import array
from fractions import Fraction
from pathlib import Path

import numpy as np

from mia.kernels.bar_account import NEVER_NS, BarAccount
from mia.kernels.bar_books import FILL_FIELDS, ORDER_FIELDS, PARAMETERS
from mia.kernels.bar_decider import FLATTEN

ROOT = Path(__file__).resolve().parents[4]
N = 1500
HOUR_NS = 3_600 * 10**9


def corners(seed: int) -> tuple[dict[str, int], int, float]:
    """(parameters, cash in 1e-8, price in ticks) as large, as fine and as levered as mia.backtest.run.fused hands over."""
    rng = random.Random(seed)
    stop, take = (Fraction(rng.randrange(1, 10**9), 10**9) for _ in range(2))
    fee = Fraction(rng.randint(-(1 << 50), 1 << 50), rng.choice([10**5, 10**18, (1 << 61) - 1])) if seed % 3 else Fraction(1, 2000)
    shares = {
        "share": Fraction(rng.randrange(1, 10**9 + 1), rng.choice([10**9, 8 * 10**6, 123_456_789])),
        "daily": Fraction(rng.randrange(1, 10**9 + 1), 10**9), "drawdown": Fraction(rng.randrange(1, 10**9 + 1), 10**9),
        "band": Fraction(rng.randrange(10**9 // 2), 10**9), "fee": max(Fraction(-1, 1000), min(Fraction(1, 1000), fee)),
        "stop_long": 1 - stop, "stop_short": 1 + stop, "take_long": 1 + take, "take_short": 1 - take,
    }  # fmt: skip
    money_max = min(1 << 59, int((1 << 60) / max(shares["stop_short"], shares["take_long"])))
    unit = 10 ** rng.randint(0, 8)
    parts = {f"{k}_{part}": getattr(v, name) for k, v in shares.items() for part, name in (("num", "numerator"), ("den", "denominator"))}
    largest = {"notional_max": (1 << 62) - 1, "exposure_max": (1 << 62) - 1, "money_max": money_max, "unit": unit}
    money = int(money_max * rng.choice([1, 0.999, 0.5, 0.01, 1e-6]))
    return parts | largest, money, 10 ** rng.uniform(0.7, min(16.0, math.log10(money_max / unit) - 0.1))


def digest_of(seed: int, *, is_corner: bool = False) -> str:
    """Everything that an account on a random market leaves behind."""
    draw = np.random.default_rng(seed)
    money, level = 10 ** int(draw.integers(3, 10) + 8), 6e6
    parameters = dict.fromkeys(PARAMETERS, 0) | {
        "unit": 1000, "derivative": seed % 2, "min_notional": 5 * 10**8, "position_max": 1 << 40, "order_max": 1 << 40,
        "notional_max": 1 << 61, "exposure_max": 1 << 61, "share_num": 1, "share_den": 5, "daily_num": 1, "daily_den": 5,
        "drawdown_num": 9, "drawdown_den": 10, "rate_max": 4, "cool_down": 600 * 10**9, "band_num": 1, "band_den": 20,
        "stop_long_num": 980_000_001, "stop_long_den": 10**9, "stop_short_num": 51, "stop_short_den": 50, "take_long_num": 21,
        "take_long_den": 20, "take_short_num": 19, "take_short_den": 20, "fee_num": 123_457, "fee_den": 10**10, "half_spread": 1,
        "at_close": seed % 3 == 0, "money_max": 1 << 59,
    }  # fmt: skip
    if is_corner:
        changed, money, level = corners(seed)
        parameters |= changed
    step = max(2, int(level / 3000))
    close = np.maximum(3, np.rint(np.exp(np.cumsum(draw.normal(0, 0.004, N))) * level)).astype(np.int64)
    opened = np.maximum(2, np.concatenate([close[:1], close[:-1]]) + draw.integers(-step, step, N))
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    high, low = top + draw.integers(0, 4 * step, N), np.maximum(1, bottom - draw.integers(0, 4 * step, N))
    prices = np.ascontiguousarray(np.stack([opened, high, low, close], axis=1))
    close_ns = np.arange(1, N + 1) * HOUR_NS
    signals = np.repeat(draw.choice([1.0, -1.0, 0.37, 0.0, np.nan], N // 10), 10)
    windows = np.repeat(draw.choice([0, 4, 4 + FLATTEN], N // 5, p=[0.8, 0.1, 0.1]), 5).astype(np.int64)
    leaves = np.where(draw.random(N) < 0.05, close_ns - draw.integers(2, HOUR_NS, N), NEVER_NS)
    is_turn = (close_ns[1:] // (24 * HOUR_NS) != close_ns[:-1] // (24 * HOUR_NS)) | (np.diff(windows) != 0) | (leaves[1:] != NEVER_NS)
    turns = np.append(np.flatnonzero(is_turn) + 1, N)
    turns = turns[np.searchsorted(turns, np.arange(N), side="right")]
    fills, orders = np.zeros((N, len(FILL_FIELDS)), np.int64), np.zeros((2 * N, len(ORDER_FIELDS)), np.int64)
    marks = [np.zeros(N, np.int64) for _ in range(4)]
    account = BarAccount(memoryview(array("q", parameters.values())), money, fills.data, orders.data)
    arrays = (close_ns - HOUR_NS, close_ns, prices, signals, windows, leaves, turns)
    account.run(*(x.data for x in arrays), 0, N, *(mark.data for mark in marks))
    state = (account.bad, account.fills, account.orders, account.fees, account.trades, account.turnover.hex(), account.peak)
    arrays_sha256 = [hashlib.sha256(x.tobytes()).hexdigest()[:16] for x in (fills, orders, *marks)]
    return f"{money} {state} {arrays_sha256}"


def interpreted(code: str) -> list[str]:
    env = dict(os.environ, MIA_KERNELS="interpreted", PYTHONPATH=str(ROOT))
    code = f"from tests.unit.backtest.run.test_bar_account import digest_of\n{code}\nassert {N}"
    return subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    ).stdout.splitlines()


def test_the_interpreted_account_gives_the_same_bits() -> None:
    compiled = [digest_of(seed) for seed in range(8)]

    assert interpreted("for seed in range(8): print(digest_of(seed))") == compiled
    assert all(" (0, " in line for line in compiled)  # no number was too large
    assert len({line.split()[0] for line in compiled}) > 2


def test_no_number_outgrows_a_word_at_the_bounds_that_the_account_is_given() -> None:
    """The interpreted account counts in whole numbers of any size."""
    compiled = [digest_of(seed, is_corner=True) for seed in range(120)]

    assert interpreted("for seed in range(120): print(digest_of(seed, is_corner=True))") == compiled
    assert sum(" (0, " in line for line in compiled) > 20
    assert sum(" (0, " not in line for line in compiled) > 20  # left to the engine
