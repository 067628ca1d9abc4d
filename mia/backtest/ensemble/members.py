"""Members run alone, each through the whole engine, and what weights are fitted on: their returns, wishes and the market, bar by bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mia.assemble import calendar_files, load_strategy
from mia.backtest.ensemble.weights import Past
from mia.backtest.run.counting import counted_run
from mia.backtest.run.gathered import ACTED
from mia.backtest.run.prepare import Params, Prepared, Request, prepare
from mia.backtest.run.result import Result
from mia.domain.errors import ConfigError, DataError
from mia.domain.sizing import Terms
from mia.policy.strategy import Strategy
from mia.risk.windows import load_windows

I64 = npt.NDArray[np.int64]


class Member(NamedTuple):
    """strategy: rule:NAME, or a bundle's name or path; params: of a rule."""

    strategy: str
    params: Params

    @property
    def text(self) -> str:
        """As on the command line."""
        return ",".join([self.strategy, *(f"{name}={value}" for name, value in self.params.items())])


class Track(NamedTuple):
    """Members side by side: time of each bar's close, int64[n], and what weights are fitted on, in the order of the members."""

    names: tuple[str, ...]
    members: tuple[Member, ...]
    strategies: tuple[Strategy, ...]
    close_ns: I64
    past: Past
    prepared: Prepared  # of the first member
    notes: tuple[str, ...]


def run_members(request: Request, members: Sequence[Member]) -> Track:
    """Run each member alone over the request's candle files; ConfigError and DataError name what does not fit.

    request: its strategy and params are not looked at. The drawdown stop is lifted: it would end a member's past with one bad month, and
    a member that is stopped looks like one without risk.
    """
    risk = msgspec.structs.replace(request.settings.risk, drawdown_max=1.0)
    windows = load_windows(*calendar_files())
    request = msgspec.structs.replace(request, settings=msgspec.structs.replace(request.settings, risk=risk))
    if not (request.data or request.assets):
        raise ConfigError("weights are fitted on bars: name candle files with --data, or --assets of the catalogue")
    if len({m.text for m in members}) != len(members):
        raise ConfigError("a member is named twice")
    strategies, results, notes = [], [], []
    first: Prepared | None = None
    for member in members:
        prepared = prepare(msgspec.structs.replace(request, strategy=member.strategy, params=member.params))
        if len(prepared.bars) != 1:
            raise ConfigError("weights are fitted on one instrument's candle files: give no recordings and no second one")
        first = first or prepared
        strategy = load_strategy(prepared.spec.lanes[0], prepared.spec.instruments[0].family)
        if strategy.bar != prepared.bars[0].bars.text:
            raise ConfigError(f"member {member.text}: decides on {strategy.bar} bars, the files hold {prepared.bars[0].bars.text}")
        result = counted_run(prepared, windows).result
        if not result.gathered.fills:
            notes.append(f"{strategy.name}: never traded")
        strategies.append(strategy)
        results.append(result)
    assert first is not None
    names = tuple(s.name for s in strategies)
    close_ns, past = _past(first, results)
    return Track(names, tuple(members), tuple(strategies), close_ns, past, first, (*first.notes, *notes))


def _past(prepared: Prepared, results: Sequence[Result]) -> tuple[I64, Past]:
    history = prepared.bars[0]
    inside = np.flatnonzero(history.close_ns > prepared.spec.from_ns)
    inside = inside[inside > 0]  # a return needs the bar before it
    if len(inside) < 2:
        raise DataError(f"{', '.join(history.facts.files)}: {len(inside)} bars to trade on are too few")
    closes = history.rows[:, 3]
    returns, wanted = [], []
    for result in results:
        marks = result.gathered.marks
        equity = marks.equity_e8[1:].astype(np.float64)  # beside the bars; the first mark is the start
        if (equity <= 0.0).any():
            raise DataError(f"{result.strategies[0][0]}: its equity fell to 0 or below: it has no returns from there on")
        returns.append(equity[inside] / equity[inside - 1] - 1.0)
        wanted.append(_wanted(result, history.close_ns, closes)[inside - 1] / equity[inside - 1])
    market = closes[inside] / closes[inside - 1] - 1.0
    return history.close_ns[inside], Past(np.stack(returns, axis=1), np.stack(wanted, axis=1), market)


def _wanted(result: Result, close_ns: I64, closes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Notional, 1e-8, of the position that was wanted after each bar: what is held, or what was just decided."""
    lots = result.gathered.marks.lots[1:, 0].astype(np.float64)
    acted = [(d.first_ns, d.target_lots) for d in result.gathered.decisions if d.decision in ACTED]
    if acted:
        times, targets = zip(*acted, strict=True)
        lots[np.searchsorted(close_ns, np.array(times, dtype=np.int64))] = targets
    return lots * closes * Terms.of(0, result.spec.instruments[0]).unit_e8
