"""Steps of rules: no state, no surprise, the same bits compiled and interpreted, whatever the columns say."""

from __future__ import annotations

import hashlib
import math
import os
import random
import subprocess
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia.kernels.rng import uniform_at
from mia.kernels.rule_bollinger_atr import BollingerAtr
from mia.kernels.rule_constant import Constant
from mia.kernels.rule_donchian import Donchian
from mia.kernels.rule_ema_cross import EmaCross
from mia.kernels.rule_macd import Macd
from mia.kernels.rule_opening_range import OpeningRange
from mia.kernels.rule_random import Random
from mia.kernels.rule_rsi_reversion import RsiReversion
from mia.kernels.rule_sma_cross import SmaCross
from mia.kernels.rule_ts_momentum import TsMomentum
from mia.kernels.rule_vol_target import VolTarget
from mia.kernels.rule_vwap_reversion import VwapReversion

KERNELS: dict[str, Any] = {
    "constant": Constant(0.7),
    "ema_cross": EmaCross(0.7, -0.7),
    "sma_cross": SmaCross(0.7, -0.7),
    "macd": Macd(0.7, -0.7),
    "bollinger_atr": BollingerAtr(0.7, -0.7, 2.0, 3.0),
    "donchian": Donchian(0.7, -0.7),
    "opening_range": OpeningRange(0.7, -0.7, 1800.0, 300.0),
    "random": Random(0.7, -0.7, 3, 0.4),
    "rsi_reversion": RsiReversion(0.7, -0.7, 30.0, 50.0, 70.0),
    "ts_momentum": TsMomentum(0.7, 0, 0.4, 0.1),
    "vol_target": VolTarget(0.7, 0.4, 0.1),
    "vwap_reversion": VwapReversion(0.7, -0.7, 2.0, 0.5, 1800.0),
}
NUMBERS = st.floats(-1e7, 1e7, width=32) | st.sampled_from([0.0, 1.0, -1.0, 2.0, 30.0, 50.0, 70.0, 1800.0, 3600.0, 86_100.0])
LAST = st.sampled_from(array("f", [0.0, 0.7, -0.7, 0.25, -0.25]).tolist()) | st.floats(-1, 1, width=32)  # as it is observed


def rows(kernel: Any, n: int) -> np.ndarray:
    """float32[n, width] of values around those that rules compare with."""
    rnd = random.Random(5)
    scales = (1.0, 3.0, 100.0, 4000.0, 86_400.0)
    values = [rnd.uniform(-0.2, 1.0) * rnd.choice(scales) for _ in range(n * kernel.width)]
    return np.array(values, dtype=np.float32).reshape(n, kernel.width)


def digest() -> str:
    """Of what all rules say to the same rows."""
    found = hashlib.sha256()
    for kernel in KERNELS.values():
        out = np.zeros(2_000)
        kernel.run(rows(kernel, 2_000), 0.0, out)
        found.update(out.tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", KERNELS)
@given(data=st.data())
def test_a_step_stays_in_its_bounds_and_says_the_same_when_asked_again(name: str, data: st.DataObject) -> None:
    kernel = KERNELS[name]
    obs = memoryview(array("f", data.draw(st.lists(NUMBERS, min_size=kernel.width, max_size=kernel.width))))
    last = data.draw(LAST)

    signal = kernel.next_signal(obs, last)

    assert -1.0 <= signal <= 1.0
    assert math.copysign(1.0, signal) == 1.0 or signal < 0.0  # no negative zero: it would be another byte in the journal
    assert kernel.next_signal(obs, signal) == signal  # a second decision on the same bar changes nothing
    assert kernel.next_signal(obs, array("f", [signal])[0]) == signal  # as the observation carries it


@pytest.mark.parametrize("name", KERNELS)
def test_a_run_is_the_chain_of_steps(name: str) -> None:
    kernel = KERNELS[name]
    given_rows = rows(kernel, 500)
    out = np.zeros(500)

    returned = kernel.run(given_rows, 0.25, out)

    last, chain = 0.25, []
    for row in given_rows:
        chain.append(kernel.next_signal(memoryview(array("f", row.tolist())), last))
        last = array("f", [chain[-1]])[0]
    assert out.tolist() == chain
    assert returned == last
    assert name == "constant" or len(set(chain)) > 1


def test_more_columns_behind_those_that_are_read_change_nothing_nor_does_a_read_only_array() -> None:
    kernel = KERNELS["donchian"]
    narrow = rows(kernel, 300)
    wide = np.concatenate([narrow, np.full((300, 2), np.nan, dtype=np.float32)], axis=1)
    wide.flags.writeable = False
    a, b = np.zeros(300), np.zeros(300)

    kernel.run(narrow, 0.0, a)
    kernel.run(wide, 0.0, b)

    assert a.tobytes() == b.tobytes()


def bad_rows() -> Iterator[tuple[str, Any]]:
    yield "too narrow", np.zeros((3, 4), dtype=np.float32)
    yield "another length", np.zeros((4, 5), dtype=np.float32)
    yield "float64", np.zeros((3, 5))
    yield "one dimension", np.zeros(15, dtype=np.float32)


@pytest.mark.parametrize("bad", [pytest.param(rows, id=why) for why, rows in bad_rows()])
def test_rows_of_another_shape_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="float32"):
        KERNELS["donchian"].run(bad, 0.0, np.zeros(3))
    with pytest.raises(IndexError):
        KERNELS["donchian"].next_signal(memoryview(array("f", [1.0] * 4)), 0.0)


def test_no_rows_give_no_signals() -> None:
    assert KERNELS["donchian"].run(np.zeros((0, 5), dtype=np.float32), 0.5, np.zeros(0)) == 0.5


def test_a_market_that_does_not_move_gets_no_size() -> None:
    assert KERNELS["vol_target"].next_signal(memoryview(array("f", [0.0])), 0.0) == 0.0
    assert KERNELS["ts_momentum"].next_signal(memoryview(array("f", [0.1, 0.0])), 0.0) == 0.0


def test_compiled_and_interpreted_rules_say_the_same_bits() -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_rules; print(test_rules.digest())"

    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "MIA_KERNELS": mode}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for mode in ("compiled", "interpreted")
    }

    assert said == {digest()}


def test_uniform_numbers_from_a_hash_are_uniform_and_do_not_follow_their_place() -> None:
    u = np.array([uniform_at(7, day, 100 * second) for day in range(20) for second in range(500)])

    assert 0.0 < u.min() < u.max() < 1.0
    assert u.mean() == pytest.approx(0.5, abs=0.015)  # five standard errors
    counts = np.histogram(u, bins=50, range=(0, 1))[0]
    assert ((counts - 200.0) ** 2 / 200.0).sum() < 100.0  # chi square of 49 degrees of freedom: 1e-5 above it
    for lag in (1, 2, 500):
        assert abs(np.corrcoef(u[:-lag], u[lag:])[0, 1]) < 0.05
    assert uniform_at(8, 0, 0) != uniform_at(7, 0, 0) != uniform_at(7, 1, 0)


def test_the_share_of_draws_is_the_chance() -> None:
    kernel = Random(1.0, -1.0, 9, 0.1)
    seconds = np.stack([np.full(20_000, 20_000.0), np.arange(20_000) * 4.0], axis=1).astype(np.float32)
    out = np.zeros(20_000)

    kernel.run(seconds, 0.0, out)

    turnover = np.abs(np.diff(out)).mean()
    assert turnover == pytest.approx(0.1, rel=0.15)  # half of the draws change nothing, the others move by 2
    assert out.mean() == pytest.approx(0.0, abs=0.15)
