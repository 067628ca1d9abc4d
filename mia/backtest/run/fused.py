"""The compiled path of bar backtests: one instrument, one rule, market orders; the same fills and marks as the event engine's.

What it cannot do is left to the event engine, with the reason (`why_not`).
"""

from __future__ import annotations

from array import array
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mia.domain.codes import Code
from mia.domain.sizing import SHARE_SCALE, Terms
from mia.kernels.bar_account import CODES, FILL_FIELDS, PARAMETERS, VERBS, BarAccount
from mia.risk.limits import Limits

if TYPE_CHECKING:
    from mia.backtest.run.sources import BarHistory
    from mia.backtest.run.spec import RunSpec
    from mia.risk.windows import Windows

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_WORD: Final = 1 << 59  # products of money and a fraction's parts stay below it, doubled sums below 2^63
_NONE: Final = np.zeros(0, np.int64)


class Fused(NamedTuple):
    """What came of it: marks after each bar, int64[n]; fills int64[m, 10] (FILL_FIELDS); orders int64[k, 7] (ORDER_FIELDS).

    verdicts: int64[n], verb * 64 + code.
    """

    equity_e8: I64
    cash_e8: I64
    lots: I64
    fills: I64
    orders: I64
    verdicts: I64
    is_tripped: bool
    trades: int
    fees_e8: int

    def verbs(self) -> dict[str, int]:
        """How often each verb was decided."""
        counts = np.bincount(self.verdicts >> 6, minlength=len(VERBS))
        return {verb: int(n) for verb, n in zip(VERBS, counts, strict=True) if n}

    def codes(self) -> dict[str, int]:
        """How often each code but ok was given."""
        counts = np.bincount(self.verdicts & 63, minlength=len(CODES))
        return {code: int(n) for code, n in zip(CODES, counts, strict=True) if n and code != "ok"}


def why_not(spec: RunSpec) -> str:
    """Why a run needs the event engine; "" when the compiled path gives the same."""
    if len(spec.instruments) != 1 or len(spec.lanes) != 1:
        return "several instruments or lanes share one account"
    if not spec.lanes[0].rule:
        return "a model is asked at each decision"
    if spec.settings.execution.entry != "market":
        return "entries rest in the book"
    return ""


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
        "fee": Fraction(instrument.taker_fee),
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
        "half_spread": spec.half_spread_ticks,
        "at_close": int(spec.fill_at == "close"),
        "from_ns": spec.from_ns,
    }
    for name, fraction in fractions.items():
        values[f"{name}_num"], values[f"{name}_den"] = fraction.numerator, fraction.denominator
    largest = max(abs(part) for fraction in fractions.values() for part in (fraction.numerator, fraction.denominator))
    values["money_max"] = min(_WORD // largest, 1 << 52)
    for name in ("position_max", "order_max"):
        values[name] = min(values[name], 1 << 40)
    for name in ("notional_max", "exposure_max"):
        values[name] = min(values[name], 1 << 61)
    return array("q", [values[name] for name in PARAMETERS])


def window_codes(windows: Windows, family: str, close_ns: I64) -> I64 | None:
    """Number in CODES of what forbids openings at each close, 0 for nothing; None when a window wants positions flat."""
    codes = np.zeros(len(close_ns), np.int64)
    at = 0
    while at < len(close_ns):
        state = windows.state(int(close_ns[at]), family)
        if state.is_flatten:
            return None
        stop = max(at + 1, int(np.searchsorted(close_ns, state.until_ns, side="left")))
        if state.code is not Code.OK:
            codes[at:stop] = CODES.index(str(state.code))
        at = stop
    return codes


def run(account: array[int], cash_e8: int, history: BarHistory, signals: F64, windows: I64) -> Fused | None:
    """The account over the whole history; None when numbers grow too large for the kernel.

    signals: float64[n], the rule's after each bar, NaN where it is not warm. windows: as window_codes gives them.
    """
    n = len(history.close_ns)
    prices = np.ascontiguousarray(history.rows[:, :4]).astype(np.int64)
    open_ns, close_ns = (np.require(x, np.int64, ["C", "W"]) for x in (history.open_ns, history.close_ns))
    room = [max(1024, n // 16), max(1024, n // 8)]
    while True:
        marks = [np.zeros(n, np.int64) for _ in range(4)]
        logs = [np.zeros((size, len(fields)), np.int64) for size, fields in zip(room, (FILL_FIELDS, ORDER_FIELDS), strict=True)]
        kernel = BarAccount(memoryview(account), cash_e8, *(log.data for log in logs))
        kernel.run(open_ns, close_ns, prices, signals, windows, 0, n, *marks)
        if kernel.bad:
            return None
        used = [kernel.fills, kernel.orders]
        if used[0] <= room[0] and used[1] <= room[1]:
            fills, orders = logs[0][: used[0]], logs[1][: used[1]]
            return Fused(*marks[:3], fills, orders, marks[3], bool(kernel.is_tripped), kernel.trades, kernel.fees)
        room = used


def signals_of(strategy: Rule, history: BarHistory, calendar: Calendar) -> F64 | None:
    """The rule's signal after each bar, NaN until it is warm; None when a column is missing later on."""
    arena = Arena(_ARENA_BYTES)
    plan = build_plan(strategy.market_columns, history.instrument, history.bars, arena, Book(arena, 64), calendar)
    n = len(history.close_ns)
    if not strategy.market_columns:
        rows = np.zeros((n, 1), np.float32)
    else:
        _, matrix = batch.compute_bars(plan, history.close_ns, history.rows)
        rows = matrix.astype(np.float32)
        if not np.isfinite(rows).all():
            return None
    first = n - len(rows)
    if first and len(rows) and plan.bar_count() != n:
        return None  # the plan left out bars that it took for impossible
    if len(rows) and first and _is_torn(strategy, history, calendar, first):
        return None
    signals = np.full(n, np.nan)
    out = np.zeros(len(rows))
    strategy.kernel.run(rows, 0.0, out)
    signals[first:] = out
    return signals
