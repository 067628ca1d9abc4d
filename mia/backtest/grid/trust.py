"""How far to trust the best of a search: the chance that the search is overfitted, whether any configuration beats doing nothing and
holding, and what its choice came to out of sample. Written beside the results."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from mia.backtest.grid.kept import F64, I64, Table
from mia.backtest.grid.search import Outcome, Search, best_first
from mia.backtest.grid.validate import Scheme, Validation, validate
from mia.backtest.stats.overfit import BLOCKS, Overfit, Superior, overfit, superior
from mia.domain.errors import DataError

FILE: Final = "trust.json"
_STOPPED_MAX: Final = 0.1  # share of configurations that met the drawdown stop, beyond which flat days would decide
SAMPLES: Final = 1_000  # of Hansen's test
_NUMBERS_MAX: Final = 1_000_000_000  # drawn for one of its tests: some 2 s of a core
_STREAM: Final = 9


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """searched: configurations; considered: whose daily returns the figures are of (all, or a seeded sample with the best ones).

    overfit: PBO by CSCV; is_restarted: of accounts that begin anew in each of its blocks, since many had met the drawdown stop and their
    flat days would decide. against_flat, against_market: Hansen's SPA over `tested` configurations, the market held without costs; their
    `best` is a point of the search. Where one is None, *_why says why.
    """

    searched: int
    considered: int
    days: int
    overfit: Overfit | None
    overfit_why: str
    is_restarted: bool
    tested: int
    against_flat: Superior | None
    against_flat_why: str
    against_market: Superior | None
    against_market_why: str
    validation: Validation | None


def judged(search: Search, outcome: Outcome, scheme: Scheme | None = None, say: Callable[[str], None] = lambda _: None) -> Trust:
    """Of a search that is done, written beside its results; the choice is that of the plan's metric. say: told what takes long."""
    plan, table, days = search.plan, outcome.table, search.days
    halved = None
    if sum(row.is_stopped for row in outcome.found.values()) > _STOPPED_MAX * len(outcome.found) and days >= 2 * BLOCKS:
        say(f"{len(table.points)} configurations again in {BLOCKS} blocks, since the drawdown stop had ended many of their runs")
        halved = search.restarted(table, _halving_blocks(days))
    validation = None
    if scheme is not None:
        say(f"{len(table.points)} configurations again in {len(scheme.blocks(days))} blocks of days, for {scheme.name}")
        validation = validate(search.restarted(table, scheme.blocks(days)), scheme, plan.metric, seed=plan.seed)
    best = best_first(outcome.found, plan.metric)[0]
    trust = trust_of(table, best, halved, validation, seed=plan.seed)
    search.store.write_text(FILE, msgspec.json.format(msgspec.json.encode(trust, order="deterministic"), indent=1) + b"\n")
    return trust


def _halving_blocks(days: int) -> list[tuple[int, int]]:
    """Those of CSCV, and before them the days that do not fill them."""
    length = days // BLOCKS
    edges = list(range(days - length * BLOCKS, days + 1, length))
    return list(itertools.pairwise(([0] if edges[0] else []) + edges))


def trust_of(table: Table, best: int, halved: Table | None = None, validation: Validation | None = None, *, seed: int = 0) -> Trust:
    """best: point of the best configuration, which is among those that Hansen's test looks at. halved: of accounts that begin anew in each
    block of CSCV, in place of the table there. Same input and seed, same figures."""
    found = _overfit(halved or table)
    columns = _columns(table, best, seed)
    flat, market = (_superior(table, columns, benchmark, seed) for benchmark in (None, table.market))
    return Trust(
        searched=table.searched,
        considered=len(table.points),
        days=len(table.returns),
        overfit=found if isinstance(found, Overfit) else None,
        overfit_why=found if isinstance(found, str) else "",
        is_restarted=halved is not None,
        tested=len(columns),
        against_flat=flat if isinstance(flat, Superior) else None,
        against_flat_why=flat if isinstance(flat, str) else "",
        against_market=market if isinstance(market, Superior) else None,
        against_market_why=market if isinstance(market, str) else "",
        validation=validation,
    )


def _overfit(table: Table) -> Overfit | str:
    if len(table.points) < 2:
        return "1 configuration"
    try:
        return overfit(table.returns)
    except DataError:
        return f"{len(table.returns)} days"


def _superior(table: Table, columns: I64, benchmark: F64 | None, seed: int) -> Superior | str:
    better = table.returns[:, columns] if benchmark is None else table.returns[:, columns] - benchmark[:, None]
    try:
        found = superior(better, seed=seed, samples=SAMPLES)
    except DataError as e:
        return f"{len(table.returns)} days" if len(table.returns) < 10 else str(e).partition(": ")[2]
    return msgspec.structs.replace(found, best=table.points[int(columns[found.best])])


def _columns(table: Table, best: int, seed: int) -> I64:
    """All of them, or where resampling so many takes long a sample with the best one in it."""
    count = len(table.points)
    limit = max(10, _NUMBERS_MAX // (SAMPLES * len(table.returns)))
    if count <= limit:
        return np.arange(count)
    random = np.random.Generator(np.random.Philox(key=[seed, _STREAM]))
    chosen = random.choice(count, limit - 1, replace=False)
    return np.unique(np.append(chosen, table.points.index(best))).astype(np.int64)
