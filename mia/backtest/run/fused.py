"""The compiled path of bar backtests: one instrument, one rule, market orders; the same fills and marks as the event engine's.

What it cannot do is left to the event engine, with the reason (`why_not`).
"""

from __future__ import annotations

from array import array
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mia.assemble import calendar_files, calendars_of, load_strategy
from mia.backtest.run.gathered import DecisionRow, Gathered, Marks, OrderRow, exposure_of
from mia.domain.events import OrderFilled
from mia.domain.regime import UNIFORM
from mia.domain.sizing import SHARE_SCALE, Terms
from mia.execution.attribution import Moments
from mia.execution.portfolio import Portfolio
from mia.features import batch
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.bar_account import NEVER_NS, BarAccount
from mia.kernels.bar_books import EXIT_ORDER, FILL_FIELDS, MARKET_ORDER, ORDER_FIELDS, PARAMETERS
from mia.kernels.bar_decider import CODES, FLATTEN, VERBS
from mia.kernels.book import Book
from mia.policy.rules.base import Rule
from mia.risk.limits import Limits
from mia.risk.windows import load_windows

if TYPE_CHECKING:
    from mia.backtest.run.signals import Signals
    from mia.backtest.run.sources import BarHistory
    from mia.backtest.run.spec import RunSpec
    from mia.features import calendars
    from mia.risk.windows import Windows
    from mia.sim.cost_settings import Costs

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_MONEY_MAX: Final = 1 << 59  # cash, cost or value of a position: doubled sums of them stay below 2^63
_PART_MAX: Final = 1 << 61  # of a share's fraction, as mia.kernels.exact takes it
DAY_NS: Final = 86_400_000_000_000
_ARENA_BYTES: Final = 64 << 20
SIGNALS: Final = "signals"  # the rule whose column nothing but events can fill
_PIECE: Final = 1 << 17
_TYPES: Final = ("market", "stop", "take", "market")  # by kind of order
_PURPOSES: Final = ("entry", "stop", "take", "exit")


class Fused(NamedTuple):
    """What came of it: marks at the start and after each bar, int64[n + 1].

    fills: int64[m, 10] (FILL_FIELDS); orders: int64[k, 7] (ORDER_FIELDS). verdicts: int64[n], verb * 64 + code.
    """

    all_equity_e8: I64
    all_cash_e8: I64
    all_lots: I64
    fills: I64
    orders: I64
    verdicts: I64
    is_tripped: bool
    trades: int
    fees_e8: int

    @property
    def equity_e8(self) -> I64:
        """After each bar, int64[n]."""
        return self.all_equity_e8[1:]

    @property
    def cash_e8(self) -> I64:
        """After each bar, int64[n]."""
        return self.all_cash_e8[1:]

    @property
    def lots(self) -> I64:
        """Held after each bar, int64[n]."""
        return self.all_lots[1:]

    def verbs(self) -> dict[str, int]:
        """How often each verb was decided."""
        counts = np.bincount(self.verdicts >> 6, minlength=len(VERBS))
        return {verb: int(n) for verb, n in zip(VERBS, counts, strict=True) if n}

    def codes(self) -> dict[str, int]:
        """How often each code but ok was given."""
        counts = np.bincount(self.verdicts & 63, minlength=len(CODES))
        return {code: int(n) for code, n in zip(CODES, counts, strict=True) if n and code != "ok"}


def why_not(spec: RunSpec, has_signals: bool = False) -> str:
    """Why a run needs the event engine; "" when the compiled path gives the same. has_signals: `gather` is given the signals of a file."""
    if len(spec.instruments) != 1 or len(spec.lanes) != 1:
        return "several instruments or lanes share one account"
    if not spec.lanes[0].rule:
        return "a model is asked at each decision"
    if spec.lanes[0].rule == SIGNALS and not has_signals:
        return "its signals come from outside"
    if spec.settings.execution.entry != "market":
        return "entries rest in the book"
    if spec.settings.execution.keeps_size or spec.size_at != "decision":
        return "positions are sized by other rules"
    if not (spec.protects and spec.uses_windows) or spec.closes_at_end:
        return "orders are sent or triggered by other rules"
    if _fee(spec).denominator > _PART_MAX:
        return "a fee of so many digits"
    return costly(spec.costs)


def _fee(spec: RunSpec) -> Fraction:
    return Fraction(spec.instruments[0].taker_fee if spec.costs.fees.kind != "off" else 0)


