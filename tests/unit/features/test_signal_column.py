"""The column of outside signals: what holds now, what is known later, what is late, and the same in both builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.plan import Plan, build_plan
from mia.features.series import PREDICTION_NUMBER
from mia.kernels.arena import Arena
from mia.kernels.book import Book

ROOT = Path(__file__).resolve().parents[3]
SECOND = 10**9
T0 = 1_700_000_000 * SECOND
SIGNAL = PREDICTION_NUMBER["signal"]


def plan_of(column: str) -> Plan:
    instrument = Instrument(
        venue="v", symbol="S", kind="perpetual", family="crypto", quote_currency="USDT", tick_size=Decimal(1), lot_size=Decimal(1),
        maker_fee=Decimal(0), taker_fee=Decimal(0),
    )  # fmt: skip
    arena = Arena(1 << 20)
    return build_plan((column,), instrument, BarSpec.parse("time:10s"), arena, Book(arena, 8))


def seen(plan: Plan, at_s: int) -> float | None:
    plan.observe(T0 + at_s * SECOND)
    return None if plan.first_cold() == 0 else plan.values[0]


def say(plan: Plan, at_s: int, value: float, known_s: int, until_s: int, name: int = SIGNAL, confidence: float = 1.0) -> None:
    plan.on_predicted(T0 + at_s * SECOND, name, value, confidence, T0 + known_s * SECOND, T0 + until_s * SECOND)


def story() -> list[float | None]:
    """Every turn that a signal can take."""
    plan = plan_of("signal")
    found = [seen(plan, 0)]
    say(plan, 1, 0.5, 1, 10)
    found += [seen(plan, 1), seen(plan, 10), seen(plan, 11)]
    say(plan, 12, -1.0, 20, 30)  # known in 8 s
    say(plan, 13, 0.25, 13, 40)
    found += [seen(plan, 19), seen(plan, 20), seen(plan, 31)]
    say(plan, 32, 0.75, 15, 100)  # older than what is known
    say(plan, 32, 1.5, 32, 100)  # none
    say(plan, 32, float("nan"), 32, 100)
    say(plan, 32, 0.9, 32, 100, name=PREDICTION_NUMBER["short"])
    found.append(seen(plan, 33))
    say(plan, 34, 0.5, 34, 100, confidence=0.5)
    found.append(seen(plan, 34))
    return found


def test_the_last_known_signal_is_seen_while_it_holds() -> None:
    assert story() == [None, 0.5, 0.5, None, 0.25, -1.0, None, None, 0.25]


def test_the_column_that_goes_flat_shows_zero_where_the_other_has_nothing() -> None:
    plan = plan_of("signal_else_flat")

    before = seen(plan, 0)
    say(plan, 1, -0.5, 1, 10)

    assert [before, seen(plan, 10), seen(plan, 11)] == [0.0, -0.5, 0.0]


def test_the_interpreted_source_says_the_same() -> None:
    script = "import json; from tests.unit.features.test_signal_column import story; print(json.dumps(story()))"
    env = dict(os.environ, MIA_KERNELS="interpreted", PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "daemon")]))

    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True)

    assert json.loads(result.stdout) == story()


@pytest.mark.parametrize("name", ["signal(3)", "signal_else_flat(1,2)"])
def test_it_takes_no_length(name: str) -> None:
    with pytest.raises(Exception, match="signal"):
        plan_of(name)
