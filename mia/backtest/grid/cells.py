"""Evaluates configurations of one rule on one history: columns shared, signals and account by the kernels that a single run uses.

What the compiled path cannot do is asked of the event engine; the numbers are the same, the time is not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mia.assemble import calendar_files, calendars_of
from mia.backtest.run import fused
from mia.backtest.run.prepare import Prepared, execute
from mia.backtest.run.spec import RunSpec
from mia.backtest.stats.inputs import Track
from mia.backtest.stats.periods import UTC_DAYS, YEAR_NS, period_returns
from mia.backtest.stats.sharpe import moments
from mia.domain.errors import ConfigError
from mia.features import batch
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.bar_account import BarAccount
from mia.kernels.bar_books import FILL_FIELDS, ORDER_FIELDS
from mia.kernels.book import Book
from mia.kernels.marks import deepest_fall
from mia.policy.rules import rule_spec
from mia.risk.windows import load_windows

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Values = Mapping[str, float]
_TOGETHER: Final = 32  # columns computed in one pass over the bars: what a bar costs by itself is shared
_MATRIX_BYTES: Final = 64 << 20  # of one pass, which ends its columns earlier on a long history
_BLOCK: Final = 2048
_COLUMNS_BYTES: Final = 512 << 20  # columns kept; older ones are computed again
_ARENA_BYTES: Final = 64 << 20
_E8: Final = 1e8
_WARM_UP: Final = 2_000  # bars before a block that the event engine is given


class Row(NamedTuple):
    """What came of one configuration. NaN: there is none (too few days, no spread, equity at or below 0).

    sharpe: of daily returns (UTC days), per day, as mia.backtest.stats; periods: days; net_return, max_drawdown (over the marks
    at each bar): shares of 1; turnover: notional of all fills a year, in starting cash; fees: money. is_stopped: the drawdown stop struck.
    by_engine: the event engine was asked.
    """

    net_return: float
    sharpe: float
    max_drawdown: float
    trades: float
    turnover: float
    fees: float
    periods: float
    skew: float
    kurtosis: float
    is_stopped: float
    by_engine: float


class _Column(NamedTuple):
    values: F32  # [n], what a rule reads
    first: int  # the first bar at which it is warm
    is_whole: bool  # finite from there on


class Cells:
    """One history and account for any number of configurations; not thread-safe: it owns the buffers that it works in.

    prepared: of one instrument's candles and a rule; ConfigError for anything else.
    """

    def __init__(self, prepared: Prepared) -> None:
        if len(prepared.bars) != 1 or prepared.events is not None or not prepared.spec.lanes[0].rule:
            raise ConfigError("grid: needs a strategy and the candles of one instrument: --strategy NAME --data FILE")
        self.prepared = prepared
        spec, history = prepared.spec, prepared.bars[0]
        self.rule = spec.lanes[0].rule
        self.n = len(history.close_ns)
        self._spec = rule_spec(self.rule)
        windows = load_windows(*calendar_files())
        family = history.instrument.family
        self._calendar = calendars_of(windows, [family])[family]
        self._account = None if fused.why_not(spec) else memoryview(fused.parameters(spec))
        self._none = np.zeros(0, np.int64)
        self._prices = np.ascontiguousarray(history.rows[:, :4]).astype(np.int64)
        self._open_ns, self._close_ns = (np.require(x, np.int64, ["C", "W"]) for x in (history.open_ns, history.close_ns))
        self._windows = fused.calendar(windows, family, self._open_ns, self._close_ns).for_kernel(self._close_ns)
        self._columns: OrderedDict[str, _Column] = OrderedDict()
        self._rows = np.zeros((self.n, 1), np.float32)
        self._in_rows: list[str] = []
        self._signals = np.zeros(self.n)
        self._equity = np.zeros(self.n, np.int64)
        self._logs = [np.zeros((0, len(fields)), np.int64) for fields in (FILL_FIELDS, ORDER_FIELDS)]
        ts_ns = np.concatenate([[int(history.open_ns[0])], history.close_ns])
        first = max(0, int(np.searchsorted(ts_ns, spec.from_ns, side="right")) - 1)  # as the figures of a run: without the warm-up
        some = len(ts_ns) - first
        flat = Track(ts_ns[first:], np.ones(some, np.int64), np.zeros(some), np.full(some, -1, np.int8))
        self._day_marks = period_returns(flat, UTC_DAYS).at + first
        self._years = int(ts_ns[-1] - ts_ns[first]) / YEAR_NS
        self.day_ns: I64 = ts_ns[self._day_marks]  # [days + 1]: ends of the days that returns are of, after the start
        self._returns: F64 = np.zeros(0)  # of the days, of the last configuration

    @property
    def width(self) -> int:
        """Columns that fit the memory set aside for them, at least what one pass computes."""
        return max(_TOGETHER, _COLUMNS_BYTES // (4 * self.n))

    def learn(self, configs: Iterable[Values]) -> None:
        """Compute the columns that these configurations read and that are not there yet, many in one pass over the bars."""
        if self._account is None:
            return
        names = list(dict.fromkeys(name for values in configs for name in self._spec.columns(values)))
        absent = [name for name in names if name not in self._columns][: self.width]
        together = max(1, min(_TOGETHER, _MATRIX_BYTES // (8 * self.n)))
        for start in range(0, len(absent), together):
            self._compute(absent[start : start + together], {*names})

    def _compute(self, names: Sequence[str], wanted: set[str]) -> None:
        history = self.prepared.bars[0]
        arena = Arena(_ARENA_BYTES)
        plan = build_plan(names, history.instrument, history.bars, arena, Book(arena, 64), self._calendar, neutral=float("nan"))
        ts, matrix = batch.compute_bars(plan, history.close_ns, history.rows, with_cold=True)
        first = self.n - len(ts)  # bars that the plan refuses
        is_tail = np.array_equal(ts, history.close_ns[first:])
        columns = np.full((len(names), self.n), np.nan, np.float32)
        if is_tail:
            for start in range(0, len(ts), _BLOCK):  # turned in blocks that a core's cache holds
                columns[:, first + start : first + start + _BLOCK] = matrix[start : start + _BLOCK].T
        for name, values in zip(names, columns, strict=True):
            warm = np.isfinite(values)
            begin = int(warm.argmax()) if warm.any() else self.n
            self._columns[name] = _Column(values.copy(), begin, bool(warm[begin:].all()) and is_tail)
        for name in [name for name in self._columns if name not in wanted]:
            if len(self._columns) <= self.width:
                break
            del self._columns[name]
        while len(self._columns) > self.width:
            self._columns.popitem(last=False)

    def _column(self, name: str) -> _Column:
        if name not in self._columns:
            self._compute([name], {name})
        return self._columns[name]

    def evaluate(self, configs: Sequence[Values]) -> list[Row]:
        """A row for each configuration, in order; each is the same whatever was evaluated before it."""
        self.learn(configs)
        return [self._evaluate(values) for values in configs]

    def evaluate_kept(self, configs: Sequence[Values], kept: Sequence[bool]) -> tuple[list[Row], F64]:
        """The rows, and the daily returns [kept, days] of those that are kept: -1 on the day an account is gone, and 0 after it."""
        self.learn(configs)
        rows, returns = [], []
        for values, is_kept in zip(configs, kept, strict=True):
            rows.append(self._evaluate(values))
            if is_kept:
                returns.append(self._returns)
        return rows, np.stack(returns) if returns else np.zeros((0, len(self.day_ns) - 1))

    def evaluate_blocks(self, configs: Sequence[Values], blocks: Sequence[tuple[int, int]]) -> F64:
        """[configs, days]: daily returns where each block of days (first, stop) begins flat, with all the cash and fresh stops."""
        self.learn(configs)
        return np.stack([np.concatenate(self._blocks(values, blocks)) for values in configs])

    def _blocks(self, values: Values, blocks: Sequence[tuple[int, int]]) -> list[F64]:
        is_compiled = self._account is not None and self._fill_signals(values)
        found = []
        for first, stop in blocks:
            marks = self._day_marks[first : stop + 1]
            start, end = int(marks[0]), int(marks[-1])
            if start < end and not (is_compiled and self._run(start, end) is not None):
                self._equity[start:end] = self._engine_equity(values, start, end)
            ends = np.where(marks == start, self.prepared.spec.cash_e8, self._equity[marks - 1])  # also after days without a bar
            found.append(_returns(ends.astype(np.float64)))
        return found

    def _engine_equity(self, values: Values, start: int, stop: int) -> I64:
        """Of the bars start .. stop - 1, from a run of its own."""
        prepared, history = self.prepared, self.prepared.bars[0]
        from_ns = int(history.close_ns[start - 1]) if start else 0
        cut = history.between(from_ns, int(history.close_ns[stop - 1]), _WARM_UP)
        spec = self._spec_of(values)
        spec = msgspec.structs.replace(spec, data=(cut.facts,), from_ns=max(from_ns, spec.from_ns))
        equity = execute(msgspec.structs.replace(prepared, spec=spec, bars=(cut,))).gathered.marks.equity_e8
        return np.ascontiguousarray(equity[start - stop :])

    def market_returns(self) -> F64:
        """[days]: of holding the instrument from the first close on, without costs."""
        closes = self._prices[np.maximum(self._day_marks - 1, 0), 3].astype(np.float64)
        held: F64 = closes[1:] / closes[:-1] - 1.0
        return held

    def _evaluate(self, values: Values) -> Row:
        found = self._compiled(values) if self._account is not None else None
        return self._by_engine(values) if found is None else found

    def _compiled(self, values: Values) -> Row | None:
        account = self._run(0, self.n) if self._fill_signals(values) else None
        if account is None:
            return None
        return self._row(self._equity, account.trades, account.turnover, account.fees, bool(account.is_tripped), by_engine=False)

    def _run(self, start: int, stop: int) -> BarAccount | None:
        """A new account over bars start .. stop - 1 by the signals, into the equity; None when numbers grow too large for the kernel."""
        assert self._account is not None
        account = BarAccount(self._account, self.prepared.spec.cash_e8, *(log.data for log in self._logs))
        none = self._none
        account.run(
            self._open_ns, self._close_ns, self._prices, self._signals, *self._windows, start, stop, self._equity, none, none, none,
        )  # fmt: skip
        return None if account.bad else account

    def _fill_signals(self, values: Values) -> bool:
        """The rule's signal after each bar, NaN until it is warm; False when a column has a hole later on."""
        names = self._spec.columns(values)
        columns = [self._column(name) for name in names]
        if not all(column.is_whole for column in columns):
            return False
        if len(names) != len(self._in_rows):
            self._rows, self._in_rows = np.zeros((self.n, max(1, len(names))), np.float32), [""] * len(names)
        for k, (name, column) in enumerate(zip(names, columns, strict=True)):
            if name != self._in_rows[k]:
                self._rows[:, k] = column.values
                self._in_rows[k] = name
        first = max((column.first for column in columns), default=0)
        self._signals[:first] = np.nan
        self._spec.kernel(values).run(self._rows[first:], 0.0, self._signals[first:])
        return True

    def _by_engine(self, values: Values) -> Row:
        spec = self.prepared.spec
        result = execute(msgspec.structs.replace(self.prepared, spec=self._spec_of(values)))
        gathered = result.gathered
        unit = float(spec.instruments[0].tick_size * spec.instruments[0].lot_size)
        traded = sum(fill.price_ticks * fill.qty_lots for fill in gathered.fills) * unit * _E8
        return self._row(
            np.ascontiguousarray(gathered.marks.equity_e8[1:]), gathered.counters["trades"], traded, result.parts.fees_e8,
            "drawdown_stop" in gathered.counters["alerts"], by_engine=True,
        )  # fmt: skip

    def _spec_of(self, values: Values) -> RunSpec:
        lane = msgspec.structs.replace(self.prepared.spec.lanes[0], params=dict(values))
        return msgspec.structs.replace(self.prepared.spec, lanes=(lane,))

    def _row(self, equity: I64, trades: int, traded_e8: float, fees_e8: int, is_stopped: bool, *, by_engine: bool) -> Row:
        cash = self.prepared.spec.cash_e8
        at = self._day_marks
        ends = np.where(at == 0, cash, equity[at - 1]).astype(np.float64)
        is_solvent = bool((ends > 0.0).all())
        days = len(ends) - 1
        self._returns = _returns(ends)
        mean, deviation, skew, kurtosis = moments(self._returns) if is_solvent and days > 1 else (0.0, 0.0, 0.0, 0.0)
        has_ratio = deviation > 0.0
        return Row(
            net_return=int(equity[-1]) / cash - 1.0,
            sharpe=mean / deviation if has_ratio else np.nan,
            max_drawdown=float(deepest_fall(cash, equity)),
            trades=float(trades),
            turnover=float(traded_e8) / cash / self._years if self._years > 0.0 else np.nan,
            fees=float(fees_e8) / _E8,
            periods=float(days),
            skew=skew if has_ratio else np.nan,
            kurtosis=kurtosis if has_ratio else np.nan,
            is_stopped=float(is_stopped),
            by_engine=float(by_engine),
        )


def _returns(ends: F64) -> F64:
    """Of equity at the start and at the ends of days; -1 on the day on which it is gone, and 0 after it."""
    is_gone = ends <= 0.0
    if not is_gone.any():
        whole: F64 = ends[1:] / ends[:-1] - 1.0
        return whole
    gone = int(is_gone.argmax())
    returns = np.zeros(len(ends) - 1)
    returns[: gone - 1] = ends[1:gone] / ends[: gone - 1] - 1.0
    returns[gone - 1] = -1.0
    return returns
