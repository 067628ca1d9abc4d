"""Runs side by side: tested only where the difference can be that of the strategies, on the span that both cover."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mia.backtest.compare import compare_runs, differences, parts_of
from mia.backtest.run.artifacts import read, write
from mia.backtest.run.result import Result
from mia.backtest.run.stored import StoredRun, stored
from mia.backtest.stats.inputs import Track
from mia.backtest.stats.overfit import superior
from mia.domain.errors import ConfigError
from mia.risk.windows import Windows
from mia.sim.cost_settings import Costs, SpreadCosts

DAY_NS = 86_400 * 10**9
START_NS = 1_709_251_200 * 10**9 + 3_600 * 10**9
MakeStored = Callable[..., StoredRun]


@pytest.fixture
def make_stored(make_run: Callable[..., Result], tmp_path: Path) -> MakeStored:
    """A run written and read back."""

    def make(strategy: str = "ema_cross", **options: Any) -> StoredRun:
        made = make_run(strategy, **options)
        write(made, tmp_path / made.id)
        return stored(read(tmp_path / made.id))

    return make


def with_track(run: StoredRun, name: str, r: np.ndarray[Any, Any], first: int = 0) -> StoredRun:
    """The run with hourly returns r of its own from hour `first` on, under another id."""
    ts_ns = START_NS + np.arange(first, first + len(r) + 1) * 3_600 * 10**9
    equity = np.rint(1e12 * np.concatenate([[1.0], np.cumprod(1.0 + r)])).astype(np.int64)
    track = Track(ts_ns, equity, np.zeros(len(ts_ns)), np.full(len(ts_ns), -1, np.int8))
    return run._replace(facts={**run.facts, "id": name}, columns=run.columns._replace(track=track, market=None))


def test_the_difference_is_that_of_the_returns_on_the_common_span(run: StoredRun, windows: Windows) -> None:
    draw = np.random.default_rng(2)
    a, b = draw.normal(0.0003, 0.001, 200), draw.normal(0.0, 0.001, 180)

    found = compare_runs([with_track(run, "a", a), with_track(run, "b", b, first=50)], windows, samples=500)

    (pair,) = found.pairs
    common = 150
    total = next(f for f in pair.figures if f.name == "return")
    assert (pair.periods, pair.period) == (common, "hour")
    assert (pair.first_ns, pair.last_ns) == (START_NS + 50 * 3_600 * 10**9, START_NS + 200 * 3_600 * 10**9)
    assert total.a == pytest.approx(np.prod(1.0 + a[50:]) - 1.0, rel=1e-6)
    assert total.b == pytest.approx(np.prod(1.0 + b[:common]) - 1.0, rel=1e-6)
    assert total.difference == total.a - total.b


def test_a_planted_lead_is_found_and_two_of_a_kind_are_not_told_apart(run: StoredRun, windows: Windows) -> None:
    draw = np.random.default_rng(3)
    market = draw.normal(0.0, 0.004, 300)
    better, like = market + draw.normal(0.001, 0.001, 300), market + draw.normal(0.0, 0.001, 300)
    runs = [with_track(run, name, r) for name, r in (("better", better), ("market", market), ("like", like))]

    lead = compare_runs(runs, windows, samples=1_000)
    alike = compare_runs([runs[1], runs[2]], windows, samples=1_000)

    mean = {pair.b: next(f for f in pair.figures if f.name == "mean_return") for pair in lead.pairs}
    assert (mean["market"].p_value or 1.0) < 0.01
    assert mean["market"].interval is not None
    assert (mean["market"].interval.low or -1.0) > 0.0
    (same,) = (f for f in alike.pairs[0].figures if f.name == "mean_return")
    assert (same.p_value or 0.0) > 0.05


def test_three_runs_are_tested_together(run: StoredRun, windows: Windows) -> None:
    draw = np.random.default_rng(4)
    base = draw.normal(0.0, 0.002, 240)
    columns = [base, base + draw.normal(0.0004, 0.001, 240), base + draw.normal(0.0, 0.001, 240)]
    runs = [with_track(run, f"r{k}", r) for k, r in enumerate(columns)]

    found = compare_runs(runs, windows, samples=1_000)

    table = np.stack(columns, axis=1)
    wanted = superior(table[:, 1:] - table[:, :1], seed=0, samples=1_000)
    assert found.better_than_first is not None
    assert found.better_than_flat is not None
    assert found.better_than_first.p_value == pytest.approx(wanted.p_value, abs=0.01)
    assert found.better_than_first.best == 0  # r1
    assert found.better_than_first.p_value < 0.05


def test_two_runs_have_no_test_of_all(run: StoredRun, windows: Windows) -> None:
    r = np.random.default_rng(1).normal(0, 0.001, 100)

    found = compare_runs([with_track(run, "a", r), with_track(run, "b", r[::-1])], windows, samples=200)

    assert (found.better_than_first, found.why) == (None, "needs three runs")


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"seed": 2}, "data", "data differ (file:WALK walk.csv "),
        ({"fee": Decimal("0.001")}, "costs", "instruments differ (file:WALK.maker_fee 0.0005, 0.001)"),
        ({"fill_at": "close"}, "costs", "costs differ (fill_at next_open, close)"),
        ({"costs": Costs(spread=SpreadCosts(half=Decimal(3)))}, "costs", "costs differ (costs.spread.half "),
    ],
)
def test_other_data_or_costs_refuse_the_test_and_say_why(
    run: StoredRun, make_stored: MakeStored, windows: Windows, options: dict[str, Any], kind: str, said: str
) -> None:
    other = make_stored("donchian", **options)

    found = compare_runs([run, other], windows, samples=200)
    forced = compare_runs([run, other], windows, samples=200, is_forced=True)

    (pair,) = found.pairs
    assert any(d.kind == kind and d.text.startswith(said) for d in pair.differing)
    assert said in pair.refused
    assert pair.figures == []
    assert pair.refused.endswith("the difference would not be that of the strategies")
    assert forced.pairs[0].refused == ""
    assert forced.pairs[0].figures


def test_a_cost_that_only_one_run_knows_refuses_the_test(run: StoredRun, make_stored: MakeStored) -> None:
    other = make_stored("donchian")
    other.facts["stamp_duty"] = {"share": 0.5}

    found = differences(run.facts, other.facts)

    assert [(d.kind, d.text) for d in found] == [("costs", "costs differ (stamp_duty.share not there, 0.5)")]


def test_another_strategy_alone_is_no_difference(run: StoredRun, make_stored: MakeStored) -> None:
    assert differences(run.facts, make_stored("donchian").facts) == []


def test_other_spans_and_bars_are_said_and_tested(run: StoredRun, make_stored: MakeStored, windows: Windows) -> None:
    other = make_stored("donchian", timeframe="time:15m", from_ns=1_709_251_200 * 10**9 + 2 * DAY_NS)

    (pair,) = compare_runs([run, other], windows, samples=200).pairs

    assert {d.kind for d in pair.differing} == {"bars", "span"}
    assert pair.refused == ""
    assert pair.first_ns >= 1_709_251_200 * 10**9 + 2 * DAY_NS - 900 * 10**9


def test_runs_that_share_no_time_are_not_tested(run: StoredRun, windows: Windows) -> None:
    r = np.random.default_rng(1).normal(0, 0.001, 100)

    (pair,) = compare_runs([with_track(run, "a", r), with_track(run, "b", r, first=500)], windows, samples=200).pairs

    assert pair.refused == "they share no time"


def test_a_handful_of_marks_or_periods_is_not_tested(run: StoredRun, windows: Windows) -> None:
    r = np.random.default_rng(1).normal(0, 0.001, 40)
    seconds = START_NS + np.arange(41) * 10**9

    def within_a_minute(name: str) -> StoredRun:
        made = with_track(run, name, r)
        return made._replace(columns=made.columns._replace(track=made.columns.track._replace(ts_ns=seconds)))

    (marks,) = compare_runs([with_track(run, "a", r), with_track(run, "b", r, first=38)], windows, samples=200).pairs
    (periods,) = compare_runs([within_a_minute("a"), within_a_minute("b")], windows, samples=200).pairs

    assert marks.refused == "3 marks in common, 20 are needed"
    assert periods.refused == "1 minute in common, 20 are needed"


def test_a_ruined_run_is_shown_and_not_tested(run: StoredRun, windows: Windows) -> None:
    r = np.random.default_rng(1).normal(0, 0.001, 100)
    ruined = np.append(r[:50], [-1.0, *r[51:]])

    found = compare_runs([with_track(run, "a", r), with_track(run, "b", ruined)], windows, samples=200)

    assert "worth 0" in found.pairs[0].refused
    assert found.runs[1].summary.ruined_ns is not None


def test_one_run_or_the_same_twice_is_refused(run: StoredRun, windows: Windows) -> None:
    with pytest.raises(ConfigError, match="needs two runs at least"):
        compare_runs([run], windows)
    with pytest.raises(ConfigError, match=f"run {run.facts['id']} is named twice"):
        compare_runs([run, run], windows)


def test_money_is_told_from_gross_to_net_whatever_the_order_of_the_file() -> None:
    assert list(parts_of({"net_e8": 1, "spread_e8": 2, "stamp_e8": 3, "fees_e8": 4, "gross_e8": 10})) == [
        "gross", "fees", "spread", "stamp", "net",
    ]  # fmt: skip
