"""Several strategies as one: blending, what each member remembers, and which members do not go together."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mia.assemble import load_strategy
from mia.domain.errors import ConfigError
from mia.engine.settings import LaneSettings
from mia.features.distribution import parse_drift
from mia.policy.ensemble import Ensemble, Said
from mia.policy.rules import make_rule
from mia.policy.strategy import Target

KIND: Any = ("time:1s", "bar", 0)
PROBS = (0.2, 0.3, 0.5)


class Fake:
    """A model that says what the test wants of what it sees."""

    def __init__(self, columns: tuple[str, ...], says: Any, alpha_min: float = 0.0, lo: float = -9.0, regime: bytes = b"") -> None:
        self.name, self.sha256, self.columns, self.says = f"fake{len(columns)}", "0" * 64, columns, says
        self.bar, self.trigger, self.min_interval_ns = KIND
        self.alpha_min, self.regime, self.models, self.drift = alpha_min, regime, b"", b""
        self.lo, self.hi = (lo,) * len(columns), (9.0,) * len(columns)
        self.seen: list[list[float]] = []

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        self.seen.append(list(obs))
        answer = self.says(*obs) if callable(self.says) else self.says
        return answer if isinstance(answer, Target) else Target(answer, 1.0, (answer, answer, answer))


def made(*members: Any, weights: Sequence[float]) -> Ensemble:
    return Ensemble("e", "f" * 64, members, weights, KIND, {"ofi_l5": ("depth",), "queue_imb_1": ("depth", "quotes")}, "ensemble x.json")


def row(*values: float) -> memoryview:
    return memoryview(array("f", values))


def test_signal_alpha_and_actions_are_the_weighted_means() -> None:
    first = Fake(("ret_20",), Target(0.5, 0.9, (0.1, 0.2, 0.3)), alpha_min=0.4)
    second = Fake(("rsi_14",), Target(-1.0, 0.6, (-1.0, -0.5, 0.0)), alpha_min=0.2)
    both = made(first, second, weights=[0.75, 0.25])

    target = both.evaluate(row(1, 2), PROBS)

    assert target.signal == pytest.approx(0.75 * 0.5 - 0.25)
    assert target.alpha == pytest.approx(0.75 * 0.9 + 0.25 * 0.6)
    assert target.actions == pytest.approx((-0.175, 0.025, 0.225))
    assert both.alpha_min == pytest.approx(0.35)


def test_each_member_sees_its_own_columns_in_its_own_order() -> None:
    first = Fake(("ret_20", "rsi_14", "has(depth)"), 0.0)
    second = Fake(("rsi_14", "adx_14", "ret_20", "has(depth)", "has(trades)"), 0.0, lo=-3.0)
    both = made(first, second, weights=[0.5, 0.5])

    both.evaluate(row(1, 2, 3, 4, 5), PROBS)

    assert both.columns == ("ret_20", "rsi_14", "adx_14", "has(depth)", "has(trades)")
    assert first.seen == [[1, 2, 4]]
    assert second.seen == [[2, 3, 1, 4, 5]]
    assert both.lo == (-3.0,) * 5


def test_a_member_remembers_its_own_signal_and_not_that_of_all() -> None:
    keeps = Fake(("ret_20", "last_action", "last_alpha", "policy_dispersion"), lambda x, *_: Target(x, 0.7, (0.0, 0.3, 0.6)))
    both = made(keeps, Fake(("rsi_14",), -1.0), weights=[0.5, 0.5])

    _, said = both.blend(row(0.25, 9, 9, 9, 0), PROBS, ())
    target, said = both.blend(row(0.5, 9, 9, 9, 0), PROBS, said)

    spread = math.sqrt((0.09 + 0.09) / 3)
    assert keeps.seen[0] == [0.25, 0, 0, 0]
    assert keeps.seen[1] == pytest.approx([0.5, 0.25, 0.7, spread])
    assert target.signal == pytest.approx(0.25 - 0.5)
    assert said[0] == pytest.approx((0.5, 0.7, spread))
    assert said[1] == Said(-1.0, 1.0, 0.0)


@pytest.mark.parametrize("wrong", [float("nan"), 1.5])
def test_an_answer_that_cannot_be_used_is_the_answer_of_all(wrong: float) -> None:
    both = made(Fake(("ret_20",), 1.0), Fake(("rsi_14",), wrong), weights=[0.9, 0.1])

    target, said = both.blend(row(0, 0), PROBS, (Said(0.1, 0.2, 0.3), Said(0.4, 0.5, 0.6)))

    assert target.signal == pytest.approx(wrong, nan_ok=True)
    assert said[0].action == 1.0
    assert said[1].action == (0.4 if math.isnan(wrong) else 1.5)


def test_rounding_of_weights_carries_no_signal_out_of_its_range() -> None:
    members = [Fake(("ret_20",), 1.0) for _ in range(10)]

    target = made(*members, weights=[0.1] * 9 + [0.1 + 1e-12]).evaluate(row(0), PROBS)

    assert target.signal == 1.0
    assert target.alpha == 1.0


def test_one_with_a_mask_and_one_without_cannot_share_a_lane() -> None:
    with pytest.raises(ConfigError, match=r"fake2 can do without depth \(has\(depth\)\), fake1 cannot \(ofi_l5\)"):
        made(Fake(("queue_imb_1", "has(depth)"), 0.0), Fake(("ofi_l5",), 0.0), weights=[0.5, 0.5])


def test_models_of_different_regimes_cannot_share_a_lane_and_rules_do_not_mind() -> None:
    one = Fake(("ret_20",), 0.0, regime=b"one")

    assert made(one, make_rule("ema_cross"), weights=[0.5, 0.5]).regime == b"one"
    with pytest.raises(ConfigError, match=r"fake1 and fake2 bring different regime\.json"):
        made(one, Fake(("ret_20", "rsi_14"), 0.0, regime=b"two"), weights=[0.5, 0.5])


def test_drift_is_watched_for_the_columns_of_every_model() -> None:
    """Of a column that two watch, the first model's spread counts."""
    first, second = Fake(("ret_20", "rsi_14"), 0.0), Fake(("rsi_14", "adx_14"), 0.0)
    head = {"format": 1, "catalogue_sha256": "c", "bars": "time:1s", "rows": 9}
    spreads = [{"edges": [float(k)], "shares": [0.5, 0.5], "present": 1.0} for k in range(3)]
    first.drift = msgspec.json.encode({**head, "columns": {"rsi_14": spreads[0]}})
    second.drift = msgspec.json.encode({**head, "columns": {"rsi_14": spreads[1], "adx_14": spreads[2]}})

    both = made(first, make_rule("ema_cross"), second, weights=[0.5, 0.25, 0.25])

    found = parse_drift(both.drift, both.columns, "test").columns
    assert {name: spread.edges for name, spread in found.items()} == {"rsi_14": [0.0], "adx_14": [2.0]}
    assert made(first, weights=[1.0]).drift == first.drift


