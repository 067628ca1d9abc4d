"""`mia bench backtest`: that its parts run and give their keys. No figure is judged here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mia.cli.bench_backtest import GOALS, measure, text
from mia.cli.main import main
from mia.domain.errors import ConfigError


@pytest.mark.slow
def test_the_quick_bench_gives_every_figure_that_has_a_goal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "backtest", "--quick", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    shown = text(found)
    for goal in GOALS:
        value: Any = found
        for key in goal.split("."):
            value = value[key]
        assert value > 0
        assert any(line.startswith(goal + " ") and GOALS[goal] in line for line in shown.splitlines())
    assert found["ticks"]["bundle_each_quote"]["decisions"] > found["ticks"]["bundle"]["decisions"] > 0
    assert found["bars"]["bar_trades"] > 0
    for run in ("", "costs_", "two_markets_"):
        assert found["bars"][f"event_engine_{run}bars_per_core_s"] > 0
        assert found["bars"][f"event_engine_{run}trades"] > 0
    assert all(part["load"] for part in found.values() if isinstance(part, dict))


def test_a_peer_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--peer .*no such interpreter"):
        measure(quick=True, peer=tmp_path / "python")


@pytest.mark.parametrize("arguments", [["engine", "--quick"], ["features", "--peer", sys.executable], ["backtest", "--full"]])
def test_options_of_another_part_are_refused(arguments: list[str]) -> None:
    assert main(["bench", *arguments]) == 2
