"""Searches a space of configurations: every one is in the trial registry before it is evaluated, and a killed search goes on.

A chunk of configurations is opened in the registry, evaluated, written to the folder, then closed: whatever a kill interrupts is counted
once, and the part of it that was lost is evaluated again. The order, the chunks and so the results do not depend on the processes.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args

import msgspec
import numpy as np

from mia.assemble import versions
from mia.backtest.grid.cells import F64, Cells, Row, Values
from mia.backtest.grid.kept import Kept, Table
from mia.backtest.grid.space import Space
from mia.backtest.grid.store import Store
from mia.backtest.run.counting import trial_of as run_trial
from mia.backtest.run.prepare import Prepared
from mia.backtest.run.spec import RunSpec
from mia.backtest.stats.periods import YEAR_DAYS
from mia.backtest.stats.sharpe import deflated_sharpe
from mia.backtest.trials import By, Count, Registry, Score, Trial, digest
from mia.backtest.validation.seal import SealLog
from mia.domain.errors import ConfigError
from mia.policy.rules.registry import rule_values

CHUNK: Final = 250  # configurations in one transaction of the registry: its fsync is shared
BATCH: Final = 32  # of a TPE search: asked at once, told in order, whatever the number of processes
_ASKS_A_POINT: Final = 20  # how often TPE is asked for each configuration before the space counts as exhausted
Metric = Literal["sharpe", "net_return"]
Kind = Literal["full", "random", "tpe"]


class Plan(NamedTuple):
    """What to search: kind, how many (number; 0: all) and the seed of random and TPE; metric: what is best."""

    space: Space
    kind: Kind
    number: int
    seed: int
    metric: Metric


class Progress(NamedTuple):
    """After a chunk. total: configurations to come and done; remaining_s: at the pace of this process, None before it has one."""

    done: int
    total: int
    evaluated: int
    remaining_s: float | None


class Outcome(NamedTuple):
    """found: rows by point in the order of the search; evaluated: by this process, the rest earlier. asked: of the registry, on this data.

    deflated: probability that the best one's Sharpe ratio is above the best to expect of so many trials without skill; None: no ratio, or
    fewer than two trials with one. table: daily returns, the best configurations' among them.
    """

    id: str
    folder: Path
    found: dict[int, Row]
    evaluated: int
    asked: Count
    deflated: float | None
    table: Table


class _Unit(NamedTuple):
    number: int
    points: list[int]
    kept: list[bool]  # whose daily returns are kept

    @property
    def kept_points(self) -> list[int]:
        return [point for point, is_kept in zip(self.points, self.kept, strict=True) if is_kept]


def trial_of(spec: RunSpec, values: Values) -> Trial:
    """The trial that `mia backtest run` would enter for these parameters: a configuration counts once, whoever asked."""
    return _with(run_trial(spec), spec.lanes[0].rule, values)


def _with(trial: Trial, rule: str, values: Values) -> Trial:
    return msgspec.structs.replace(trial, params={**rule_values(rule, values), "bars": trial.params["bars"]})


def score_of(row: Row, metric: Metric) -> Score:
    """As the registry stores it; the ratio is of daily returns."""
    value = row.net_return if metric == "net_return" else row.sharpe * YEAR_DAYS**0.5
    return Score(
        metric=metric, value=value, sharpe=row.sharpe, periods=int(row.periods),
        periods_per_year=YEAR_DAYS, skew=row.skew, kurtosis=row.kurtosis,
    )  # fmt: skip


def id_of(spec: RunSpec, plan: Plan) -> str:
    """12 digits of the digest of all that decides the results of a search."""
    whole = {"space": plan.space, "kind": plan.kind, "count": plan.number, "seed": plan.seed, "versions": versions(), **spec.facts()}
    if plan.kind == "tpe":
        whole["metric"] = plan.metric
    return digest(msgspec.to_builtins(whole, str_keys=True))[:12]


def best_first(found: dict[int, Row], metric: Metric) -> list[int]:
    """Points by the metric, best first, those without one last; equal ones in the order of the search."""
    place = Row._fields.index(metric)
    return sorted(found, key=lambda point: (found[point][place] != found[point][place], -found[point][place]))


_cells: Cells | None = None  # of a worker process, which has the history from its parent


def _follow_parent() -> None:
    """End this process when the parent is gone, killed too: its queue alone would let it wait forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


_T = TypeVar("_T")
_Done = tuple[list[Row], F64]  # rows, and the daily returns of those that are kept


def _work(configs: Sequence[Values], kept: Sequence[bool]) -> _Done:
    assert _cells is not None
    return _cells.evaluate_kept(configs, kept)


def _work_blocks(configs: Sequence[Values], blocks: Sequence[tuple[int, int]]) -> F64:
    assert _cells is not None
    return _cells.evaluate_blocks(configs, blocks)


