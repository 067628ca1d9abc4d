"""Members run alone, each through the whole engine, and what weights are fitted on: their returns, wishes and the market, bar by bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mia.assemble import calendar_files, load_strategy
from mia.backtest.ensemble.weights import Past
from mia.backtest.run.counting import counted_run
from mia.backtest.run.gathered import ACTED, Marks
from mia.backtest.run.prepare import MARK_EVERY_NS, SIM_BARS, Params, Prepared, Request, prepare
from mia.backtest.run.result import Result
from mia.domain.errors import ConfigError, DataError
from mia.domain.sizing import Terms
from mia.features.bars import BarSpec
from mia.policy.strategy import Strategy
from mia.risk.windows import load_windows

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_RULE: Final = "rule:"
_MS: Final = 1_000_000


class Member(NamedTuple):
    """strategy: rule:NAME, or a bundle's name or path; params: of a rule."""

    strategy: str
    params: Params

    @property
    def is_rule(self) -> bool:
        """Or a model."""
        return self.strategy.startswith(_RULE)

    @property
    def text(self) -> str:
        """As on the command line."""
        return ",".join([self.strategy, *(f"{name}={value}" for name, value in self.params.items())])


class Track(NamedTuple):
    """Members side by side: when each bar ended, int64[n], and what weights are fitted on, in the order of the members.

    With several instruments a bar ends when one of any of them does, and returns are those of the account that holds them all. On events
    a bar is `every_ns` long (0: bars of files).
    """

    names: tuple[str, ...]
    members: tuple[Member, ...]
    strategies: tuple[Strategy, ...]
    close_ns: I64
    past: Past
    prepared: Prepared  # of the first member
    notes: tuple[str, ...]
    every_ns: int


def run_members(request: Request, members: Sequence[Member]) -> Track:
    """Run each member alone over the request's history; ConfigError and DataError name what does not fit.

    request: its strategy and params are not looked at. The drawdown stop is lifted: it would end a member's past with one bad month, and
    a member that is stopped looks like one without risk. Rules decide when the models among the members do, as they will beside them.
    """
    risk = msgspec.structs.replace(request.settings.risk, drawdown_max=1.0)
    windows = load_windows(*calendar_files())
    request = msgspec.structs.replace(request, settings=msgspec.structs.replace(request.settings, risk=risk))
    if len({m.text for m in members}) != len(members):
        raise ConfigError("a member is named twice")
    lead = next((m for m in members if not m.is_rule), members[0])
    first = prepare(_of(request, lead))
    model = _loaded(first)
    if not first.bars and request.timeframe is None and not lead.is_rule:
        request = msgspec.structs.replace(request, timeframe=model.bar)
    strategies, results, notes = [], [], []
    for member in members:
        prepared = first if member is lead else prepare(_of(request, member))
        if member.is_rule and not lead.is_rule:
            prepared = _decides_as(prepared, model)
        strategy = _loaded(prepared)
        _check_kind(member, strategy, model, prepared)
        result = counted_run(prepared, windows).result
        if not result.gathered.fills:
            notes.append(f"{strategy.name}: never traded")
        strategies.append(strategy)
        results.append(result)
    every_ns = 0 if first.bars else max(BarSpec.parse(SIM_BARS).interval_ns, BarSpec.parse(model.bar).interval_ns)
    close_ns, past = _past(first, results, every_ns)
    if every_ns:
        notes.append(f"returns are taken every {every_ns / 1e9:g} s")
    return Track(
        tuple(s.name for s in strategies), tuple(members), tuple(strategies), close_ns, past, first, (*first.notes, *notes), every_ns
    )  # fmt: skip


def _of(request: Request, member: Member) -> Request:
    return msgspec.structs.replace(request, strategy=member.strategy, params=member.params)


def _loaded(prepared: Prepared) -> Strategy:
    return load_strategy(prepared.spec.lanes[0], prepared.spec.instruments[0].family)


