"""What a lane tells its plan beside the market, and what it reads from it: closed trades, the drift, the regime."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mia.domain.events import Trade
from mia.domain.regime import UNIFORM

Make = Callable[..., Any]
RECORD = ("since_last_trade", "last_3_trades_success_rate")


def test_a_decision_sees_the_trades_that_closed_before_it(rig: Make, says: Make) -> None:
    r = rig(says(RECORD))
    seen = []
    for signal, bid in ((0.5, 10_000), (0.0, 10_100), (0.5, 10_000), (0.0, 9_900), (0.0, 9_900)):
        r.decide(signal, bid=bid)
        seen.append(list(r.engine.lanes[0].plan.values))

    assert seen[0] == seen[1] == [1.0, 0.5]
    assert seen[2] == pytest.approx([math.log(1.1) / math.log(86_401), 2 / 3], rel=1e-5)  # one won, 100 ms ago
    assert seen[4] == pytest.approx([math.log(1.1) / math.log(86_401), 0.5], rel=1e-5)  # one won, one lost


def test_a_lane_waits_for_a_drift_that_nobody_has_measured(rig: Make, says: Make) -> None:
    r = rig(says(("model_drift_score",)))

    waiting = r.decide(0.5)
    r.engine.state.lanes[0].model_drift = 0.2
    known = r.decide(0.5)

    assert waiting.code == "feature_missing"
    assert known.decision == "buy"


def test_a_lane_reads_the_regime_of_its_plan_beside_masks_and_without_its_columns(rig: Make, says: Make) -> None:
    strategy = says(("spread_ticks", "has(quotes)"))
    strategy.regime = msgspec.json.encode({
        "columns": ["ret_z_50", "up_share_20"], "center": [0.0, 0.0], "scale": [1.0, 1.0], "mean": [[0, 0], [0, 1], [2, 0]],
        "var": [[1, 1], [1, 1], [1, 1]], "transition": [[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]], "clip": 4.0,
        "warm_bars": 5,
    })  # fmt: skip
    r = rig(strategy)
    probs = []
    for k in range(62):
        r.give(Trade, 0, 10_000 + (k * 7) % 5, 3, 1, k, dt_ms=500)
        r.quote(dt_ms=500)
        r.timer()
        probs.append(r.engine.state.lanes[0].regime_probs)

    assert probs[40] == UNIFORM
    assert probs[-1] != UNIFORM
    assert sum(probs[-1]) == pytest.approx(1.0)