def test_members_of_other_bars_are_refused() -> None:
    with pytest.raises(ConfigError, match="bars time:5m, the ensemble has time:1s"):
        made(make_rule("flat", bar="time:5m"), weights=[1.0])


# --- the file ------------------------------------------------------------------------------------------------------------


def file_of(**changes: Any) -> dict[str, Any]:
    rules = [("rule:ema_cross", {"fast_period": 3, "slow_period": 9}, 0.75), ("rule:donchian", {}, 0.25)]
    members = [
        {"strategy": s, "params": p, "weight": w, "sha256": make_rule(s[5:], p, min_interval_ms=100, bar="time:5m").sha256}
        for s, p, w in rules
    ]
    whole = {"format": 1, "name": "two", "method": "equal", "bar": "time:5m", "trigger": "bar", "min_interval_ms": 100, "members": members}
    return {**whole, **changes}


def loaded(folder: Path, content: Any, **lane: Any) -> Any:
    path = folder / "two.json"
    path.write_bytes(msgspec.json.encode(content))
    return load_strategy(LaneSettings(instrument="sim:SIMUSD", strategy=f"ensemble:{path}", **lane), "crypto")


def test_a_lane_loads_the_file_and_is_known_by_its_digest(tmp_path: Path) -> None:
    both = loaded(tmp_path, file_of())

    assert both.sha256 == hashlib.sha256((tmp_path / "two.json").read_bytes()).hexdigest()
    assert [m.name.partition("(")[0] for m in both.members] == ["ema_cross", "donchian"]
    assert (both.bar, both.trigger, both.min_interval_ns) == ("time:5m", "bar", 100_000_000)


def test_a_name_is_looked_for_among_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = tmp_path / "mia" / "ensembles"
    folder.mkdir(parents=True)
    (folder / "mine.json").write_bytes(msgspec.json.encode(file_of()))

    assert load_strategy(LaneSettings(instrument="sim:SIMUSD", strategy="ensemble:mine"), "crypto").name == "two"


def member(**changes: Any) -> list[dict[str, Any]]:
    first, second = file_of()["members"]
    return [{**first, **changes}, second]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"members": []}, "0 members"),
        ({"members": member(weight=0.7)}, "add up to 0.95, not to 1"),
        ({"members": member(weight=-0.1)}, "weight of rule:ema_cross is -0.1"),
        ({"members": member(sha256="1" * 64)}, r"ema_cross\(.* the weights were fitted for 111111111111"),
        ({"members": member(params={"fast_period": 4, "slow_period": 9})}, "fit the ensemble again"),
        ({"members": member(strategy="ensemble:other.json")}, "an ensemble is no member of another"),
        ({"members": member(strategy="rule:magic")}, "'magic' is unknown"),
        ({"members": member(strategy="nowhere", params={})}, "'nowhere' was not found"),
        ({"bar": "time:1m"}, "fit the ensemble again"),
        ({"format": 2}, "format 2 is not 1"),
        ({"trigger": "moon"}, "is no ensemble"),
        ({"weights": []}, "unknown field `weights`"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_with_the_reason(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"\[\[lanes\]\] sim:SIMUSD: ensemble .*two\.json: .*{words}"):
        loaded(tmp_path, file_of(**changes))


def test_what_the_file_decides_cannot_be_said_by_the_lane(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bars belongs to rules"):
        loaded(tmp_path, file_of(), bars="time:5m")
    with pytest.raises(ConfigError, match="leave the lane's trigger out"):
        loaded(tmp_path, file_of(), trigger="quote")


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"ensemble /nowhere/x\.json: cannot be read"):
        load_strategy(LaneSettings(instrument="sim:SIMUSD", strategy="ensemble:/nowhere/x.json"), "crypto")