def _decides_as(prepared: Prepared, model: Strategy) -> Prepared:
    lanes = tuple(
        msgspec.structs.replace(lane, trigger=model.trigger, min_interval_ms=model.min_interval_ns // _MS) for lane in prepared.spec.lanes
    )
    return msgspec.structs.replace(prepared, spec=msgspec.structs.replace(prepared.spec, lanes=lanes))


def _check_kind(member: Member, strategy: Strategy, model: Strategy, prepared: Prepared) -> None:
    """Found before hours of runs rather than when the ensemble is made of them."""
    if prepared.bars and strategy.bar != prepared.bars[0].bars.text:
        raise ConfigError(f"member {member.text}: decides on {strategy.bar} bars, the files hold {prepared.bars[0].bars.text}")
    for what in ("bar", "trigger", "min_interval_ns"):
        own, common = getattr(strategy, what), getattr(model, what)
        if own != common:
            raise ConfigError(f"member {member.text}: {what} {own}, {model.name} has {common}: members decide at the same moments")


def ends(marks: Marks, every_ns: int) -> I64:
    """Numbers of the marks at which bars end: each after the start, or (on events) those that lie every_ns apart.

    The last mark of events is that of the last event, which stands between two ends.
    """
    n = len(marks.ts_ns)
    return np.arange(0, n - 1, max(1, every_ns // MARK_EVERY_NS)) if every_ns else np.arange(1, n)


def _past(prepared: Prepared, results: Sequence[Result], every_ns: int) -> tuple[I64, Past]:
    spec = prepared.spec
    marks = results[0].gathered.marks
    at = ends(marks, every_ns)
    inside = np.flatnonzero(marks.ts_ns[at] > spec.from_ns)
    inside = inside[inside > 0]  # a return needs the bar before it
    if len(inside) < 2:
        raise DataError(f"{', '.join(name for facts in spec.data for name in facts.files)}: {len(inside)} bars to trade on are too few")
    now, before = at[inside], at[inside - 1]
    returns, wanted = [], []
    for result in results:
        own = result.gathered.marks
        assert np.array_equal(own.ts_ns, marks.ts_ns)  # one history
        equity = own.equity_e8.astype(np.float64)
        if (equity <= 0.0).any():
            raise DataError(f"{result.strategies[0][0]}: its equity fell to 0 or below: it has no returns from there on")
        returns.append(equity[now] / equity[before] - 1.0)
        wanted.append(_wanted(result)[before] / equity[before, None])
    return marks.ts_ns[now], Past(np.stack(returns, axis=1), np.stack(wanted, axis=1), _market(prepared, marks, now, before))


def _market(prepared: Prepared, marks: Marks, now: I64, before: I64) -> F64:
    """Returns of the instruments; NaN where one had no bar, or no price yet."""
    mids = marks.mids2.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        moved: F64 = np.where((mids[now] > 0.0) & (mids[before] > 0.0), mids[now] / mids[before] - 1.0, np.nan)
    for i, history in enumerate(prepared.bars):
        moved[~np.isin(marks.ts_ns[now], history.close_ns), i] = np.nan
    return moved


def _wanted(result: Result) -> F64:
    """float64[marks, instruments], notional in 1e-8: of the position that was wanted at each mark, what is held or was just decided."""
    marks, spec = result.gathered.marks, result.spec
    lots = marks.lots.astype(np.float64)
    for d in result.gathered.decisions:  # a lane for each instrument
        if d.decision in ACTED:
            at = int(np.searchsorted(marks.ts_ns, d.first_ns))
            if at < len(lots):
                lots[at, d.lane] = d.target_lots
    units = [Terms.of(i, instrument).unit_e8 for i, instrument in enumerate(spec.instruments)]
    found: F64 = lots * marks.mids2 / 2.0 * np.array(units, dtype=np.float64)
    return found
