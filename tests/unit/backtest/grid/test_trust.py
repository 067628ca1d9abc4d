"""How far the best of a search is to be trusted: overfitting, Hansen's test, choices out of sample; against plain loops and known edges."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mia.backtest.grid import search
from mia.backtest.grid.bench import market_of
from mia.backtest.grid.cells import Cells
from mia.backtest.grid.kept import Kept, Table
from mia.backtest.grid.search import Outcome, Plan, Search
from mia.backtest.grid.space import space_of
from mia.backtest.grid.trust import Trust, judged, trust_of
from mia.backtest.grid.validate import NAMES, Scheme, validate
from mia.backtest.run.prepare import execute
from mia.backtest.trials import Registry
from mia.domain.errors import ConfigError
from tests.unit.backtest.grid.test_cells import prepared_of

DAY_NS = 86_400 * 10**9


def table_of(returns: np.ndarray, market: float = 0.0) -> Table:
    days, width = returns.shape
    return Table(list(range(width)), returns, np.arange(days + 1) * DAY_NS, np.full(days, market), width)


def noise(seed: int, days: int = 320, width: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, (days, width))


def test_searches_of_noise_are_overfitted_and_a_planted_edge_is_found_by_every_figure() -> None:
    of_noise = [trust_of(table_of(noise(k, width=20)), 0) for k in range(12)]
    planted = noise(99)
    planted[:, 7] += 0.008
    found = trust_of(table_of(planted), 7, validation=validate(table_of(planted), Scheme(name="walk_forward"), "sharpe"))

    assert statistics.fmean(t.overfit.probability for t in of_noise if t.overfit) == pytest.approx(0.5, abs=0.1)
    assert found.overfit is not None
    assert found.against_flat is not None
    assert found.validation is not None
    assert found.overfit.probability < 0.01
    assert (found.against_flat.p_value < 0.01, found.against_flat.best) == (True, 7)
    assert {row.chosen for row in found.validation.rows} == {7}
    assert found.validation.net_returns[0] > 1.0


def test_a_configuration_that_only_holds_does_not_beat_holding() -> None:
    returns = np.random.default_rng(3).normal(0.002, 0.01, (300, 1))
    table = table_of(np.hstack([returns, returns]))._replace(market=returns[:, 0])

    found = trust_of(table, 0)

    assert found.against_flat is not None
    assert found.against_flat.p_value < 0.05
    assert (found.against_market, found.against_market_why) == (None, "no configuration ever differs from the benchmark")


@pytest.mark.parametrize(("days", "width", "why"), [(31, 5, "31 days"), (200, 1, "1 configuration")])
def test_too_little_has_no_probability(days: int, width: int, why: str) -> None:
    found = trust_of(table_of(noise(1, days, width)), 0)

    assert (found.overfit, found.overfit_why) == (None, why)


def test_too_few_days_have_no_test_of_hansen() -> None:
    found = trust_of(table_of(noise(1, 9, 4)), 0)

    assert (found.against_flat, found.against_flat_why) == (None, "9 days")


# --- validation ----------------------------------------------------------------------------------------------------------


def yearly(r: list[float]) -> float:
    return statistics.fmean(r) / statistics.stdev(r) * math.sqrt(365.25)


@pytest.mark.parametrize(("name", "embargo_days"), [("walk_forward", 0), ("walk_forward", 3), ("rolling", 1), ("purged_k_fold", 2)])
def test_each_fold_is_chosen_and_scored_as_a_plain_loop_does_it(name: str, embargo_days: int) -> None:
    returns = noise(5, 120, 6)
    scheme = msgspec.convert({"name": name, "folds": 4, "train_folds": 2, "embargo_ns": embargo_days * DAY_NS}, Scheme)

    found = validate(table_of(returns), scheme, "sharpe", samples=100)

    count = 4 if name == "purged_k_fold" else 5
    size = 120 // count
    cuts = [range(k * size, (k + 1) * size) for k in range(count)]
    tests = {"walk_forward": range(1, 5), "rolling": range(2, 5), "purged_k_fold": range(4)}[name]
    whole: list[float] = []
    for row, k in zip(found.rows, tests, strict=True):
        test = cuts[k]
        # a day makes its return within (start, end]: embargo of E days leaves out as many before a walk's test, and after a fold's
        before = [d for d in range(test[0]) if name == "purged_k_fold" or d < test[0] - embargo_days]
        after = [d for d in range(test[-1] + 1, 120) if d > test[-1] + embargo_days] if name == "purged_k_fold" else []
        train = [d for d in before + after if name != "rolling" or d >= cuts[k - 2][0]]
        ratios = [yearly([float(returns[d, c]) for d in train]) for c in range(6)]
        best = ratios.index(max(ratios))
        outside = [yearly([float(returns[d, c]) for d in test]) for c in range(6)]
        assert (row.chosen, row.train, row.test) == (best, len(train), size)
        assert row.inside == pytest.approx(ratios[best])
        assert row.outside == pytest.approx(outside[best])
        assert row.rank == pytest.approx(sum(x < outside[best] for x in outside) / 5)
        whole += [float(returns[d, best]) for d in test]
    assert found.days == len(whole)
    assert found.net_returns == pytest.approx([math.prod(1.0 + x for x in whole) - 1.0])
    assert found.sharpes == pytest.approx([yearly(whole)])


def test_cpcv_makes_its_paths_of_every_choice_of_two_blocks() -> None:
    found = validate(table_of(noise(6, 120, 5)), Scheme(name="cpcv", folds=6, tested=2), "net_return")

    assert [tuple(row.groups) for row in found.rows] == list(itertools.combinations(range(6), 2))
    assert (len(found.net_returns), found.days, found.sharpe_interval) == (5, 120, None)


def test_what_happens_on_the_test_days_changes_no_choice_of_a_walk_forward() -> None:
    returns = noise(7, 120, 8)
    other = returns.copy()
    other[100:] = noise(8, 20, 8) * 9.0  # within the last test

    first, second = (validate(table_of(r), Scheme(name="walk_forward"), "sharpe", samples=100) for r in (returns, other))

    assert [row.chosen for row in first.rows] == [row.chosen for row in second.rows]
    assert first.rows[-1].outside != second.rows[-1].outside


@pytest.mark.parametrize("metric", ["sharpe", "net_return"])
def test_where_nothing_traded_nothing_is_chosen_and_the_test_stays_flat(metric: search.Metric) -> None:
    returns = noise(9, 60, 3)
    returns[:10] = 0.0

    found = validate(table_of(returns), Scheme(name="walk_forward"), metric, samples=100)

    assert (found.rows[0].chosen, found.rows[0].net_return, found.rows[0].outside) == (None, 0.0, None)


@pytest.mark.parametrize("name", NAMES)
def test_a_span_too_short_for_its_folds_is_refused_before_anything_runs(name: str) -> None:
    blocks = 6 if name in ("walk_forward", "rolling") else 5
    scheme = msgspec.convert({"name": name}, Scheme)

    scheme.check(5 * blocks)
    with pytest.raises(ConfigError, match=f"--validate {name}: {5 * blocks - 1} days cannot be cut into {blocks} blocks"):
        scheme.check(5 * blocks - 1)


# --- the search ----------------------------------------------------------------------------------------------------------


def searched(home: Path, scheme: Scheme | None = None, kind: search.Kind = "full", jobs: int = 1) -> tuple[Outcome, Trust, int]:
    axes = ["fast_period=2:9", "slow_period=25:60:5"]
    plan = Plan(space_of("ema_cross", axes), kind, 0 if kind == "full" else 40, 3, "sharpe")
    with Registry(home / "trials.db") as registry:
        one = Search(market_of(1500, minutes=60), plan, home, registry, jobs=jobs)
        outcome = one.run()
        return outcome, judged(one, outcome, scheme), registry.count().evaluations


@pytest.mark.parametrize("kind", ["full", "random", "tpe"])
def test_a_search_has_the_daily_returns_of_its_configurations(tmp_path: Path, kind: search.Kind) -> None:
    outcome, _, _ = searched(tmp_path, kind=kind)

    table = outcome.table
    assert sorted(table.points) == sorted(outcome.found)
    for point, r in zip(table.points, table.returns.T, strict=True):
        row = outcome.found[point]
        assert math.prod(1.0 + x for x in r.tolist()) - 1.0 == pytest.approx(row.net_return, abs=1e-9)
        assert statistics.fmean(r.tolist()) / statistics.stdev(r.tolist()) == pytest.approx(row.sharpe)


def test_judging_counts_nothing_and_is_stored_the_same_by_any_number_of_processes(tmp_path: Path) -> None:
    scheme = Scheme(name="walk_forward", folds=4)
    outcome, one, before = searched(tmp_path / "one", scheme)
    _, two, _ = searched(tmp_path / "two", scheme, jobs=2)
    again, _, evaluations = searched(tmp_path / "one", scheme)

    assert one == two
    assert msgspec.convert(json.loads((outcome.folder / "trust.json").read_text()), Trust) == one
    assert (again.evaluated, evaluations, before) == (0, before, len(outcome.found))


def test_a_search_whose_returns_are_gone_evaluates_those_chunks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CHUNK", 16)
    first, one, _ = searched(tmp_path)
    (first.folder / "returns_000001.npy").unlink()

    again, two, _ = searched(tmp_path)

    assert again.evaluated == 16
    assert one == two


def test_of_too_many_a_seeded_sample_is_kept_with_the_best_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mia.backtest.grid.kept.CONFIGS_MAX", 10)

    outcome, trust, _ = searched(tmp_path)

    best = {search.best_first(outcome.found, metric)[0] for metric in ("sharpe", "net_return")}
    assert best <= set(outcome.table.points)
    assert 10 <= len(outcome.table.points) <= 12
    assert (trust.searched, trust.considered) == (64, len(outcome.table.points))


def test_the_same_seed_keeps_the_same_places() -> None:
    flags = Kept(50_000, 365, 4).flags(0, 50_000)

    assert sum(flags) == 10_000
    assert flags == Kept(50_000, 365, 4).flags(0, 50_000)
    assert flags[300:700] == Kept(50_000, 365, 4).flags(300, 400)
    assert flags != Kept(50_000, 365, 5).flags(0, 50_000)


@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_block_that_begins_anew_is_a_run_of_that_span_alone(monkeypatch: pytest.MonkeyPatch, is_compiled: bool) -> None:
    prepared = prepared_of("donchian")
    values = {**dict(space_of("donchian", []).config(0) or {}), "entry_period": 20, "exit_period": 10}
    cells = Cells(prepared)
    if not is_compiled:
        monkeypatch.setattr(cells, "_fill_signals", lambda _: False)
    days = len(cells.day_ns) - 1
    blocks = [(0, 20), (20, 41), (41, days)]

    (found,) = cells.evaluate_blocks([values], blocks)

    for first, stop in blocks:
        from_ns, to_ns = int(cells.day_ns[first]), int(cells.day_ns[stop])
        cut = prepared.bars[0].between(from_ns if first else 0, to_ns, 400)
        lane = msgspec.structs.replace(prepared.spec.lanes[0], params=values)
        spec = msgspec.structs.replace(prepared.spec, lanes=(lane,), data=(cut.facts,), from_ns=from_ns if first else 0)
        marks = execute(msgspec.structs.replace(prepared, spec=spec, bars=(cut,)), compiled=False).gathered.marks
        total = int(marks.equity_e8[-1]) / int(marks.equity_e8[0]) - 1.0
        assert math.prod(1.0 + x for x in found[first:stop].tolist()) - 1.0 == pytest.approx(total, abs=1e-12)
        assert total != 0.0


@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_block_that_begins_on_days_without_bars_has_nothing_of_the_block_before_it(
    monkeypatch: pytest.MonkeyPatch, is_compiled: bool
) -> None:
    prepared = prepared_of("donchian")
    history = prepared.bars[0]
    rows = np.flatnonzero((history.open_ns // DAY_NS + 3) % 7 < 5)  # no bars at weekends
    cut = history._replace(open_ns=history.open_ns[rows], close_ns=history.close_ns[rows], rows=history.rows[rows])
    cells = Cells(msgspec.structs.replace(prepared, bars=(cut,)))
    values = {**dict(space_of("donchian", []).config(0) or {}), "entry_period": 20, "exit_period": 10}
    if not is_compiled:
        monkeypatch.setattr(cells, "_fill_signals", lambda _: False)
    first = 8  # 2024-03-01 was a Friday, so that this day is a Saturday

    (found,) = cells.evaluate_blocks([values], [(0, first), (first, 15), (15, 17)])
    (alone,) = cells.evaluate_blocks([values], [(first + 2, 15)])

    assert found[:first].any()
    assert found[first:15].tolist() == [0.0, 0.0, *alone.tolist()]
    assert found[15:].tolist() == [0.0, 0.0]  # a block of nothing but a weekend


def test_an_account_that_is_gone_returns_minus_one_once_and_nothing_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = Cells(prepared_of("ema_cross"))
    equity = np.full(cells.n, cells.prepared.spec.cash_e8, np.int64)
    equity[400:] = 0

    cells._row(equity, 0, 0.0, 0, False, by_engine=False)

    r = cells._returns
    gone = int(np.flatnonzero(r == -1.0)[0])
    assert cells.day_ns[gone] < cells.prepared.bars[0].close_ns[400] <= cells.day_ns[gone + 1]
    assert (np.count_nonzero(r), math.prod((1.0 + r).tolist())) == (1, 0.0)


def test_days_that_only_warm_up_are_no_days_of_a_configuration() -> None:
    prepared = prepared_of("ema_cross")
    from_ns = int(prepared.bars[0].close_ns[700])
    spec = msgspec.structs.replace(prepared.spec, from_ns=from_ns)

    cells = Cells(msgspec.structs.replace(prepared, spec=spec))

    assert cells.day_ns[0] == from_ns
    assert len(cells.day_ns) < len(Cells(prepared).day_ns)