def costly(costs: Costs) -> str:
    """What costs more than the kernel counts: a fixed half spread in whole ticks and a fixed taker's fee; "" when nothing does."""
    switches = {
        "fees by tier": costs.fees.kind == "table",
        "fees in the base": costs.fees.currency == "base",
        "a spread that changes": costs.spread.kind not in ("off", "ticks") or costs.spread.half % 1 != 0,
        "latency": costs.latency.kind != "off",
        "a cap on the share of volume": costs.participation.share_max > 0,
        "impact": costs.impact.kind != "off",
        "funding": costs.funding.kind != "off",
        "borrow": costs.borrow.kind != "off",
        "commission": costs.commission.per_contract > 0,
        "liquidation": costs.margin.maintenance > 0,
        "rolls": costs.roll.kind != "off",
    }
    found = ", ".join(name for name, is_on in switches.items() if is_on)
    return f"costs: {found}" if found else ""


def half_spread_ticks(costs: Costs) -> int:
    """Of costs that are not `costly`."""
    return int(costs.spread.half) if costs.spread.kind == "ticks" else 0


def parameters(spec: RunSpec) -> array[int]:
    """PARAMETERS of the kernel for the run's only instrument."""
    instrument, settings = spec.instruments[0], spec.settings
    terms, limits, execution = Terms.of(0, instrument), Limits.of(settings.risk), settings.execution
    symbol = f"{instrument.venue}:{instrument.symbol}"
    stop, take = (Fraction(round(share * SHARE_SCALE), SHARE_SCALE) for share in (execution.stop_share, execution.take_share))
    fractions = {
        "share": Fraction(limits.equity_share_max_e9, terms.margin_e9),
        "daily": Fraction(limits.daily_loss_max_e9, SHARE_SCALE),
        "drawdown": Fraction(limits.drawdown_max_e9, SHARE_SCALE),
        "band": Fraction(int(execution.dead_band_share * SHARE_SCALE), SHARE_SCALE),
        "stop_long": 1 - stop,
        "stop_short": 1 + stop,
        "take_long": 1 + take,
        "take_short": 1 - take,
        "fee": _fee(spec),
    }
    values = {
        "unit": terms.unit_e8,
        "derivative": int(terms.is_derivative),
        "min_notional": terms.min_notional_e8,
        "position_max": limits.position_lots(symbol),
        "order_max": limits.order_lots(symbol),
        "notional_max": limits.order_notional_max_e8,
        "exposure_max": limits.exposure_notional_max_e8,
        "rate_max": limits.orders_per_minute_max,
        "cool_down": int(settings.risk.cool_down_s * 1_000_000_000),
        "half_spread": half_spread_ticks(spec.costs),
        "at_close": int(spec.fill_at == "close"),
        "from_ns": spec.from_ns,
    }
    for name, fraction in fractions.items():
        values[f"{name}_num"], values[f"{name}_den"] = fraction.numerator, fraction.denominator
    widest = max(fractions["stop_short"], fractions["take_long"])  # of a cost: the level that stop or take wait at
    values["money_max"] = min(_MONEY_MAX, int(2 * _MONEY_MAX / widest))
    for name in ("position_max", "order_max"):
        values[name] = min(values[name], 1 << 40)
    for name in ("notional_max", "exposure_max"):
        values[name] = min(values[name], (1 << 62) - 1)
    return array("q", [values[name] for name in PARAMETERS])


class Calendar(NamedTuple):
    """What trade windows say of a history: int64[n] each.

    codes: number in CODES of what forbids openings at each close, 0 for nothing, and FLATTEN more where positions are to be closed.
    leaves: when, from a bar's open until before its end, that is first so, NEVER_NS where it is not (of one value where it never is).
    """

    codes: I64
    leaves: I64

    def for_kernel(self, close_ns: I64, at: slice = slice(None)) -> tuple[I64, I64, I64]:
        """(codes, leaves, turns) of these bars, as BarAccount.run takes them."""
        codes, leaves = self.codes[at], np.require(self.leaves[at], np.int64, ["C", "W"])
        return codes, leaves, _turns(close_ns[at], codes, leaves)


def calendar(windows: Windows, family: str, open_ns: I64, close_ns: I64) -> Calendar:
    """Of bars in order of time."""
    ts, last = int(open_ns[0]), int(close_ns[-1])
    states = []
    while ts <= last:
        states.append(windows.state(ts, family))
        ts = states[-1].until_ns
    starts = np.array([state.from_ns for state in states])
    starts[0] = min(starts[0], int(open_ns[0]))
    number = [CODES.index(str(state.code)) + FLATTEN * state.is_flatten for state in states]
    begins = np.append(np.searchsorted(close_ns, starts[1:], side="left"), len(close_ns))
    codes = np.repeat(np.array(number, np.int64), np.diff(begins, prepend=0))
    leaves = np.broadcast_to(np.int64(NEVER_NS), len(close_ns))  # takes no memory
    ends = np.array([state.until_ns for state in states])
    wants_flat = np.array([state.is_flatten for state in states])
    if wants_flat.any():
        leaves = leaves.copy()
        starts, ends = starts[wants_flat], ends[wants_flat]
        from_ns = np.maximum(open_ns, np.concatenate([open_ns[:1], close_ns[:-1]]))
        at = np.searchsorted(ends, from_ns, side="right")
        seen = np.maximum(from_ns, starts[np.minimum(at, len(ends) - 1)])
        is_seen = (at < len(ends)) & (seen < close_ns - 1)
        leaves[is_seen] = seen[is_seen]
    return Calendar(codes, leaves)