class _Workers:
    """Evaluates lists of configurations in order, here or in processes; at most two lists wait for each process."""

    def __init__(self, cells: Cells, jobs: int) -> None:
        global _cells
        self.jobs = jobs
        _cells = cells
        context = multiprocessing.get_context("fork")  # the history and its columns are shared, not sent
        self._pool = concurrent.futures.ProcessPoolExecutor(jobs, context, _follow_parent) if jobs > 1 else None

    def submit(self, work: Callable[[Sequence[Values], Any], _T], configs: Sequence[Values], argument: object) -> Callable[[], _T]:
        if self._pool is None:
            return lambda: work(configs, argument)
        return self._pool.submit(work, configs, argument).result

    def close(self) -> None:
        global _cells
        _cells = None
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


class Search:
    """One search, from its plan to its outcome; see `run`."""

    def __init__(self, prepared: Prepared, plan: Plan, folder: Path, registry: Registry, *, by: By = "user", jobs: int = 0) -> None:
        """folder: that of all searches, this one gets its own in it; jobs: processes, 0 for one on each core."""
        self.plan = plan
        self.id = id_of(prepared.spec, plan)
        self.jobs = jobs or len(os.sched_getaffinity(0))
        self._spec = prepared.spec
        self._trial: Final = run_trial(prepared.spec)
        self._cells = Cells(prepared)
        self.store = Store(folder / self.id)
        self._registry = registry
        self._by: By = by
        self._found: dict[int, Row] = {}
        self._units: list[_Unit] = []  # those that are done
        self._evaluated = 0

    @property
    def days(self) -> int:
        """Of which each configuration has a return."""
        return len(self._cells.day_ns) - 1

    def run(self, progress: Callable[[Progress], None] = lambda _: None) -> Outcome:
        """Search, or go on with a search that was cut off; ConfigError where there is nothing to search."""
        plan, space = self.plan, self.plan.space
        if plan.kind == "tpe":
            self._tpe(progress)
        else:
            points = space.full() if plan.kind == "full" else space.random(plan.number, plan.seed)
            self._cells.learn(self._config(point) for point in points)  # before the processes: they share it
            kept = Kept(len(points), self.days, plan.seed)
            chunks = [points[start : start + CHUNK] for start in range(0, len(points), CHUNK)]
            units = [_Unit(k, chunk, kept.flags(k * CHUNK, len(chunk))) for k, chunk in enumerate(chunks)]
            self._all(units, len(points), progress)
        self.store.finish(space, self._found)
        count = self._registry.count(data=sorted(SealLog().related(sha256 for d in self._spec.data for sha256 in d.sha256)))
        best = self._found[best_first(self._found, "sharpe")[0]]
        return Outcome(self.id, self.store.folder, self._found, self._evaluated, count, deflated(best, count), self._table())

    def _table(self) -> Table:
        """The returns that were kept, and those of the best by each measure when they are not among them."""
        points = [point for unit in self._units for point in unit.kept_points]
        best = [best_first(self._found, metric)[0] for metric in get_args(Metric)]
        absent = [point for point in dict.fromkeys(best) if point not in set(points)]
        returns = np.zeros((self.days, len(points) + len(absent)))
        at = 0
        for unit in self._units:
            kept = self.store.returns(unit.number, len(unit.kept_points))
            assert kept is not None  # written before the chunk that was read
            returns[:, at : at + len(kept)] = kept.T
            at += len(kept)
        if absent:
            returns[:, at:] = self._cells.evaluate_kept([self._config(point) for point in absent], [True] * len(absent))[1].T
        return Table(points + absent, returns, self._cells.day_ns, self._cells.market_returns(), len(self._found))

    def restarted(self, table: Table, blocks: Sequence[tuple[int, int]]) -> Table:
        """The same configurations with the account begun anew in each block of days: no stop of one block reaches into another.

        They are not counted again: nothing new is tried, the choice among them is judged.
        """
        configs = [self._config(point) for point in table.points]
        self._cells.learn(configs)
        workers = _Workers(self._cells, self.jobs)
        try:
            parts = [workers.submit(_work_blocks, configs[start : start + CHUNK], blocks) for start in range(0, len(configs), CHUNK)]
            returns = np.concatenate([part() for part in parts])
        finally:
            workers.close()
        return table._replace(returns=np.ascontiguousarray(returns.T))

    def _config(self, point: int) -> Values:
        values = self.plan.space.config(point)
        assert values is not None
        return values

    def _all(self, units: Iterable[_Unit], total: int, progress: Callable[[Progress], None]) -> None:
        started = time.monotonic()
        workers = _Workers(self._cells, self.jobs)
        waiting: deque[tuple[_Unit, list[int], Callable[[], _Done]]] = deque()
        try:
            for unit in units:
                rows = self._known(unit)
                if rows is not None:
                    self._found.update(zip(unit.points, rows, strict=True))
                    continue
                configs = [self._config(point) for point in unit.points]
                tickets = self._registry.open([_with(self._trial, self._spec.lanes[0].rule, values) for values in configs], self._by)
                waiting.append((unit, tickets, workers.submit(_work, configs, unit.kept)))
                while len(waiting) >= (2 * workers.jobs if workers.jobs > 1 else 1):
                    self._finish(*waiting.popleft())
                    progress(self._progress(total, started))
            while waiting:
                self._finish(*waiting.popleft())
                progress(self._progress(total, started))
        finally:
            workers.close()
        order = [point for unit in units for point in unit.points] if isinstance(units, list) else list(self._found)
        self._found = {point: self._found[point] for point in order}
        self._units.sort()

    def _known(self, unit: _Unit) -> list[Row] | None:
        """The rows of a chunk that was written before; counted now if the kill came between writing and closing."""
        rows = self.store.read(unit.number, unit.points)
        if rows is None or self.store.returns(unit.number, len(unit.kept_points)) is None:
            return None
        self._units.append(unit)
        trials = [_with(self._trial, self._spec.lanes[0].rule, self._config(point)) for point in unit.points]
        scored = self._registry.scores(trial.key for trial in trials)
        open_ = [(trial, row) for trial, row in zip(trials, rows, strict=True) if trial.key not in scored]
        if open_:
            tickets = self._registry.open([trial for trial, _ in open_], self._by)
            self._registry.close((t, score_of(row, self.plan.metric)) for t, (_, row) in zip(tickets, open_, strict=True))
        return rows

    def _finish(self, unit: _Unit, tickets: list[int], result: Callable[[], _Done]) -> None:
        rows, returns = result()
        self.store.write(unit.number, unit.points, rows, returns)
        self._units.append(unit)
        self._registry.close((t, score_of(row, self.plan.metric)) for t, row in zip(tickets, rows, strict=True))
        self._found.update(zip(unit.points, rows, strict=True))
        self._evaluated += len(rows)

    def _progress(self, total: int, started: float) -> Progress:
        pace = self._evaluated / max(time.monotonic() - started, 1e-9)
        return Progress(len(self._found), total, self._evaluated, (total - len(self._found)) / pace if self._evaluated else None)

    # --- TPE ------------------------------------------------------------------------------------------------------------------
    def _tpe(self, progress: Callable[[Progress], None]) -> None:
        started = time.monotonic()
        study = _study(self.plan.seed)
        workers = _Workers(self._cells, self.jobs)
        kept = Kept(self.plan.number, self.days, self.plan.seed)
        number = asks = 0
        try:
            while len(self._found) < self.plan.number and asks < _ASKS_A_POINT * self.plan.number:
                size = min(BATCH, self.plan.number - len(self._found))
                asked = [(trial, self._suggested(trial)) for trial in (study.ask() for _ in range(size))]
                asks += size
                distinct = dict.fromkeys(point for _, point in asked)
                new = [p for p in distinct if p not in self._found and self.plan.space.config(p) is not None]
                if new:
                    self._batch(_Unit(number, new, kept.flags(len(self._found), len(new))), workers)
                    number += 1
                    progress(self._progress(self.plan.number, started))
                for trial, point in asked:
                    row = self._found.get(point)
                    value = None if row is None else row[Row._fields.index(self.plan.metric)]
                    _tell(study, trial, value)
        finally:
            workers.close()
        if not self._found:
            raise ConfigError(f"grid: TPE found no valid configuration of {self.plan.space.rule} in {asks} tries")

    def _suggested(self, trial: Any) -> int:
        space = self.plan.space
        return space.point([trial.suggest_int(name, 0, len(values) - 1) for name, values in zip(space.names, space.values, strict=True)])

    def _batch(self, unit: _Unit, workers: _Workers) -> None:
        rows = self._known(unit)
        if rows is not None:
            self._found.update(zip(unit.points, rows, strict=True))
            return
        configs = [self._config(point) for point in unit.points]
        tickets = self._registry.open([_with(self._trial, self._spec.lanes[0].rule, values) for values in configs], self._by)
        size = -(-len(configs) // workers.jobs)
        spans = [slice(start, start + size) for start in range(0, len(configs), size)]
        self._finish(unit, tickets, _joined([workers.submit(_work, configs[span], unit.kept[span]) for span in spans]))


def _joined(parts: Sequence[Callable[[], _Done]]) -> Callable[[], _Done]:
    def result() -> _Done:
        done = [part() for part in parts]
        return [row for rows, _ in done for row in rows], np.concatenate([returns for _, returns in done])

    return result


def _study(seed: int) -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError("--tpe needs Optuna: pip install 'mia[train]', or use --random N") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))


def _tell(study: Any, trial: Any, value: float | None) -> None:
    """A configuration that is not valid, or has no score, is no observation."""
    from optuna.trial import TrialState

    if value is None or value != value:
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, value)


def deflated(best: Row, count: Count) -> float | None:
    """Deflated Sharpe ratio of the best configuration (Bailey and Lopez de Prado 2014), from all trials on its data."""
    variance = count.variance(YEAR_DAYS)
    if variance is None or best.sharpe != best.sharpe or best.periods < 2:
        return None
    return deflated_sharpe(best.sharpe, int(best.periods), best.skew, best.kurtosis, count.trials, variance)
