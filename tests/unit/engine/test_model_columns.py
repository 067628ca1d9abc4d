"""What a lane tells its plan beside the market, and what it reads from it: closed trades, the drift, the regime."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mia.domain.errors import ConfigError
from mia.domain.events import Trade
from mia.domain.regime import UNIFORM, RegimeParams
from mia.features.calendars import Calendar
from mia.features.models import Distance, FeatureModels, Fit, Latent
from tests.unit.engine.conftest import START_NS

Make = Callable[..., Any]
MINUTE_NS = 60_000_000_000
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


def test_a_trade_that_earned_exactly_nothing_is_not_won(rig: Make, says: Make) -> None:
    r = rig(says(RECORD))

    r.decide(0.5, bid=10_000)  # bought at 10,002
    r.decide(0.0, bid=10_002)
    r.decide(0.0)

    assert r.engine.state.counters.trades == 1
    assert list(r.engine.lanes[0].plan.values)[1] == pytest.approx(1 / 3)  # (0 + 1) / (1 + 2)


def test_only_the_last_three_trades_count(rig: Make, says: Make) -> None:
    r = rig(says(RECORD))

    for end in (10_100, 9_900, 9_900, 9_900):  # one won, then three lost
        r.decide(0.5, bid=10_000)
        r.decide(0.0, bid=end)
    r.decide(0.0)

    assert list(r.engine.lanes[0].plan.values)[1] == 0.0


def test_a_lane_waits_for_a_drift_that_nobody_has_measured(rig: Make, says: Make) -> None:
    r = rig(says(("model_drift_score",)))

    waiting = r.decide(0.5)
    r.engine.state.lanes[0].model_drift = 0.2
    known = r.decide(0.5)

    assert waiting.code == "feature_missing"
    assert known.decision == "buy"


def test_a_lane_has_the_calendar_of_its_family(rig: Make, says: Make) -> None:
    event = START_NS // MINUTE_NS * MINUTE_NS + 60 * MINUTE_NS
    calendar = Calendar(event_ns=(event,), event_impact=(1.0,))
    columns = ("minutes_to_event", "has(calendar)")
    seen = []
    for calendars in ({"crypto": calendar}, {"es": calendar}):
        r = rig(says(columns), calendars=calendars)
        r.decide(0.0)
        seen.append(list(r.engine.lanes[0].plan.values))

    assert seen == [[0.25, 1.0], [1.0, 0.0]]


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


REGIME = RegimeParams(
    columns=["ret_z_50", "up_share_20"], center=[0.0, 0.0], scale=[1.0, 1.0], mean=[[0, 0], [0, 1], [2, 0]],
    var=[[1, 1], [1, 1], [1, 1]], transition=[[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]], clip=4.0, warm_bars=5,
)  # fmt: skip
FIT = Fit(source="x", bar="time:5m", first_ns=0, last_ns=1, rows=1, seed=1)
STRESS = Distance(columns=["ret_z_50", "rsi_14"], center=[0.0, 0.5], scale=[1.0, 0.2], clip=5.0, whiten=[[1.0, 0.0], [0.0, 1.0]])


def with_models(says: Make, columns: tuple[str, ...], models: FeatureModels | None, regime: RegimeParams | None = None) -> Any:
    strategy = says(columns)
    strategy.models = models.encode() if models is not None else b""
    strategy.regime = msgspec.json.encode(regime) if regime is not None else b""
    return strategy


def test_a_lane_computes_columns_with_the_models_of_its_bundle(rig: Make, says: Make) -> None:
    r = rig(with_models(says, ("stress", "p_trend"), FeatureModels(latent=Latent(stress=STRESS)), REGIME))
    for k in range(62):
        r.give(Trade, 0, 10_000 + (k * 7) % 5, 3, 1, k, dt_ms=500)
        r.quote(dt_ms=500)
        r.timer()
    plan = r.engine.lanes[0].plan

    plan.observe(0)  # as of the last event

    assert [plan.is_there(0), plan.is_there(1)] == [True, True]
    assert plan.values[0] > 0.0
    assert plan.values[1] == r.engine.state.lanes[0].regime_probs[1]


@pytest.mark.parametrize(
    ("columns", "models", "regime", "words"),
    [
        (("spread_ticks", "stress"), None, None, "'stress' needs a model"),
        (("stress", "has(model)"), FeatureModels(), REGIME, "'stress' needs a model"),
        (("cluster_ret",), FeatureModels(latent=Latent(stress=STRESS)), REGIME, "'cluster_ret' needs a model"),
        (("p_trend",), FeatureModels(latent=Latent(stress=STRESS)), None, "'p_trend' needs a model"),
        (("stress",), FeatureModels(latent=Latent(stress=STRESS), regime=REGIME), None, "regime differs from regime.json"),
        (("stress",), FeatureModels(latent=Latent(stress=STRESS), fit=FIT), None, "fitted on time:5m bars"),
    ],
)
def test_a_lane_refuses_models_that_do_not_fit_its_columns(
    rig: Make, says: Make, columns: tuple[str, ...], models: FeatureModels | None, regime: RegimeParams | None, words: str
) -> None:
    with pytest.raises(ConfigError) as e:
        rig(with_models(says, columns, models, regime))

    assert words in str(e.value)
    assert "\n" not in str(e.value)


def test_a_regime_that_is_in_both_files_is_taken_once(rig: Make, says: Make) -> None:
    r = rig(with_models(says, ("p_trend",), FeatureModels(regime=REGIME), REGIME))

    assert r.engine.lanes[0].plan.regime is not None


def test_models_that_are_no_models_are_refused_with_their_file(rig: Make, says: Make) -> None:
    strategy = says(("spread_ticks",))
    strategy.models = b'{"format": 1, "latents": {}}'

    with pytest.raises(ConfigError, match="feature_models"):
        rig(strategy)


def test_the_understudy_plays_with_the_same_models(says: Make) -> None:
    from miad.understudy import ChangingSides

    strategy = with_models(says, ("stress",), FeatureModels(latent=Latent(stress=STRESS)))

    assert ChangingSides(strategy, 1).models == strategy.models
