"""`mia backtest strategies`: what is listed is what can be run."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from mia.assemble import load_strategy
from mia.engine.settings import LaneSettings
from mia.policy.rules import RULES

Mia = Callable[..., Any]


def test_all_strategies_are_listed_with_what_they_do(mia: Mia) -> None:
    result = mia("backtest", "strategies", "list")

    assert result.code == 0
    for spec in RULES.values():
        assert any(line.startswith(f"{spec.name} ") and spec.summary in line for line in result.out.splitlines())


def test_one_is_shown_with_formula_source_and_bounds(mia: Mia) -> None:
    result = mia("backtest", "strategies", "show", "donchian")

    assert result.code == 0
    for words in (RULES["donchian"].formula, RULES["donchian"].source, "entry_period", "1 .. 10000", "prior_highest(20)", "21 bars"):
        assert words in result.out


@pytest.mark.parametrize("name", RULES)
def test_the_lane_that_is_shown_runs_as_it_stands(name: str, mia: Mia) -> None:
    shown = json.loads(mia("backtest", "strategies", "show", name, "--json").out)
    lane = tomllib.loads("lane = {" + shown["lane"] + "}")["lane"]

    rule = load_strategy(LaneSettings(instrument="sim:SIMUSD", **lane), "crypto")

    assert list(rule.columns) == shown["columns"]
    assert [p["name"] for p in shown["parameters"]] == list(lane.get("params", {}))


def test_the_list_as_json_is_the_shown_ones(mia: Mia) -> None:
    listed = json.loads(mia("backtest", "strategies", "list", "--json").out)

    assert listed == [json.loads(mia("backtest", "strategies", "show", name, "--json").out) for name in RULES]


def test_an_unknown_strategy_is_answered_with_the_known_ones(mia: Mia) -> None:
    result = mia("backtest", "strategies", "show", "magic")

    assert result.code == 4
    assert "'magic' is unknown: use one of flat, buy_and_hold" in result.err