def _turns(close_ns: I64, codes: I64, leaves: I64) -> I64:
    """For each bar the first one after it that closes on another UTC day or under another code, or that is left; n when there is none."""
    day = close_ns // DAY_NS
    turns = np.flatnonzero((day[1:] != day[:-1]) | (codes[1:] != codes[:-1]) | (leaves[1:] != NEVER_NS)) + 1
    ends = np.append(turns, len(close_ns))
    return np.repeat(ends, np.diff(ends, prepend=0))


def run(account: array[int], cash_e8: int, history: BarHistory, signals: F64, calendar: Calendar) -> Fused | None:
    """The account over the whole history; None when numbers grow too large for the kernel.

    signals: float64[n], the rule's after each bar, NaN where it is not warm.
    """
    n = len(history.close_ns)
    open_ns, close_ns = (np.require(x, np.int64, ["C", "W"]) for x in (history.open_ns, history.close_ns))
    room = [max(1024, n // 16), max(1024, n // 8)]
    while True:
        equity, cash, lots = (np.full(n + 1, value, np.int64) for value in (cash_e8, cash_e8, 0))
        verdicts = np.zeros(n, np.int64)
        logs = [np.zeros((size, len(fields)), np.int64) for size, fields in zip(room, (FILL_FIELDS, ORDER_FIELDS), strict=True)]
        kernel = BarAccount(memoryview(account), cash_e8, *(log.data for log in logs))
        used = [0, 0]
        for start in range(0, n, _PIECE):  # the kernel's prices are whole numbers of their own: only so many at once
            at = slice(start, min(start + _PIECE, n))
            prices = history.rows[at, :4].astype(np.int64, order="C")
            kernel.run(
                open_ns[at], close_ns[at], prices, signals[at], *calendar.for_kernel(close_ns, at), 0, len(prices), equity[1:][at],
                cash[1:][at], lots[1:][at], verdicts[at],
            )  # fmt: skip
            if kernel.bad:
                return None
            for k, done in enumerate((kernel.fills, kernel.orders)):
                logs[k][used[k] : done, 0] += start  # it counts bars from where it was asked to begin
                used[k] = done
        if used[0] <= room[0] and used[1] <= room[1]:
            fills, orders = logs[0][: used[0]], logs[1][: used[1]]
            return Fused(equity, cash, lots, fills, orders, verdicts, bool(kernel.is_tripped), kernel.trades, kernel.fees)
        room = used


def signals_of(strategy: Rule, history: BarHistory, calendar: calendars.Calendar) -> F64 | None:
    """The rule's signal after each bar, NaN until it is warm; None when a column is missing later on."""
    n = len(history.close_ns)
    signals = np.full(n, np.nan)
    rows, first = np.zeros((n, 1), np.float32), 0
    if strategy.market_columns:
        arena = Arena(_ARENA_BYTES)
        plan = build_plan(strategy.market_columns, history.instrument, history.bars, arena, Book(arena, 64), calendar)
        ts, matrix = batch.compute_bars(plan, history.close_ns, history.rows)
        first = n - len(ts)
        if not np.array_equal(ts, history.close_ns[first:]):
            return None
        rows = matrix.astype(np.float32)
    if not np.isfinite(rows).all():
        return None
    strategy.kernel.run(rows, 0.0, signals[first:])
    return signals


def _stated(given: Signals, history: BarHistory, is_flat_without: bool) -> F64 | None:
    """The signal that holds at each close, as the column of its rule has it; None when one is missing that nothing stands in for."""
    value, holds = given.at(history.close_ns, 0)
    if not (is_flat_without or holds.all()):
        return None
    return np.where(holds, value.astype(np.float32), 0.0).astype(np.float64)


def gather(spec: RunSpec, history: BarHistory, given: Signals | None = None) -> tuple[tuple[tuple[str, str], ...], Gathered] | None:
    """(strategies, what the run left behind), as the event engine would have given it; None when it must be asked.

    given: the signals that the rule `signals` trades.
    """
    strategy = load_strategy(spec.lanes[0], history.instrument.family)
    windows = load_windows(*calendar_files())
    family = history.instrument.family
    if not isinstance(strategy, Rule) or strategy.min_interval_ns > history.bars.interval_ns:
        return None
    if given is not None:
        signals = _stated(given, history, "signal_else_flat" in strategy.market_columns)
    else:
        signals = signals_of(strategy, history, calendars_of(windows, [family])[family])
    if signals is None:
        return None
    found = run(parameters(spec), spec.cash_e8, history, signals, calendar(windows, family, history.open_ns, history.close_ns))
    if found is None:
        return None
    counters, decisions = _counters(found), _decisions(history, signals, found)
    del signals
    found = found._replace(verdicts=found.verdicts[:0].copy())  # both are told: of a million bars each column is 8 MB
    return ((strategy.name, strategy.sha256),), _gathered(spec, history, found, counters, decisions)


def _counters(found: Fused) -> dict[str, Any]:
    left = int(np.count_nonzero(found.orders[:, 6] == EXIT_ORDER))
    alerts = ({"drawdown_stop": 1} if found.is_tripped else {}) | ({"session_exit": left} if left else {})
    return {
        "market_events": len(found.verdicts), "decisions": len(found.verdicts), "orders": len(found.orders), "fills": len(found.fills),
        "trades": found.trades, "verbs": dict(sorted(found.verbs().items())), "codes": dict(sorted(found.codes().items())),
        "alerts": alerts,
    }  # fmt: skip


def _gathered(spec: RunSpec, history: BarHistory, found: Fused, counters: dict[str, Any], decisions: list[DecisionRow]) -> Gathered:
    terms = Terms.of(0, history.instrument)
    fills = [
        OrderFilled(0, ts, ts, str(order), f"F{k}", 0, side, price, lots, fee, False)
        for k, (_, ts, side, lots, price, _, _, fee, _, order) in enumerate(found.fills.tolist(), 1)
    ]
    moments = {
        f"F{k}": Moments(mark2, market2, price)  # the price is the touch: nothing here moves the market
        for k, (_, _, _, _, price, market2, mark2, _, _, _) in enumerate(found.fills.tolist(), 1)
    }
    orders = [
        OrderRow(number, ts, 0, side, _TYPES[kind], lots, 0, stop, bool(reduces), _PURPOSES[kind])
        for number, (_, ts, side, lots, stop, reduces, kind) in enumerate(found.orders.tolist(), 1)
    ]
    portfolio = Portfolio(instance=spec.settings.instance.name, currency=spec.currency, cash_e8=spec.cash_e8)
    trades = [r for fill in fills for r in portfolio.apply_fill(terms, fill, fill.ts_recv_ns, UNIFORM) if r.is_closed]
    mids2 = np.zeros(len(found.all_lots), np.int64)  # before the first bar there is no price
    mids2[1:] = history.rows[:, 3]
    mids2 *= 2
    notional = mids2 * found.all_lots
    notional *= terms.unit_e8
    notional //= 2
    exposure = exposure_of(found.all_equity_e8, notional)
    del notional  # of a million bars each column is 8 MB
    start = int(history.open_ns[0])
    marks = Marks(
        np.concatenate([[start], history.close_ns]),
        found.all_equity_e8,
        found.all_cash_e8,
        found.all_lots[:, None],
        mids2[:, None],
        exposure,
        np.full(len(mids2), -1, np.int8),
    )
    return Gathered(
        marks=marks, orders=orders, fills=fills, fill_orders=[int(fill.client_order_id) for fill in fills], money=fills, moments=moments,
        decisions=decisions, trades=trades, end_mids2=[int(mids2[-1])], counters=counters,
    )  # fmt: skip


def _decisions(history: BarHistory, signals: F64, found: Fused) -> list[DecisionRow]:
    """Verdicts in runs of the same, those that were acted on one by one."""
    verdicts = found.verdicts
    acted = verdicts >> 6 >= VERBS.index("buy")
    starts = np.flatnonzero(np.append(True, verdicts[1:] != verdicts[:-1]) | acted)
    ends = np.append(starts[1:], len(verdicts)) - 1
    # The position that was decided on: before what the close itself filled.
    before = found.lots.copy()
    at_close = found.fills[(found.fills[:, 8] == MARKET_ORDER) & (found.fills[:, 1] == history.close_ns[found.fills[:, 0]])]
    before[at_close[:, 0]] -= at_close[:, 2] * at_close[:, 3]
    sent = {int(bar): int(side * lots) for bar, _, side, lots, _, _, kind in found.orders.tolist() if kind == MARKET_ORDER}
    rows = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        verb, code = VERBS[verdicts[start] >> 6], CODES[verdicts[start] & 63]
        signal, held = float(signals[start]), int(before[start])
        target = held + sent[start] if acted[start] else held
        alpha = 1.0 if signal == signal else signal
        span = (int(history.close_ns[start]), int(history.close_ns[end]), end - start + 1)
        rows.append(DecisionRow(*span, 0, verb, code, signal, alpha, held, target))
    return rows
