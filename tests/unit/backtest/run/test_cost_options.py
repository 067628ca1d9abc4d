"""Costs from a file and from switches: what wins, and what a wrong one is told."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from mia.backtest.run.cost_options import costs_of
from mia.domain.errors import ConfigError
from mia.sim.cost_settings import Costs

FILE = """
[costs]
seed = 9

[costs.spread]
kind = "bps"
half = 1.5

[costs.funding]
kind = "file"
file = "rates.csv"
"""


def test_nothing_given_is_the_default() -> None:
    assert costs_of(None, ()) == Costs()


def test_switches_win_over_the_short_form_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "costs.toml"
    file.write_text(FILE)

    costs = costs_of(
        file, ["spread.half=7", "impact.kind=square_root", "borrow.instruments=spot,future", "participation.partial_fills=false"], 3
    )

    assert (costs.seed, costs.spread.kind, costs.spread.half) == (9, "ticks", Decimal(7))
    assert costs.funding.file == str(tmp_path / "rates.csv")  # beside the file that names it
    assert (costs.impact.kind, costs.borrow.instruments, costs.participation.partial_fills) == ("square_root", ("spot", "future"), False)


@pytest.mark.parametrize(
    ("switch", "message"),
    [
        ("impact", "--cost impact: write part.field=value"),
        ("impact.size=3", "impact has no 'size': use one of kind, eta"),
        ("slippage.kind=off", "there is no 'slippage.kind': use PART.FIELD=VALUE with one of seed, fees, spread"),
        ("impact=off", "there is no 'impact'"),
        ("impact.eta=many", r"--cost: \[costs\]"),
        ("spread.kind=wide", "spread"),
        ("participation.share_max=2", "participation.share_max must be between 0 and 1"),
        ("spread.kind=file", "spread.file must name a file"),
    ],
)
def test_a_wrong_switch_is_told_what_is_allowed(switch: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        costs_of(None, [switch])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[costs", "not valid TOML"),
        ("[cost]\nseed = 1", r"must hold the table \[costs\] and nothing else, holds cost"),
        ("[costs.spread]\nhalves = 1", "halves"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "costs.toml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=rf"costs\.toml.*{message}"):
        costs_of(file, ())
    with pytest.raises(ConfigError, match="cannot be read"):
        costs_of(tmp_path / "absent.toml", ())
