"""The compiled account and the interpreted one: the same bits, whatever the size of the account and the fee."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from array import array
from pathlib import Path

import numpy as np
import pytest

from mia.kernels.bar_account import NEVER_NS, BarAccount
from mia.kernels.bar_books import FILL_FIELDS, ORDER_FIELDS, PARAMETERS
from mia.kernels.bar_decider import FLATTEN

ROOT = Path(__file__).resolve().parents[3]
N = 1500
HOUR_NS = 3_600 * 10**9


def digest_of(seed: int) -> str:
    """Everything that an account on a random market leaves behind."""
    draw = np.random.default_rng(seed)
    money = 10 ** int(draw.integers(3, 10))
    parameters = dict.fromkeys(PARAMETERS, 0) | {
        "unit": 1000, "derivative": seed % 2, "min_notional": 5 * 10**8, "position_max": 1 << 40, "order_max": 1 << 40,
        "notional_max": 1 << 61, "exposure_max": 1 << 61, "share_num": 1, "share_den": 5, "daily_num": 1, "daily_den": 5,
        "drawdown_num": 9, "drawdown_den": 10, "rate_max": 4, "cool_down": 600 * 10**9, "band_num": 1, "band_den": 20,
        "stop_long_num": 980_000_001, "stop_long_den": 10**9, "stop_short_num": 51, "stop_short_den": 50, "take_long_num": 21,
        "take_long_den": 20, "take_short_num": 19, "take_short_den": 20, "fee_num": 123_457, "fee_den": 10**10, "half_spread": 1,
        "at_close": seed % 3 == 0, "money_max": 1 << 59,
    }  # fmt: skip
    close = np.rint(np.exp(np.cumsum(draw.normal(0, 0.004, N))) * 6e6).astype(np.int64)
    opened = np.concatenate([close[:1], close[:-1]]) + draw.integers(-2000, 2000, N)
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    prices = np.ascontiguousarray(np.stack([opened, top + draw.integers(0, 9000, N), bottom - draw.integers(0, 9000, N), close], axis=1))
    close_ns = np.arange(1, N + 1) * HOUR_NS
    signals = np.repeat(draw.choice([1.0, -1.0, 0.37, 0.0, np.nan], N // 10), 10)
    windows = np.repeat(draw.choice([0, 4, 4 + FLATTEN], N // 5, p=[0.8, 0.1, 0.1]), 5).astype(np.int64)
    leaves = np.where(draw.random(N) < 0.05, close_ns - draw.integers(2, HOUR_NS, N), NEVER_NS)
    is_turn = (close_ns[1:] // (24 * HOUR_NS) != close_ns[:-1] // (24 * HOUR_NS)) | (np.diff(windows) != 0) | (leaves[1:] != NEVER_NS)
    turns = np.append(np.flatnonzero(is_turn) + 1, N)
    turns = turns[np.searchsorted(turns, np.arange(N), side="right")]
    fills, orders = np.zeros((N, len(FILL_FIELDS)), np.int64), np.zeros((2 * N, len(ORDER_FIELDS)), np.int64)
    marks = [np.zeros(N, np.int64) for _ in range(4)]
    account = BarAccount(memoryview(array("q", parameters.values())), money * 10**8, fills.data, orders.data)
    arrays = (close_ns - HOUR_NS, close_ns, prices, signals, windows, leaves, turns)
    account.run(*(x.data for x in arrays), 0, N, *(mark.data for mark in marks))
    state = (account.bad, account.fills, account.orders, account.fees, account.trades, account.turnover.hex(), account.peak)
    arrays_sha256 = [hashlib.sha256(x.tobytes()).hexdigest()[:16] for x in (fills, orders, *marks)]
    return f"{money} {state} {arrays_sha256}"


@pytest.mark.skipif(os.environ.get("MIA_KERNELS") == "interpreted", reason="compares with the compiled one")
def test_the_interpreted_account_gives_the_same_bits() -> None:
    code = f"from tests.unit.kernels.test_bar_account import digest_of\nfor seed in range(8): print(digest_of(seed))\nassert {N}"
    env = dict(os.environ, MIA_KERNELS="interpreted", PYTHONPATH=str(ROOT))

    told = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout

    compiled = [digest_of(seed) for seed in range(8)]
    assert told.splitlines() == compiled
    assert all(" (0, " in line for line in compiled)  # no number was too large
    assert len({line.split()[0] for line in compiled}) > 2
