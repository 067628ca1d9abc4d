"""A search counts every configuration once, gives the same whatever the processes, and goes on after kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars
import pytest

from mia.backtest.grid import search
from mia.backtest.grid.bench import market_of
from mia.backtest.grid.cells import Row
from mia.backtest.grid.search import Outcome, Plan, Search, best_first, trial_of
from mia.backtest.grid.space import Space, space_of
from mia.backtest.stats.sharpe import deflated_sharpe
from mia.backtest.trials import Registry

AXES = ["fast_period=2:21", "slow_period=25:60:5"]
_CHILD = """
import sys, time
from pathlib import Path
from mia.backtest.grid import search
from mia.backtest.grid.bench import market_of
from mia.backtest.grid.space import space_of
from mia.backtest.trials import Registry
home, chunk, bars, pause, *axes = sys.argv[1:]
search.CHUNK = int(chunk)
plan = search.Plan(space_of("ema_cross", axes), "full", 0, 0, "sharpe")
def report(p):
    time.sleep(float(pause))
    print(p.done, flush=True)
with Registry(Path(home) / "trials.db") as registry:
    search.Search(market_of(int(bars), minutes=60), plan, Path(home), registry, jobs=2).run(report)
"""


def searched(home: Path, plan: Plan, *, jobs: int = 1, bars: int = 400) -> tuple[Outcome, int, int]:
    """(outcome, trials, evaluations in the registry)."""
    with Registry(home / "trials.db") as registry:
        outcome = Search(market_of(bars, minutes=60), plan, home, registry, jobs=jobs).run()
        count = registry.count()
    return outcome, count.trials, count.evaluations


def plan_of(kind: search.Kind = "full", count: int = 0, axes: list[str] = AXES, seed: int = 3) -> Plan:
    return Plan(space_of("ema_cross", axes), kind, count, seed if kind != "full" else 0, "sharpe")


def text_of(found: dict[int, Row]) -> str:
    return repr(list(found.items()))  # NaN is equal to itself here


def test_every_configuration_is_counted_and_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CHUNK", 50)
    plan = plan_of()
    outcome, trials, evaluations = searched(tmp_path, plan)
    assert (len(outcome.found), outcome.evaluated, trials, evaluations) == (160, 160, 160, 160)
    table = polars.read_parquet(outcome.folder / "results.parquet")
    assert table.select("fast_period", "slow_period").rows() == [(f, s) for f in range(2, 22) for s in range(25, 61, 5)]
    assert table["net_return"].to_list() == [row.net_return for row in outcome.found.values()]


def test_the_registry_holds_the_score_of_each(tmp_path: Path) -> None:
    plan = plan_of(axes=["fast_period=3,5"])
    outcome, _, _ = searched(tmp_path, plan, bars=1500)
    spec = market_of(1500, minutes=60).spec
    with Registry(tmp_path / "trials.db") as registry:
        for point, row in outcome.found.items():
            trial = trial_of(spec, plan.space.config(point) or {})
            (score,) = registry.scores([trial.key]).values()
            assert (score.sharpe, score.periods) == (row.sharpe, row.periods)
            assert score.value == pytest.approx(row.sharpe * 365.25**0.5)


def test_the_same_grid_again_evaluates_nothing_and_counts_nothing(tmp_path: Path) -> None:
    first, *_ = searched(tmp_path, plan_of())
    again, trials, evaluations = searched(tmp_path, plan_of())
    assert (again.evaluated, trials, evaluations) == (0, 160, 160)
    assert text_of(again.found) == text_of(first.found)


@pytest.mark.parametrize("kind", ["full", "random", "tpe"])
def test_processes_change_no_result(tmp_path: Path, kind: search.Kind) -> None:
    plan = plan_of(kind, 0 if kind == "full" else 70)
    one, *_ = searched(tmp_path / "one", plan, jobs=1, bars=1000)
    two, *_ = searched(tmp_path / "two", plan, jobs=2, bars=1000)
    assert text_of(one.found) == text_of(two.found)


def test_tpe_goes_on_from_where_it_was_and_counts_each_point_once(tmp_path: Path) -> None:
    plan = plan_of("tpe", 70)
    first, trials, _ = searched(tmp_path, plan, bars=1000)
    assert len(first.found) == trials == 70
    chunks = sorted(first.folder.glob("chunk_*"))
    for chunk in chunks[1:]:
        chunk.unlink()
    again, trials, evaluations = searched(tmp_path, plan, bars=1000)
    kept = 70 - again.evaluated
    assert (0 < kept < 70, trials, evaluations) == (True, 70, 70 + again.evaluated)
    assert text_of(again.found) == text_of(first.found)


def test_results_that_no_registry_knows_are_counted_before_they_are_shown(tmp_path: Path) -> None:
    searched(tmp_path, plan_of())
    for path in tmp_path.glob("trials.db*"):
        path.unlink()
    again, trials, _ = searched(tmp_path, plan_of())
    assert (again.evaluated, trials) == (0, 160)


def killed(home: Path, axes: list[str], *, chunk: int, bars: int, after: int, pause: float) -> int:
    """Start a search in a process, kill -9 it when `after` configurations are done; how many it had reported."""
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(home), str(chunk), str(bars), str(pause), *axes], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    done = 0
    for line in child.stdout:
        done = int(line)
        if done >= after:
            break
    workers = [int(p) for p in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()]
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 10.0
    while any(Path(f"/proc/{pid}").exists() and _is_ours(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}").exists() and _is_ours(pid) for pid in workers), "a process outlived its parent"
    return done


def _is_ours(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def goes_on_after_kills(home: Path, axes: list[str], *, chunk: int, bars: int, kills: tuple[int, ...], pause: float) -> None:
    space: Space = space_of("ema_cross", axes)
    total = len(space.full())
    for after in kills:
        assert killed(home, axes, chunk=chunk, bars=bars, after=after, pause=pause) < total
    outcome, trials, evaluations = searched(home, plan_of(axes=axes), jobs=2, bars=bars)
    assert 0 < outcome.evaluated < total
    assert len(outcome.found) == trials == total
    assert total <= evaluations <= total + len(kills) * 5 * chunk  # what was under way when the kill came is evaluated again
    with Registry(home / "trials.db") as registry:
        assert registry.count().unclosed == 0
    fresh, *_ = searched(home / "fresh", plan_of(axes=axes), jobs=2, bars=bars)
    assert text_of(outcome.found) == text_of(fresh.found)


def test_a_search_that_is_killed_goes_on_without_losing_or_double_counting_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CHUNK", 8)
    goes_on_after_kills(tmp_path, AXES, chunk=8, bars=400, kills=(24, 64), pause=0.02)


@pytest.mark.slow
def test_ten_thousand_configurations_survive_kills(tmp_path: Path) -> None:
    axes = ["fast_period=2:101", "slow_period=110:209"]
    goes_on_after_kills(tmp_path, axes, chunk=250, bars=2000, kills=(750, 2500, 6000), pause=0.0)


def test_the_best_are_first_and_those_without_a_figure_last() -> None:
    nan = float("nan")
    rows = {7: _row(nan), 1: _row(0.1), 5: _row(0.3), 2: _row(0.1)}
    assert best_first(rows, "sharpe") == [5, 1, 2, 7]


def test_the_best_is_deflated_by_all_trials_on_the_data(tmp_path: Path) -> None:
    outcome, *_ = searched(tmp_path, plan_of(axes=["fast_period=3,5,8"]), bars=2000)
    more, trials, _ = searched(tmp_path, plan_of(axes=["fast_period=3:12"]), bars=2000)
    assert trials == 10
    ratios = [row.sharpe for row in more.found.values()]
    mean = sum(ratios) / 10
    variance = sum((x - mean) ** 2 for x in ratios) / 9
    best = max(more.found.values(), key=lambda row: row.sharpe)
    wanted = deflated_sharpe(best.sharpe, int(best.periods), best.skew, best.kurtosis, 10, variance)
    assert more.deflated == pytest.approx(wanted, rel=1e-9)
    assert outcome.asked.trials == 3


def _row(sharpe: float) -> Row:
    return Row(0.0, sharpe, 0.0, 0.0, 0.0, 0.0, 50.0, 0.0, 3.0, 0.0, 0.0)
